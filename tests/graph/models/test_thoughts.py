"""What a model thinks before its answer is removed, in whatever form its server sends it."""

from collections.abc import AsyncGenerator
from functools import reduce
from itertools import pairwise
from operator import add
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.callbacks import AsyncCallbackHandler
from langchain_core.messages import HumanMessage
from langchain_core.runnables.config import var_child_runnable_config

from graph.models.chat import Chat
from graph.models.thoughts import ThoughtFilter
from graph.models.wire import open_wire
from harness.scripted_model import Delta, ScriptedModel, label, tokens

PROMPT = [HumanMessage("When?")]
REPLIES = {
    "<think>Is it?</think>It is.": "It is.",
    "<think>\nIs it?\n</think>\n\nIt is.": "It is.",
    "<THINKING>a < b, [1]</THINKING>It is.": "It is.",
    "<thought>x</thought> <think>y</think> It is.": "It is.",
    "[THINK]Is it?[/THINK]It is.": "It is.",
    "It is. <think>Or not?</think>It is.": "It is. <think>Or not?</think>It is.",
    "It is.<think>Or not": "It is.<think>Or not",
    "<think>Is it": "",
    "<think></think>\n\nIt is.": "It is.",
    "Is it?\n</think>\n\nIt is.": "It is.",
    "Is it?\n</think>\n\n": "",
    "It is <b>so</b>, see [this](/a) [": "It is <b>so</b>, see [this](/a) [",
    "a <thin line, a <": "a <thin line, a <",
    "  It is.": "  It is.",
    "\n <think>Is it?</think>It is.": "It is.",
    "<think >Is it?</think >It is.": "It is.",
    '<think type="x" id=1>Is it?</think>It is.': "It is.",
    "<seed:think>Is it?</seed:think>It is.": "It is.",
    "◁think▷Is it?◁/think▷It is.": "It is.",
    "<|channel|>analysis<|message|>Is it?<|end|><|start|>assistant<|channel|>final<|message|>It is.": "It is.",
    "<|start|>assistant<|channel|>analysis<|message|>Is it?<|end|><|start|>assistant<|channel|>commentary<|message|>"
    "Is it?<|end|><|start|>assistant<|channel|>final<|message|>It is.<|return|>": "It is.",
    "<|START_THINKING|>Is it?<|END_THINKING|><|START_RESPONSE|>It is.<|END_RESPONSE|>": "It is.",
    "Is it?<|END_THINKING|><|START_TEXT|>It is.<|END_TEXT|>": "It is.",
    "<|channel>thought\nIs it?<channel|>It is.": "It is.",
    "Here is my thought process:\nIs it?\n\nHere is my response:\nIt is.": "It is.",
    "<think>Is it?</think>\n<response>It is.</response>\n": "It is.",
    "<think>Is it? <think>x</think> Is it?</think>It is.": "It is.",
    "<think>Is it? I must not write </think> inside.</think>It is.": "It is.",
    "<think>They ask for `</think>` and '<think>'.</think>It is.": "It is.",
    "<think>They ask what <think> means</think>It is.": "It is.",
    "<think> is it </think> it is.": "it is.",
    "<think>Is it?</think>Write `</think>` at\n</think>\n\nits end.": "Write `</think>` at\n</think>\n\nits end.",
}
MENTIONS = (
    "Type `<think>` in the box to start a note.",
    "Set the tag `<think>` off in Settings, and `</think>` too.",
    "Do this:\n```html\n<think>hello</think>\n```\nThen save.",
    "I think [think] about <thin> and <thinker> works.",
    'The tag "<think>" is shown by old apps; remove it.',
    "Write <reasoning> in the first column, then <summary>.",
    "Use List<thinking> in your code, then List<thought>.",
    "End the note with the tag </think> and save it.",
    "End the note with the tag </think>.",
    "End the note with </think>\nThen save it.",
    "```xml\n</thinking>\n```\nThat is all.",
    "<note>\n<thought>x</thought>\n</note>",
    "<response> is the name of the column.",
    "Here is my answer: here is my response:",
    "Send <|end|> at the end, and <|return|>.",
    "The score must be <",
)
REPLIES.update({reply: reply for reply in MENTIONS})
whole = pytest.mark.parametrize(("reply", "answer"), REPLIES.items(), ids=list(REPLIES))


@whole
def test_thoughts_in_tags_are_removed(reply: str, answer: str) -> None:
    """Thoughts come first, in any model's form; a tag that an answer mentions is a part of it."""
    thoughts = ThoughtFilter()
    assert thoughts.feed(reply) + thoughts.end() == answer


@given(reply=st.sampled_from([reply for reply in REPLIES if not reply.startswith("Is")]), data=st.data())
def test_it_does_not_matter_where_a_reply_is_cut(reply: str, data: st.DataObject) -> None:
    """A tag, and the white space after it, may arrive in pieces."""
    cuts = sorted({0, len(reply), *data.draw(st.lists(st.integers(0, len(reply)), max_size=30))})
    thoughts = ThoughtFilter()
    pieces = [reply[start:end] for start, end in pairwise(cuts)]
    assert "".join(map(thoughts.feed, pieces)) + thoughts.end() == REPLIES[reply]


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    ("reply", "answer"),
    [("Is it?</think>It is.", "It is."), ("It is.", "It is."), ("<think>Is it?</think>It is.", "It is.")],
)
def test_a_reply_may_begin_within_a_thought(reply: str, answer: str, size: int) -> None:
    """A model known for that is read so, and a reply of it without thoughts is shown all the same."""
    thoughts = ThoughtFilter(begins_inside=True)
    pieces = [thoughts.feed(reply[at : at + size]) for at in range(0, len(reply), size)]
    assert "".join(pieces) + thoughts.end() == answer
    assert thoughts.began_inside is reply.startswith("Is")


@pytest.mark.parametrize("size", [1, 3, 100])
@pytest.mark.parametrize(
    "reply", ["They ask for `</think>`.\n</think>\n\nIt is.", "```\n</think>\n```\n</think>It is."]
)
def test_a_thought_that_begins_a_reply_may_mention_its_end(reply: str, size: int) -> None:
    """Code in a thought does not end it."""
    thoughts = ThoughtFilter(begins_inside=True)
    pieces = [thoughts.feed(reply[at : at + size]) for at in range(0, len(reply), size)]
    assert "".join(pieces) + thoughts.end() == "It is."


def test_a_text_that_was_shown_stays() -> None:
    """It is too late to hide a thought whose end comes later; the reply is told apart."""
    thoughts = ThoughtFilter()
    assert [thoughts.feed("Is it?"), thoughts.feed("</think>It is."), thoughts.end()] == [
        "Is it?",
        "</think>It is.",
        "",
    ]
    assert (thoughts.began_inside, thoughts.has_shown_thought) == (True, True)


@pytest.mark.parametrize("reply", MENTIONS)
def test_a_mention_is_no_end_of_a_thought(reply: str) -> None:
    """A model whose answer has a tag in a sentence, in quotes or in code is not taken for one that thinks."""
    for size in (1, 5, 1000):
        thoughts = ThoughtFilter()
        for at in range(0, len(reply), size):
            thoughts.feed(reply[at : at + size])
        thoughts.end()
        assert (thoughts.began_inside, thoughts.is_unfinished) == (False, False)


@pytest.mark.parametrize(
    "cut", ["<think>Is it? <think>x</think> Is", "<think>I must not write </think> inside", "<thin", "Is it? Or"]
)
def test_of_a_reply_that_was_cut_off_within_a_thought_nothing_is_shown(cut: str) -> None:
    """Where a limit has ended it, what may be a thought is taken for one."""
    thoughts = ThoughtFilter(begins_inside=cut.startswith("Is"))
    assert thoughts.feed(cut) + thoughts.end(is_whole=False) == ("<thin" if cut == "<thin" else "")
    assert thoughts.is_unfinished is (cut != "<thin")


@pytest.fixture
async def chat(model: ScriptedModel) -> AsyncGenerator[Chat]:
    async with open_wire(model.url, "sk-test", connect=5, patience=5) as wire:
        yield Chat(wire, model="m-1", api_key="sk-test", temperature=0, stream_usage=True)


STREAMS: dict[str, list[str | Delta]] = {
    "tags": ["<thi", "nk>Is it", "?</th", "ink>\n\n", "It ", "is."],
    "a field": [{"reasoning_content": "Is it?"}, {"content": "", "reasoning_content": "Yes"}, "It ", "is."],
    "another field": [{"reasoning": "Is it?", "reasoning_details": [{"text": "Is it?"}]}, "It ", "is."],
    "parts": [
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Is it?"}]}]},
        {"content": [{"type": "text", "text": "It "}, {"type": "reasoning", "text": "Yes"}]},
        "is.",
    ],
    "no delta": [{"content": None}, "It ", "is."],
    "white space first": ["\n", " ", "<think>", "Is it?", "</think>", " ", "It ", "is."],
    "attributes": ["<think", ' type="', 'x">Is', " it?</think", " >It ", "is."],
    "Harmony": [
        *("<|channel|>", "analysis", "<|message|>", "Is it?", "<|end|>", "<|start|>", "assistant"),
        *("<|channel|>", "final", "<|message|>", "It ", "is.", "<|return|>"),
    ],
}


@pytest.mark.parametrize("traced", [False, True])
@pytest.mark.parametrize("pieces", STREAMS.values(), ids=list(STREAMS))
async def test_a_stream_has_the_answer_alone(
    model: ScriptedModel, chat: Chat, pieces: list[str | Delta], *, traced: bool
) -> None:
    """Neither the agent nor a tracer that listens to LangChain's model sees a thought."""
    heard: list[str] = []

    class Listener(AsyncCallbackHandler):
        async def on_llm_new_token(self, token: Any, **_: Any) -> None:
            heard.append(token)

    model.script("answer", tokens(pieces))
    config = var_child_runnable_config.set({"callbacks": [Listener()] if traced else []})
    try:
        replies = [reply async for reply in chat.replies(PROMPT)]
    finally:
        var_child_runnable_config.reset(config)
    assert "".join(reply.text for reply in replies) == "It is."
    assert "".join(heard) == ("It is." if traced else "")
    chunks = [chunk async for chunk in chat.astream(PROMPT)]
    assert reduce(add, chunks).content == "It is."


@pytest.mark.parametrize(
    "content",
    [
        "<think>Is it?</think>It is.",
        "Is it?\n</think>\n\nIt is.",
        "<|channel|>analysis<|message|>Is it?<|end|><|start|>assistant<|channel|>final<|message|>It is.",
        [{"type": "thinking"}, {"type": "text", "text": "It is."}],
    ],
)
async def test_a_whole_reply_has_the_answer_alone(model: ScriptedModel, chat: Chat, content: Any) -> None:
    """So does a reply that is not streamed."""
    model.script("answer", label(content, reasoning_content="Is it?", reasoning="Is it?"))
    assert (await chat.reply(PROMPT)).text == "It is."
    assert "Is it?" not in (await chat.ainvoke(PROMPT)).model_dump_json()


@pytest.mark.parametrize("finish", ["", "eos", "STOP", "stop_sequence", "end_turn", None])
async def test_an_answer_may_end_as_its_server_likes(model: ScriptedModel, chat: Chat, finish: str | None) -> None:
    """Any finish reason ends a reply, and so does `[DONE]` alone."""
    model.script("answer", tokens(["It is."], finish=finish))
    replies = [reply async for reply in chat.replies(PROMPT)]
    assert [reply.is_whole for reply in replies if reply.finish_reason] == [True]


@pytest.mark.parametrize("finish", ["length", "MAX_TOKENS", "content_filter", "SAFETY", "tool_calls"])
async def test_an_answer_that_was_stopped_is_not_whole(model: ScriptedModel, chat: Chat, finish: str) -> None:
    """What a limit or a filter cut off is told apart."""
    model.script("answer", tokens(["It is"], finish=finish))
    replies = [reply async for reply in chat.replies(PROMPT)]
    assert [reply.is_whole for reply in replies if reply.finish_reason] == [False]


async def test_an_unfinished_thought_makes_no_whole_answer(model: ScriptedModel, chat: Chat) -> None:
    """A server that says "stop" within a thought has cut it off."""
    model.script("answer", tokens(["<think>", "Is it"]))
    replies = [reply async for reply in chat.replies(PROMPT)]
    assert [reply.is_limited for reply in replies if reply.finish_reason] == [True]

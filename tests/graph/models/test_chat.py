"""The chat model, beside LangChain's over the OpenAI client."""

from collections.abc import AsyncGenerator
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any, cast

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from conftest import MakeSettings
from graph.builder import build_graph
from graph.models import open_models
from graph.models.chat import Chat, Reply
from graph.models.wire import open_wire
from graph.retrieval.index import open_knowledge
from graph.state import AgentContext
from harness.raw_model import RawModel, raw_model
from harness.scripted_model import ScriptedModel, tokens

# The shapes that these servers send, with texts of our own.
STREAMS = {path.stem: path.read_bytes() for path in (Path(__file__).parents[2] / "data/streams").glob("*.sse")}
WHOLE = b"""{"id": "c-1", "object": "chat.completion", "created": 1, "model": "m-1", "service_tier": "default",
 "choices": [{"index": 0, "finish_reason": "tool_calls", "logprobs": null, "message": {"role": "assistant",
 "content": "Let me look. \\ud83d\\udc4b", "refusal": null, "tool_calls": [{"id": "call_a", "type": "function",
 "function": {"name": "book", "arguments": "{\\"slot\\": \\"09:30\\"}"}}]}}],
 "usage": {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}}"""
PROMPT = [HumanMessage("When?")]


@tool
def book(slot: str) -> str:
    """Book a call."""
    return slot


@pytest.fixture
async def server() -> AsyncGenerator[RawModel]:
    async with raw_model() as model:
        yield model


@pytest.fixture
async def ours(server: RawModel) -> AsyncGenerator[Chat]:
    async with open_wire(server.url, "sk-test", connect=5, patience=5) as wire:
        yield Chat(wire, model="m-1", api_key="sk-test", temperature=0, stream_usage=True)


@pytest.fixture
def theirs(server: RawModel) -> ChatOpenAI:
    """LangChain's own model, with the OpenAI client."""
    return ChatOpenAI(
        model="m-1", base_url=server.url, api_key=SecretStr("sk-test"), temperature=0, stream_usage=True, max_retries=0
    )


def without_id(message: AIMessage) -> dict[str, Any]:
    """Return a message's fields; its id is random."""
    return message.model_dump(exclude={"id"})


async def streamed(model: BaseChatModel) -> AIMessageChunk:
    return reduce(add, [chunk async for chunk in model.astream(PROMPT)])


@pytest.mark.parametrize("size", [1, 7, 100, 100_000])
@pytest.mark.parametrize("name", STREAMS)
async def test_a_stream_is_the_message_of_the_openai_client(
    server: RawModel, ours: Chat, theirs: ChatOpenAI, name: str, size: int
) -> None:
    """However a stream is cut, text, tool calls, usage and metadata are those that LangChain reads."""
    content = STREAMS[name]
    server.pieces = [content[at : at + size] for at in range(0, len(content), size)]
    expected, found = await streamed(theirs), await streamed(ours)
    assert without_id(found) == without_id(expected)
    replies = [reply async for reply in ours.replies(PROMPT)]
    assert "".join(reply.text for reply in replies) == expected.text
    usages = [reply.usage for reply in replies if reply.usage]
    assert bool(usages) == bool(expected.usage_metadata)
    reason = next(reply.finish_reason for reply in replies if reply.finish_reason)
    assert reason == expected.response_metadata["finish_reason"]
    sent, also_sent = (request.partition(b"\r\n\r\n")[2] for request in server.requests[1:])
    assert sent == also_sent  # the same request, whoever reads the reply


async def test_a_whole_reply_is_the_message_of_the_openai_client(
    server: RawModel, ours: Chat, theirs: ChatOpenAI
) -> None:
    """So is a reply that is not streamed, and both send the same request."""
    server.kind, server.pieces = "application/json", [WHOLE[:50], WHOLE[50:]]
    tools = [model.bind_tools([book]) for model in (theirs, ours)]
    expected, found = [await model.ainvoke(PROMPT) for model in tools]
    for message in (expected, found):  # the OpenAI client adds fields that the server did not send, all of them empty
        usage = {name: value for name, value in message.response_metadata.pop("token_usage").items() if value}
        message.response_metadata = {"token_usage": usage} | {k: v for k, v in message.response_metadata.items() if v}
        message.additional_kwargs = {}
    assert without_id(found) == without_id(expected)
    assert found.tool_calls[0]["args"] == {"slot": "09:30"}
    reply = await ours.reply(PROMPT)
    assert reply == Reply(expected.text, expected.usage_metadata, "tool_calls")


async def test_a_connection_is_used_again(server: RawModel, ours: Chat) -> None:
    """Whole replies and streams read to their end leave their connection to the next call."""
    for _ in range(5):
        server.kind, server.pieces = "text/event-stream", [STREAMS["openai"]]
        await streamed(ours)
        server.kind, server.pieces = "application/json", [WHOLE]
        await ours.reply(PROMPT)
    assert server.connections == 1


async def test_a_prompt_that_begins_as_always_is_the_same_request(server: RawModel) -> None:
    """The part of the prompt that is encoded once arrives like the rest."""
    server.kind, server.pieces = "application/json", [WHOLE]
    head = [HumanMessage("Is “it” é?"), AIMessage("general")]
    async with open_wire(server.url, "sk-test", connect=5, patience=5) as wire:
        model = Chat(wire, model="m-1", api_key="sk-test", temperature=0)
        await model.reply([*head, *PROMPT])
        model.prepare(head, 5)
        await model.reply([*head, *PROMPT])
        await model.reply(PROMPT)
    plain, with_head, without = (request.partition(b"\r\n\r\n")[2] for request in server.requests)
    assert plain == with_head
    assert b"general" not in without


async def test_it_can_not_be_called_synchronously(ours: Chat) -> None:
    """The error says what to call instead."""
    with pytest.raises(AttributeError, match="use ainvoke or astream"):
        ours.invoke(PROMPT)


async def test_langgraph_streams_the_tokens_of_the_answer(make_settings: MakeSettings, model: ScriptedModel) -> None:
    """The stream mode `messages`, which Studio uses, has the answer's tokens and nothing of the classifier."""
    model.script("answer", tokens(["One ", "two ", "three."]))
    settings = make_settings()
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        graph = build_graph(models, knowledge, most_messages=20)
        asked: Any = {"messages": [HumanMessage("Refund?")]}
        stream = graph.astream(asked, context=AgentContext(), stream_mode=["messages", "custom"])
        parts = [cast("tuple[str, Any]", part) async for part in stream]
    texts = [(told[1]["langgraph_node"], told[0].text) for mode, told in parts if mode == "messages"]
    assert [text for node, text in texts if node == "answer" and text][:3] == ["One ", "two ", "three."]
    assert not [text for node, text in texts if node == "classify"]
    events = [told.event for mode, told in parts if mode == "custom"]
    assert sorted(set(events)) == ["category", "sources", "token"]

"""Models that think before they answer: what a customer gets, and what is kept."""

import asyncio
import json
import time
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from starlette.types import Send

from conftest import Serve
from graph.models.chat import THOUGHTS
from harness.caching import caching
from harness.langsmith import traced
from harness.measured import measured
from harness.routes import ROUTES, ask
from harness.scripted_model import Call, Delta, ScriptedModel, label, tokens

QUESTION = "Why was I charged twice?"
SECRET = "hmm, the marker"
PIECES: dict[str, list[str | Delta]] = {
    "tags": ["<think>\n", SECRET, "\n</think>", "\n\nWithin ", "30 days."],
    "fields": [{"reasoning_content": SECRET}, {"reasoning": SECRET, "content": ""}, "Within ", "30 days."],
    "parts": [
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": SECRET}]}]},
        "Within ",
        "30 days.",
    ],
}
ANSWER = "Within 30 days."


@pytest.mark.parametrize("form", PIECES)
@pytest.mark.parametrize("route", ROUTES)
async def test_no_route_shows_a_thought(
    serve: Serve, redis: Redis, model: ScriptedModel, route: str, form: str
) -> None:
    """A customer gets the answer, from its first character on."""
    model.script("answer", tokens(PIECES[form]))
    model.script("classify", label(f"<think>{SECRET}: technical?</think>billing", reasoning_content=SECRET))
    async with serve() as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        answered = await ask(client, route, QUESTION)
    assert answered.text == ANSWER
    assert answered.category in (None, "billing")


@pytest.mark.parametrize("form", PIECES)
async def test_no_thought_is_kept(serve: Serve, redis: Redis, model: ScriptedModel, form: str) -> None:
    """Neither the cache, nor a session, nor the next prompt, nor a trace has one."""
    model.script("answer", tokens(PIECES[form]))
    async with traced(serve, SUPPORT_CACHE_TTL=60) as (client, langsmith):
        for _ in range(2):
            await client.post("/ask", json={"question": QUESTION})
            await client.post("/chat", json={"message": QUESTION, "session_id": "s-1"})
        history = (await client.get("/sessions/s-1")).json()
        await langsmith.until(4)
    assert ("assistant", ANSWER) in model.of("answer")[-1].prompt
    assert [message["content"] for message in history["messages"]] == [QUESTION, ANSWER] * 2
    for kept in (history, list(langsmith.runs.values()), [call.body for call in model.calls]):
        assert SECRET not in json.dumps(kept, default=str)
    for key in await redis.keys("*"):
        stored = await redis.dump(key)
        assert SECRET.encode() not in (stored or b"")


async def test_thoughts_show_that_a_model_is_at_work(serve: Serve, model: ScriptedModel) -> None:
    """An answer may begin later than the time for a first token, while the model thinks."""
    thoughts: list[str | Delta] = [{"reasoning_content": "hm"}, "<think>", "hm", "hm</think>", {"reasoning": "hm"}]
    model.script("answer", tokens([*thoughts, "Within ", "30 days."], pause=0.3))
    async with serve(SUPPORT_ANSWER_TIMEOUT=3) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        assert (await ask(client, "/ask", QUESTION)).text == ANSWER
    assert len(model.of("answer")) == 1


async def test_a_model_that_falls_silent_in_its_thoughts_is_left(serve: Serve, model: ScriptedModel) -> None:
    """Only thoughts that go on are signs of life."""

    async def silent(_: Call, send: Send) -> None:
        await asyncio.sleep(30)

    model.script("answer", tokens([{"reasoning_content": "hm"}], then=silent), tokens([ANSWER]))
    async with serve(SUPPORT_ANSWER_TIMEOUT=3) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        assert (await ask(client, "/ask", QUESTION)).text == ANSWER
    assert len(model.of("answer")) == 2


@pytest.mark.parametrize(
    "cut",
    [
        label("", finish="length", reasoning_content="The customer"),
        label(None, finish="length", reasoning="The customer"),
        label("<think>The customer", finish="length"),
        label("<think>The customer", finish="stop"),
        label("Okay, the customer", finish="length"),
    ],
)
@pytest.mark.parametrize(
    "whole",
    [
        label("technical"),
        tokens(["<think>hm", "</think>", "technical"]),
        tokens(["Is it billing?\n", "</think>", "\n\n", "technical"]),
        tokens(["<|channel|>", "analysis<|message|>billing?<|end|>", "<|channel|>final<|message|>", "technical"]),
    ],
)
async def test_a_classifier_that_thinks_gets_room(
    client: httpx.AsyncClient, model: ScriptedModel, caplog: pytest.LogCaptureFixture, cut: Any, whole: Any
) -> None:
    """It is asked again once, which is remembered and logged, and what both replies cost is counted."""
    model.script("classify", cut, whole)
    model.script("answer", tokens([ANSWER], used=100))
    first, second = [(await client.post("/ask", json={"question": question})).json() for question in ("Why?", "How?")]
    assert (first["category"], second["category"]) == ("technical", "technical")
    limits = [call.body["max_completion_tokens"] for call in model.of("classify")]
    assert limits == [5, 5 + THOUGHTS, 5 + THOUGHTS]
    assert first["tokens_used"] > second["tokens_used"]
    assert len([record for record in caplog.records if "room for" in record.message]) == 1


async def test_a_classifier_that_never_comes_to_an_end_is_asked_twice(
    client: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """More room is given once; then the question goes to general."""
    model.script("classify", label("", finish="length", reasoning_content="The customer"))
    assert (await client.post("/ask", json={"question": QUESTION})).json()["category"] == "general"
    assert len(model.of("classify")) == 2


async def test_an_answer_model_that_thinks_gets_room(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """A reply that is all thought is asked for again with more room, also by the next customer."""
    model.script("answer", tokens([{"reasoning_content": "hm"}], finish="length"), tokens([ANSWER]))
    for question in (QUESTION, "And why?"):
        assert (await client.post("/ask", json={"question": question})).json()["answer"] == ANSWER
    limits = [call.body["max_completion_tokens"] for call in model.of("answer")]
    assert limits == [1000, 1000 + THOUGHTS, 1000 + THOUGHTS]


async def test_a_thought_without_a_beginning_is_shown_twice_at_most(
    serve: Serve, redis: Redis, model: ScriptedModel
) -> None:
    """Such answers are not kept, and after two in a row the model's replies are read so."""
    model.script("answer", *[tokens([SECRET, ".\n", "</think>", "\n\n", ANSWER])] * 4, tokens([ANSWER]))
    async with caching(serve) as (url,), httpx.AsyncClient(base_url=url) as client:
        replies = [
            await client.post("/ask", json={"question": question})
            for question in ("One?", "One?", "One?", "One?", "Two?", "Three?")
        ]
    shown = f"{SECRET}.\n</think>\n\n{ANSWER}"
    assert [reply.json()["answer"] for reply in replies] == [shown, shown, ANSWER, ANSWER, ANSWER, ANSWER]
    assert [reply.headers["X-Cache"] for reply in replies[:4]] == ["miss", "miss", "miss", "hit"]


@pytest.mark.parametrize(
    "mention",
    [
        "End the note with the tag </think> and save it.",
        "Type `<think>` in the box to start a note.",
        "Paste this:\n```\n</think>\n```\nThen save.",
    ],
)
@pytest.mark.parametrize("size", [4, 1000])
async def test_an_answer_may_mention_a_tag(
    serve: Serve, redis: Redis, model: ScriptedModel, mention: str, size: int
) -> None:
    """It is shown whole and kept, and the next answers begin as soon as ever."""

    async def next_answer(call: Call, send: Send) -> None:
        await tokens(["Within ", "30 days."], then=slow, end=True)(call, send)

    async def slow(_: Call, __: Send) -> None:
        await asyncio.sleep(1)

    pieces = [mention[at : at + size] for at in range(0, len(mention), size)]
    model.script("answer", tokens(pieces), tokens(pieces), next_answer)
    async with caching(serve) as (url,), httpx.AsyncClient(base_url=url) as client:
        answers = [(await client.post("/ask", json={"question": question})) for question in ("One?", "Two?", "Two?")]
        began = time.monotonic()
        async with client.stream("GET", "/stream", params={"question": "Three?"}) as stream:
            await anext(stream.aiter_lines())
            waited = time.monotonic() - began
    assert [answer.json()["answer"] for answer in answers] == [mention] * 3
    assert [answer.headers["X-Cache"] for answer in answers] == ["miss", "miss", "hit"]
    assert waited < 0.8


async def test_the_classifier_shows_how_the_same_model_thinks(serve: Serve, model: ScriptedModel) -> None:
    """Where one model does both, not even the first customer sees a thought."""
    model.script("classify", label(f"{SECRET}\n</think>\n\nbilling"))
    model.script("answer", tokens([SECRET, "</think>", "\n\n", ANSWER]))
    async with (
        serve(SUPPORT_CLASSIFY_MODEL="qwen3", SUPPORT_ANSWER_MODEL="qwen3") as url,
        httpx.AsyncClient(base_url=url, timeout=20) as client,
    ):
        answered = await ask(client, "/ask", QUESTION)
    assert (answered.text, answered.category) == (ANSWER, "billing")


@pytest.mark.parametrize("finish", ["", "eos", "STOP", None])
async def test_an_answer_is_kept_whatever_ended_it(
    serve: Serve, redis: Redis, model: ScriptedModel, finish: str | None
) -> None:
    """Any finish reason will do, and so will `[DONE]` alone."""
    model.script("answer", tokens([ANSWER], finish=finish))
    async with caching(serve) as (url,), httpx.AsyncClient(base_url=url) as client:
        kept = [(await client.post("/ask", json={"question": QUESTION})).headers["X-Cache"] for _ in range(2)]
    assert kept == ["miss", "hit"]


@pytest.mark.parametrize("finish", ["length", "MAX_TOKENS"])
async def test_an_answer_that_was_cut_off_is_not_kept(
    serve: Serve, redis: Redis, model: ScriptedModel, finish: str
) -> None:
    """Half an answer is shown, and asked for again."""
    model.script("answer", tokens([ANSWER], finish=finish))
    async with caching(serve) as (url,), httpx.AsyncClient(base_url=url) as client:
        kept = [(await client.post("/ask", json={"question": QUESTION})).headers.get("X-Cache") for _ in range(2)]
    assert kept == ["miss", "miss"]


@pytest.mark.parametrize(
    ("pieces", "longest"),
    [
        (["word "] * 3000, 5000),
        (["word " * 500] * 10, 5000),
        (["word " * 3000], 4999),
        (["退款需要三十天请写信给账单部门" * 10] * 100, 2942),
        (["กรุณาติดต่อฝ่ายสนับสนุนของเรา" * 10] * 100, 2989),
        (["a" * 30_000], 10_009),
        (["-" * 29] * 2000, 14_500),
    ],
)
async def test_an_answer_has_the_length_that_is_promised(
    serve: Serve, redis: Redis, model: ScriptedModel, pieces: list[str | Delta], longest: int
) -> None:
    """Where the server ignores the limit, the answer ends there all the same, and is not kept."""
    model.script("answer", tokens(pieces))
    async with caching(serve) as (url,), httpx.AsyncClient(base_url=url) as client:
        replies = [await client.post("/ask", json={"question": QUESTION}) for _ in range(2)]
    assert [len(reply.json()["answer"]) for reply in replies] == [longest, longest]
    assert [reply.headers["X-Cache"] for reply in replies] == ["miss", "miss"]


async def test_a_classifier_that_names_nothing_is_told_once(
    client: httpx.AsyncClient, model: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    """Each such question is counted, and the log has one line for all."""
    before = await measured(client, "support_agent_unknown_categories_total")
    model.script("classify", label("I can't tell."))
    for question in ("One?", "Two?", "Three?"):
        assert (await client.post("/ask", json={"question": question})).json()["category"] == "general"
    assert await measured(client, "support_agent_unknown_categories_total") == before + 3
    (told,) = [record for record in caplog.records if "names no category" in record.message]
    assert "gpt-4o-mini" in told.message


async def test_a_server_that_does_not_stream_is_understood(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """A whole reply to a request for a stream is an answer."""
    model.script("answer", label(f"<think>{SECRET}</think>{ANSWER}"))
    reply = (await client.post("/ask", json={"question": QUESTION})).json()
    assert (reply["answer"], reply["tokens_used"]) == (ANSWER, 100)

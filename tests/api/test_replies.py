"""Replies in the shapes that servers have: where their errors, refusals, ends and choices stand."""

import json
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from conftest import Serve
from harness.caching import caching
from harness.scripted_model import Kind, Reply, ScriptedModel, body, label, tokens

QUESTION = {"question": "Why was I charged twice?"}
ANSWER = "Within 30 days."
OVERLOADED = {"code": 502, "message": "Provider disconnected"}
Json = dict[str, Any]


def stream(*events: Json, kind: str = "text/event-stream") -> Reply:
    """A stream of any events."""
    return body("".join(f"data: {json.dumps(event)}\n\n" for event in events) + "data: [DONE]\n\n", kind)


def event(text: str = "", finish: str | None = None, **choice: Any) -> Json:
    """An event with a piece of text; `choice` are fields of its choice."""
    return {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": finish, **choice}]}


def whole(*choices: Json, kind: str = "application/json", **fields: Any) -> Reply:
    """A reply that is not streamed."""
    return body(json.dumps({"choices": choices, **fields}), kind)


SHAPES: dict[str, Reply] = {
    "another choice": stream(
        event("Within "), event("Not ", index=1), event("30 days."), event(finish="stop", index=1)
    ),
    "two choices in an event": stream({"choices": [event("No", index=1)["choices"][0], event(ANSWER)["choices"][0]]}),
    "only the other has an end": stream(event(ANSWER), event("", "length", index=1)),
    "a message, not a delta": stream({"choices": [{"message": {"content": ANSWER}, "finish_reason": "stop"}]}),
    "a stream that is called JSON": stream(event("Within "), event("30 days.", "stop"), kind="application/json"),
    "a whole reply": whole({"message": {"content": ANSWER}, "finish_reason": "stop"}),
    "a whole reply without an end": whole({"message": {"content": ANSWER}}),
    "a whole reply whose end is null": whole({"index": 0, "message": {"content": ANSWER}, "finish_reason": None}),
    "a whole reply that is called a stream": whole({"message": {"content": ANSWER}}, kind="text/event-stream"),
    "a finish reason that is a number": stream(event(ANSWER), event(finish=1)),  # pyright: ignore[reportArgumentType] - as a server may
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=list(SHAPES))
async def test_an_answer_may_have_any_shape(serve: Serve, redis: Redis, model: ScriptedModel, shape: Reply) -> None:
    """It is shown whole, once, and kept."""
    model.script("answer", shape)
    async with caching(serve) as (url,), httpx.AsyncClient(base_url=url) as client:
        replies = [await client.post("/ask", json=QUESTION) for _ in range(2)]
    assert [reply.json()["answer"] for reply in replies] == [ANSWER, ANSWER]
    assert [reply.headers["X-Cache"] for reply in replies] == ["miss", "hit"]


@pytest.mark.parametrize(
    "failure",
    [
        event("", "error", error=OVERLOADED),
        event("", "error"),
        event("", "ERROR"),
        event("", "abort"),
        event(error=OVERLOADED),
        {"object": "error", "message": "EngineDeadError", "type": "InternalServerError", "param": None, "code": 500},
        {"detail": "Internal Server Error"},
    ],
    ids=["choice", "reason", "upper case", "abort", "no reason", "vLLM", "detail"],
)
async def test_an_answer_that_fails_half_way_ends_with_the_error(
    client: httpx.AsyncClient, model: ScriptedModel, failure: Json
) -> None:
    """It is never passed off as whole, wherever its server says so."""
    model.script("answer", stream(event("Half "), event("an answer"), failure))
    text = (await client.get("/stream", params=QUESTION)).text
    assert "Half an answer" in text.replace("\n\ndata: ", "").replace("data: ", "")
    assert "event: error" in text
    assert "model-unavailable" in text
    assert "[DONE]" not in text


@pytest.mark.parametrize(
    ("failure", "kind_of_error"),
    [
        (
            {"object": "error", "message": "The model `m` does not exist.", "type": "NotFoundError", "code": 404},
            "model-refused",
        ),
        (
            {"object": "error", "message": "This model's maximum context length is 4096 tokens.", "code": 400},
            "context-too-long",
        ),
        ({"detail": [{"loc": ["body"], "msg": "Field required"}]}, "model-unavailable"),
        (
            {"choices": [{"finish_reason": "error", "error": {"code": 402, "message": "Insufficient credits"}}]},
            "model-quota",
        ),
    ],
)
@pytest.mark.parametrize("kind", ["answer", "classify"])
async def test_an_error_in_a_200_says_what_it_is(
    client: httpx.AsyncClient, model: ScriptedModel, failure: Json, kind_of_error: str, kind: Kind
) -> None:
    """It is no empty reply, whole or as the first event of a stream."""
    sent = json.dumps(failure)
    replies = [body(sent, "application/json"), *([stream(failure)] if kind == "answer" else [])]
    for reply in replies:
        model.script(kind, reply)
        response = await client.post("/ask", json=QUESTION)
        assert response.json().get("type") == kind_of_error


REFUSALS: dict[str, Reply] = {
    "a delta": tokens([{"refusal": "I'm sorry, "}, {"refusal": "I can't."}]),
    "a message": whole({"message": {"content": None, "refusal": "I'm sorry."}, "finish_reason": "stop"}),
    "after a token": tokens(["Half ", {"refusal": "I'm sorry."}]),
    **{
        reason: tokens([], finish=reason)
        for reason in ("refusal", "guardrail_intervened", "sensitive", "content_filter: PROHIBITED_CONTENT")
    },
}


@pytest.mark.parametrize("refused", REFUSALS.values(), ids=list(REFUSALS))
async def test_a_refusal_is_a_filter(client: httpx.AsyncClient, model: ScriptedModel, refused: Reply) -> None:
    """The customer gets the polite sentence, and the model is not asked again."""
    model.script("answer", refused)
    response = await client.post("/ask", json=QUESTION)
    assert (response.status_code, response.json()["type"]) == (422, "content-filtered")
    assert len(model.of("answer")) == 1


async def test_a_classifier_may_refuse(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """What it refuses is not answered either."""
    model.script("classify", label(None, refusal="I'm sorry."))
    assert (await client.post("/ask", json=QUESTION)).json()["type"] == "content-filtered"
    assert len(model.of("classify")) == 1

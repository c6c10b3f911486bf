"""Model servers with invalid or unusual responses."""

import json
from typing import Any

import httpx
import pytest
from starlette.types import Send

from conftest import Serve
from graph.nodes import saying
from harness.scripted_model import (
    Call,
    Kind,
    Reply,
    ScriptedModel,
    body,
    broken_usage,
    stall,
    status,
    stream_of,
    tokens,
)

QUESTION = {"question": "Why was I charged twice?"}


@pytest.mark.parametrize("reply", [stall, status(429, {"retry-after": "2"}), tokens([], then=stall)])
async def test_the_fallback_has_time_when_the_answer_model_is_slow(
    serve: Serve, model: ScriptedModel, reply: Reply
) -> None:
    """With a fallback, the answer model may use half of the turn's time."""

    async def by_model(call: Call, send: Send) -> None:
        await (tokens(["From the fallback"]) if call.body["model"] == "plan-b" else reply)(call, send)

    model.script("answer", by_model)
    variables = {"SUPPORT_FALLBACK_MODEL": "plan-b", "SUPPORT_ANSWER_TIMEOUT": 3}
    async with serve(**variables) as url, httpx.AsyncClient(base_url=url, timeout=10) as client:
        answer = (await client.post("/ask", json=QUESTION)).json()
    assert answer["answer"] == "From the fallback"


@pytest.mark.parametrize(
    ("pieces", "answer"),
    [
        (["a\ud83d", "\ude00b"], "a\U0001f600b"),
        (["a\ud83d\ude00b"], "a\U0001f600b"),
        (["a\ud800b"], "a\ufffdb"),
        (["a\ud800"], "a\ufffd"),
        (["\ude00", "é"], "\ufffdé"),
    ],
)
async def test_half_characters_are_joined_or_replaced(
    client: httpx.AsyncClient, model: ScriptedModel, pieces: list[str], answer: str
) -> None:
    """A character split across chunks is joined; an incomplete one is replaced and the stream goes on."""
    model.script("answer", tokens(pieces))
    assert (await client.post("/ask", json=QUESTION)).json()["answer"] == answer
    streamed = await client.get("/stream", params=QUESTION)
    assert "".join(line.removeprefix("data: ") for line in streamed.text.split("\n")) == f"{answer}[DONE]"


@pytest.mark.parametrize(
    ("usages", "used"),
    [([110, 111, 112], 112), ([None], 0), ([-5], 0), ([2 * 10**30], 0)],
    ids=["running", "missing", "negative", "absurd"],
)
async def test_usage_is_what_a_server_says_last_if_it_makes_sense(
    client: httpx.AsyncClient, model: ScriptedModel, usages: list[Any], used: int
) -> None:
    """The last usage counts, not the sum; an invalid one is ignored without failing the answer."""
    model.script("answer", stream_of(["Hello"] * len(usages), usages))
    response = await client.post("/ask", json=QUESTION)
    assert response.status_code == 200
    assert response.json()["tokens_used"] == 50 + used


async def test_a_fault_after_the_whole_answer_costs_its_usage_alone(
    client: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """A fault after the complete answer loses only its usage."""
    model.script("answer", tokens(["Hello"], end=False, then=broken_usage))
    response = await client.post("/ask", json=QUESTION)
    assert (response.json()["answer"], response.json()["tokens_used"]) == ("Hello", 50)


@pytest.mark.parametrize(
    "vectors", [[[0.5] * 32], [[]], [[0.0] * 64], [["a"] * 64], [[1e999] * 64], []], ids=lambda v: str(v)[:20]
)
async def test_rubbish_vectors_make_the_model_unavailable(
    client: httpx.AsyncClient, model: ScriptedModel, vectors: list[Any]
) -> None:
    """Vectors of the wrong length, empty, zero or not numeric make the model unavailable."""
    data = [{"object": "embedding", "index": 0, "embedding": vector} for vector in vectors]
    usage = {"prompt_tokens": 1, "total_tokens": 1}
    content = json.dumps({"object": "list", "data": data, "model": "m", "usage": usage})
    model.script("embeddings", body(content, "application/json"))
    response = await client.post("/ask", json=QUESTION)
    assert (response.status_code, response.json()["type"]) == (503, "model-unavailable")


@pytest.mark.parametrize("kind", ["classify", "answer", "embeddings"])
async def test_a_redirect_is_not_followed(client: httpx.AsyncClient, model: ScriptedModel, kind: Kind) -> None:
    """Questions go only to the configured server."""
    model.script(kind, body("", "text/plain", 307, {"location": f"{model.url}/elsewhere"}))
    response = await client.post("/ask", json=QUESTION)
    assert (response.status_code, response.json()["type"]) == (502, "model-refused")
    assert len(model.of(kind)) == 1
    assert model.of("other") == []


async def test_an_endless_answer_is_cut_off(
    client: httpx.AsyncClient, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reply that never ends is cut off."""
    monkeypatch.setattr(saying, "LONGEST", 1000)
    model.script("answer", tokens(["x" * 100] * 100, pause=0.01))
    response = await client.post("/ask", json=QUESTION)
    assert (response.status_code, response.json()["type"]) == (503, "model-unavailable")

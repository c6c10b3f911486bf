"""Embedding servers that take few texts, or short ones."""

import json

import httpx
import pytest
from redis.asyncio import Redis

from conftest import MakeSettings, Serve
from graph.models import open_models
from harness import dialects
from harness.dialects import openai_refusal, refusal
from harness.scripted_model import Reply, ScriptedModel, body, embedded, status

VECTORS = embedded(64)
QUESTION = {"question": "Why was I charged twice?"}
LONG = "Why was I charged twice? " * 100  # 2,500 characters

TOO_MANY: dict[str, Reply] = {
    "DashScope": openai_refusal("batch size is invalid, it should not be larger than 4.: input.contents"),
    "text-embeddings-inference": refusal(
        {"error": "batch size 6 > maximum allowed batch size 4", "error_type": "Validation"}, 422
    ),
    "SiliconFlow": refusal({"code": 20042, "message": "input batch size 6 > maximum allowed batch size 4"}, 413),
}
TOO_LONG: dict[str, Reply] = {
    "llama.cpp": refusal(
        {
            "error": {
                "code": 500,
                "message": "input (1300 tokens) is too large to process. increase the physical batch size "
                "(current batch size: 512)",
                "type": "server_error",
            }
        },
        500,
    ),
    "vLLM": openai_refusal("This model's maximum context length is 512 tokens. However, you requested 700 tokens."),
    "text-embeddings-inference": refusal(
        {"error": "Input validation error: `inputs` must have less than 512 tokens. Given: 700"}, 413
    ),
    "a server that only says 500": status(500),
    "a server that only says 400": status(400),
}


@pytest.mark.parametrize("refused", TOO_MANY.values(), ids=list(TOO_MANY))
async def test_articles_are_embedded_in_batches_that_the_server_takes(
    serve: Serve, model: ScriptedModel, refused: Reply
) -> None:
    """A batch that is refused is sent in halves, and later ones begin with what was taken."""
    model.script("embeddings", dialects.batches_of(4, refused, VECTORS))
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        assert [len(call.body["input"]) for call in model.of("embeddings")] == [1, 6, 3, 3]
        assert (await client.post("/ask", json=QUESTION)).json()["sources"]


@pytest.mark.parametrize("refused", TOO_LONG.values(), ids=list(TOO_LONG))
async def test_a_long_question_is_searched_by_its_beginning(
    client: httpx.AsyncClient, model: ScriptedModel, refused: Reply
) -> None:
    """However the server says that a text is too long, each such question is answered, and so is the next short one."""
    model.script("embeddings", dialects.texts_up_to(1000, refused, VECTORS))
    for n in range(3):
        response = await client.post("/ask", json={"question": f"{LONG}{n}"})
        assert response.status_code == 200, response.text
        found = model.of("embeddings")[-1].body["input"][0]
        assert LONG.startswith(found)
        assert 300 < len(found) <= 1000
    assert (await client.post("/ask", json=QUESTION)).status_code == 200


async def test_long_articles_are_found_by_their_beginning(serve: Serve, model: ScriptedModel) -> None:
    """One article that is too long keeps no other from the index."""
    model.script("embeddings", dialects.texts_up_to(90, TOO_LONG["vLLM"], VECTORS))
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.get("/ready")).json()["checks"]["articles"]["up"]
        assert (await client.post("/ask", json=QUESTION)).status_code == 200


@pytest.mark.parametrize("has_index", [True, False])
async def test_vectors_belong_to_the_texts_that_they_are_numbered_for(
    make_settings: MakeSettings, model: ScriptedModel, *, has_index: bool
) -> None:
    """A server may reply in any order, as one that works in parallel does; without numbers the order counts."""
    data = [{"embedding": [float(n), 1.0], **({"index": n} if has_index else {})} for n in (2, 0, 1)]
    model.script("embeddings", body(json.dumps({"data": data}), "application/json"))
    async with open_models(make_settings()) as models:
        found = await models.embed(["a", "b", "c"])
    assert [vector[0] for vector in found] == ([0, 1, 2] if has_index else [2, 0, 1])


async def test_what_one_text_causes_opens_no_breaker(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """A text that the server never takes fails its own question, however often it is asked, and no other."""
    model.script(
        "embeddings", dialects.unless(lambda request: "\u200b" in request["input"][0][:40], status(500), VECTORS)
    )
    for n in range(4):
        response = await client.post("/ask", json={"question": f"a\u200b {n}"})
        assert (response.status_code, response.json()["type"]) == (502, "model-refused")
    assert (await client.post("/ask", json=QUESTION)).status_code == 200
    assert 'breaker_open{name="model text-embedding-3-small"} 1' not in (await client.get("/metrics")).text


async def test_a_server_that_fails_for_a_moment_gets_the_whole_question(
    client: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """A 500 that passes cuts nothing."""
    model.script("embeddings", status(500), VECTORS)
    assert (await client.post("/ask", json={"question": LONG.strip()})).status_code == 200
    assert model.of("embeddings")[-1].body["input"] == [LONG.strip()]


async def test_a_server_that_is_down_opens_the_breaker(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """Where no text is taken, it is the server."""
    model.script("embeddings", status(500))
    for _ in range(3):
        response = await client.post("/ask", json={"question": LONG.strip()})
        assert (response.status_code, response.json()["type"]) == (503, "model-unavailable")
    model.forget()
    assert (await client.post("/ask", json=QUESTION)).status_code == 503
    assert model.of("embeddings") == []


async def test_a_follow_up_is_embedded_one_text_at_a_time_if_need_be(
    redis: Redis, client: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """A server for one text answers follow-ups, which are two."""
    too_many = TOO_MANY["DashScope"]
    model.script("embeddings", dialects.batches_of(1, too_many, VECTORS))
    for message in ("Why was I charged twice?", "And when is it returned?", "Thank you, and the refund?"):
        response = await client.post("/chat", json={"message": message, "session_id": "s-1"})
        assert response.status_code == 200, response.text
    assert [len(call.body["input"]) for call in model.of("embeddings")] == [1, 2, 1, 1, 1, 1]

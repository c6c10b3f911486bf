"""A start while the model's server is down."""

import asyncio
import time
from collections.abc import AsyncGenerator
from typing import Any

import httpx
import psycopg
import pytest
from redis.asyncio import Redis
from starlette.types import Send

from conftest import Serve
from graph.retrieval import index
from harness.fault_proxy import FaultProxy, fault_proxy
from harness.scripted_model import Call, Reply, ScriptedModel, embedded, status

QUESTION = {"question": "When is support open?"}
SESSION = {"message": "When is support open?", "session_id": "s-1"}


@pytest.fixture
async def way(model: ScriptedModel) -> AsyncGenerator[FaultProxy]:
    """What stands between the service and the model's server."""
    async with fault_proxy("127.0.0.1", httpx.URL(model.url).port or 0) as proxy:
        yield proxy


@pytest.fixture
def settings(way: FaultProxy) -> dict[str, Any]:
    """An answer cache, and a model's server that can go away."""
    return {"OPENAI_BASE_URL": f"http://127.0.0.1:{way.port}/v1", "SUPPORT_CACHE_TTL": 3600}


async def go_away(way: FaultProxy) -> None:
    way.refuse()
    await way.cut()


async def articles_of(client: httpx.AsyncClient) -> tuple[int, dict[str, Any]]:
    response = await client.get("/ready")
    return response.status_code, response.json()["checks"]["articles"]


async def answered(client: httpx.AsyncClient, seconds: float) -> None:
    """Ask something new until it is answered."""
    began = time.monotonic()
    while (response := await client.post("/ask", json={"question": f"Is it {time.time()}?"})).status_code != 200:
        assert response.json()["type"] in ("model-unavailable", "model-refused", "knowledge-unavailable"), response.text
        assert time.monotonic() - began < seconds, response.text
        await asyncio.sleep(0.2)


@pytest.mark.parametrize("where", ["memory", "postgres without an index"])
async def test_a_start_needs_no_model(
    serve: Serve,
    redis: Redis,
    way: FaultProxy,
    settings: dict[str, Any],
    where: str,
    request: pytest.FixtureRequest,
) -> None:
    """Kept answers and histories are served, a question is 503, and the index is built once the model is back."""
    if where != "memory":
        settings["DATABASE_URL"] = request.getfixturevalue("database_url")
    async with serve(**settings) as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.post("/ask", json=QUESTION)).status_code == 200
        assert (await client.post("/chat", json=SESSION)).status_code == 200
    if where != "memory":
        with psycopg.connect(settings["DATABASE_URL"], autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
    await go_away(way)
    async with serve(**settings) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        assert (await client.get("/health")).status_code == 200
        code, articles = await articles_of(client)
        assert (code, articles["up"]) == (503, False)
        assert (await client.get("/ready")).json()["status"] == "starting"
        assert "'text-embedding-3-small' gave no vectors (ConnectionRefusedError); check" in articles["reason"]
        kept = await client.post("/ask", json=QUESTION)
        assert (kept.status_code, kept.headers["X-Cache"]) == (200, "hit")
        assert len((await client.get("/sessions/s-1")).json()["messages"]) == 2
        for path, body in (("/ask", {"question": "Something new?"}), ("/chat", SESSION), ("/chat/stream", SESSION)):
            response = await client.post(path, json=body)
            said = response.text if path == "/chat/stream" else response.json()["type"]
            assert "model-unavailable" in said, (path, response.text)
        way.restore()
        await answered(client, 10)
        assert (await articles_of(client))[0] == 200
        assert (await client.post("/chat", json=SESSION)).status_code == 200


async def test_a_start_on_an_index_needs_no_model(
    serve: Serve, redis: Redis, model: ScriptedModel, way: FaultProxy, settings: dict[str, Any], database_url: str
) -> None:
    """A replica that finds the index in Postgres is ready at once, and stays so, whatever the model does."""
    settings["DATABASE_URL"] = database_url
    async with serve(**settings) as url, httpx.AsyncClient(base_url=url) as client:
        assert (await client.post("/ask", json=QUESTION)).status_code == 200
    model.forget()
    await go_away(way)
    async with serve(**settings) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        assert (await client.get("/ready")).status_code == 200
        kept = await client.post("/ask", json=QUESTION)
        assert (kept.status_code, kept.headers["X-Cache"]) == (200, "hit")
        response = await client.post("/ask", json={"question": "Something new?"})
        assert (response.status_code, response.json()["type"]) == (503, "model-unavailable")
        assert (await client.get("/ready")).status_code == 200
        way.restore()
        await answered(client, 10)
    assert all("\n" not in text for call in model.of("embeddings") for text in call.body["input"])  # no article again


async def test_a_model_that_hangs_does_not_hold_the_start_up(
    serve: Serve, redis: Redis, way: FaultProxy, settings: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes connections and answers nothing: the service starts, and says what it waits for."""
    monkeypatch.setattr(index, "_PATIENCE", 0.5)
    way.freeze()
    began = time.monotonic()
    async with serve(**settings) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        assert time.monotonic() - began < 15  # its budget is 60
        assert (await client.get("/health")).status_code == 200
        code, articles = await articles_of(client)
        assert (code, articles["reason"]) == (503, "the embedding model has not answered yet")
        response = await client.post("/ask", json=QUESTION)
        assert (response.status_code, response.json()["type"]) == (503, "model-unavailable")
        way.thaw()
        await answered(client, 10)


async def test_a_model_that_hangs_decides_nothing_once_there_is_an_index(
    serve: Serve,
    redis: Redis,
    model: ScriptedModel,
    way: FaultProxy,
    settings: dict[str, Any],
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Even if it then gives vectors of another length: the log says what is wrong."""
    settings["DATABASE_URL"] = database_url
    async with serve(**settings):
        pass
    monkeypatch.setattr(index, "_PATIENCE", 0.5)
    model.script("embeddings", embedded(32))
    way.freeze()
    async with serve(**settings) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        assert (await client.get("/ready")).status_code == 200
        way.thaw()
        async with asyncio.timeout(10):
            while "it holds vectors of another length" not in caplog.text:
                await asyncio.sleep(0.1)
        await asyncio.sleep(1.1)  # a check is cached for a second
        assert (await client.get("/ready")).status_code == 200
        response = await client.post("/ask", json=QUESTION)
        assert (response.status_code, response.json()["type"]) == (503, "model-unavailable")


async def test_a_key_that_is_refused_is_said_where_there_is_an_index(
    serve: Serve, redis: Redis, model: ScriptedModel, database_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The service is ready all the same."""
    async with serve(DATABASE_URL=database_url):
        pass
    model.script("embeddings", status(401))
    async with serve(DATABASE_URL=database_url) as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        assert (await client.get("/ready")).status_code == 200
    assert "refused the key (HTTP 401); correct OPENAI_API_KEY" in caplog.text


async def test_the_reason_is_the_latest(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """Also once the circuit breaker is open: what opened it says more."""
    model.script("embeddings", status(500))
    async with serve() as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        assert "HTTP 500" in (await articles_of(client))[1]["reason"]
        model.script("embeddings", status(404))
        async with asyncio.timeout(15):
            while "HTTP 404" not in (await articles_of(client))[1]["reason"]:
                await asyncio.sleep(0.2)


@pytest.mark.parametrize("code", [401, 403])
async def test_a_refused_key_is_said_in_the_log(
    serve: Serve, redis: Redis, model: ScriptedModel, caplog: pytest.LogCaptureFixture, code: int
) -> None:
    """Once, however often it is tried, with the variable to correct; a key that is accepted later needs no restart."""
    model.script("embeddings", status(code))
    async with serve() as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        await asyncio.sleep(2.5)
        assert (await client.get("/ready")).status_code == 503
        model.script("embeddings", embedded(64))
        await answered(client, 10)
    said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert [line for line in said if "refused the key" in line and "OPENAI_API_KEY" in line] == said


async def test_ready_says_how_far_the_index_is(
    serve: Serve, redis: Redis, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While it is built a question is 503, and takes no part in building it."""
    going_on = asyncio.Event()
    vectors: Reply = embedded(64)

    async def slow(call: Call, send: Send) -> None:
        if "\n" in call.body["input"][0]:
            await going_on.wait()
        await vectors(call, send)

    model.script("embeddings", slow)
    monkeypatch.setattr(index, "_PATIENCE", 0.5)
    async with serve() as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        code, articles = await articles_of(client)
        assert (code, articles["reason"]) == (503, "0 of 6 passages are indexed")
        response = await client.post("/ask", json=QUESTION)
        assert (response.status_code, response.json()["type"]) == (503, "knowledge-unavailable")
        going_on.set()
        await answered(client, 10)

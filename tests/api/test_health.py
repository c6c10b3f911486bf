"""Readiness and liveness probes, and what they report about dependencies."""

import asyncio
import gc
import logging
import sys
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from conftest import Serve
from graph.models import watch
from harness.dialects import refusal
from harness.own_redis import own_redis
from harness.scripted_model import Reply, ScriptedModel, body, html, label, stall, status, tokens


async def ready(client: httpx.AsyncClient) -> tuple[int, dict[str, bool]]:
    response = await client.get("/ready")
    checks = response.json()["checks"]
    assert all(check["latency_ms"] >= 0 for check in checks.values())
    return response.status_code, {name: check["up"] for name, check in checks.items()}


async def test_ready_names_what_is_down_and_forgets_it_when_it_is_back(
    serve: Serve, model: ScriptedModel, tmp_path: Path
) -> None:
    """Without Redis there is no new work for this replica."""
    with own_redis(tmp_path) as own:
        async with serve(REDIS_URL=own.url) as url, httpx.AsyncClient(base_url=url) as client:
            assert await ready(client) == (200, {"redis": True, "articles": True, "model": True})
            own.freeze()
            await asyncio.sleep(1.1)
            assert await ready(client) == (503, {"redis": False, "articles": True, "model": True})
            own.thaw()
            async with asyncio.timeout(10):
                while (await ready(client))[0] != 200:
                    await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (status(401), "gpt-4o refused the key"),
        (status(500), "gpt-4o fails with HTTP 500"),
        (stall, "has not answered yet"),
        (body("{not json", "application/json"), "gpt-4o answers rubbish"),
        (html, "gpt-4o answers with a web page"),
        (refusal({"error": {"code": "insufficient_quota", "message": "sk-secret"}}, 200), "gpt-4o has no credit left"),
    ],
    ids=["key", "500", "stall", "rubbish", "page", "quota"],
)
async def test_a_model_that_is_down_is_named_and_costs_no_replica(
    serve: Serve,
    redis: Redis,
    model: ScriptedModel,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    reply: Reply,
    reason: str,
) -> None:
    """Since kept answers are given, and no other replica has another model."""
    monkeypatch.setattr(watch, "_FIRST", 0.2 if reply is stall else 5)
    model.script("answer", reply)
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        response = await client.get("/ready")
    told = response.json()["checks"]["model"]
    assert (response.status_code, told["up"]) == (200, False)
    assert told["reason"].startswith(reason)
    assert "sk-" not in response.text + caplog.text
    assert reply is stall or caplog.text.count(f"model check: {reason}") == 1


async def test_a_start_asks_each_model_for_what_a_turn_needs(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """As it will be asked: the classifier for a word, the answer and its fallback streamed, the embeddings."""
    async with serve(SUPPORT_FALLBACK_MODEL="plan-b") as url, httpx.AsyncClient(base_url=url) as client:
        assert (await ready(client))[1]["model"]
        asked = {call.body["model"]: call.body for call in model.checks}
        model.forget()
        assert (await client.post("/ask", json={"question": "Why was I charged twice?"})).status_code == 200
    assert asked.keys() == {"gpt-4o-mini", "gpt-4o", "plan-b", "text-embedding-3-small"}
    for call in model.calls:
        check = asked[call.body["model"]]
        content = {"messages", "input"}
        assert {name: value for name, value in check.items() if name not in content} == {
            name: value for name, value in call.body.items() if name not in content
        }


async def test_probes_ask_no_model(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """However often they run, and whatever is known."""
    model.script("answer", status(500))
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        model.forget()
        await asyncio.gather(*(client.get("/ready") for _ in range(50)))
    assert model.calls + model.checks == []


async def test_a_turn_that_failed_has_the_models_checked(
    serve: Serve, redis: Redis, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not more than once in a while; a turn that is answered shows that the model is back."""
    question = {"question": "Why was I charged twice?"}
    monkeypatch.setattr(watch, "_PAUSE", 0.5)
    async with serve() as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        assert (await client.get("/ready")).json()["checks"]["model"]["up"]
        await asyncio.sleep(0.6)
        model.forget()
        model.script("answer", status(401))
        for _ in range(3):
            assert (await client.post("/ask", json=question)).status_code == 502
        async with asyncio.timeout(5):
            while (await client.get("/ready")).json()["checks"]["model"]["up"]:
                await asyncio.sleep(0.05)
        assert len(model.checks) == 3
        model.script("answer", tokens(["Hello"]))
        assert (await client.post("/ask", json=question)).status_code == 200
        assert (await client.get("/ready")).json()["checks"]["model"]["up"]
    assert len(model.checks) == 3


@pytest.mark.parametrize("fault", ["filter", "busy"])
async def test_what_the_model_did_not_do_has_nothing_checked(
    serve: Serve, redis: Redis, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch, fault: str
) -> None:
    """A filtered question and a busy session are no reason."""
    monkeypatch.setattr(watch, "_PAUSE", 0)
    async with serve() as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        model.forget()
        if fault == "filter":
            model.script("answer", tokens([], finish="content_filter"))
            assert (await client.post("/ask", json={"question": "Why?"})).status_code == 422
        else:
            model.script("answer", tokens(["Hello"], pause=0.5))
            message = {"message": "Why?", "session_id": "s-1"}
            codes = await asyncio.gather(*(client.post("/chat", json=message) for _ in range(2)))
            assert sorted(response.status_code for response in codes) == [200, 409]
        await asyncio.sleep(0.2)
    assert model.checks == []


async def test_a_classifier_that_names_no_desk_is_said_at_the_start(
    serve: Serve, redis: Redis, model: ScriptedModel, caplog: pytest.LogCaptureFixture
) -> None:
    """It is asked twice; general answers do not show that it got better, others do."""
    model.script("classify", label("Sure! I can help."))
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        assert len([call for call in model.checks if call.kind == "classify"]) == 2
        for word, up in (("Sure!", False), ("general", False), ("billing", True)):
            model.script("classify", label(word))
            assert (await client.post("/ask", json={"question": "Why?"})).status_code == 200
            assert (await client.get("/ready")).json()["checks"]["model"]["up"] is up
    assert caplog.text.count("model check: gpt-4o-mini named no desk; set SUPPORT_CLASSIFY_MODEL") == 1


async def test_what_watches_the_service_fills_no_log(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    """Probe requests are logged above debug level only if they fail; all other requests always are."""
    caplog.set_level(logging.DEBUG, logger="api.middleware")
    async with serve(REDIS_URL="redis://127.0.0.1:1/0") as url, httpx.AsyncClient(base_url=url) as client:
        for path in ("/health", "/metrics", "/ready", "/nothing"):
            await client.get(path)
    said = [(r.levelname, r.getMessage()) for r in caplog.records if r.name == "api.middleware"]
    assert said == [
        ("DEBUG", "GET /health 200"),
        ("DEBUG", "GET /metrics 200"),
        ("INFO", "GET /ready 503"),
        ("INFO", "GET (no route) 404"),
    ]


async def test_a_service_leaves_what_lives_as_long_as_itself_to_no_collection(serve: Serve) -> None:
    """Long-lived objects are frozen for the garbage collector, and released when the service ends."""
    before = gc.get_threshold()
    async with serve():
        assert gc.get_freeze_count() > 10_000
        assert gc.get_threshold() == (*before[:2], 100)
    assert (gc.get_freeze_count(), gc.get_threshold()) == (0, before)


async def test_threads_that_compute_make_requests_wait_for_a_moment_alone(serve: Serve) -> None:
    """They take turns with the event loop more often than by default, while the service runs."""
    before = sys.getswitchinterval()
    async with serve():
        assert sys.getswitchinterval() == pytest.approx(0.001)
    assert sys.getswitchinterval() == before

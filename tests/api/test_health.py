"""Readiness and liveness probes, and what they report about dependencies."""

import asyncio
import gc
import logging
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from conftest import Serve
from harness.own_redis import own_redis
from harness.scripted_model import Reply, ScriptedModel, body, stall, status


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
        (status(401), "refused the key"),
        (status(500), "HTTP 500"),
        (stall, "no answer in 0.7 s"),
        (body("{not json", "application/json"), "answers rubbish"),
    ],
    ids=["key", "500", "stall", "rubbish"],
)
async def test_a_model_that_is_down_is_named_and_costs_no_replica(
    serve: Serve, redis: Redis, model: ScriptedModel, reply: Reply, reason: str
) -> None:
    """Since kept answers are given, and no other replica has another model."""
    model.script("other", reply)
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        response = await client.get("/ready")
    assert (response.status_code, response.json()["checks"]["model"]["reason"]) == (200, reason)


async def test_probes_are_cheap(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """However often probes run, the model is checked at intervals only."""
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        model.forget()
        await asyncio.gather(*(client.get("/ready") for _ in range(50)))
    assert len(model.calls) == 1


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

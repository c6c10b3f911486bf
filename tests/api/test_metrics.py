"""The metrics at /metrics."""

import asyncio

import httpx
import pytest
from redis.asyncio import Redis

from api.auth import digest, new_key
from conftest import Serve
from graph.observe import prices
from harness.measured import measured
from harness.scripted_model import Primary, ScriptedModel, status, tokens

QUESTION = {"question": "Why was I charged twice?"}


async def test_runs_are_counted_by_category_and_outcome(
    serve: Serve, redis: Redis, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Runs are counted with durations, tokens and cost, and answers by cache outcome."""
    monkeypatch.setattr(prices, "_rates", lambda *_: (0.001, 0.002))
    model.script("answer", tokens(["Yes."]), tokens(["Yes."]), status(400))
    async with serve(SUPPORT_CACHE_TTL=60) as url, httpx.AsyncClient(base_url=url) as client:

        async def now() -> dict[str, float]:
            names: dict[str, dict[str, str]] = {
                "support_agent_run_duration_seconds_count": {"category": "billing", "outcome": "done"},
                "support_agent_first_token_seconds_count": {},
                "support_agent_tokens_total": {},
                "support_agent_cost_dollars_total": {},
                "support_agent_answers_total": {"cache": "hit"},
                "http_server_request_duration_seconds_count": {"http_route": "/ask"},
            }
            failed = {"category": "billing", "outcome": "model-refused"}
            found = {name: await measured(client, name, **labels) for name, labels in names.items()}
            return found | {"failed": await measured(client, "support_agent_run_duration_seconds_count", **failed)}

        before = await now()
        used = 0
        for question in ("One?", "One?", "Two?", "Three?"):
            used += (await client.post("/ask", json={"question": question})).json().get("tokens_used", 0)
        gained = {name: value - before[name] for name, value in (await now()).items()}
    assert gained["support_agent_run_duration_seconds_count"] == 2
    assert gained["support_agent_first_token_seconds_count"] == 2
    assert gained["support_agent_tokens_total"] == used + 50  # of the third run's classifier
    assert gained["support_agent_cost_dollars_total"] > 0.1
    assert gained["support_agent_answers_total"] == 1
    assert gained["http_server_request_duration_seconds_count"] == 4
    assert gained["failed"] == 1


async def test_what_is_under_way_is_shown(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """Gauges show active runs and open streams."""
    model.script("answer", tokens(["Well", ", yes."], pause=0.5))
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        names = ("support_agent_active_runs", "support_agent_open_streams")
        before = [await measured(client, name) for name in names]
        async with client.stream("POST", "/chat/stream", json={"message": "Hello?"}) as stream:
            during = [await measured(client, name) for name in names]
            await stream.aread()
        await asyncio.sleep(0.1)
        after = [await measured(client, name) for name in names]
    assert [now - then for now, then in zip(during, before, strict=True)] == [1, 1]
    assert after == before


async def test_a_fallback_and_a_breaker_are_shown(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """The metrics show fallbacks, and the circuit breaker opening and closing."""
    primary = Primary()
    model.script("answer", primary)
    async with serve(SUPPORT_FALLBACK_MODEL="plan-b") as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        before = await measured(client, "support_agent_fallbacks_total", outcome="answered")
        for _ in range(3):
            await client.post("/ask", json=QUESTION)
        assert await measured(client, "support_agent_fallbacks_total", outcome="answered") == before + 3
        assert await measured(client, "support_agent_breaker_open", name="model gpt-4o") == 1
        primary.down = False
        async with asyncio.timeout(15):
            while await measured(client, "support_agent_breaker_open", name="model gpt-4o"):
                await client.post("/ask", json=QUESTION)
                await asyncio.sleep(0.2)


async def test_refusals_and_redis_errors_are_counted(serve: Serve, model: ScriptedModel) -> None:
    """Rate-limited requests and Redis errors are counted."""
    variables = {"SUPPORT_RATE_LIMIT": "1/minute", "REDIS_URL": "redis://127.0.0.1:1/0"}
    async with serve(**variables) as url, httpx.AsyncClient(base_url=url) as client:
        limited = await measured(client, "support_agent_rate_limited_total")
        errors = await measured(client, "support_agent_redis_errors_total")
        await asyncio.sleep(2.1)  # the result of the check at the start has expired by then
        statuses = [(await client.post("/ask", json=QUESTION)).status_code for _ in range(2)]
        assert statuses == [200, 429]
        assert await measured(client, "support_agent_rate_limited_total") == limited + 1
        assert await measured(client, "support_agent_redis_errors_total") > errors


async def test_metrics_are_the_operators_own(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """With keys only `operator` may read /metrics, and no label holds a customer's or a tenant's words."""
    keys = {name: new_key() for name in ("web", "operator")}
    configured = ",".join(f"{name}:{digest(key).hex()}" for name, key in keys.items())
    async with serve(SUPPORT_API_KEYS=configured) as url, httpx.AsyncClient(base_url=url) as client:
        await client.post("/ask", json={"question": "canary?"}, headers={"X-API-Key": keys["web"]})
        assert (await client.get("/metrics")).status_code == 401
        assert (await client.get("/metrics", headers={"X-API-Key": keys["web"]})).status_code == 401
        seen = await client.get("/metrics", headers={"Authorization": f"Bearer {keys['operator']}"})
    assert seen.status_code == 200
    assert seen.headers["content-type"].startswith("text/plain")
    assert "canary" not in seen.text
    assert "web" not in seen.text

"""Two services that share one Redis."""

import asyncio
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from redis.asyncio import Redis

from conftest import MakeSettings, Serve
from graph.health import check_redis
from graph.redis import open_redis
from graph.redis_prefix import prefixed
from harness.caching import ask
from harness.langsmith import traced
from harness.own_redis import own_redis
from harness.redis_setups import with_user
from harness.scripted_model import ScriptedModel, tokens

SHOP: dict[str, Any] = {"SUPPORT_REDIS_PREFIX": "shop:", "SUPPORT_CACHE_TTL": 60, "SUPPORT_RATE_LIMIT": "100/minute"}


async def keys_of(redis: Redis) -> list[str]:
    return [key.decode() for key in cast("list[bytes]", await redis.keys())]


async def test_everything_that_a_service_keeps_has_its_prefix(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """Conversations, locks, runs, idempotency keys, cached answers, limits and ratings."""
    seen: set[str] = set()
    async with traced(serve, **SHOP) as (client, langsmith):
        model.script("answer", tokens(["Slowly", " now"], pause=0.3))
        chatting = asyncio.create_task(client.post("/chat", json={"message": "Hi?"}, headers={"Idempotency-Key": "1"}))
        asking = asyncio.create_task(ask(client))
        while not chatting.done() or not asking.done():
            seen |= set(await keys_of(redis))
            await asyncio.sleep(0.02)
        await ask(client)
        rating = {"run_id": chatting.result().json()["run_id"], "score": 1}
        assert (await client.post("/feedback", json=rating)).status_code == 202
        async with asyncio.timeout(10):
            while not langsmith.feedback:
                await asyncio.sleep(0.05)
        seen |= set(await keys_of(redis))
    seen |= set(await keys_of(redis))
    assert {key.split(":")[1] for key in seen} >= {"turn", "session", "run", "idempotency", "answer", "answers"}
    assert {key for key in seen if key.endswith(":lock")}
    assert {key for key in seen if "feedback" in key}
    assert not {key for key in seen if not key.startswith("shop:")}


async def test_two_services_keep_apart_what_callers_see(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """The other service has neither the conversation, the run, the cached answer, the rating nor the same limit."""
    limit = {"SUPPORT_CACHE_TTL": 60, "SUPPORT_RATE_LIMIT": "3/minute"}
    async with serve(**limit, SUPPORT_REDIS_PREFIX="a:") as one, serve(**limit, SUPPORT_REDIS_PREFIX="b:") as other:
        async with httpx.AsyncClient(base_url=one) as a, httpx.AsyncClient(base_url=other) as b:
            message = {"message": "Hello?", "session_id": "s-1"}
            run_id = (await a.post("/chat", json=message)).json()["run_id"]
            assert [(await ask(a)).headers["X-Cache"] for _ in range(2)] == ["miss", "hit"]
            assert (await ask(a)).status_code == 429
            assert (await b.get("/sessions/s-1")).status_code == 404
            assert (await b.get(f"/runs/{run_id}/stream")).status_code == 404
            assert (await b.post("/feedback", json={"run_id": run_id, "score": 1})).status_code == 404
            assert (await ask(b)).headers["X-Cache"] == "miss"
            assert (await b.post("/chat", json=message)).json()["messages_in_history"] == 2
            assert (await a.get("/sessions/s-1")).json()["session_id"] == "s-1"


async def test_a_session_that_is_busy_in_one_service_is_free_in_the_other(
    serve: Serve, redis: Redis, model: ScriptedModel
) -> None:
    """Their locks are apart."""
    model.script("answer", tokens(["Slow", "ly"], pause=0.5))
    async with serve(SUPPORT_REDIS_PREFIX="a:") as one, serve(SUPPORT_REDIS_PREFIX="b:") as other:
        async with httpx.AsyncClient(base_url=one) as a, httpx.AsyncClient(base_url=other) as b:
            message = {"message": "Hello?", "session_id": "s-1"}
            waiting = asyncio.create_task(a.post("/chat", json=message))
            while not model.of("answer"):
                await asyncio.sleep(0.01)
            assert (await a.post("/chat", json=message)).status_code == 409
            assert (await b.post("/chat", json=message)).status_code == 200
            assert (await waiting).status_code == 200


async def test_scripts_locks_and_pipelines_use_the_same_names(make_settings: MakeSettings, redis: Redis) -> None:
    """What one writes, the others find."""
    async with open_redis(make_settings(SUPPORT_REDIS_PREFIX="p:")) as shared:
        await shared.set("a", 1)
        script = shared.register_script("return redis.call('get', KEYS[1])")
        assert await script(["a"]) == b"1"
        async with shared.pipeline() as pipe:
            pipe.mget("a", "b")
            pipe.delete("a")
            assert await pipe.execute() == [[b"1", None], 1]
        async with shared.lock("l", timeout=5):
            assert await keys_of(redis) == ["p:l"]


@pytest.mark.parametrize(
    ("command", "sent"),
    [
        (("PING",), ("PING",)),
        (("INFO", "memory"), ("INFO", "memory")),
        (("SET", b"k", "v"), ("SET", b"p:k", "v")),
        (("DEL", "a", "b"), ("DEL", "p:a", "p:b")),
        (("EVALSHA", "sha", 2, "a", "b", "c"), ("EVALSHA", "sha", 2, "p:a", "p:b", "c")),
        (("XGROUP CREATE", "s", "g", "0"), ("XGROUP CREATE", "p:s", "g", "0")),
        (
            ("XREADGROUP", "GROUP", "streams", "c", b"COUNT", 1, b"STREAMS", "a", "b", ">", "0"),
            ("XREADGROUP", "GROUP", "streams", "c", b"COUNT", 1, b"STREAMS", "p:a", "p:b", ">", "0"),
        ),
    ],
)
def test_only_the_keys_of_a_command_get_the_prefix(command: tuple[object, ...], sent: tuple[object, ...]) -> None:
    """Not its values, its options or the names of consumers."""
    assert tuple(prefixed("p:", command)) == sent
    assert tuple(prefixed("", command)) == command


async def test_a_refused_key_is_named_with_its_prefix(make_settings: MakeSettings, tmp_path: Path) -> None:
    """So that the name can be put into the user's rights as it is."""
    with own_redis(tmp_path) as own:
        url = with_user(own, "+@all", "~shop:run:*")
        async with open_redis(make_settings(REDIS_URL=url, SUPPORT_REDIS_PREFIX="shop:")) as shared:
            check = await check_redis(shared)
    assert "shop:turn:*" in str(check.reason)
    assert "shop:run:*" not in str(check.reason)

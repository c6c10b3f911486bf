"""What the service leaves in Redis, and in its own memory."""

import asyncio
import gc
from pathlib import Path
from typing import Any, cast

import httpx
import pytest
from redis.asyncio import Redis

from conftest import Report, Serve
from graph import redis_memory
from harness.conversations import several
from harness.measured import measured
from harness.own_redis import own_redis
from harness.redis_setups import with_user
from harness.scripted_model import ScriptedModel, tokens

ANSWER = ["You can change that under Settings, in the section Billing. "] * 15
"""900 characters, in 15 tokens."""


async def ask(client: httpx.AsyncClient, question: str) -> str:
    return (await client.post("/ask", json={"question": question})).json()["run_id"]


async def rate(client: httpx.AsyncClient, run_id: str) -> int:
    return (await client.post("/feedback", json={"run_id": run_id, "score": 1})).status_code


async def names(redis: Redis, pattern: str) -> list[bytes]:
    return cast("list[bytes]", await redis.keys(pattern))


@pytest.mark.parametrize("cache_ttl", [0, 60], ids=["not cached", "cached"])
async def test_only_the_latest_answers_can_be_rated(
    serve: Serve, redis: Redis, model: ScriptedModel, cache_ttl: int
) -> None:
    """As many as configured have a record; the oldest make room."""
    settings: dict[str, Any] = {"SUPPORT_RATABLE_ANSWERS": 5, "SUPPORT_CACHE_TTL": cache_ttl}
    async with serve(**settings) as url, httpx.AsyncClient(base_url=url) as client:
        runs = [await ask(client, f"Question {number}?") for number in range(12)]
        assert await rate(client, runs[0]) == 404
        assert await rate(client, runs[-1]) == 202
        kept = [*await names(redis, "run:*:record"), *await names(redis, "run:*:hits")]
        marks = await names(redis, "run:*:rated")
    assert len(kept) + len(marks) == 5
    assert await redis.zcard("feedback:records") == 5


async def test_a_kept_answer_and_its_hits_share_one_record(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """However often it is asked for; each hit can be rated."""
    async with serve(SUPPORT_CACHE_TTL=60) as url, httpx.AsyncClient(base_url=url) as client:
        runs = [await ask(client, "Why was I charged twice?") for _ in range(10)]
        assert [await rate(client, run_id) for run_id in runs] == [202] * 10
    assert len(set(runs)) == 10
    assert len(await names(redis, "run:*:record")) == 0
    assert len(await names(redis, "run:*:hits")) == 1


async def test_made_up_runs_leave_no_more_than_the_limit_either(
    serve: Serve, redis: Redis, model: ScriptedModel
) -> None:
    """Ids that begin as that of a kept answer can be rated, but not without bound."""
    async with serve(SUPPORT_CACHE_TTL=60, SUPPORT_RATABLE_ANSWERS=5) as url, httpx.AsyncClient(base_url=url) as client:
        run_id = await ask(client, "Why was I charged twice?")
        for number in range(20):
            await rate(client, f"{run_id[:-4]}{number:04}")
    assert len(await names(redis, "run:*")) <= 5


async def test_a_lower_limit_holds_after_a_restart(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """The next answer deletes those over it."""
    for limit, count in ((50, 20), (3, 1)):
        async with serve(SUPPORT_RATABLE_ANSWERS=limit) as url, httpx.AsyncClient(base_url=url) as client:
            for number in range(count):
                await ask(client, f"Question {number}?")
    assert len(await names(redis, "run:*:record")) == 3


async def test_a_redis_that_does_not_tell_how_full_it_is_is_left_in_peace(
    serve: Serve, model: ScriptedModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user without INFO works, so the refusals must not add up to an alert."""
    monkeypatch.setattr(redis_memory, "_PAUSE", 0.05)
    with own_redis(tmp_path) as own:
        async with (
            serve(REDIS_URL=with_user(own, "~*", "+@all", "-info")) as url,
            httpx.AsyncClient(base_url=url) as http,
        ):
            refused = await measured(http, "support_agent_redis_errors_total", kind="NOPERM")
            await asyncio.sleep(0.5)
            assert await measured(http, "support_agent_redis_errors_total", kind="NOPERM") <= refused + 1
            assert (await http.get("/ready")).status_code == 200


async def test_an_operator_hears_of_a_redis_that_fills_up(
    serve: Serve,
    model: ScriptedModel,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A metric and one line in the log say so while it still takes everything."""
    monkeypatch.setattr(redis_memory, "_PAUSE", 0.05)
    with own_redis(tmp_path, "--maxmemory", "20mb", "--maxmemory-policy", "noeviction") as own:
        async with serve(REDIS_URL=own.url) as url, httpx.AsyncClient(base_url=url) as client:
            assert 0 < await measured(client, "support_agent_redis_memory_ratio") < 0.8
            async with Redis.from_url(own.url) as filler:
                async with asyncio.timeout(20):
                    for number in range(1000):
                        await filler.set(f"others:{number}", b"x" * 1_500_000)
                        await asyncio.sleep(0.1)
                        if await measured(client, "support_agent_redis_memory_ratio") > 0.82:
                            break
            await asyncio.sleep(0.2)
            assert (await client.post("/chat", json={"message": "Hello?"})).status_code == 200
    (line,) = [record.getMessage() for record in caplog.records if "of its maxmemory" in record.getMessage()]
    assert "SUPPORT_RATABLE_ANSWERS" in line


@pytest.mark.soak
@pytest.mark.parametrize(("langgraph_api", "most"), [("off", 120_000), ("on", 180_000)])
async def test_what_questions_and_sessions_cost(
    serve: Serve, model: ScriptedModel, tmp_path: Path, report: Report, langgraph_api: str, most: int
) -> None:
    """Bytes in Redis for a thousand questions, and for a session of ten turns: docs/operations.md has the figures."""
    model.script("answer", tokens(ANSWER))
    with own_redis(tmp_path) as own:
        settings = {"REDIS_URL": own.url, "SUPPORT_CACHE_TTL": 3600, "SUPPORT_LANGGRAPH_API": langgraph_api}
        async with several(serve, 1, **settings) as (client,), Redis.from_url(own.url) as redis:

            async def used() -> int:
                lasting = [key for key in await names(redis, "*") if await redis.ttl(key) > 60]
                return sum([int(await redis.memory_usage(key, samples=0) or 0) for key in lasting])

            async def chat(session: int) -> None:
                for turn in range(10):
                    message = {"message": f"And {turn}, what about that?", "session_id": f"s-{session}"}
                    assert (await client.post("/chat", json=message)).status_code == 200

            await ask(client, "Before?")
            await chat(-1)
            before = await used()
            for number in range(0, 100, 10):
                await asyncio.gather(*(ask(client, f"Question {n}, please?") for n in range(number, number + 10)))
            questions = (await used() - before) / 100
            records = await names(redis, "run:*:hits")
            record = sum([int(await redis.memory_usage(key) or 0) for key in records]) / len(records)
            before = await used()
            await asyncio.gather(*(chat(session) for session in range(5)))
            sessions = (await used() - before) / 5
            turns = await names(redis, "turn:*")
            turn = sum([int(await redis.memory_usage(key) or 0) for key in turns]) / len(turns)
    report(f"a thousand questions: {questions:.0f} kB in Redis, of which {record:.0f} kB are records for ratings")
    parts = f"{sessions / 1000:.1f} kB in Redis, of which {turn / 1000:.1f} kB are its messages"
    report(f"a session of ten turns, LangGraph API {langgraph_api}: {parts}")
    assert questions < 6_000
    assert sessions < most


@pytest.mark.soak
async def test_the_process_does_not_grow_with_new_sessions(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """After 100 more sessions it has as many objects as before, and no longer dictionary, list or set."""
    async with several(serve, 1, SUPPORT_REDIS_CONNECTIONS=2) as (client,):  # all of them open from the start

        async def open_sessions(count: int) -> tuple[int, int]:
            for _ in range(count // 10):
                chats = [client.post("/chat", json={"message": "Hello?"}) for _ in range(10)]
                assert {answer.status_code for answer in await asyncio.gather(*chats)} == {200}
                model.forget()
            await asyncio.sleep(0.5)
            gc.collect()
            gc.unfreeze()
            found = gc.get_objects()
            return len(found), sum(len(one) for one in found if type(one) in (dict, list, set))

        await open_sessions(60)
        objects, items = await open_sessions(20)
        more_objects, more_items = await open_sessions(100)
    assert more_objects - objects < 100
    assert more_items - items < 100

"""Ratings of answers, and how they reach LangSmith."""

import asyncio
import re
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from api.auth import digest, new_key
from conftest import Serve
from graph.observe.feedback import Feedback
from graph.observe.redaction import Redactor
from harness.langsmith import PROJECT, LangSmith, traced
from harness.own_redis import own_redis
from harness.scripted_model import ScriptedModel, status, tokens

QUESTION = {"question": "Why was I charged twice?"}


async def until_rated(langsmith: LangSmith, count: int) -> list[dict[str, Any]]:
    async with asyncio.timeout(10):
        while len(langsmith.feedback) < count:
            await asyncio.sleep(0.05)
    return list(langsmith.feedback.values())


async def test_a_rating_reaches_the_trace(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """Score and masked comment reach the trace of every kind of run, cache hits included."""
    async with traced(serve, SUPPORT_CACHE_TTL=60) as (client, langsmith):
        asked = [(await client.post("/ask", json=QUESTION)).json()["run_id"] for _ in range(2)]
        chatted = (await client.post("/chat", json={"message": "Hello?"})).json()["run_id"]
        for number, run_id in enumerate((*asked, chatted)):
            rating = {"run_id": run_id, "score": number / 2, "comment": "Write to ada@mail.example"}
            answer = await client.post("/feedback", json=rating)
            assert answer.status_code == 202, answer.text
        given = await until_rated(langsmith, 3)
    assert [(one["run_id"], one["score"]) for one in given] == [(asked[0], 0), (asked[1], 0.5), (chatted, 1)]
    assert {(one["key"], one["comment"], one["session_id"]) for one in given} == {
        ("customer", "Write to [email]", PROJECT)
    }
    assert [one["trace_id"] for one in given] == [one["run_id"] for one in given]
    assert [one["extend_trace_retention"] for one in given] == [False] * 3  # extended ones cost more


async def test_only_runs_of_the_caller_can_be_rated(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """A run does not exist for other callers, or after a day."""
    keys = {name: new_key() for name in ("a", "b")}
    configured = ",".join(f"{name}:{digest(key).hex()}" for name, key in keys.items())
    async with serve(SUPPORT_API_KEYS=configured) as url, httpx.AsyncClient(base_url=url) as client:
        own, other = ({"X-API-Key": key} for key in keys.values())
        run_id = (await client.post("/ask", json=QUESTION, headers=own)).json()["run_id"]

        async def rate(name: str, headers: dict[str, str]) -> int:
            return (await client.post("/feedback", json={"run_id": name, "score": 0}, headers=headers)).status_code

        assert await rate(run_id, own) == 202
        assert await rate(run_id, other) == 404
        assert await rate(str(uuid.uuid4()), own) == 404
        assert 86_000 < await redis.ttl(f"run:{run_id}:record") <= 86_400


@pytest.mark.parametrize(
    ("rating", "field", "message"),
    [
        ({"score": 1.1}, "score", "must be at most 1"),
        ({"score": -0.1}, "score", "must be at least 0"),
        ({"score": "1"}, "score", "must be a number"),
        ({"score": True}, "score", "must be a number"),
        ({"score": 1, "comment": " "}, "comment", "must not be blank"),
        ({"score": 1, "comment": "x" * 4001}, "comment", "must have at most 4000 characters"),
        ({"score": 1, "run_id": "../x"}, "run_id", "must match ^[0-9a-f-]{36}$"),
        ({"score": 1, "more": 1}, "more", "is an unknown field; remove it"),
        ({}, "score", "is missing"),
    ],
)
async def test_a_bad_rating_is_refused(
    client: httpx.AsyncClient, rating: dict[str, Any], field: str, message: str
) -> None:
    """The problem names the wrong field and what is allowed."""
    answer = await client.post("/feedback", json={"run_id": str(uuid.uuid4())} | rating)
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": field, "message": message}]


async def test_a_rating_survives_an_outage_of_langsmith(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """It is sent once, when LangSmith is back, also after a restart and by another replica."""
    async with traced(serve) as (client, langsmith):
        run_id = (await client.post("/ask", json=QUESTION)).json()["run_id"]
        langsmith.fault = 503
        other = (await client.post("/ask", json=QUESTION)).json()["run_id"]
        for name, score in ((run_id, 0), (other, 1)):
            assert (await client.post("/feedback", json={"run_id": name, "score": score})).status_code == 202
        await asyncio.sleep(1.5)
        assert not langsmith.feedback
        langsmith.fault = None
        given = await until_rated(langsmith, 2)
        assert [one["score"] for one in given] == [0, 1]
        langsmith.thawed.clear()
        posts = langsmith.posts
        assert (await client.post("/feedback", json={"run_id": run_id, "score": 0.5})).status_code == 202
        while langsmith.posts == posts:
            await asyncio.sleep(0.05)
        began = time.monotonic()
    assert time.monotonic() - began < 30  # it is frozen for good
    await redis.xgroup_delconsumer("feedback", "langsmith", "nobody")
    for consumer in await redis.xinfo_consumers("feedback", "langsmith"):
        for entry in await redis.xpending_range("feedback", "langsmith", "-", "+", 10, consumer["name"]):
            await redis.xclaim("feedback", "langsmith", "gone", 0, [entry["message_id"]], idle=60_000)
    async with traced(serve) as (client, langsmith):
        (given,) = await until_rated(langsmith, 1)
        assert given["score"] == 0.5


async def test_a_later_rating_replaces_an_earlier_one(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """A run's last rating is kept, and repeated ratings push out nobody else's."""
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        runs = [(await client.post("/ask", json={"question": f"{number}?"})).json()["run_id"] for number in range(2)]
        for score in (0, 0.5, 1):
            for run_id in runs:
                await client.post("/feedback", json={"run_id": run_id, "score": score})
    feedback = Feedback(redis, Redactor())
    assert [(rating.run_id, rating.score) for rating in await feedback.below(2)] == [(run_id, 1) for run_id in runs]


async def everything(redis: Redis) -> str:
    """All that is in Redis, by key."""
    found: list[Any] = []
    async for key in redis.scan_iter():
        match await redis.type(key):
            case b"string":
                found.append((key, await redis.get(key)))
            case b"stream":
                found.append((key, await redis.xrange(key)))
            case b"hash":
                found.append((key, await redis.hgetall(key)))
            case b"zset":
                found.append((key, await redis.zrange(key, 0, -1)))
            case kind:
                raise AssertionError(kind)
    return repr(found)


async def test_a_deleted_conversation_leaves_nothing(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """Its answers' streams, records, ratings and comments go with it, those of a failed turn too; others' stay."""
    model.script("answer", tokens(["The plum ", "is ripe."]), status(400), tokens(["The plum is ripe."]))
    async with serve() as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        runs: list[str] = []
        for session in ("s-1", "s-1", "s-2"):
            body = {"message": "Where is my quince?", "session_id": session}
            streamed = await client.post("/chat/stream", json=body, headers={"Idempotency-Key": f"key-{len(runs)}"})
            runs.append(re.findall(r'"run_id":"([^"]*)"', streamed.text)[0])
            rating = {"run_id": runs[-1], "score": 0, "comment": "I said medlar!"}
            assert (await client.post("/feedback", json=rating)).status_code == 202
        assert await redis.xlen("feedback") == 3
        assert all([await redis.ttl(key) > 80_000 async for key in redis.scan_iter("feedback:of:*")])
        assert (await client.delete("/sessions/s-1")).status_code == 204
        assert (await client.get(f"/runs/{runs[0]}/stream")).status_code == 404
        assert (await client.post("/feedback", json={"run_id": runs[0], "score": 1})).status_code == 404
        (rating,) = await Feedback(redis, Redactor()).latest(1)
        assert rating.run_id == runs[2]
        assert (await client.get(f"/runs/{runs[2]}/stream")).status_code == 200
        assert (await client.delete("/sessions/s-2")).status_code == 204
        left = await everything(redis)
    assert [word for word in ("plum", "quince", "medlar") if word in left] == []


async def test_ratings_are_deleted_after_90_days(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """By the next rating, and until then they are not read."""
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        runs = [(await client.post("/ask", json={"question": f"{number}?"})).json()["run_id"] for number in range(2)]
        await client.post("/feedback", json={"run_id": runs[0], "score": 0})
        entries: Any = await redis.xrange("feedback")
        await redis.delete("feedback")
        now = time.time()
        for days in (120, 91, 89):
            await redis.xadd("feedback", entries[0][1], id=f"{int((now - days * 86_400) * 1000)}-0")
        feedback = Feedback(redis, Redactor())
        assert (len(await feedback.below(1)), len(await feedback.latest(30))) == (1, 0)
        await client.post("/feedback", json={"run_id": runs[1], "score": 0})
        assert await redis.xlen("feedback") == 2
        assert (len(await feedback.latest(90)), len(await feedback.latest(30))) == (2, 1)


async def test_a_frozen_langsmith_loses_no_rating(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """Nor a trace; both go out when it answers again."""
    async with traced(serve) as (client, langsmith):
        langsmith.thawed.clear()
        langsmith.fault = 503
        run_id = (await client.post("/ask", json=QUESTION)).json()["run_id"]
        await client.post("/feedback", json={"run_id": run_id, "score": 1})
        await asyncio.sleep(3.5)
        langsmith.fault = None
        langsmith.thawed.set()
        (rating,) = await until_rated(langsmith, 1)
        (root,) = await langsmith.until(1)
    assert rating["run_id"] == root["id"] == run_id


async def test_without_redis_nothing_can_be_rated(serve: Serve, model: ScriptedModel, tmp_path: Path) -> None:
    """503 as for conversations; it works again when Redis is back."""
    with own_redis(tmp_path) as own:
        async with serve(REDIS_URL=own.url) as url, httpx.AsyncClient(base_url=url) as client:
            run_id = (await client.post("/ask", json=QUESTION)).json()["run_id"]
            # Rated once, its record is in Redis: it is stored while the answer is on its way.
            assert (await client.post("/feedback", json={"run_id": run_id, "score": 0})).status_code == 202
            own.freeze()
            refused = await client.post("/feedback", json={"run_id": run_id, "score": 1})
            assert (refused.status_code, refused.json()["type"]) == (503, "memory-unavailable")
            own.thaw()
            deadline = time.monotonic() + 10
            while (await client.post("/feedback", json={"run_id": run_id, "score": 1})).status_code != 202:
                assert time.monotonic() < deadline
                await asyncio.sleep(0.1)

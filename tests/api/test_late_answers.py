"""Commands that are sent to Redis again because their answer was late: what they do happens once."""

from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis

from api.answer_cache.store import STATISTICS
from conftest import Serve
from graph.observe.gaps import Gaps
from graph.observe.redaction import Redactor
from graph.unanswered import MARK
from harness.fault_proxy import FaultProxy, fault_proxy
from harness.scripted_model import ScriptedModel, tokens

Behind = Callable[..., AbstractAsyncContextManager[tuple[httpx.AsyncClient, FaultProxy]]]

MESSAGE = {"message": "Why was I charged twice?", "session_id": "s-1"}


@pytest.fixture
def behind(serve: Serve, redis: Redis, redis_url: str, model: ScriptedModel) -> Behind:
    """The service, and a proxy before its Redis that can lose an answer."""

    @asynccontextmanager
    async def behind(**variables: Any) -> AsyncGenerator[tuple[httpx.AsyncClient, FaultProxy]]:
        login, _, address = redis_url.rpartition("@")
        port = int(address.partition(":")[2].partition("/")[0])
        async with (
            fault_proxy("127.0.0.1", port) as proxy,
            serve(REDIS_URL=f"{login}@127.0.0.1:{proxy.port}/0", **variables) as url,
            httpx.AsyncClient(base_url=url, timeout=20) as client,
        ):
            yield client, proxy
            assert not proxy.unanswered

    return behind


async def test_a_forgotten_session_was_there(behind: Behind) -> None:
    """DELETE says 204, not that the session that it has just deleted does not exist; a second one says 404."""
    async with behind() as (client, proxy):
        assert (await client.post("/chat", json=MESSAGE)).status_code == 200
        await client.delete("/sessions/other")  # so that Redis knows the script
        proxy.lose_answer(b":forgotten")
        assert (await client.delete("/sessions/s-1")).status_code == 204
        assert (await client.delete("/sessions/s-1")).status_code == 404


async def test_a_rating_is_kept_once(behind: Behind, redis: Redis) -> None:
    """The stream of ratings gets one entry; another rating replaces it."""
    async with behind() as (client, proxy):
        ids = [(await client.post("/ask", json={"question": f"Why {n}?"})).json()["run_id"] for n in range(2)]
        assert (await client.post("/feedback", json={"run_id": ids[0], "score": 1})).status_code == 202
        for score in (0.2, 0.4):
            proxy.lose_answer(b":rated")
            assert (await client.post("/feedback", json={"run_id": ids[1], "score": score})).status_code == 202
        entries: Any = await redis.xrange("feedback")
    assert [b'"score":0.4' in fields[b"rating"] for _, fields in entries] == [False, True]


async def test_an_unanswered_question_counts_once(behind: Behind, redis: Redis, model: ScriptedModel) -> None:
    """However often the command arrives."""
    model.script("answer", tokens([MARK, " No."]))
    async with behind() as (client, proxy):
        for n in range(3):
            if n == 1:
                proxy.lose_answer(b"feedback:gap:")
            assert (await client.post("/ask", json={"question": "Why?"})).status_code == 200
            await Gaps(redis, Redactor()).kept()
    (kept,) = await Gaps(redis, Redactor()).kept()
    assert kept.times(1) == 3


async def test_a_request_counts_once(behind: Behind) -> None:
    """For the rate limit."""
    async with behind(SUPPORT_RATE_LIMIT="10/minute") as (client, proxy):
        left: list[str] = []
        for n in range(3):
            if n == 1:
                proxy.lose_answer(b"LIMITS")
            response = await client.post("/ask", json={"question": "Why?"})
            left.append(response.headers["RateLimit"].split(";")[1])
    assert left == ["r=9", "r=8", "r=7"]


async def test_hits_and_misses_count_once(behind: Behind, redis: Redis) -> None:
    """For `doctor`; what could not be written is written with the next lookup."""
    async with behind(SUPPORT_CACHE_TTL=60) as (client, proxy):
        for n in range(4):
            if n == 2:
                proxy.lose_answer(b"answers:")
            assert (await client.post("/ask", json={"question": f"Why {n}?"})).status_code == 200
    assert await redis.hgetall(STATISTICS) == {b"miss": b"4"}


@pytest.mark.parametrize("key", [":lock", "idempotency:", ":alive", "turn:", "run:"])
async def test_a_turn_happens_once(behind: Behind, model: ScriptedModel, key: str) -> None:
    """Whichever command of it is repeated: one model call, one question, one answer in the history."""
    async with behind() as (client, proxy):
        assert (await client.post("/chat", json=MESSAGE)).status_code == 200
        model.forget()
        proxy.lose_answer(key.encode())
        again = await client.post("/chat", json=MESSAGE, headers={"Idempotency-Key": "k-1"})
        assert (again.status_code, len(model.of("answer"))) == (200, 1)
        assert again.json()["messages_in_history"] == 4
        assert len((await client.get("/sessions/s-1")).json()["messages"]) == 4

"""The answer cache: which answers it keeps, for whom, and what happens while Redis is down."""

import asyncio
import json
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis.asyncio import Redis
from starlette.types import Send

from api.answer_cache.cache import normalised
from api.answer_cache.store import STATISTICS, AnswerStore
from api.auth import digest, new_key
from conftest import Serve
from graph import prompts
from graph.events import Failed, RunStarted, Token
from graph.runs.log import RunLog
from harness.caching import QUESTION, ask, caching
from harness.own_redis import own_redis
from harness.scripted_model import Call, ScriptedModel, stall, status, tokens


async def kept_answers(redis: Redis) -> list[bytes | str]:
    """Return the keys of cached answers, without the short-lived keys of coalescing."""
    return [key for key in await redis.keys("answer:*") if len(key) == len("answer:") + 64]


async def echo(call: Call, send: Send) -> None:
    await tokens(["You said: ", call.prompt[-1][1]])(call, send)


async def test_an_answer_is_kept_for_whoever_asks_the_same(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """A cache hit works across replicas and spellings, costs no tokens, and has its own run id."""
    async with caching(serve, 2) as (one, other), httpx.AsyncClient() as client:
        first = await client.post(f"{one}/ask", json=QUESTION)
        again = await client.post(f"{other}/ask", json={"question": "  why WAS I  charged\u00a0twice\uff1f "})
        streamed = await client.get(f"{other}/stream", params=QUESTION)
    assert [answer.headers["X-Cache"] for answer in (first, again, streamed)] == ["miss", "hit", "hit"]
    assert len(model.of("answer")) == 1
    assert (first.json()["cached"], again.json()["cached"]) == (False, True)
    assert (first.json()["tokens_used"] > 0, again.json()["tokens_used"]) == (True, 0)
    assert first.json()["run_id"] != again.json()["run_id"]
    same = ("answer", "category", "sources")
    assert [first.json()[name] for name in same] == [again.json()[name] for name in same]
    assert streamed.text == f"data: {first.json()['answer']}\n\ndata: [DONE]\n\n"


@pytest.mark.parametrize(
    ("one", "other", "alike"),
    [
        ("Why?", "why?", True),
        ("Why\n me?", " why me? ", True),
        ("\ufb01ne?", "fine?", True),
        ("Stra\u00dfe?", "STRASSE?", True),
        ("Why?", "Why", False),
        ("\u00e9?", "e?", False),
    ],
)
def test_questions_that_people_read_alike_are_one(one: str, other: str, alike: bool) -> None:
    """Questions are compared after NFKC, case folding and collapsing spaces; punctuation matters."""
    assert (normalised(one) == normalised(other)) is alike


async def test_nobody_gets_what_was_kept_for_another(
    serve: Serve, redis: Redis, model: ScriptedModel, articles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another tenant, prompt, article, company file or model is a cache miss."""
    keys = {name: new_key() for name in ("a", "b")}
    configured = ",".join(f"{name}:{digest(key).hex()}" for name, key in keys.items())

    async def outcomes(tenant: str, **variables: Any) -> list[str]:
        async with caching(serve, SUPPORT_API_KEYS=configured, **variables) as (url,):
            async with httpx.AsyncClient(base_url=url, headers={"X-API-Key": keys[tenant]}) as client:
                return [(await ask(client)).headers["X-Cache"] for _ in range(2)]

    assert await outcomes("a") == ["miss", "hit"]
    assert await outcomes("b") == ["miss", "hit"]
    assert await outcomes("a") == ["hit", "hit"]
    for name in ("SUPPORT_ANSWER_MODEL", "SUPPORT_CLASSIFY_MODEL", "SUPPORT_FALLBACK_MODEL", "SUPPORT_EMBEDDING_MODEL"):
        assert await outcomes("a", **{name: "another"}) == ["miss", "hit"]
    assert await outcomes("a") == ["hit", "hit"]
    with monkeypatch.context() as patch:
        patch.setattr("graph.desk_prompt.ANSWER", f"{prompts.ANSWER}x")
        assert await outcomes("a") == ["miss", "hit"]
    (articles / "careers.md").write_text((articles / "careers.md").read_text() + "\nWe are hiring.\n")
    assert await outcomes("a") == ["miss", "hit"]
    (articles / "company.yaml").write_text((articles / "company.yaml").read_text().replace("billing@", "money@"))
    assert await outcomes("a") == ["miss", "hit"]
    with (articles / "company.yaml").open("a") as company:
        company.write("  sales:\n")
    assert await outcomes("a") == ["miss", "hit"]


@pytest.mark.parametrize(
    "reply",
    [
        status(400),
        status(500),
        tokens([]),
        tokens(["Half"], then=stall),
        tokens(["Cut"], finish="length"),
        tokens(["Cut"], finish="content_filter"),
    ],
    ids=["refused", "failed", "empty", "cut", "too long", "filtered"],
)
async def test_only_whole_answers_are_kept(serve: Serve, redis: Redis, model: ScriptedModel, reply: Any) -> None:
    """Errors and answers cut short by a limit, a filter or the model's server are not cached."""
    model.script("answer", *[reply] * 3)
    async with caching(serve, SUPPORT_ANSWER_TIMEOUT=1.5) as (url,), httpx.AsyncClient(base_url=url) as client:
        await ask(client)
        assert await kept_answers(redis) == []
        model.script("answer", tokens(["Whole"]))
        answer = await ask(client)
        assert (answer.json()["answer"], answer.headers["X-Cache"]) == ("Whole", "miss")
        assert (await ask(client)).headers["X-Cache"] == "hit"


async def test_a_fresh_answer_can_be_asked_for(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """`Cache-Control: no-cache` asks the model and refreshes the cache; a TTL of 0 caches nothing."""
    model.script("answer", tokens(["Old"]), tokens(["New"]))
    async with caching(serve) as (url,), httpx.AsyncClient(base_url=url) as client:
        assert (await ask(client)).json()["answer"] == "Old"
        fresh = await ask(client, **{"Cache-Control": "no-cache"})
        assert (fresh.json()["answer"], fresh.headers["X-Cache"]) == ("New", "miss")
        assert (await ask(client)).json()["answer"] == "New"
        (kept,) = await kept_answers(redis)
        assert 55 <= await redis.ttl(kept) <= 60
    async with caching(serve, SUPPORT_CACHE_TTL=0) as (url,), httpx.AsyncClient(base_url=url) as client:
        assert [(await ask(client)).headers["X-Cache"] for _ in range(2)] == ["miss", "miss"]


async def test_a_fresh_answer_stays_although_an_older_one_comes_later(
    serve: Serve, redis: Redis, model: ScriptedModel
) -> None:
    """What was asked for first, and took longer, does not replace it."""

    async def slow(call: Call, send: Send) -> None:
        await answered.wait()
        await tokens(["Old"])(call, send)

    answered = asyncio.Event()
    model.script("answer", slow, tokens(["New"]))
    async with caching(serve) as (url,), httpx.AsyncClient(base_url=url, timeout=20) as client:
        first = asyncio.create_task(ask(client))
        while not model.of("answer"):
            await asyncio.sleep(0.01)
        assert (await ask(client, **{"Cache-Control": "no-cache"})).json()["answer"] == "New"
        answered.set()
        assert (await first).json()["answer"] == "Old"
        kept = await ask(client)
    assert (kept.json()["answer"], kept.headers["X-Cache"]) == ("New", "hit")


async def test_a_kept_answer_of_another_kind_is_not_used(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """An invalid cached value, for example of another version, is a cache miss."""
    async with caching(serve) as (url,), httpx.AsyncClient(base_url=url) as client:
        await ask(client)
        (kept,) = await kept_answers(redis)
        for rubbish in ("{", json.dumps({"event": "run", "run_id": "a"}), "\udcff".encode("utf-8", "surrogateescape")):
            await redis.set(kept, rubbish)
            assert [(await ask(client)).headers["X-Cache"] for _ in range(2)] == ["miss", "hit"]


async def test_what_is_told_twice_is_written_once(redis: Redis) -> None:
    """As when Redis carried out what timed out, and is told again; what follows is written as ever."""
    store = AnswerStore(redis, 60)
    await store.publish("answer:k", "leader", 0, [Token("a"), Token("b")])
    await store.publish("answer:k", "leader", 0, [Token("a"), Token("b"), Token("c")])
    assert (await store.poll("answer:k", "leader", 1)).events == [Token("b"), Token("c")]
    log = RunLog(redis, 60)
    await log.begin("r", "owner", RunStarted("r"))
    await log.append("r", 1, [Token("a")])
    await log.append("r", 1, [Token("a"), Failed("cancelled")])
    assert [event async for _, event in log.follow("r", 1)] == [Token("a"), Failed("cancelled")]


async def test_a_frozen_redis_is_waited_for_once(serve: Serve, model: ScriptedModel, tmp_path: Path) -> None:
    """Only the first request waits for the time-out of a frozen Redis."""
    with own_redis(tmp_path) as own:
        settings: dict[str, Any] = {"REDIS_URL": own.url, "SUPPORT_RATE_LIMIT": "1000/minute"}
        async with caching(serve, **settings) as (url,), httpx.AsyncClient(base_url=url, timeout=20) as client:
            await ask(client)
            own.freeze()
            began = time.monotonic()
            for number in range(40):
                assert (await ask(client, f"{number}?")).status_code == 200
            assert time.monotonic() - began < 30  # if each waited, they would take 40
            own.thaw()


async def test_what_became_of_requests_is_counted(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """Hits and misses are counted in Redis for all replicas, with the next lookup."""
    async with caching(serve) as (url,), httpx.AsyncClient(base_url=url) as client:
        for question in ("One?", "One?", "One?", "Two?", "Three?"):
            await ask(client, question)
        assert await redis.hgetall(STATISTICS) == {b"miss": b"2", b"hit": b"2"}
        for _ in range(2):
            await asyncio.gather(*(ask(client, "One?") for _ in range(20)))
    hits = await redis.hget(STATISTICS, "hit")
    assert hits
    assert 22 <= int(hits) <= 42


async def test_a_killed_redis_costs_no_answer(serve: Serve, model: ScriptedModel, tmp_path: Path) -> None:
    """Questions are answered while Redis freezes, dies and restarts; then caching resumes."""
    with own_redis(tmp_path) as own:
        async with caching(serve, REDIS_URL=own.url, SUPPORT_RATE_LIMIT="1000/minute") as (url,):
            async with httpx.AsyncClient(base_url=url, timeout=20) as client:
                for change in (own.freeze, own.thaw, own.kill, own.start):
                    change()
                    for number in range(10):
                        assert (await ask(client, f"{change} {number}?")).status_code == 200
                deadline = time.monotonic() + 10
                while (await ask(client)).headers["X-Cache"] != "hit":
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.1)

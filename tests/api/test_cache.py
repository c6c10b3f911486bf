"""Answers that are kept, and those that many ask for at once."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from starlette.types import Send

from api.answer_cache.cache import normalised
from api.answer_cache.store import STATISTICS, AnswerStore, Snapshot
from api.auth import digest, new_key
from conftest import Serve
from graph import prompts
from graph.events import Failed, RunStarted, Token
from graph.runs.log import RunLog
from harness.own_redis import own_redis
from harness.scripted_model import Call, ScriptedModel, cut, stall, status, tokens

QUESTION = {"question": "Why was I charged twice?"}
CACHED = {"SUPPORT_CACHE_TTL": 60}


async def kept_answers(redis: Redis) -> list[bytes | str]:
    """Return the keys of the answers, and not of what those who share one tell each other for a moment."""
    return [key for key in await redis.keys("answer:*") if len(key) == len("answer:") + 64]


@asynccontextmanager
async def caching(serve: Serve, count: int = 1, **variables: Any) -> AsyncGenerator[list[str]]:
    """Yield the addresses of replicas that keep answers."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(serve(**(CACHED | variables))) for _ in range(count)]


async def echo(call: Call, send: Send) -> None:
    await tokens(["You said: ", call.prompt[-1][1]])(call, send)


async def ask(client: httpx.AsyncClient, question: str = QUESTION["question"], **headers: str) -> httpx.Response:
    return await client.post("/ask", json={"question": question}, headers=headers)


async def status_of(session: aiohttp.ClientSession, url: str) -> int:
    async with session.post(f"{url}/ask", json=QUESTION) as response:
        return response.status


async def test_an_answer_is_kept_for_whoever_asks_the_same(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """On every replica, however it is written; it costs nothing, and has a run id of its own."""
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
    """NFKC, without case, single spaces; nothing more, since a sign more may be another question."""
    assert (normalised(one) == normalised(other)) is alike


async def test_nobody_gets_what_was_kept_for_another(
    serve: Serve, redis: Redis, model: ScriptedModel, articles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not another tenant, nor after the prompt, an article or a model has changed."""
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
        patch.setattr("graph.agent.PROMPT_VERSION", f"{prompts.PROMPT_VERSION}x")
        assert await outcomes("a") == ["miss", "hit"]
    (articles / "careers.md").write_text((articles / "careers.md").read_text() + "\nWe are hiring.\n")
    assert await outcomes("a") == ["miss", "hit"]
    (articles / "company.yaml").write_text((articles / "company.yaml").read_text().replace("billing@", "money@"))
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
    """Not an error, nor what a limit, a filter or the model's server cut short."""
    model.script("answer", *[reply] * 3)
    async with caching(serve, SUPPORT_ANSWER_TIMEOUT=1.5) as (url,), httpx.AsyncClient(base_url=url) as client:
        await ask(client)
        assert await kept_answers(redis) == []
        model.script("answer", tokens(["Whole"]))
        answer = await ask(client)
        assert (answer.json()["answer"], answer.headers["X-Cache"]) == ("Whole", "miss")
        assert (await ask(client)).headers["X-Cache"] == "hit"


async def test_a_fresh_answer_can_be_asked_for(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """`Cache-Control: no-cache` asks the model and renews what is kept; a TTL of 0 keeps nothing."""
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


@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.soak)])
async def test_many_who_ask_at_once_cost_one_answer(
    serve: Serve, redis: Redis, model: ScriptedModel, count: int
) -> None:
    """Over two replicas and both routes: one call of the model, and the same answer for all."""
    model.script("answer", tokens(["Well", ", ", "yes."], pause=0.5))
    async with caching(serve, 2) as urls, aiohttp.ClientSession() as session:

        async def one(number: int) -> tuple[str, str]:
            url = urls[number % 2]
            if number % 4 < 2:
                async with session.post(f"{url}/ask", json=QUESTION) as answer:
                    return answer.headers["X-Cache"], (await answer.json())["answer"]
            async with session.get(f"{url}/stream", params=QUESTION) as answer:
                text = (await answer.text()).replace("data: ", "").replace("\n", "").replace("[DONE]", "")
                return answer.headers["X-Cache"], text

        answers = await asyncio.gather(*(one(number) for number in range(count)))
    assert {text for _, text in answers} == {"Well, yes."}
    outcomes = Counter(outcome for outcome, _ in answers)
    assert outcomes["miss"] == 1
    assert len(model.of("answer")) == 1
    assert await redis.keys("answer:*:lock") == []


@pytest.mark.parametrize("replicas", [1, 2])
async def test_followers_get_the_tokens_as_they_come(
    serve: Serve, redis: Redis, model: ScriptedModel, replicas: int
) -> None:
    """Who asks while an answer is being written gets what there is of it at once, and then the rest."""
    model.script("answer", tokens(["One ", "two ", "three"], pause=1.0))
    async with caching(serve, replicas) as urls, httpx.AsyncClient() as client:
        leading = asyncio.create_task(client.get(f"{urls[0]}/stream", params=QUESTION))
        await asyncio.sleep(0.5)
        began = time.monotonic()
        async with client.stream("GET", f"{urls[-1]}/stream", params=QUESTION) as answer:
            assert answer.headers["X-Cache"] == "coalesced"
            texts = answer.aiter_text()
            text = await anext(texts)
            assert text == "data: One \n\n"
            assert time.monotonic() - began < 0.9
            async for more in texts:
                text += more
        assert text == (await leading).text
    assert len(model.of("answer")) == 1


@pytest.mark.parametrize("replicas", [1, 2])
async def test_a_leader_that_hangs_up_half_way_costs_the_others_nothing(
    serve: Serve, redis: Redis, model: ScriptedModel, replicas: int
) -> None:
    """The answer goes on for those who read it, wherever they asked; and ends when the last of them leaves."""
    model.script("answer", tokens(["One ", "two ", "three"], pause=0.6))
    async with caching(serve, replicas) as urls, httpx.AsyncClient() as client:
        async with AsyncExitStack() as leader:
            leading = await leader.enter_async_context(client.stream("GET", f"{urls[0]}/stream", params=QUESTION))
            begun = leading.aiter_text()
            await anext(begun)
            async with client.stream("GET", f"{urls[-1]}/stream", params=QUESTION) as following:
                texts = following.aiter_text()
                text = await anext(texts)
                await leader.aclose()
                text += "".join([more async for more in texts])
        assert text == "data: One \n\ndata: two \n\ndata: three\n\ndata: [DONE]\n\n"
        assert len(model.of("answer")) == 1
        for url in urls:
            async with client.stream("GET", f"{url}/stream", params={"question": "Another?"}) as leaving:
                await anext(leaving.aiter_text())
        began = time.monotonic()
        while await redis.keys("answer:*:lock"):
            assert time.monotonic() - began < 1.5  # _READ, and a moment
            await asyncio.sleep(0.05)


@pytest.mark.parametrize("replicas", [1, 2])
@pytest.mark.parametrize(
    ("second", "rest"),
    [
        (["One ", "two"], "data: two\n\ndata: [DONE]\n\n"),
        (["One tw", "o"], "data: tw\n\ndata: o\n\ndata: [DONE]\n\n"),
        (["Else"], "interrupted"),
        (["One"], "interrupted"),
    ],
    ids=["the same", "other tokens", "another answer", "a shorter answer"],
)
async def test_an_answer_that_breaks_off_is_taken_up_for_followers(
    serve: Serve, redis: Redis, model: ScriptedModel, replicas: int, second: list[str], rest: str
) -> None:
    """Where the second answer begins as the first did; else their stream ends with an error. Nothing is repeated."""
    model.script("answer", tokens(["One "], pause=1, then=cut), tokens(second))
    async with caching(serve, replicas) as urls, httpx.AsyncClient() as client:
        leading = asyncio.create_task(client.get(f"{urls[0]}/stream", params=QUESTION))
        await asyncio.sleep(0.5)
        followed, whole = await asyncio.gather(
            client.get(f"{urls[-1]}/stream", params=QUESTION), client.post(f"{urls[-1]}/ask", json=QUESTION)
        )
        assert "model-unavailable" in (await leading).text
    assert followed.text.startswith("data: One \n\n")
    assert rest in followed.text.removeprefix("data: One \n\n")
    assert whole.json()["answer"] == "".join(second)
    assert len(model.of("answer")) == 2


async def test_a_leader_that_has_failed_is_not_followed_again(
    serve: Serve, redis: Redis, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes to let go of its lead: who reads it on another replica waits for that, and then asks."""
    release = Lock.release

    async def slowly(lock: Lock) -> None:
        await asyncio.sleep(0.3)
        await release(lock)

    monkeypatch.setattr(Lock, "release", slowly)
    model.script("answer", tokens(["One "], pause=0.5, then=cut), tokens(["One ", "two"]))
    async with caching(serve, 2) as (one, other), httpx.AsyncClient() as client:
        leading = asyncio.create_task(client.get(f"{one}/stream", params=QUESTION))
        await asyncio.sleep(0.3)
        followed, whole = await asyncio.gather(
            client.get(f"{other}/stream", params=QUESTION), client.post(f"{other}/ask", json=QUESTION)
        )
        assert "model-unavailable" in (await leading).text
    assert followed.text == "data: One \n\ndata: two\n\ndata: [DONE]\n\n"
    assert whole.json()["answer"] == "One two"
    assert len(model.of("answer")) == 2


@pytest.mark.parametrize("fault", ["leaves", "fails"])
async def test_a_leader_that_fails_costs_the_others_one_more_call(
    serve: Serve, redis: Redis, model: ScriptedModel, fault: str
) -> None:
    """When the first to ask hangs up or gets an error, everyone else is answered, with two calls at most."""
    refused = asyncio.Event()

    async def refuse(call: Call, send: Send) -> None:
        await refused.wait()
        await status(400)(call, send)

    model.script("answer", refuse if fault == "fails" else tokens(["Yes."], pause=1), tokens(["Yes."]))
    async with caching(serve, 2) as (one, other), aiohttp.ClientSession() as session:

        async def answer(url: str) -> tuple[int, str]:
            async with session.post(f"{url}/ask", json=QUESTION) as response:
                return response.status, (await response.json()).get("answer")

        leader = asyncio.create_task(answer(one))
        while not model.of("answer"):
            await asyncio.sleep(0.01)
        others = [asyncio.create_task(answer(url)) for url in (one, other) for _ in range(10)]
        await asyncio.sleep(0.5)
        if fault == "leaves":
            leader.cancel()
        else:
            refused.set()
            assert (await leader)[0] == 503
        assert await asyncio.gather(*others) == [(200, "Yes.")] * 20
    assert len(model.of("answer")) <= 2
    assert await redis.keys("answer:*:lock") == []


async def test_a_question_that_always_fails_is_asked_twice(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """However many ask at once, on however many replicas."""

    async def refuse(call: Call, send: Send) -> None:
        await asyncio.sleep(0.5)
        await status(400)(call, send)

    model.script("answer", refuse)
    async with caching(serve, 2) as urls, aiohttp.ClientSession() as session:
        statuses = await asyncio.gather(*(status_of(session, url) for url in urls * 20))
    assert Counter(statuses) == {503: 40}
    assert len(model.of("answer")) <= 2


@pytest.mark.parametrize("finish", ["length", "content_filter"])
async def test_an_answer_that_is_not_kept_is_no_failure(
    serve: Serve, redis: Redis, model: ScriptedModel, finish: str
) -> None:
    """Each replica asks for its own, and nobody hears of an error."""
    model.script("answer", tokens(["Cut"], pause=0.3, finish=finish))
    async with caching(serve, 3) as urls, aiohttp.ClientSession() as session:
        statuses = await asyncio.gather(*(status_of(session, url) for url in urls * 5))
    assert Counter(statuses) == {200: 15}
    assert len(model.of("answer")) <= 3


async def test_those_who_hang_up_elsewhere_harm_nobody(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """A client that asks and leaves, again and again on one replica, does not fail the others' question."""
    model.script("answer", tokens(["Yes."], pause=0.5))
    async with caching(serve, 2) as (one, other), aiohttp.ClientSession() as session:

        async def leave() -> None:
            for _ in range(12):
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.25), session.post(f"{one}/ask", json=QUESTION):
                        pass

        leaving = asyncio.create_task(leave())
        await asyncio.sleep(0.2)
        async with session.post(f"{other}/ask", json=QUESTION) as response:
            assert response.status == 200
        await leaving


async def test_without_redis_those_who_ask_at_once_share_an_answer(serve: Serve, model: ScriptedModel) -> None:
    """On each replica; nothing is kept."""
    model.script("answer", tokens(["Yes."], pause=0.5))
    async with caching(serve, REDIS_URL="redis://127.0.0.1:1/0") as (url,), httpx.AsyncClient(base_url=url) as client:
        answers = await asyncio.gather(*(ask(client) for _ in range(10)))
        assert {answer.status_code for answer in answers} == {200}
        assert len(model.of("answer")) == 1
        assert (await ask(client)).headers["X-Cache"] == "miss"


async def test_a_kept_answer_of_another_kind_is_not_used(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """What another version of the service wrote, or nobody, counts as nothing."""
    async with caching(serve) as (url,), httpx.AsyncClient(base_url=url) as client:
        await ask(client)
        (kept,) = await kept_answers(redis)
        for rubbish in ("{", json.dumps({"event": "run", "run_id": "a"}), "\udcff".encode("utf-8", "surrogateescape")):
            await redis.set(kept, rubbish)
            assert (await ask(client)).headers["X-Cache"] == "miss"


@pytest.mark.parametrize("replicas", [1, 2])
async def test_nobody_waits_for_longer_than_a_turn_may_take(
    serve: Serve, redis: Redis, model: ScriptedModel, replicas: int
) -> None:
    """Those who share an answer have no more time than the one who asked first."""
    model.script("answer", stall)
    async with caching(serve, replicas, SUPPORT_ANSWER_TIMEOUT=1.5) as urls, aiohttp.ClientSession() as session:
        began = time.monotonic()
        statuses = await asyncio.gather(*(status_of(session, url) for url in urls * 5))
        assert time.monotonic() - began < 2.8  # twice the time would be 3
    assert set(statuses) == {504}


async def test_who_comes_when_the_model_has_failed_is_told_how(
    serve: Serve, redis: Redis, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On other replicas, and too late to be told by the one that asked."""
    poll = AnswerStore.poll

    async def late(store: AnswerStore, key: str, leader: str | None, after: int) -> Snapshot:
        while await redis.exists(f"{key}:lock"):
            await asyncio.sleep(0.01)
        return await poll(store, key, leader, after)

    monkeypatch.setattr(AnswerStore, "poll", late)
    model.script("answer", stall)
    async with caching(serve, 3, SUPPORT_ANSWER_TIMEOUT=1) as urls, aiohttp.ClientSession() as session:
        statuses = await asyncio.gather(*(status_of(session, url) for url in urls))
    assert statuses == [504, 504, 504]


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
    """Not with each request, nor with each command of one."""
    with own_redis(tmp_path) as own:
        settings: dict[str, Any] = {"REDIS_URL": own.url, "SUPPORT_RATE_LIMIT": "1000/minute"}
        async with caching(serve, **settings) as (url,), httpx.AsyncClient(base_url=url, timeout=20) as client:
            await ask(client)
            own.freeze()
            began = time.monotonic()
            for number in range(10):
                assert (await ask(client, f"{number}?")).status_code == 200
            assert time.monotonic() - began < 4
            own.thaw()


async def test_what_became_of_requests_is_counted(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """For all replicas together, with the next look at what is kept."""
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
    """Questions are answered while it freezes, dies and comes back; then answers are kept again."""
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

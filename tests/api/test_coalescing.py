"""Request coalescing: clients that ask the same at once share one answer, whatever happens to its leader."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AsyncExitStack

import aiohttp
import httpx
import pytest
from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from starlette.types import Send

from api.answer_cache.store import AnswerStore, Snapshot
from conftest import Serve
from graph.events import Done, Event
from harness.caching import QUESTION, ask, caching, status_of
from harness.scripted_model import Call, ScriptedModel, cut, stall, status, tokens, until


@pytest.mark.parametrize("count", [40, pytest.param(200, marks=pytest.mark.soak)])
async def test_many_who_ask_at_once_cost_one_answer(
    serve: Serve, redis: Redis, model: ScriptedModel, count: int
) -> None:
    """Two replicas and both routes make one model call, and everybody gets the same answer."""
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
    """A follower gets the tokens so far at once, and the others as they arrive."""
    seen = asyncio.Event()
    model.script("answer", tokens(["One "], then=until(seen, "two ", "three")))
    async with caching(serve, replicas) as urls, httpx.AsyncClient() as client:
        leading = asyncio.create_task(client.get(f"{urls[0]}/stream", params=QUESTION))
        await asyncio.sleep(0.5)
        async with client.stream("GET", f"{urls[-1]}/stream", params=QUESTION) as answer:
            assert answer.headers["X-Cache"] == "coalesced"
            texts = answer.aiter_text()
            text = await anext(texts)
            assert text == "data: One \n\n"
            seen.set()  # only now does the model go on
            async for more in texts:
                text += more
        assert text == (await leading).text
    assert len(model.of("answer")) == 1


async def test_followers_get_the_last_tokens_as_they_were_sent(
    serve: Serve, redis: Redis, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A follower that reads just as the answer is kept gets the tokens, not their rest as one."""
    keep, publish = AnswerStore.put, AnswerStore.publish
    one_at_a_time = asyncio.Lock()

    async def keep_slowly(store: AnswerStore, key: str, answer: Done) -> None:
        async with one_at_a_time:
            await keep(store, key, answer)
            await asyncio.sleep(0.3)

    async def publish_later(store: AnswerStore, key: str, leader: str, after: int, events: Sequence[Event]) -> None:
        async with one_at_a_time:
            await publish(store, key, leader, after, events)

    monkeypatch.setattr(AnswerStore, "put", keep_slowly)
    monkeypatch.setattr(AnswerStore, "publish", publish_later)
    seen = asyncio.Event()
    model.script("answer", tokens(["One "], then=until(seen, "two ", "three")))
    async with caching(serve, 2) as urls, httpx.AsyncClient() as client:
        leading = asyncio.create_task(client.get(f"{urls[0]}/stream", params=QUESTION))
        await asyncio.sleep(0.5)
        async with client.stream("GET", f"{urls[1]}/stream", params=QUESTION) as answer:
            texts = answer.aiter_text()
            text = await anext(texts)
            seen.set()
            async for more in texts:
                text += more
        assert text == (await leading).text == "data: One \n\ndata: two \n\ndata: three\n\ndata: [DONE]\n\n"


@pytest.mark.parametrize("replicas", [1, 2])
async def test_a_leader_that_hangs_up_half_way_costs_the_others_nothing(
    serve: Serve, redis: Redis, model: ScriptedModel, replicas: int
) -> None:
    """The answer continues for followers on any replica, and stops when the last one leaves."""
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
            assert time.monotonic() - began < 4  # _READ and a margin; the lock of a dead leader would stay for 5
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
    """A retry continues a follower's stream only if its text begins the same; nothing is repeated."""
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
    """Followers on another replica wait until a failed leader releases its lock, and then ask again."""
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
    """If the leader disconnects or fails, all followers are answered with two model calls at most."""
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
            assert (await leader)[0] == 502
        assert await asyncio.gather(*others) == [(200, "Yes.")] * 20
    assert len(model.of("answer")) <= 2
    assert await redis.keys("answer:*:lock") == []


async def test_a_question_that_always_fails_is_asked_twice(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """A failing question costs two model calls, however many clients and replicas ask."""

    async def refuse(call: Call, send: Send) -> None:
        await asyncio.sleep(0.5)
        await status(400)(call, send)

    model.script("answer", refuse)
    async with caching(serve, 2) as urls, aiohttp.ClientSession() as session:
        statuses = await asyncio.gather(*(status_of(session, url) for url in urls * 20))
    assert Counter(statuses) == {502: 40}
    assert len(model.of("answer")) <= 2


async def test_an_answer_that_is_not_kept_is_no_failure(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """For an answer that is not cached each replica asks once, and nobody gets an error."""
    model.script("answer", tokens(["Cut"], pause=0.3, finish="length"))
    async with caching(serve, 3) as urls, aiohttp.ClientSession() as session:
        statuses = await asyncio.gather(*(status_of(session, url) for url in urls * 5))
    assert Counter(statuses) == {200: 15}
    assert len(model.of("answer")) <= 3


async def test_those_who_hang_up_elsewhere_harm_nobody(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """A client that asks and disconnects repeatedly on one replica does not fail another one's question."""
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
    """Without Redis requests are coalesced per replica, and nothing is cached."""
    model.script("answer", tokens(["Yes."], pause=0.5))
    async with caching(serve, REDIS_URL="redis://127.0.0.1:1/0") as (url,), httpx.AsyncClient(base_url=url) as client:
        answers = await asyncio.gather(*(ask(client) for _ in range(10)))
        assert {answer.status_code for answer in answers} == {200}
        assert len(model.of("answer")) == 1
        assert (await ask(client)).headers["X-Cache"] == "miss"


@pytest.mark.parametrize("replicas", [1, 2])
async def test_nobody_waits_for_longer_than_a_turn_may_take(
    serve: Serve, redis: Redis, model: ScriptedModel, replicas: int
) -> None:
    """Followers have the same deadline as their leader."""
    model.script("answer", stall)
    async with caching(serve, replicas, SUPPORT_ANSWER_TIMEOUT=2.5) as urls, aiohttp.ClientSession() as session:
        began = time.monotonic()
        statuses = await asyncio.gather(*(status_of(session, url) for url in urls * 5))
        assert time.monotonic() - began < 4.8  # two time-outs would take 5
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

"""Graceful shutdown of a service in its own process, with clients connected."""

import asyncio
import contextlib
import json
import random
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import aiohttp
import httpx
import psutil
import pytest
from httpx_sse import ServerSentEvent, aconnect_sse
from redis.asyncio import Redis
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed
from websockets.typing import Subprotocol

from harness.replica import replica
from harness.scripted_model import ScriptedModel, stall, tokens


async def until(condition: Callable[[], bool], seconds: float = 30) -> None:
    """Wait until the condition is true."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def follow(client: httpx.AsyncClient, path: str, events: list[ServerSentEvent], method: str = "POST") -> None:
    body = {"message": "Hello?"} if method == "POST" else None
    async with aconnect_sse(client, method, path, json=body) as source:
        async for event in source.aiter_sse():
            events.append(event)


@pytest.mark.soak
@pytest.mark.parametrize(("half", "sockets"), [(5, 2), (50, 20)])
async def test_sigterm_ends_every_stream_with_its_last_event(
    model: ScriptedModel, redis: Redis, redis_url: str, articles: Path, half: int, sockets: int
) -> None:
    """Streams finish, or end with `shutting-down`; WebSockets close with 1001; the process exits with 0."""
    async with replica(model, redis_url, articles) as (process, url):
        async with httpx.AsyncClient(base_url=url, timeout=30, limits=httpx.Limits(max_connections=200)) as client:
            quick: list[list[ServerSentEvent]] = [[] for _ in range(half)]
            slow: list[list[ServerSentEvent]] = [[] for _ in range(half)]
            model.script("answer", tokens(["word "] * 20, pause=0.15))
            streams = [asyncio.create_task(follow(client, "/chat/stream", events)) for events in quick]
            await until(lambda: len(model.of("answer")) >= half)
            model.script("answer", tokens(["Hello"], then=stall))
            streams += [asyncio.create_task(follow(client, "/chat/stream", events)) for events in slow]
            plain = asyncio.create_task(client.get("/stream", params={"question": "Hello?"}))
            address = url.replace("http", "ws") + "/chat"
            idles = [await connect(address) for _ in range(sockets - 1)]
            busy = await connect(address, subprotocols=[Subprotocol("support.v1")])
            await busy.send(json.dumps({"message": "Hello?"}))
            await until(lambda: len(model.of("answer")) >= 2 * half + 2)
            await asyncio.sleep(0.3)
            process.send_signal(signal.SIGTERM)
            began = time.monotonic()
            await asyncio.sleep(0.3)
            ready = await client.get("/ready")
            assert (ready.status_code, ready.json()) == (503, {"status": "draining"})
            refused = await client.post("/chat", json={"message": "Hello?"})
            assert (refused.status_code, refused.json()["type"]) == (503, "shutting-down")
            assert refused.headers["retry-after"]
            assert (await client.post("/ask", json={"question": "Hello?"})).status_code == 503
            for idle in idles:
                with pytest.raises(ConnectionClosed):
                    await idle.recv()
                assert idle.close_code == 1001
            await asyncio.gather(*streams)
            assert [events[-1].event for events in quick] == ["done"] * half
            assert [events[-1].json()["type"] for events in slow] == ["shutting-down"] * half
            assert "event: error" in (await plain).text
            last = ""
            with pytest.raises(ConnectionClosed):
                while True:
                    last = str(await busy.recv())
            assert json.loads(last)["data"]["type"] == "shutting-down"
            assert busy.close_code == 1001
            assert await asyncio.to_thread(process.wait, 9 - (time.monotonic() - began)) == 0
    assert "Traceback" not in Path("output").read_text()
    assert await redis.keys("session:*") == []


async def test_sigterm_may_be_announced_before_anything_is_refused(
    model: ScriptedModel, redis: Redis, redis_url: str, articles: Path
) -> None:
    """/ready is 503 at once, and requests that load balancers still send are answered."""
    model.script("answer", tokens(["Yes."]))
    notice = {"SUPPORT_SHUTDOWN_NOTICE": "1.5"}
    async with (
        replica(model, redis_url, articles, **notice) as (process, url),
        httpx.AsyncClient(base_url=url) as client,
    ):
        process.send_signal(signal.SIGTERM)
        while (await client.get("/ready")).status_code == 200:
            await asyncio.sleep(0.01)
        assert (await client.post("/ask", json={"question": "Hello?"})).status_code == 200
        assert await asyncio.to_thread(process.wait, 9) == 0


@pytest.mark.soak
async def test_a_killed_replica_ends_its_runs_for_their_readers(
    model: ScriptedModel, redis: Redis, redis_url: str, articles: Path
) -> None:
    """After kill -9 readers elsewhere get one error event, and the session is free within 15 seconds."""
    model.script("answer", tokens(["Hello"], then=stall))
    async with (
        replica(model, redis_url, articles) as (process, url),
        replica(model, redis_url, articles) as (_, other),
        httpx.AsyncClient(timeout=30) as client,
    ):
        body = {"message": "Hello?", "session_id": "s-1"}
        async with aconnect_sse(client, "POST", f"{url}/chat/stream", json=body) as source:
            stream = source.aiter_sse()
            events = [await anext(stream) for _ in range(4)]
            await asyncio.sleep(0.3)
            process.kill()
            killed = time.monotonic()
        path = f"{other}/runs/{events[0].json()['run_id']}/stream"

        async def rest() -> list[tuple[str, str]]:
            headers = {"Last-Event-ID": events[-1].id}
            async with aconnect_sse(client, "GET", path, headers=headers) as source:
                return [(event.id, event.event) async for event in source.aiter_sse()]

        first, second = await asyncio.gather(rest(), rest())
        assert first == second
        assert [name for _, name in first] == ["error"]
        model.script("answer", tokens(["Again"]))
        while (response := await client.post(f"{other}/chat", json=body)).status_code == 409:
            assert time.monotonic() - killed < 15
            await asyncio.sleep(0.2)
        assert response.json()["messages_in_history"] == 2


@pytest.mark.soak
@pytest.mark.parametrize("kills", [2, pytest.param(10, marks=pytest.mark.nightly)])
async def test_streams_outlive_the_replica_that_answered_them(
    model: ScriptedModel, redis: Redis, redis_url: str, articles: Path, kills: int
) -> None:
    """Ten streams cut at random points are resumed elsewhere and complete after their replica is killed, each time."""
    model.script("answer", tokens([f"{number} " for number in range(20)], pause=0.01))
    chance = random.Random(11)  # noqa: S311 - where a test cuts need not be secret
    async with replica(model, redis_url, articles) as (_, other), httpx.AsyncClient(timeout=30) as client:
        for _ in range(kills):
            async with replica(model, redis_url, articles) as (process, url):
                cut = await asyncio.gather(*(begin(client, url, chance.randrange(1, 24)) for _ in range(10)))
                for events in cut:
                    await resume(client, url, [events[0]])
                process.kill()
                process.wait()
            for events in cut:
                joined = await resume(client, other, events)
                assert joined == await resume(client, other, joined[:1])
                assert joined[-1][1] == "done"


async def begin(client: httpx.AsyncClient, url: str, stop: int) -> list[tuple[str, str, str]]:
    events: list[tuple[str, str, str]] = []
    async with aconnect_sse(client, "POST", f"{url}/chat/stream", json={"message": "Hello?"}) as source:
        async for event in source.aiter_sse():
            events.append((event.id, event.event, event.data))
            if len(events) == stop:
                break
    return events


async def resume(client: httpx.AsyncClient, url: str, events: list[tuple[str, str, str]]) -> list[tuple[str, str, str]]:
    run_id = json.loads(events[0][2])["run_id"]
    headers = {"Last-Event-ID": events[-1][0]}
    async with aconnect_sse(client, "GET", f"{url}/runs/{run_id}/stream", headers=headers) as source:
        rest = [(event.id, event.event, event.data) async for event in source.aiter_sse()]
    return events + rest


@pytest.mark.soak
async def test_readers_of_another_replicas_turn_are_told_when_theirs_goes(
    model: ScriptedModel, redis: Redis, redis_url: str, articles: Path
) -> None:
    """POST /chat gets a problem; a stream gets an error without an id, so that it resumes where it was."""
    model.script("answer", tokens(["Hello"], then=stall))
    headers = {"Idempotency-Key": "k-1"}
    message = {"message": "Hello?"}
    async with replica(model, redis_url, articles) as (_, one), replica(model, redis_url, articles) as (process, other):
        async with httpx.AsyncClient(timeout=30) as client:
            first = asyncio.create_task(client.post(f"{one}/chat", json=message, headers=headers))
            await until(lambda: bool(model.of("answer")))
            await asyncio.sleep(0.5)
            second = asyncio.create_task(client.post(f"{other}/chat", json=message, headers=headers))
            events: list[ServerSentEvent] = []
            run = str(await redis.keys("run:*:alive")).split(":")[1]
            reading = asyncio.create_task(follow(client, f"{other}/runs/{run}/stream", events, method="GET"))
            await asyncio.sleep(1)
            ahead = {"Last-Event-ID": f"{run}:99"}
            third = asyncio.create_task(client.get(f"{other}/runs/{run}/stream", headers=ahead))
            await asyncio.sleep(0.2)
            process.send_signal(signal.SIGTERM)
            for refused in (await second, await third):
                assert (refused.status_code, refused.json()["type"]) == (503, "shutting-down")
            await reading
            assert (events[-1].event, events[-1].json()["type"]) == ("error", "shutting-down")
            assert not any(event.id.endswith(f":{len(events)}") for event in events)
            assert await asyncio.to_thread(process.wait, 5) == 0
            assert not first.done()
            first.cancel()


@pytest.mark.soak
@pytest.mark.parametrize("leader_goes", [True, False])
async def test_those_who_share_an_answer_survive_sigterm(
    model: ScriptedModel, redis: Redis, redis_url: str, articles: Path, leader_goes: bool
) -> None:
    """If the leader's replica stops another one asks; if a follower's does, its clients get an end or an error."""

    async def lines(client: httpx.AsyncClient, url: str, question: str) -> str:
        return (await client.get(f"{url}/stream", params={"question": question})).text

    model.script("answer", tokens(map(str, range(100)), pause=0.2))
    async with (
        replica(model, redis_url, articles) as (first, one),
        replica(model, redis_url, articles) as (second, two),
    ):
        async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=60)) as client:
            leading = [asyncio.create_task(lines(client, one, f"{number}?")) for number in range(5)]
            await until(lambda: len(model.of("answer")) == 5)
            await asyncio.sleep(0.5)
            following = [
                asyncio.create_task(lines(client, url, f"{number}?")) for number in range(5) for url in (one, two)
            ]
            asking = [
                asyncio.create_task(client.post(f"{two}/ask", json={"question": f"{number}?"})) for number in range(5)
            ]
            await asyncio.sleep(0.5)
            model.script("answer", tokens(map(str, range(100))))
            going = first if leader_goes else second
            going.send_signal(signal.SIGTERM)
            leaders, followers = [await asyncio.gather(*tasks) for tasks in (leading, following)]
            asked = await asyncio.gather(*asking)
            assert await asyncio.to_thread(going.wait, 5) == 0
    whole = "".join(f"data: {number}\n\n" for number in range(100)) + "data: [DONE]\n\n"
    for text in (*leaders, *followers):
        assert text == whole or "shutting-down" in text.rpartition("event: error")[2]
    if leader_goes:
        assert "".join(followers[1].split()) == "".join(whole.split())
        assert {answer.status_code for answer in asked} == {200}
        assert len(model.of("answer")) == 10
    else:
        assert set(leaders) == {whole}
        assert {(answer.status_code, answer.json()["type"]) for answer in asked} == {(503, "shutting-down")}
        assert len(model.of("answer")) == 5


@pytest.mark.soak
async def test_a_killed_leader_costs_the_others_one_more_call(
    model: ScriptedModel, redis: Redis, redis_url: str, articles: Path
) -> None:
    """Followers of a killed replica's answer get it from another, with two model calls in all."""
    question = {"question": "Why was I charged twice?"}
    model.script("answer", tokens(["Hello"], then=stall), tokens(["Yes."]))
    async with replica(model, redis_url, articles) as (process, one), replica(model, redis_url, articles) as (_, other):
        async with httpx.AsyncClient(timeout=60, limits=httpx.Limits(max_connections=60)) as client:
            leading = asyncio.create_task(client.post(f"{one}/ask", json=question))
            await until(lambda: bool(model.of("answer")))
            waiting = [asyncio.create_task(client.post(f"{other}/ask", json=question)) for _ in range(50)]
            await asyncio.sleep(1)
            process.kill()
            answers = await asyncio.gather(*waiting)
            with pytest.raises(httpx.TransportError):
                await leading
    assert {answer.json()["answer"] for answer in answers} == {"Yes."}
    assert len(model.of("answer")) == 2


@pytest.mark.soak
async def test_the_limit_holds_for_many_at_once(
    model: ScriptedModel, redis: Redis, redis_url: str, articles: Path
) -> None:
    """Of 500 concurrent requests over two replicas exactly 100 pass at 100 a minute, whatever address they claim."""
    limit = {"SUPPORT_RATE_LIMIT": "100/minute"}
    async with replica(model, redis_url, articles, **limit) as (_, one):
        async with replica(model, redis_url, articles, **limit) as (_, other), aiohttp.ClientSession() as session:

            async def status(number: int) -> int:
                headers = {"X-Forwarded-For": f"10.0.{number % 250}.1"}
                question = {"question": "Why was I charged twice?"}
                async with session.post(f"{(one, other)[number % 2]}/ask", json=question, headers=headers) as answer:
                    return answer.status

            statuses = await asyncio.gather(*(status(number) for number in range(500)))
    assert Counter(statuses) == {200: 100, 429: 400}


@pytest.mark.soak
@pytest.mark.parametrize("form", [None, [Subprotocol("support.v1")]], ids=["text", "typed"])
async def test_a_flood_takes_no_memory(
    model: ScriptedModel, redis: Redis, redis_url: str, articles: Path, form: list[Subprotocol] | None
) -> None:
    """100 connections with 200 long messages each are closed with 1008, and memory does not grow."""
    model.script("answer", tokens(["Hello"], then=stall))
    async with replica(model, redis_url, articles) as (process, url):

        async def flood() -> int | None:
            message = "x" * 3900
            async with connect(url.replace("http", "ws") + "/chat", subprotocols=form) as socket:
                with contextlib.suppress(ConnectionClosed):
                    for _ in range(200):
                        await socket.send(json.dumps({"message": message}) if form else message)
                    while True:
                        await socket.recv()
            return socket.close_code

        sizes: list[int] = []
        for _ in range(5):
            assert await asyncio.gather(*(flood() for _ in range(20))) == [1008] * 20
            sizes.append(psutil.Process(process.pid).memory_info().rss)
    assert sizes[-1] - sizes[0] < 20_000_000, sizes

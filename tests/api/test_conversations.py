import asyncio
import json
import random
import time
import uuid
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import httpx
import psutil
import pytest
from fastapi import Header
from httpx_sse import ServerSentEvent, aconnect_sse
from redis.asyncio import Redis
from starlette.types import Send

from api.app import create_app
from api.auth import ANONYMOUS, Principal
from api.deps import principal
from conftest import MakeSettings, Serve
from graph.events import RunStarted
from graph.runs import log as run_log
from graph.runs import sessions, turn
from harness.own_redis import own_redis
from harness.replica import replica
from harness.scripted_model import Call, ScriptedModel, cut, stall, status, tokens
from harness.serving import serving


@pytest.fixture
async def neighbours(redis: Redis, serve: Serve, model: ScriptedModel) -> AsyncGenerator[list[httpx.AsyncClient]]:
    """Clients of two replicas in this process."""
    async with several(serve, 2) as clients:
        model.forget()
        yield clients


@pytest.fixture(params=["here", pytest.param("processes", marks=pytest.mark.soak)])
async def replicas(
    request: pytest.FixtureRequest,
    redis: Redis,
    redis_url: str,
    serve: Serve,
    model: ScriptedModel,
    articles: Path,
) -> AsyncGenerator[list[httpx.AsyncClient]]:
    """Clients of two replicas that share a Redis, here or in processes of their own."""

    @asynccontextmanager
    async def process() -> AsyncGenerator[str]:
        async with replica(model, redis_url, articles) as (_, url):
            yield url

    async with several(serve if request.param == "here" else process, 2) as clients:
        model.forget()
        yield clients


@asynccontextmanager
async def several(serve: Serve, count: int, **variables: Any) -> AsyncGenerator[list[httpx.AsyncClient]]:
    async with AsyncExitStack() as stack:
        clients: list[httpx.AsyncClient] = []
        for url in await asyncio.gather(*(stack.enter_async_context(serve(**variables)) for _ in range(count))):
            limits = httpx.Limits(max_connections=200)
            client = httpx.AsyncClient(base_url=url, timeout=30, limits=limits)
            clients.append(await stack.enter_async_context(client))
        yield clients


async def echo(call: Call, send: Send) -> None:
    """Answer with the question, in some pieces."""
    await tokens(["You said: ", call.prompt[-1][1], "."])(call, send)


def open_connections(client: httpx.AsyncClient) -> int:
    """Count the connections that a service in this process has with its clients."""
    sockets = psutil.Process().net_connections("tcp")
    return sum(one.laddr.port == client.base_url.port and one.status == "ESTABLISHED" for one in sockets)


def plainly(events: list[ServerSentEvent]) -> list[tuple[str, str, str]]:
    return [(event.id, event.event, event.data) for event in events]


async def events_of(client: httpx.AsyncClient, method: str, path: str, **request: Any) -> list[ServerSentEvent]:
    async with aconnect_sse(client, method, path, **request) as source:
        source.response.raise_for_status()
        return [event async for event in source.aiter_sse()]


async def test_a_conversation_lives_through_restarts_and_replicas(
    redis: Redis, serve: Serve, model: ScriptedModel
) -> None:
    """Each turn's prompt holds exactly the turns before it, whichever replica answers and however often it restarts."""
    model.script("answer", echo)
    history: list[tuple[str, str]] = []
    for number in range(10):
        async with several(serve, 1) as (client,):
            response = await client.post("/chat", json={"message": f"Turn {number}?", "session_id": "s-1"})
        answer = response.json()
        assert answer["session_id"] == "s-1"
        assert answer["messages_in_history"] == 2 * number + 2
        assert model.of("answer")[-1].prompt[1:] == [*history, ("user", f"Turn {number}?")]
        history += [("user", f"Turn {number}?"), ("assistant", f"You said: Turn {number}?.")]
    async with several(serve, 1) as (client,):
        session = (await client.get("/sessions/s-1")).json()
    assert [(message["role"], message["content"]) for message in session["messages"]] == history
    assert 1790 <= session["expires_in"] <= 1800


async def test_a_turn_costs_the_same_however_long_the_conversation(
    redis: Redis, serve: Serve, model: ScriptedModel
) -> None:
    """Turn 30 costs what turn 15 costs, in round trips and bytes; at rest a session is one key of less than 30 kB."""
    model.script("answer", tokens(["A sentence of an answer as long as they are. "] * 10))
    costs: list[tuple[int, int]] = []
    async with several(serve, 1, SUPPORT_SESSION_MESSAGES=20) as (client,):
        for _ in range(30):
            before = await commands(redis)
            response = await client.post("/chat", json={"message": "A question? " * 8, "session_id": "s-1"})
            assert response.status_code == 200
            (key,) = await redis.keys("turn:*")
            costs.append((await commands(redis) - before, await redis.memory_usage(key) or 0))
    assert costs[29][0] <= 1.2 * costs[14][0]
    assert costs[29][1] <= 1.2 * costs[14][1]
    assert costs[29][1] < 30_000
    assert len(model.of("answer")[-1].prompt) == 1 + 20 + 1
    assert {key[:4] for key in await redis.keys("*")} == {b"turn", b"run:"}


async def commands(redis: Redis) -> int:
    """Count what clients have asked of Redis, but for scans of ours and the beat."""
    counts = await redis.info("commandstats")
    ignored = ("info", "keys", "memory|usage", "mget", "expire")
    return sum(value["calls"] for name, value in counts.items() if name.removeprefix("cmdstat_") not in ignored)


@pytest.mark.soak
async def test_nothing_is_left_once_all_has_expired(redis: Redis, serve: Serve, model: ScriptedModel) -> None:
    """Sessions, runs' logs and idempotency records expire by themselves; a turn prolongs its session."""
    async with several(serve, 1, SUPPORT_SESSION_TTL=2) as (client,):
        for number in range(3):
            headers = {"Idempotency-Key": f"k-{number}"}
            await client.post("/chat", json={"message": "Hello?", "session_id": "s-1"}, headers=headers)
            await asyncio.sleep(1)
        assert len((await client.get("/sessions/s-1")).json()["messages"]) == 6
        await asyncio.sleep(2.5)
        assert (await client.get("/sessions/s-1")).status_code == 404
    for record in await redis.keys("run:*:record"):
        assert 0 < await redis.ttl(record) <= 86_400
        await redis.delete(record)
    left = await redis.keys("*")
    assert all([0 < await redis.ttl(key) <= 10 for key in left])  # logs and records outlive a short session a little
    deadline = time.monotonic() + 11
    while await redis.keys("*"):
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    "fault", [status(400), tokens(["Half an "], then=cut), tokens([], end=True)], ids=["refused", "cut", "empty"]
)
async def test_a_failed_turn_leaves_no_trace(
    replicas: list[httpx.AsyncClient], redis: Redis, model: ScriptedModel, fault: Any
) -> None:
    """The next prompt holds neither the question nor the half answer of a turn that failed."""
    await replicas[0].post("/chat", json={"message": "First?", "session_id": "s-1"})
    model.script("answer", fault)
    response = await replicas[0].post("/chat", json={"message": "Lost?", "session_id": "s-1"})
    assert response.status_code == 503
    model.script("answer", echo)
    await replicas[1].post("/chat", json={"message": "Second?", "session_id": "s-1"})
    said = [text for role, text in model.of("answer")[-1].prompt if role == "user"]
    assert said == ["First?", "Second?"]
    assert await redis.keys("session:*") == []


async def test_a_follow_up_finds_what_it_is_about(replicas: list[httpx.AsyncClient]) -> None:
    """A question that only makes sense after the one before is searched for together with it."""
    message = {"message": "Is every payment refunded within 30 days?", "session_id": "s-1"}
    await replicas[0].post("/chat", json=message)
    response = await replicas[1].post("/chat", json={"message": "Does that apply here too?", "session_id": "s-1"})
    assert "refund-policy" in [source["id"] for source in response.json()["sources"][:2]]


async def test_a_busy_session_refuses_other_messages(
    replicas: list[httpx.AsyncClient], redis: Redis, model: ScriptedModel
) -> None:
    """Of 50 messages at once on two replicas one is answered, 49 are told to wait, and the history has no hole."""
    model.script("answer", tokens(["Hello"], pause=1.5))
    posts = [
        replicas[number % 2].post("/chat", json={"message": f"Message {number}", "session_id": "s-1"})
        for number in range(50)
    ]
    responses = await asyncio.gather(*posts)
    codes = [response.status_code for response in responses]
    assert (codes.count(200), codes.count(409)) == (1, 49)
    assert {response.json()["type"] for response in responses if response.status_code == 409} == {"session-busy"}
    assert len(model.of("answer")) == 1
    assert len((await replicas[0].get("/sessions/s-1")).json()["messages"]) == 2
    assert await redis.keys("session:*") == []


@pytest.mark.soak
async def test_messages_can_wait_for_their_turn(redis: Redis, serve: Serve, model: ScriptedModel) -> None:
    """With SUPPORT_BUSY_SESSION=wait, 50 messages at once are answered one after the other, in order."""
    model.script("answer", echo)
    async with several(serve, 1, SUPPORT_BUSY_SESSION="wait", SUPPORT_SESSION_MESSAGES=200) as (client,):

        async def send(number: int) -> httpx.Response:
            await asyncio.sleep(number * 0.01)
            return await client.post("/chat", json={"message": f"Message {number}", "session_id": "s-1"})

        responses = await asyncio.gather(*(send(number) for number in range(50)))
        assert {response.status_code for response in responses} == {200}
        messages = (await client.get("/sessions/s-1")).json()["messages"]
    asked = [message["content"] for message in messages if message["role"] == "user"]
    assert asked == [f"Message {number}" for number in range(50)]


async def test_typed_events_come_in_their_order(replicas: list[httpx.AsyncClient], model: ScriptedModel) -> None:
    """A stream is run, category and sources, tokens, done; its ids count, and its end is what POST /chat returns."""
    model.script("answer", tokens(["a\r\n", "[DONE]", "\u2028", "🙂"]))
    events = await events_of(replicas[0], "POST", "/chat/stream", json={"message": "Hello?"})
    names = [event.event for event in events]
    assert names[0] == "run"
    assert sorted(names[1:3]) == ["category", "sources"]
    assert names[3:] == ["token"] * 4 + ["done"]
    run = events[0].json()
    assert [event.id for event in events] == [f"{run['run_id']}:{n}" for n in range(1, len(events) + 1)]
    assert [event.json()["text"] for event in events[3:-1]] == ["a\r\n", "[DONE]", "\u2028", "🙂"]
    done = events[-1].json()
    assert done["answer"] == "a\r\n[DONE]\u2028🙂"
    assert (done["run_id"], done["session_id"], done["messages_in_history"]) == (run["run_id"], run["session_id"], 2)
    assert len(done["session_id"]) == 32
    again = await events_of(replicas[1], "GET", f"/runs/{run['run_id']}/stream")
    assert plainly(again) == plainly(events)


@pytest.mark.parametrize("count", [20, pytest.param(100, marks=pytest.mark.soak)])
async def test_cut_streams_are_resumed_on_the_other_replica(
    replicas: list[httpx.AsyncClient], model: ScriptedModel, count: int
) -> None:
    """Streams cut at random points and resumed elsewhere all join to what an uncut one holds."""
    model.script("answer", tokens([f"{number} " for number in range(20)], pause=0.02))
    chance = random.Random(7)  # noqa: S311 - where a test cuts need not be secret

    async def cut_and_resume(number: int) -> bool:
        request = {"json": {"message": f"Question {number}?"}}
        seen: list[ServerSentEvent] = []
        stop = chance.randrange(1, 25)
        async with aconnect_sse(replicas[number % 2], "POST", "/chat/stream", **request) as source:
            async for event in source.aiter_sse():
                seen.append(event)
                if len(seen) == stop:
                    break
        run_id = seen[0].json()["run_id"]
        headers = {"Last-Event-ID": seen[-1].id}
        path = f"/runs/{run_id}/stream"
        if seen[-1].event != "done":
            seen += await events_of(replicas[1 - number % 2], "GET", path, headers=headers)
        uncut = await events_of(replicas[number % 2], "GET", path)
        return plainly(seen) == plainly(uncut) and seen[-1].event == "done"

    several_at_once = asyncio.Semaphore(10)

    async def one(number: int) -> bool:
        async with several_at_once:
            return await cut_and_resume(number)

    assert await asyncio.gather(*(one(number) for number in range(count))) == [True] * count


async def test_a_run_is_cancelled_from_any_replica(replicas: list[httpx.AsyncClient], model: ScriptedModel) -> None:
    """DELETE ends a run wherever it is executed, its readers get one error, and the session forgets the message."""
    for canceller in (0, 1):
        model.script("answer", tokens(["Hello"], then=stall))
        events: list[ServerSentEvent] = []
        request = {"json": {"message": "Hello?", "session_id": "s-1"}}
        async with aconnect_sse(replicas[0], "POST", "/chat/stream", **request) as source:
            async for event in source.aiter_sse():
                events.append(event)
                if event.event == "token":
                    path = f"/runs/{events[0].json()['run_id']}"
                    assert (await replicas[canceller].delete(path)).status_code == 202
        assert [event.event for event in events[-2:]] == ["token", "error"]
        assert events[-1].json()["type"] == "cancelled"
        assert (await replicas[1].get("/sessions/s-1")).status_code == 404
    unknown = f"/runs/{uuid.uuid4()}"
    assert (await replicas[0].delete(unknown)).status_code == 404
    assert (await replicas[0].get(f"{unknown}/stream")).status_code == 404


async def test_an_idempotency_key_makes_one_run(replicas: list[httpx.AsyncClient], model: ScriptedModel) -> None:
    """The same key and body 20 times at once cost one run and get 20 equal answers; another body is refused."""
    model.script("answer", tokens(["Hello", " you"], pause=0.2))
    headers = {"Idempotency-Key": "key-1"}
    posts = [replicas[number % 2].post("/chat", json={"message": "Hello?"}, headers=headers) for number in range(20)]
    responses = await asyncio.gather(*posts)
    assert {response.status_code for response in responses} == {200}
    assert len({response.text for response in responses}) == 1
    assert len(model.of("answer")) == 1
    events = await events_of(replicas[1], "POST", "/chat/stream", json={"message": "Hello?"}, headers=headers)
    assert events[-1].json() == responses[0].json()
    other = await replicas[0].post("/chat", json={"message": "Hello!"}, headers=headers)
    assert (other.status_code, other.json()["type"]) == (422, "idempotency-mismatch")
    assert len(model.of("answer")) == 1


async def test_a_refused_turn_does_not_use_up_its_key(replicas: list[httpx.AsyncClient], model: ScriptedModel) -> None:
    """A message that met a busy session can be sent again with the same key."""
    model.script("answer", tokens(["Hello"], pause=0.6))
    body = {"message": "Hello?", "session_id": "s-1"}
    headers = {"Idempotency-Key": "key-1"}
    first = asyncio.create_task(replicas[0].post("/chat", json=body))
    while not model.of("answer"):
        await asyncio.sleep(0.01)
    assert (await replicas[1].post("/chat", json=body, headers=headers)).status_code == 409
    await first
    assert (await replicas[1].post("/chat", json=body, headers=headers)).status_code == 200


async def test_turns_that_are_refused_at_once_get_their_reasons(
    neighbours: list[httpx.AsyncClient], model: ScriptedModel
) -> None:
    """Many with one used key, and many with keys of their own in a busy session: each hears why."""
    model.script("answer", tokens(["Hello"], pause=0.2))

    async def post(key: str, message: str, **more: str) -> tuple[int, str]:
        body = {"message": message, **more}
        response = await neighbours[0].post("/chat", json=body, headers={"Idempotency-Key": key})
        return response.status_code, response.json().get("type", "")

    await asyncio.gather(*(post("k-1", "Hello?") for _ in range(4)))
    others = await asyncio.gather(*(post("k-1", f"Hello {number}?") for number in range(8)))
    assert set(others) == {(422, "idempotency-mismatch")}
    busy = await asyncio.gather(*(post(f"k-2-{number}", "Hello?", session_id="s-1") for number in range(8)))
    assert sorted(busy) == [(200, ""), *[(409, "session-busy")] * 7]


@pytest.mark.parametrize("count", [5, pytest.param(100, marks=pytest.mark.soak)])
@pytest.mark.parametrize("path", ["/chat", "/chat/stream"])
@pytest.mark.parametrize("reply", [stall, tokens(["Hello"], then=stall)], ids=["before", "after"])
async def test_a_client_that_leaves_holds_nothing(
    neighbours: list[httpx.AsyncClient],
    redis: Redis,
    model: ScriptedModel,
    monkeypatch: pytest.MonkeyPatch,
    path: str,
    reply: Any,
    count: int,
) -> None:
    """Clients that hang up leave no call, lock, task or connection: from /chat at once, from a stream after a while."""
    monkeypatch.setattr("graph.runs.sessions.UNREAD", 0.5)
    model.script("answer", reply)
    tasks, connections = len(asyncio.all_tasks()), open_connections(neighbours[0])
    posts = [
        asyncio.create_task(neighbours[0].post(path, json={"message": "Hello?", "session_id": f"s-{number}"}))
        for number in range(count)
    ]
    while len(model.of("answer")) < count:
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    for post in posts:
        post.cancel()
    hung_up = time.monotonic()
    while not all(call.cut for call in model.of("answer")) and time.monotonic() < hung_up + 5:
        await asyncio.sleep(0.01)
    limit = 0.5 if path == "/chat" else 2
    assert max(call.cut or hung_up + 9 for call in model.of("answer")) - hung_up < limit
    await asyncio.sleep(0.5)
    assert await redis.keys("session:*") == []
    assert await redis.keys("run:*:alive") == []
    assert len(asyncio.all_tasks()) <= tasks
    assert open_connections(neighbours[0]) <= connections
    model.script("answer", echo)
    await neighbours[1].post("/chat", json={"message": "Again?", "session_id": "s-3"})
    assert model.of("answer")[-1].prompt[1:] == [("user", "Again?")]


async def test_a_session_belongs_to_its_caller(redis: Redis, make_settings: MakeSettings, model: ScriptedModel) -> None:
    """To any other caller a session and its runs do not exist; the same session id is another session."""
    app = create_app(make_settings())

    async def named(x_tenant: Annotated[str, Header()]) -> Principal:
        return Principal(x_tenant)

    app.dependency_overrides[principal] = named
    mine, other = {"X-Tenant": "mine"}, {"X-Tenant": "other"}
    async with serving(app) as url, httpx.AsyncClient(base_url=url) as client:
        body = {"message": "Secret?", "session_id": "s-1"}
        run_id = (await client.post("/chat", json=body, headers=mine)).json()["run_id"]
        for method, path in (
            ("GET", "/sessions/s-1"),
            ("DELETE", "/sessions/s-1"),
            ("GET", f"/runs/{run_id}/stream"),
            ("DELETE", f"/runs/{run_id}"),
        ):
            assert (await client.request(method, path, headers=other)).status_code == 404
        await client.post("/chat", json={"message": "Hello?", "session_id": "s-1"}, headers=other)
        assert model.of("answer")[-1].prompt[1:] == [("user", "Hello?")]
        assert len((await client.get("/sessions/s-1", headers=mine)).json()["messages"]) == 2
        assert (await client.delete("/sessions/s-1", headers=mine)).status_code == 204
        assert (await client.get("/sessions/s-1", headers=mine)).status_code == 404
        assert (await client.get("/sessions/s-1", headers=other)).status_code == 200


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ({}, "message"),
        ({"message": " "}, "message"),
        ({"message": "x" * 4001}, "message"),
        ({"message": "Hello?", "session_id": ""}, "session_id"),
        ({"message": "Hello?", "session_id": "a b"}, "session_id"),
        ({"message": "Hello?", "session_id": "x" * 129}, "session_id"),
        ({"message": "Hello?", "question": "Why?"}, "question"),
    ],
)
async def test_a_bad_message_is_refused(
    neighbours: list[httpx.AsyncClient], model: ScriptedModel, body: dict[str, str], named: str
) -> None:
    """A bad message gets a problem that names the field, before a stream begins."""
    for path in ("/chat", "/chat/stream"):
        response = await neighbours[0].post(path, json=body)
        assert response.status_code == 422
        assert named in response.json()["detail"]
    assert model.calls == []


@pytest.mark.parametrize("last", ["7", "other:7", "{run}:x", "{run}:-1", "{run}:9999999999"])
async def test_a_foreign_last_event_id_is_refused(neighbours: list[httpx.AsyncClient], last: str) -> None:
    """An id that is not of this run is not taken for a place in it."""
    run_id = (await neighbours[0].post("/chat", json={"message": "Hello?"})).json()["run_id"]
    headers = {"Last-Event-ID": last.format(run=run_id)}
    response = await neighbours[0].get(f"/runs/{run_id}/stream", headers=headers)
    assert response.status_code in (404, 422)
    assert "last-event-id" in response.json()["detail"].lower()
    assert (
        await neighbours[0].post("/chat", json={"message": "x"}, headers={"Idempotency-Key": "k" * 256})
    ).status_code == 422


async def test_without_redis_questions_are_answered_and_sessions_refused(serve: Serve, model: ScriptedModel) -> None:
    """A Redis that is away costs the conversations, within a second, and nothing else."""
    async with several(serve, 1, REDIS_URL="redis://127.0.0.1:1/0") as (client,):
        assert (await client.post("/ask", json={"question": "Hello?"})).status_code == 200
        began = time.monotonic()
        for response in (
            await client.post("/chat", json={"message": "Hello?"}),
            await client.post("/chat/stream", json={"message": "Hello?"}),
            await client.get("/sessions/s-1"),
            await client.delete("/sessions/s-1"),
            await client.get(f"/runs/{uuid.uuid4()}/stream"),
        ):
            assert (response.status_code, response.json()["type"]) == (503, "memory-unavailable")
        assert time.monotonic() - began < 5
        ready = await client.get("/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "unavailable")
        assert ready.json()["checks"]["redis"].items() >= {"up": False, "reason": "can't be reached"}.items()
        assert ready.json()["checks"]["articles"]["up"]


async def test_a_redis_that_freezes_or_dies_is_used_again_once_it_is_back(
    tmp_path: Path, serve: Serve, model: ScriptedModel
) -> None:
    """Conversations are refused within a second each, questions are answered; nobody has to restart the service."""
    with own_redis(tmp_path) as own:
        async with several(serve, 1, REDIS_URL=own.url) as (client,):
            for lose, restore in ((own.freeze, own.thaw), (own.kill, own.start)):
                chats = [client.post("/chat", json={"message": "Hello?"}) for _ in range(5)]  # on several connections
                assert [response.status_code for response in await asyncio.gather(*chats)] == [200] * 5
                lose()
                for method, path, body in (
                    ("POST", "/chat", {"message": "Hello?"}),
                    ("POST", "/chat/stream", {"message": "Hello?"}),
                    ("GET", "/sessions/s-1", None),
                    ("DELETE", "/sessions/s-1", None),
                ):
                    began = time.monotonic()
                    response = await client.request(method, path, json=body)
                    assert (response.status_code, response.json()["type"]) == (503, "memory-unavailable")
                    assert time.monotonic() - began < 1.5  # the second that is promised, and a busy machine's share
                assert (await client.post("/ask", json={"question": "Hello?"})).status_code == 200
                restore()
                deadline = time.monotonic() + 10
                while (await client.post("/chat", json={"message": "Hello?"})).status_code != 200:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.1)


async def test_ready_says_that_the_service_takes_work(neighbours: list[httpx.AsyncClient]) -> None:
    """GET /ready is 200 while all is well."""
    response = await neighbours[0].get("/ready")
    assert (response.status_code, response.json()["status"]) == (200, "ready")


@pytest.mark.parametrize("delay", [0.0, 0.002, 0.005, 0.01, 0.02, 0.05])
async def test_a_client_that_leaves_at_once_holds_nothing(
    redis: Redis, serve: Serve, model: ScriptedModel, delay: float
) -> None:
    """Whatever the service was doing when POST /chat was cut, a second later nothing of it is left."""
    model.script("answer", tokens(["Hello"], then=stall))
    body = b'{"message": "Hello?"}'
    async with several(serve, 1) as (client,):

        async def leave() -> None:
            _, writer = await asyncio.open_connection(client.base_url.host, client.base_url.port)
            headers = f"Host: a\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
            writer.write(f"POST /chat HTTP/1.1\r\n{headers}\r\n\r\n".encode() + body)
            await asyncio.sleep(delay)
            writer.close()

        await asyncio.gather(*(leave() for _ in range(10)))
        await asyncio.sleep(1)
        assert await redis.keys("session:*") == []
        assert [call for call in model.of("answer") if call.cut is None] == []


async def test_a_turn_that_waited_long_is_answered(
    redis: Redis, serve: Serve, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time that a turn waits for its session does not count as time that nobody reads it."""
    monkeypatch.setattr(sessions, "UNREAD", 0.5)
    model.script("answer", tokens(["Hello"] * 5, pause=0.3))
    async with several(serve, 1, SUPPORT_BUSY_SESSION="wait") as (client,):
        message = {"message": "Hello?", "session_id": "s-1"}
        answers = await asyncio.gather(*(client.post("/chat", json=message) for _ in range(3)))
    assert [answer.status_code for answer in answers] == [200, 200, 200]


async def test_a_stream_read_to_its_end_is_not_resumed(replicas: list[httpx.AsyncClient]) -> None:
    """204 after the last event, 404 after one that never was, on every replica; the log stays as it is."""
    events = await events_of(replicas[0], "POST", "/chat/stream", json={"message": "Hello?"})
    run, _, last = events[-1].id.partition(":")
    for client in replicas:
        answer = await client.get(f"/runs/{run}/stream", headers={"Last-Event-ID": f"{run}:{last}"})
        assert (answer.status_code, answer.content) == (204, b"")
        beyond = {"Last-Event-ID": f"{run}:{int(last) + 1}"}
        answer = await client.get(f"/runs/{run}/stream", headers=beyond)
        assert (answer.status_code, answer.json()["type"]) == (404, "no-such-event")
        assert plainly(await events_of(client, "GET", f"/runs/{run}/stream")) == plainly(events)


async def test_an_event_that_a_running_turn_has_not_sent_can_not_be_resumed_after(
    neighbours: list[httpx.AsyncClient], model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody waits for ever after an event that will never come, whether their replica executes the turn or not."""
    monkeypatch.setattr(run_log, "ALIVE", 1)
    monkeypatch.setattr(sessions, "_REFRESH", 0.2)
    model.script("answer", tokens(["Hello"], then=stall))
    async with aconnect_sse(neighbours[0], "POST", "/chat/stream", json={"message": "Hello?"}) as source:
        run = (await anext(source.aiter_sse())).id.partition(":")[0]
        for client in neighbours:
            answer = await client.get(f"/runs/{run}/stream", headers={"Last-Event-ID": f"{run}:99"})
            assert (answer.status_code, answer.json()["type"]) == (404, "no-such-event")


async def test_an_event_that_the_log_has_yet_to_get_can_be_resumed_after(
    neighbours: list[httpx.AsyncClient], model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another replica waits for what the client has seen already, and goes on from there."""
    monkeypatch.setattr(turn, "_BATCH", 0.5)
    model.script("answer", tokens(["Hello", " you"], pause=1))
    async with aconnect_sse(neighbours[0], "POST", "/chat/stream", json={"message": "Hello?"}) as source:
        stream = source.aiter_sse()
        seen = [await anext(stream) for _ in range(4)]
        path = f"/runs/{seen[0].json()['run_id']}/stream"
        rest = await events_of(neighbours[1], "GET", path, headers={"Last-Event-ID": seen[-1].id})
    assert [event.event for event in rest] == ["token", "done"]


async def test_who_saw_more_than_a_dead_replica_has_logged_is_told_of_its_end(
    redis: Redis, neighbours: list[httpx.AsyncClient]
) -> None:
    """A client of a turn whose replica died gets its one `error`, whatever it saw last, and nothing after it."""
    run = str(uuid.uuid4())
    log = run_log.RunLog(redis, 60)
    await log.begin(run, ANONYMOUS, RunStarted(run, "s-1"))
    await redis.pexpire(f"run:{run}:alive", 300)  # as if it had died some seconds ago
    ends: list[tuple[str, str]] = []
    for client, last in ((neighbours[0], 7), (neighbours[1], 9), (neighbours[1], 1)):
        answer = await events_of(client, "GET", f"/runs/{run}/stream", headers={"Last-Event-ID": f"{run}:{last}"})
        ends += [(event.id, event.json()["type"]) for event in answer]
    assert ends == [(f"{run}:8", "interrupted")] * 3
    for client in neighbours:
        answer = await client.get(f"/runs/{run}/stream", headers={"Last-Event-ID": f"{run}:8"})
        assert (answer.status_code, answer.content) == (204, b"")


async def test_a_mismatch_leaves_the_key_with_its_run(replicas: list[httpx.AsyncClient], model: ScriptedModel) -> None:
    """A key that came with another message still stands for the first."""
    headers = {"Idempotency-Key": "k-1"}
    answers = [
        await client.post("/chat", json={"message": message}, headers=headers)
        for client in replicas
        for message in ("One?", "Two?", "One?")
    ]
    assert [answer.status_code for answer in answers] == [200, 422, 200] * 2
    assert len({answer.json()["run_id"] for answer in answers if answer.status_code == 200}) == 1
    assert len(model.of("answer")) == 1


async def test_a_key_whose_turn_was_refused_is_refused_alike(
    replicas: list[httpx.AsyncClient], model: ScriptedModel
) -> None:
    """All who sent the key hear at once that the session is busy, on every replica; later the key can be used."""
    message = {"message": "Hello?", "session_id": "s-1"}
    model.script("answer", tokens(["Hello"] * 4, pause=0.5), tokens(["Hello"]))
    busy = asyncio.create_task(replicas[0].post("/chat", json={"message": "First?", "session_id": "s-1"}))
    while not model.of("answer"):
        await asyncio.sleep(0.01)
    headers = {"Idempotency-Key": "k-1"}
    answers = await asyncio.gather(
        *(replicas[number % 2].post("/chat", json=message, headers=headers) for number in range(20))
    )
    assert [answer.json()["type"] for answer in answers] == ["session-busy"] * 20
    assert not busy.done()
    assert (await busy).status_code == 200
    assert (await replicas[1].post("/chat", json=message, headers=headers)).status_code == 200


async def test_a_key_whose_replica_died_before_the_turn_began_is_free(
    replicas: list[httpx.AsyncClient], redis: Redis, model: ScriptedModel
) -> None:
    """A record of a run that never was stands in nobody's way."""
    headers = {"Idempotency-Key": "k-1"}
    await replicas[0].post("/chat", json={"message": "Hello?"}, headers=headers)
    (claim,) = await redis.keys("idempotency:*")
    held = json.loads(await redis.get(claim) or "")
    await redis.set(claim, json.dumps([str(uuid.uuid4()), held[1]]))
    answers = await asyncio.gather(
        *(client.post("/chat", json={"message": "Hello?"}, headers=headers) for client in replicas)
    )
    assert [answer.status_code for answer in answers] == [200, 200]
    assert answers[0].json() == answers[1].json()
    assert len(model.of("answer")) == 2

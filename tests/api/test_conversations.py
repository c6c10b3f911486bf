"""Conversations: what they remember, who may read them, and what happens while Redis is down."""

import asyncio
import time
import uuid
from pathlib import Path
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Header
from redis.asyncio import Redis

from api.app import create_app
from api.auth import ANONYMOUS, Principal
from api.deps import principal
from conftest import MakeSettings, Serve
from graph.runs import sessions
from graph.runs.memory import thread_id, turn_key
from harness.conversations import echo, several
from harness.own_redis import own_redis
from harness.scripted_model import ScriptedModel, after, cut, status, tokens, until
from harness.serving import serving


async def test_a_conversation_lives_through_restarts_and_replicas(
    redis: Redis, serve: Serve, model: ScriptedModel
) -> None:
    """Each prompt holds exactly the earlier turns, across replicas and restarts."""
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


@pytest.mark.parametrize("langgraph_api", ["off", "on"])
async def test_a_turn_costs_the_same_however_long_the_conversation(
    redis: Redis, serve: Serve, model: ScriptedModel, langgraph_api: str
) -> None:
    """Turn 30 costs the same round trips and bytes as turn 15; a session is one key of less than 30 kB."""
    model.script("answer", tokens(["A sentence of an answer as long as they are. "] * 10))
    costs: list[tuple[int, int]] = []
    variables = {"SUPPORT_SESSION_MESSAGES": 20, "SUPPORT_LANGGRAPH_API": langgraph_api}
    async with several(serve, 1, **variables) as (client,):
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
    index = {b"thre"} if langgraph_api == "on" else set[bytes]()
    assert {key[:4] for key in await redis.keys("*")} == {b"turn", b"run:", b"feed"} | index


async def commands(redis: Redis) -> int:
    """Count the commands of clients, without our own scans and the heartbeat."""
    counts = await redis.info("commandstats")
    ignored = ("info", "keys", "memory|usage", "mget", "expire")
    return sum(value["calls"] for name, value in counts.items() if name.removeprefix("cmdstat_") not in ignored)


@pytest.mark.soak
async def test_nothing_is_left_once_all_has_expired(redis: Redis, serve: Serve, model: ScriptedModel) -> None:
    """Sessions, run logs and idempotency records expire; each turn extends its session."""
    async with several(serve, 1, SUPPORT_SESSION_TTL=2, SUPPORT_LANGGRAPH_API="off") as (client,):
        for number in range(3):
            headers = {"Idempotency-Key": f"k-{number}"}
            await client.post("/chat", json={"message": "Hello?", "session_id": "s-1"}, headers=headers)
            await asyncio.sleep(1)
        assert len((await client.get("/sessions/s-1")).json()["messages"]) == 6
        await asyncio.sleep(2.5)
        assert (await client.get("/sessions/s-1")).status_code == 404
    for record in (*await redis.keys("run:*:record"), *await redis.keys("feedback:of:*"), "feedback:records"):
        assert 0 < await redis.ttl(record) <= 86_400
        await redis.delete(record)
    left = await redis.keys("*")
    assert all([0 < await redis.ttl(key) <= 10 for key in left])  # a little longer than a session
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
    """The next prompt has neither the question nor the partial answer of a failed turn."""
    await replicas[0].post("/chat", json={"message": "First?", "session_id": "s-1"})
    model.script("answer", fault)
    response = await replicas[0].post("/chat", json={"message": "Lost?", "session_id": "s-1"})
    assert response.status_code in (502, 503)
    model.script("answer", echo)
    await replicas[1].post("/chat", json={"message": "Second?", "session_id": "s-1"})
    said = [text for role, text in model.of("answer")[-1].prompt if role == "user"]
    assert said == ["First?", "Second?"]
    assert await redis.keys("session:*") == []


async def test_a_follow_up_finds_what_it_is_about(replicas: list[httpx.AsyncClient]) -> None:
    """Retrieval for a follow-up also uses the question before it."""
    message = {"message": "Is every payment refunded within 30 days?", "session_id": "s-1"}
    await replicas[0].post("/chat", json=message)
    response = await replicas[1].post("/chat", json={"message": "Does that apply here too?", "session_id": "s-1"})
    assert "refund-policy" in [source["id"] for source in response.json()["sources"][:2]]


async def test_a_busy_session_refuses_other_messages(
    replicas: list[httpx.AsyncClient], redis: Redis, model: ScriptedModel
) -> None:
    """Of 50 concurrent messages on two replicas one is answered and 49 get 409; the history is consistent."""
    over = asyncio.Event()
    model.script("answer", tokens(["Hello"], then=until(over)))

    refused = 0

    async def send(number: int) -> httpx.Response:
        nonlocal refused
        response = await replicas[number % 2].post("/chat", json={"message": f"Message {number}", "session_id": "s-1"})
        refused += response.status_code == 409
        if refused == 49:
            over.set()
        return response

    responses = await asyncio.gather(*(send(number) for number in range(50)))
    codes = [response.status_code for response in responses]
    assert (codes.count(200), codes.count(409)) == (1, 49)
    assert {response.json()["type"] for response in responses if response.status_code == 409} == {"session-busy"}
    assert len(model.of("answer")) == 1
    assert len((await replicas[0].get("/sessions/s-1")).json()["messages"]) == 2
    assert await redis.keys("session:*") == []


@pytest.mark.soak
async def test_messages_can_wait_for_their_turn(redis: Redis, serve: Serve, model: ScriptedModel) -> None:
    """With SUPPORT_BUSY_SESSION=wait 50 concurrent messages are answered one by one, in order."""
    model.script("answer", after(0.1, echo))  # so that messages come twice as fast as answers
    # A connection for each: one that is used again is faster, so that its message would overtake others.
    own = httpx.Limits(max_keepalive_connections=0)
    async with (
        several(serve, 1, SUPPORT_BUSY_SESSION="wait", SUPPORT_SESSION_MESSAGES=200) as (replica,),
        httpx.AsyncClient(base_url=replica.base_url, limits=own, timeout=60) as client,
    ):

        async def send(number: int) -> httpx.Response:
            await asyncio.sleep(number * 0.05)
            return await client.post("/chat", json={"message": f"Message {number}", "session_id": "s-1"})

        responses = await asyncio.gather(*(send(number) for number in range(50)))
        assert {response.status_code for response in responses} == {200}
        messages = (await client.get("/sessions/s-1")).json()["messages"]
    asked = [message["content"] for message in messages if message["role"] == "user"]
    assert asked == [f"Message {number}" for number in range(50)]


async def test_a_session_belongs_to_its_caller(redis: Redis, make_settings: MakeSettings, model: ScriptedModel) -> None:
    """Another caller cannot see a session or its runs; the same id is a different session for it."""
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
    """A bad message gets a problem that names the field, before the stream begins."""
    for path in ("/chat", "/chat/stream"):
        response = await neighbours[0].post(path, json=body)
        assert response.status_code == 422
        assert named in response.json()["detail"]
    assert model.calls == []


async def test_without_redis_questions_are_answered_and_sessions_refused(serve: Serve, model: ScriptedModel) -> None:
    """Without Redis conversations get 503 within a second, and questions are answered."""
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
        assert time.monotonic() - began < 20
        ready = await client.get("/ready")
        assert (ready.status_code, ready.json()["status"]) == (503, "starting")
        assert ready.json()["checks"]["redis"].items() >= {"up": False, "reason": "can't be reached"}.items()
        assert ready.json()["checks"]["articles"]["up"]


async def test_a_redis_that_freezes_or_dies_is_used_again_once_it_is_back(
    tmp_path: Path, serve: Serve, model: ScriptedModel
) -> None:
    """Conversations get 503 within a second, and work again without a restart of the service."""
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
                    assert (
                        time.monotonic() - began < 1.9
                    )  # the promised second, and a margin; two time-outs would take 2
                assert (await client.post("/ask", json={"question": "Hello?"})).status_code == 200
                restore()
                deadline = time.monotonic() + 10
                while (await client.post("/chat", json={"message": "Hello?"})).status_code != 200:
                    assert time.monotonic() < deadline
                    await asyncio.sleep(0.1)


async def test_ready_says_that_the_service_takes_work(neighbours: list[httpx.AsyncClient]) -> None:
    """GET /ready is 200 when everything works."""
    response = await neighbours[0].get("/ready")
    assert (response.status_code, response.json()["status"]) == (200, "ready")


async def test_a_turn_that_waited_long_is_answered(
    redis: Redis, serve: Serve, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Waiting for the session does not count as time without a reader."""
    monkeypatch.setattr(sessions, "UNREAD", 0.5)
    model.script("answer", tokens(["Hello"] * 5, pause=0.3))
    async with several(serve, 1, SUPPORT_BUSY_SESSION="wait") as (client,):
        message = {"message": "Hello?", "session_id": "s-1"}
        answers = await asyncio.gather(*(client.post("/chat", json=message) for _ in range(3)))
    assert [answer.status_code for answer in answers] == [200, 200, 200]


@pytest.mark.parametrize("value", [b"", b"\xc0", b"\x92\x80\x80", b"rubbish", b"\x92\x81"])
async def test_a_turn_that_can_not_be_read_is_no_conversation(
    serve: Serve, redis: Redis, model: ScriptedModel, caplog: pytest.LogCaptureFixture, value: bytes
) -> None:
    """It is named in the log, and the next turn takes its place."""
    thread = thread_id(ANONYMOUS, "s-1")
    await redis.set(turn_key(thread), value, ex=60)
    async with serve() as url, httpx.AsyncClient(base_url=url, timeout=20) as client:
        assert (await client.get("/sessions/s-1")).status_code == 404
        assert (await client.post("/chat", json={"message": "Hello?", "session_id": "s-1"})).status_code == 200
        assert len((await client.get("/sessions/s-1")).json()["messages"]) == 2
    assert f"the conversation in turn:{thread} can't be read" in caplog.text

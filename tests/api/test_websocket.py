import asyncio
import json
from collections.abc import AsyncGenerator
from typing import Any

import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.typing import Subprotocol

from conftest import Serve
from harness.scripted_model import ScriptedModel, cut, stall, status, tokens

TYPED = [Subprotocol("support.v1")]
FORMS = 'message: must be a JSON object, {"message": "..."} or {"type": "cancel"}'


@pytest.fixture
async def address(redis: Redis, serve: Serve, model: ScriptedModel) -> AsyncGenerator[str]:
    """Return the WebSocket URL of the service."""
    async with serve() as url:
        model.forget()
        yield url.replace("http://", "ws://") + "/chat"


async def until_done(socket: ClientConnection) -> list[str]:
    frames = [str(await socket.recv())]
    while frames[-1] != "[DONE]":
        frames.append(str(await socket.recv()))
    return frames


async def events_until_end(socket: ClientConnection) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = [json.loads(await socket.recv())]
    while events[-1]["event"] not in ("done", "error"):
        events.append(json.loads(await socket.recv()))
    return events


async def code_of(socket: ClientConnection) -> int | None:
    with pytest.raises(ConnectionClosed):
        while True:
            await socket.recv()
    return socket.close_code


async def test_text_in_tokens_out_then_the_end_marker(address: str, model: ScriptedModel) -> None:
    """The text form sends each token, then [DONE]; a new connection continues the session."""
    pieces = ["a\r\n", "\u2028", "🙂", " ", "b"]
    model.script("answer", tokens(pieces))
    async with connect(f"{address}?session_id=s-1") as socket:
        assert socket.subprotocol is None
        await socket.send("First?")
        assert await until_done(socket) == [*pieces, "[DONE]"]
        await socket.send("Second?")
        await until_done(socket)
    async with connect(f"{address}?session_id=s-1") as socket:
        await socket.send("Third?")
        await until_done(socket)
    assert [text for role, text in model.of("answer")[-1].prompt if role == "user"] == ["First?", "Second?", "Third?"]


async def test_no_token_can_forge_the_end_of_text(address: str, model: ScriptedModel) -> None:
    """A token that equals the end marker arrives in two pieces."""
    model.script("answer", tokens(["[DONE]", "x"]))
    async with connect(address) as socket:
        await socket.send("Hello?")
        assert await until_done(socket) == ["[DO", "NE]", "x", "[DONE]"]


async def test_messages_sent_early_are_answered_in_order(address: str, model: ScriptedModel) -> None:
    """In the text form a message may be sent before the last one is answered."""
    model.script("answer", tokens(["x"], pause=0.1))
    async with connect(address) as socket:
        for number in range(5):
            await socket.send(f"Message {number}")
        for _ in range(5):
            assert await until_done(socket) == ["x", "[DONE]"]
    assert [call.prompt[-1][1] for call in model.of("answer")] == [f"Message {number}" for number in range(5)]


async def test_typed_events_over_a_websocket(address: str, model: ScriptedModel) -> None:
    """With support.v1 every event is JSON with id, event and data, as in the HTTP stream."""
    async with connect(address, subprotocols=TYPED) as socket:
        assert socket.subprotocol == "support.v1"
        for count in (2, 4):
            await socket.send(json.dumps({"message": "Hello?"}))
            events = await events_until_end(socket)
            run = events[0]["data"]
            assert [event["id"] for event in events] == [f"{run['run_id']}:{n}" for n in range(1, len(events) + 1)]
            assert [event["event"] for event in events[3:]] == ["token"] * 4 + ["done"]
            assert events[-1]["data"]["answer"] == "Hello, world."
            assert events[-1]["data"]["messages_in_history"] == count
    assert len(model.of("answer")) == 2


async def test_a_typed_answer_can_be_cancelled(address: str, model: ScriptedModel) -> None:
    """A cancel ends the answer with one error event, and the connection stays open."""
    model.script("answer", tokens(["Hello"], then=stall), tokens(["Again"]))
    async with connect(address, subprotocols=TYPED) as socket:
        await socket.send(json.dumps({"message": "Hello?"}))
        while json.loads(await socket.recv())["event"] != "token":
            pass
        await socket.send(json.dumps({"type": "cancel"}))
        assert json.loads(await socket.recv())["data"]["type"] == "cancelled"
        await socket.send(json.dumps({"message": "Hello again?"}))
        assert (await events_until_end(socket))[-1]["data"]["answer"] == "Again"
    assert model.of("answer")[-1].prompt[1:] == [("user", "Hello again?")]


@pytest.mark.parametrize(
    ("frame", "named"),
    [
        ("{", FORMS),
        ("rubbish", FORMS),
        ("[]", FORMS),
        ("[" * 50_000, FORMS),
        ("{}", "message: is missing"),
        ('{"message": " "}', "message: must not be blank"),
        ('{"message": 7}', "message: must be a string"),
        ('{"message": "\\ud800"}', "message: must be valid Unicode"),
        ('{"message": "Hello?", "more": 1}', "more: is an unknown field; remove it"),
        ('{"type": "end"}', "type: must be 'cancel', 'confirm' or 'decline'"),
        ('{"type": "confirm"}', "action: is missing"),
        ('{"type": "decline", "action": "a"}', "action: must match ^[0-9a-f-]{36}$"),
        ('{"type": "cancel", "message": "Hello?"}', "message: is an unknown field; remove it"),
    ],
)
async def test_a_bad_frame_is_a_typed_error(address: str, model: ScriptedModel, frame: str, named: str) -> None:
    """An invalid message gets an error event that names the fault, and the connection stays open."""
    async with connect(address, subprotocols=TYPED) as socket:
        await socket.send(frame)
        error = json.loads(await socket.recv())
        assert (error["event"], error["id"], error["data"]["type"]) == ("error", None, "invalid-request")
        assert error["data"]["detail"] == named
        assert model.calls == []
        await socket.send(json.dumps({"message": "Hello?"}))
        assert (await events_until_end(socket))[-1]["event"] == "done"


@pytest.mark.parametrize(
    ("subprotocols", "frame", "code"),
    [
        (None, b"binary", 1003),
        (TYPED, b"binary", 1003),
        (None, "x" * 65_537, 1009),
        (TYPED, "x" * 65_537, 1009),
        (None, " ", 1008),
        (None, "\0", 1008),
        (None, "x" * 4001, 1008),
    ],
)
async def test_a_frame_that_cannot_be_accepted_closes_the_connection(
    address: str, subprotocols: list[Subprotocol] | None, frame: str | bytes, code: int
) -> None:
    """Close codes: 1003 binary, 1009 too large, 1008 for a bad message in the text form."""
    async with connect(address, subprotocols=subprotocols) as socket:
        await socket.send(frame)
        assert await code_of(socket) == code


@pytest.mark.parametrize("subprotocols", [None, TYPED], ids=["text", "typed"])
async def test_a_flood_closes_the_connection(
    address: str, model: ScriptedModel, subprotocols: list[Subprotocol] | None
) -> None:
    """200 messages during one answer close the connection with 1008 and cancel the model call."""
    model.script("answer", tokens(["Hello"], then=stall))
    async with connect(address, subprotocols=subprotocols) as socket:
        for number in range(200):
            try:
                await socket.send(json.dumps({"message": f"Message {number}"}) if subprotocols else f"{number}")
            except ConnectionClosed:
                break
        assert await code_of(socket) == 1008
    await asyncio.sleep(0.3)
    assert len(model.of("answer")) <= 1


@pytest.mark.parametrize("subprotocols", [None, TYPED], ids=["text", "typed"])
async def test_a_client_that_leaves_ends_its_answer(
    address: str, redis: Redis, model: ScriptedModel, subprotocols: list[Subprotocol] | None
) -> None:
    """A disconnect cancels the model call within half a second and frees the session."""
    model.script("answer", tokens(["Hello"], then=stall))
    async with connect(address, subprotocols=subprotocols) as socket:
        await socket.send(json.dumps({"message": "Hello?"}) if subprotocols else "Hello?")
        while not model.of("answer"):
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.2)
    await asyncio.sleep(0.5)
    assert model.of("answer")[0].cut
    assert await redis.keys("session:*") == []


@pytest.mark.parametrize(
    ("fault", "problem"),
    [(status(401), "model-refused"), (tokens(["Half"], then=cut), "model-unavailable")],
    ids=["refused", "cut"],
)
async def test_a_model_that_fails(address: str, model: ScriptedModel, fault: Any, problem: str) -> None:
    """The typed form sends one error event; the text form, which has none, closes with 1011."""
    model.script("answer", fault)
    async with connect(address, subprotocols=TYPED) as socket:
        await socket.send(json.dumps({"message": "Hello?"}))
        error = (await events_until_end(socket))[-1]
        assert (error["event"], error["data"]["type"]) == ("error", problem)
    async with connect(address) as socket:
        await socket.send("Hello?")
        assert await code_of(socket) == 1011
        assert socket.close_reason == problem


async def test_a_busy_session_is_an_error(address: str, model: ScriptedModel) -> None:
    """A second connection to a busy session gets an error."""
    model.script("answer", tokens(["Hello"], then=stall))
    async with (
        connect(f"{address}?session_id=s-1") as first,
        connect(f"{address}?session_id=s-1", subprotocols=TYPED) as second,
    ):
        await first.send("Hello?")
        await first.recv()
        await second.send(json.dumps({"message": "Hello?"}))
        assert json.loads(await second.recv())["data"]["type"] == "session-busy"


async def test_a_bad_session_id_is_refused_before_the_connection(address: str) -> None:
    """An invalid session id fails the handshake."""
    with pytest.raises(InvalidStatus) as refused:
        async with connect(f"{address}?session_id=a%20b"):
            pass
    problem = json.loads(refused.value.response.body)
    assert (problem["status"], problem["errors"][0]["field"]) == (422, "session_id")
    assert refused.value.response.headers["X-Request-ID"] == problem["request_id"]


async def test_a_message_can_be_cancelled_before_its_turn_has_begun(
    address: str, redis: Redis, model: ScriptedModel
) -> None:
    """A cancel right after its message is honoured and leaves no trace."""
    async with connect(f"{address}?session_id=s-1", subprotocols=TYPED) as socket:
        for _ in range(20):
            await socket.send(json.dumps({"message": "Hello?"}))
            await socket.send(json.dumps({"type": "cancel"}))
            events = await events_until_end(socket)
            assert (events[-1]["event"], events[-1]["data"]["type"]) == ("error", "cancelled")
            assert events[-1]["data"]["request_id"]
    assert await redis.keys("session:*") == []
    assert not [call for call in model.of("answer") if call.ended is None and call.cut is None]


async def test_a_websocket_to_nowhere_is_told_so(serve: Serve, redis: Redis) -> None:
    """A WebSocket to an unknown path gets a problem with an id."""
    async with serve() as url:
        with pytest.raises(InvalidStatus) as refused:
            async with connect(url.replace("http", "ws") + "/nowhere"):
                pass
    response = refused.value.response
    assert (response.status_code, json.loads(response.body or b"")["type"]) == (404, "not-found")
    assert response.headers["X-Request-ID"]

import asyncio
import json
import time

import httpx
import pytest
from httpx_sse import aconnect_sse

from harness.scripted_model import ScriptedModel, cut, stall, status, tokens


async def read(client: httpx.AsyncClient, question: str = "Why was I charged twice?") -> list[tuple[str, str]]:
    """Return names and data of the stream's events."""
    async with aconnect_sse(client, "GET", "/stream", params={"question": question}) as source:
        source.response.raise_for_status()
        return [(event.event, event.data) async for event in source.aiter_sse()]


@pytest.mark.parametrize(
    "pieces",
    [
        ["You ", "were", " charged", " twice."],
        ["one\n", "\ntwo", "\n\n", "three\n"],
        ["🙂", "👩‍👩‍👧", "é", "e\u0301", "\u202e"],
        ["a\u2028b", "\u2029", "\u0085", "\x0b\x0c\x1c", "\ufeff"],
        ["x" * 9_000, "y"],
        ["  two spaces", " ", "data: x", "event: error", ": comment", "id: 7"],
    ],
    ids=["words", "newlines", "emoji", "separators", "long", "fields"],
)
async def test_stream_delivers_tokens_byte_for_byte(
    client: httpx.AsyncClient, model: ScriptedModel, pieces: list[str]
) -> None:
    """Every token arrives as one event with exactly its text, and the end marker follows."""
    model.script("answer", tokens(pieces))
    assert await read(client) == [*(("message", piece) for piece in pieces), ("message", "[DONE]")]


async def test_stream_ends_lines_with_lf_alone(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """CR and CRLF arrive as one LF each, also across tokens, since server-sent events cannot carry them."""
    model.script("answer", tokens(["a\r\nb\r", "\nc\rd", "e\r"]))
    events = await read(client)
    assert "".join(data for _, data in events[:-1]) == "a\nb\nc\nde\n"


async def test_no_token_can_forge_the_end(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """A token with the end marker is split inside it; the text stays complete."""
    pieces = ["[DONE]", "x\n[DONE]\n", "data: [DONE]\n\n", "end"]
    model.script("answer", tokens(pieces))
    async with client.stream("GET", "/stream", params={"question": "Why?"}) as response:
        lines = [line async for line in response.aiter_lines()]
    assert lines.count("data: [DONE]") == 1
    events = await read(client)
    assert "".join(data for _, data in events[:-1]) == "".join(pieces)


async def test_stream_sends_each_token_when_it_comes(client: httpx.AsyncClient, model: ScriptedModel) -> None:
    """The first token arrives before the model has written the last one."""
    model.script("answer", tokens(["a", "b", "c"], pause=0.2))
    async with aconnect_sse(client, "GET", "/stream", params={"question": "Why?"}) as source:
        await anext(source.aiter_sse())
        arrived = time.monotonic()
        assert model.of("answer")[0].ended is None
        assert source.response.headers["content-type"].startswith("text/event-stream")
        assert source.response.headers["cache-control"] == "no-cache, no-transform"
        assert source.response.headers["x-accel-buffering"] == "no"
    assert arrived


@pytest.mark.parametrize("wait_for_token", [True, False], ids=["mid-stream", "before the first token"])
async def test_stream_lets_go_of_the_model_when_the_client_hangs_up(
    client: httpx.AsyncClient, model: ScriptedModel, wait_for_token: bool
) -> None:
    """The model call ends within half a second after a disconnect, even between tokens."""
    model.script("answer", tokens(["Hello"] if wait_for_token else [], then=stall))

    async def listen() -> None:
        async with aconnect_sse(client, "GET", "/stream", params={"question": "Why?"}) as source:
            async for _ in source.aiter_sse():
                pass

    listening = asyncio.create_task(listen())
    while not model.of("answer"):
        await asyncio.sleep(0.01)
    await asyncio.sleep(0.3)
    listening.cancel()
    hung_up = time.monotonic()
    (call,) = model.of("answer")
    while call.cut is None and time.monotonic() < hung_up + 2:
        await asyncio.sleep(0.01)
    assert call.cut is not None
    assert call.cut - hung_up < 0.5


async def test_stream_refuses_with_a_status_before_the_first_token(
    client: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """A failure before the first token gives a problem with a status, not an empty stream."""
    model.script("answer", status(401))
    response = await client.get("/stream", params={"question": "Why?"})
    assert (response.status_code, response.json()["type"]) == (502, "model-refused")


async def test_stream_ends_with_one_error_after_the_first_token(
    client: httpx.AsyncClient, model: ScriptedModel
) -> None:
    """A failure after the first token gives one error event, no repetition and no end marker."""
    model.script("answer", tokens(["Hello", " world"], then=cut))
    events = await read(client)
    assert events[:2] == [("message", "Hello"), ("message", " world")]
    ((name, data),) = events[2:]
    assert name == "error"
    problem = json.loads(data)
    assert (problem["type"], problem["status"], problem["instance"]) == ("model-unavailable", 503, "/stream")
    assert problem["request_id"]
    assert len(model.of("answer")) == 1

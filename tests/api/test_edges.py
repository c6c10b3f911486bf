"""Limits on connections: headers, bodies and frames that the service refuses before it handles a request."""

import asyncio
import base64
import contextlib
import json
import os
import struct
import time

import httpx
import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import connect

from api import middleware, protocols
from conftest import Serve
from harness.scripted_model import ScriptedModel, tokens

QUESTION = {"question": "Why was I charged twice?"}


async def exchange(url: str, *parts: bytes) -> tuple[bytes, dict[str, str]]:
    """Send raw parts; return the response's head and problem once the server has closed."""
    host, _, port = url.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        for part in parts:
            writer.write(part)
            await writer.drain()
        head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
        return head.lower(), json.loads(body)
    finally:
        writer.close()


async def test_headers_without_an_end_are_refused(serve: Serve) -> None:
    """Endless headers or header lines get 431 early, and so does a large request."""
    async with serve() as url:
        for endless in (b"X-Many: " + b"a" * 80_000, b"X-Many: a\r\n" * 8000):
            head, problem = await exchange(url, b"GET /health HTTP/1.1\r\nHost: a\r\n", endless)
            assert head.startswith(b"http/1.1 431")
            assert problem["type"] == "headers-too-large"
            assert f"x-request-id: {problem['request_id']}".encode() in head
        async with httpx.AsyncClient(base_url=url) as client:
            response = await client.get("/health", headers={"X-Large": "a" * 66_000})
            assert (response.status_code, response.json()["type"]) == (431, "headers-too-large")
            assert (await client.get("/health", headers={"X-Large": "a" * 60_000})).status_code == 200


@pytest.mark.parametrize("begin", [b"/", b"/health?"], ids=["path", "query"])
@pytest.mark.parametrize("length", [65_536, 70_000, 1_000_000])
async def test_an_address_that_is_too_long_is_refused(serve: Serve, begin: bytes, length: int) -> None:
    """A URL that is too long gets 431 before it has been read completely."""
    async with serve() as url:
        head, problem = await exchange(url, b"GET ", begin.ljust(length, b"a"), b" HTTP/1.1\r\nHost: a\r\n\r\n")
        assert head.startswith(b"http/1.1 431")
        assert problem["type"] == "headers-too-large"


async def test_slow_headers_and_bodies_are_cut(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Slow requests get 408 and are closed; an idle keep-alive connection is not affected."""
    monkeypatch.setattr(protocols, "HEADERS_TIMEOUT", 0.3)
    monkeypatch.setattr(middleware, "BODY_TIMEOUT", 0.3)
    async with serve() as url:
        head, problem = await exchange(url, b"GET /health HTT")
        assert head.startswith(b"http/1.1 408")
        assert problem["type"] == "request-timeout"
        slow = b"POST /ask HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: 40\r\n\r\n{"
        head, problem = await exchange(url, slow)
        assert head.startswith(b"http/1.1 408")
        assert problem["type"] == "request-timeout"
        async with httpx.AsyncClient(base_url=url) as client:
            for _ in range(2):
                assert (await client.get("/health")).status_code == 200
                await asyncio.sleep(0.5)


async def test_a_websocket_may_be_silent_for_longer_than_headers(
    serve: Serve, model: ScriptedModel, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The header time-out does not apply to an open WebSocket."""
    del redis
    monkeypatch.setattr(protocols, "HEADERS_TIMEOUT", 0.3)
    async with serve() as url, connect(url.replace("http://", "ws://") + "/chat") as socket:
        for _ in range(2):
            await asyncio.sleep(0.6)
            model.script("answer", tokens(["Yes."]))
            await socket.send("Refund?")
            assert [await socket.recv(), await socket.recv()] == ["Yes.", "[DONE]"]


@pytest.mark.parametrize(
    "sent",
    [
        b"FOO /ask HTTP/1.1\r\nHost: a\r\n\r\n",
        b"\x16\x03\x01 HTTP\r\n\r\n",
        b"POST /ask HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nwide\r\n",
    ],
    ids=["method", "TLS", "chunks"],
)
async def test_what_is_no_http_is_refused(serve: Serve, sent: bytes) -> None:
    """A request that is not HTTP gets a problem with an id."""
    async with serve() as url:
        head, problem = await exchange(url, sent)
    assert head.startswith(b"http/1.1 400")
    assert (problem["type"], problem["detail"]) == ("malformed-request", "This is not HTTP/1.1.")
    assert f"x-request-id: {problem['request_id']}".encode() in head


@pytest.mark.parametrize("protocol", [b"h2c", b"websocket, h2c", b"websocket\r\nConnection: keep-alive"])
async def test_a_body_is_never_taken_for_a_request(serve: Serve, protocol: bytes) -> None:
    """Request smuggling fails, also with an Upgrade to an unsupported protocol."""
    body = b"GET /nowhere HTTP/1.1\r\nHost: a\r\n\r\n"
    async with serve() as url:
        host, _, port = url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(
            b"POST /ask HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: " + protocol + b"\r\n"
            b"Content-Type: application/json\r\nContent-Length: " + str(len(body)).encode() + b"\r\n\r\n"
        )
        await asyncio.sleep(0.3)
        with contextlib.suppress(ConnectionError):
            writer.write(body)
            await writer.drain()
        answered = await asyncio.wait_for(reader.read(), 10)
        writer.close()
    assert answered.count(b"HTTP/1.1 ") == 1
    assert b"/nowhere" not in answered


async def test_a_protocol_that_is_offered_need_not_be_taken(serve: Serve) -> None:
    """An unsupported Upgrade is ignored, and its request is answered."""
    async with serve() as url, httpx.AsyncClient(base_url=url) as client:
        offered = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABk"}
        assert (await client.get("/health", headers=offered)).status_code == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [(b"Content-Length: 2\r\n", 400), (b"Cookie: " + b"a" * 9_000 + b"\r\n", 431), (b"X-Many: a\r\n" * 200, 431)],
    ids=["body", "long", "many"],
)
async def test_a_handshake_that_cannot_be_read_is_refused(serve: Serve, headers: bytes, status: int) -> None:
    """An unreadable handshake is refused at once, and the connection is closed."""
    handshake = (
        b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + base64.b64encode(os.urandom(16)) + b"\r\n"
    )
    async with serve() as url:
        head, problem = await exchange(url, handshake, headers, b"\r\n{}")
    assert head.startswith(f"http/1.1 {status}".encode())
    assert f"x-request-id: {problem['request_id']}".encode() in head


async def test_what_is_no_http_ends_no_other_answer(serve: Serve, model: ScriptedModel) -> None:
    """Invalid data after a request gets no response that could be taken for that request's own."""
    model.script("answer", tokens(["One ", "two"], pause=0.4))
    async with serve() as url:
        host, _, port = url.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"GET /stream?question=Why HTTP/1.1\r\nHost: a\r\n\r\nFOO /ask HTTP/1.1\r\n\r\n")
        assert b"400" not in await asyncio.wait_for(reader.read(), 10)
        writer.close()


@pytest.mark.parametrize("depth", [100, 900, 30_000])
async def test_nested_json_is_refused(client: httpx.AsyncClient, model: ScriptedModel, depth: int) -> None:
    """JSON of any depth is refused without a crash."""
    body = '{"question": ' + "[" * depth + "]" * depth + "}"
    response = await client.post("/ask", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code in (400, 422)
    assert model.calls == []


async def test_every_answer_says_how_it_may_be_used(client: httpx.AsyncClient) -> None:
    """Responses forbid caching, framing and sniffing; the API page may load what it needs."""
    for response in (
        await client.post("/ask", json=QUESTION),
        await client.get("/stream", params=QUESTION),
        await client.get("/nowhere"),
        await client.get("/docs"),
    ):
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["x-frame-options"] == "DENY"
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]
        assert response.headers["cache-control"] in ("no-store", "no-cache, no-transform")
        assert "server" not in response.headers
    policy = (await client.get("/docs")).headers["content-security-policy"]
    assert "script-src 'self'" in policy
    assert "http" not in policy


async def test_a_client_that_pings_and_reads_nothing_is_left(serve: Serve) -> None:
    """Unread pongs do not accumulate: the connection is closed."""
    async with serve() as url:
        host, _, port = url.removeprefix("http://").partition(":")
        _, writer = await asyncio.open_connection(host, int(port), limit=1024)
        key = base64.b64encode(os.urandom(16))
        writer.write(
            b"GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + key + b"\r\n\r\n"
        )
        ping = struct.pack("!BB4s", 0x89, 0x80 | 125, b"\0\0\0\0") + b"a" * 125
        deadline = time.monotonic() + 20
        with pytest.raises(ConnectionError):
            while time.monotonic() < deadline:
                writer.write(ping * 500)
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()


async def test_an_answer_under_way_is_left_alone(
    serve: Serve, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever a client sends during a response, nothing is written into it."""
    monkeypatch.setattr(protocols, "HEADERS_TIMEOUT", 0.3)
    model.script("answer", tokens(["One ", "two"], pause=0.6))
    async with serve() as url:
        for more in (b"\r\n", b"GET /health HTT"):
            host, _, port = url.removeprefix("http://").partition(":")
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"GET /stream?question=Why HTTP/1.1\r\nHost: a\r\n\r\n")
            await asyncio.sleep(0.3)
            writer.write(more)
            text = await asyncio.wait_for(reader.readuntil(b"[DONE]\n\n"), 10)
            assert text.count(b"HTTP/1.1") == 1
            assert text.startswith(b"HTTP/1.1 200")
            writer.close()


async def test_what_was_answered_need_not_be_sent_to_its_end(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that trickles or floods after its response is cut off."""
    monkeypatch.setattr(protocols, "_LINGER", 0.5)
    async with serve() as url:
        host, _, port = url.removeprefix("http://").partition(":")
        for piece, pause in ((b"a", 0.1), (b"a" * 65_536, 0.0)):
            reader, writer = await asyncio.open_connection(host, int(port))
            writer.write(b"POST /ask HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999\r\n\r\n")
            assert (await reader.readuntil(b"\r\n")).startswith(b"HTTP/1.1 413")
            deadline = time.monotonic() + 5
            with pytest.raises(ConnectionError):
                while time.monotonic() < deadline:
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(pause)
            writer.close()

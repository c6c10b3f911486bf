"""HTTP/1.0: old proxies, scripts and load testers, which know no chunks."""

import asyncio

import httpx
import pytest
from redis.asyncio import Redis

from conftest import Serve
from harness.scripted_model import ScriptedModel, tokens


async def exchange(url: str, request: bytes) -> tuple[bytes, bytes]:
    """Send a request as it is; return the response's head and body once the service has closed."""
    address = httpx.URL(url)
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(request)
    head, _, body = (await asyncio.wait_for(reader.read(), 10)).partition(b"\r\n\r\n")
    writer.close()
    return head.lower(), body


@pytest.mark.parametrize("connection", [b"", b"Connection: keep-alive\r\n"], ids=["plain", "keep-alive"])
async def test_a_stream_has_no_chunks(serve: Serve, redis: Redis, model: ScriptedModel, connection: bytes) -> None:
    """The end of the connection is its end, also for a client that would keep it."""
    model.script("answer", tokens(["One", " two"]))
    async with serve() as url:
        head, body = await exchange(url, b"GET /stream?question=Why HTTP/1.0\r\n" + connection + b"\r\n")
    assert b" 200 " in head
    assert b"transfer-encoding" not in head
    assert b"connection: close" in head
    assert body == b"data: One\n\ndata:  two\n\ndata: [DONE]\n\n"


async def test_an_answer_of_known_length_says_so(serve: Serve, redis: Redis) -> None:
    """JSON, problems and HEAD are as with HTTP/1.1."""
    async with serve() as url:
        head, body = await exchange(url, b"GET /nowhere HTTP/1.0\r\n\r\n")
        assert f"content-length: {len(body)}".encode() in head
        assert b'"not-found"' in body
        for path in (b"/health", b"/stream?question=Why"):
            head, body = await exchange(url, b"HEAD " + path + b" HTTP/1.0\r\n\r\n")
            assert b" 200 " in head
            assert b"transfer-encoding" not in head
            assert body == b""


async def test_a_problem_that_comes_late_ends_the_stream(serve: Serve, redis: Redis, model: ScriptedModel) -> None:
    """A stream that fails after its first token has its error event as the last bytes."""
    model.script("answer", tokens(["One"], finish="content_filter"))
    async with serve() as url:
        _, body = await exchange(url, b"GET /stream?question=Why HTTP/1.0\r\n\r\n")
    assert body.startswith(b"data: One\n\nevent: error\ndata: {")
    assert body.endswith(b"}\n\n")

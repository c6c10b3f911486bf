"""Idle connections: no client can keep others out by holding as many as it can."""

import asyncio
import resource
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from api import idle, protocols
from api.auth import digest, new_key
from conftest import Serve
from harness.replica import replica
from harness.scripted_model import ScriptedModel, tokens

MOST = 4
KEY = new_key()
HEALTH = b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n"
Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an address have four idle connections."""
    monkeypatch.setattr(idle, "MOST_IDLE", MOST)
    monkeypatch.setattr(protocols, "_SETTLING", 0.02)


async def opened(url: str, sent: bytes = b"", *, source: str = "127.0.0.1") -> Stream:
    """Open a connection and send something."""
    address = httpx.URL(url)
    reader, writer = await asyncio.open_connection(address.host, address.port, local_addr=(source, 0))
    writer.write(sent)
    if sent.endswith(b"\r\n\r\n"):
        await reader.readuntil(b"}")
    return reader, writer


async def is_open(stream: Stream) -> bool:
    """Return whether the service has left the connection open."""
    try:
        async with asyncio.timeout(0.1):
            return bool(await stream[0].read(1))
    except TimeoutError:
        return True
    except ConnectionError:
        return False


async def which_are_open(streams: list[Stream]) -> list[bool]:
    try:
        await asyncio.sleep(0.1)
        return await asyncio.gather(*map(is_open, streams))
    finally:
        for _, writer in streams:
            writer.close()


@pytest.mark.parametrize("sent", [b"", b"GET /hea", HEALTH], ids=["nothing", "half a request", "a request before"])
async def test_an_address_with_too_many_idle_connections_loses_the_oldest(serve: Serve, few: None, sent: bytes) -> None:
    """Whatever was sent on them; connections of another address stay."""
    async with serve() as url:
        other = await opened(url, HEALTH, source="127.0.0.2")
        streams = [await opened(url, sent) for _ in range(MOST + 2)]
        assert await which_are_open([other, *streams]) == [True, False, False, True, True, True, True]


async def test_a_connection_that_is_used_is_not_the_oldest(serve: Serve, few: None) -> None:
    """Its time counts from its last answer."""
    async with serve() as url:
        streams = [await opened(url, HEALTH) for _ in range(MOST)]
        await asyncio.sleep(0.1)
        streams[0][1].write(HEALTH)
        await streams[0][0].readuntil(b"}")
        streams.append(await opened(url, HEALTH))
        assert await which_are_open(streams) == [True, False, True, True, True]


async def test_many_requests_at_once_are_all_answered(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that come together, each with its request, are no idle ones; nor are those of a busy client."""
    monkeypatch.setattr(idle, "MOST_IDLE", MOST)
    async with serve() as url:
        streams = [await opened(url) for _ in range(MOST * 3)]
        for _ in range(3):
            for _, writer in streams:
                writer.write(HEALTH)
            async with asyncio.timeout(5):
                assert all(await asyncio.gather(*(reader.readuntil(b"}") for reader, _ in streams)))
        for _, writer in streams:
            writer.close()


async def test_an_answer_under_way_is_not_idle(serve: Serve, model: ScriptedModel, few: None) -> None:
    """However many connections the client opens meanwhile, its stream goes on to the end."""
    model.script("answer", tokens(["One ", "two"], pause=0.5))
    async with serve() as url:
        reader, writer = await opened(url, b"GET /stream?question=Why HTTP/1.1\r\nHost: a\r\n\r\n"[:-2])
        writer.write(b"\r\n")
        await reader.readuntil(b"One")
        streams = [await opened(url) for _ in range(MOST + 3)]
        assert await asyncio.wait_for(reader.readuntil(b"[DONE]"), 5)
        writer.close()
        await which_are_open(streams)


async def test_a_trusted_proxy_may_have_any_number(serve: Serve, few: None) -> None:
    """It keeps its connections for all its clients."""
    async with serve(SUPPORT_TRUSTED_PROXIES="127.0.0.0/8") as url:
        streams = [await opened(url, HEALTH) for _ in range(MOST * 3)]
        assert all(await which_are_open(streams))


@asynccontextmanager
async def chats(url: str, count: int, **headers: str) -> AsyncGenerator[list[ClientConnection]]:
    async with AsyncExitStack() as stack:
        address = url.replace("http", "ws") + "/chat"
        yield [await stack.enter_async_context(connect(address, additional_headers=headers)) for _ in range(count)]


async def test_an_idle_chat_is_closed_for_a_new_one(
    serve: Serve, redis: Redis, model: ScriptedModel, few: None
) -> None:
    """A WebSocket that waits for a message counts; the client is told why, and a turn in progress is left alone."""
    model.script("answer", tokens(["One", "two"], pause=0.5))
    async with serve() as url, chats(url, MOST) as sockets:
        await sockets[0].send("Hello?")
        assert await sockets[0].recv() == "One"
        async with chats(url, 2):
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(sockets[1].recv(), 5)
            assert (sockets[1].close_code, sockets[1].close_reason) == (1013, "too many idle connections")
            assert [await sockets[0].recv() for _ in range(2)] == ["two", "[DONE]"]


@pytest.mark.parametrize(
    ("settings", "headers"),
    [
        ({"SUPPORT_API_KEYS": f"web:{digest(KEY).hex()}"}, {"X-API-Key": KEY}),
        ({"SUPPORT_TRUSTED_PROXIES": "127.0.0.1"}, {}),
    ],
    ids=["a key", "a trusted proxy"],
)
async def test_a_server_may_connect_all_its_customers(
    serve: Serve, redis: Redis, few: None, settings: dict[str, str], headers: dict[str, str]
) -> None:
    """Whoever has a key, or is a trusted proxy, may have any number of WebSockets."""
    async with serve(**settings) as url, chats(url, MOST + 2, **headers) as sockets:
        for socket_ in sockets:
            await socket_.send("Hello?")
            assert await asyncio.wait_for(socket_.recv(), 5) == "Hello"


async def test_clients_behind_a_trusted_proxy_are_told_apart(serve: Serve, redis: Redis, few: None) -> None:
    """One client's idle WebSockets cost nobody else's."""
    async with serve(SUPPORT_TRUSTED_PROXIES="127.0.0.1") as url:
        mine, theirs = {"X-Forwarded-For": "198.51.100.1"}, {"X-Forwarded-For": "[2001:db8::1]:5100"}
        async with chats(url, 1, **mine) as [own], chats(url, MOST + 1, **theirs) as others:
            with pytest.raises(ConnectionClosed):
                await asyncio.wait_for(others[0].recv(), 5)
            await own.send("Hello?")
            assert await asyncio.wait_for(own.recv(), 5) == "Hello"


@pytest.mark.soak
async def test_a_client_that_opens_all_it_can_keeps_nobody_out(
    redis: Redis, redis_url: str, model: ScriptedModel, articles: Path
) -> None:
    """1,100 connections of one address, where a process may open 1,024 files: others are answered."""
    async with replica(model, redis_url, articles) as (process, url):
        resource.prlimit(process.pid, resource.RLIMIT_NOFILE, (1024, 1024))
        streams = [await opened(url) for _ in range(1100)]
        try:
            transport = httpx.AsyncHTTPTransport(local_address="127.0.0.2")
            async with httpx.AsyncClient(base_url=url, transport=transport, timeout=5) as client:
                assert (await client.post("/ask", json={"question": "Why?"})).status_code == 200
        finally:
            for _, writer in streams:
                writer.close()

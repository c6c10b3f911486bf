"""The faults of the proxy, tested with an echo server."""

import asyncio
import random
import socket
import struct
import time
from asyncio import StreamReader, StreamWriter
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import pytest

from harness.echo import Echo, closed, until
from harness.fault_proxy import FaultProxy, fault_proxy
from local.process import free_port

CHUNK = bytes(65536)
PLENTY = 1024
"""More chunks than the kernel buffers."""


@pytest.fixture
async def echo() -> AsyncGenerator[Echo]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    echo.port = server.sockets[0].getsockname()[1]
    async with server:
        yield echo


@pytest.fixture
async def proxy(echo: Echo) -> AsyncGenerator[FaultProxy]:
    async with fault_proxy("127.0.0.1", echo.port) as proxy:
        yield proxy


def reset(writer: StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def client(proxy: FaultProxy) -> AsyncGenerator[tuple[StreamReader, StreamWriter]]:
    """Connect to the proxy, for at most ten seconds."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        async with asyncio.timeout(10):
            yield reader, writer
    finally:
        await closed(writer)


async def echoed(reader: StreamReader, writer: StreamWriter, data: bytes = b"hello") -> bytes:
    """Send `data` and return as many bytes of the echo."""
    writer.write(data)
    return await reader.readexactly(len(data))


async def silent(reader: StreamReader) -> bool:
    """Return whether nothing arrives for a while."""
    with suppress(TimeoutError):
        async with asyncio.timeout(0.05):
            await reader.read(1)
            return False
    return True


async def test_without_a_fault_every_byte_and_the_end_go_through(proxy: FaultProxy, echo: Echo) -> None:
    """After a half-close the client still gets all bytes, and both ends close in order."""
    data = bytes(range(256)) * 4096
    async with client(proxy) as (reader, writer):
        writer.write(data)
        writer.write_eof()
        assert await reader.read() == data
    assert await echo.ended() == [None]


async def test_open_connections_are_counted(proxy: FaultProxy) -> None:
    """The count goes up and down with the clients."""
    async with client(proxy) as one, client(proxy) as another:
        await asyncio.gather(echoed(*one), echoed(*another))
        assert proxy.connections == 2
    await until(lambda: proxy.connections == 0)


async def test_a_delay_holds_chunks_back_and_keeps_their_order(proxy: FaultProxy) -> None:
    """Delayed chunks arrive later and in order."""
    proxy.delay(30)
    data = [f"{n};".encode() for n in range(50)]
    async with client(proxy) as (reader, writer):
        began = time.monotonic()
        for n in range(10):
            assert await echoed(reader, writer, data[n]) == data[n]
        assert time.monotonic() - began > 0.1  # 20 delays of 15 ms on average
        reading = asyncio.create_task(reader.readexactly(len(b"".join(data))))
        for chunk in data:
            writer.write(chunk)
            await asyncio.sleep(0.002)
        assert await reading == b"".join(data)


async def test_a_cut_closes_every_connection_in_order(proxy: FaultProxy, echo: Echo) -> None:
    """Both ends of each connection read end-of-file, and new clients are served."""
    async with client(proxy) as one, client(proxy) as another:
        await asyncio.gather(echoed(*one), echoed(*another))
        await proxy.cut()
        assert proxy.connections == 0
        assert (await one[0].read(), await another[0].read()) == (b"", b"")
        assert await echo.ended(2) == [None, None]
    async with client(proxy) as (reader, writer):
        assert await echoed(reader, writer) == b"hello"


@pytest.mark.parametrize(("after", "received"), [(1, 0), (10, 0), (11, 1), (15, 5), (20, 10)])
async def test_a_cut_after_some_bytes_is_exact(proxy: FaultProxy, echo: Echo, after: int, received: int) -> None:
    """Exactly `after` bytes of both directions pass before all connections are cut."""
    async with client(proxy) as other, client(proxy) as (reader, writer):
        await echoed(*other)
        await proxy.cut(after=after)
        writer.write(b"0123456789")
        assert await reader.read() == b"0123456789"[:received]
        assert await other[0].read() == b""
        assert await echo.ended(2) == [None, None]
    async with client(proxy) as (reader, writer):
        assert await echoed(reader, writer) == b"hello"


async def test_a_cut_with_unread_bytes_is_no_reset(proxy: FaultProxy, echo: Echo) -> None:
    """Bytes that wait in a frozen proxy are lost, but both ends read end-of-file, not a reset."""
    async with client(proxy) as (reader, writer):
        await echoed(reader, writer)
        proxy.freeze()
        writer.write(CHUNK * 3)
        await asyncio.sleep(0.02)
        await proxy.cut()
        assert await reader.read() == b""
        assert await echo.ended() == [None]


async def test_a_reset_is_seen_at_both_ends(proxy: FaultProxy, echo: Echo) -> None:
    """Client and server get ECONNRESET."""
    async with client(proxy) as (reader, writer):
        await echoed(reader, writer)
        await proxy.reset()
        with pytest.raises(ConnectionResetError):
            await reader.read()
    assert await echo.ended() == [ConnectionResetError]
    assert proxy.connections == 0


async def test_a_frozen_proxy_accepts_and_says_nothing(proxy: FaultProxy, echo: Echo) -> None:
    """Old and new connections hang, and everything arrives after `thaw`."""
    async with client(proxy) as old:
        await echoed(*old)
        proxy.freeze()
        async with client(proxy) as new:
            for reader, writer in (old, new):
                writer.write(b"held")
                assert await silent(reader)
            assert echo.begun == 1
            proxy.thaw()
            assert [await reader.readexactly(4) for reader, _ in (old, new)] == [b"held", b"held"]


async def test_new_connections_are_refused_until_restored(proxy: FaultProxy) -> None:
    """Open connections continue meanwhile, and the port stays the same."""
    async with client(proxy) as (reader, writer):
        await echoed(reader, writer)
        proxy.refuse()
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
        assert await echoed(reader, writer) == b"hello"
    proxy.restore()
    async with client(proxy) as (reader, writer):
        assert await echoed(reader, writer) == b"hello"


async def test_restoring_ends_every_fault(proxy: FaultProxy) -> None:
    """No delay, pending cut, freeze or refusal remains."""
    async with client(proxy) as (reader, writer):
        await echoed(reader, writer)
        proxy.delay(60_000)
        await proxy.cut(after=1)
        proxy.freeze()
        proxy.refuse()
        proxy.restore()
        assert await echoed(reader, writer) == b"hello"
    async with client(proxy) as (reader, writer):
        assert await echoed(reader, writer) == b"hello"


async def test_a_server_that_reads_nothing_stops_the_client(proxy: FaultProxy, echo: Echo) -> None:
    """Backpressure reaches the client, and no byte is lost."""
    sent = 0
    async with client(proxy) as (reader, writer):
        await echoed(reader, writer)
        echo.reads.clear()
        with suppress(TimeoutError):
            while sent < PLENTY:
                writer.write(CHUNK)
                sent += 1
                async with asyncio.timeout(0.1):
                    await writer.drain()
        assert sent < PLENTY
        echo.reads.set()
        writer.write_eof()
        received = 0
        while data := await reader.read(1 << 20):
            received += len(data)
        assert received == sent * len(CHUNK)


async def test_a_server_that_is_gone_ends_the_client() -> None:
    """A client is reset if the proxy cannot reach the server."""
    async with fault_proxy("127.0.0.1", free_port()) as proxy, client(proxy) as (reader, _):
        with pytest.raises(ConnectionResetError):
            await reader.read()


async def test_a_client_that_resets_resets_the_server(proxy: FaultProxy, echo: Echo) -> None:
    """A reset at one end reaches the other, after any freeze."""
    async with client(proxy) as (reader, writer):
        await echoed(reader, writer)
        proxy.freeze()
        reset(writer)
        await asyncio.sleep(0.05)
        assert not echo.ends
        proxy.thaw()
        assert await echo.ended() == [ConnectionResetError]


async def test_a_connection_that_was_just_accepted_can_be_cut(proxy: FaultProxy) -> None:
    """The client reads end-of-file although the connection's task never starts."""
    assert proxy._listener
    with socket.create_connection(("127.0.0.1", proxy.port), timeout=5) as connection:
        proxy._accept(proxy._listener)
        await proxy.cut()
        assert connection.recv(1) == b""
    assert proxy.connections == 0


@pytest.mark.parametrize("steps", range(8))
async def test_a_frozen_connection_that_fails_can_be_cut_at_any_step(proxy: FaultProxy, steps: int) -> None:
    """A failure and a cut in the same step of the event loop are both handled."""
    async with client(proxy) as (reader, writer):
        await echoed(reader, writer)
        proxy.freeze()
        reset(writer)
        for _ in range(steps):
            await asyncio.sleep(0)
        async with asyncio.timeout(2):
            await proxy.cut()
    assert proxy.connections == 0


async def test_any_sequence_of_faults_ends(echo: Echo) -> None:
    """Under random faults every echo that arrives is right, and leaving never hangs."""
    chance = random.Random(5)  # noqa: S311 - which fault comes next need not be secret
    right = 0

    async def come_and_go(proxy: FaultProxy) -> None:
        nonlocal right
        while True:
            with suppress(OSError, asyncio.IncompleteReadError):  # TimeoutError is an OSError
                async with client(proxy) as streams, asyncio.timeout(0.05):
                    data = chance.randbytes(chance.choice((5, 200_000)))
                    assert await echoed(*streams, data) == data
                    right += 1

    async with asyncio.timeout(20):
        async with fault_proxy("127.0.0.1", echo.port) as proxy:
            clients = [asyncio.create_task(come_and_go(proxy)) for _ in range(8)]
            for _ in range(80):
                await fault(proxy, chance)
                await asyncio.sleep(0.003)
    assert not [client for client in clients if client.done()]
    for task in clients:
        task.cancel()
    await asyncio.wait(clients)
    assert right


async def fault(proxy: FaultProxy, chance: random.Random) -> None:
    match chance.randrange(8):
        case 0:
            await proxy.cut()
        case 1:
            await proxy.cut(after=chance.randrange(1, 20_000))
        case 2:
            await proxy.reset()
        case 3:
            proxy.delay(2)
        case 4:
            proxy.freeze()
        case 5:
            proxy.refuse()
        case _:
            proxy.restore()


async def test_nothing_outlives_the_proxy(echo: Echo) -> None:
    """Leaving ends all tasks and connections, and the port refuses."""
    async with AsyncExitStack() as clients:
        async with fault_proxy("127.0.0.1", echo.port) as proxy:
            idle, slow, frozen = [await clients.enter_async_context(client(proxy)) for _ in range(3)]
            await asyncio.gather(echoed(*idle), echoed(*slow), echoed(*frozen))
            proxy.delay(3_600_000)
            slow[1].write(b"held")
            await asyncio.sleep(0.02)
            proxy.freeze()
            frozen[1].write(b"held")
            await asyncio.sleep(0.02)
            assert "FaultProxy" in repr(asyncio.all_tasks())
        assert "FaultProxy" not in repr(asyncio.all_tasks())
        assert [await reader.read() for reader, _ in (idle, slow, frozen)] == [b"", b"", b""]
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection("127.0.0.1", proxy.port)
    assert await echo.ended(3) == [None, None, None]

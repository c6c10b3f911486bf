"""A TCP proxy on loopback that delays, cuts, resets, freezes or refuses whatever goes through it."""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

_CHUNK = 65536  # all that a direction ever holds: the next is read once this one is sent
_ABORT = struct.pack("ii", 1, 0)  # SO_LINGER for no seconds: closing sends RST


class FaultProxy:
    """Stands before one server and lets everything through, unless told otherwise."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        # Bound, never listening: keeps the port for `restore` while the listener is closed.
        self._place = _bound(("127.0.0.1", 0))
        self.port: int = self._place.getsockname()[1]
        self._listener: socket.socket | None = None
        self._links: dict[asyncio.Task[None], list[socket.socket]] = {}
        self._thawed = asyncio.Event()
        self.restore()

    @property
    def connections(self) -> int:
        """How many connections are open."""
        return len(self._links)

    def delay(self, most: float) -> None:
        """Hold each chunk back for 0 to `most` milliseconds; a direction's bytes stay in order."""
        self._most = most / 1000

    async def cut(self, *, after: int = 0) -> None:
        """Close all connections now, or once `after` more bytes went through, both directions together."""
        if after:
            self._left = after
        else:
            await self._ended()

    async def reset(self) -> None:
        """End all connections with RST, at both of their ends."""
        for sockets in self._links.values():
            _abort(*sockets)
        await self._ended()

    def freeze(self) -> None:
        """Accept connections and forward nothing, neither bytes nor an end; no more than a chunk is read."""
        self._thawed.clear()

    def thaw(self) -> None:
        """Go on with what was held."""
        self._thawed.set()

    def refuse(self) -> None:
        """Refuse new connections; those that are open stay."""
        if self._listener:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def restore(self) -> None:
        """End every fault; connections that a fault has ended stay so."""
        self._most = 0.0
        self._left: int | None = None
        self.thaw()
        if not self._listener:
            self._listener = _bound(("127.0.0.1", self.port))
            self._listener.listen(512)
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    async def close(self) -> None:
        """End everything, the port included."""
        self.refuse()
        await self.cut()
        self._place.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError, ConnectionAbortedError):  # a client that has already gone
            sockets = [listener.accept()[0], socket.socket()]
            for end in sockets:  # before there is a task: one that is cancelled at once never begins
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # no delay but our own
            task = asyncio.create_task(self._link(*sockets))
            self._links[task] = sockets
            task.add_done_callback(self._close)

    def _close(self, task: asyncio.Task[None]) -> None:
        for end in self._links.pop(task):
            _close(end)

    def _end(self) -> None:
        for task in self._links:
            task.cancel()

    async def _ended(self) -> None:
        self._end()
        if tasks := list(self._links):
            await asyncio.wait(tasks)

    async def _link(self, client: socket.socket, server: socket.socket) -> None:
        try:
            await self._thawed.wait()
            await asyncio.get_running_loop().sock_connect(server, self._target)
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(client, server))
                pumps.create_task(self._pump(server, client))
        except* OSError:  # nothing is awaited here: a group that fails while it is cancelled forgets the latter
            _abort(client, server)  # what one end did reaches the other

    async def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        chunk = b"the first"
        try:
            while chunk:
                chunk = await asyncio.get_running_loop().sock_recv(source, _CHUNK)
                await asyncio.sleep(random.uniform(0, self._most))  # noqa: S311 - no secret
                await self._thawed.wait()
                await self._forward(chunk, sink)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            await self._thawed.wait()
            raise

    async def _forward(self, chunk: bytes, sink: socket.socket) -> None:
        part = chunk[: self._left]  # all of it, unless a cut is near
        last = bool(part) and len(part) == self._left
        if self._left is not None:
            self._left -= len(part)
        try:
            await asyncio.get_running_loop().sock_sendall(sink, part)
        finally:
            if last:
                self._left = None
                self._end()


@asynccontextmanager
async def fault_proxy(host: str, port: int) -> AsyncGenerator[FaultProxy]:
    """Yield a proxy before the server at `host`, an IPv4 address, and `port`; it ends with the block."""
    proxy = FaultProxy(host, port)
    try:
        yield proxy
    finally:
        await proxy.close()


def _bound(address: tuple[str, int]) -> socket.socket:
    bound = socket.socket()
    bound.setblocking(False)
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    bound.bind(address)
    return bound


def _abort(*ends: socket.socket) -> None:
    for end in ends:
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)


def _close(end: socket.socket) -> None:
    with suppress(OSError):  # nothing more to read, or never connected
        for _ in range(1024):  # closing with something unread would send RST
            if not end.recv(_CHUNK):
                break
    end.close()

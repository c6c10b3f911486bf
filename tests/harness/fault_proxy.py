"""A TCP proxy on loopback that can delay, cut, reset, freeze or refuse connections."""

import asyncio
import random
import socket
import struct
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import Any

_CHUNK = 65536  # the most that one direction buffers: the next chunk is read once this one is sent
_ABORT = struct.pack("ii", 1, 0)  # SO_LINGER of 0 seconds: closing sends RST


class FaultProxy:
    """A proxy to one server that forwards everything until a fault is set."""

    def __init__(self, host: str, port: int) -> None:
        self._target = (host, port)
        # Bound but never listening: reserves the port for `restore` while the listener is closed.
        self._place = _bound(("127.0.0.1", 0))
        self.port: int = self._place.getsockname()[1]
        self._listener: socket.socket | None = None
        self._links: dict[asyncio.Task[None], list[socket.socket]] = {}
        self._thawed = asyncio.Event()
        self._mute: set[asyncio.Task[Any] | None] = set()
        """The tasks that send for the clients whose answers are lost."""
        self.restore()

    @property
    def connections(self) -> int:
        """Return the number of open connections."""
        return len(self._links)

    def delay(self, most: float) -> None:
        """Delay each chunk by 0 to `most` milliseconds, in order for each direction."""
        self._most = most / 1000

    async def cut(self, *, after: int = 0) -> None:
        """Close all connections now, or after `after` more bytes in both directions together."""
        if after:
            self._left = after
        else:
            await self._ended()

    async def reset(self) -> None:
        """Reset all connections at both ends."""
        for sockets in self._links.values():
            _abort(*sockets)
        await self._ended()

    def lose_answer(self, to: bytes) -> None:
        """Forward the next chunk from a client that contains `to`, but nothing that comes back on its connection."""
        self.unanswered = to

    def move(self, port: int) -> None:
        """Connect new connections to another port of the server; open ones stay where they are."""
        self._target = (self._target[0], port)

    def freeze(self) -> None:
        """Accept connections but forward nothing, neither bytes nor an end; at most a chunk is read."""
        self._thawed.clear()

    def thaw(self) -> None:
        """Forward again, starting with what was held."""
        self._thawed.set()

    def refuse(self) -> None:
        """Refuse new connections; open ones continue."""
        if self._listener:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    def restore(self) -> None:
        """End every fault; connections that a fault has closed stay closed."""
        self._most = 0.0
        self._left: int | None = None
        self.unanswered = b""
        self.thaw()
        if not self._listener:
            self._listener = _bound(("127.0.0.1", self.port))
            self._listener.listen(512)
            asyncio.get_running_loop().add_reader(self._listener, self._accept, self._listener)

    async def close(self) -> None:
        """Close everything, including the port."""
        self.refuse()
        await self.cut()
        self._place.close()

    def _accept(self, listener: socket.socket) -> None:
        with suppress(BlockingIOError, ConnectionAbortedError):  # the client has already disconnected
            sockets = [listener.accept()[0], socket.socket()]
            for end in sockets:  # before there is a task, since one that is cancelled at once never starts
                end.setblocking(False)
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # no delay by Nagle's algorithm
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
                sending = pumps.create_task(self._pump(client, server))
                pumps.create_task(self._pump(server, client, sending))
        except* OSError:  # no await here: a task group that fails while it is cancelled loses the cancellation
            _abort(client, server)  # pass one end's failure on to the other

    async def _pump(
        self, source: socket.socket, sink: socket.socket, sending: asyncio.Task[None] | None = None
    ) -> None:
        chunk = b"the first"
        try:
            while chunk:
                chunk = await asyncio.get_running_loop().sock_recv(source, _CHUNK)
                await asyncio.sleep(random.uniform(0, self._most))  # noqa: S311 - no secret
                await self._thawed.wait()
                if self.unanswered and sending is None and self.unanswered in chunk:
                    self.unanswered = b""
                    self._mute.add(asyncio.current_task())
                if sending not in self._mute or not chunk:
                    await self._forward(chunk, sink)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            await self._thawed.wait()
            raise

    async def _forward(self, chunk: bytes, sink: socket.socket) -> None:
        part = chunk[: self._left]  # all of it, unless a cut comes first
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
    """Yield a proxy to the server at `host` (an IPv4 address) and `port`, closed on leaving."""
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
        for _ in range(1024):  # closing with unread bytes would send RST
            if not end.recv(_CHUNK):
                break
    end.close()

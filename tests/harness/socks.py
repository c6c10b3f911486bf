"""A SOCKS5 proxy (RFC 1928) with a password (RFC 1929), which notes what it is asked for."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress


class Socks:
    """A running proxy; `asked` has the hosts that it was asked for, as names or addresses."""

    def __init__(self, login: tuple[str, str]) -> None:
        self.port = 0
        self.asked: list[str] = []
        self._login = login

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Speak to one client. Whatever host it asks for, it gets this machine's."""
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            _, methods = await reader.readexactly(2)
            await reader.readexactly(methods)
            writer.write(bytes([5, 2]))
            if not await self._logs_in(reader, writer):
                return
            _, _, _, kind = await reader.readexactly(4)
            host = await reader.readexactly(4 if kind == 1 else (await reader.readexactly(1))[0])
            self.asked.append(".".join(map(str, host)) if kind == 1 else host.decode())
            port = int.from_bytes(await reader.readexactly(2), "big")
            onward, back = await asyncio.open_connection("127.0.0.1", port)
            writer.write(bytes([5, 0, 0, 1, 0, 0, 0, 0, 0, 0]))
            await asyncio.gather(_copy(reader, back), _copy(onward, writer))
        writer.close()

    async def _logs_in(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        await reader.readexactly(1)
        given = [(await reader.readexactly((await reader.readexactly(1))[0])).decode() for _ in range(2)]
        writer.write(bytes([1, int(tuple(given) != self._login)]))
        return tuple(given) == self._login


async def _copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await source.read(65536):
            target.write(piece)
        target.close()


@asynccontextmanager
async def socks_proxy(login: tuple[str, str]) -> AsyncGenerator[Socks]:
    """Run a proxy on the loopback interface."""
    proxy = Socks(login)
    async with await asyncio.start_server(proxy.serve, "127.0.0.1", 0) as server:
        proxy.port = server.sockets[0].getsockname()[1]
        yield proxy

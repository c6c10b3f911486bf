"""An echo server."""

import asyncio
from asyncio import StreamReader, StreamWriter
from collections.abc import Callable
from contextlib import suppress


class Echo:
    """An echo server that can stop reading."""

    def __init__(self) -> None:
        self.port = 0
        self.begun = 0
        self.ends: list[type[BaseException] | None] = []
        """How each connection ended; None is an orderly end."""
        self.reads = asyncio.Event()
        self.reads.set()

    async def serve(self, reader: StreamReader, writer: StreamWriter) -> None:
        """Serve one connection."""
        self.begun += 1
        try:
            while (await self.reads.wait()) and (data := await reader.read(65536)):
                writer.write(data)
                await writer.drain()
            self.ends.append(None)
        except OSError as error:
            self.ends.append(type(error))
        finally:
            await closed(writer)

    async def ended(self, connections: int = 1) -> list[type[BaseException] | None]:
        """Wait until this many connections have ended; return how they ended."""
        await until(lambda: len(self.ends) >= connections)
        return self.ends


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not true():
            await asyncio.sleep(0.005)


async def closed(writer: StreamWriter) -> None:
    writer.close()
    with suppress(OSError):  # the peer reset it
        await writer.wait_closed()

"""A model's server that sends given bytes, in given pieces, over connections that it counts."""

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager


class RawModel:
    """Answers every request with the same body, one HTTP chunk a piece."""

    def __init__(self) -> None:
        self.url = ""
        self.pieces: Sequence[bytes] = ()
        self.kind = "text/event-stream"
        self.status = 200
        self.headers: Sequence[str] = ()
        self.connections = 0
        self.requests: list[bytes] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until its client closes it."""
        self.connections += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0] or 0)
                self.requests.append(head + await reader.readexactly(length))
                head = [f"HTTP/1.1 {self.status} OK", f"content-type: {self.kind}", *self.headers]
                writer.write("\r\n".join([*head, "transfer-encoding: chunked", "", ""]).encode())
                for piece in filter(None, self.pieces):
                    writer.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                    await writer.drain()
                    await asyncio.sleep(0)  # so that the pieces do not arrive as one
                writer.write(b"0\r\n\r\n")
                await writer.drain()
        except (asyncio.CancelledError, asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def raw_model() -> AsyncGenerator[RawModel]:
    """Serve a raw model on a loopback port."""
    model = RawModel()
    server = await asyncio.start_server(model.serve, "127.0.0.1", 0)
    model.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield model
    finally:
        server.close()

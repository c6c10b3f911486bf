"""Serve an ASGI application on a real loopback socket, inside the test's own event loop."""

import asyncio
import socket
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

import uvicorn

from api.protocols import OPTIONS


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield  # pytest keeps its own handlers

    async def main_loop(self) -> None:
        while not self.should_exit:  # uvicorn polls ten times a second, which adds up over a test suite
            await asyncio.sleep(0.01)


@asynccontextmanager
async def serving(app: Any, *, lifespan: bool = True, **options: Any) -> AsyncGenerator[str]:
    """Yield the URL of `app`, which is shut down on leaving; uvicorn gets the `options`."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=512)
    config = uvicorn.Config(
        app,
        lifespan="on" if lifespan else "off",
        log_config=None,
        **OPTIONS,
        **options,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)

    async def serve() -> None:
        with suppress(SystemExit):  # set by uvicorn after a failed start
            await server.serve(sockets=[listener])

    task = asyncio.create_task(serve())
    try:
        while not server.started:
            if task.done():
                raise RuntimeError("the application did not start")
            await asyncio.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        await task
        for connection in server.server_state.connections:  # tasks that did not end in time
            connection.transport.abort()
        await asyncio.sleep(0)
        listener.close()

"""Several replicas that share a Redis, and the events of their streams."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
from httpx_sse import ServerSentEvent, aconnect_sse
from starlette.types import Send

from conftest import Serve
from harness.scripted_model import Call, tokens


@asynccontextmanager
async def several(serve: Serve, count: int, **variables: Any) -> AsyncGenerator[list[httpx.AsyncClient]]:
    async with AsyncExitStack() as stack:
        clients: list[httpx.AsyncClient] = []
        for url in await asyncio.gather(*(stack.enter_async_context(serve(**variables)) for _ in range(count))):
            limits = httpx.Limits(max_connections=200)
            client = httpx.AsyncClient(base_url=url, timeout=30, limits=limits)
            clients.append(await stack.enter_async_context(client))
        yield clients


async def echo(call: Call, send: Send) -> None:
    """Answer with the question, in several tokens."""
    await tokens(["You said: ", call.prompt[-1][1], "."])(call, send)


def plainly(events: list[ServerSentEvent]) -> list[tuple[str, str, str]]:
    return [(event.id, event.event, event.data) for event in events]


async def events_of(client: httpx.AsyncClient, method: str, path: str, **request: Any) -> list[ServerSentEvent]:
    async with aconnect_sse(client, method, path, **request) as source:
        source.response.raise_for_status()
        return [event async for event in source.aiter_sse()]

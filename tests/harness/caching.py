"""Replicas that cache answers, and questions for them."""

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import aiohttp
import httpx

from conftest import Serve

QUESTION = {"question": "Why was I charged twice?"}
CACHED = {"SUPPORT_CACHE_TTL": 60}


@asynccontextmanager
async def caching(serve: Serve, count: int = 1, **variables: Any) -> AsyncGenerator[list[str]]:
    """Yield the URLs of replicas that cache answers."""
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(serve(**(CACHED | variables))) for _ in range(count)]


async def ask(client: httpx.AsyncClient, question: str = QUESTION["question"], **headers: str) -> httpx.Response:
    return await client.post("/ask", json={"question": question}, headers=headers)


async def status_of(session: aiohttp.ClientSession, url: str) -> int:
    async with session.post(f"{url}/ask", json=QUESTION) as response:
        return response.status

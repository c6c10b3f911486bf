"""Replicas that share a Redis."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest
from redis.asyncio import Redis

from conftest import Serve
from harness.conversations import several
from harness.replica import replica
from harness.scripted_model import ScriptedModel


@pytest.fixture
async def neighbours(redis: Redis, serve: Serve, model: ScriptedModel) -> AsyncGenerator[list[httpx.AsyncClient]]:
    """Clients of two replicas in this process."""
    async with several(serve, 2) as clients:
        model.forget()
        yield clients


@pytest.fixture(params=["here", pytest.param("processes", marks=pytest.mark.soak)])
async def replicas(
    request: pytest.FixtureRequest,
    redis: Redis,
    redis_url: str,
    serve: Serve,
    model: ScriptedModel,
    articles: Path,
) -> AsyncGenerator[list[httpx.AsyncClient]]:
    """Clients of two replicas that share a Redis, here or in processes of their own."""

    @asynccontextmanager
    async def process() -> AsyncGenerator[str]:
        async with replica(model, redis_url, articles) as (_, url):
            yield url

    async with several(serve if request.param == "here" else process, 2) as clients:
        model.forget()
        yield clients

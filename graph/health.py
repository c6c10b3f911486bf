"""Whether what the agent depends on can be used: asked cheaply, and with a way to mend it."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.exceptions import RedisError

from graph.errors import RunError
from graph.retrieval.index import Knowledge


@dataclass(frozen=True, slots=True)
class Check:
    """How one dependency is."""

    up: bool
    latency_ms: float
    reason: str | None = None
    """Why it can't be used; no exception's text."""
    remedy: str | None = None
    """What mends it."""


class _Down(Exception):
    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


async def check_redis(redis: Redis) -> Check:
    """Send Redis a PING."""

    async def ask() -> None:
        try:
            await redis.ping()
        except RedisError as error:
            raise _Down("can't be reached", "start Redis, or correct REDIS_URL") from error

    return await _timed(ask)


async def check_articles(knowledge: Knowledge) -> Check:
    """Look for any one article in the index, without asking the embedding model."""

    async def ask() -> None:
        try:
            await knowledge.ping()
        except RunError as error:
            if not knowledge.is_indexed:
                raise _Down(error.reason, "start the model's server, or correct its address or key") from error
            raise _Down(
                "can't be searched", "start Postgres, or correct DATABASE_URL; a restart rebuilds a deleted index"
            ) from error

    return await _timed(ask)


async def _timed(ask: Callable[[], Awaitable[None]]) -> Check:
    began = time.monotonic()
    down = None
    try:
        await ask()
    except _Down as error:
        down = error
    latency = round((time.monotonic() - began) * 1000, 1)
    return Check(down is None, latency, down and down.reason, down and down.remedy)

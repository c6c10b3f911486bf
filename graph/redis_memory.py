"""How full Redis is: a metric to alert on, and a warning in the log, before Redis refuses to store anything."""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import cast

from redis.asyncio import Redis
from redis.exceptions import ConnectionError, ResponseError  # noqa: A004 - Redis' own
from redis.exceptions import TimeoutError as RedisTimeout

from graph.observe.metrics import redis_memory

_PAUSE = 15.0  # seconds between two looks
_REFUSED = 3600.0  # seconds until the next look where Redis does not tell its user, which is no trouble
_NEARLY_FULL = 0.8  # of maxmemory
_ROOM_AGAIN = 0.7  # of maxmemory, below which the next warning is news

_log = logging.getLogger(__name__)


@asynccontextmanager
async def watching_memory(redis: Redis) -> AsyncGenerator[None]:
    """Measure how full Redis is, for as long as the block lasts."""
    closed = asyncio.Event()
    watching = asyncio.create_task(_watch(redis, closed))
    try:
        yield
    finally:
        closed.set()
        await asyncio.wait([watching])


async def _watch(redis: Redis, closed: asyncio.Event) -> None:
    warned = False
    while not closed.is_set():
        pause = _PAUSE
        try:
            used = await used_share(redis)
        except ResponseError:
            used, pause = None, _REFUSED
        if used is not None:
            redis_memory.set(used)
        if used is not None and not warned and _NEARLY_FULL < used < 1:  # a full one is named by its errors
            _log.warning(
                "Redis uses %.0f %% of its maxmemory; when it is full, conversations are refused: raise maxmemory, or "
                "lower SUPPORT_RATABLE_ANSWERS, SUPPORT_SESSION_TTL or SUPPORT_CACHE_TTL",
                100 * used,
            )
            warned = True
        warned = warned and (used is None or used > _ROOM_AGAIN)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(pause):
                await closed.wait()


async def used_share(redis: Redis) -> float | None:
    """Return the share of `maxmemory` in use, 0 where there is no such limit; None where Redis does not tell.

    Raises ResponseError where its user may not ask.
    """
    with contextlib.suppress(ConnectionError, RedisTimeout, KeyError, TypeError, ValueError):
        said = cast("dict[str, int]", await redis.info("memory"))
        used, most = int(said["used_memory"]), int(said["maxmemory"])
        return used / most if most else 0.0
    return None

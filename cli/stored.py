"""Reading what the service has stored in its Redis."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from api.settings import ServiceSettings
from graph.errors import MemoryUnavailable, SettingsError

if TYPE_CHECKING:
    from redis.asyncio import Redis


def with_redis(settings: ServiceSettings) -> ServiceSettings:
    """Return settings that name a Redis; raises SettingsError."""
    if settings.redis_url is None:
        raise SettingsError("missing in the environment: REDIS_URL, the Redis in which the service stores ratings")
    return settings


@asynccontextmanager
async def reading_redis(settings: ServiceSettings) -> "AsyncGenerator[Redis]":
    """Open the service's Redis; raises SettingsError, which says what to change where it can't be read."""
    from graph.redis import open_redis
    from graph.redis_faults import trouble_of

    async with open_redis(settings) as redis:
        try:
            yield redis
        except MemoryUnavailable as error:
            trouble = trouble_of(error.reason)
            raise SettingsError(f"REDIS_URL: Redis {trouble.reason}; {trouble.remedy}") from None

"""`support-agent doctor`: whether what is configured can be used, and how well answers are kept."""

import asyncio
from typing import cast

from support_agent.api.settings import ServiceSettings
from support_agent.graph.errors import SettingsError


def doctor() -> None:
    """Check the settings and Redis, and show how many requests the answer cache saved."""
    settings = ServiceSettings.load()
    print("settings  read; none is unknown or bad")
    if settings.redis_url is None:
        print("Redis     not configured: set REDIS_URL; without it `support-agent serve` starts one of its own")
    else:
        asyncio.run(_examine_redis(settings))


async def _examine_redis(settings: ServiceSettings) -> None:
    from redis.exceptions import RedisError

    from support_agent.api.kept_answers import STATISTICS
    from support_agent.graph.redis import open_redis

    async with open_redis(settings) as redis:
        try:
            found = cast("dict[bytes, bytes]", await redis.hgetall(STATISTICS))
        except RedisError:
            raise SettingsError("REDIS_URL: Redis can't be reached; start it, or correct the address") from None
    print("Redis     answers, and has JSON and Search")
    hits, coalesced, misses = (int(found.get(name, 0)) for name in (b"hit", b"coalesced", b"miss"))
    asked = hits + coalesced + misses
    saved = f"{(hits + coalesced) / asked:.0%}" if asked else "none yet"
    print(f"answers   {saved} of {asked} came without asking the model: {hits} kept, {coalesced} shared")

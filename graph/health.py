"""Whether what the agent depends on can be used: asked cheaply, and with a way to mend it."""

import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace

from redis.exceptions import RedisError

from graph.errors import RunError
from graph.redis import WatchedRedis
from graph.redis_check import ask_redis, find_trouble
from graph.redis_faults import Trouble, kind_of, trouble_of
from graph.retrieval.served import Knowledge

_OUTDATED = ("have changed, and can't be served: those from before are", "the log says why")


@dataclass(frozen=True, slots=True)
class Check:
    """How one dependency is."""

    up: bool
    latency_ms: float
    reason: str | None = None
    """Why it can't be used, or what is wrong although it can; no exception's text."""
    remedy: str | None = None
    """What mends it."""


class _Down(Exception):
    def __init__(self, reason: str, remedy: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.remedy = remedy


class RedisWatch:
    """What is known of Redis: by a check of what a turn needs, and by another one after a command that failed."""

    def __init__(self, redis: WatchedRedis) -> None:
        self._redis = redis
        self._seen = -1  # faults when a check found nothing wrong

    async def latest(self) -> Check:
        """Return how Redis is: by a whole check where something has failed since the last, else by one command."""
        seen = self._redis.faults.count
        if seen == self._seen:
            return await _timed(self._ask)
        check = await check_redis(self._redis)
        if check.up:
            self._seen = seen
        return check

    async def _ask(self) -> None:
        try:
            await ask_redis(self._redis)
        except RedisError as error:
            raise _down(trouble_of(kind_of(error))) from error


async def check_redis(redis: WatchedRedis) -> Check:
    """Ask Redis for what a turn needs."""

    async def ask() -> None:
        trouble = await find_trouble(redis, redis.faults)
        if trouble and trouble.stops_turns:
            raise _down(trouble)

    return await _timed(ask)


async def check_articles(knowledge: Knowledge) -> Check:
    """Look for any one article in the index, without asking the embedding model.

    Where articles have changed and can't be served, those from before are: that is said, and they are up.
    """

    async def ask() -> None:
        try:
            await knowledge.ping()
        except RunError as error:
            if not knowledge.is_indexed:
                raise _Down(error.reason, "start the model's server, or correct its address or key") from error
            raise _Down(
                "can't be searched", "start Postgres, or correct DATABASE_URL; a restart rebuilds a deleted index"
            ) from error

    check = await _timed(ask)
    return replace(check, reason=_OUTDATED[0], remedy=_OUTDATED[1]) if check.up and knowledge.outdated else check


def _down(trouble: Trouble) -> _Down:
    return _Down(trouble.reason, trouble.remedy)


async def _timed(ask: Callable[[], Awaitable[None]]) -> Check:
    began = time.monotonic()
    down = None
    try:
        await ask()
    except _Down as error:
        down = error
    latency = round((time.monotonic() - began) * 1000, 1)
    return Check(down is None, latency, down and down.reason, down and down.remedy)

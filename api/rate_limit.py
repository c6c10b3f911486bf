"""Rate limits per caller, counted in Redis for all replicas, and in this process while Redis is down.

The headers `RateLimit-Policy` and `RateLimit` follow draft-ietf-httpapi-ratelimit-headers-10.
"""

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from limits import RateLimitItem
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.errors import StorageError
from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.telemetry import requests_limited

if TYPE_CHECKING:
    from limits.aio.storage.redis.redispy import RedispyBridge

_POLICY = "requests"
_STRATEGY = "moving-window"  # part of each key, since the keys of another strategy have another type

# redis-py sends a script again whose answer is late: the same time in a caller's list means that it has run.
_TAKEN = "if redis.call('lpos', KEYS[1], tonumber(ARGV[1])) then return true end\n"


@dataclass(frozen=True, slots=True)
class Allowance:
    """A caller's rate limit, and what is left."""

    amount: int
    """Requests per window."""
    window: int
    """Seconds."""
    remaining: int
    reset: int
    """Seconds until the caller may send more requests."""
    allowed: bool

    @property
    def headers(self) -> dict[str, str]:
        """The RateLimit headers, which every response of a rate-limited route has."""
        return {
            "RateLimit-Policy": f'"{_POLICY}";q={self.amount};w={self.window}',
            "RateLimit": f'"{_POLICY}";r={self.remaining};t={self.reset}',
        }


class RateLimited(Exception):
    """The caller has exceeded its rate limit."""

    def __init__(self, allowance: Allowance) -> None:
        super().__init__(f"At most {allowance.amount} requests in {allowance.window} s; retry in {allowance.reset} s.")
        self.allowance = allowance


class RateLimiter:
    """Counts requests in a moving window."""

    def __init__(self, redis: Redis, limit: RateLimitItem) -> None:
        self._limit = limit
        shared = RedisStorage("redis://", implementation="redispy", connection_pool=redis.connection_pool)  # pyright: ignore[reportArgumentType] - its type lacks pools
        bridge = cast("RedispyBridge", shared.bridge)
        take = _TAKEN + bridge.SCRIPT_ACQUIRE_MOVING_WINDOW.decode()
        bridge.lua_acquire_moving_window = bridge.get_connection().register_script(take)  # pyright: ignore - its type is that of a blocking client
        self._shared = MovingWindowRateLimiter(shared)
        self._own = MovingWindowRateLimiter(MemoryStorage())

    async def take(self, caller: str) -> Allowance:
        """Count one request; raises RateLimited if it exceeds the limit."""
        try:
            allowance = await self._take(self._shared, caller)
        except (RedisError, StorageError):
            allowance = await self._take(self._own, caller)
        if not allowance.allowed:
            requests_limited.add(1)
            raise RateLimited(allowance)
        return allowance

    async def _take(self, limiter: MovingWindowRateLimiter, caller: str) -> Allowance:
        allowed = await limiter.hit(self._limit, _STRATEGY, caller)
        reset, remaining = await limiter.get_window_stats(self._limit, _STRATEGY, caller)
        return Allowance(
            amount=self._limit.amount,
            window=self._limit.get_expiry(),
            remaining=max(0, remaining),
            reset=max(1, math.ceil(reset - time.time())),
            allowed=allowed,
        )

"""Rate limits per caller, counted in Redis for all replicas, and in this process while Redis is down.

The headers `RateLimit-Policy` and `RateLimit` follow draft-ietf-httpapi-ratelimit-headers-10.
"""

import math
import time
import uuid
from dataclasses import dataclass

from limits import RateLimitItem
from limits.aio.storage import MemoryStorage
from limits.aio.strategies import MovingWindowRateLimiter
from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.telemetry import requests_limited

_POLICY = "requests"
_KIND = "times"  # part of each key, since earlier releases keep another type under theirs

# The moving window of `limits`, with two differences: the clock is that of Redis, since those of replicas differ, and
# a request that redis-py sends twice counts once, since it has an id.
_TAKE = """\
local time, limit, window = redis.call('time'), tonumber(ARGV[1]), ARGV[2] * 1000000
local now = time[1] * 1000000 + time[2]
redis.call('zremrangebyscore', KEYS[1], '-inf', string.format('%.0f', now - window))
local count, allowed = redis.call('zcard', KEYS[1]), redis.call('zscore', KEYS[1], ARGV[3])
if not allowed and count < limit then
  redis.call('zadd', KEYS[1], string.format('%.0f', now), ARGV[3])
  redis.call('expire', KEYS[1], ARGV[2])
  count, allowed = count + 1, true
end
local oldest = redis.call('zrange', KEYS[1], 0, 0, 'withscores')
return {allowed and 1 or 0, limit - count, oldest[2] + window - now}"""


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
        self._take_shared = redis.register_script(_TAKE)
        self._own = MovingWindowRateLimiter(MemoryStorage())

    async def take(self, caller: str) -> Allowance:
        """Count one request; raises RateLimited if it exceeds the limit."""
        try:
            allowance = await self._shared(caller)
        except RedisError:
            allowance = await self._alone(caller)
        if not allowance.allowed:
            requests_limited.add(1)
            raise RateLimited(allowance)
        return allowance

    async def _shared(self, caller: str) -> Allowance:
        limit = self._limit
        arguments = [limit.amount, limit.get_expiry(), uuid.uuid4().bytes]
        allowed, remaining, reset = await self._take_shared([f"LIMITS:{limit.key_for(_KIND, caller)}"], arguments)
        return self._allowance(allowed, remaining, reset / 1_000_000)

    async def _alone(self, caller: str) -> Allowance:
        allowed = await self._own.hit(self._limit, caller)
        reset, remaining = await self._own.get_window_stats(self._limit, caller)
        return self._allowance(allowed, remaining, reset - time.time())

    def _allowance(self, allowed: int, remaining: int, reset: float) -> Allowance:
        return Allowance(
            amount=self._limit.amount,
            window=self._limit.get_expiry(),
            remaining=max(0, remaining),
            reset=max(1, math.ceil(reset)),
            allowed=bool(allowed),
        )

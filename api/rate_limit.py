"""Rate limits per caller, counted in Redis for all replicas, and in this process while Redis is down.

The headers `RateLimit-Policy` and `RateLimit` follow draft-ietf-httpapi-ratelimit-headers-10.
"""

import math
import time
import uuid
from collections.abc import Sequence
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
# Several limits count a request only if all allow it.
_TAKE = """\
local time, told, all = redis.call('time'), {}, true
local now = time[1] * 1000000 + time[2]
for n, key in ipairs(KEYS) do
  local limit, window = tonumber(ARGV[2 * n]), ARGV[2 * n + 1] * 1000000
  redis.call('zremrangebyscore', key, '-inf', string.format('%.0f', now - window))
  local count = redis.call('zcard', key)
  local allowed = count < limit or redis.call('zscore', key, ARGV[1])
  told[n], all = {allowed and 1 or 0, limit - count, window}, all and allowed
end
for n, key in ipairs(KEYS) do
  if all and redis.call('zadd', key, 'NX', string.format('%.0f', now), ARGV[1]) == 1 then
    redis.call('expire', key, ARGV[2 * n + 1])
    told[n][2] = told[n][2] - 1
  end
  local oldest = redis.call('zrange', key, 0, 0, 'withscores')
  told[n][3] = (oldest[2] or now) + told[n][3] - now
end
return told"""


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
    """Counts requests in moving windows."""

    def __init__(self, redis: Redis) -> None:
        self._take_shared = redis.register_script(_TAKE)
        self._own = MovingWindowRateLimiter(MemoryStorage())

    async def take(self, *counted: tuple[RateLimitItem, str]) -> Allowance:
        """Count one request against the limit of each caller; raises RateLimited if it exceeds any, and counts nothing.

        Returns what the first one has left.
        """
        try:
            allowances = await self._shared(counted)
        except RedisError:
            allowances = await self._alone(counted)
        if refused := [allowance for allowance in allowances if not allowance.allowed]:
            requests_limited.add(1)
            raise RateLimited(refused[0])
        return allowances[0]

    async def _shared(self, counted: Sequence[tuple[RateLimitItem, str]]) -> list[Allowance]:
        keys = [f"LIMITS:{limit.key_for(_KIND, caller)}" for limit, caller in counted]
        windows = [number for limit, _ in counted for number in (limit.amount, limit.get_expiry())]
        told = await self._take_shared(keys, [uuid.uuid4().bytes, *windows])
        return [
            _allowance(limit, allowed, remaining, reset / 1_000_000)
            for (limit, _), (allowed, remaining, reset) in zip(counted, told, strict=True)
        ]

    async def _alone(self, counted: Sequence[tuple[RateLimitItem, str]]) -> list[Allowance]:
        allowed = [await self._own.test(limit, caller) for limit, caller in counted]
        allowances: list[Allowance] = []
        for (limit, caller), one in zip(counted, allowed, strict=True):
            if all(allowed):
                await self._own.hit(limit, caller)
            reset, remaining = await self._own.get_window_stats(limit, caller)
            allowances.append(_allowance(limit, one, remaining, reset - time.time()))
        return allowances


def _allowance(limit: RateLimitItem, allowed: int, remaining: int, reset: float) -> Allowance:
    return Allowance(
        amount=limit.amount,
        window=limit.get_expiry(),
        remaining=max(0, remaining),
        reset=max(1, math.ceil(reset)),
        allowed=bool(allowed),
    )

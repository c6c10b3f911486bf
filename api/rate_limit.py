"""Rate limits per caller, counted in Redis for all replicas, and in this process while Redis is down.

The headers `RateLimit-Policy` and `RateLimit` follow draft-ietf-httpapi-ratelimit-headers-10.
"""

import ipaddress
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass

from limits import RateLimitItem
from limits.aio.storage import MemoryStorage, RedisStorage
from limits.aio.strategies import MovingWindowRateLimiter
from limits.errors import StorageError
from redis.asyncio import Redis
from redis.exceptions import RedisError
from starlette.requests import HTTPConnection

from api.settings import Network
from api.telemetry import requests_limited

_POLICY = "requests"
_STRATEGY = "moving-window"  # part of each key, since the keys of another strategy have another type
_NETWORK_BITS = 64  # of an IPv6 address: one customer has a whole /64


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


def client_address(connection: HTTPConnection, trusted: Sequence[Network]) -> str:
    """Return the client's address: the right-most one that is not a trusted proxy's; the /64 network for IPv6."""
    client = _address(connection.client.host) if connection.client else None
    hops = ",".join(connection.headers.getlist("x-forwarded-for")).split(",")
    while client and hops and any(client in network for network in trusted):
        before = _address(hops.pop())
        if before is None:  # not an address: the trusted proxy before it is the last address we know
            break
        client = before
    if isinstance(client, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((client, _NETWORK_BITS), strict=False))
    return str(client)


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    text = text.strip()
    if text.count(":") == 1:  # some proxies add the port
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    return (address.version == 6 and address.ipv4_mapped) or address

"""The connection pool for Redis, with one retry and a circuit breaker for when Redis is down."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar
from typing import Any, Self, TypeVar

import redis.exceptions
from redis.asyncio import ConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import ReadOnlyError, RedisError
from redis.maint_notifications import MaintNotificationsConfig

from graph.breaker import Breaker, BreakerOpen
from graph.connection import check_authorities
from graph.errors import MemoryUnavailable, SettingsError
from graph.redis_check import find_trouble
from graph.redis_faults import FATAL, Faults, kind_of
from graph.redis_pool import RedisPool
from graph.redis_prefix import PrefixedRedis
from graph.settings import AgentSettings

_BREAKER_THRESHOLD = 1  # failed commands, each tried twice
_BREAKER_PAUSE = 2.0  # seconds

_guarded = ContextVar("_guarded", default=False)
_T = TypeVar("_T")


class GuardedRetry(Retry):
    """One retry, and a circuit breaker that all connections share: a Redis that is down delays one command only.

    A Redis that has become a read-only replica has a successor, often at the same address. So all connections are
    closed before the retry, also those that would read from it.
    """

    def __init__(self, faults: Faults, disconnect: Callable[[], Awaitable[None]]) -> None:
        super().__init__(
            NoBackoff(), 1, (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError, ReadOnlyError)
        )
        self._faults = faults
        self._why: str | None = None  # the kind of error that has opened the circuit breaker
        self._disconnect = disconnect
        self._breaker = Breaker("Redis", _is_down, threshold=_BREAKER_THRESHOLD, pause=_BREAKER_PAUSE)

    def __deepcopy__(self, memo: object) -> Self:
        return self  # redis-py copies it for each connection

    async def call_with_retry(
        self,
        do: Callable[[], Awaitable[_T]],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> _T:
        """Run the command, with one retry; raises ConnectionError at once while the circuit breaker is open."""
        if _guarded.get():  # a command that connects first: the outer call guards it
            return await super().call_with_retry(do, fail, is_retryable, with_failure_count)

        async def do_it() -> _T:
            try:
                return await do()
            except RuntimeError as error:  # uvloop, on a reset: findings/uvloop-reset.sh
                raise redis.exceptions.ConnectionError("reset") from error

        async def failed(error: Exception, *counted: int) -> None:
            if isinstance(error, ReadOnlyError):
                self._faults.note(error)
                await self._disconnect()
            await fail(error, *counted)

        token = _guarded.set(True)
        try:
            with self._breaker:
                return await super().call_with_retry(do_it, failed, is_retryable, with_failure_count)
        except RedisError as error:
            if not isinstance(error, ReadOnlyError):
                self._faults.note(error)
            if _is_down(error):
                self._why = kind_of(error)
            raise
        except BreakerOpen as error:
            raise redis.exceptions.ConnectionError("circuit breaker open", status_code=self._why) from error
        finally:
            _guarded.reset(token)


def _is_down(error: Exception) -> bool:
    return isinstance(error, redis.exceptions.ConnectionError | redis.exceptions.TimeoutError)


class WatchedRedis(PrefixedRedis):
    """A client that knows what Redis refuses."""

    def __init__(self, pool: ConnectionPool, prefix: str, faults: Faults) -> None:
        super().__init__(pool, prefix)
        self.faults = faults


@asynccontextmanager
async def open_redis(settings: AgentSettings) -> AsyncGenerator[WatchedRedis]:
    """Open the connection pool; raises SettingsError where only another REDIS_URL helps: a refused login, a cluster.

    Any other trouble does not stop the start: it is logged, and Redis is used as soon as it is over.
    """
    if settings.redis_url is None:
        raise SettingsError("missing in the environment: REDIS_URL")
    faults = Faults()
    pool = _pool(settings.redis_url.get_secret_value(), settings, faults)
    redis = WatchedRedis(pool, settings.redis_prefix, faults)
    try:
        trouble = await find_trouble(redis, faults)
        if trouble and trouble.kind == "certificate":
            check_authorities()
        if trouble and trouble.kind in FATAL:
            raise SettingsError(f"REDIS_URL: Redis {trouble.reason}; {trouble.remedy}")
        yield redis
    finally:
        await redis.aclose()
        await pool.disconnect()


def _pool(url: str, settings: AgentSettings, faults: Faults) -> RedisPool:
    """Return the pool; raises SettingsError where an option in the URL is unknown or has a bad value."""
    try:
        pool = RedisPool.from_url(
            url,
            max_connections=settings.redis_connections,
            socket_connect_timeout=settings.redis_timeout,
            socket_timeout=settings.redis_timeout,
            retry=GuardedRetry(faults, lambda: _disconnect(pool)),
            maint_notifications_config=MaintNotificationsConfig(enabled=False),
        )
        pool.connection_kwargs.update(decode_responses=False, encoding="utf-8")  # whatever the URL says
        pool.make_connection()
    except (RedisError, TypeError, ValueError):
        raise SettingsError("REDIS_URL: has an option after the ? that is unknown, or has a bad value") from None
    return pool


async def _disconnect(pool: ConnectionPool) -> None:
    await pool.update_active_connections_for_reconnect()
    with suppress(RedisError, OSError):
        await pool.disconnect(inuse_connections=False)


@contextmanager
def memory_errors() -> Generator[None]:
    """Raise Redis' errors as MemoryUnavailable."""
    try:
        yield
    except RedisError as error:
        raise MemoryUnavailable(kind_of(error)) from error

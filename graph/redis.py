"""The connection pool for Redis, with one retry and a circuit breaker for when Redis is down."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Self, TypeVar

import redis.exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError

from graph.breaker import Breaker, BreakerOpen
from graph.errors import MemoryUnavailable, SettingsError
from graph.observe.metrics import redis_errors
from graph.settings import AgentSettings

_CONNECT_TIMEOUT = 0.25  # seconds
_TIMEOUT = 0.4  # seconds, of one attempt of two: a frozen Redis costs less than a second
_CONNECTIONS = 512
_BREAKER_THRESHOLD = 1  # failed commands, each tried twice
_BREAKER_PAUSE = 2.0  # seconds

_log = logging.getLogger(__name__)
_guarded = ContextVar("_guarded", default=False)
_T = TypeVar("_T")


class GuardedRetry(Retry):
    """One retry, and a circuit breaker that all connections share: a Redis that is down delays one command only."""

    def __init__(self) -> None:
        super().__init__(NoBackoff(), 1)
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

        token = _guarded.set(True)
        try:
            with self._breaker:
                return await super().call_with_retry(do_it, fail, is_retryable, with_failure_count)
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
            redis_errors.add(1)
            raise
        except BreakerOpen as error:
            raise redis.exceptions.ConnectionError("circuit breaker open") from error
        finally:
            _guarded.reset(token)


def _is_down(error: Exception) -> bool:
    return isinstance(error, redis.exceptions.ConnectionError | redis.exceptions.TimeoutError)


@asynccontextmanager
async def open_redis(settings: AgentSettings) -> AsyncGenerator[Redis]:
    """Open the connection pool; raises SettingsError when Redis refuses the login.

    A Redis that can't be reached does not stop the start: it is used as soon as it answers.
    """
    if settings.redis_url is None:
        raise SettingsError("missing in the environment: REDIS_URL")
    pool = BlockingConnectionPool.from_url(
        settings.redis_url.get_secret_value(),
        max_connections=_CONNECTIONS,
        timeout=_TIMEOUT,
        socket_connect_timeout=_CONNECT_TIMEOUT,
        socket_timeout=_TIMEOUT,
        retry=GuardedRetry(),
    )
    redis = Redis(connection_pool=pool)
    try:
        await _log_in(redis)
        yield redis
    finally:
        await redis.aclose()
        await pool.disconnect()


async def _log_in(redis: Redis) -> None:
    try:
        await redis.ping()
    except AuthenticationError as error:
        raise SettingsError("REDIS_URL: Redis refused the login") from error
    except RedisError as error:
        _log.warning(
            "REDIS_URL: Redis can't be reached (%s); sessions are unavailable until it can", type(error).__name__
        )


@contextmanager
def memory_errors() -> Generator[None]:
    """Raise Redis' errors as MemoryUnavailable."""
    try:
        yield
    except RedisError as error:
        raise MemoryUnavailable(type(error).__name__) from error

"""The connections to Redis that all share, and what becomes of them while it is away."""

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from typing import Any, Self, TypeVar, cast

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
_BREAKER_THRESHOLD = 1  # commands, each tried twice
_BREAKER_PAUSE = 2.0  # seconds
_COMMANDS = {"JSON.SET": "RedisJSON", "FT.CREATE": "RediSearch"}

_log = logging.getLogger(__name__)
_guarded = ContextVar("_guarded", default=False)
_T = TypeVar("_T")


class GuardedRetry(Retry):
    """One retry, and a breaker that all connections share: a Redis that is away costs one command's waiting."""

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
        """Do it once or twice; raises ConnectionError without trying while the breaker is open."""
        if _guarded.get():  # a command that has to connect first
            return await super().call_with_retry(do, fail, is_retryable, with_failure_count)

        async def do_it() -> _T:
            try:
                return await do()
            except RuntimeError as error:  # uvloop's word for a connection that was reset
                raise redis.exceptions.ConnectionError("reset") from error

        token = _guarded.set(True)
        try:
            with self._breaker:
                return await super().call_with_retry(do_it, fail, is_retryable, with_failure_count)
        except (redis.exceptions.ConnectionError, redis.exceptions.TimeoutError):
            redis_errors.add(1)
            raise
        except BreakerOpen as error:
            raise redis.exceptions.ConnectionError("left alone for now") from error
        finally:
            _guarded.reset(token)


def _is_down(error: Exception) -> bool:
    return isinstance(error, redis.exceptions.ConnectionError | redis.exceptions.TimeoutError)


@asynccontextmanager
async def open_redis(settings: AgentSettings) -> AsyncGenerator[Redis]:
    """Make the pool of connections that all share; raises SettingsError where that Redis lacks a module.

    A Redis that can't be reached does not stop the start: it is used as soon as it is there.
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
        await _check_modules(redis)
        yield redis
    finally:
        await redis.aclose()
        await pool.disconnect()


async def missing_modules(redis: Redis) -> list[str]:
    """Return the modules that this Redis lacks; raises RedisError."""
    known = cast("list[object]", await redis.execute_command("COMMAND INFO", *_COMMANDS))
    return [module for module, command in zip(_COMMANDS.values(), known, strict=True) if command is None]


async def _check_modules(redis: Redis) -> None:
    try:
        missing = await missing_modules(redis)
    except AuthenticationError as error:
        raise SettingsError("REDIS_URL: Redis refused the login") from error
    except RedisError as error:
        _log.warning("REDIS_URL: Redis can't be reached (%s); conversations wait for it", type(error).__name__)
        return
    if missing:
        raise SettingsError(f"REDIS_URL: this Redis lacks {' and '.join(missing)}; Redis 8 has both, Redis Stack too")


@contextmanager
def memory_errors() -> Generator[None]:
    """Turn Redis' errors into MemoryUnavailable."""
    try:
        yield
    except RedisError as error:
        raise MemoryUnavailable(type(error).__name__) from error

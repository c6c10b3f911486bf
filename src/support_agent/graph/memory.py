"""Conversations in Redis: what a session remembers, and forgetting it."""

import hashlib
import logging
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any, cast

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.redis.ashallow import AsyncShallowRedisSaver
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, RedisError

from support_agent.graph.errors import MemoryUnavailable, SettingsError
from support_agent.graph.settings import AgentSettings

_CONNECT_TIMEOUT = 0.25  # seconds
_TIMEOUT = 0.4  # seconds, of one attempt of two: a frozen Redis costs less than a second
_CONNECTIONS = 512
_COMMANDS = {"JSON.SET": "RedisJSON", "FT.CREATE": "RediSearch"}

_log = logging.getLogger(__name__)


def thread_id(tenant: str, session_id: str) -> str:
    """Name the thread of a caller's session; the same session id of another caller is another thread."""
    return hashlib.sha256(f"{tenant}\0{session_id}".encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class History:
    """What a session remembers."""

    messages: tuple[AnyMessage, ...]
    expires_in: int
    """Seconds until it is forgotten, unless another turn comes."""


class TurnSaver(AsyncShallowRedisSaver):
    """Stores whole turns alone: a turn that failed or was cancelled leaves the session as it was."""

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store the session, once its last message is the answer."""
        messages: Sequence[AnyMessage] = checkpoint["channel_values"].get("messages", ())
        if messages and isinstance(messages[-1], AIMessage):
            return await super().aput(config, checkpoint, metadata, new_versions)
        return config

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store nothing: a turn is never resumed in its middle."""


class Memory:
    """The sessions; every method raises MemoryUnavailable where Redis can't be reached."""

    def __init__(self, redis: Redis, ttl: int) -> None:
        # In minutes; the excess keeps the saver's own rounding from taking a second off.
        self.checkpointer = TurnSaver(redis_client=redis, ttl={"default_ttl": ttl / 60 + 1e-6})
        self._redis = redis

    async def history(self, thread: str) -> History | None:
        """Return what the session remembers; None where there is no such session."""
        key = _key(thread)
        with memory_errors():
            found = await self.checkpointer.aget_tuple({"configurable": {"thread_id": thread}})
            expires_in = await self._redis.ttl(key)
        if found is None or expires_in < 0:
            return None
        return History(tuple(found.checkpoint["channel_values"]["messages"]), expires_in)

    async def forget(self, thread: str) -> bool:
        """Drop a session; return whether there was one."""
        with memory_errors():
            return await self._redis.delete(_key(thread)) > 0


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
        retry=Retry(NoBackoff(), 1),
    )
    redis = Redis(connection_pool=pool)
    try:
        await _check_modules(redis)
        yield redis
    finally:
        await redis.aclose()
        await pool.disconnect()


async def _check_modules(redis: Redis) -> None:
    try:
        known = cast("list[object]", await redis.execute_command("COMMAND INFO", *_COMMANDS))
    except AuthenticationError as error:
        raise SettingsError("REDIS_URL: Redis refused the login") from error
    except RedisError as error:
        _log.warning("REDIS_URL: Redis can't be reached (%s); conversations wait for it", type(error).__name__)
        return
    missing = [module for module, command in zip(_COMMANDS.values(), known, strict=True) if command is None]
    if missing:
        raise SettingsError(f"REDIS_URL: this Redis lacks {' and '.join(missing)}; Redis 8 has both, Redis Stack too")


@contextmanager
def memory_errors() -> Generator[None]:
    """Turn Redis' errors into MemoryUnavailable."""
    try:
        yield
    except RedisError as error:
        raise MemoryUnavailable(type(error).__name__) from error


def _key(thread: str) -> str:
    # The saver keeps all of a thread in one key, but has no public name for it; its own deletion needs an index.
    return AsyncShallowRedisSaver._make_shallow_redis_checkpoint_key(thread, "")  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]

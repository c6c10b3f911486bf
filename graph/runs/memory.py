"""Conversations in Redis: what a session remembers, and forgetting it."""

import hashlib
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata
from langgraph.checkpoint.redis.ashallow import AsyncShallowRedisSaver
from redis.asyncio import Redis

from graph.redis import memory_errors


def thread_id(tenant: str, session_id: str) -> str:
    """Name the thread of a caller's session; the same session id of another caller is another thread."""
    return hashlib.sha256(f"{tenant}\0{session_id}".encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class History:
    """What a session remembers."""

    messages: tuple[AnyMessage, ...]
    expires_in: int
    """Seconds until it is forgotten, unless another turn comes."""


def _always() -> bool:
    return True


may_store: ContextVar[Callable[[], bool]] = ContextVar("may_store", default=_always)
"""Asked by the saver before it stores a turn."""


class TurnSaver(AsyncShallowRedisSaver):
    """Stores whole turns alone: a turn that failed or was cancelled leaves the session as it was."""

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,
    ) -> RunnableConfig:
        """Store the session, once its last message is the answer and unless the turn was cancelled."""
        messages: Sequence[AnyMessage] = checkpoint["channel_values"].get("messages", ())
        if messages and isinstance(messages[-1], AIMessage) and may_store.get()():
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


def _key(thread: str) -> str:
    # The saver keeps all of a thread in one key, but has no public name for it; its own deletion needs an index.
    return AsyncShallowRedisSaver._make_shallow_redis_checkpoint_key(thread, "")  # noqa: SLF001  # pyright: ignore[reportPrivateUsage] - see above

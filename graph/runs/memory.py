"""Conversations in Redis: reading, storing and deleting what a session remembers."""

import hashlib
import logging
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, cast

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.base import ChannelVersions, Checkpoint, CheckpointMetadata, CheckpointTuple
from langgraph.checkpoint.redis.ashallow import AsyncShallowRedisSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from redis.asyncio import Redis

from graph.actions.standing import action_key, handoff_key, standing
from graph.redis import memory_errors

_FORMAT = "msgpack"  # what LangGraph's serializer calls the form of every checkpoint

# A full Redis runs this too, since a script that has deleted something may write. redis-py may send it twice.
_FORGET = """\
if redis.call('exists', KEYS[2]) == 1 then return -1 end
if redis.call('del', KEYS[1]) == 0 then return redis.call('get', KEYS[3]) == ARGV[1] and 1 or 0 end
redis.call('del', KEYS[4])
redis.call('set', KEYS[3], ARGV[1], 'EX', ARGV[2])
return 1"""
_REPEATED = 10  # seconds in which redis-py may repeat a command

_log = logging.getLogger(__name__)


def thread_id(tenant: str, session_id: str) -> str:
    """Return the thread of a tenant's session; two tenants with the same session id have different threads."""
    return hashlib.sha256(f"{tenant}\0{session_id}".encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class History:
    """What a session remembers."""

    messages: tuple[AnyMessage, ...]
    expires_in: int
    """Seconds until the session expires; another turn starts the time again."""


def _always() -> bool:
    return True


may_store: ContextVar[Callable[[], bool]] = ContextVar("may_store", default=_always)
"""Called by the saver before it stores a turn; False discards the turn."""


class TurnSaver(AsyncShallowRedisSaver):
    """Stores the latest state of a thread, after a whole turn, under one key that needs no Redis module.

    The saver that it extends keeps JSON documents with a search index (RedisJSON, RediSearch), but nobody searches
    conversations. This one serialises a checkpoint with LangGraph's msgpack serializer, restricted to the types that
    LangGraph knows to be safe; a turn costs one GET and one SET. A turn that failed or was cancelled is not stored.
    JSON would change some values: findings/langgraph-redis-values.sh.
    """

    def __init__(self, redis: Redis, ttl: int) -> None:
        super().__init__(redis_client=redis)
        self.serde = JsonPlusSerializer(allowed_msgpack_modules=None)
        self._seconds = ttl

    def create_indexes(self) -> None:
        """Create none."""

    async def asetup(self) -> None:
        """Do nothing: there is no index to create."""

    async def aget_tuple(self, config: RunnableConfig) -> CheckpointTuple | None:
        """Return the thread's state after its last whole turn; None where there is none, or it has expired."""
        thread = _thread(config)
        keys = [turn_key(thread), action_key(thread), handoff_key(thread)]
        stored, action, handoff = cast("list[bytes | None]", await self._redis.mget(keys))
        if now := standing.get():
            now.action, now.handoff = action, handoff
        return self.loaded(thread, stored)

    def loaded(self, thread: str, stored: bytes | None) -> CheckpointTuple | None:
        """Return the state that the value of a thread's key stands for; None where it is none that we have stored."""
        if stored is None:
            return None
        try:
            checkpoint, metadata = self.serde.loads_typed((_FORMAT, stored))
            config = _config(thread, checkpoint)
            _ = checkpoint["channel_values"]["messages"]
        except (KeyError, TypeError, ValueError):
            _log.warning("the conversation in %s can't be read, and starts again with its next turn", turn_key(thread))
            return None
        return CheckpointTuple(config, checkpoint, metadata, None, [])

    async def aput(
        self,
        config: RunnableConfig,
        checkpoint: Checkpoint,
        metadata: CheckpointMetadata,
        new_versions: ChannelVersions,  # noqa: ARG002 - the base class's signature
    ) -> RunnableConfig:
        """Store the session if its last message is the answer, unless the turn was cancelled."""
        messages: Sequence[AnyMessage] = checkpoint["channel_values"].get("messages", ())
        if not (messages and isinstance(messages[-1], AIMessage) and may_store.get()()):
            return config
        thread = _thread(config)
        _, stored = self.serde.dumps_typed((checkpoint, metadata))
        now = standing.get()
        if now is None or not now.writes:
            await self._redis.set(turn_key(thread), stored, ex=self._seconds)
            return _config(thread, checkpoint)
        pipe = self._redis.pipeline(transaction=True)
        pipe.set(turn_key(thread), stored, ex=self._seconds)
        for key, write in now.writes.items():
            if write.seconds:
                pipe.set(key, write.value, ex=write.seconds, nx=write.is_new)
            else:
                pipe.delete(key)
        await pipe.execute()
        return _config(thread, checkpoint)

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store nothing: a turn is never resumed half-way."""

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete the thread's state."""
        await self._redis.delete(turn_key(thread_id))


class Memory:
    """The sessions; every method raises MemoryUnavailable when Redis can't be reached."""

    def __init__(self, redis: Redis, ttl: int) -> None:
        self.checkpointer = TurnSaver(redis, ttl)
        self._redis = redis
        self._forget = redis.register_script(_FORGET)

    async def history(self, thread: str) -> History | None:
        """Return what the session remembers; None where there is no such session."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.get(turn_key(thread))
        pipe.ttl(turn_key(thread))
        with memory_errors():
            stored, expires_in = await pipe.execute()
        found = self.checkpointer.loaded(thread, stored)
        if found is None or expires_in < 0:
            return None
        return History(tuple(found.checkpoint["channel_values"]["messages"]), expires_in)

    async def forget(self, thread: str, token: str) -> bool | None:
        """Delete a session and what can be confirmed in it; return whether there was one, or None while it has a turn.

        A repeated call with the same `token` returns what the first has returned.
        """
        keys = [turn_key(thread), lock_name(thread), f"session:{thread}:forgotten", action_key(thread)]
        with memory_errors():
            deleted = await self._forget(keys=keys, args=[token, _REPEATED])
        return None if deleted < 0 else deleted > 0


def turn_key(thread: str) -> str:
    """Return the Redis key of a thread's state. Earlier releases kept JSON documents under `checkpoint:…`."""
    return f"turn:{thread}"


def lock_name(thread: str) -> str:
    """Return the Redis key of the lock that a thread's turn holds."""
    return f"session:{thread}:lock"


def _thread(config: RunnableConfig) -> str:
    return config.get("configurable", {})["thread_id"]


def _config(thread: str, checkpoint: Checkpoint) -> RunnableConfig:
    return {"configurable": {"thread_id": thread, "checkpoint_ns": "", "checkpoint_id": checkpoint["id"]}}

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

from graph.actions.handoffs import DUE, Handoffs, events_key
from graph.actions.standing import action_key, handoff_key, standing
from graph.redis import memory_errors

_FORMAT = "msgpack"  # what LangGraph's serializer calls the form of every checkpoint

# A full Redis runs this too, since a script that has deleted something may write. redis-py may send it twice.
_FORGET = """\
if redis.call('exists', KEYS[2]) == 1 then return -1 end
redis.call('del', KEYS[4])
for i = 7, #KEYS do
  redis.call('del', KEYS[i])
  redis.call('zrem', KEYS[6], KEYS[i])
end
if redis.call('del', KEYS[1]) == 0 then return redis.call('get', KEYS[3]) == ARGV[1] and 1 or 0 end
redis.call('del', KEYS[5])
redis.call('set', KEYS[3], ARGV[1], 'EX', ARGV[2])
return 1"""
_REPEATED = 10  # seconds in which redis-py may repeat a command

_log = logging.getLogger(__name__)


def thread_id(owner: str, session_id: str) -> str:
    """Return the thread of an owner's session; two owners with the same session id have different threads."""
    return hashlib.sha256(f"{owner}\0{session_id}".encode()).hexdigest()[:32]


@dataclass(frozen=True, slots=True)
class History:
    """What a session remembers."""

    messages: tuple[AnyMessage, ...]
    expires_in: int
    """Seconds until the session expires; another turn starts the time again."""
    checkpoint_id: str = ""
    """LangGraph's id of the state that is remembered."""


@dataclass(frozen=True, slots=True)
class State:
    """What a session's newest checkpoint holds."""

    id: str
    created_at: str
    """ISO 8601 in UTC."""
    source: str
    """What has written it: `loop` for a turn, `update` for a client."""
    step: int
    messages: tuple[AnyMessage, ...]


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

    def __init__(self, redis: Redis, ttl: int, handoffs: Handoffs) -> None:
        super().__init__(redis_client=redis)
        self.handoffs = handoffs
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
        """Store the session if the turn is whole, unless it was cancelled, and what the turn passes on with it."""
        messages: Sequence[AnyMessage] = checkpoint["channel_values"].get("messages", ())
        now = standing.get()
        passing = now.passing if now else None
        is_whole = messages and (passing or isinstance(messages[-1], AIMessage))
        if not (is_whole and may_store.get()()):
            return config
        thread = _thread(config)
        _, stored = self.serde.dumps_typed((checkpoint, metadata))
        now = standing.get()
        writes = now.writes if now else {}
        if passing:
            await self.handoffs.store(turn_key(thread), stored, passing)
        elif not writes:
            await self._redis.set(turn_key(thread), stored, ex=self._seconds)
        if not writes:
            return _config(thread, checkpoint)
        pipe = self._redis.pipeline(transaction=True)
        if not passing:
            pipe.set(turn_key(thread), stored, ex=self._seconds)
        for key, write in writes.items():
            if write.seconds:
                pipe.set(key, write.value, ex=write.seconds, nx=write.is_new)
            else:
                pipe.delete(key)
        await pipe.execute()
        return _config(thread, checkpoint)

    def appended(self, thread: str, stored: bytes | None, message: AnyMessage, most: int) -> bytes | None:
        """Return the value of a thread's key with one message more, and at most `most`; None without a conversation."""
        found = self.loaded(thread, stored)
        if found is None:
            return None
        values = found.checkpoint["channel_values"]
        values["messages"] = [*values["messages"], message][-most:]
        return self.serde.dumps_typed((found.checkpoint, found.metadata))[1]

    async def aput_writes(
        self, config: RunnableConfig, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Store nothing: a turn is never resumed half-way."""

    async def adelete_thread(self, thread_id: str) -> None:
        """Delete the thread's state."""
        await self._redis.delete(turn_key(thread_id))


class Memory:
    """The sessions; every method raises MemoryUnavailable when Redis can't be reached."""

    def __init__(self, redis: Redis, ttl: int, handoffs: Handoffs) -> None:
        self.checkpointer = TurnSaver(redis, ttl, handoffs)
        self._redis = redis
        self._ttl = ttl
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
        messages = tuple(found.checkpoint["channel_values"]["messages"])
        return History(messages, expires_in, found.checkpoint["id"])

    async def messages(self, thread: str) -> Sequence[AnyMessage]:
        """Return the session's messages; none where there is no such session."""
        history = await self.history(thread)
        return history.messages if history else ()

    async def states(self, threads: Sequence[str]) -> list[State | None]:
        """Return the newest state of each thread; None where there is no such session."""
        if not threads:
            return []
        with memory_errors():
            stored = cast("list[bytes | None]", await self._redis.mget([turn_key(thread) for thread in threads]))
        return [_state(self.checkpointer.loaded(thread, one)) for thread, one in zip(threads, stored, strict=True)]

    async def is_there(self, thread: str) -> bool:
        """Return whether there is such a session."""
        with memory_errors():
            return bool(await self._redis.exists(turn_key(thread)))

    async def with_message(self, thread: str, message: AnyMessage, most: int) -> bytes | None:
        """Return a session with one message more, as it is to be stored; None where there is no such session."""
        with memory_errors():
            stored = cast("bytes | None", await self._redis.get(turn_key(thread)))
        return self.checkpointer.appended(thread, stored, message, most)

    async def add(self, thread: str, message: AnyMessage, most: int) -> None:
        """Store a session, if there is one, with one message more; it lives on as after a turn, or longer."""
        turn = await self.with_message(thread, message, most)
        if turn is None:
            return
        pipe = self._redis.pipeline(transaction=True)
        pipe.set(turn_key(thread), turn, xx=True, keepttl=True)
        pipe.expire(turn_key(thread), self._ttl, gt=True)
        with memory_errors():
            await pipe.execute()

    async def forget(self, thread: str, token: str) -> bool | None:
        """Delete a session and what can be confirmed in it; return whether there was one, or None while it has a turn.

        What the team has not got yet of its hand-overs goes too, and those that have ended.
        A repeated call with the same `token` returns what the first has returned.
        """
        forgotten = f"session:{thread}:forgotten"
        keys = [turn_key(thread), lock_name(thread), forgotten, events_key(thread), action_key(thread), DUE]
        keys += await self.checkpointer.handoffs.unsent(thread)
        with memory_errors():
            deleted = await self._forget(keys=keys, args=[token, _REPEATED])
        return None if deleted < 0 else deleted > 0


def _state(found: CheckpointTuple | None) -> State | None:
    if found is None:
        return None
    checkpoint, metadata = found.checkpoint, found.metadata
    messages = tuple(checkpoint["channel_values"]["messages"])
    return State(checkpoint["id"], checkpoint["ts"], metadata.get("source", "loop"), metadata.get("step", 0), messages)


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

"""Threads: an index of the sessions, by which the LangGraph API finds, lists and describes them.

`thread:<id>` is a hash whose fields begin with the tenant, so that no tenant meets another's thread of the same id:
`<tenant>/session` says which session it is, `<tenant>/turn` how its last turn went, and `<tenant>/metadata:<key>` has
what clients have added. `thread:<id>:runs` has the ids of its last runs. `threads:of:<tenant>` lists a tenant's
threads by the time of their last turn, and `threads:all` everybody's, for the operator. All keys expire with the
sessions. Nothing of this is written where the LangGraph API is off.
"""

import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal, cast

from pydantic import TypeAdapter
from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from graph.events import Event, Source
from graph.redis import memory_errors
from graph.state import AgentContext

RUNS_KEPT = 20
"""How many of a thread's runs can be listed."""

_NAMESPACE = uuid.UUID("b0d0bd6f-60d3-4e62-8b3a-8f6d63b0b2b7")
_PAGE = 100  # threads that are read at a time
_ALL = "threads:all"

ThreadStatus = Literal["idle", "busy", "interrupted", "error"]


@dataclass(frozen=True, slots=True)
class _Session:
    """Which session a thread is; it never changes."""

    session_id: str
    visitor: str | None
    created_at: str
    token: str
    """Tells a repeated command from another thread of the same id."""


@dataclass(frozen=True, slots=True)
class _LastTurn:
    """How a thread's last turn went, or goes."""

    updated_at: str
    expires_at: float
    status: ThreadStatus = "idle"
    run_id: str | None = None
    category: str | None = None
    sources: tuple[Source, ...] = ()


@dataclass(frozen=True, slots=True)
class Thread:
    """A session as the LangGraph API sees it."""

    id: str
    """A UUID."""
    tenant: str
    session_id: str
    visitor: str | None
    """The visitor whose session it is; None if it is the tenant's own."""
    created_at: str
    """ISO 8601 in UTC."""
    updated_at: str
    """When its last turn began or ended: ISO 8601 in UTC."""
    status: ThreadStatus = "idle"
    category: str | None = None
    """That of its last whole turn."""
    sources: tuple[Source, ...] = ()
    """Those of its last whole turn."""
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What clients have added."""

    @property
    def owner(self) -> str:
        """Whose session it is."""
        return self.context().owner

    def context(self, customer_id: str | None = None) -> AgentContext:
        """Return the context of a run in it."""
        return AgentContext(self.tenant, customer_id, self.visitor)


_session_json = TypeAdapter(_Session)
_turn_json = TypeAdapter(_LastTurn)
_any_json = TypeAdapter[Any](Any)


def thread_of(session_id: str, context: AgentContext) -> str:
    """Return the id of a session's thread: the session's own if that is a UUID which the tenant has chosen."""
    if context.visitor is None and (own := as_uuid(session_id)):
        return own
    return str(uuid.uuid5(_NAMESPACE, f"{context.owner}\0{session_id}"))


def as_uuid(text: str) -> str | None:
    """Return a UUID in its usual form; None if `text` is none, with or without hyphens."""
    try:
        found = uuid.UUID(text)
    except ValueError:
        return None
    return str(found) if text.lower() in (str(found), found.hex) else None


class Threads:
    """The threads; every method raises MemoryUnavailable if Redis can't be reached.

    `tenant` is the caller's, or None for those who may see those of all tenants.
    """

    def __init__(self, redis: Redis, ttl: int, longest: float) -> None:
        self._redis = redis
        self._ttl = ttl
        self._kept = ttl + int(2 * longest) + 1  # seconds: a turn may wait as long as it may take

    async def create(self, thread_id: str, tenant: str, metadata: Mapping[str, Any]) -> Thread | None:
        """Create a tenant's thread without a turn, for the session of the same id; None if there is such a thread."""
        made = _Session(thread_id, None, now(), uuid.uuid4().hex)
        turn = _LastTurn(made.created_at, time.time() + self._ttl)
        pipe = self._redis.pipeline(transaction=True)
        pipe.hsetnx(_key(thread_id), f"{tenant}/session", _session_json.dump_json(made))
        pipe.hget(_key(thread_id), f"{tenant}/session")
        with memory_errors():
            stored = cast("bytes", (await pipe.execute())[1])
        if _session_json.validate_json(stored).token != made.token:
            return None
        pipe = self._redis.pipeline(transaction=True)
        pipe.hset(_key(thread_id), f"{tenant}/turn", _turn_json.dump_json(turn).decode())
        _add_metadata(pipe, thread_id, tenant, metadata)
        self._list(pipe, thread_id, tenant)
        with memory_errors():
            await pipe.execute()
        return await self.find(thread_id, tenant)

    async def find(self, thread_id: str, tenant: str | None) -> Thread | None:
        """Return a thread; None if the tenant has none of this id. Of several tenants' the operator gets the latest."""
        with memory_errors():
            stored = cast("dict[bytes, bytes]", await self._redis.hgetall(_key(thread_id)))  # pyright: ignore[reportGeneralTypeIssues]
        found = _threads(thread_id, stored, tenant)
        return (await self._checked(found))[0] if found else None

    async def all(self, tenant: str | None) -> AsyncIterator[Thread]:
        """Yield the threads, those with the latest turn first."""
        index = _ALL if tenant is None else _index(tenant)
        begin = 0
        while True:
            with memory_errors():
                page = cast(
                    "list[bytes]",
                    await self._redis.zrange(index, begin, begin + _PAGE - 1, desc=True),
                )
            pipe = self._redis.pipeline(transaction=False)
            names = [name.decode().split(" ", 1) for name in page]
            for thread_id, _ in names:
                pipe.hgetall(_key(thread_id))
            with memory_errors():
                stored = await pipe.execute()
            found = [_threads(name, kept, of)[:1] for (name, of), kept in zip(names, stored, strict=True)]
            gone = [name for name, threads in zip(page, found, strict=True) if not threads]
            if gone:
                with memory_errors():
                    await self._redis.zrem(index, *gone)
            for thread in await self._checked([thread for threads in found for thread in threads]):
                yield thread
            if len(page) < _PAGE:
                return
            begin += _PAGE - len(gone)

    async def add_metadata(self, thread: Thread, metadata: Mapping[str, Any]) -> None:
        """Add to a thread's metadata; keys that it has are replaced."""
        pipe = self._redis.pipeline(transaction=True)
        _add_metadata(pipe, thread.id, thread.tenant, metadata)
        pipe.expire(_key(thread.id), self._kept)
        with memory_errors():
            await pipe.execute()

    async def forget(self, thread: Thread) -> None:
        """Delete a thread from the index; its session is deleted elsewhere."""
        with memory_errors():
            fields = cast("list[bytes]", await self._redis.hkeys(_key(thread.id)))  # pyright: ignore[reportGeneralTypeIssues]
        own = [name for name in fields if name.startswith(f"{thread.tenant}/".encode())]
        pipe = self._redis.pipeline(transaction=True)
        if own:
            pipe.hdel(_key(thread.id), *own)
        pipe.delete(_runs(thread.id, thread.tenant))
        for index in (_ALL, _index(thread.tenant)):
            pipe.zrem(index, _name(thread.id, thread.tenant))
        with memory_errors():
            await pipe.execute()

    async def runs(self, thread: Thread) -> list[str]:
        """Return the ids of a thread's last runs, the latest first."""
        with memory_errors():
            found = cast("list[bytes]", await self._redis.zrange(_runs(thread.id, thread.tenant), 0, -1, desc=True))
        return [run_id.decode() for run_id in found]

    async def begun(self, run_id: str, session_id: str, context: AgentContext) -> None:
        """Record that a turn has begun, or waits for its session."""
        raise NotImplementedError

    async def ended(self, run_id: str, session_id: str, context: AgentContext, events: Sequence[Event]) -> None:
        """Record how a turn has ended, by its events."""
        raise NotImplementedError

    def _list(self, pipe: Pipeline, thread_id: str, tenant: str) -> None:
        """Put a thread at the top of the indexes, and leave out what has expired."""
        pipe.expire(_key(thread_id), self._kept)
        for index in (_ALL, _index(tenant)):
            pipe.zadd(index, {_name(thread_id, tenant): time.time()})
            pipe.zremrangebyscore(index, "-inf", time.time() - self._kept)
            pipe.expire(index, self._kept)

    async def _checked(self, threads: Sequence[Thread]) -> list[Thread]:
        return list(threads)


def now() -> str:
    """Return the time: ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat()


def _threads(thread_id: str, stored: Mapping[bytes, bytes], tenant: str | None) -> list[Thread]:
    """Return the tenants' threads of this id, the latest first."""
    tenants = {name.decode().partition("/")[0] for name in stored} if tenant is None else {tenant}
    found = [thread for one in tenants if (thread := _thread(thread_id, stored, one))]
    return sorted(found, key=lambda thread: thread.updated_at, reverse=True)


def _thread(thread_id: str, stored: Mapping[bytes, bytes], tenant: str) -> Thread | None:
    session, turn = (stored.get(f"{tenant}/{name}".encode()) for name in ("session", "turn"))
    if session is None or turn is None:
        return None
    made, last = _session_json.validate_json(session), _turn_json.validate_json(turn)
    if last.expires_at < time.time():
        return None
    begin = f"{tenant}/metadata:"
    metadata = {
        name.decode().removeprefix(begin): _any_json.validate_json(value)
        for name, value in stored.items()
        if name.startswith(begin.encode())
    }
    return Thread(
        thread_id,
        tenant,
        made.session_id,
        made.visitor,
        made.created_at,
        last.updated_at,
        last.status,
        last.category,
        last.sources,
        metadata,
    )


def _add_metadata(pipe: Pipeline, thread_id: str, tenant: str, metadata: Mapping[str, Any]) -> None:
    for key, value in metadata.items():
        pipe.hset(_key(thread_id), f"{tenant}/metadata:{key}", _any_json.dump_json(value).decode())


def _key(thread_id: str) -> str:
    return f"thread:{thread_id}"


def _runs(thread_id: str, tenant: str) -> str:
    return f"thread:{thread_id}:runs:{tenant}"


def _index(tenant: str) -> str:
    return f"threads:of:{tenant}"


def _name(thread_id: str, tenant: str) -> str:
    """Return what stands for a thread in an index."""
    return f"{thread_id} {tenant}"

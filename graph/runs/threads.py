"""Threads: an index of the sessions, by which the LangGraph API finds, lists and describes them.

`thread:<id>` is a hash whose fields begin with the tenant, so that no tenant meets another's thread of the same id:
`<tenant>/session` says which session it is, `<tenant>/turn` how its last turn went, `<tenant>/answer` what its last
whole turn was about, `<tenant>/metadata:<key>` has what clients have added, and `<tenant>/changed` when.
`thread:<id>:runs:<tenant>` has the ids of its last runs. `threads:of:<tenant>` lists a tenant's threads by the time of
their last change, and `threads:all` everybody's, for the operator. All keys expire with the sessions. Nothing of this
is written where the LangGraph API is off.
"""

import time
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from graph.errors import Interrupted
from graph.events import Done, Ending
from graph.redis import memory_errors
from graph.runs.log import alive_key, log_key
from graph.runs.records import RunRecord, record_json, record_key
from graph.runs.thread import (
    LastTurn,
    Thread,
    ThreadSession,
    ThreadStatus,
    answer_json,
    any_json,
    error_after,
    now,
    session_json,
    thread_of,
    threads_in,
    turn_json,
)
from graph.state import AgentContext

RUNS_LISTED = 20
"""How many of a thread's runs can be listed; the others are known until their records expire."""

READ_AGAIN = 60
"""Seconds in which the client of a run without a thread can still read it."""

_PAGE = 100  # threads that are read at a time
_ALL = "threads:all"
_DROP = """\
if redis.call('hget', KEYS[1], ARGV[1]) == ARGV[2] then redis.call('hdel', KEYS[1], unpack(ARGV, 3)) end"""


class Threads:
    """The threads; every method raises MemoryUnavailable if Redis can't be reached.

    `tenant` is the caller's, or None for those who may see those of all tenants.
    """

    def __init__(self, redis: Redis, ttl: int, longest: float) -> None:
        self._redis = redis
        self._ttl = ttl
        self._drop = redis.register_script(_DROP)
        self._kept = ttl + int(2 * longest) + 1  # seconds: a turn may wait as long as it may take

    async def create(self, thread_id: str, tenant: str, metadata: Mapping[str, Any]) -> Thread | None:
        """Create a tenant's thread without a turn, for the session of the same id; None if there is such a thread."""
        made = ThreadSession(thread_id, None, now(), uuid.uuid4().hex)
        if await self._taken_by(made, tenant) != made.token:
            await self._drop_expired(thread_id, tenant)
            if await self._taken_by(made, tenant) != made.token:
                return None
        pipe = self._redis.pipeline(transaction=True)
        _add_metadata(pipe, thread_id, tenant, metadata)
        self._list(pipe, thread_id, tenant)
        with memory_errors():
            await pipe.execute()
        return await self.find(thread_id, tenant)

    async def _taken_by(self, made: ThreadSession, tenant: str) -> str:
        """Take an id for a new thread unless the tenant has one of this id; return the token of the one that has it."""
        key, turn = _key(made.session_id), LastTurn(made.created_at, time.time() + self._ttl)
        pipe = self._redis.pipeline(transaction=True)
        pipe.hsetnx(key, f"{tenant}/session", session_json.dump_json(made))
        pipe.hsetnx(key, f"{tenant}/turn", turn_json.dump_json(turn))
        pipe.hget(key, f"{tenant}/session")
        pipe.expire(key, self._kept)
        with memory_errors():
            stored = cast("bytes", (await pipe.execute())[2])
        return session_json.validate_json(stored).token

    async def _drop_expired(self, thread_id: str, tenant: str) -> None:
        """Delete what is left of a tenant's thread that has expired, unless a turn begins in it meanwhile."""
        with memory_errors():
            stored = cast("dict[bytes, bytes]", await self._redis.hgetall(_key(thread_id)))  # pyright: ignore[reportGeneralTypeIssues]
            own = [name for name in stored if name.startswith(f"{tenant}/".encode())]
            if own and not threads_in(thread_id, stored, tenant):
                turn = f"{tenant}/turn"
                await self._drop([_key(thread_id)], [turn, stored.get(turn.encode(), b""), *own])

    async def find(self, thread_id: str, tenant: str | None) -> Thread | None:
        """Return a thread; None if the tenant has none of this id. Of several tenants' the operator gets the latest."""
        with memory_errors():
            stored = cast("dict[bytes, bytes]", await self._redis.hgetall(_key(thread_id)))  # pyright: ignore[reportGeneralTypeIssues]
        found = threads_in(thread_id, stored, tenant)
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
            found = [threads_in(name, kept, of)[:1] for (name, of), kept in zip(names, stored, strict=True)]
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
        """Add to a thread's metadata; keys that it has are replaced. It lives no longer for that."""
        pipe = self._redis.pipeline(transaction=True)
        _add_metadata(pipe, thread.id, thread.tenant, metadata)
        pipe.hset(_key(thread.id), f"{thread.tenant}/changed", now())
        pipe.expire(_key(thread.id), self._kept, nx=True)  # it may have been deleted meanwhile
        for index in (_ALL, _index(thread.tenant)):
            pipe.zadd(index, {_name(thread.id, thread.tenant): time.time()}, xx=True)
        with memory_errors():
            await pipe.execute()

    async def forget(self, thread: Thread) -> None:
        """Delete a thread from the index, and its runs with their logs; its session is deleted elsewhere."""
        with memory_errors():
            stored = cast("dict[bytes, bytes]", await self._redis.hgetall(_key(thread.id)))  # pyright: ignore[reportGeneralTypeIssues]
        own = [name for name in stored if name.startswith(f"{thread.tenant}/".encode())]
        pipe = self._redis.pipeline(transaction=True)
        if own:
            pipe.hdel(_key(thread.id), *own)
        runs = await self.runs(thread, most=None)
        kept = [key for run_id in runs for key in (record_key(run_id), log_key(run_id))]
        pipe.delete(_runs(thread.id, thread.tenant), *kept)
        for index in (_ALL, _index(thread.tenant)):
            pipe.zrem(index, _name(thread.id, thread.tenant))
        with memory_errors():
            await pipe.execute()

    async def forget_session(self, session_id: str, owner: str) -> None:
        """Delete the thread of a session that has been deleted."""
        tenant, _, visitor = owner.partition("/")
        name = thread_of(session_id, AgentContext(tenant, visitor=visitor or None))
        if thread := await self.find(name, tenant):
            await self.forget(thread)

    async def forget_run(self, record: RunRecord) -> None:
        """Delete what is known of a run that has ended."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.delete(record_key(record.run_id), log_key(record.run_id))
        pipe.zrem(_runs(record.thread_id, record.tenant), record.run_id)
        with memory_errors():
            await pipe.execute()

    async def runs(self, thread: Thread, most: int | None = RUNS_LISTED) -> list[str]:
        """Return the ids of a thread's last runs, the latest first; with None, of all that are known."""
        key, last = _runs(thread.id, thread.tenant), -1 if most is None else most - 1
        with memory_errors():
            found = cast("list[bytes]", await self._redis.zrange(key, 0, last, desc=True))
        return [run_id.decode() for run_id in found]

    async def begin(self, record: RunRecord, session_id: str | None, context: AgentContext) -> None:
        """Record that a turn begins, or waits for its session if its record has no history yet.

        One that belongs to no session is described, but not listed.
        """
        pipe = self._redis.pipeline(transaction=True)
        pipe.set(record_key(record.run_id), record_json.dump_json(record).decode(), ex=self._kept)
        if session_id is not None:
            self._begin(pipe, record, session_id, context)
        with memory_errors():
            await pipe.execute()

    def _begin(self, pipe: Pipeline, record: RunRecord, session_id: str, context: AgentContext) -> None:
        thread, tenant = record.thread_id, record.tenant
        made = ThreadSession(session_id, context.visitor, record.created_at, record.run_id)
        pipe.hsetnx(_key(thread), f"{tenant}/session", session_json.dump_json(made).decode())
        pipe.zadd(_runs(thread, tenant), {record.run_id: time.time()}, nx=True)
        pipe.zremrangebyscore(_runs(thread, tenant), "-inf", time.time() - self._kept)  # their records have expired
        pipe.expire(_runs(thread, tenant), self._kept)
        if record.history is None:
            pipe.hsetnx(_key(thread), f"{tenant}/turn", self._turn("busy", record.run_id))
        else:
            pipe.hset(_key(thread), f"{tenant}/turn", self._turn("busy", record.run_id))
        self._list(pipe, thread, tenant)

    async def end(self, record: RunRecord, ending: Ending, *, is_kept: bool) -> None:
        """Record how a turn has ended."""
        ended = record_json.dump_json(replace(record, ended_at=now())).decode()
        pipe = self._redis.pipeline(transaction=True)
        pipe.set(record_key(record.run_id), ended, ex=self._ttl if is_kept else min(self._ttl, READ_AGAIN))
        if is_kept:
            self._end(pipe, record, ending)
        with memory_errors():
            await pipe.execute()

    def _end(self, pipe: Pipeline, record: RunRecord, ending: Ending) -> None:
        thread, tenant = record.thread_id, record.tenant
        error = error_after(ending)
        turn = self._turn("error" if error else "idle", record.run_id, error)
        pipe.hset(_key(thread), f"{tenant}/turn", turn)
        if isinstance(ending, Done):
            answer = answer_json.dump_json(replace(ending, answer="")).decode()
            pipe.hset(_key(thread), f"{tenant}/answer", answer)
        pipe.expire(_key(thread), self._kept)  # its place in the indexes is that of the turn's beginning

    async def touch(self, thread: Thread) -> None:
        """Record that a session was changed outside any turn."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.hset(_key(thread.id), f"{thread.tenant}/turn", self._turn("idle", thread.run_id))
        self._list(pipe, thread.id, thread.tenant)
        with memory_errors():
            await pipe.execute()

    def _turn(self, status: ThreadStatus, run_id: str | None, error: str | None = None) -> str:
        expires = time.time() + (self._kept if status == "busy" else self._ttl)
        return turn_json.dump_json(LastTurn(now(), expires, status, run_id, error)).decode()

    async def records(self, run_ids: Sequence[str]) -> list[RunRecord]:
        """Return the records of those of these runs that are still known."""
        if not run_ids:
            return []
        with memory_errors():
            stored = cast("list[bytes | None]", await self._redis.mget([record_key(run_id) for run_id in run_ids]))
        return [record_json.validate_json(value) for value in stored if value is not None]

    def _list(self, pipe: Pipeline, thread_id: str, tenant: str) -> None:
        """Put a thread at the top of the indexes, and leave out what has expired."""
        pipe.expire(_key(thread_id), self._kept)
        for index in (_ALL, _index(tenant)):
            pipe.zadd(index, {_name(thread_id, tenant): time.time()})
            pipe.zremrangebyscore(index, "-inf", time.time() - self._kept)
            pipe.expire(index, self._kept)

    async def _checked(self, threads: Sequence[Thread]) -> list[Thread]:
        """Return the threads; one whose replica is gone is not busy any more."""
        busy = [str(thread.run_id) for thread in threads if thread.status == "busy"]
        if not busy:
            return list(threads)
        with memory_errors():
            alive = cast("list[bytes | None]", await self._redis.mget([alive_key(run_id) for run_id in busy]))
        gone = {run_id for run_id, beat in zip(busy, alive, strict=True) if beat is None}
        return [
            replace(thread, status="error", error=Interrupted.code) if thread.run_id in gone else thread
            for thread in threads
        ]


def _add_metadata(pipe: Pipeline, thread_id: str, tenant: str, metadata: Mapping[str, Any]) -> None:
    for key, value in metadata.items():
        pipe.hset(_key(thread_id), f"{tenant}/metadata:{key}", any_json.dump_json(value).decode())


def _key(thread_id: str) -> str:
    return f"thread:{thread_id}"


def _runs(thread_id: str, tenant: str) -> str:
    return f"thread:{thread_id}:runs:{tenant}"


def _index(tenant: str) -> str:
    return f"threads:of:{tenant}"


def _name(thread_id: str, tenant: str) -> str:
    """Return what stands for a thread in an index."""
    return f"{thread_id} {tenant}"

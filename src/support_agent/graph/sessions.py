"""Sessions: one turn at a time in each, on whatever replica, and turns that any replica can follow or cancel."""

import asyncio
import contextlib
import hashlib
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from redis.exceptions import LockError, RedisError

from support_agent.graph.builder import AgentGraph
from support_agent.graph.errors import (
    Cancelled,
    IdempotencyMismatch,
    MemoryUnavailable,
    RunError,
    SessionBusy,
    ShuttingDown,
)
from support_agent.graph.events import Event
from support_agent.graph.memory import History, Memory, memory_errors, thread_id
from support_agent.graph.run_log import ALIVE, RunLog
from support_agent.graph.runs import Followed, Turn, end_runs
from support_agent.graph.settings import AgentSettings
from support_agent.graph.state import AgentContext

UNREAD = 10.0
"""Seconds after which a turn that nobody reads is cancelled."""

_BEAT = 0.25  # seconds between two looks at what other replicas want of our turns
_REFRESH = 3.0  # seconds between two renewals of what would expire under a turn
_RETRY = 0.05  # seconds between two attempts to take a session's lock


@dataclass(frozen=True, slots=True)
class LoggedRun:
    """A turn that another replica executes, or that has ended, read from its log."""

    id: str
    log: RunLog

    def follow(self, after: int = 0) -> AsyncIterator[tuple[int, Event]]:
        """Yield the events after the `after`-th, as they come, with their numbers; Done or Failed ends them."""
        return self.log.follow(self.id, after)


class Sessions:
    """The conversations; every method raises MemoryUnavailable where Redis can't be reached."""

    def __init__(self, redis: Redis, memory: Memory, graph: AgentGraph, settings: AgentSettings) -> None:
        self._redis = redis
        self._memory = memory
        self._graph = graph
        self._settings = settings
        self._log = RunLog(redis, settings.session_ttl)
        self._turns: dict[str, Turn] = {}
        self._queues: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._draining = False
        self._closed = asyncio.Event()

    async def chat(
        self, message: str, session_id: str | None, context: AgentContext, idempotency_key: str | None = None
    ) -> Followed:
        """Start a turn, or return the one that the same idempotency key has started.

        Without a session id the session is a new one. Raises SessionBusy while the session has a turn, unless
        SUPPORT_BUSY_SESSION is `wait`, IdempotencyMismatch where the key came with another message, and
        ShuttingDown while the service drains.
        """
        if self._draining:
            raise ShuttingDown
        turn = Turn(
            self._graph,
            message,
            context,
            self._settings.answer_timeout,
            session_id=session_id or uuid.uuid4().hex,
            log=self._log,
        )
        self._turns[turn.id] = turn
        claim = None
        try:
            if idempotency_key is not None:
                claim = _claim(context.tenant, idempotency_key)
                body = _digest(message, session_id, context.customer_id)
                if (earlier := await self._claim(claim, turn.id, body)) is not None:
                    del self._turns[turn.id]
                    return self._turns.get(earlier) or LoggedRun(earlier, self._log)
            lock = await self._take(turn.thread)
            await turn.begin(lock, lambda: self._turns.pop(turn.id, None))
        except BaseException as error:
            self._turns.pop(turn.id, None)
            turn.refuse(type(error) if isinstance(error, RunError) else Cancelled)
            if claim and not turn.began:
                with contextlib.suppress(RedisError):
                    await self._redis.delete(claim)
            raise
        return turn

    async def find(self, run_id: str, tenant: str) -> Followed | None:
        """Return the tenant's turn of this name; None where it has none."""
        turn = self._turns.get(run_id)
        if turn is not None and turn.began:
            return turn if turn.tenant == tenant else None
        return LoggedRun(run_id, self._log) if await self._log.owner(run_id) == tenant else None

    async def cancel(self, run_id: str, tenant: str) -> bool:
        """End the tenant's turn of this name, wherever it is executed; return whether there is one."""
        found = await self.find(run_id, tenant)
        if isinstance(found, Turn):
            found.cancel()
        elif found is not None:
            await self._log.cancel(run_id)
        return found is not None

    async def ping(self) -> None:
        """Find out whether Redis answers."""
        with memory_errors():
            await self._redis.ping()

    async def history(self, session_id: str, tenant: str) -> History | None:
        """Return what the tenant's session remembers; None where it has no such session."""
        return await self._memory.history(thread_id(tenant, session_id))

    async def forget(self, session_id: str, tenant: str) -> bool:
        """Drop the tenant's session; return whether there was one. Raises SessionBusy while it has a turn."""
        thread = thread_id(tenant, session_id)
        lock = await self._take(thread)
        try:
            return await self._memory.forget(thread)
        finally:
            with memory_errors(), contextlib.suppress(LockError):
                await lock.release()

    async def drain(self, seconds: float) -> None:
        """Start no more turns; end those that are not done after `seconds` with ShuttingDown."""
        self._draining = True
        await end_runs([turn for turn in self._turns.values() if turn.began], seconds)

    async def _claim(self, claim: str, run_id: str, body: str) -> str | None:
        """Take an idempotency key for this run; return the run that has it already, if any."""
        mine = json.dumps([run_id, body])
        pipe = self._redis.pipeline(transaction=True)
        self._log.keep_alive(pipe, run_id)  # before others can see it, so that none takes it for dead
        pipe.set(claim, mine, nx=True, get=True, ex=self._settings.session_ttl)
        with memory_errors():
            taken = (await pipe.execute())[1]
        if taken is None:
            return None
        earlier, its_body = json.loads(taken)
        if its_body != body:
            raise IdempotencyMismatch
        return earlier

    async def _take(self, thread: str) -> Lock:
        """Take the session's lock, in order of arrival on this replica."""
        lock = Lock(self._redis, f"session:{thread}:lock", timeout=ALIVE, thread_local=False)
        wait = self._settings.busy_session == "wait"
        with memory_errors():
            if not wait:
                if await lock.acquire(blocking=False):
                    return lock
                raise SessionBusy
            queue = self._queues.setdefault(thread, asyncio.Lock())
            give_up = time.monotonic() + self._settings.answer_timeout
            async with queue:
                while time.monotonic() < give_up:
                    if self._draining:
                        raise ShuttingDown
                    if await lock.acquire(blocking=False):
                        return lock
                    await asyncio.sleep(_RETRY)
        raise SessionBusy

    def close(self) -> None:
        """Let `keep` end."""
        self._closed.set()

    async def keep(self) -> None:
        """Keep our turns alive, and end those that are cancelled elsewhere or that nobody reads."""
        refreshed = 0.0
        while not self._closed.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_BEAT):
                    await self._closed.wait()
            turns = dict(self._turns)
            now = time.monotonic()
            refresh = now - refreshed >= _REFRESH
            if not turns:
                continue
            try:
                states = await self._log.beat(turns, refresh=refresh)
                if refresh:
                    refreshed = now
                    await asyncio.gather(*(turn.renew() for turn in turns.values()))
            except MemoryUnavailable:
                continue  # a turn that can't be stored will say so itself
            for run_id, (cancelled, read_elsewhere) in states.items():
                turn = turns[run_id]
                if read_elsewhere:
                    turn.unread_since = now
                unread = turn.readers == 0 and now - turn.unread_since > UNREAD
                if cancelled or unread:
                    turn.cancel()


@asynccontextmanager
async def open_sessions(
    redis: Redis, memory: Memory, graph: AgentGraph, settings: AgentSettings
) -> AsyncGenerator[Sessions]:
    """Look after the sessions; on leaving, turns that are still under way end with ShuttingDown."""
    sessions = Sessions(redis, memory, graph, settings)
    keeping = asyncio.create_task(sessions.keep())
    try:
        yield sessions
    finally:
        await sessions.drain(0)
        sessions.close()
        await asyncio.wait([keeping])


def _claim(tenant: str, key: str) -> str:
    return f"idempotency:{_digest(tenant, key)}"


def _digest(*parts: str | None) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

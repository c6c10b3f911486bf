"""Turns: runs that belong to a session."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from langchain_core.messages import AnyMessage
from langchain_core.runnables import RunnableConfig
from redis.asyncio.lock import Lock
from redis.exceptions import LockError, RedisError

from graph.actions.standing import Standing, standing
from graph.errors import MemoryUnavailable, RunError, kind_and_place
from graph.events import Done, Ending, Event, Failed
from graph.message_ids import new_messages, question_id
from graph.redis_faults import kind_of
from graph.runs.log import RunLog
from graph.runs.memory import may_store, thread_id
from graph.runs.records import RunRecord, as_json
from graph.runs.run import Engine, Run
from graph.runs.thread import now, thread_of
from graph.runs.threads import READ_AGAIN, Threads
from graph.state import AgentContext


@dataclass(frozen=True, slots=True)
class Asking:
    """How a client of the LangGraph API asks for a turn; by default as the other routes do."""

    message_id: str | None = None
    """The id of the customer's message; None for one that is derived from the run's."""
    earlier: Sequence[AnyMessage] = ()
    """Messages before it that the session does not have."""
    waits: bool | None = None
    """Whether it waits while its session has another turn; None for what SUPPORT_BUSY_SESSION says."""
    is_kept: bool = True
    """Whether it is a turn of a conversation; one that is not uses no tools, and nothing is stored."""
    outlives_readers: bool = False
    """Whether it goes on if nobody reads it."""
    request: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the client has asked for, for the run's record."""


_BATCH = 0.05  # seconds that events wait to be logged in one batch

_log = logging.getLogger(__name__)


class Turn(Run):
    """A run that belongs to a session: its events are logged, and it holds the session's lock while it runs.

    The turn is stored, the lock released and the log written before the last event reaches a reader.
    """

    _durability = "exit"

    def __init__(
        self,
        engine: Engine,
        question: str,
        context: AgentContext,
        *,
        session_id: str,
        body: str,
        log: RunLog,
        threads: Threads | None = None,
        asking: Asking = Asking(),
    ) -> None:
        super().__init__(engine, question, context, session_id, asking.message_id, asking.earlier)
        self.asking = asking
        self.owner = context.owner
        self.session_id = session_id
        self.thread = thread_id(context.owner, session_id)
        self.began = False
        self.is_queued = False
        """Whether the turn can be followed before it begins, on any replica."""
        self.settled = asyncio.Event()
        """Set when the turn has begun or has been refused."""
        self.waiting = asyncio.Event()
        """Set when the turn can be followed, although its session has another turn."""
        self.body = body
        """A hash of the request, so that a reused idempotency key can be checked."""
        self.claim: str | None = None
        """The key in Redis that maps an idempotency key to its run."""
        self._log = log
        self._threads = threads
        self._record = self._new_record(context) if threads else None
        self._logged = 1
        self._lock: Lock | None = None
        self._unlogged = asyncio.Event()
        self._closing = asyncio.Event()
        self._logging: asyncio.Task[None] | None = None

    async def begin(
        self,
        lock: Lock,
        release: Callable[[Lock], Awaitable[None]],
        ended: Callable[[], object],
        messages: Callable[[], Awaitable[Sequence[AnyMessage]]],
    ) -> None:
        """Write the log's first event and start executing; raises MemoryUnavailable.

        At the end the lock gets its `release`, and `ended` is called. `messages` gives those of the session.
        """
        self._lock = lock
        self._release_lock = release
        try:
            if self._record:
                known = await messages()
                self._follow_on(known)
                before = [as_json(message) for message in (*known, *self.earlier)]
                self._record = replace(self._record, question=as_json(self.question), history=before)
                await self._write_record(self._record)
            await self._log.begin(self.id, self.owner, self._first())
        except BaseException:
            await self._release()
            raise
        self.began = True
        self.settled.set()
        self._logging = asyncio.create_task(self._keep_log())
        self.start()
        self.when_ended(ended)

    async def queue(self) -> None:
        """Make the turn known before it begins, while it waits for its session; raises MemoryUnavailable."""
        if self._record and not self.is_queued:
            await self._log.announce(self.id)
            await self._write_record(self._record)
            self.is_queued = True
            self.waiting.set()

    def _follow_on(self, known: Sequence[AnyMessage]) -> None:
        """Leave out what the session has learnt while the turn waited; a message whose id it knows gets another."""
        self.earlier = new_messages(self.earlier, known)
        if self.question.id in {message.id for message in known}:
            self.question.id = question_id(self.id)

    async def refuse(self, error: type[RunError], messages: Callable[[], Awaitable[Sequence[AnyMessage]]]) -> None:
        """End a turn that could not begin, for clients that already follow it; `messages` gives the session's."""
        if self.is_queued:
            await self._give_up(messages)
            self._emit(self._first())
            with contextlib.suppress(MemoryUnavailable):
                await self._log.begin(self.id, self.owner, self._first())
                await self._log.append(self.id, 1, [Failed(error.code)])
        self._emit(Failed(error.code))
        self._over.set()
        self.settled.set()

    async def _give_up(self, messages: Callable[[], Awaitable[Sequence[AnyMessage]]]) -> None:
        """Describe the turn as one that has not begun, so that its readers keep what the session has."""
        with contextlib.suppress(MemoryUnavailable):
            if self._record and self._threads:
                before = [as_json(message) for message in await messages()]
                self._record = replace(self._record, history=before, ended_at=now())
                await self._threads.begin(self._record, None, self._report.context)

    async def lacks(self, after: int) -> bool:
        """Return whether the run never had an `after`-th event."""
        return after > len(self._events)

    async def is_read(self, after: int) -> bool:
        """Return whether the `after`-th event was the run's last."""
        return self._over.is_set() and after >= len(self._events)

    @property
    def record(self) -> RunRecord:
        """What is known of the turn beside its events; raises AssertionError where the LangGraph API is off."""
        if self._record is None:
            raise AssertionError("no records are kept")
        return self._record

    @property
    def claimed(self) -> str:
        """The value of the claim."""
        return json.dumps([self.id, self.body])

    @property
    def requested_end(self) -> type[RunError] | None:
        """The error to end the turn with, if it has been cancelled."""
        return self._requested_end

    async def renew(self) -> None:
        """Renew the session's lock; a turn that has lost it is cancelled, since another turn may hold it."""
        if self._lock is None:
            return
        try:
            await self._lock.reacquire()
        except LockError:
            self.cancel(MemoryUnavailable)
        except RedisError as error:
            raise MemoryUnavailable(kind_of(error)) from error

    def _new_record(self, context: AgentContext) -> RunRecord:
        thread = thread_of(self.session_id, context)
        return RunRecord(self.id, thread, context.tenant, now(), as_json(self.question), request=self.asking.request)

    async def _write_record(self, record: RunRecord) -> None:
        if self._threads:
            session = self.session_id if self.asking.is_kept else None
            await self._threads.begin(record, session, self._report.context)

    async def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock:
            await self._release_lock(lock)

    async def _drive(self) -> Done:
        may_store.set(self.try_commit if self.asking.is_kept else lambda: False)
        if self.asking.is_kept:
            standing.set(Standing(self.session_id, self.id, self.thread, self._report.context))
        return await super()._drive()

    def _config(self) -> RunnableConfig:
        return {**super()._config(), "configurable": {"thread_id": self.thread}}

    def _emit(self, event: Event) -> None:
        super()._emit(event)
        self._unlogged.set()

    async def _keep_log(self) -> None:
        # Never cancelled, since a cancelled write could lose events.
        pause = _BATCH
        while True:
            await self._unlogged.wait()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._closing.wait()
            if self._closing.is_set():
                return
            self._unlogged.clear()
            try:
                await self._write_log()
                pause = _BATCH
            except Exception as error:  # noqa: BLE001 - the turn continues without its log
                if not isinstance(error, MemoryUnavailable):  # the turn itself fails with it when it is stored
                    _log.error(kind_and_place(error))
                pause = 1.0
                self._unlogged.set()

    async def _write_log(self, *last: Event) -> None:
        events = [*self._events[self._logged :], *last]
        if events:
            await self._log.append(self.id, self._logged, events, None if self.asking.is_kept else READ_AGAIN)
            self._logged += len(events)

    async def _finish(self, ending: Ending) -> None:
        self._closing.set()
        self._unlogged.set()
        if self._logging:
            await asyncio.wait([self._logging])
        if self._threads and self._record:
            with contextlib.suppress(MemoryUnavailable):
                await self._threads.end(self._record, ending, is_kept=self.asking.is_kept)
        await self._release()
        try:
            await self._write_log(ending)
        except Exception as error:  # noqa: BLE001 - a run always ends with an event
            _log.warning("the run log is incomplete: %s", kind_and_place(error))
        self._emit(ending)

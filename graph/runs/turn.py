"""Turns: runs that belong to a session."""

import asyncio
import contextlib
import json
import logging
from collections.abc import Callable

from langchain_core.runnables import RunnableConfig
from redis.asyncio.lock import Lock
from redis.exceptions import LockError, RedisError

from graph.errors import MemoryUnavailable, RunError, kind_and_place
from graph.events import Done, Event, Failed
from graph.runs.log import RunLog
from graph.runs.memory import may_store, thread_id
from graph.runs.run import Engine, Run
from graph.state import AgentContext

_BATCH = 0.05  # seconds that events wait for others on their way to the log

_log = logging.getLogger(__name__)


class Turn(Run):
    """A run that belongs to a session: it is logged, and the session is its own while it lasts.

    The turn is stored, the session free and the log written before the last event reaches a reader.
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
    ) -> None:
        super().__init__(engine, question, context, session_id)
        self.tenant = context.tenant
        self.thread = thread_id(context.tenant, session_id)
        self.began = False
        self.settled = asyncio.Event()
        """It has begun, or it has been refused."""
        self.body = body
        """Stands for all that was asked."""
        self.claim: str | None = None
        """The key in Redis that says which run an idempotency key has begun."""
        self._log = log
        self._logged = 1
        self._lock: Lock | None = None
        self._unlogged = asyncio.Event()
        self._closing = asyncio.Event()
        self._logging: asyncio.Task[None] | None = None

    async def begin(self, lock: Lock, ended: Callable[[], object]) -> None:
        """Write the log's first event and begin to execute, to call `ended` in the end; raises MemoryUnavailable."""
        self._lock = lock
        try:
            await self._log.begin(self.id, self.tenant, self._first())
        except BaseException:
            await self._release()
            raise
        self.began = True
        self.settled.set()
        self._logging = asyncio.create_task(self._keep_log())
        self.start()
        self.when_ended(ended)

    def refuse(self, error: type[RunError]) -> None:
        """End a turn that could not begin, for those who follow it already."""
        self._emit(Failed(error.code))
        self._over.set()
        self.settled.set()

    async def lacks(self, after: int) -> bool:
        """Whether the run never had an `after`-th event."""
        return after > len(self._events)

    async def is_read(self, after: int) -> bool:
        """Whether nothing follows the `after`-th event."""
        return self._over.is_set() and after >= len(self._events)

    @property
    def claimed(self) -> str:
        """What the claim holds."""
        return json.dumps([self.id, self.body])

    @property
    def wish(self) -> type[RunError] | None:
        """How the turn shall end before it has begun, if it shall."""
        return self._wish

    async def renew(self) -> None:
        """Keep the session for this turn; a turn that has lost it is ended, since another may have it."""
        if self._lock is None:
            return
        try:
            await self._lock.reacquire()
        except LockError:
            self.cancel(MemoryUnavailable)
        except RedisError as error:
            raise MemoryUnavailable(type(error).__name__) from error

    async def _release(self) -> None:
        lock, self._lock = self._lock, None
        if lock:
            with contextlib.suppress(LockError, RedisError):  # else it expires
                await lock.release()

    async def _drive(self) -> Done:
        may_store.set(self.keep)
        return await super()._drive()

    def _config(self) -> RunnableConfig:
        return {"configurable": {"thread_id": self.thread}}

    def _emit(self, event: Event) -> None:
        super()._emit(event)
        self._unlogged.set()

    async def _keep_log(self) -> None:
        # It ends by itself: a cancelled write could lose what it wrote.
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
            except Exception as error:  # noqa: BLE001 - the turn goes on without its log
                if not isinstance(error, MemoryUnavailable):  # which the turn itself finds out, when it is stored
                    _log.error(kind_and_place(error))
                pause = 1.0
                self._unlogged.set()

    async def _write_log(self, *last: Event) -> None:
        events = [*self._events[self._logged :], *last]
        if events:
            await self._log.append(self.id, self._logged, events)
            self._logged += len(events)

    async def _finish(self, ending: Done | Failed) -> None:
        self._closing.set()
        self._unlogged.set()
        if self._logging:
            await asyncio.wait([self._logging])
        await self._release()
        try:
            await self._write_log(ending)
        except Exception as error:  # noqa: BLE001 - a run always ends with an event
            _log.warning("the run's log is not whole: %s", kind_and_place(error))
        self._emit(ending)

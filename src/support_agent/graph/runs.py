"""Runs: one execution of the graph, each in a task of its own."""

import asyncio
import contextlib
import json
import logging
import time
import uuid
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Protocol, Self

from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.types import Durability
from langsmith import tracing_context  # pyright: ignore[reportUnknownVariableType] - its mappings have no types
from redis.asyncio.lock import Lock
from redis.exceptions import LockError, RedisError
from structlog.contextvars import bind_contextvars

from support_agent.graph.builder import AgentGraph
from support_agent.graph.errors import (
    Cancelled,
    InternalError,
    MemoryUnavailable,
    ModelTimeout,
    RunError,
    ShuttingDown,
    kind_and_place,
)
from support_agent.graph.events import Done, Event, Failed, RunStarted, Source, Token
from support_agent.graph.memory import may_store, thread_id
from support_agent.graph.metrics import active_runs
from support_agent.graph.report import Observe, RunReport, recording
from support_agent.graph.run_log import RunLog
from support_agent.graph.state import AgentContext, AgentState

_BATCH = 0.05  # seconds that events wait for others on their way to the log
_INSIST = 0.1  # seconds after which a run is cancelled again

_log = logging.getLogger(__name__)


class Followed(Protocol):
    """A run that can be read, wherever it is executed."""

    @property
    def id(self) -> str:
        """Names the run."""
        ...

    def follow(self, after: int = 0) -> AsyncIterator[tuple[int, Event]]:
        """Yield the events after the `after`-th, as they come, with their numbers; Done or Failed ends them."""
        ...

    async def lacks(self, after: int) -> bool:
        """Whether the run never had an `after`-th event."""
        ...

    async def is_read(self, after: int) -> bool:
        """Whether nothing follows the `after`-th event."""
        ...


class Feed:
    """Events as they happen, for any number of readers, who start with the first or a later one."""

    def __init__(self) -> None:
        self.readers = 0
        self.unread_since = time.monotonic()
        self._events: list[Event] = []
        self._more = asyncio.Event()

    async def follow(self, after: int = 0) -> AsyncIterator[tuple[int, Event]]:
        """Yield the events after the `after`-th, as they come, with their numbers; Done or Failed ends them."""
        self.readers += 1
        try:
            while True:
                more = self._more
                while after < len(self._events):
                    event = self._events[after]
                    after += 1
                    yield after, event
                    if isinstance(event, Done | Failed):
                        return
                await more.wait()
        finally:
            self.readers -= 1
            self.unread_since = time.monotonic()

    def _emit(self, event: Event) -> None:
        self._events.append(event)
        more, self._more = self._more, asyncio.Event()
        more.set()


@dataclass(frozen=True, slots=True)
class Engine:
    """What executes runs."""

    graph: AgentGraph
    budget: float
    """Seconds that a run may take."""
    observe: Observe


class Run(Feed):
    """One execution of the graph, in its own task, outside the request that asked for it.

    Used as a context manager, it is
    cancelled on leaving, and with it its calls to the model, unless it has ended by itself.
    """

    _durability: Durability | None = None

    def __init__(self, engine: Engine, question: str, context: AgentContext, session_id: str | None = None) -> None:
        super().__init__()
        self.id = str(uuid.uuid4())
        self._session_id = session_id
        self._engine = engine
        self._report = RunReport(self.id, question, context, session_id)
        self._over = asyncio.Event()
        self._wish: type[RunError] | None = None
        self._kept = False
        self._driving: asyncio.Task[Done] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> Self:
        """Begin to execute."""
        self.unread_since = time.monotonic()
        active_runs.add(1)
        self._emit(self._first())
        self._task = asyncio.create_task(self._execute())
        return self

    def cancel(self, end: type[RunError] = Cancelled) -> None:
        """End the run with this error, unless it has ended or its answer is being stored."""
        if not self._kept and not self._over.is_set():
            self._wish = self._wish or end
            self._insist()

    def keep(self) -> bool:
        """Return whether the answer may be stored; from here on the run can't be cancelled."""
        self._kept = self._wish is None
        return self._kept

    def when_ended(self, callback: Callable[[], object]) -> None:
        """Call `callback` once the run has ended."""
        if self._task:
            self._task.add_done_callback(lambda _: callback())

    async def ended(self) -> None:
        """Wait until the run has ended and let go of all that it held."""
        await self._over.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Not awaited: a request that is being cancelled may not wait, and the task cleans up by itself.
        self.cancel()

    def _first(self) -> RunStarted:
        return RunStarted(self.id, self._session_id)

    def _insist(self) -> None:
        # A cancellation can get lost in asyncio.wait_for (Python 3.11), which redis-py uses.
        if self._driving and not self._driving.done() and not self._kept:
            self._driving.cancel()
            asyncio.get_running_loop().call_later(_INSIST, self._insist)

    async def _execute(self) -> None:
        bind_contextvars(run_id=self.id)
        # In a task of its own, since one that is cancelled before its first step would end without a word.
        self._driving = asyncio.create_task(self._drive())
        if self._wish:
            self._insist()
        await asyncio.wait([self._driving], timeout=self._engine.budget)
        if not self._driving.done():
            self.cancel(ModelTimeout)
            await asyncio.wait([self._driving])
        ending = self._outcome(self._driving)
        self._report.end(ending)
        await self._finish(ending)
        active_runs.add(-1)
        self._engine.observe(self._report)
        self._over.set()

    def _outcome(self, driving: asyncio.Task[Done]) -> Done | Failed:
        error = None if driving.cancelled() else driving.exception()
        if self._wish:
            return Failed(self._wish.code) if self._wish is not ModelTimeout else self._failed(self._too_late())
        if isinstance(error, RunError):
            return self._failed(error)
        if isinstance(error, RedisError):
            return self._failed(MemoryUnavailable(type(error).__name__))
        if error or driving.cancelled():
            self._report.reason = kind_and_place(error) if error else "cancelled from outside"
            return Failed(InternalError.code)
        return driving.result()

    def _too_late(self) -> RunError:
        return ModelTimeout(f"no answer in {self._engine.budget:g} s")

    async def _drive(self) -> Done:
        state: AgentState | None = None
        recording.set(self._report)
        with tracing_context(enabled=False):  # LangChain would send what is not masked
            async for part in self._engine.graph.astream(
                {"messages": [HumanMessage(self._report.question, id=str(uuid.uuid4()))]},
                self._config(),
                context=self._report.context,
                stream_mode=["custom", "values"],
                version="v2",
                durability=self._durability,
            ):
                if part["type"] == "custom":
                    self._emit(part["data"])
                elif part["type"] == "values":
                    state = part["data"]
        if state is None:
            raise AssertionError("a graph that ends has a state")
        return Done(
            run_id=self.id,
            answer=state["messages"][-1].text,
            category=state["category"],
            sources=tuple(Source(passage["id"], passage["title"]) for passage in state["passages"]),
            tokens_used=state["tokens_used"],
            session_id=self._session_id,
            messages_in_history=len(state["messages"]),
            complete=state["complete"],
        )

    def _config(self) -> RunnableConfig:
        return {}

    async def _finish(self, ending: Done | Failed) -> None:
        self._emit(ending)

    def _emit(self, event: Event) -> None:
        if isinstance(event, Token) and self._report.first_token is None:
            self._report.first_token = time.time()
        super()._emit(event)

    def _failed(self, error: RunError) -> Failed:
        self._report.reason = error.reason
        return Failed(error.code)


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


async def end_runs(runs: Sequence[Run], seconds: float) -> None:
    """Wait until runs have ended; end those that are not done after `seconds` with ShuttingDown."""
    if not runs:
        return
    ending = [asyncio.create_task(run.ended()) for run in runs]
    _, late = await asyncio.wait(ending, timeout=seconds)
    if late:
        for run in runs:
            run.cancel(ShuttingDown)
        await asyncio.wait(late)

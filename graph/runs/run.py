"""Runs: one execution of the graph, each in a task of its own."""

import asyncio
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from langchain_core.messages import HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.types import Durability
from langsmith import tracing_context  # pyright: ignore[reportUnknownVariableType] - its mappings have no types
from redis.exceptions import RedisError
from structlog.contextvars import bind_contextvars

from graph.builder import AgentGraph
from graph.errors import (
    Cancelled,
    InternalError,
    MemoryUnavailable,
    ModelTimeout,
    RunError,
    ShuttingDown,
    kind_and_place,
)
from graph.events import Done, Event, Failed, RunStarted, Source, Token
from graph.observe.metrics import active_runs
from graph.observe.report import Observe, RunReport, recording
from graph.runs.feed import Feed
from graph.state import AgentContext, AgentState

_INSIST = 0.1  # seconds after which a run is cancelled again


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

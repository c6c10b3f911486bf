"""Runs: each is one execution of the graph, in its own task."""

import asyncio
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, cast

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage
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
from graph.events import Done, Ending, Event, Failed, NodeEvent, RunStarted, Token, listening, sources_of
from graph.message_ids import question_id
from graph.observe.metrics import active_runs
from graph.observe.report import Observe, RunReport, recording
from graph.redis_faults import kind_of
from graph.runs.feed import Feed
from graph.state import AgentContext, AgentState

_CANCEL_AGAIN = 0.1  # seconds after which a cancellation is repeated


@dataclass(frozen=True, slots=True)
class Engine:
    """What all runs need in order to execute."""

    graph: AgentGraph
    budget: float
    """Time-out of a run, in seconds."""
    observe: Observe
    versions: Callable[[], Mapping[str, str]]
    """What reports say of the prompts and articles that are served."""


class Run(Feed):
    """One execution of the graph, in its own task, outside the request that started it.

    As a context manager it cancels the run on exit, and with it the calls to the model, unless the run has ended.
    """

    _durability: Durability | None = None

    def __init__(
        self,
        engine: Engine,
        question: str,
        context: AgentContext,
        session_id: str | None = None,
        message_id: str | None = None,
        earlier: Sequence[AnyMessage] = (),
    ) -> None:
        super().__init__()
        self.id = str(uuid.uuid4())
        self.question = HumanMessage(question, id=message_id or question_id(self.id))
        """The customer's message."""
        self.earlier = earlier
        """Messages before it that the session does not have."""
        self._session_id = session_id
        self._engine = engine
        self._report = RunReport(self.id, question, context, session_id, versions=engine.versions())
        self._over = asyncio.Event()
        self._requested_end: type[RunError] | None = None
        self._committed = False
        self._driving: asyncio.Task[Done] | None = None
        self._task: asyncio.Task[None] | None = None

    def start(self) -> Self:
        """Start executing."""
        self.unread_since = time.monotonic()
        active_runs.add(1)
        self._emit(self._first())
        self._task = asyncio.create_task(self._execute())
        return self

    def cancel(self, end: type[RunError] = Cancelled) -> None:
        """End the run with this error, unless it has ended or its answer is being stored."""
        if not self._committed and not self._over.is_set():
            self._requested_end = self._requested_end or end
            self._cancel_driving()

    def try_commit(self) -> bool:
        """Return whether the answer may be stored; if so, the run can no longer be cancelled."""
        self._committed = self._requested_end is None
        return self._committed

    def when_ended(self, callback: Callable[[], object]) -> None:
        """Call `callback` once the run has ended."""
        if self._task:
            self._task.add_done_callback(lambda _: callback())

    async def ended(self) -> None:
        """Wait until the run has ended and has released everything that it held."""
        await self._over.wait()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Not awaited: a request that is being cancelled must not wait, and the task cleans up by itself.
        self.cancel()

    def _first(self) -> RunStarted:
        return RunStarted(self.id, self._session_id)

    def _cancel_driving(self) -> None:
        # Repeated, since redis-py can lose a cancellation on Python 3.11 (findings/redis-cancellation.sh).
        if self._driving and not self._driving.done() and not self._committed:
            self._driving.cancel()
            asyncio.get_running_loop().call_later(_CANCEL_AGAIN, self._cancel_driving)

    async def _execute(self) -> None:
        bind_contextvars(run_id=self.id)
        # In its own task, since a task that is cancelled before its first step ends without emitting an event.
        self._driving = asyncio.create_task(self._drive())
        if self._requested_end:
            self._cancel_driving()
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

    def _outcome(self, driving: asyncio.Task[Done]) -> Ending:
        error = None if driving.cancelled() else driving.exception()
        if self._requested_end is ModelTimeout:
            return self._failed(self._timed_out())
        if self._requested_end:
            return Failed(self._requested_end.code)
        if isinstance(error, RunError):
            return self._failed(error)
        if isinstance(error, RedisError):
            return self._failed(MemoryUnavailable(kind_of(error)))
        if error or driving.cancelled():
            self._report.reason = kind_and_place(error) if error else "cancelled from outside the run"
            return Failed(InternalError.code)
        return driving.result()

    def _timed_out(self) -> RunError:
        return ModelTimeout(f"no answer in {self._engine.budget:g} s")

    async def _drive(self) -> Done:
        recording.set(self._report)
        listening.set(self._listen)
        with tracing_context(enabled=False):  # LangChain would send unmasked text
            output = await self._engine.graph.ainvoke(
                {"messages": [*self.earlier, self.question]},
                self._config(),
                context=self._report.context,
                durability=self._durability,
            )
        state = cast("AgentState", output)
        last = state["messages"][-1]
        return Done(
            run_id=self.id,
            answer=last.text if isinstance(last, AIMessage) else "",  # a message that was passed on has none
            category=state["category"],
            sources=sources_of(state["passages"]),
            tokens_used=state["tokens_used"],
            session_id=self._session_id,
            messages_in_history=len(state["messages"]),
            complete=state["complete"],
            answered=state["answered"],
            action=state.get("action"),
            handoff=state.get("handoff"),
        )

    def _listen(self, event: NodeEvent) -> None:
        if self._driving and not self._driving.done():  # otherwise a node outlived the cancellation of its run
            self._emit(event)

    def _config(self) -> RunnableConfig:
        return {"run_id": uuid.UUID(self.id)}

    async def _finish(self, ending: Ending) -> None:
        self._emit(ending)

    def _emit(self, event: Event) -> None:
        if isinstance(event, Token) and self._report.first_token is None:
            self._report.first_token = time.time()
        super()._emit(event)

    def _failed(self, error: RunError) -> Failed:
        self._report.reason = error.reason
        return Failed(error.code)


async def end_runs(runs: Sequence[Run], seconds: float) -> None:
    """Wait until the runs have ended; after `seconds`, end those still running with ShuttingDown."""
    if not runs:
        return
    ending = [asyncio.create_task(run.ended()) for run in runs]
    _, late = await asyncio.wait(ending, timeout=seconds)
    if late:
        for run in runs:
            run.cancel(ShuttingDown)
        await asyncio.wait(late)

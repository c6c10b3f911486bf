"""Runs: one execution of the graph, each in a task of its own."""

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator
from types import TracebackType
from typing import Self

from langchain_core.messages import HumanMessage

from support_agent.graph.builder import AgentGraph
from support_agent.graph.errors import (
    InternalError,
    KnowledgeUnavailable,
    ModelError,
    ModelTimeout,
    RunError,
    kind_and_place,
)
from support_agent.graph.events import Done, Event, Failed, RunStarted, Source
from support_agent.graph.state import AgentContext, AgentState

_log = logging.getLogger(__name__)


class Run:
    """One execution of the graph, in its own task, outside the request that asked for it.

    Iterating yields its events; exactly one Done or Failed ends them. Used as a context manager, it is
    cancelled on leaving, and with it its calls to the model, unless it has ended by itself.
    """

    def __init__(self, graph: AgentGraph, question: str, context: AgentContext, budget: float) -> None:
        self.id = str(uuid.uuid4())
        self._events: asyncio.Queue[Event] = asyncio.Queue()
        self.task = asyncio.create_task(self._execute(graph, question, context, budget))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # Not awaited: a request that is being cancelled may not wait, and the task cleans up by itself.
        self.task.cancel()

    async def __aiter__(self) -> AsyncIterator[Event]:
        while True:
            event = await self._events.get()
            yield event
            if isinstance(event, Done | Failed):
                return

    async def _execute(self, graph: AgentGraph, question: str, context: AgentContext, budget: float) -> None:
        self._events.put_nowait(RunStarted(self.id))
        try:
            async with asyncio.timeout(budget):
                ending = await self._drive(graph, question, context)
        except RunError as error:
            ending = self._failed(error)
        except TimeoutError:
            ending = self._failed(ModelTimeout(f"no answer in {budget:g} s"))
        except Exception as error:  # noqa: BLE001 - a run always ends with an event
            _log.error("run %s: %s", self.id, kind_and_place(error))
            ending = Failed(InternalError())
        self._events.put_nowait(ending)

    async def _drive(self, graph: AgentGraph, question: str, context: AgentContext) -> Done:
        state: AgentState | None = None
        async for part in graph.astream(
            {"messages": [HumanMessage(question)]},
            context=context,
            stream_mode=["custom", "values"],
            version="v2",
        ):
            if part["type"] == "custom":
                self._events.put_nowait(part["data"])
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
        )

    def _failed(self, error: RunError) -> Failed:
        reason = error.reason if isinstance(error, ModelError | KnowledgeUnavailable) else ""
        _log.warning("run %s: %s: %s", self.id, type(error).__name__, reason)
        return Failed(error)

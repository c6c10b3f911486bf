"""The graph as langgraph.json names it: without a checkpointer, since LangGraph's server has one of its own."""

import asyncio
from contextvars import Context
from typing import Literal
from weakref import WeakKeyDictionary

from graph.builder import AgentGraph, build_graph
from graph.models import open_models
from graph.retrieval.company import Company
from graph.retrieval.index import open_knowledge
from graph.settings import AgentSettings
from graph.state import AgentState, Passage


def _state_of(company: Company) -> type[AgentState]:
    """Return AgentState with all of it in the checkpoints, so that Studio can show it, and stop before any node."""
    desk = Literal[company.names]  # pyright: ignore[reportInvalidTypeForm] - Studio's form offers these

    class StudioState(AgentState):
        category: desk  # pyright: ignore[reportInvalidTypeForm, reportIncompatibleVariableOverride]
        passages: list[Passage]
        tokens_used: int
        complete: bool
        answered: bool

    return StudioState


class _Opening:
    """The graph of one event loop; what it needs stays open until the loop, at its end, cancels its tasks."""

    def __init__(self) -> None:
        self.graph: asyncio.Future[AgentGraph] = asyncio.get_running_loop().create_future()
        # In a context of its own: it outlives the request that happens to be the first.
        self._task = asyncio.create_task(self._keep_open(), context=Context())

    async def _keep_open(self) -> None:
        try:
            settings = AgentSettings.load(others=True).require()  # those of the service are read beside it
            async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
                await knowledge.indexed()
                most, state = settings.session_messages, _state_of(knowledge.company)
                self.graph.set_result(build_graph(models, knowledge, most_messages=most, state=state))
                await asyncio.Event().wait()
        except Exception as error:
            if self.graph.done():
                raise
            self.graph.set_exception(error)


_openings: WeakKeyDictionary[asyncio.AbstractEventLoop, _Opening] = WeakKeyDictionary()


async def graph() -> AgentGraph:
    """Return the graph of this event loop; raises StartError.

    LangGraph's server asks for it with each request, so it is opened once; after a failure, once more.
    """
    loop = asyncio.get_running_loop()
    opening = _openings.get(loop)
    if opening is None or (opening.graph.done() and opening.graph.exception()):
        opening = _openings[loop] = _Opening()
    return await asyncio.shield(opening.graph)

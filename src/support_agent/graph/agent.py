"""The agent as others use it: ask a question, or follow its run."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from support_agent.graph.builder import AgentGraph, build_graph
from support_agent.graph.events import Done, Failed
from support_agent.graph.knowledge import open_knowledge
from support_agent.graph.models import open_models
from support_agent.graph.runs import Run
from support_agent.graph.settings import AgentSettings
from support_agent.graph.state import AgentContext


@dataclass(frozen=True, slots=True)
class SupportAgent:
    """Answers customers' questions; made by open_agent."""

    graph: AgentGraph
    timeout: float
    """Seconds that a whole turn may take."""
    _running: set[asyncio.Task[None]] = field(default_factory=set[asyncio.Task[None]])

    def stream(self, question: str, context: AgentContext | None = None) -> Run:
        """Start a run and return it; iterate it for the events of support_agent.graph.events."""
        run = Run(self.graph, question, context or AgentContext(), self.timeout)
        self._running.add(run.task)
        run.task.add_done_callback(self._running.discard)
        return run

    async def ask(self, question: str, context: AgentContext | None = None) -> Done:
        """Return the whole answer; raises RunError."""
        async with self.stream(question, context) as run:
            async for event in run:
                if isinstance(event, Failed):
                    raise event.error
                if isinstance(event, Done):
                    return event
        raise AssertionError("a run ends with Done or Failed")

    async def aclose(self) -> None:
        """Cancel the runs that are still under way, and wait until they have let go of the model."""
        running = tuple(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)


@asynccontextmanager
async def open_agent(settings: AgentSettings) -> AsyncGenerator[SupportAgent]:
    """Connect to the model and the articles, indexing them if need be; raises StartError."""
    settings.require()
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        agent = SupportAgent(build_graph(models, knowledge), settings.answer_timeout)
        try:
            yield agent
        finally:
            await agent.aclose()

"""Answers of the graph with tools, in a conversation, without the service around it."""

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from langchain_core.messages import HumanMessage

from graph.actions.confirming import Actions
from graph.actions.mcp import open_tools
from graph.actions.standing import Standing, standing
from graph.actions.tools import Tool
from graph.builder import AgentGraph, build_graph
from graph.events import NodeEvent, listening
from graph.models import open_models
from graph.retrieval.index import open_knowledge
from graph.state import Action, AgentContext, AgentState


@dataclass
class Proposals:
    """Notes what is proposed, and does nothing."""

    made: list[tuple[str, dict[str, Any]]] = field(default_factory=list[tuple[str, dict[str, Any]]])

    async def propose(self, tool: Tool, arguments: Mapping[str, Any], summary: str) -> Action:
        """Note it."""
        self.made.append((tool.name, dict(arguments)))
        return Action(f"a-{len(self.made)}", tool.name, summary, dict(arguments), "2026-12-01T10:15:00Z")


@dataclass
class Answering:
    """Asks questions."""

    graph: AgentGraph
    proposals: Proposals
    events: list[NodeEvent] = field(default_factory=list[NodeEvent])
    """Those of the latest question."""

    async def ask(self, question: str, *, in_session: bool = True) -> AgentState:
        """Return the state at the end."""
        self.events.clear()
        standing.set(Standing("s-1", "r-1", "t-1") if in_session else None)
        listening.set(self.events.append)
        context = AgentContext("acme", "c-1")
        asked: Any = {"messages": [HumanMessage(question, id="q-1")]}
        return cast("AgentState", await self.graph.ainvoke(asked, context=context))


@asynccontextmanager
async def answering(make_settings: Callable[..., Any], *urls: str, **variables: Any) -> AsyncGenerator[Answering]:
    """Answers with the tools of the servers at these addresses, which are named a and b."""
    servers = ",".join(f"{name}={url}" for name, url in zip("ab", urls, strict=False))
    settings = make_settings(SUPPORT_MCP_SERVERS=servers, **variables)
    proposals = Proposals()
    async with (
        open_models(settings) as models,
        open_knowledge(settings, models) as knowledge,
        open_tools(settings) as tools,
    ):
        yield Answering(
            build_graph(models, knowledge, most_messages=20, tools=tools, actions=cast("Actions", proposals)), proposals
        )

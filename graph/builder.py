"""The graph: its nodes and edges."""

from functools import partial
from typing import Protocol

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import END, START, StateGraph
from langgraph.graph.state import CompiledStateGraph
from langgraph.runtime import Runtime

from graph.actions.confirming import Actions
from graph.models import Models
from graph.nodes.answer import answer
from graph.nodes.classify import classify
from graph.nodes.retrieve import retrieve
from graph.nodes.tools import Toolbox
from graph.observe.report import recorded_step
from graph.retrieval.served import Knowledge
from graph.state import AgentContext, AgentInput, AgentState, StateUpdate

AgentGraph = CompiledStateGraph[AgentState, AgentContext, AgentInput, AgentState]


class _Node(Protocol):
    async def __call__(self, state: AgentState, *, runtime: Runtime[AgentContext]) -> StateUpdate: ...


def build_graph(
    models: Models,
    knowledge: Knowledge,
    *,
    most_messages: int,
    checkpointer: BaseCheckpointSaver[str] | None = None,
    state: type[AgentState] = AgentState,
    tools: Toolbox | None = None,
    actions: Actions | None = None,
) -> AgentGraph:
    """Build the graph: START, then `classify` and `retrieve` in parallel, then `answer`, then END.

    With a checkpointer the graph stores the last `most_messages` messages of each thread, and whatever else `state`
    tracks. `actions` are those of sessions; without them nothing is proposed and nothing confirmed, and only tools
    that have no effect are offered.
    """
    graph = StateGraph(state, AgentContext, input_schema=AgentInput)
    answering = partial(answer, most_messages=most_messages, tools=tools, actions=actions)
    for name, node in (
        ("classify", partial(classify, models=models, knowledge=knowledge)),
        ("retrieve", partial(retrieve, knowledge=knowledge)),
        ("answer", partial(answering, models=models, knowledge=knowledge)),
    ):
        graph.add_node(name, _recorded(name, node), input_schema=state)
    graph.add_edge(START, "classify")
    graph.add_edge(START, "retrieve")
    # Two edges instead of a joined one, whose next node LangGraph's server can't report. Both nodes run in the same
    # step, so `answer` still runs once.
    graph.add_edge("classify", "answer")
    graph.add_edge("retrieve", "answer")
    graph.add_edge("answer", END)
    return graph.compile(checkpointer, name="support-agent")


def _recorded(name: str, node: _Node) -> _Node:
    async def run(state: AgentState, *, runtime: Runtime[AgentContext]) -> StateUpdate:
        with recorded_step(name) as step:
            step.update = await node(state, runtime=runtime)
            return step.update

    return run

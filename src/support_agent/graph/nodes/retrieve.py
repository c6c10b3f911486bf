"""Find the articles that an answer may rest on."""

from langgraph.runtime import Runtime

from support_agent.graph.events import Source, SourcesFound
from support_agent.graph.knowledge import Knowledge
from support_agent.graph.state import AgentContext, AgentState, StateUpdate


async def retrieve(state: AgentState, runtime: Runtime[AgentContext], *, knowledge: Knowledge) -> StateUpdate:
    """Search the articles by the meaning of the question."""
    passages = await knowledge.search(state["messages"][-1].text)
    runtime.stream_writer(SourcesFound(tuple(Source(passage["id"], passage["title"]) for passage in passages)))
    return {"passages": passages}

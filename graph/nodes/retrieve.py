"""Retrieve the passages for an answer."""

from collections.abc import Sequence

from langchain_core.messages import AnyMessage
from langgraph.runtime import Runtime

from graph.actions.handing_over import is_short
from graph.actions.replies import spoken_reply
from graph.events import SourcesFound, emit, sources_of
from graph.retrieval.served import Knowledge
from graph.small_talk import friendly_line, questions
from graph.state import AgentContext, AgentState, StateUpdate


async def retrieve(state: AgentState, runtime: Runtime[AgentContext], *, knowledge: Knowledge) -> StateUpdate:
    """Search the articles for the question; for a follow-up, also for the previous question and this one together."""
    messages = state["messages"]
    needs_none = is_short(messages) or spoken_reply(messages) or friendly_line(messages)
    passages = [] if needs_none else await knowledge.search(*_queries(messages))
    emit(SourcesFound(sources_of(passages)), runtime)
    return {"passages": passages}


def _queries(messages: Sequence[AnyMessage]) -> list[str]:
    *earlier, question = questions(messages)
    return [question, f"{earlier[-1]} {question}"] if earlier else [question]

"""Retrieve the articles for an answer."""

import asyncio
from collections.abc import Sequence
from itertools import chain, zip_longest

from langchain_core.messages import AnyMessage, HumanMessage
from langgraph.runtime import Runtime

from graph.events import Source, SourcesFound
from graph.retrieval.index import PASSAGES, Knowledge
from graph.state import AgentContext, AgentState, Passage, StateUpdate


async def retrieve(state: AgentState, runtime: Runtime[AgentContext], *, knowledge: Knowledge) -> StateUpdate:
    """Search the articles for the question; for a follow-up, also for the previous question and this one together."""
    found = await asyncio.gather(*(knowledge.search(query) for query in _queries(state["messages"])))
    passages = _interleave(found)
    runtime.stream_writer(SourcesFound(tuple(Source(passage["id"], passage["title"]) for passage in passages)))
    return {"passages": passages}


def _queries(messages: Sequence[AnyMessage]) -> list[str]:
    *earlier, question = [message.text for message in messages if isinstance(message, HumanMessage)]
    return [question, f"{earlier[-1]} {question}"] if earlier else [question]


def _interleave(found: Sequence[Sequence[Passage]]) -> list[Passage]:
    in_turn = (passage for passage in chain(*zip_longest(*found)) if passage)
    return list({passage["id"]: passage for passage in in_turn}.values())[:PASSAGES]

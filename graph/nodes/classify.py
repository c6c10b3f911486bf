"""Classify a question: find the desk that it belongs to."""

import logging

from langchain_core.messages import HumanMessage
from langgraph.runtime import Runtime

from graph.events import CategoryFound, emit
from graph.models import Models, tokens
from graph.observe.metrics import unknown_categories
from graph.prompts import classify_prompt
from graph.state import CATEGORIES, AgentContext, AgentState, Category, StateUpdate

_log = logging.getLogger(__name__)


async def classify(state: AgentState, runtime: Runtime[AgentContext], *, models: Models) -> StateUpdate:
    """Ask the small model for one word; a follow-up may only make sense with the question before it."""
    asked = [message.text for message in state["messages"] if isinstance(message, HumanMessage)]
    reply = await models.classify(classify_prompt("\n".join(asked[-2:])))
    category = _category(reply.text)
    emit(CategoryFound(category), runtime)
    return {"category": category, "tokens_used": tokens(reply)}


def _category(reply: str) -> Category:
    word = reply.strip().strip(".\"'`*").lower()
    for category in CATEGORIES:
        if word == category:
            return category
    unknown_categories.add(1)
    _log.warning("unknown category in the classifier's reply (%d characters); using general", len(word))
    return "general"

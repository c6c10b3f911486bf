"""Classify a question: find the desk that it belongs to."""

from langgraph.runtime import Runtime

from graph.events import CategoryFound, emit
from graph.models import Models, tokens
from graph.observe.metrics import unknown_categories
from graph.prompts import classify_prompt
from graph.small_talk import friendly_line, questions
from graph.state import AgentContext, AgentState, StateUpdate, category_in


async def classify(state: AgentState, runtime: Runtime[AgentContext], *, models: Models) -> StateUpdate:
    """Ask the small model for one word; a follow-up may only make sense with the question before it."""
    if friendly_line(state["messages"]):
        emit(CategoryFound("general"), runtime)
        return {"category": "general", "tokens_used": 0}
    asked = questions(state["messages"])
    reply = await models.classify(classify_prompt("\n".join(asked[-2:])))
    category = category_in(reply.text)
    if category is None:
        unknown_categories.add(1)
        models.classifier.warn_once(
            f"a reply of the classifier {models.classifier.model.model_name} names no category: the question, and any "
            "other with such a reply, goes to general; check SUPPORT_CLASSIFY_MODEL"
        )
    emit(CategoryFound(category or "general"), runtime)
    return {"category": category or "general", "tokens_used": tokens(reply)}

"""Classify a question: find the desk that it belongs to."""

from langgraph.runtime import Runtime

from graph.actions.handing_over import category_of, is_short
from graph.actions.replies import spoken_reply
from graph.events import CategoryFound, emit
from graph.models import Models, tokens
from graph.observe.metrics import unknown_categories
from graph.retrieval.served import Knowledge
from graph.small_talk import friendly_line, questions
from graph.state import AgentContext, AgentState, StateUpdate


async def classify(
    state: AgentState, runtime: Runtime[AgentContext], *, models: Models, knowledge: Knowledge
) -> StateUpdate:
    """Ask the small model for one word; a follow-up may only make sense with the question before it.

    Small talk and a yes to what was proposed go to the first desk, and so does everything where there is only one: no
    model is asked. Nor is it for what goes to a person.
    """
    prompt = knowledge.prompt
    if is_short(state["messages"]):
        category = category_of(knowledge.company)
        emit(CategoryFound(category), runtime)
        return {"category": category, "tokens_used": 0}
    needs_none = spoken_reply(state["messages"]) or friendly_line(state["messages"])
    if needs_none or len(prompt.desks) == 1:
        emit(CategoryFound(prompt.first), runtime)
        return {"category": prompt.first, "tokens_used": 0}
    asked = questions(state["messages"])
    reply = await models.classify(prompt, "\n".join(asked[-2:]))
    desk = prompt.desk_in(reply.text, is_cut=reply.is_limited)
    if desk is None:
        unknown_categories.add(1)
        models.classifier.warn_once(
            f"a reply of the classifier {models.classifier.model.model_name} names no category: the question, and any "
            f"other with such a reply, goes to {prompt.first}; check SUPPORT_CLASSIFY_MODEL"
        )
    emit(CategoryFound(desk or prompt.first), runtime)
    return {"category": desk or prompt.first, "tokens_used": tokens(reply)}

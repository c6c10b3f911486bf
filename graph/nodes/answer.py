"""Write the answer from the passages, and from what tools say."""

import uuid
from collections.abc import Sequence

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, HumanMessage, RemoveMessage
from langgraph.runtime import Runtime

from graph.errors import ModelError, ModelUnavailable
from graph.events import Token, emit
from graph.models import Models
from graph.nodes.saying import Said, Saying
from graph.nodes.tools import Proposer, Toolbox, ToolUse
from graph.prompts import answer_prompt
from graph.retrieval.served import Knowledge
from graph.small_talk import friendly_line
from graph.state import AgentContext, AgentState, StateUpdate

NO_ANSWER = "The help articles do not answer this question."
"""The answer where the model's reply is nothing but the mark of an unanswered question."""


async def answer(
    state: AgentState,
    runtime: Runtime[AgentContext],
    *,
    models: Models,
    knowledge: Knowledge,
    most_messages: int,
    tools: Toolbox | None = None,
    actions: Proposer | None = None,
) -> StateUpdate:
    """Stream the answer model's replies, use the tools that these ask for, and drop the oldest turns.

    What a reply says before it asks for a tool is shown, too, as it comes.
    """
    messages = state["messages"]
    if line := friendly_line(messages):
        emit(Token(line), runtime)
        return _update(state, line, most_messages, used=0, complete=True, is_answered=True)
    use = await ToolUse.begin(tools, actions, runtime)
    company = knowledge.company
    desk = company.desk(state["category"])
    prompt = answer_prompt(
        company.name, desk.contact, state["passages"], messages, hours=desk.hours, has_functions=use is not None
    )
    saying = Saying(lambda text: emit(Token(text), runtime))
    said, used = await _say(saying, models, prompt, use)
    if not saying.text.strip():
        if said.is_answered:
            raise ModelUnavailable("the model calls functions without an end")
        saying.show(f"{NO_ANSWER} {desk.contact}" if desk.contact else NO_ANSWER)
    update = _update(
        state, saying.text, most_messages, used=used, complete=said.is_complete, is_answered=said.is_answered
    )
    return update | {"action": use.action} if use and use.action else update


async def _say(saying: Saying, models: Models, prompt: Sequence[BaseMessage], use: ToolUse | None) -> tuple[Said, int]:
    """Return the model's last reply, the one without a call, and the tokens of all."""
    used = 0
    while True:
        try:
            said = await saying.say(models.answer(prompt, use.offer if use else None))
        except ModelError:
            if use is None or use.action is None:
                raise
            saying.show(use.action.summary)  # what is proposed can be confirmed, so the answer must say so
            return Said(use.action.summary, 0, is_complete=False, is_answered=True, calls=[]), used
        used += said.used
        if use is None or not said.calls or use.is_over:
            return said, used
        prompt = [*prompt, *await use.take(said.text, said.calls)]


def _update(
    state: AgentState, said: str, most_messages: int, *, used: int, complete: bool, is_answered: bool
) -> StateUpdate:
    reply = AIMessage(said, id=str(uuid.uuid4()))
    return {
        "messages": [*_removals(state["messages"], most_messages - 1), reply],
        "tokens_used": state["tokens_used"] + used,
        "complete": complete,
        "answered": is_answered,
    }


def _removals(messages: Sequence[AnyMessage], most: int) -> list[RemoveMessage]:
    """Return the removal of all but the last `most` messages, and of the rest of a turn that this would cut in two."""
    drop = max(0, len(messages) - most)
    while drop < len(messages) and not isinstance(messages[drop], HumanMessage):
        drop += 1
    return [RemoveMessage(id=str(message.id)) for message in messages[:drop]]

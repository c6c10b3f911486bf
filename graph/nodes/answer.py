"""Write the answer from the passages."""

import uuid
from collections.abc import Sequence
from contextlib import aclosing

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage
from langgraph.runtime import Runtime

from graph.actions.answering import settled
from graph.actions.confirming import Actions
from graph.actions.replies import spoken_reply
from graph.canary import CanaryFilter
from graph.errors import ModelUnavailable
from graph.events import Token, emit
from graph.models import Models, tokens
from graph.prompts import answer_prompt
from graph.retrieval.served import Knowledge
from graph.small_talk import friendly_line
from graph.state import AgentContext, AgentState, StateUpdate
from graph.unanswered import MarkFilter

LONGEST = 1_000_000
"""Maximum characters of an answer; a longer one means that the model's server is broken."""

NO_ANSWER = "The help articles do not answer this question."
"""The answer where the model's reply is nothing but the mark of an unanswered question."""


async def answer(
    state: AgentState,
    runtime: Runtime[AgentContext],
    *,
    models: Models,
    knowledge: Knowledge,
    actions: Actions | None,
    most_messages: int,
) -> StateUpdate:
    """Stream the answer model's reply, or say what became of an action; and drop the oldest turns."""
    messages = state["messages"]
    if actions and (reply := spoken_reply(messages)):
        line, action = await settled(reply, actions, runtime.context.tenant)
        emit(Token(line), runtime)
        if action:
            emit(action, runtime)
        return _update(state, line, most_messages, used=0, complete=True, is_answered=True) | {"action": action}
    if line := friendly_line(messages):
        emit(Token(line), runtime)
        return _update(state, line, most_messages, used=0, complete=True, is_answered=True)
    company = knowledge.company
    desk = company.desk(state["category"])
    prompt = answer_prompt(company.name, desk.contact, state["passages"], messages, hours=desk.hours)
    said: list[str] = []
    length = used = 0
    complete = False
    characters = _Characters()
    mark_filter = MarkFilter()
    canary_filter = CanaryFilter()  # after the other, so that no mark can hide a canary from it

    def show(text: str) -> None:
        if text:
            said.append(text)
            emit(Token(text), runtime)

    async with aclosing(models.answer(prompt)) as pieces:
        async for piece in pieces:
            used = max(used, tokens(piece))  # some servers report a running total
            complete = complete or piece.is_whole
            show(canary_filter.feed(mark_filter.feed(characters.feed(piece.text))))
            length += len(piece.text)
            if length > LONGEST:
                raise ModelUnavailable("the answer is too long")
    show(canary_filter.feed(mark_filter.feed(characters.end()) + mark_filter.end()))
    show(canary_filter.end())
    if mark_filter.found and not "".join(said).strip():
        show(f"{NO_ANSWER} {desk.contact}" if desk.contact else NO_ANSWER)
    is_answered = not mark_filter.found
    return _update(state, "".join(said), most_messages, used=used, complete=complete, is_answered=is_answered)


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


class _Characters:
    """Joins a surrogate pair that the server split between two pieces, and replaces a lone surrogate."""

    def __init__(self) -> None:
        self._held = ""

    def feed(self, text: str) -> str:
        """Return the whole characters so far."""
        if text.isascii() and not self._held:
            return text
        text = self._held + text
        self._held = text[-1] if "\ud800" <= text[-1:] <= "\udbff" else ""
        return _utf8(text.removesuffix(self._held))

    def end(self) -> str:
        """Return what is still held back."""
        return _utf8(self._held)


def _utf8(text: str) -> str:
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _removals(messages: Sequence[AnyMessage], most: int) -> list[RemoveMessage]:
    """Return the removal of all but the last `most` messages, and of the rest of a turn that this would cut in two."""
    drop = max(0, len(messages) - most)
    while drop < len(messages) and not isinstance(messages[drop], HumanMessage):
        drop += 1
    return [RemoveMessage(id=str(message.id)) for message in messages[:drop]]

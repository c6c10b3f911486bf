"""Write the answer from the passages."""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, HumanMessage, RemoveMessage
from langgraph.runtime import Runtime

from graph.canary import Watch
from graph.errors import ModelUnavailable
from graph.events import Token
from graph.models import Models, finish_reason, tokens
from graph.prompts import answer_prompt
from graph.retrieval.index import Knowledge
from graph.state import AgentContext, AgentState, StateUpdate

LONGEST = 1_000_000
"""Characters of an answer; a longer one is a defect of the model's server."""


async def answer(
    state: AgentState, runtime: Runtime[AgentContext], *, models: Models, knowledge: Knowledge, most_messages: int
) -> StateUpdate:
    """Stream the answer model's reply, and let go of the oldest turns."""
    contact = knowledge.contacts[state["category"]]
    messages = state["messages"]
    prompt = answer_prompt(knowledge.company, contact, state["passages"], messages)
    answered = ""
    used = 0
    complete = False
    watch = Watch()
    async with aclosing(models.answer(prompt)) as chunks:
        async for text, total, reason in _whole_characters(chunks):
            used = max(used, total)  # a server may count as it goes
            complete = complete or reason == "stop"
            if shown := watch.feed(text):
                answered += shown
                runtime.stream_writer(Token(shown))
            if len(answered) > LONGEST:
                raise ModelUnavailable("an endless answer")
    if rest := watch.end():
        answered += rest
        runtime.stream_writer(Token(rest))
    reply = AIMessage(answered, id=str(uuid.uuid4()))
    return {
        "messages": [*_outdated(messages, most_messages - 1), reply],
        "tokens_used": state["tokens_used"] + used,
        "complete": complete,
    }


async def _whole_characters(chunks: AsyncIterator[AIMessageChunk]) -> AsyncIterator[tuple[str, int, str | None]]:
    """Yield each chunk's text, usage and reason to end.

    A character that a server cut in two is joined, half a one replaced.
    """
    held = ""
    async for chunk in chunks:
        text = held + chunk.text
        held = text[-1] if "\ud800" <= text[-1:] <= "\udbff" else ""
        yield _utf8(text.removesuffix(held)), tokens(chunk), finish_reason(chunk)
    if held:
        yield _utf8(held), 0, None


def _utf8(text: str) -> str:
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _outdated(messages: Sequence[AnyMessage], most: int) -> list[RemoveMessage]:
    """Return what removes all but the last `most` messages, and the rest of a turn that this cuts."""
    drop = max(0, len(messages) - most)
    while drop < len(messages) and not isinstance(messages[drop], HumanMessage):
        drop += 1
    return [RemoveMessage(id=str(message.id)) for message in messages[:drop]]

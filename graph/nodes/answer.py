"""Write the answer from the passages."""

import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing

from langchain_core.messages import AIMessage, AIMessageChunk, AnyMessage, HumanMessage, RemoveMessage
from langgraph.runtime import Runtime

from graph.canary import CanaryFilter
from graph.errors import ModelUnavailable
from graph.events import Token
from graph.models import Models, finish_reason, tokens
from graph.prompts import answer_prompt
from graph.retrieval.index import Knowledge
from graph.state import AgentContext, AgentState, StateUpdate

LONGEST = 1_000_000
"""Maximum characters of an answer; a longer one means that the model's server is broken."""


async def answer(
    state: AgentState, runtime: Runtime[AgentContext], *, models: Models, knowledge: Knowledge, most_messages: int
) -> StateUpdate:
    """Stream the answer model's reply, and drop the oldest turns."""
    contact = knowledge.contacts[state["category"]]
    messages = state["messages"]
    prompt = answer_prompt(knowledge.company, contact, state["passages"], messages)
    answered = ""
    used = 0
    complete = False
    canary_filter = CanaryFilter()
    async with aclosing(models.answer(prompt)) as chunks:
        async for text, total, reason in _whole_characters(chunks):
            used = max(used, total)  # some servers report a running total
            complete = complete or reason == "stop"
            if shown := canary_filter.feed(text):
                answered += shown
                runtime.stream_writer(Token(shown))
            if len(answered) > LONGEST:
                raise ModelUnavailable("the answer is too long")
    if rest := canary_filter.end():
        answered += rest
        runtime.stream_writer(Token(rest))
    reply = AIMessage(answered, id=str(uuid.uuid4()))
    return {
        "messages": [*_removals(messages, most_messages - 1), reply],
        "tokens_used": state["tokens_used"] + used,
        "complete": complete,
    }


async def _whole_characters(chunks: AsyncIterator[AIMessageChunk]) -> AsyncIterator[tuple[str, int, str | None]]:
    """Yield each chunk's text, token usage and finish reason.

    A surrogate pair that the server split between two chunks is joined; a lone surrogate is replaced.
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


def _removals(messages: Sequence[AnyMessage], most: int) -> list[RemoveMessage]:
    """Return the removal of all but the last `most` messages, and of the rest of a turn that this would cut in two."""
    drop = max(0, len(messages) - most)
    while drop < len(messages) and not isinstance(messages[drop], HumanMessage):
        drop += 1
    return [RemoveMessage(id=str(message.id)) for message in messages[:drop]]

"""Events as the wire has them, in two forms.

Plain: `data: <text>` a token … · `data: [DONE]`, or `event: error` with a problem.
Typed: `run` · `category` and `sources` (in either order) · `token` … · `done` or `error`, each with the id
`<run_id>:<n>` and JSON data.
"""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

from fastapi.sse import ServerSentEvent
from pydantic import BaseModel

from support_agent.api.errors import problem_of
from support_agent.api.schemas import ChatResponse, SourceOut
from support_agent.graph.errors import RunError
from support_agent.graph.events import CategoryFound, Done, Event, Failed, RunStarted, SourcesFound, Token

DONE = "[DONE]"
_INSIDE_DONE = re.compile(r"(?<=\[DO)(?=NE\])")

Numbered = tuple[int, Event]


def unforgeable(text: str) -> Iterator[str]:
    """Yield a token in pieces of which none holds the end marker, so that no answer can forge it."""
    return (piece for piece in _INSIDE_DONE.split(text) if piece)


async def plain(events: AsyncIterator[Numbered], instance: str) -> AsyncIterator[ServerSentEvent]:
    """Render a run's events for a client that only wants text.

    Joined, the data is the answer, except that server-sent events end lines with LF alone: CR and CRLF
    arrive as LF.
    """
    held = ""  # a CR whose LF may be in the next token
    async for _, event in events:
        if isinstance(event, Token):
            text = held + event.text
            held = "\r" if text.endswith("\r") else ""
            for piece in unforgeable(text.removesuffix("\r")):
                yield ServerSentEvent(raw_data=piece)
        elif isinstance(event, Done | Failed):
            if held:
                yield ServerSentEvent(raw_data="\n")
            if isinstance(event, Done):
                yield ServerSentEvent(raw_data=DONE)
            else:
                yield ServerSentEvent(event="error", data=problem_of(event.error, instance))


async def typed(run_id: str, events: AsyncIterator[Numbered], instance: str) -> AsyncIterator[ServerSentEvent]:
    """Render a run's events for a client that can come back with the last id it saw."""
    async for n, event in unfailing(events):
        yield ServerSentEvent(id=f"{run_id}:{n}", event=event.event, data=payload(event, instance))


async def unfailing(events: AsyncIterator[Numbered]) -> AsyncIterator[Numbered]:
    """End events that can't be read further with an event, as a stream that has begun must."""
    n = 0
    try:
        async for n, event in events:
            yield n, event
    except RunError as error:
        yield n + 1, Failed(error.code)


def payload(event: Event, instance: str) -> BaseModel | dict[str, Any] | list[SourceOut]:
    """Return an event's data, as the contract has it."""
    match event:
        case RunStarted():
            return {"run_id": event.run_id, "session_id": event.session_id}
        case CategoryFound():
            return {"category": event.category}
        case SourcesFound():
            return [SourceOut(id=source.id, title=source.title) for source in event.sources]
        case Token():
            return {"text": event.text}
        case Done():
            return ChatResponse.of(event)
        case Failed():
            return problem_of(event.error, instance)

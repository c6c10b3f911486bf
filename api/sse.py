"""Events as the wire has them, in two forms.

Plain: `data: <text>` a token … · `data: [DONE]`, or `event: error` with a problem.
Typed: `run` · `category` and `sources` (in either order) · `token` … · `done` or `error`, each with the id
`<run_id>:<n>` and JSON data. An `error` without an id speaks of this stream alone: the run may go on elsewhere.
"""

import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

from fastapi.sse import ServerSentEvent
from pydantic import BaseModel

from api.errors import problem_of
from api.schemas import ChatResponse, SourceOut
from graph.errors import RunError
from graph.events import CategoryFound, Done, Event, Failed, RunStarted, SourcesFound, Token

DONE = "[DONE]"
_INSIDE_DONE = re.compile(r"(?<=\[DO)(?=NE\])")

Numbered = tuple[int, Event]


def unforgeable(text: str) -> Iterator[str]:
    """Yield a token in pieces of which none holds the end marker, so that no answer can forge it."""
    return (piece for piece in _INSIDE_DONE.split(text) if piece)


async def plain(events: AsyncIterator[Event], instance: str) -> AsyncIterator[ServerSentEvent]:
    """Render an answer for a client that only wants text.

    Joined, the data is the answer, except that server-sent events end lines with LF alone: CR and CRLF
    arrive as LF.
    """
    held = ""  # a CR whose LF may be in the next token
    async for event in events:
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
        yield ServerSentEvent(id=event_id(run_id, n), event=event.event, data=payload(event, instance))


def event_id(run_id: str, n: int) -> str | None:
    """Name a run's event; None for one that is no part of it, such as that it can't be read here at the moment."""
    return f"{run_id}:{n}" if n else None


async def unfailing(events: AsyncIterator[Numbered]) -> AsyncIterator[Numbered]:
    """End events that can't be read further with an event, as a stream that has begun must."""
    try:
        async for numbered in events:
            yield numbered
    except RunError as error:
        yield 0, Failed(error.code)


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

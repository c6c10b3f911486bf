"""Server-sent events, in two forms.

Plain: `data: <text>` for each token, then `data: [DONE]`, or `event: error` with a problem.
Typed: `run` · `category` and `sources` (in either order) · `token` … · `done` or `error`, each with the id
`<run_id>:<n>` and JSON data. An `error` without an id concerns only this stream: the run may continue elsewhere.
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
    """Split a token so that no piece contains the end marker, which an answer could otherwise forge."""
    return (piece for piece in _INSIDE_DONE.split(text) if piece)


async def plain(events: AsyncIterator[Event], instance: str) -> AsyncIterator[ServerSentEvent]:
    """Render an answer for a client that only wants text.

    The data joined is the answer, but with CR and CRLF as LF, since server-sent events can't carry a CR.
    """
    held = ""  # a CR whose LF may follow in the next token
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
    """Render a run's events for a client that can reconnect with the last id it received."""
    async for n, event in unfailing(events):
        yield ServerSentEvent(id=event_id(run_id, n), event=event.event, data=payload(event, instance))


def event_id(run_id: str, n: int) -> str | None:
    """Return the id of a run's event; None for n = 0, an error of this stream that is not part of the run."""
    return f"{run_id}:{n}" if n else None


async def unfailing(events: AsyncIterator[Numbered]) -> AsyncIterator[Numbered]:
    """Turn a RunError while reading into a final Failed event, since the response has already started."""
    try:
        async for numbered in events:
            yield numbered
    except RunError as error:
        yield 0, Failed(error.code)


def payload(event: Event, instance: str) -> BaseModel | dict[str, Any] | list[SourceOut]:
    """Return an event's data, as docs/api.md describes it."""
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

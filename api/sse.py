"""Server-sent events, in two forms.

Plain: `data: <text>` for each token, then `data: [DONE]`, or `event: error` with a problem.
Typed: `run` · `category` and `sources` (in either order) · `token` … · `done` or `error`, each with the id
`<run_id>:<n>` and JSON data. An `error` without an id concerns only this stream: the run may continue elsewhere.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from typing import Any

from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from pydantic import BaseModel
from pydantic_core import to_json
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from api.errors import problem_of
from api.schemas import ActionOut, ChatResponse, HandoffOut, SourceOut
from graph.actions.handoffs import SessionEvent
from graph.errors import RunError
from graph.events import CategoryFound, Done, Ending, Event, Failed, RunStarted, SourcesFound, Token
from graph.state import Action, Handoff

DONE = "[DONE]"
_INSIDE_DONE = re.compile(r"(?<=\[DO)(?=NE\])")

_PING = 15.0  # seconds of silence after which a comment keeps the connection alive

Numbered = tuple[int, Event]

_EVENT_SCHEMA = {  # as FastAPI describes its own event streams
    "type": "object",
    "properties": {
        "data": {"type": "string"},
        "event": {"type": "string"},
        "id": {"type": "string"},
        "retry": {"type": "integer", "minimum": 0},
    },
}
STREAMED: dict[int | str, dict[str, Any]] = {200: {"content": {"text/event-stream": {"itemSchema": _EVENT_SCHEMA}}}}
"""The OpenAPI description of an EventStream."""


class EventStream(StreamingResponse):
    """A response of server-sent events; events that are ready together leave in one write.

    FastAPI's own takes each event through two queues and a timer, which costs more than all else that is done for it.
    """

    def __init__(self, events: AsyncIterator[bytes], status_code: int = 200) -> None:
        # A proxy that compresses holds events back until it has enough of them.
        headers = {"Cache-Control": "no-cache, no-transform", "X-Accel-Buffering": "no"}
        super().__init__(events, status_code, headers, media_type="text/event-stream")
        self._events = events
        self._ready: list[bytes] = []
        self._more = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the stream; to HEAD its headers alone, at once."""
        if scope["method"] == "HEAD":
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            await send({"type": "http.response.body", "body": b""})
        else:
            await super().__call__(scope, receive, send)

    async def stream_response(self, send: Send) -> None:
        """Send the events, and a comment whenever there is none for 15 seconds."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        reading = asyncio.create_task(self._read())
        try:
            while not reading.done() or self._ready:
                if body := await self._next():
                    await send({"type": "http.response.body", "body": body, "more_body": True})
            reading.result()
            await send({"type": "http.response.body", "body": b""})
        finally:
            reading.cancel()

    async def _read(self) -> None:
        try:
            async for event in self._events:
                self._ready.append(event)
                self._more.set()
        finally:
            self._more.set()

    async def _next(self) -> bytes:
        try:
            async with asyncio.timeout(_PING):
                await self._more.wait()
        except TimeoutError:
            return KEEPALIVE_COMMENT
        self._more.clear()
        body = b"".join(self._ready)
        self._ready.clear()
        return body


def unforgeable(text: str) -> Iterator[str]:
    """Split a token so that no piece contains the end marker, which an answer could otherwise forge."""
    return (piece for piece in _INSIDE_DONE.split(text) if piece)


async def plain(events: AsyncIterator[Event], instance: str) -> AsyncIterator[bytes]:
    """Render an answer for a client that only wants text.

    The data joined is the answer, but with CR and CRLF as LF, since server-sent events can't carry a CR.
    """
    held = ""  # a CR whose LF may follow in the next token
    async for event in events:
        if isinstance(event, Token):
            text = held + event.text
            held = "\r" if text.endswith("\r") else ""
            for piece in unforgeable(text.removesuffix("\r")):
                yield format_sse_event(data_str=piece)
        elif isinstance(event, Ending):
            if held:
                yield format_sse_event(data_str="\n")
            if isinstance(event, Done):
                yield format_sse_event(data_str=DONE)
            else:
                problem = problem_of(event.error, instance)
                yield format_sse_event(event="error", data_str=problem.model_dump_json())


async def typed(run_id: str, events: AsyncIterator[Numbered], instance: str) -> AsyncIterator[bytes]:
    """Render a run's events for a client that can reconnect with the last id it received."""
    async for n, event in unfailing(events):
        data = payload(event, instance)
        encoded = data.model_dump_json() if isinstance(data, BaseModel) else to_json(data).decode()
        yield format_sse_event(id=event_id(run_id, n), event=event.event, data_str=encoded)


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


async def session_events(events: AsyncIterator[tuple[str, SessionEvent]], instance: str) -> AsyncIterator[bytes]:
    """Render what the readers of a session are told; an `error` without an id concerns only this stream."""
    try:
        async for name, event in events:
            yield format_sse_event(id=name, event=event.event, data_str=to_json(event.data).decode())
    except RunError as error:
        yield format_sse_event(event="error", data_str=problem_of(error.code, instance).model_dump_json())


def payload(event: Event, instance: str) -> BaseModel | dict[str, Any] | list[SourceOut]:
    """Return an event's data, as docs/api.md describes it."""
    match event:
        case RunStarted():
            return {"run_id": event.run_id, "session_id": event.session_id}
        case CategoryFound():
            return {"category": event.category}
        case SourcesFound():
            return [SourceOut.of(source) for source in event.sources]
        case Token():
            return {"text": event.text}
        case Action():
            return ActionOut.of(event)
        case Handoff():
            return HandoffOut.of(event)
        case Done():
            return ChatResponse.of(event)
        case Failed():
            return problem_of(event.error, instance)

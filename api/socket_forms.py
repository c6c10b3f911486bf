"""The two forms of WS /chat: plain text, and typed events in JSON."""

import json
from typing import Final, Protocol

from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.websockets import WebSocket

from api.errors import invalid_message
from api.frames import DecisionFrame, MessageFrame, read_frame
from api.schemas import Problem
from api.sse import DONE, event_id, payload, unforgeable
from graph.actions.handoffs import SessionEvent
from graph.events import Done, Event, Token
from graph.state import Question

NO_ANSWER: Final = 1011
"""The close code of a conversation in plain text that got no answer."""

TRY_LATER: Final = 1013
"""The close code where a limit is exceeded."""

_question = TypeAdapter[str](Question)


class Form(Protocol):
    """The wire format of messages and events."""

    reason: str
    """The reason in the close frame."""

    async def read(self, text: str) -> str | DecisionFrame | None:
        """Return the message, or a yes or no; None to cancel the turn. Raises ValueError after it reports why."""
        ...

    async def send(self, run_id: str, n: int, event: Event) -> None:
        """Send an event of a run."""
        ...

    async def tell(self, name: str, event: SessionEvent) -> None:
        """Send what a person of the team writes, or that a hand-over has ended."""
        ...

    async def refuse(self, problem: Problem) -> int | None:
        """Report why there is no answer; return the code to close with, if any."""
        ...


class TextForm:
    """A message in, tokens out, then `[DONE]`."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self.reason = ""

    async def read(self, text: str) -> str | None:
        """Return the message; raises ValueError."""
        self.reason = "invalid-request"
        message = _question.validate_python(text)
        self.reason = ""
        return message

    async def send(self, run_id: str, n: int, event: Event) -> None:  # noqa: ARG002 - the text form names no run
        """Send a token, or `[DONE]`; other events have no text form."""
        if isinstance(event, Token):
            for piece in unforgeable(event.text):
                await self._websocket.send_text(piece)
        elif isinstance(event, Done):
            await self._websocket.send_text(DONE)

    async def tell(self, name: str, event: SessionEvent) -> None:
        """Send nothing: in text it could not be told from an answer."""

    async def refuse(self, problem: Problem) -> int | None:
        """Close the connection, since an answer could forge any error message in text."""
        self.reason = problem.type
        return TRY_LATER if problem.status == 429 else NO_ANSWER


class TypedForm:
    """JSON in, typed events out."""

    def __init__(self, websocket: WebSocket) -> None:
        self._websocket = websocket
        self._path = websocket.url.path
        self.reason = ""

    async def read(self, text: str) -> str | DecisionFrame | None:
        """Return the message, or a yes or no; None to cancel the turn. Raises ValueError after an `error` event."""
        try:
            frame = json.loads(text)
        except (ValueError, RecursionError):
            frame = None
        try:
            read = read_frame(frame)
        except ValidationError as error:
            await self._say(None, "error", invalid_message(error, self._path).model_dump())
            raise
        if isinstance(read, MessageFrame):
            return read.message
        return read if isinstance(read, DecisionFrame) else None

    async def send(self, run_id: str, n: int, event: Event) -> None:
        """Send an event of a run."""
        data = payload(event, self._path)
        plain = data.model_dump() if isinstance(data, BaseModel) else data
        if isinstance(plain, list):
            plain = [source.model_dump() for source in plain]
        await self._say(event_id(run_id, n), event.event, plain)

    async def tell(self, name: str, event: SessionEvent) -> None:
        """Send the event with its id."""
        await self._say(name, event.event, event.data)

    async def refuse(self, problem: Problem) -> int | None:
        """Send an `error` event that belongs to no run; the connection stays open."""
        await self._say(None, "error", problem.model_dump())
        return None

    async def _say(self, event_id: str | None, event: str, data: object) -> None:
        await self._websocket.send_text(json.dumps({"id": event_id, "event": event, "data": data}))

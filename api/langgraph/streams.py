"""The streams and results of runs, for any number of readers, on any replica."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection, Mapping
from typing import Any, get_args

from fastapi.sse import format_sse_event
from pydantic_core import to_json
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from api.drain import Drain
from api.langgraph.rendering import Mode, Rendered, Rendering
from graph.errors import RunError, ShuttingDown
from graph.events import Failed
from graph.runs.feed import Followed
from graph.runs.records import RunRecord
from graph.runs.sessions import Sessions
from graph.runs.threads import Threads

EVERY: Collection[Mode] = get_args(Mode)

EventId = tuple[int, int]
BEFORE_THE_FIRST: EventId = (0, -1)

_ID = re.compile(r"([0-9]{1,9})-([0-9]{1,2})")
_FROM_THE_FIRST = ("", "-1", "0")
_SIGN_OF_LIFE = 5.0  # seconds between two, while a result is waited for


def read_event_id(text: str) -> EventId | None:
    """Return an event's id as a client sends it back; None if it is none of ours."""
    if text in _FROM_THE_FIRST:
        return BEFORE_THE_FIRST
    found = _ID.fullmatch(text)
    return (int(found[1]), int(found[2])) if found else None


class Reading:
    """One client's reading of a run."""

    def __init__(self, record: RunRecord, run: Followed, threads: Threads, drain: Drain) -> None:
        self._record = record
        self._run = run
        self._threads = threads
        self._drain = drain
        self._rendering: Rendering | None = None

    async def stream(self, modes: Collection[Mode], after: EventId, *, with_run: bool = True) -> AsyncIterator[bytes]:
        """Yield the events of these modes after the one with the id `after`, as server-sent events.

        `with_run` says whether the event with the run's id is wanted. Who wants both forms of messages gets the tuples.
        """
        modes = set(modes) - ({"messages"} if "messages-tuple" in modes else set())
        async for one in self._rendered():
            is_wanted = one.mode in modes if one.mode else with_run or one.name == "error"
            is_new = one.id != after if one.name == "error" else one.id > after  # a dead replica's reader may know more
            if is_wanted and is_new:
                name = f"{one.id[0]}-{one.id[1]}" if one.id[0] else None
                yield format_sse_event(id=name, event=one.name, data_str=to_json(one.data).decode())

    async def result(self) -> dict[str, Any] | None:
        """Return the state after the run, or how it has failed; None if this replica can't tell."""
        error = None
        async for one in self._rendered():
            error = one.data if one.name == "error" else error
        if error:
            return {"__error__": error}
        return self._rendering.values if self._rendering and self._rendering.has_ended else None

    async def _rendered(self) -> AsyncGenerator[Rendered]:
        """Yield all that the run becomes; if this replica can't tell how it goes on, nothing more.

        A client that sees no end asks how the run is doing, and reads on elsewhere.
        """
        try:
            async for n, event in self._drain.follow(self._run):
                if n == 0 and event == Failed(ShuttingDown.code):
                    return
                if self._rendering is None:
                    self._rendering = Rendering(await self._begun())
                for one in self._rendering.render(n, event):
                    yield one
        except RunError:
            return

    async def _begun(self) -> RunRecord:
        if self._record.history is None:  # it waited when the record was read
            found = await self._threads.records([self._record.run_id])
            return found[0] if found else self._record
        return self._record


class Result(Response):
    """A run's result as JSON, whose headers and first blanks are sent while the run goes on.

    So a client knows where the run is before it ends, and a proxy sees that the connection is alive. Where the result
    can't be told the connection is cut, and the client asks again.
    """

    def __init__(
        self, reading: Reading, headers: Mapping[str, str], left: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        super().__init__(headers=headers, media_type="application/json")
        del self.headers["content-length"]
        self._reading = reading
        self._left = left
        """Called if the client leaves before the end."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the result; to HEAD its headers alone, at once."""
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        if scope["method"] == "HEAD":
            await send({"type": "http.response.body"})
            return
        result = asyncio.create_task(self._reading.result())
        gone = asyncio.create_task(_disconnected(receive))
        try:
            while not (result.done() or gone.done()):
                await asyncio.wait((result, gone), timeout=_SIGN_OF_LIFE, return_when=asyncio.FIRST_COMPLETED)
                await send({"type": "http.response.body", "body": b"" if result.done() else b"\n", "more_body": True})
            if result.done() and (found := result.result()) is not None:
                await send({"type": "http.response.body", "body": to_json(found)})
            elif gone.done() and self._left:
                await self._left()
        finally:
            result.cancel()
            gone.cancel()


async def cancelling(events: AsyncIterator[bytes], run: Followed, sessions: Sessions) -> AsyncGenerator[bytes]:
    """Yield a run's events, and cancel the run if they are not read to their end."""
    is_read = False
    try:
        async for event in events:
            yield event
        is_read = True
    finally:
        if not is_read:
            await sessions.stop(run)


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

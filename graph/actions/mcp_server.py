"""One server of tools: a session that is kept in a task of its own, its list of tools, and calls."""

import asyncio
import logging
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import httpx2
from opentelemetry import context, trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from graph import __version__
from graph.actions.listing import Listed, listed
from graph.actions.mcp_faults import Failure, failure_of
from graph.actions.mcp_wire import Wire
from graph.breaker import Breaker
from graph.errors import kind_and_place

if TYPE_CHECKING:
    from mcp.client.client import Client
    from mcp.types import CallToolResult

FRESH = 30.0
"""Seconds after which a list of tools is asked for again, which also shows whether the server is there."""
RETRY = 2.0
"""Seconds between two attempts while the server is down."""
_AGAIN = 0.1  # seconds before a session that is gone is opened again
_REOPENING = 2.0  # seconds that a call waits for that
_SILENCE = 60.0  # seconds without a byte of a stream of events, which sends a sign of life more often
_MOST_PAGES = 10
_TRACES = 0x5EED  # stands for a trace that nobody records

_log = logging.getLogger(__name__)


class Server:
    """A server of tools.

    The SDK's contexts must be left in the task that has entered them. So `keep` holds the session in a task of its
    own, and calls are made in their callers' tasks. A server that is down is asked only by `keep`, until it answers.
    """

    def __init__(self, name: str, url: str, token: str | None, limit: float) -> None:
        self.name = name
        self.tools: tuple[Listed, ...] = ()
        """Those of its latest list, also while it is down."""
        self.latency_ms = 0.0
        """Milliseconds that the latest list has taken."""
        self.settled = asyncio.Event()
        """Set when it has answered, or failed, for the first time."""
        self.failure: Failure | None = Failure("has not answered yet", "wait a moment", is_certain=True)
        """Why its tools can't be called; None while it is up."""
        self._url = url
        self._headers = {"accept-encoding": "identity", **({"authorization": f"Bearer {token}"} if token else {})}
        self._limit = limit
        self._timeout = httpx2.Timeout(limit, read=_SILENCE)
        self._wire = Wire()
        # `keep` makes the trials, so there is no pause for which the breaker would refuse them.
        self._breaker = Breaker(f"MCP server {name}", _means_down, threshold=1, pause=0)
        self._client: Client | None = None
        self._raw: list[Any] = []
        self._due = asyncio.Event()
        self._up = asyncio.Event()
        self._calls = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def keep(self) -> None:
        """Hold a session until cancelled, and open another one whenever it fails."""
        with _unrecorded():
            async with httpx2.AsyncClient(transport=self._wire, headers=self._headers, timeout=self._timeout) as http:
                while True:
                    await self._wait(await self._until_lost(http))

    async def _until_lost(self, http: httpx2.AsyncClient) -> float:
        """Hold a session until it fails, and return the seconds after which to open another one."""
        try:
            with self._breaker:
                try:
                    await self._stay(http)
                except Exception as error:  # noqa: BLE001 - whatever a server does, it only loses its tools
                    _log.debug("MCP server %s: %s", self.name, kind_and_place(error))
                    failure = failure_of(error, self._wire.fault, self._limit)
                    failure.is_down = True  # without a list of tools, whatever the reason
                    raise failure from None
        except Failure as failure:
            self._lost(failure)
            return _AGAIN if failure.is_gone else RETRY
        raise AssertionError("a session is held until it fails")

    async def call(self, name: str, arguments: Mapping[str, Any], meta: Mapping[str, str]) -> "CallToolResult":
        """Call a tool by the name that the server has for it; raises Failure."""
        try:
            return await self._call(name, arguments, meta)
        except Failure as failure:
            if not failure.is_gone:
                raise
            with suppress(TimeoutError):  # the session alone is gone, as after a restart
                async with asyncio.timeout(_REOPENING):
                    await self._up.wait()
            return await self._call(name, arguments, meta)

    async def _call(self, name: str, arguments: Mapping[str, Any], meta: Mapping[str, str]) -> "CallToolResult":
        client = self._client
        if client is None or self.failure:
            reason = self.failure.reason if self.failure else "is connecting"
            raise Failure(reason, "", is_certain=True)
        self._calls += 1
        self._idle.clear()
        try:
            with self._breaker, _unrecorded():
                async with asyncio.timeout(self._limit):
                    # `meta` may hold anything; the SDK's type knows its own entries alone.
                    return await client.call_tool(name, dict(arguments), meta=dict(meta))  # pyright: ignore[reportArgumentType]
        except Exception as error:  # noqa: BLE001 - what the SDK raises is told apart there
            failure = failure_of(error, self._wire.fault, self._limit)
            if failure.is_down or failure.is_gone:
                self._lost(failure)
                self._due.set()
            raise failure from None  # the error's text may be the server's
        finally:
            self._calls -= 1
            if not self._calls:
                self._idle.set()

    async def _stay(self, http: httpx2.AsyncClient) -> None:
        """Hold one session: ask for the tools whenever that is due, until this fails."""
        from mcp.client.client import Client
        from mcp.client.streamable_http import streamable_http_client
        from mcp.types import Implementation

        # Any transport is taken; the type of this one says less than its docstring.
        client = Client(
            streamable_http_client(self._url, http_client=http),  # pyright: ignore[reportArgumentType]
            cache=None,
            message_handler=self._hear,
            client_info=Implementation(name="support-agent", version=__version__),
        )
        entering = asyncio.timeout(self._limit)
        async with entering:
            await client.__aenter__()
        try:
            while True:
                async with asyncio.timeout(self._limit):
                    await self._list(client)
                self._client = client
                self._found()
                await self._wait(FRESH)
        except Exception as error:
            self._lost(failure_of(error, self._wire.fault, self._limit))
            await self._idle.wait()  # a call that is under way may still be answered
            raise
        finally:
            self._client = None
            await client.__aexit__(None, None, None)

    async def _list(self, client: "Client") -> None:
        began = time.monotonic()
        found: list[Any] = []
        cursor: str | None = None
        for _ in range(_MOST_PAGES):
            page = await client.list_tools(cursor=cursor)
            found += page.tools
            if not (cursor := page.next_cursor):
                break
        self.latency_ms = round((time.monotonic() - began) * 1000, 1)
        if found != self._raw:  # otherwise all is checked already
            self.tools = tuple(listed(self.name, found))
            self._raw = found

    async def _hear(self, message: object) -> None:
        if getattr(message, "method", "") == "notifications/tools/list_changed":
            self._due.set()

    async def _wait(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._due.wait()
        self._due.clear()

    def _found(self) -> None:
        if self.failure:
            _log.info("MCP server %s: answers, with %d tools", self.name, len(self.tools))
        self.failure = None
        self._breaker.close()
        self._up.set()
        self.settled.set()

    def _lost(self, failure: Failure) -> None:
        if self.failure is None or self.failure.reason != failure.reason:
            _log.warning("MCP server %s: %s; %s; its tools are left out", self.name, failure.reason, failure.remedy)
        self.failure = failure
        self._up.clear()
        self.settled.set()


def _means_down(error: Exception) -> bool:
    failure = failure_of(error, None, 0)
    return failure.is_down or failure.is_gone


@contextmanager
def _unrecorded() -> Generator[None]:
    """Keep the SDK's spans out of traces: they hold texts of servers, and one would begin with each list of tools.

    The id of the trace still reaches the server.
    """
    now = trace.get_current_span().get_span_context()
    ids = SpanContext(now.trace_id or _TRACES, now.span_id or _TRACES, is_remote=False, trace_flags=TraceFlags(0))
    token = context.attach(trace.set_span_in_context(NonRecordingSpan(ids)))
    try:
        yield
    finally:
        context.detach(token)

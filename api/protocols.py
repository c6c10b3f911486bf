"""uvicorn's HTTP and WebSocket protocols, with limits on what a client may send before its request is complete.

uvicorn reads headers without a limit, keeps any number of idle connections, sends chunks to HTTP/1.0 clients, and
answers pings even if the client does not read the pongs.
"""

import asyncio
from collections.abc import Mapping
from functools import partial
from typing import Any, cast

from starlette.datastructures import Headers
from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn._types import ASGI3Application
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import SecurityError

from api.errors import unread_response
from api.idle import IdleConnections
from api.middleware import MAX_HEADERS
from api.proxies import stranger_address
from api.request_id import HEADER, choose_request_id, request_id

HEADERS_TIMEOUT = 10.0
"""Seconds that a request's headers may take to arrive."""

KEEP_ALIVE = 620
"""Seconds that an idle connection stays open: longer than any load balancer keeps one (Google's: 600 s). If the service
closed first, a request could already be on its way, and the load balancer would respond with 502."""

_LINGER = 2.0  # seconds to discard the rest of a request that a client still sends after the response
_SETTLING = (
    0.5  # seconds before a new connection counts as any idle one: of many at once, a request may not have been read
)
_MOST_UNREAD = 65_536  # bytes of pongs that a client may leave unread


class HttpProtocol(HttpToolsProtocol):
    """Refuses too large headers with 431, slow ones with 408 and invalid HTTP with 400, as problems, and closes.

    Of an address with too many idle connections it closes the longest idle one. A trusted proxy may have any number.
    """

    url = b""  # uvicorn has none before a request begins
    _stranger: str | None = None
    _settling: asyncio.TimerHandle | None = None
    _head = 0
    _in_head = True
    _refused = False
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - uvicorn's signature
        """Start the time-out for the headers."""
        super().connection_made(transport)
        self._wait()
        self._idle: IdleConnections | None = self.app_state.get("idle")  # an application without our lifespan has none
        if self._idle and self.client:
            connection = HTTPConnection({"type": "http", "client": self.client, "headers": []})
            self._stranger = stranger_address(connection, self.app_state["settings"].trusted_proxies)
        self._begin_idling()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop the time-out."""
        self._stop_waiting()
        self._end_idling()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse data, unless the headers are too large; data after a refusal is dropped."""
        if self._refused:
            return
        if self._in_head:
            self._head += len(data)
        super().data_received(data)
        if self.transport.get_protocol() is not self:
            return  # upgraded to a WebSocket
        if self._in_head and self._head > MAX_HEADERS:
            self._refuse(431)
        elif self._in_head and self._is_answered():
            self._wait()

    def send_400_response(self, msg: str) -> None:
        """Refuse invalid HTTP, and URLs too long for uvicorn's parser; uvicorn would respond in plain text."""
        del msg
        self._refuse(431 if len(self.url) >= MAX_HEADERS else 400)

    def on_headers_complete(self) -> None:
        """Stop the time-out; uvicorn serves the request."""
        self._in_head = False
        self._stop_waiting()
        self._end_idling()
        super().on_headers_complete()
        # The parser stops at a request to upgrade: it would take the bytes of the body for the next request.
        if self.parser.should_upgrade() and not self._should_upgrade():  # pyright: ignore[reportOptionalMemberAccess] - it calls us
            self._refused = True
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Get ready for the next request; uvicorn's keep-alive time-out limits the wait for it."""
        self._in_head = True
        self._head = 0
        self._stop_waiting()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Give a client that is still sending time to read the response."""
        super().on_response_complete()
        if not self._in_head and self._deadline is None:
            self._linger()
        if self._is_answered() and not self.transport.is_closing():
            self._begin_idling()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        if cycle.scope["http_version"] == "1.0":
            app = cast("ASGI3Application", _unframed(cast("ASGIApp", app), cycle))
        super()._start_asgi_task(cycle, app)

    def _begin_idling(self) -> None:
        if self._idle and self._stranger:
            self._idle.begin(self._stranger, self, self.transport.abort, is_new=True)
            settle = partial(self._idle.settle, self._stranger)
            self._settling = asyncio.get_running_loop().call_later(_SETTLING, settle)

    def _end_idling(self) -> None:
        if self._idle and self._stranger and self._settling:
            self._settling.cancel()
            self._idle.end(self._stranger, self)

    def _is_answered(self) -> bool:
        cycle = cast("RequestResponseCycle | None", self.cycle)  # None before the first request
        return cycle is None or cycle.response_complete

    def _wait(self) -> None:
        if self._deadline is None:
            self._deadline = asyncio.get_running_loop().call_later(HEADERS_TIMEOUT, self._refuse, 408)

    def _stop_waiting(self) -> None:
        if self._deadline:
            self._deadline.cancel()
            self._deadline = None

    def _linger(self) -> None:
        self._deadline = asyncio.get_running_loop().call_later(_LINGER, self.transport.abort)

    def _refuse(self, status: int) -> None:
        if self._refused or self.transport.is_closing():
            return
        # A refusal must not be written into a response in progress, nor before an earlier request's response.
        if not self._is_answered() and (self._in_head or self.cycle.response_started):
            self.transport.abort()
            return
        self.transport.write(_refusal(status))
        self._stop_waiting()
        if self._is_answered():  # otherwise the handler in progress must find the connection closed
            self._refused = True
            self.transport.write_eof()
            self._linger()
        else:
            self.transport.close()


def _unframed(app: ASGIApp, cycle: RequestResponseCycle) -> ASGIApp:
    """Send a response without Content-Length as it is: HTTP/1.0 has no chunks, the end of the connection ends it."""

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        unframed = False

        async def send_unframed(message: Message) -> None:
            nonlocal unframed
            if message["type"] == "http.response.start":
                unframed = "content-length" not in Headers(raw=message["headers"])
                cycle.chunked_encoding = False if unframed else None
            elif unframed:  # uvicorn would refuse a body that is longer than it expects
                cycle.expected_content_length = len(message.get("body", b""))
            await send(message)

        await app(scope, receive, send_unframed)

    return serve


def _refusal(status: int) -> bytes:
    token = request_id.set(choose_request_id(None))
    response = unread_response(status)
    response.headers[HEADER] = request_id.get()
    response.headers["Connection"] = "close"
    request_id.reset(token)
    lines = [f"HTTP/1.1 {status} Refused".encode(), *(b": ".join(header) for header in response.raw_headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + bytes(response.body)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Disconnects clients that send pings and do not read the pongs; responds to invalid handshakes."""

    def data_received(self, data: bytes) -> None:
        """Refuse a handshake with a body, or with too many headers for websockets; uvicorn would not respond."""
        super().data_received(data)
        if self.conn.handshake_exc and not self.handshake_initiated and not self.transport.is_closing():
            self.transport.write(_refusal(431 if isinstance(self.conn.handshake_exc, SecurityError) else 400))
            self.transport.close()

    def handle_ping(self) -> None:
        """Send a pong, unless too many are unread."""
        super().handle_ping()
        if self.transport.get_write_buffer_size() > _MOST_UNREAD:
            self.transport.abort()


OPTIONS: Mapping[str, Any] = {
    "http": HttpProtocol,
    "ws": WebSocketProtocol,
    "ws_per_message_deflate": False,  # a small frame could unpack to a large one
    "proxy_headers": False,  # the application trusts only SUPPORT_TRUSTED_PROXIES
    "server_header": False,
    "access_log": False,  # it contains query strings, and with them customers' questions
    "timeout_keep_alive": KEEP_ALIVE,
}
"""uvicorn's options for the service."""

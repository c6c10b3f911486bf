"""uvicorn's protocols, with an end to how much and how long a client may talk before a request is there.

uvicorn reads headers without a limit, and answers pings without looking whether the client reads the answers.
"""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import SecurityError

from api.errors import unread_response
from api.middleware import MAX_HEADERS
from api.request_id import HEADER, choose_request_id, request_id

HEADERS_TIMEOUT = 10.0
"""Seconds that a request's headers may take to arrive."""

KEEP_ALIVE = 620
"""Seconds that an idle connection stays open: more than any balancer keeps one (Google's 600), since whoever closes
first may close on a request that is under way, which the balancer answers with 502."""

_LINGER = 2.0  # seconds that a client, or a proxy, may go on to send what has been answered, and that nobody keeps
_MOST_UNREAD = 65_536  # bytes of pongs that a client has not read


class HttpProtocol(HttpToolsProtocol):
    """Answers 431 to endless headers, 408 to slow ones and 400 to what is no HTTP, each as a problem, and closes."""

    url = b""  # uvicorn has none before a request begins
    _head = 0
    _in_head = True
    _refused = False
    _deadline: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore[reportIncompatibleMethodOverride] - uvicorn's signature
        """Begin to wait for a request."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Wait no longer."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Read on, unless the headers have become too large; what comes after a refusal is dropped."""
        if self._refused:
            return
        if self._in_head:
            self._head += len(data)
        super().data_received(data)
        if self.transport.get_protocol() is not self:
            return  # it is a WebSocket's now
        if self._in_head and self._head > MAX_HEADERS:
            self._refuse(431)
        elif self._in_head and self._is_answered():
            self._wait()

    def send_400_response(self, msg: str) -> None:
        """Refuse what is no HTTP, or an address of a length that uvicorn can't read; it would do so in plain text."""
        del msg
        self._refuse(431 if len(self.url) >= MAX_HEADERS else 400)

    def on_headers_complete(self) -> None:
        """Leave the rest to uvicorn."""
        self._in_head = False
        self._stop_waiting()
        super().on_headers_complete()
        # The parser takes what follows for the other protocol's: its next bytes, the body's, would pass for a request.
        if self.parser.should_upgrade() and not self._should_upgrade():  # pyright: ignore[reportOptionalMemberAccess] - it calls us
            self._refused = True
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Be ready for the next request; how long it may stay away is uvicorn's to say."""
        self._in_head = True
        self._head = 0
        self._stop_waiting()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Give a client that still sends a moment to read the answer."""
        super().on_response_complete()
        if not self._in_head and self._deadline is None:
            self._linger()

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
        # Nothing may be written into the answer under way, or in place of an earlier request's.
        if not self._is_answered() and (self._in_head or self.cycle.response_started):
            self.transport.abort()
            return
        self.transport.write(_refusal(status))
        self._stop_waiting()
        if self._is_answered():  # else who would have answered must find the connection closed
            self._refused = True
            self.transport.write_eof()
            self._linger()
        else:
            self.transport.close()


def _refusal(status: int) -> bytes:
    token = request_id.set(choose_request_id(None))
    response = unread_response(status)
    response.headers[HEADER] = request_id.get()
    response.headers["Connection"] = "close"
    request_id.reset(token)
    lines = [f"HTTP/1.1 {status} Refused".encode(), *(b": ".join(header) for header in response.raw_headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + bytes(response.body)


class WebSocketProtocol(WebSocketsSansIOProtocol):
    """Leaves a client that sends pings and reads no pongs."""

    def data_received(self, data: bytes) -> None:
        """Refuse a handshake with a body, or more headers than the library takes; uvicorn would not answer it."""
        super().data_received(data)
        if self.conn.handshake_exc and not self.handshake_initiated and not self.transport.is_closing():
            self.transport.write(_refusal(431 if isinstance(self.conn.handshake_exc, SecurityError) else 400))
            self.transport.close()

    def handle_ping(self) -> None:
        """Answer, if the client reads the answers."""
        super().handle_ping()
        if self.transport.get_write_buffer_size() > _MOST_UNREAD:
            self.transport.abort()


OPTIONS: Mapping[str, Any] = {
    "http": HttpProtocol,
    "ws": WebSocketProtocol,
    "ws_per_message_deflate": False,  # a small frame could unpack to a large one
    "proxy_headers": False,  # the application believes SUPPORT_TRUSTED_PROXIES alone
    "server_header": False,
    "access_log": False,  # it holds query strings, and so what customers ask
    "timeout_keep_alive": KEEP_ALIVE,
}
"""How uvicorn shall run the service."""

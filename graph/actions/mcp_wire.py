"""The HTTP wire to a server of tools: what goes wrong fails one request, bounded, and is told apart by its code.

The SDK ends a kept session for every caller when one connection is refused or breaks, and calls each HTTP status an
internal error. So such a failure becomes an answer here: a JSON-RPC error with a code of ours.
"""

from collections.abc import AsyncIterator
from typing import cast

import httpx2

MOST_BYTES = 1_000_000
"""Of an answer; a longer one is broken off."""

REFUSED = -31000
"""The code of a connection that was not made, so nothing was sent."""
BROKEN = -31999
"""The code of a connection that broke after the request was sent."""
GONE = 410
"""The status of a session that the server has forgotten, which it calls 404."""

_MAY_BE_MCP = frozenset({400, 404, 405, 406, 415, 422})
"""Statuses whose body may be an error of the protocol, from which a version is negotiated."""
_NOT_SENT = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout, httpx2.UnsupportedProtocol)
_SESSION = "mcp-session-id"


def status_in(code: int) -> int | None:
    """Return the HTTP status that a code stands for, if it does."""
    return REFUSED - code if REFUSED - 599 <= code <= REFUSED - 400 else None


class Wire(httpx2.AsyncBaseTransport):
    """Sends requests over a connection pool; never raises what would end a session."""

    def __init__(self) -> None:
        self._pool = httpx2.AsyncHTTPTransport()
        self.fault: Exception | None = None
        """The latest error of a connection."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Return the server's answer, or one that stands for its failure."""
        try:
            response = await self._pool.handle_async_request(request)
        except httpx2.TransportError as error:
            self.fault = error
            return _failure(503, REFUSED if isinstance(error, _NOT_SENT) else BROKEN)
        status = response.status_code
        if status == 404 and _SESSION in request.headers:
            status = GONE
        stream = cast("httpx2.AsyncByteStream", response.stream)
        if status >= 400:
            content = await _whole(stream) if status in _MAY_BE_MCP else b""
            await response.aclose()
            if b'"jsonrpc"' not in content:
                return _failure(status, REFUSED - status)
            return httpx2.Response(status, headers={"content-type": "application/json"}, content=content)
        is_endless = response.headers.get("content-type", "").startswith("text/event-stream")
        response.stream = _Bounded(stream, None if is_endless else MOST_BYTES)  # the SDK bounds each event
        return response

    async def aclose(self) -> None:
        """Close the connections."""
        await self._pool.aclose()


class _Bounded(httpx2.AsyncByteStream):
    """A body whose errors are those that the SDK takes for the failure of one request."""

    def __init__(self, stream: httpx2.AsyncByteStream, most: int | None) -> None:
        self._stream = stream
        self._most = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        try:
            async for chunk in self._stream:
                size += len(chunk)
                if self._most is not None and size > self._most:
                    raise httpx2.StreamError("the answer is too long")
                yield chunk
        except httpx2.TransportError as error:
            raise httpx2.StreamError("the connection broke") from error

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _whole(stream: httpx2.AsyncByteStream) -> bytes:
    """Return a body, or nothing where it can't be read."""
    try:
        return b"".join([chunk async for chunk in _Bounded(stream, MOST_BYTES)])
    except httpx2.StreamError:
        return b""


def _failure(status: int, code: int) -> httpx2.Response:
    error = {"code": code, "message": "failed"}
    return httpx2.Response(status, json={"jsonrpc": "2.0", "id": None, "error": error})

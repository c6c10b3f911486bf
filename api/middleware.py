"""ASGI middleware for every request: request id, log line, limits, API keys, CORS, unexpected exceptions."""

import asyncio
import logging
import re
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import anyio
from starlette._utils import get_route_path  # what routes see of a path
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import HTTPConnection, cookie_parser
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from structlog.contextvars import bind_contextvars, unbind_contextvars

from api.auth import ApiKey, Principal, VisitorTokens, identify, is_open_to_visitors
from api.errors import defect_response, not_for_visitors, preflight_response, problem_response
from api.inbox_sessions import COOKIE, InboxSessions
from api.proxies import is_of_own_page
from api.request_id import HEADER, choose_request_id, request_id
from api.settings import Network
from api.telemetry import UNINTERESTING, open_streams
from graph.errors import StartError, kind_and_place

MAX_HEADERS = 65_536
"""Bytes of a request's URL and headers; a question of 4,000 characters at 12 bytes each fits into the URL."""

BODY_TIMEOUT = 10.0
"""Seconds that a request's body may take to arrive."""

OPEN = frozenset(
    {
        *("/", "/health", "/ready", "/docs", "/openapi.json", "/embed.js", "/embed.json", "/visitors/anonymous"),
        *("/inbox", "/inbox/", "/inbox/session"),
    }
)
"""Paths that need no key: probes and web pages send none, and the OpenAPI description is public."""

_FILES = ("/docs/", "/static/")
"""The beginnings of the paths of these pages' files."""
_WITH_COOKIE = ("/inbox/", "/handoffs")  # the paths that take the inbox's cookie in place of a key

_STREAM = "text/event-stream"
_TOKEN_IN_URL = re.compile(rb"(?:^|&)token=")
_ASKED_HEADERS = "access-control-request-headers"

_NO_FRAME = (b"x-frame-options", b"DENY")  # it can't name origins
_SECURITY = (
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    _NO_FRAME,
)
_POLICY = b"default-src 'none'; frame-ancestors 'none'"
_DOCS_POLICY = (  # Swagger UI has a script and styles within the page
    b"default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:;"
    b" frame-ancestors 'none'"
)

_log = logging.getLogger(__name__)


class RequestMiddleware:
    """Gives each request and WebSocket an id and a log line, limits its headers, and adds the response headers.

    The log line has only the method, route, status, duration and ids. Headers that a handler puts into `state.headers`
    are sent with every response, also with an error.
    """

    def __init__(self, app: ASGIApp, framing: Sequence[str]) -> None:
        self._app = app
        self._framing = " ".join(framing).encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        chosen = choose_request_id(Headers(scope=scope).get(HEADER))
        token = request_id.set(chosen)
        bind_contextvars(request_id=chosen)
        headers: dict[str, str] = {HEADER: chosen}
        scope.setdefault("state", {})["headers"] = headers
        status = 0
        streams = scope["type"] == "websocket"
        if streams:
            open_streams.add(1)
        began = time.monotonic()

        async def send_named(message: Message) -> None:
            nonlocal status, streams
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                status = message["status"]
                if not streams and Headers(raw=message["headers"]).get("content-type", "").startswith(_STREAM):
                    streams = True
                    open_streams.add(1)
                all_headers = _headers(message["headers"], headers, get_route_path(scope), self._framing)
                message = {**message, "headers": all_headers}
            elif message["type"] == "websocket.close":
                status = message["code"]
            await send(message)

        try:
            if _size(scope) > MAX_HEADERS:
                await problem_response(431, scope["path"])(scope, receive, send_named)
            else:
                await self._app(scope, receive, send_named)
        finally:
            if streams:
                open_streams.add(-1)
            route = getattr(scope.get("route"), "path", "(no route)")
            method, milliseconds = scope.get("method", "WS"), round((time.monotonic() - began) * 1000)
            shape = {"method": method, "route": route, "status": status, "duration_ms": milliseconds}
            if run_id := scope["state"].get("run_id"):
                shape["run_id"] = run_id
            level = logging.DEBUG if route in UNINTERESTING and shape["status"] == 200 else logging.INFO
            _log.log(level, "%s %s %d", method, route, status, extra=shape)
            unbind_contextvars("request_id")
            request_id.reset(token)


def _size(scope: Scope) -> int:
    return len(scope["raw_path"]) + len(scope["query_string"]) + sum(len(k) + len(v) for k, v in scope["headers"])


def _headers(
    sent: Iterable[tuple[bytes, bytes]], told: Mapping[str, str], path: str, framing: bytes
) -> list[tuple[bytes, bytes]]:
    """Return a response's headers with those in `told`, and with those for security that it lacks.

    The origins `framing` may show the chat page in a frame.
    """
    ours = [(name.lower().encode(), value.encode("latin-1")) for name, value in told.items()]
    names = {name for name, _ in ours}
    headers = ours + [header for header in sent if header[0] not in names]
    names = {name for name, _ in headers}
    policy = (b"content-security-policy", _DOCS_POLICY if path == "/docs" else _POLICY)
    headers += [header for header in (*_SECURITY, policy) if header[0] not in names]
    if not framing or path != "/":
        return headers
    return [_framed(header, framing) for header in headers if header != _NO_FRAME]


def _framed(header: tuple[bytes, bytes], framing: bytes) -> tuple[bytes, bytes]:
    name, value = header
    is_policy = name == b"content-security-policy"
    return (name, value.replace(b"frame-ancestors 'none'", b"frame-ancestors " + framing)) if is_policy else header


class DefectMiddleware:
    """Responds to an unexpected exception with a problem, and logs the exception's type and place."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        begun = False

        async def send_noting(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_noting)
        except anyio.BrokenResourceError:  # FastAPI raises it when the client disconnects during a stream
            if not begun:
                raise
        except Exception as error:
            if scope["type"] not in ("http", "websocket"):
                raise
            _log.error(kind_and_place(error))
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1011})
            elif not begun:
                await defect_response(scope["path"])(scope, receive, send)


class CrossOriginMiddleware(CORSMiddleware):
    """Adds CORS to the paths that match `paths`.

    It refuses a preflight with a problem that says what was refused; Starlette would use plain text.
    """

    def __init__(self, app: ASGIApp, paths: re.Pattern[str], **options: Any) -> None:  # noqa: ANN401 - CORSMiddleware's
        super().__init__(app, **options)
        self._paths = paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http" or not self._paths.match(get_route_path(scope)):
            await self.app(scope, receive, send)
            return
        headers = _tidied(Headers(scope=scope)) if scope.get("method") == "OPTIONS" else Headers()
        if "origin" in headers and "access-control-request-method" in headers:
            answer = self.preflight_response(headers)
            if answer.status_code != 200:
                told = {name: value for name, value in answer.headers.items() if not name.startswith("content-")}
                refused = self._refused(headers) if self.is_allowed_origin(headers["origin"]) else None
                answer = preflight_response(refused, scope["path"]) if refused else problem_response(403, scope["path"])
                answer.headers.update(told)
            await answer(scope, receive, send)
        elif self.allow_origins:
            await super().__call__(scope, receive, send)
        else:  # no page may read the response, so there is nothing to add
            await self.app(scope, receive, send)

    def _refused(self, headers: Headers) -> str:
        """Return which method or headers a page of an allowed origin may not use, and those that it may."""
        method = headers["access-control-request-method"]
        if method not in self.allow_methods:
            return f"The method {method} is none of {', '.join(self.allow_methods)}."
        asked = (name.strip().lower() for name in headers.get(_ASKED_HEADERS, "").split(","))
        others = ", ".join(name for name in asked if name not in self.allow_headers)
        return f"No page may send these headers: {others}. It may send {', '.join(self.allow_headers)}."


def _tidied(headers: Headers) -> Headers:
    """Leave empty elements out of the list of headers that a preflight asks for, as RFC 9110 has it."""
    tidied = headers.mutablecopy()
    if asked := tidied.get(_ASKED_HEADERS):
        tidied[_ASKED_HEADERS] = ",".join(name for name in asked.split(",") if name.strip())
    if tidied.get(_ASKED_HEADERS) == "":
        del tidied[_ASKED_HEADERS]
    return tidied


class StartMiddleware:
    """Reports a failed start in one line; Starlette would report a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the lifespan."""

        async def send_plainly(message: Message) -> None:
            if message["type"] in ("lifespan.startup.failed", "lifespan.shutdown.failed"):
                error = sys.exc_info()[1]
                reason = str(error) if isinstance(error, StartError) else kind_and_place(error)
                message = {**message, "message": reason}
            await send(message)

        await self._app(scope, receive, send_plainly if scope["type"] == "lifespan" else send)


class KeyMiddleware:
    """Sets `state.caller`, and refuses requests without a valid API key or token before their body is read.

    A visitor's token opens the paths that are named for it. One in a URL is refused, since URLs are logged everywhere.
    """

    def __init__(
        self, app: ASGIApp, keys: Sequence[ApiKey], tokens: VisitorTokens | None, trusted: Sequence[Network]
    ) -> None:
        self._app = app
        self._trusted = trusted
        self._keys = keys
        self._tokens = tokens

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket") or _is_open(get_route_path(scope)):
            await self._app(scope, receive, send)
            return
        caller = await self._caller(scope)
        if caller is None:
            response = problem_response(401, scope["path"])
            response.headers["WWW-Authenticate"] = "Bearer"
            await response(scope, receive, send)
        elif caller.visitor and not is_open_to_visitors(get_route_path(scope)):
            await not_for_visitors(scope["path"])(scope, receive, send)
        else:
            scope["state"]["caller"] = caller
            await self._app(scope, receive, send)

    async def _caller(self, scope: Scope) -> Principal | None:
        """Return the caller by the key or token, or by the inbox's cookie, which a page of this service alone sends."""
        if self._tokens and _TOKEN_IN_URL.search(scope["query_string"]):
            return None
        headers = Headers(scope=scope)
        if caller := identify(self._keys, self._tokens, headers):
            return caller
        if not get_route_path(scope).startswith(_WITH_COOKIE) or "authorization" in headers:
            return None
        if not is_of_own_page(HTTPConnection(scope), self._trusted):
            return None
        cookie = cookie_parser(headers.get("cookie", "")).get(COOKIE)
        sessions: InboxSessions = scope["state"]["inbox_sessions"]
        return await sessions.caller(cookie) if cookie else None


def _is_open(path: str) -> bool:
    return path in OPEN or path.startswith(_FILES)


class BodyLimitMiddleware:
    """Refuses bodies of more than `limit` bytes with 413, and those slower than BODY_TIMEOUT with 408, as problems.

    FastAPI's own limit can't respond with problems. A body whose Content-Length is too large is refused unread.
    """

    def __init__(self, app: ASGIApp, limit: int) -> None:
        self._app = app
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        declared = Headers(scope=scope).get("content-length", "") if scope["type"] == "http" else ""
        seen = int(declared) if declared.isdecimal() else 0
        if seen <= self._limit:
            seen = 0

        whole = scope["type"] != "http"
        give_up = time.monotonic() + BODY_TIMEOUT

        async def receive_some() -> Message:
            nonlocal seen, whole
            if whole:
                return await receive()
            if seen <= self._limit:
                try:
                    async with asyncio.timeout(give_up - time.monotonic()):
                        message = await receive()
                except TimeoutError:
                    raise HTTPException(408) from None
                seen += len(message.get("body", b""))
                if seen <= self._limit:
                    whole = not message.get("more_body", False)
                    return message
            raise HTTPException(413)

        await self._app(scope, receive_some, send)

"""What happens to every request: an id, a log line, a limit, and a problem where the service has a defect."""

import logging
import sys
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from support_agent.api.errors import defect_response
from support_agent.api.request_id import HEADER, choose_request_id, request_id
from support_agent.graph.errors import StartError, kind_and_place

_log = logging.getLogger(__name__)


class RequestMiddleware:
    """Names, logs and guards each HTTP request.

    The log holds the request's shape alone: its method, route, status, duration and id.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        chosen = choose_request_id(Headers(scope=scope).get(HEADER))
        token = request_id.set(chosen)
        status = 0
        began = time.monotonic()

        async def send_named(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[HEADER] = chosen
            await send(message)

        try:
            await self._app(scope, receive, send_named)
        except Exception as error:  # noqa: BLE001 - every request ends with an answer
            _log.error(kind_and_place(error))
            if not status:
                await defect_response(scope["path"])(scope, receive, send_named)
        finally:
            route = getattr(scope.get("route"), "path", "(no route)")
            milliseconds = (time.monotonic() - began) * 1000
            _log.info("%s %s %d %.0f ms %s", scope["method"], route, status, milliseconds, chosen)
            request_id.reset(token)


class StartMiddleware:
    """Says in one line why the service does not start, where Starlette would send a traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection, or the service's start and end."""

        async def send_plainly(message: Message) -> None:
            if message["type"] in ("lifespan.startup.failed", "lifespan.shutdown.failed"):
                error = sys.exc_info()[1]
                reason = str(error) if isinstance(error, StartError) else kind_and_place(error)
                message = {**message, "message": reason}
            await send(message)

        await self._app(scope, receive, send_plainly if scope["type"] == "lifespan" else send)


class BodyLimitMiddleware:
    """Refuses bodies of more than `limit` bytes with 413, as a problem, which FastAPI's own limit can't.

    A body that declares its length is refused unread.
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

        async def receive_some() -> Message:
            nonlocal seen
            if seen <= self._limit:
                message = await receive()
                seen += len(message.get("body", b""))
                if seen <= self._limit:
                    return message
            raise HTTPException(413)

        await self._app(scope, receive_some, send)

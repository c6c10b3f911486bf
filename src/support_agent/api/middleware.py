"""What happens to every request: it gets an id, a log line, and a problem where the service has a defect."""

import logging
import time
import traceback
from typing import cast

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from support_agent.api.errors import defect_response
from support_agent.api.request_id import HEADER, choose_request_id, request_id

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
            _log_defect(error)
            if not status:
                await defect_response(scope["path"])(scope, receive, send_named)
        finally:
            route = getattr(scope.get("route"), "path", "(no route)")
            milliseconds = (time.monotonic() - began) * 1000
            _log.info("%s %s %d %.0f ms %s", scope["method"], route, status, milliseconds, chosen)
            request_id.reset(token)


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


def _log_defect(error: Exception) -> None:
    if isinstance(error, ExceptionGroup):
        group = cast("ExceptionGroup[Exception]", error)
        _log_defect(group.exceptions[0])
        return
    # Its text may quote a customer or a secret: only its kind and place are kept.
    frame = traceback.extract_tb(error.__traceback__)[-1]
    _log.error("%s at %s:%s", type(error).__name__, frame.filename, frame.lineno)

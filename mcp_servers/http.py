"""What stands between a server and the network: token, Host, Origin, health, and the end."""

import hmac
import logging
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import TypeVar

import uvicorn
from mcp.server import Server
from mcp.server.transport_security import TransportSecuritySettings
from pydantic import SecretStr
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from mcp_servers.settings import ServerSettings, SettingsError

_MAX_BODY = 2 * 1024 * 1024
"""Bytes; 100,000 characters take up to 1.2 MB as JSON."""
_KEEP_ALIVE = 75
"""Seconds: longer than a client keeps an idle connection, lest its next call meet a closed one."""


def make_app(server: Server[object], settings: ServerSettings) -> ASGIApp:
    """Return the ASGI app of a server."""
    app = server.streamable_http_app(
        json_response=True,
        stateless_http=True,
        max_request_body_size=_MAX_BODY,
        # No browser has any business here, so no Origin is allowed.
        transport_security=TransportSecuritySettings(allowed_hosts=_hosts(settings), allowed_origins=[]),
        custom_starlette_routes=[Route("/health", _health)],
    )
    return Guard(app, settings.token)


def _hosts(settings: ServerSettings) -> list[str]:
    """Return the allowed values of Host; a name without a port stands for any port."""
    return [value for name in settings.allowed_hosts for value in (name, f"{name}:*")]


async def _health(_request: Request) -> Response:
    return JSONResponse({"status": "healthy"})


class Guard:
    """Lets POST requests with the token through, before it reads a body; and /health."""

    def __init__(self, app: ASGIApp, token: SecretStr) -> None:
        self._app = app
        self._expected = token.get_secret_value().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] != "http" or scope["path"] == "/health":
            await self._app(scope, receive, send)
        elif not self._knows(scope):
            said = PlainTextResponse("401: send `Authorization: Bearer <token>`", 401, {"WWW-Authenticate": "Bearer"})
            await said(scope, receive, send)
        elif scope["method"] != "POST":
            # Nothing is ever sent unasked, so there is no stream to open with GET.
            await PlainTextResponse("405: only POST", 405, {"Allow": "POST"})(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _knows(self, scope: Scope) -> bool:
        given = next((value for name, value in scope["headers"] if name == b"authorization"), b"")
        scheme, _, token = given.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(token.strip(), self._expected)


def _ignore(_signal: int, _frame: FrameType | None) -> None:
    pass


_S = TypeVar("_S", bound=ServerSettings)


def serve(name: str, load: Callable[[], _S], make: Callable[[_S], Server[object]]) -> None:
    """Serve until SIGTERM or SIGINT; calls that are under way then have their time limit.

    A missing or wrong setting ends the process with 1 and one line on standard error.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stdout)
    logging.getLogger("mcp").setLevel(logging.WARNING)
    logging.getLogger("caldav").setLevel(logging.CRITICAL + 1)  # it would quote the team's events
    try:
        settings = load()
    except SettingsError as error:
        sys.exit(f"{name}: {error}")
    config = uvicorn.Config(
        make_app(make(settings), settings),
        host=settings.host,
        port=settings.port,
        ws="none",
        log_config=None,
        access_log=False,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=int(settings.timeout) + 2,
    )
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger(name).info("listens on http://%s:%s/mcp", settings.host, settings.port)
    # uvicorn raises the signal again once it has ended, which would make an orderly end look like a failure.
    for one in (signal.SIGTERM, signal.SIGINT):
        signal.signal(one, _ignore)
    uvicorn.Server(config).run()

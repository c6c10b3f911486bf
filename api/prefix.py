"""The path prefix under which a reverse proxy publishes the service."""

import re
from collections.abc import Collection, Sequence

from starlette.requests import HTTPConnection
from starlette.types import ASGIApp, Receive, Scope, Send

from api.proxies import forwarded
from api.settings import Network

_PREFIX = re.compile(r"(/[A-Za-z0-9._~-]+)*")


def prefix_of(text: str) -> str:
    """Return a path prefix such as /support, without a slash at its end; raises ValueError."""
    # A chain of proxies lists what each has removed, the outermost first.
    prefix = "".join(part.strip().rstrip("/") for part in text.split(","))
    if not _PREFIX.fullmatch(prefix):
        raise ValueError("must be a path of letters, digits and . _ ~ -, such as /support")
    return prefix


class PrefixMiddleware:
    """Sets `root_path` to the prefix in the clients' URLs, and the path to what clients asked for.

    The prefix is one that a trusted proxy has removed, and says in X-Forwarded-Prefix, or uvicorn's --root-path.
    A proxy may leave the latter in the path, unless a route begins like it.
    """

    def __init__(self, app: ASGIApp, trusted: Sequence[Network], routes: Collection[str]) -> None:
        self._app = app
        self._trusted = trusted
        self._routes = routes
        """The first segments of the routes' paths."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] in ("http", "websocket"):
            root = scope.get("root_path", "")
            if root and self._is_kept(scope["path"], root):
                _move(scope, root + root, root)
            elif self._trusted and (prefix := self._told(HTTPConnection(scope))) is not None:
                _move(scope, root, prefix)
        await self._app(scope, receive, send)

    def _is_kept(self, path: str, root: str) -> bool:
        return f"{path}/".startswith(f"{root}{root}/") and root.split("/")[1] not in self._routes

    def _told(self, connection: HTTPConnection) -> str | None:
        told = forwarded(connection, "x-forwarded-prefix", self._trusted)
        try:
            return prefix_of(told) if told is not None else None
        except ValueError:
            return None


def _move(scope: Scope, old: str, new: str) -> None:
    """Replace the prefix of the path."""
    scope["root_path"] = new
    scope["path"] = new + scope["path"].removeprefix(old)
    scope["raw_path"] = new.encode() + scope["raw_path"].removeprefix(old.encode())

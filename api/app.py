"""The service as an ASGI application."""

import re
from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.exceptions import HTTPException
from starlette.routing import Route, WebSocketRoute
from starlette.types import Receive, Scope, Send

from api import errors
from api.langgraph.routers import ROUTERS as LANGGRAPH
from api.lifespan import lifespan_for
from api.middleware import (
    OPEN,
    BodyLimitMiddleware,
    CrossOriginMiddleware,
    DefectMiddleware,
    KeyMiddleware,
    RequestMiddleware,
    StartMiddleware,
)
from api.prefix import PrefixMiddleware
from api.routes import (
    actions,
    articles,
    ask,
    chat,
    docs,
    embed,
    feedback,
    handoffs,
    health,
    inbox,
    metrics,
    page,
    runs,
    sessions,
    stream,
    visitors,
    websocket,
)
from api.settings import ServiceSettings
from api.telemetry import telemetry
from graph import __version__

_DESCRIPTION = """\
Answers customers' questions from the company's own help articles.

Every response carries `X-Request-ID`; errors are `application/problem+json` (RFC 9457)."""

_ROUTES = (
    *(ask, stream, chat, websocket, runs, sessions, actions, handoffs, articles, feedback, visitors, inbox),
    *(health, metrics, docs, page, embed),
)
_KEYS = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_OUR_HEADERS = [
    "Authorization",
    "Cache-Control",
    "Idempotency-Key",
    "If-None-Match",
    "Last-Event-ID",
    "X-API-Key",
    "X-Request-ID",
]
_TOOLS_HEADERS = ["Baggage", "Sentry-Trace", "Traceparent", "Tracestate", "X-Requested-With"]  # added to every request
_TOLD_HEADERS = ["ETag", "RateLimit", "RateLimit-Policy", "Retry-After", "X-Cache", "X-Request-ID"]
_METHODS = ["GET", "HEAD", "POST", "DELETE"]
_CROSS_ORIGIN: tuple[tuple[re.Pattern[str], dict[str, list[str]]], ...] = (
    (
        re.compile("(?!/langgraph/)"),
        {"allow_methods": _METHODS, "allow_headers": _OUR_HEADERS + _TOOLS_HEADERS, "expose_headers": _TOLD_HEADERS},
    ),
    (
        re.compile("/langgraph/"),
        {
            "allow_methods": [*_METHODS, "PATCH"],
            "allow_headers": ["*"],  # Studio lets its users add headers, and adds some of its own
            "expose_headers": [
                *_TOLD_HEADERS,
                "Content-Location",
                "Location",
                "X-Pagination-Next",
                "X-Pagination-Total",
            ],
        },
    ),
)
"""What pages of allowed origins may do, by the beginning of the path."""


def create_app(settings: ServiceSettings | None = None) -> FastAPI:
    """Build the application; raises SettingsError if the settings are incomplete or invalid.

    Without `settings` it reads them from the environment, for `uvicorn --factory api.app:create_app`. Nothing is opened
    before the lifespan starts.
    """
    settings = (settings or ServiceSettings.load()).require_service()
    app = FastAPI(
        title="Support Agent API",
        description=_DESCRIPTION,
        version=__version__,
        lifespan=lifespan_for(settings),
        telemetry=telemetry(),
        docs_url=None,  # FastAPI's pages load their scripts from the internet
        redoc_url=None,
        swagger_ui_oauth2_redirect_url=None,
        redirect_slashes=False,  # a redirect would go to whatever host the client put into its Host header
    )
    app.add_middleware(BodyLimitMiddleware, limit=settings.max_body)
    app.add_middleware(KeyMiddleware, keys=settings.api_keys, tokens=settings.tokens, trusted=settings.trusted_proxies)
    app.add_middleware(DefectMiddleware)
    for paths, options in _CROSS_ORIGIN:
        app.add_middleware(
            CrossOriginMiddleware,
            paths=paths,
            allow_origins=settings.allowed_origins,
            allow_private_network=True,  # an origin that is allowed is so from any network
            **options,
        )
    app.add_middleware(RequestMiddleware, framing=settings.framing_origins)
    errors.install(app)
    routers = [module.router for module in _ROUTES] + ([*LANGGRAPH] if settings.serves_langgraph else [])
    for router in routers:
        app.include_router(router)
    app.add_middleware(PrefixMiddleware, trusted=settings.trusted_proxies, routes=_first_segments(routers))
    app.add_middleware(StartMiddleware)  # the last added is the outermost
    app.router.default = _nowhere
    app.openapi = lambda: _described(app, with_keys=bool(settings.api_keys))
    return app


def _first_segments(routers: Iterable[APIRouter]) -> set[str]:
    routes = (route for router in routers for route in router.routes)
    return {route.path.split("/")[1] for route in routes if isinstance(route, Route | WebSocketRoute)}


async def _nowhere(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI's signature
    raise HTTPException(404)  # Starlette would close a WebSocket without a response


def _described(app: FastAPI, *, with_keys: bool) -> dict[str, Any]:
    """Return the OpenAPI description with this company's desks, and with API keys if there are any."""
    description = FastAPI.openapi(app)
    description["components"]["schemas"] |= errors.schemas()
    _add_examples(description)
    if desks := getattr(app.state, "desks", ()):
        for schema in ("AskResponse", "ChatResponse"):
            description["components"]["schemas"][schema]["properties"]["category"]["enum"] = list(desks)
    if with_keys:
        _add_keys(description)
    return description


def _add_examples(description: dict[str, Any]) -> None:
    """Give each parameter its schema's example, too: Swagger UI fills in no other."""
    for operations in description["paths"].values():
        for operation in operations.values():
            for parameter in operation.get("parameters", ()):
                if examples := parameter["schema"].get("examples"):
                    parameter["example"] = examples[0]


def _add_keys(description: dict[str, Any]) -> None:
    """Add API keys, which KeyMiddleware reads, to the OpenAPI description."""
    description.setdefault("components", {})["securitySchemes"] = _KEYS
    for path, operations in description["paths"].items():
        if path not in OPEN:
            for operation in operations.values():
                operation["security"] = [{scheme: []} for scheme in _KEYS]

"""The service next to the routes of LangGraph's server, which loads `app` through langgraph.json."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.routing import Match
from starlette.types import Receive, Scope, Send

from api.app import create_app
from api.lifespan import State, lifespan_for
from api.middleware import StartMiddleware
from api.settings import ServiceSettings

_LANGGRAPHS = frozenset({"/docs", "/openapi.json", "/metrics"})
"""Paths that both have; Studio expects those of LangGraph's server."""

_PRIVATE_NETWORK = b"access-control-request-private-network"
"""A preflight header of Chrome; LangGraph's server handles it itself, Starlette's CORS middleware would refuse it."""


class StudioApp(Starlette):
    """Two applications on one port: the service, and this one with the routes of LangGraph's server.

    LangGraph's server adds its routes and middlewares to the application that it is given, wraps the application's
    routes in its middlewares, and drops the state that its lifespan yields. This class keeps the two apart: our API
    keys, limits and headers do not apply to Studio's routes, and Studio's CORS and log of query strings not to ours.
    """

    def __init__(self) -> None:
        super().__init__(lifespan=self._open, middleware=[Middleware(StartMiddleware)])
        self._opened: tuple[FastAPI, State] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Route a request to the application that it belongs to."""
        if self._opened and _is_ours(self._opened[0], scope):
            service, state = self._opened
            await service({**scope, "state": {**state}}, receive, send)
            return
        if scope["type"] == "http":
            scope["headers"] = [header for header in scope["headers"] if header[0] != _PRIVATE_NETWORK]
        await super().__call__(scope, receive, send)

    @asynccontextmanager
    async def _open(self, _: Starlette) -> AsyncGenerator[None]:
        settings = ServiceSettings.load()
        service = create_app(settings)
        async with lifespan_for(settings)(service) as state:
            self._opened = service, state
            yield


def _is_ours(service: FastAPI, scope: Scope) -> bool:
    if scope["type"] not in ("http", "websocket") or scope["path"] in _LANGGRAPHS:
        return False
    return any(route.matches(scope)[0] is Match.FULL for route in service.routes)


app = StudioApp()

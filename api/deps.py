"""The dependencies of the routes; the only module that gives them access to the request."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Header, HTTPException, Path, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from limits import RateLimitItem
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket

from api.auth import ANONYMOUS, PUBLIC, Principal
from api.drain import Drain
from api.errors import ClientGone, NoSuchEvent, NothingMore
from api.inbox_sessions import Cookies, InboxSessions
from api.proxies import client_address, own_origins, stranger_address
from api.rate_limit import Allowance, RateLimited, RateLimiter
from api.readiness import Readiness
from api.schemas import ChatRequest, RunName, SessionId
from api.settings import ServiceSettings
from graph.agent import SupportAgent
from graph.observe.feedback import Feedback
from graph.runs.feed import Followed
from graph.state import AgentContext

_T = TypeVar("_T")


class Connection:
    """The client's connection."""

    def __init__(self, request: Request) -> None:
        self._request = request

    @property
    def path(self) -> str:
        """The request's path."""
        return self._request.url.path

    def tell(self, headers: Mapping[str, str]) -> None:
        """Add headers to the response, also to an error response."""
        self._request.state.headers.update(headers)

    def ran(self, run_id: str) -> None:
        """Add the run's id to the request's log line."""
        self._request.state.run_id = run_id

    async def while_open(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Return what `work` returns, or cancel it and raise ClientGone if the client disconnects first."""
        working = asyncio.create_task(work)
        gone = asyncio.create_task(self._gone())
        try:
            await asyncio.wait((working, gone), return_when=asyncio.FIRST_COMPLETED)
            if working.done():
                return working.result()
            raise ClientGone
        finally:
            working.cancel()
            gone.cancel()

    async def _gone(self) -> None:
        while (await self._request.receive())["type"] != "http.disconnect":
            pass


async def _settings(connection: HTTPConnection) -> ServiceSettings:
    return connection.state.settings


SettingsDep = Annotated[ServiceSettings, Depends(_settings)]


async def principal(connection: HTTPConnection) -> Principal:
    """Return the caller that KeyMiddleware authenticated."""
    return connection.state.caller


async def _agent(connection: HTTPConnection) -> SupportAgent:
    return connection.state.agent


async def _drain(connection: HTTPConnection) -> Drain:
    return connection.state.drain


async def _feedback(connection: HTTPConnection) -> Feedback:
    return connection.state.feedback


async def _readiness(connection: HTTPConnection) -> Readiness:
    return connection.state.readiness


async def _connection(request: Request) -> Connection:
    return Connection(request)


AgentDep = Annotated[SupportAgent, Depends(_agent)]
ConnectionDep = Annotated[Connection, Depends(_connection)]
DrainDep = Annotated[Drain, Depends(_drain)]
ReadinessDep = Annotated[Readiness, Depends(_readiness)]
FeedbackDep = Annotated[Feedback, Depends(_feedback)]
PrincipalDep = Annotated[Principal, Depends(principal)]


class Meter:
    """Counts one caller's requests against the rate limits."""

    def __init__(self, limiter: RateLimiter, *counted: tuple[RateLimitItem | None, str]) -> None:
        self._limiter = limiter
        self._counted = [(limit, caller) for limit, caller in counted if limit]

    async def take(self) -> Allowance | None:
        """Count one request; raises RateLimited."""
        return await self._limiter.take(*self._counted) if self._counted else None


async def _meter(connection: HTTPConnection) -> Meter:
    caller: Principal = connection.state.caller
    settings: ServiceSettings = connection.state.settings
    counted: list[tuple[RateLimitItem | None, str]] = []
    if caller.visitor:
        counted.append((settings.visitor_rate_limit, f"visitor:{caller.owner}"))
    name = f"key:{caller.tenant}"
    if caller.tenant in (ANONYMOUS, PUBLIC):  # nobody vouches for them
        name = f"address:{client_address(connection, settings.trusted_proxies)}"
    return Meter(connection.state.limiter, *counted, (settings.rate_limit, name))


async def count(meter: Meter, connection: Connection) -> None:
    """Count one request, and tell the client what it has left; raises RateLimited."""
    try:
        allowance = await meter.take()
    except RateLimited as error:
        connection.tell(error.allowance.headers)
        raise
    if allowance:
        connection.tell(allowance.headers)


MeterDep = Annotated[Meter, Depends(_meter)]


async def _expiry(caller: PrincipalDep) -> AsyncGenerator[asyncio.Event]:
    """Give an event that is set when the caller's token expires."""
    expired = asyncio.Event()
    timer = None
    if caller.expires is not None:
        timer = asyncio.get_running_loop().call_later(max(0.0, caller.expires - time.time()), expired.set)
    yield expired
    if timer:
        timer.cancel()


ExpiryDep = Annotated[asyncio.Event, Depends(_expiry)]
"""Is set when the caller's token expires; a key never does."""

Idle = Callable[[Callable[[], object]], AbstractContextManager[None]]
"""Counts a WebSocket as idle while a block lasts; calls its argument if the client has too many of them."""


async def _idle(connection: HTTPConnection, caller: PrincipalDep, settings: SettingsDep) -> Idle:
    address = stranger_address(connection, settings.trusted_proxies)
    # A server of theirs may connect all its customers, but these connect themselves.
    if (caller.tenant != ANONYMOUS and not caller.visitor) or address is None:
        return nullcontext
    return partial(connection.state.idle.counted, address)


IdleDep = Annotated[Idle, Depends(_idle)]


async def _operator(caller: PrincipalDep, settings: SettingsDep) -> None:
    if settings.api_keys and not caller.is_operator:
        raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})


OPERATOR = Depends(_operator)
"""For routes that need the operator's key, if keys are configured."""


async def _of_tenant(caller: PrincipalDep, settings: SettingsDep) -> str | None:
    if not settings.api_keys and settings.env == "production":  # anybody could read what customers write
        raise HTTPException(401, headers={"WWW-Authenticate": "Bearer"})
    return None if caller.is_operator else caller.tenant


OfTenantDep = Annotated[str | None, Depends(_of_tenant)]
"""Whose conversations the caller may see; None for everybody's. In production it needs keys."""


async def _cookies(connection: HTTPConnection, settings: SettingsDep) -> Cookies:
    return Cookies(connection, settings.trusted_proxies)


CookiesDep = Annotated[Cookies, Depends(_cookies)]


async def _inbox_sessions(connection: HTTPConnection) -> InboxSessions:
    return connection.state.inbox_sessions


Link = Callable[[str], str | None]
"""Returns the address of a run's trace; it may block."""


async def _link(connection: HTTPConnection) -> Link | None:
    return connection.state.trace_link


LinkDep = Annotated[Link | None, Depends(_link)]
InboxSessionsDep = Annotated[InboxSessions, Depends(_inbox_sessions)]


class LimitedRoute(APIRoute):
    """A rate-limited route; a request counts before its body is read."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the handler, wrapped in the rate limit."""
        serve = super().get_route_handler()

        async def serve_some(request: Request) -> Response:
            await count(await _meter(request), Connection(request))
            return await serve(request)

        return serve_some


async def _same_origin(websocket: WebSocket, settings: SettingsDep) -> None:
    """Refuse pages from foreign origins, which would act with their visitor's address or cookies."""
    origin = websocket.headers.get("origin")
    own = own_origins(websocket, settings.trusted_proxies)
    if origin is None or origin in own or origin in settings.allowed_origins:
        return
    raise HTTPException(403)


SAME_ORIGIN = Depends(_same_origin)
"""For WebSockets, since browsers let any page open them to any host."""


def context_of(caller: Principal, customer_id: str | None) -> AgentContext:
    """Return what a run knows of its caller; raises RequestValidationError where a visitor says who they are."""
    if caller.visitor and customer_id is not None:
        message = "comes from the visitor's token; remove it"
        raise RequestValidationError([{"type": "value_error", "loc": ("body", "customer_id"), "msg": message}])
    return caller.context(customer_id)


IdempotencyKey = Annotated[
    str,
    Header(
        min_length=1,
        max_length=255,
        description="A repeated request with the same key and body is answered as the first, also while that runs.",
    ),
]


async def _turn(
    body: ChatRequest,
    agent: AgentDep,
    caller: PrincipalDep,
    connection: ConnectionDep,
    idempotency_key: IdempotencyKey = "",
) -> Followed:
    """Start a turn before the response starts, so that a refusal gets its own HTTP status."""
    turn = agent.sessions.turn(body.message, body.session_id, context_of(caller, body.customer_id))
    try:
        run = await connection.while_open(agent.sessions.begin(turn, idempotency_key or None))
    except BaseException:
        if not idempotency_key:
            turn.cancel()
        raise
    connection.ran(run.id)
    return run


TurnDep = Annotated[Followed, Depends(_turn)]
"""A started turn, on this replica or another."""

RunId = Annotated[RunName, Path()]
SessionPath = Annotated[
    SessionId, Path(description="The example's begins with the example of `POST /chat` (else 404).")
]


async def _found_run(run_id: RunId, agent: AgentDep, caller: PrincipalDep) -> Followed:
    run = await agent.sessions.find(run_id, caller.owner)
    if run is None:
        raise HTTPException(404)
    return run


FoundRunDep = Annotated[Followed, Depends(_found_run)]
"""The caller's turn with the id in the path."""


LastEventId = Annotated[
    str,
    Header(
        pattern=r"^([0-9a-f-]{36}:[0-9]{1,9})?$",
        description="The id of the last event that the client received, `<run_id>:<n>`.",
    ),
]


async def _last_event(
    run_id: RunId, run: FoundRunDep, connection: ConnectionDep, drain: DrainDep, last_event_id: LastEventId = ""
) -> int:
    if not last_event_id:
        return 0
    name, _, number = last_event_id.rpartition(":")
    if name != run_id or await connection.while_open(drain.lacks(run, int(number))):
        raise NoSuchEvent
    if await run.is_read(int(number)):
        raise NothingMore
    return int(number)


LastEventDep = Annotated[int, Depends(_last_event)]
"""The number of the last event that the client received; 0 for none."""

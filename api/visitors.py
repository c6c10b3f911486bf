"""The dependencies of /visitors: who may have which token."""

import hashlib
import secrets
from collections.abc import Callable
from typing import Annotated

from fastapi import Depends, HTTPException, Request

from api.auth import PUBLIC, Principal, VisitorTokens, offered_token
from api.deps import Connection, Meter, PrincipalDep, SettingsDep, count
from api.errors import VisitorsOff
from api.proxies import client_address, own_origins
from api.settings import ServiceSettings
from api.visitor_schemas import VisitorRequest, VisitorResponse

_ANONYMOUS_SECONDS = 3600  # the page renews its token


async def _mint(caller: PrincipalDep, settings: SettingsDep) -> Callable[[VisitorRequest], VisitorResponse]:
    tokens = settings.tokens
    if tokens is None:
        raise VisitorsOff

    def mint(body: VisitorRequest) -> VisitorResponse:
        visitor_id = body.visitor_id or _visitor_of(caller.tenant, body.customer_id)
        return _response(tokens, Principal(caller.tenant, visitor_id, body.customer_id), body.expires_in)

    return mint


MintDep = Annotated[Callable[[VisitorRequest], VisitorResponse], Depends(_mint)]
"""Mints a token for a visitor of the caller's website."""


def _visitor_of(tenant: str, customer_id: str | None) -> str:
    """Return the visitor that a customer is, on any device; without one, a visitor that nobody was before."""
    if customer_id is None:
        return secrets.token_hex(16)
    return hashlib.sha256(f"{tenant}\0{customer_id}".encode()).hexdigest()[:32]


def _response(tokens: VisitorTokens, visitor: Principal, seconds: int) -> VisitorResponse:
    return VisitorResponse(token=tokens.mint(visitor, seconds), visitor_id=str(visitor.visitor), expires_in=seconds)


async def _anonymous(request: Request, settings: SettingsDep) -> VisitorResponse:
    tokens = settings.tokens
    if tokens is None or not settings.public_origins:
        raise HTTPException(404)
    if not _is_own_page(request, settings):
        raise HTTPException(403)
    await _count(request, settings)
    token = offered_token(request.headers)
    before = tokens.read(token) if token else None
    visitor = before.visitor if before and before.tenant == PUBLIC else secrets.token_hex(16)
    return _response(tokens, Principal(PUBLIC, visitor), _ANONYMOUS_SECONDS)


def _is_own_page(request: Request, settings: ServiceSettings) -> bool:
    """Return whether a page of the service's own asks; where it is in a frame, the browser checks who shows it."""
    site = request.headers.get("sec-fetch-site", "same-origin")  # older browsers don't say
    return site == "same-origin" and request.headers.get("origin") in own_origins(request, settings.trusted_proxies)


async def _count(request: Request, settings: ServiceSettings) -> None:
    address = client_address(request, settings.trusted_proxies)
    meter = Meter(request.state.limiter, (settings.visitor_rate_limit, f"visitors:{address}"))
    await count(meter, Connection(request))


AnonymousDep = Annotated[VisitorResponse, Depends(_anonymous)]
"""A token for a visitor whom nobody vouches for."""

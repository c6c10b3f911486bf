"""Authentication by API key, of which the service knows only hashes, or by a visitor's token."""

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import jwt
from starlette.datastructures import Headers

from graph.state import AgentContext

ANONYMOUS = "anonymous"
"""The tenant of all callers when no keys are configured."""

PUBLIC = "public"
"""The tenant of visitors who have no company behind them: those of our own page."""

OPERATOR_NAME = "operator"
"""The tenant whose key may read /metrics."""

NAME = r"[A-Za-z0-9_.-]{1,64}"
"""The pattern of a tenant's name."""

VISITOR_ID = r"[A-Za-z0-9_.-]{1,128}"
"""The pattern of a visitor's id."""

TOKEN_PROTOCOL = "support.token."  # noqa: S105 - no secret
"""What a WebSocket's subprotocol with a token begins with; the token follows."""

_PREFIX = "sa_"
_ALGORITHM, _ISSUER, _AUDIENCE = "HS256", "support-agent", "support-agent/visitors"
_CLAIMS = ("iss", "aud", "exp", "iat", "sub", "tenant")
_TOKEN = re.compile(r"eyJ[\w-]*(?:\.[\w-]*){2}", re.ASCII)
_LONGEST = 1024  # characters of a token; ours have fewer than 800
_VISITORS_PATHS = re.compile(
    r"/ask|/stream|/chat|/chat/stream|/articles/.+|/feedback"
    r"|/sessions/[^/]+(?:/events)?|/runs/[^/]+(?:/stream)?|/actions/[^/]+"
)


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A configured API key."""

    name: str
    """The tenant; several keys may have the same name and share its sessions, so that keys can be rotated."""
    digest: bytes
    """The key's SHA-256; a key has 256 random bits, so a salt or a slow hash would not help."""


@dataclass(frozen=True, slots=True)
class Principal:
    """The authenticated caller."""

    tenant: str
    """The owner of cached answers and of the rate limit."""
    visitor: str | None = None
    """Set for one with a visitor's token, who gets at no other visitor's sessions and runs."""
    customer_id: str | None = None
    """The customer that the company vouches for in a visitor's token."""
    expires: int | None = None
    """When the token expires, in seconds since 1970; a key does not."""

    def context(self, customer_id: str | None = None) -> AgentContext:
        """Return what a run of this caller knows of it; `customer_id` is what the caller itself says."""
        return AgentContext(self.tenant, self.customer_id if self.visitor else customer_id, self.visitor)

    @property
    def owner(self) -> str:
        """Whose the caller's sessions and runs are."""
        return self.context().owner

    @property
    def is_operator(self) -> bool:
        """Whether it is the operator, and not a visitor of a website of theirs."""
        return self.tenant == OPERATOR_NAME and self.visitor is None


def new_key() -> str:
    """Return a key with 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(32)


def digest(key: str) -> bytes:
    """Return a key's SHA-256, as SUPPORT_API_KEYS holds it in hex."""
    return hashlib.sha256(key.encode()).digest()


class VisitorTokens:
    """Signed tokens of visitors of a website (JWT, RFC 7519): mints and reads them.

    The first secret signs; a token may be signed with any. A token is valid as long as its tenant has a key.
    """

    def __init__(self, secrets: Sequence[bytes], tenants: Collection[str]) -> None:
        self._secrets = secrets
        self._tenants = tenants

    def mint(self, visitor: Principal, seconds: int) -> str:
        """Return a token that lets its bearer in as this visitor for `seconds`."""
        now = int(time.time())
        claims: dict[str, str | int | None] = {
            "iss": _ISSUER,
            "aud": _AUDIENCE,
            "iat": now,
            "exp": now + seconds,
            "sub": visitor.visitor,
            "tenant": visitor.tenant,
        }
        if visitor.customer_id is not None:
            claims["customer"] = visitor.customer_id
        return jwt.encode(claims, self._secrets[0], _ALGORITHM)

    def read(self, token: str) -> Principal | None:
        """Return the visitor that a token lets in; None if it is not valid, for whatever reason."""
        if len(token) > _LONGEST or not _TOKEN.fullmatch(token):
            return None
        found = (self._claims(token, secret) for secret in self._secrets)
        claims = next((claims for claims in found if claims), None)
        if claims is None or claims["tenant"] not in self._tenants:
            return None
        return Principal(claims["tenant"], claims["sub"], claims.get("customer"), claims["exp"])

    @staticmethod
    def _claims(token: str, secret: bytes) -> dict[str, Any] | None:
        try:
            return jwt.decode(
                token,
                secret,
                algorithms=[_ALGORITHM],
                audience=_AUDIENCE,
                issuer=_ISSUER,
                options={"require": [*_CLAIMS], "strict_aud": True, "verify_iat": False},  # clocks of replicas differ
            )
        except jwt.PyJWTError:
            return None


def is_open_to_visitors(path: str) -> bool:
    """Return whether a visitor's token opens a path; any that is not named here needs a key."""
    return _VISITORS_PATHS.fullmatch(path) is not None


def offered_token(headers: Headers) -> str | None:
    """Return the visitor's token of a request, valid or not: that of its header, or of a WebSocket's subprotocol."""
    if "authorization" in headers:
        return token if _TOKEN.fullmatch(token := _bearer(headers)) else None
    for name in ",".join(headers.getlist("sec-websocket-protocol")).split(","):
        if name.strip().startswith(TOKEN_PROTOCOL):
            return name.strip().removeprefix(TOKEN_PROTOCOL)
    return None


def identify(keys: Sequence[ApiKey], tokens: VisitorTokens | None, headers: Headers) -> Principal | None:
    """Return the caller by the request's key or token; None if it has no valid one and needs one.

    Without keys it needs none, but a visitor's token must be valid all the same: an expired one is to be renewed.
    """
    offered = _offered(headers)
    if owner := _owner(keys, offered):
        return Principal(owner)
    if tokens and (token := offered_token(headers)):
        return tokens.read(token)
    return None if keys else Principal(ANONYMOUS)


def _owner(keys: Sequence[ApiKey], offered: str) -> str | None:
    if not (keys and offered):
        return None
    hashed = digest(offered)
    # Compare every key, so that the time taken reveals nothing.
    owners = [key.name for key in keys if hmac.compare_digest(key.digest, hashed)]
    return owners[0] if owners else None


def _offered(headers: Headers) -> str:
    return _bearer(headers) if "authorization" in headers else headers.get("x-api-key", "")


def _bearer(headers: Headers) -> str:
    scheme, _, credentials = headers["authorization"].partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else ""

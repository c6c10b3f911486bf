"""Authentication by API key; the service knows only the hashes of keys."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers

ANONYMOUS = "anonymous"
"""The tenant of all callers when no keys are configured."""

OPERATOR_NAME = "operator"
"""The tenant whose key may read /metrics."""

NAME = r"[A-Za-z0-9_.-]{1,64}"
"""The pattern of a tenant's name."""

_PREFIX = "sa_"


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
    """The owner of the sessions, runs, cached answers and rate limit."""


def new_key() -> str:
    """Return a key with 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(32)


def digest(key: str) -> bytes:
    """Return a key's SHA-256, as SUPPORT_API_KEYS holds it in hex."""
    return hashlib.sha256(key.encode()).digest()


def identify(keys: Sequence[ApiKey], headers: Headers) -> Principal | None:
    """Return the caller by the request's key; None if keys are configured and the request has no valid one."""
    if not keys:
        return Principal(ANONYMOUS)
    key_offered = _offered(headers)
    offered = digest(key_offered)
    # Compare every key, so that the time taken reveals nothing.
    owners = [key.name for key in keys if hmac.compare_digest(key.digest, offered)]
    return Principal(owners[0]) if owners and key_offered else None


def _offered(headers: Headers) -> str:
    if "authorization" not in headers:
        return headers.get("x-api-key", "")
    scheme, _, credentials = headers["authorization"].partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else ""

"""Who calls: API keys, of which the service knows the hashes alone."""

import hashlib
import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from starlette.datastructures import Headers

ANONYMOUS = "anonymous"
"""The tenant of whoever needs no key."""

OPERATOR_NAME = "operator"
"""The tenant whose key may see metrics."""

NAME = r"[A-Za-z0-9_.-]{1,64}"
"""What a tenant may be called."""

_PREFIX = "sa_"


@dataclass(frozen=True, slots=True)
class ApiKey:
    """A key that callers may use, as its hash."""

    name: str
    """The tenant; keys of one name share sessions, so that they can be rotated."""
    digest: bytes
    """The key's SHA-256: a key is random enough that no salt or slow hash would help."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who calls."""

    tenant: str
    """Whose sessions, runs, answers and limits these are."""


def new_key() -> str:
    """Return a key with 256 random bits."""
    return _PREFIX + secrets.token_urlsafe(32)


def digest(key: str) -> bytes:
    """Return what the service is told of a key."""
    return hashlib.sha256(key.encode()).digest()


def identify(keys: Sequence[ApiKey], headers: Headers) -> Principal | None:
    """Return whose key the request carries; None where there are keys and it has none of them."""
    if not keys:
        return Principal(ANONYMOUS)
    key_offered = _offered(headers)
    offered = digest(key_offered)
    # Each is compared, so that the time it takes tells nothing.
    owners = [key.name for key in keys if hmac.compare_digest(key.digest, offered)]
    return Principal(owners[0]) if owners and key_offered else None


def _offered(headers: Headers) -> str:
    if "authorization" not in headers:
        return headers.get("x-api-key", "")
    scheme, _, credentials = headers["authorization"].partition(" ")
    return credentials.strip() if scheme.lower() == "bearer" else ""

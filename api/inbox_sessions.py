"""Sessions of the inbox: a browser's cookie in place of an API key, which no page should keep."""

import hashlib
import json
import secrets
from collections.abc import Sequence
from typing import Final, cast

from redis.asyncio import Redis
from starlette.requests import HTTPConnection
from starlette.responses import Response

from api.auth import ApiKey, Principal, digest
from api.proxies import forwarded
from api.settings import Network
from graph.redis import memory_errors

COOKIE: Final = "support_inbox"
"""The name of the cookie."""

LIFETIME: Final = 8 * 3600
"""Seconds that a session lasts."""


class InboxSessions:
    """The sessions, kept in Redis; all methods raise MemoryUnavailable."""

    def __init__(self, redis: Redis, keys: Sequence[ApiKey]) -> None:
        self._redis = redis
        self._keys = keys

    async def open(self, key: str) -> str | None:
        """Return the cookie of a new session for a valid key; None for any other."""
        hashed = digest(key)
        owner = next((one.name for one in self._keys if secrets.compare_digest(one.digest, hashed)), None)
        if owner is None:
            return None
        token = secrets.token_urlsafe(32)
        with memory_errors():
            await self._redis.set(_name(token), json.dumps([owner, hashed.hex()]), ex=LIFETIME)
        return token

    async def caller(self, token: str) -> Principal | None:
        """Return whose session it is; None if there is none, or its key is none any more."""
        with memory_errors():
            stored = cast("bytes | None", await self._redis.get(_name(token)))
        if stored is None:
            return None
        owner, hashed = json.loads(stored)
        is_valid = any(one.name == owner and one.digest.hex() == hashed for one in self._keys)
        return Principal(owner) if is_valid else None

    async def end(self, token: str) -> None:
        """End a session."""
        with memory_errors():
            await self._redis.delete(_name(token))


class Cookies:
    """Puts cookies into responses: for this service alone, and for no script."""

    def __init__(self, connection: HTTPConnection, trusted: Sequence[Network]) -> None:
        told = forwarded(connection, "x-forwarded-proto", trusted) or ""
        self._is_secure = "https" in (connection.url.scheme, told.partition(",")[0].strip())
        self._path = f"{connection.scope.get('root_path', '')}/"

    def put(self, response: Response, name: str, value: str, lifetime: int) -> None:
        """Put a cookie into a response, for `lifetime` seconds; 0 deletes it."""
        response.set_cookie(
            name, value, lifetime, path=self._path, secure=self._is_secure, httponly=True, samesite="strict"
        )


def _name(token: str) -> str:
    return f"inbox:{hashlib.sha256(token.encode()).hexdigest()[:32]}"

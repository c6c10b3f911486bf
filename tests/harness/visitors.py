"""Visitors of a website, and a service whose companies give them tokens."""

import time
from typing import Any

import httpx
import jwt

from api.auth import digest, new_key

KEYS = {name: new_key() for name in ("web", "partner", "operator")}
SECRET, BEFORE = "s" * 32, "b" * 32
SETTINGS = {
    "SUPPORT_API_KEYS": ",".join(f"{name}:{digest(key).hex()}" for name, key in KEYS.items()),
    "SUPPORT_VISITOR_SECRET": SECRET,
}
CLAIMS = {"iss": "support-agent", "aud": "support-agent/visitors", "sub": "v-1", "tenant": "web"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def forged(secret: str = SECRET, algorithm: str = "HS256", **claims: Any) -> str:
    """A token of web's visitor v-1, or what these claims make of it."""
    now = int(time.time())
    payload = {**CLAIMS, "iat": now, "exp": now + 900, **claims}
    return jwt.encode({name: value for name, value in payload.items() if value is not None}, secret, algorithm)


async def minted(client: httpx.AsyncClient, tenant: str = "web", **body: Any) -> Any:
    response = await client.post("/visitors", json=body, headers=bearer(KEYS[tenant]))
    assert response.status_code == 200, response.text
    return response.json()


async def visitor(client: httpx.AsyncClient, **body: Any) -> dict[str, str]:
    """The headers of a new visitor of web's page."""
    return bearer((await minted(client, **body))["token"])

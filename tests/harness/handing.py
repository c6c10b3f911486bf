"""A conversation that is handed over, and the team's receiver."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from harness.serving import serving

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@dataclass
class Team:
    """A webhook's receiver, which records what it gets; `status` is its answer."""

    url: str = ""
    status: int = 204
    posts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    """Of those that it has confirmed."""
    refused: int = 0

    @property
    def told(self) -> list[Any]:
        """What it has confirmed, as JSON."""
        return [json.loads(body) for _, body in self.posts]

    async def until(self, count: int) -> list[Any]:
        """Wait for this many."""
        async with asyncio.timeout(20):
            while len(self.posts) < count:
                await asyncio.sleep(0.02)
        return self.told

    async def take(self, request: Request) -> Response:
        """Answer a request."""
        if self.status >= 300:
            self.refused += 1
        else:
            self.posts.append((dict(request.headers), await request.body()))
        return Response(status_code=self.status)


@asynccontextmanager
async def team() -> AsyncGenerator[Team]:
    found = Team()
    app = Starlette(routes=[Route("/hook", found.take, methods=["POST"])])
    async with serving(app, lifespan=False) as url:
        found.url = f"{url}/hook"
        yield found


async def say(client: httpx.AsyncClient, message: str, session: str = "s-1", **headers: str) -> Any:
    body = {"message": message, "session_id": session}
    response = await client.post("/chat", json=body, headers=headers)
    assert response.status_code == 200, response.text
    return response.json()

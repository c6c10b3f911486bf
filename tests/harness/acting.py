"""A server of tools that have effects, and proposals made without a model."""

import asyncio
from collections.abc import AsyncGenerator, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx
import orjson
import pytest
from redis.asyncio import Redis
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from graph.actions.confirming import Actions
from graph.actions.standing import Standing, standing
from graph.actions.summaries import summary_of
from graph.actions.tools import Caller, NotCalled, OutcomeUnknown, Tool, ToolResult
from graph.agent import open_agent
from graph.runs.memory import thread_id
from graph.state import Action, AgentContext
from harness.serving import serving

BOOKING: Mapping[str, Any] = {
    "slot": "2026-12-01T09:00:00+00:00",
    "time_zone": "Europe/Berlin",
    "topic": "Invoices",
}
EMAIL: Mapping[str, Any] = {"subject": "Refund", "body": "Please look at invoice 17."}

BOOK_CALL = Tool("book_call", "calendar", "Book a call.", {"type": "object"}, False, True)
SEND_EMAIL = Tool("send_email", "email", "Send an e-mail.", {"type": "object"}, False, False)


@dataclass
class Effects:
    """What was done, by key; `book_call` does nothing more for a key that it knows, and any other tool does."""

    url: str = ""
    calls: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])
    done: list[str] = field(default_factory=list[str])
    refuse: int = 0
    """Calls that are refused before they have any effect."""
    late: list[float] = field(default_factory=list[float])
    """Seconds that the next answers wait, after the effect."""
    held: asyncio.Event | None = None
    """Answers wait for it, after the effect."""
    says_no: bool = False
    """The tool answers that it has not done it."""
    breaks: bool = False
    """The answer says nothing of the outcome."""
    begun: asyncio.Event = field(default_factory=asyncio.Event)

    async def call(self, request: Request) -> Response:
        """Serve one call."""
        call = await request.json()
        self.calls.append(call)
        if self.refuse:
            self.refuse -= 1
            return Response(status_code=503)
        if self.says_no:
            return JSONResponse({"text": "The slot is taken.", "is_error": True})
        if call["tool"] != "book_call" or call["key"] not in self.done:
            self.done.append(call["key"])
        self.begun.set()
        if self.breaks:
            return Response(status_code=500)
        await asyncio.sleep(self.late.pop(0) if self.late else 0)
        if self.held:
            await self.held.wait()
        return JSONResponse({"text": "Done.", "is_error": False})


@asynccontextmanager
async def effects() -> AsyncGenerator[Effects]:
    """Serve tools with effects."""
    found = Effects()
    app = Starlette(routes=[Route("/call", found.call, methods=["POST"])])
    async with serving(app, lifespan=False) as url:
        found.url = url
        yield found


class RemoteTools:
    """Calls the tools of such a server; an answer that takes longer than `seconds` is an unknown outcome."""

    def __init__(self, url: str, seconds: float = 2) -> None:
        self._client = httpx.AsyncClient(base_url=url, timeout=seconds)

    async def listed(self) -> Sequence[Tool]:
        """Return none: what is proposed is proposed without a model."""
        return ()

    def problem(self, tool_name: str, arguments: Mapping[str, Any]) -> str | None:
        """Return nothing: no model calls them."""

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def call(
        self, tool_name: str, arguments: Mapping[str, Any], caller: Caller, key: str | None = None
    ) -> ToolResult:
        """Call a tool."""
        body = {"tool": tool_name, "arguments": dict(arguments), "key": key, "tenant": caller.tenant}
        body |= {"session": caller.session, "customer": caller.customer_id, "run": caller.run_id}
        try:
            response = await self._client.post("/call", content=orjson.dumps(body))
        except httpx.ConnectError:
            raise NotCalled from None
        except httpx.TransportError:
            raise OutcomeUnknown from None
        if response.status_code != 200:
            raise NotCalled if response.status_code == 503 else OutcomeUnknown
        return ToolResult(response.json()["text"], response.json()["is_error"])


@contextmanager
def given(tools: RemoteTools) -> Generator[None]:
    """Give agents that are opened in the block these tools."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("api.lifespan.open_agent", partial(open_agent, tools=tools))
        yield


@asynccontextmanager
async def acting(seconds: float = 2) -> AsyncGenerator[Effects]:
    """Serve tools with effects, which agents have that are opened in the block."""
    async with effects() as found:
        tools = RemoteTools(found.url, seconds)
        with given(tools):
            yield found
        await tools.close()


async def proposed(
    redis: Redis,
    tool: Tool = BOOK_CALL,
    arguments: Mapping[str, Any] = BOOKING,
    *,
    tenant: str = "anonymous",
    visitor: str | None = None,
    session_id: str = "s-1",
) -> Action:
    """Propose an action, as a turn does that is stored."""
    context = AgentContext(tenant=tenant, customer_id="c-1", visitor=visitor)
    now = Standing(session_id, "7" * 36, thread_id(context.owner, session_id), context)
    token = standing.set(now)
    action = await Actions(redis, None, patience=1, keep=1800).propose(
        tool, arguments, summary_of(tool, arguments, "en")
    )
    standing.reset(token)
    for key, write in now.writes.items():
        await redis.set(key, write.value, ex=write.seconds, nx=write.is_new)
    return action

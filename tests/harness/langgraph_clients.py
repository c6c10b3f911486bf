"""Clients of the LangGraph API: LangGraph's own SDK, on a socket."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import httpx
from langgraph_sdk import get_client
from langgraph_sdk.client import LangGraphClient
from langgraph_sdk.schema import StreamPart

EVERY_MODE: Any = ["values", "updates", "messages", "messages-tuple", "custom"]


@asynccontextmanager
async def sdk_clients(
    replicas: Sequence[httpx.AsyncClient], api_key: str | None = None
) -> AsyncGenerator[list[LangGraphClient]]:
    """Return a client of each replica."""
    async with AsyncExitStack() as stack:
        made = [get_client(url=f"{replica.base_url}/langgraph", api_key=api_key) for replica in replicas]
        yield [await stack.enter_async_context(client) for client in made]


def asked(*messages: Any) -> Any:
    """A run's input; a text is the customer's message."""
    return {"messages": [{"role": "user", "content": one} if isinstance(one, str) else one for one in messages]}


def named(parts: Sequence[StreamPart]) -> list[str]:
    """The names of a stream's events."""
    return [part.event for part in parts]


def plain(parts: Sequence[StreamPart]) -> list[tuple[str | None, str, Any]]:
    """A stream's events, so that they can be compared."""
    return [(part.id, part.event, part.data) for part in parts]

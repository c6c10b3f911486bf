"""What handlers ask for; the only module of the front door that touches requests."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Coroutine
from typing import Annotated, Any, TypeVar
from urllib.parse import unquote_to_bytes

from fastapi import Depends, Query, Request
from fastapi.exceptions import RequestValidationError

from support_agent.api.errors import ClientGone
from support_agent.api.schemas import StreamQuery
from support_agent.graph.agent import SupportAgent
from support_agent.graph.events import Event, Failed, Token

_T = TypeVar("_T")


class Connection:
    """The connection that a request came by."""

    def __init__(self, request: Request) -> None:
        self._request = request

    @property
    def path(self) -> str:
        """The path that was asked for."""
        return self._request.url.path

    async def while_open(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Return what `work` returns, or cancel it and raise ClientGone when the client hangs up first."""
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


async def _agent(request: Request) -> SupportAgent:
    return request.state.agent


async def _connection(request: Request) -> Connection:
    return Connection(request)


AgentDep = Annotated[SupportAgent, Depends(_agent)]
ConnectionDep = Annotated[Connection, Depends(_connection)]


async def _question(request: Request, query: Annotated[StreamQuery, Query()]) -> str:
    try:
        unquote_to_bytes(request.scope["query_string"]).decode()
    except UnicodeDecodeError:  # Starlette would replace the bytes, and the model be asked something else
        error = {"type": "unicode", "loc": ("query", "question"), "msg": "must be percent-encoded UTF-8"}
        raise RequestValidationError([error]) from None
    return query.question


async def _answering(
    question: Annotated[str, Depends(_question)], agent: AgentDep, connection: ConnectionDep
) -> AsyncGenerator[AsyncIterator[Event]]:
    """Start a run and wait for its first token, so that a failure before it has a status of its own."""
    async with agent.stream(question) as run:
        events = aiter(run)
        first = await connection.while_open(_first_token(events))
        yield _chain(first, events)


async def _first_token(events: AsyncIterator[Event]) -> Event:
    async for event in events:
        if isinstance(event, Failed):
            raise event.error
        if isinstance(event, Token):
            return event
    raise AssertionError("a run without an answer fails")


async def _chain(first: Event, rest: AsyncIterator[Event]) -> AsyncIterator[Event]:
    yield first
    async for event in rest:
        yield event


AnsweringDep = Annotated[AsyncIterator[Event], Depends(_answering)]
"""The events of a run from its first token on; the run ends with the connection."""

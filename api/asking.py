"""The dependencies of /ask and /stream: a question outside any conversation."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import unquote_to_bytes

from fastapi import Depends, Header, Query, Request
from fastapi.exceptions import RequestValidationError

from api.answer_cache.cache import AnswerCache, AnswerRequest
from api.answer_cache.single_flight import Piece
from api.auth import Principal
from api.deps import Connection, PrincipalDep, context_of
from api.schemas import StreamQuery
from graph.errors import RUN_ERRORS
from graph.events import Done, Failed


async def _question(request: Request, query: Annotated[StreamQuery, Query()]) -> str:
    try:
        unquote_to_bytes(request.scope["query_string"]).decode()
    except UnicodeDecodeError:  # Starlette would replace the bytes, which changes the question
        error = {"type": "value_error", "loc": ("query", "question"), "msg": "must be percent-encoded UTF-8"}
        raise RequestValidationError([error]) from None
    return query.question


QUESTION = Depends(_question)
"""For a route that only checks the question."""


@dataclass(frozen=True, slots=True)
class Asking:
    """A question outside any conversation: who asks it, and how."""

    connection: Connection
    cache: AnswerCache
    caller: Principal
    fresh: bool
    """Whether the client asks to bypass the answer cache."""

    def request(self, question: str, customer_id: str | None = None) -> AbstractAsyncContextManager[AnswerRequest]:
        """Request the answer; leaving the block stops waiting for it."""
        return self.cache.request(question, context_of(self.caller, customer_id), fresh=self.fresh)


async def _asking(request: Request, caller: PrincipalDep, cache_control: Annotated[str, Header()] = "") -> Asking:
    return Asking(Connection(request), request.state.answers, caller, "no-cache" in cache_control.lower())


AskingDep = Annotated[Asking, Depends(_asking)]  # in one, since each dependency costs 1 % of a cached answer


async def _answer_stream(
    question: Annotated[str, Depends(_question)], asking: AskingDep
) -> AsyncGenerator[AsyncIterator[Piece]]:
    """Request an answer and wait for its first token, so that an earlier failure gets its own HTTP status."""
    connection = asking.connection
    async with asking.request(question) as request:
        pieces = request.follow()
        first = await connection.while_open(_first(pieces))
        if isinstance(first, Failed):
            raise RUN_ERRORS[first.error]
        connection.tell({"X-Cache": request.cache_status})
        yield _chain(first, pieces, connection)


async def _first(pieces: AsyncIterator[Piece]) -> Piece:
    return await anext(pieces)


async def _chain(first: Piece, rest: AsyncIterator[Piece], connection: Connection) -> AsyncIterator[Piece]:
    yield first
    async for piece in rest:
        if isinstance(piece, Done):
            connection.ran(piece.run_id)
        yield piece


AnswerStreamDep = Annotated[AsyncIterator[Piece], Depends(_answer_stream)]
"""An answer from its first token on; the request for it ends with the connection."""

"""GET /stream: one question, its answer streamed token by token."""

from collections.abc import AsyncIterator

from fastapi import APIRouter

from api.asking import QUESTION, AnswerStreamDep
from api.deps import ConnectionDep, LimitedRoute
from api.errors import documented
from api.sse import STREAMED, EventStream, plain

router = APIRouter(tags=["questions"], route_class=LimitedRoute)


@router.get("/stream", response_class=EventStream, responses=STREAMED | documented(401, 422, 429, 500, 502, 503, 504))
async def stream(answer: AnswerStreamDep, connection: ConnectionDep) -> EventStream:
    """Stream the answer: `data: <text>` for each token, then `data: [DONE]`.

    A failure before the first token has its own HTTP status. After the first token, one `error` event with a problem
    ends the stream.
    """
    return EventStream(plain(answer, connection.path))


@router.head("/stream", dependencies=[QUESTION], include_in_schema=False)
async def stream_headers() -> EventStream:
    """Return the headers of a stream, without asking any model."""
    return EventStream(_nothing())


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""

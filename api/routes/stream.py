"""GET /stream: one question, its answer as it is written."""

from collections.abc import AsyncIterator

from fastapi import APIRouter
from fastapi.sse import EventSourceResponse, ServerSentEvent

from api.deps import AnsweringDep, ConnectionDep, LimitedRoute
from api.errors import documented
from api.sse import plain

router = APIRouter(tags=["questions"], route_class=LimitedRoute)


@router.get("/stream", response_class=EventSourceResponse, responses=documented(401, 422, 429, 500, 503, 504))
async def stream(answering: AnsweringDep, connection: ConnectionDep) -> AsyncIterator[ServerSentEvent]:
    """Stream the answer: `data: <text>` for each token, then `data: [DONE]`.

    A failure before the first token has its own status; after it, one `error` event with a problem ends
    the stream.
    """
    async for event in plain(answering, connection.path):
        yield event

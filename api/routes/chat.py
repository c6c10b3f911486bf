"""POST /chat and POST /chat/stream: a message in a conversation."""

from fastapi import APIRouter

from api.deps import ConnectionDep, DrainDep, IdempotencyKey, LimitedRoute, TurnDep
from api.errors import documented
from api.schemas import ChatResponse
from api.sse import STREAMED, EventStream, typed
from graph.agent import whole_answer
from graph.runs.turn import Turn

router = APIRouter(tags=["conversations"], route_class=LimitedRoute)

_REFUSALS = documented(400, 401, 408, 409, 413, 415, 422, 429, 500, 502, 503, 504)


@router.post("/chat", responses=_REFUSALS)
async def chat(
    turn: TurnDep, connection: ConnectionDep, drain: DrainDep, idempotency_key: IdempotencyKey = ""
) -> ChatResponse:
    """Answer a message with the conversation's history.

    Without a `session_id` a new conversation starts. Disconnecting cancels the turn, unless the request has an
    `Idempotency-Key` and may be retried.
    """
    try:
        return ChatResponse.of(await connection.while_open(whole_answer(drain.follow(turn))))
    except BaseException:
        if isinstance(turn, Turn) and not idempotency_key:
            turn.cancel()
        raise


@router.post("/chat/stream", response_class=EventStream, responses=STREAMED | _REFUSALS)
async def chat_stream(turn: TurnDep, connection: ConnectionDep, drain: DrainDep) -> EventStream:
    """Stream a turn's typed events: `run`, `category` and `sources`, `token` …, then `done` or `error`.

    After a disconnect a client resumes with `GET /runs/{run_id}/stream` and `Last-Event-ID`. A turn that nobody reads
    for 10 seconds is cancelled.
    """
    return EventStream(typed(turn.id, drain.follow(turn), connection.path))

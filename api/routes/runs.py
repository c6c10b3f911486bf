"""GET /runs/{run_id}/stream and DELETE /runs/{run_id}: resume or cancel a turn."""

from typing import Any

from fastapi import APIRouter, HTTPException

from api.deps import AgentDep, ConnectionDep, DrainDep, FoundRunDep, LastEventDep, PrincipalDep, RunId
from api.errors import documented
from api.sse import STREAMED, EventStream, typed

router = APIRouter(prefix="/runs", tags=["conversations"])

_NOTHING_MORE: dict[int | str, dict[str, Any]] = {204: {"description": "The client has received all events."}}


@router.head("/{run_id}/stream", include_in_schema=False)
@router.get(
    "/{run_id}/stream",
    response_class=EventStream,
    responses=STREAMED | _NOTHING_MORE | documented(401, 404, 422, 500, 503),
)
async def run_stream(
    run: FoundRunDep, last_event: LastEventDep, connection: ConnectionDep, drain: DrainDep
) -> EventStream:
    """Stream a turn's typed events after `Last-Event-ID`, or from the first, from any replica.

    204 if that was the last event, so that an EventSource does not reconnect.
    """
    return EventStream(typed(run.id, drain.follow(run, last_event), connection.path))


@router.delete("/{run_id}", status_code=202, responses=documented(401, 404, 422, 500, 503))
async def cancel_run(run_id: RunId, agent: AgentDep, caller: PrincipalDep) -> None:
    """Cancel a turn; its readers get an `error` event of type `cancelled`, and the session forgets the message."""
    if not await agent.sessions.cancel(run_id, caller.owner):
        raise HTTPException(404)

"""GET and DELETE /sessions/{session_id}: a conversation's history; GET /sessions/{session_id}/events."""

from typing import Annotated

from fastapi import APIRouter, Header, HTTPException
from langchain_core.messages import AnyMessage

from api.deps import AgentDep, ConnectionDep, DrainDep, ExpiryDep, FeedbackDep, PrincipalDep, SessionPath
from api.errors import documented
from api.schemas import MessageOut, SessionResponse
from api.sse import STREAMED, EventStream, session_events
from graph.actions.handoffs import role_of
from graph.actions.reasons import AGENT
from graph.agent import SupportAgent
from graph.observe.feedback import Feedback

LastEventId = Annotated[
    str,
    Header(
        alias="Last-Event-ID",
        pattern=r"^([0-9]{1,16}-[0-9]{1,9})?$",
        description="The id of the last event that the client received.",
    ),
]

router = APIRouter(prefix="/sessions", tags=["conversations"])


@router.head("/{session_id}", include_in_schema=False)
@router.get("/{session_id}", responses=documented(401, 404, 422, 500, 503))
async def read_session(session_id: SessionPath, agent: AgentDep, caller: PrincipalDep) -> SessionResponse:
    """Return a conversation's messages, oldest first."""
    history = await agent.sessions.history(session_id, caller.owner)
    if history is None:
        raise HTTPException(404)
    messages = [_shown(message) for message in history.messages]
    return SessionResponse(session_id=session_id, messages=messages, expires_in=history.expires_in)


def _shown(message: AnyMessage) -> MessageOut:
    role = role_of(message)
    if role != "agent":
        return MessageOut(role=role, content=message.text)
    return MessageOut(role=role, content=message.text, id=message.id, at=message.additional_kwargs[AGENT])


@router.delete("/{session_id}", status_code=204, responses=documented(401, 404, 409, 422, 500, 503))
async def forget_session(session_id: SessionPath, agent: AgentDep, caller: PrincipalDep, feedback: FeedbackDep) -> None:
    """Delete a conversation with the records, ratings and streams of its answers; a hand-over ends with it."""
    if not await forget(session_id, caller.owner, agent, feedback):
        raise HTTPException(404)


async def forget(session_id: str, owner: str, agent: SupportAgent, feedback: Feedback) -> bool:
    """Delete all that is kept of an owner's session; return whether there was one. Raises SessionBusy."""
    is_forgotten = await agent.sessions.forget(session_id, owner)
    await agent.colleagues.release_session(session_id, owner)  # not while the session is busy
    await agent.sessions.forget_runs(await feedback.forget(owner, session_id))
    return is_forgotten


@router.head("/{session_id}/events", include_in_schema=False)
@router.get(
    "/{session_id}/events",
    response_class=EventStream,
    responses=STREAMED | documented(401, 404, 422, 500, 503),
)
async def read_events(
    session_id: SessionPath,
    agent: AgentDep,
    caller: PrincipalDep,
    connection: ConnectionDep,
    drain: DrainDep,
    expired: ExpiryDep,
    last_event_id: LastEventId = "",
) -> EventStream:
    """Stream what a person of the team writes: `message`, and `handoff` when a hand-over begins or ends.

    Without `Last-Event-ID` it begins with the hand-over that lasts, or with what comes next. It ends when the session
    is gone or the visitor's token expires; a form shows nothing before.
    """
    if not await agent.colleagues.is_there(session_id, caller.owner):
        raise HTTPException(404)
    events = agent.colleagues.events(session_id, caller.owner, last_event_id or None)
    return EventStream(session_events(drain.until_begun(events, expired), connection.path))

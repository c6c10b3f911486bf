"""GET and DELETE /sessions/{session_id}: a conversation's history."""

from fastapi import APIRouter, HTTPException
from langchain_core.messages import HumanMessage

from api.deps import AgentDep, PrincipalDep, SessionPath
from api.errors import documented
from api.schemas import MessageOut, SessionResponse

router = APIRouter(prefix="/sessions", tags=["conversations"])


@router.head("/{session_id}", include_in_schema=False)
@router.get("/{session_id}", responses=documented(401, 404, 422, 500, 503))
async def read_session(session_id: SessionPath, agent: AgentDep, caller: PrincipalDep) -> SessionResponse:
    """Return a conversation's messages, oldest first."""
    history = await agent.sessions.history(session_id, caller.owner)
    if history is None:
        raise HTTPException(404)
    messages = [
        MessageOut(role="user" if isinstance(message, HumanMessage) else "assistant", content=message.text)
        for message in history.messages
    ]
    return SessionResponse(session_id=session_id, messages=messages, expires_in=history.expires_in)


@router.delete("/{session_id}", status_code=204, responses=documented(401, 404, 409, 422, 500, 503))
async def forget_session(session_id: SessionPath, agent: AgentDep, caller: PrincipalDep) -> None:
    """Delete a conversation."""
    if not await agent.sessions.forget(session_id, caller.owner):
        raise HTTPException(404)

"""GET and POST /actions/{action_id}: what the agent has proposed, and the customer's yes or no."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path

from api.deps import AgentDep, ConnectionDep, PrincipalDep
from api.errors import documented
from api.schemas import ActionName, ActionOut, DecisionRequest

router = APIRouter(prefix="/actions", tags=["conversations"])

ActionPath = Annotated[ActionName, Path()]


@router.head("/{action_id}", include_in_schema=False)
@router.get("/{action_id}", responses=documented(401, 404, 422, 500, 503))
async def read_action(action_id: ActionPath, agent: AgentDep, caller: PrincipalDep) -> ActionOut:
    """Return an action as it is now; 404 if the caller has none of that id."""
    action = await agent.actions.find(action_id, caller.owner)
    if action is None:
        raise HTTPException(404)
    return ActionOut.of(action)


@router.post("/{action_id}", responses=documented(400, 401, 404, 408, 409, 410, 413, 415, 422, 500, 503))
async def decide_action(
    action_id: ActionPath, body: DecisionRequest, agent: AgentDep, caller: PrincipalDep, connection: ConnectionDep
) -> ActionOut:
    """Confirm or decline an action; the response to a confirmation says how it ended.

    It is done once, however often it is confirmed, and goes on if the client disconnects. What takes too long is still
    `begun` in the response.
    """
    actions = agent.actions
    decide = actions.confirm if body.confirm else actions.decline
    action = await connection.while_open(decide(action_id, caller.owner))
    if action is None:
        raise HTTPException(404)
    return ActionOut.of(action)

"""/handoffs: the conversations that a person of the team has taken over."""

from typing import Annotated

from fastapi import APIRouter, HTTPException, Path

from api.deps import OPERATOR, AgentDep, IdempotencyKey, OfTenantDep
from api.errors import documented
from api.handoff_schemas import (
    ColleagueMessage,
    ColleagueRequest,
    HandoffDetails,
    HandoffsResponse,
    HandoffWithMessages,
)
from api.schemas import MessageOut
from graph.actions.handoffs import transcript

HandoffId = Annotated[
    str,
    Path(
        pattern="^[0-9a-f]{32}$",
        description="The `id` of an answer's `handoff`; no hand-over has the example's (404).",
        examples=["6f1c0e0f9b1c4a0f8d3c2b1a09f8e7d6"],
    ),
]

router = APIRouter(prefix="/handoffs", tags=["handing over"])


@router.head("", include_in_schema=False)
@router.get("", responses=documented(401, 500, 503))
async def list_handoffs(agent: AgentDep, tenant: OfTenantDep) -> HandoffsResponse:
    """Return the hand-overs that last: with the key named `operator` those of all tenants, else the caller's own."""
    return HandoffsResponse(
        handoffs=[HandoffDetails.of_record(each) for each in await agent.colleagues.lasting(tenant)]
    )


@router.head("/{handoff_id}", include_in_schema=False)
@router.get("/{handoff_id}", responses=documented(401, 404, 422, 500, 503))
async def read_handoff(handoff_id: HandoffId, agent: AgentDep, tenant: OfTenantDep) -> HandoffWithMessages:
    """Return a hand-over, for a day after its end too, and its conversation."""
    record = await agent.colleagues.find(handoff_id, tenant)
    if record is None:
        raise HTTPException(404)
    lines = transcript(await agent.colleagues.messages(record))
    found = HandoffWithMessages.of_record(record)
    return found.model_copy(update={"messages": [MessageOut(role=line.role, content=line.content) for line in lines]})


@router.post(
    "/{handoff_id}/messages",
    status_code=201,
    dependencies=[OPERATOR],
    responses=documented(400, 401, 404, 408, 409, 413, 415, 422, 500, 503),
)
async def answer_customer(
    handoff_id: HandoffId,
    body: ColleagueRequest,
    agent: AgentDep,
    tenant: OfTenantDep,
    idempotency_key: IdempotencyKey = "",
) -> ColleagueMessage:
    """Write to the customer; only with the key named `operator`. 409 if the hand-over has ended.

    Requests with the same `Idempotency-Key` and body write one message.
    """
    event = (
        await agent.colleagues.answer(handoff_id, body.message, idempotency_key)
        if await agent.colleagues.find(handoff_id, tenant)
        else None
    )
    if event is None:
        raise HTTPException(404)
    return ColleagueMessage.model_validate(event.data)


@router.post("/{handoff_id}/release", dependencies=[OPERATOR], responses=documented(401, 404, 422, 500, 503))
async def release_handoff(handoff_id: HandoffId, agent: AgentDep, tenant: OfTenantDep) -> HandoffDetails:
    """Let the agent answer the customer again; only with the key named `operator`."""
    await agent.colleagues.release(handoff_id)
    record = await agent.colleagues.find(handoff_id, tenant)
    if record is None:
        raise HTTPException(404)
    return HandoffDetails.of_record(record)

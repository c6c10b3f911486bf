"""The inbox: the last conversations, for the team."""

import asyncio
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Cookie, HTTPException, Path, Response

from api.deps import AgentDep, CookiesDep, FeedbackDep, InboxSessionsDep, Link, LinkDep, OfTenantDep, SettingsDep
from api.errors import documented
from api.inbox_schemas import InboxLogin, InboxResponse
from api.inbox_sessions import COOKIE, LIFETIME
from api.schemas import RunName
from graph.actions.handoffs import Record as HandoffRecord
from graph.observe.cases import case_of
from graph.observe.feedback import Feedback, Record
from graph.observe.inbox import Conversation, Inbox, InboxTurn

router = APIRouter(prefix="/inbox", tags=["operations"])


@router.post("/session", status_code=204, responses=documented(400, 401, 408, 413, 415, 422, 500, 503))
async def log_in(body: InboxLogin, sessions: InboxSessionsDep, settings: SettingsDep, cookies: CookiesDep) -> Response:
    """Exchange a key for a cookie, which the page /inbox works with for eight hours.

    Without keys in the service's settings there is none to exchange, and no cookie is needed.
    """
    response = Response(status_code=204)
    if settings.api_keys:
        token = await sessions.open(body.key)
        if token is None:
            raise HTTPException(401)
        cookies.put(response, COOKIE, token, LIFETIME)
    return response


@router.delete("/session", status_code=204, responses=documented(500, 503))
async def log_out(
    sessions: InboxSessionsDep,
    cookies: CookiesDep,
    support_inbox: Annotated[str, Cookie(include_in_schema=False)] = "",
) -> Response:
    """End the cookie's session."""
    if support_inbox:
        await sessions.end(support_inbox)
    response = Response(status_code=204)
    cookies.put(response, COOKIE, "", 0)
    return response


@router.head("/conversations", include_in_schema=False)
@router.get("/conversations", responses=documented(401, 500, 503))
async def conversations(agent: AgentDep, feedback: FeedbackDep, tenant: OfTenantDep, link: LinkDep) -> InboxResponse:
    """Return the last conversations, masked: handed-over ones first, then what was rated badly or not answered.

    The key named `operator` reads every tenant's, any other its own.
    """
    lasting = await agent.colleagues.lasting(tenant)
    found = await Inbox(feedback).latest(tenant, {each.id for each in lasting})
    seen = {one.handoff for one in found}
    found = [*(_without_records(each, feedback) for each in lasting if each.id not in seen), *found]
    found.sort(key=lambda one: one.handoff is None)
    runs = [turn.record.run_id for conversation in found for turn in conversation.turns]
    return InboxResponse.of(found, await asyncio.to_thread(_links, link, runs) if link else {})


def _without_records(handoff: HandoffRecord, feedback: Feedback) -> Conversation:
    """Return a conversation that a customer waits in, although its answers are too old or too many to be kept."""
    at = datetime.fromisoformat(handoff.opened_at).timestamp()
    asked = feedback.masked(handoff.summary)
    turn = Record(handoff.tenant, asked, handoff.category, run_id=handoff.run_id, at=at, handoff=handoff.id)
    return Conversation(handoff.id, handoff.tenant, [InboxTurn(turn, None)], handoff.id)


def _links(link: Link, runs: Sequence[str]) -> dict[str, str]:
    """Return the addresses of runs' traces, none where LangSmith does not tell."""
    links: dict[str, str] = {}
    for run_id in runs:
        if (url := link(run_id)) is None:
            break
        links[run_id] = url
    return links


@router.head("/cases/{run_id}", include_in_schema=False)
@router.get("/cases/{run_id}", response_class=Response, responses=documented(401, 404, 422, 500, 503))
async def evaluation_case(run_id: Annotated[RunName, Path()], feedback: FeedbackDep, tenant: OfTenantDep) -> Response:
    """Return an answer of the last day as a case for `support-agent eval`, in YAML; add what it must state."""
    record = await feedback.record(run_id)
    if record is None or tenant not in (None, record.tenant):
        raise HTTPException(404)
    return Response(case_of(record, f"inbox-{run_id}"), media_type="application/yaml")

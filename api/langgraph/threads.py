"""Threads of the LangGraph API: create, find, describe and delete the sessions."""

import json
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Annotated, Any, cast

from fastapi import APIRouter, Header, HTTPException, Query, Response
from fastapi.exceptions import RequestValidationError
from pydantic import AfterValidator

from api.deps import AgentDep, ConnectionDep, FeedbackDep, PrincipalDep
from api.errors import ThreadExists, documented
from api.langgraph.assistant import ASSISTANT_ID, GRAPH_ID
from api.langgraph.deps import FoundThreadDep, OwnThreadDep, TenantDep
from api.langgraph.fields import contains
from api.langgraph.rendering import error_of
from api.langgraph.state import ThreadsDep
from api.langgraph.thread_schemas import MOST_METADATA, ThreadCreate, ThreadOut, ThreadPatch, ThreadSearch
from api.langgraph.values import SET_BY_US, metadata_of, values_of
from api.routes.sessions import forget
from graph.agent import SupportAgent
from graph.events import Failed
from graph.runs.memory import State
from graph.runs.thread import Thread, as_uuid
from graph.runs.threads import Threads

router = APIRouter(prefix="/langgraph/threads", tags=["LangGraph API"])

_READING = documented(401, 404, 422, 500, 503)
_WRITING = documented(400, 401, 403, 404, 409, 413, 415, 422, 500, 503)


def _nothing(included: str) -> str:
    if included:
        raise ValueError("is not served: threads expire with their sessions, and have no TTL of their own")
    return included


@router.post("", responses=_WRITING)
async def create(body: ThreadCreate, agent: AgentDep, caller: PrincipalDep, threads: ThreadsDep) -> ThreadOut:
    """Create a thread, which is a session without a turn yet."""
    name = as_uuid(body.thread_id) if body.thread_id else str(uuid.uuid4())
    found = await threads.find(str(name), caller.tenant)
    if found is None:
        made = await threads.create(str(name), caller.tenant, _added(body.metadata, None))
        if made:
            return _shown(made, None)
        found = await threads.find(str(name), caller.tenant)
    if found is None or body.if_exists == "raise":
        raise ThreadExists
    return (await _with_values(agent, [found]))[0]


@router.post("/search", responses=_WRITING)
async def search(
    body: ThreadSearch, agent: AgentDep, threads: ThreadsDep, tenant: TenantDep, connection: ConnectionDep
) -> list[ThreadOut]:
    """List threads, those with the latest turn first.

    `X-Pagination-Next` is the offset of the next page, if there is one; `X-Pagination-Total` is then one more than what
    has been listed so far.
    """
    found = await _found(body, threads, tenant)
    page = found[body.offset : body.offset + body.limit]
    connection.tell({"X-Pagination-Total": str(len(found))})
    if len(found) > body.offset + body.limit:
        connection.tell({"X-Pagination-Next": str(body.offset + body.limit)})
    if body.select is None or "values" in body.select:
        shown = await _with_values(agent, page)
    else:
        shown = [_shown(thread, None) for thread in page]
    return shown if body.select is None else [_selected(thread, body.select) for thread in shown]


@router.head("/{thread_id}", include_in_schema=False)
@router.get("/{thread_id}", responses=_READING)
async def get(
    thread: FoundThreadDep,
    agent: AgentDep,
    include: Annotated[str, AfterValidator(_nothing), Query(json_schema_extra={"maxLength": 0})] = "",  # noqa: ARG001 - refused unless it is empty
) -> ThreadOut:
    """Return a thread with its newest values."""
    return (await _with_values(agent, [thread]))[0]


@router.patch("/{thread_id}", responses=_WRITING | {204: {"description": "As `Prefer: return=minimal` asks for."}})
async def patch(
    thread: OwnThreadDep,
    body: ThreadPatch,
    agent: AgentDep,
    threads: ThreadsDep,
    prefer: Annotated[str, Header()] = "",
) -> Any:  # noqa: ANN401 - a thread, or nothing
    """Add to a thread's metadata; keys that it has are replaced."""
    await threads.add_metadata(thread, _added(body.metadata, thread))
    if prefer == "return=minimal":
        return Response(status_code=204)
    found = await threads.find(thread.id, thread.tenant)
    if found is None:
        raise HTTPException(404)
    return (await _with_values(agent, [found]))[0]


@router.delete("/{thread_id}", status_code=204, responses=_WRITING)
async def delete(thread: OwnThreadDep, agent: AgentDep, feedback: FeedbackDep) -> None:
    """Delete a thread with its session; 409 while it has a run."""
    await forget(thread.session_id, thread.owner, agent, feedback)


async def _found(body: ThreadSearch, threads: Threads, tenant: str | None) -> list[Thread]:
    """Return the threads that are searched for: all, or one more than to the end of the page where that is enough."""
    enough = body.offset + body.limit + 1
    if body.ids is None:
        candidates = threads.all(tenant)
    else:
        candidates = _each(threads, dict.fromkeys(str(as_uuid(name)) for name in body.ids), tenant)
    is_sorted = body.ids is None and body.sort_by == "updated_at" and body.sort_order == "desc"
    found: list[Thread] = []
    async for thread in candidates:
        if body.status in (None, thread.status) and contains(metadata_of(thread), body.metadata):
            found.append(thread)
        if is_sorted and len(found) == enough:
            return found
    if not is_sorted:
        found.sort(key=lambda thread: _sorted_by(thread, body.sort_by), reverse=body.sort_order == "desc")
    return found[:enough]


async def _each(threads: Threads, names: Iterable[str], tenant: str | None) -> AsyncIterator[Thread]:
    for name in names:
        if thread := await threads.find(name, tenant):
            yield thread


def _sorted_by(thread: Thread, name: str) -> str:
    if name == "thread_id":
        return thread.id
    if name == "status":
        return thread.status
    if name == "state_updated_at":
        return thread.state_updated_at
    return thread.created_at if name == "created_at" else thread.updated_at


async def _with_values(agent: SupportAgent, threads: Sequence[Thread]) -> list[ThreadOut]:
    states = await agent.states.newest(threads)
    return [_shown(thread, state) for thread, state in zip(threads, states, strict=True)]


def _shown(thread: Thread, state: State | None) -> ThreadOut:
    return ThreadOut(
        thread_id=thread.id,
        created_at=thread.created_at,
        updated_at=thread.updated_at,
        state_updated_at=thread.state_updated_at,
        metadata=metadata_of(thread),
        status=thread.status,
        config={"configurable": {}} if thread.run_id else {},
        values=values_of(thread, state.messages) if state else None,
        error=error_of(Failed(thread.error)) if thread.error else None,
        interrupts={},
    )


def _selected(thread: ThreadOut, names: Sequence[str]) -> ThreadOut:
    return cast("ThreadOut", {name: value for name, value in thread.items() if name in names})


def _added(metadata: Mapping[str, Any], thread: Thread | None) -> dict[str, Any]:
    """Return what a client adds to a thread's metadata, or to that of a new one; raises RequestValidationError."""
    known = metadata_of(thread) if thread else {"graph_id": GRAPH_ID, "assistant_id": ASSISTANT_ID}
    for name in metadata.keys() & SET_BY_US:
        if metadata[name] != known.get(name):
            raise _refusal(f"metadata.{name}", "is set by the service; remove it")
    added = {name: value for name, value in metadata.items() if name not in SET_BY_US}
    whole = {**(thread.metadata if thread else {}), **added}
    if len(json.dumps(whole).encode()) > MOST_METADATA:
        raise _refusal("metadata", f"must have at most {MOST_METADATA:,} bytes of JSON, with what the thread has")
    return added


def _refusal(field: str, message: str) -> RequestValidationError:
    return RequestValidationError([{"type": "value_error", "loc": ("body", field), "msg": message}])

"""States of the LangGraph API's threads: read the newest, list what is kept, and change it as an operator."""

from collections.abc import Sequence
from typing import Annotated, Any, cast

from fastapi import APIRouter, HTTPException, Path, Query

from api.deps import OPERATOR, AgentDep
from api.errors import documented
from api.langgraph.deps import FoundThreadDep
from api.langgraph.fields import contains
from api.langgraph.state_schemas import Checkpoint, HistorySearch, Selected, StateCheckpoint, StateOut, StateUpdate
from api.langgraph.values import checkpoint_of, state_of
from graph.agent import SupportAgent
from graph.runs.memory import State
from graph.runs.thread import Thread, as_uuid

router = APIRouter(prefix="/langgraph/threads/{thread_id}", tags=["LangGraph API"])

_READING = documented(401, 404, 422, 500, 503)
_WRITING = documented(400, 401, 404, 409, 413, 415, 422, 500, 503)

_Subgraphs = Annotated[bool, Query(description="Makes no difference: the graph has no subgraphs.")]


@router.head("/state", include_in_schema=False)
@router.get("/state", responses=_READING)
async def get_state(
    thread: FoundThreadDep,
    agent: AgentDep,
    select: Annotated[Selected, Query()] = None,
    subgraphs: _Subgraphs = False,  # noqa: ARG001 - it makes no difference
) -> StateOut:
    """Return a thread's newest state, which is empty before its first turn has ended."""
    return _selected(state_of(thread, await _newest(agent, thread)), select)


@router.head("/state/{checkpoint_id}", include_in_schema=False)
@router.get("/state/{checkpoint_id}", responses=_READING)
async def get_state_at(
    thread: FoundThreadDep,
    agent: AgentDep,
    checkpoint_id: Annotated[
        str,
        Path(
            description="The newest one's: no other state is kept. No thread has the example's (404).",
            examples=["1f0a3c5e-7b9d-6f10-8001-2c4e6a8b0d12"],
        ),
    ],
    select: Annotated[Selected, Query()] = None,
    subgraphs: _Subgraphs = False,  # noqa: ARG001 - it makes no difference
) -> StateOut:
    """Return a thread's newest state by its checkpoint's id; 404 for any other."""
    return _selected(await _state_at(agent, thread, checkpoint_id), select)


@router.post("/state/checkpoint", responses=_WRITING)
async def get_state_by_checkpoint(thread: FoundThreadDep, body: StateCheckpoint, agent: AgentDep) -> StateOut:
    """Return a thread's newest state by its checkpoint; 404 for any other."""
    if not _is_of(body.checkpoint, thread):
        raise HTTPException(404)
    return _selected(await _state_at(agent, thread, body.checkpoint.checkpoint_id), body.select)


@router.post("/state", responses=_WRITING, dependencies=[OPERATOR])
async def update_state(thread: FoundThreadDep, body: StateUpdate, agent: AgentDep) -> dict[str, Any]:
    """Add messages to a conversation, replace some by their ids, or remove some, as an operator.

    The conversation must end with an answer then. 409 while it has a run.
    """
    state = await _newest(agent, thread)
    at = body.checkpoint or Checkpoint()
    newest = state.id if state else None
    if not _is_of(at, thread) or not {at.checkpoint_id, body.checkpoint_id} <= {None, newest}:
        raise HTTPException(404)
    changed = await agent.states.update(thread, body.values.as_messages())
    checkpoint = checkpoint_of(thread, changed)
    return {"checkpoint": checkpoint, "configurable": checkpoint, "checkpoint_id": changed.id}


@router.head("/history", include_in_schema=False)
@router.get("/history", responses=_READING)
async def get_history(
    thread: FoundThreadDep,
    agent: AgentDep,
    limit: Annotated[int, Query(ge=1, le=1000, description="One state is kept.")] = 10,  # noqa: ARG001 - there is one
    before: Annotated[str | None, Query(description="No state before a checkpoint is kept.")] = None,
) -> list[StateOut]:
    """List the states of a thread: the newest, which is the one that is kept."""
    return await _history(agent, thread, HistorySearch(before=Checkpoint(checkpoint_id=before) if before else None))


@router.post("/history", responses=_WRITING)
async def search_history(thread: FoundThreadDep, body: HistorySearch, agent: AgentDep) -> list[StateOut]:
    """List the states of a thread: the newest, which is the one that is kept."""
    return await _history(agent, thread, body)


async def _history(agent: SupportAgent, thread: Thread, search: HistorySearch) -> list[StateOut]:
    state = await _newest(agent, thread)
    if state is None or search.before:
        return []
    if search.checkpoint and search.checkpoint.checkpoint_id not in (None, state.id):
        return []
    shown = state_of(thread, state)
    return [_selected(shown, search.select)] if contains(shown["metadata"], search.metadata) else []


async def _newest(agent: SupportAgent, thread: Thread) -> State | None:
    return (await agent.states.newest([thread]))[0]


async def _state_at(agent: SupportAgent, thread: Thread, checkpoint_id: str | None) -> dict[str, Any]:
    state = await _newest(agent, thread)
    if checkpoint_id is not None and (state is None or state.id != checkpoint_id):
        raise HTTPException(404)
    return state_of(thread, state)


def _is_of(checkpoint: Checkpoint, thread: Thread) -> bool:
    return checkpoint.thread_id is None or as_uuid(checkpoint.thread_id) == thread.id


def _selected(state: dict[str, Any], names: Sequence[str] | None) -> StateOut:
    if names is None:
        return cast("StateOut", state)
    selected = {name: state[name] for name in names if name in state}
    keys = {name.removeprefix("values.") for name in names if name.startswith("values.")}
    if keys and "values" not in names:
        selected["values"] = {key: value for key, value in state["values"].items() if key in keys}
    return cast("StateOut", selected)

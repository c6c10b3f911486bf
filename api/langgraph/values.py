"""A thread's state as clients of the LangGraph API see it."""

from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.messages import AnyMessage

from api.langgraph.assistant import ASSISTANT_ID, GRAPH_ID
from api.langgraph.rendering import answered_with, passages_of
from api.schemas import SourceOut
from graph.runs.memory import State
from graph.runs.records import as_json
from graph.runs.thread import Thread

SET_BY_US = frozenset({"graph_id", "assistant_id", "tenant", "session_id", "category", "sources"})
"""The keys of a thread's metadata that no client can set."""


def metadata_of(thread: Thread) -> dict[str, Any]:
    """Return a thread's metadata: what clients have added, and what the service knows of the session."""
    ours: dict[str, Any] = {
        "graph_id": GRAPH_ID,
        "assistant_id": ASSISTANT_ID,
        "tenant": thread.tenant,
        "session_id": thread.session_id,
    }
    if thread.answer:
        ours["category"] = thread.answer.category
        ours["sources"] = [SourceOut.of(source).model_dump() for source in thread.answer.sources]
    return {**thread.metadata, **ours}


def values_of(thread: Thread, messages: Sequence[AnyMessage]) -> dict[str, Any]:
    """Return the values of a thread's state, as a stream of its last run ends with them."""
    values: dict[str, Any] = {"messages": [as_json(message) for message in messages]}
    if done := thread.answer:
        values |= {"category": done.category, "passages": passages_of(done.sources), **answered_with(done)}
    return values


def state_of(thread: Thread, state: State | None) -> dict[str, Any]:
    """Return a thread's state, which is empty before its first turn has ended."""
    if state is None:
        return _state({}, None, None, None)
    checkpoint = checkpoint_of(thread, state)
    return _state(values_of(thread, state.messages), _state_metadata(thread, state), state.created_at, checkpoint)


def checkpoint_of(thread: Thread, state: State) -> dict[str, str]:
    """Return what names a state."""
    return {"thread_id": thread.id, "checkpoint_ns": "", "checkpoint_id": state.id}


def _state_metadata(thread: Thread, state: State) -> dict[str, Any]:
    written: dict[str, Any] = {"source": state.source, "step": state.step, "parents": {}}
    return {"graph_id": GRAPH_ID, "assistant_id": ASSISTANT_ID, "thread_id": thread.id, **written}


def _state(
    values: Mapping[str, Any],
    metadata: Mapping[str, Any] | None,
    created_at: str | None,
    checkpoint: Mapping[str, str] | None,
) -> dict[str, Any]:
    return {
        "values": values,
        "next": [],
        "tasks": [],
        "metadata": metadata,
        "created_at": created_at,
        "checkpoint": checkpoint,
        "parent_checkpoint": None,
        "interrupts": [],
        "checkpoint_id": checkpoint["checkpoint_id"] if checkpoint else None,
        "parent_checkpoint_id": None,
    }

"""What is known of a run beside its events, so that any replica can describe it, and show its messages.

It is kept under `run:<id>:about`, as long as the run log, and only where the LangGraph API is on.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from langchain_core.messages import BaseMessage
from pydantic import TypeAdapter

from graph.actions.handing_over import PASSED

Message = dict[str, Any]
"""A message as JSON, in LangChain's own form."""


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run, as it stood when it began."""

    run_id: str
    thread_id: str
    tenant: str
    created_at: str
    """ISO 8601 in UTC."""
    question: Message
    history: Sequence[Message] | None = None
    """The messages before; None while the run waits for its session."""
    ended_at: str | None = None
    """ISO 8601 in UTC; None while the run goes on."""
    request: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the client has asked for, as the LangGraph API keeps it; empty where the run began elsewhere."""


def as_json(message: BaseMessage) -> Message:
    """Return a message as JSON, without what only the agent needs to know."""
    shown = message.model_dump(mode="json")
    shown["additional_kwargs"].pop(PASSED, None)
    return shown


record_json = TypeAdapter(RunRecord)


def record_key(run_id: str) -> str:
    """Return the Redis key of a run's record."""
    return f"run:{run_id}:about"

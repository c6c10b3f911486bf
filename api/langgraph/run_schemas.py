"""A run as the LangGraph API describes it."""

from typing import Any, Literal, Self

from pydantic import BaseModel

from api.langgraph.assistant import ASSISTANT_ID
from api.langgraph.rendering import run_metadata
from graph.errors import Cancelled, ModelTimeout
from graph.events import Done, Event, Failed
from graph.runs.records import RunRecord

RunStatus = Literal["pending", "running", "success", "error", "timeout", "interrupted"]
RunField = Literal[
    "run_id",
    "thread_id",
    "assistant_id",
    "created_at",
    "updated_at",
    "status",
    "metadata",
    "kwargs",
    "multitask_strategy",
]


def status_of(last: Event | None, is_alive: bool) -> RunStatus:
    """Return how a run is doing by its last event, if any, and by whether a replica takes care of it."""
    if isinstance(last, Done):
        return "success"
    if isinstance(last, Failed):
        return {Cancelled.code: "interrupted", ModelTimeout.code: "timeout"}.get(last.error, "error")  # pyright: ignore[reportReturnType] - of the literals above
    if not is_alive:
        return "error"
    return "running" if last else "pending"


class RunOut(BaseModel):
    """A run."""

    run_id: str
    thread_id: str
    assistant_id: str
    created_at: str
    updated_at: str
    status: RunStatus
    metadata: dict[str, Any]
    kwargs: dict[str, Any]
    multitask_strategy: str

    @property
    def is_going_on(self) -> bool:
        """Whether it has not ended."""
        return self.status in ("pending", "running")

    @classmethod
    def of(cls, record: RunRecord, status: RunStatus) -> Self:
        """Describe a run."""
        return cls(
            run_id=record.run_id,
            thread_id=record.thread_id,
            assistant_id=ASSISTANT_ID,
            created_at=record.created_at,
            updated_at=record.ended_at or record.created_at,
            status=status,
            metadata=run_metadata(record),
            kwargs=record.request.get("kwargs", {}),
            multitask_strategy=record.request.get("multitask_strategy", "reject"),
        )

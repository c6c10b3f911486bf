"""The schemas of the LangGraph API's threads and their states."""

from typing import Annotated, Any, Literal

from pydantic import Field
from typing_extensions import TypedDict  # before Python 3.12 Pydantic needs it

from api.langgraph.fields import WHOLE, JsonObject, Request, Unserved
from graph.runs.thread import ThreadStatus

UUID = r"^[0-9a-fA-F]{8}-?([0-9a-fA-F]{4}-?){3}[0-9a-fA-F]{12}$"
"""The pattern of a thread's id: a UUID, with or without hyphens."""

MOST_METADATA = 16_384
"""Bytes of JSON that a thread's metadata may have."""

ThreadName = Annotated[str, Field(pattern=UUID, examples=["7f0c3a4e-3c55-4a53-9f0e-0f6f0e9f6a11"])]
_Field = Literal[
    "thread_id",
    "created_at",
    "updated_at",
    "state_updated_at",
    "metadata",
    "status",
    "config",
    "values",
    "error",
    "interrupts",
]


class ThreadOut(TypedDict, total=False):
    """A thread; of a search, the fields that were selected."""

    thread_id: str
    created_at: str
    updated_at: str
    state_updated_at: str
    metadata: dict[str, Any]
    status: ThreadStatus
    config: dict[str, Any]
    values: dict[str, Any] | None
    error: dict[str, str] | None
    """How the last run has failed, if it has."""
    interrupts: dict[str, Any]


class ThreadCreate(Request):
    """A new thread."""

    thread_id: Annotated[ThreadName | None, Field(description="A new UUID if absent.")] = None
    metadata: JsonObject = Field(default_factory=dict[str, Any])
    if_exists: Annotated[
        Literal["raise", "do_nothing"],
        Field(description="What to do if there is such a thread: answer 409, or return it."),
    ] = "raise"
    ttl: Annotated[None, Unserved("threads expire with their sessions, after SUPPORT_SESSION_TTL seconds")] = None
    supersteps: Annotated[None, Unserved("a thread begins with its first run")] = None


class ThreadPatch(Request):
    """What to add to a thread."""

    metadata: JsonObject = Field(default_factory=dict[str, Any])
    ttl: Annotated[None, Unserved("threads expire with their sessions, after SUPPORT_SESSION_TTL seconds")] = None


class ThreadSearch(Request):
    """Which threads to list."""

    metadata: Annotated[JsonObject, Field(description="What a thread's metadata must have.")] = Field(
        default_factory=dict[str, Any]
    )
    ids: Annotated[list[ThreadName] | None, Field(max_length=1000)] = None
    status: Annotated[
        ThreadStatus | Literal["interrupted"] | None,
        Field(description="None is `interrupted`: a turn runs as a whole."),
    ] = None
    limit: Annotated[int, Field(ge=1, le=1000), WHOLE] = 10
    offset: Annotated[int, Field(ge=0, le=1_000_000), WHOLE] = 0
    sort_by: Literal["thread_id", "status", "created_at", "updated_at", "state_updated_at"] = "updated_at"
    sort_order: Literal["asc", "desc"] = "desc"
    select: Annotated[list[_Field] | None, Field(description="The fields to return; all if absent.")] = None
    values: Annotated[None, Unserved("threads are found by their metadata, which has the category")] = None
    extract: Annotated[None, Unserved("select the field, and take what you need of it")] = None

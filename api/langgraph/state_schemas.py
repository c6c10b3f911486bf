"""The schemas of the states of the LangGraph API's threads."""

import uuid
from typing import Annotated, Any, Literal, Self

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage
from pydantic import AfterValidator, Field, model_validator
from typing_extensions import TypedDict  # before Python 3.12 Pydantic needs it

from api.langgraph.fields import JsonObject, Request, Unserved
from api.langgraph.thread_schemas import ThreadName

_STATE_FIELD = "|".join(
    (
        *("values", r"values\.[a-z_]{1,64}", "next", "tasks", "metadata", "created_at", "checkpoint"),
        *("parent_checkpoint", "interrupts", "checkpoint_id", "parent_checkpoint_id"),
    )
)
Selected = Annotated[
    list[Annotated[str, Field(pattern=f"^({_STATE_FIELD})$")]] | None,
    Field(description="The fields to return, or `values.<key>`; all if absent."),
]


def _root(namespace: str) -> str:
    if namespace:
        raise ValueError("must be empty, since the graph has no subgraphs")
    return namespace


class Checkpoint(Request):
    """What names a state of a thread; only the newest is kept."""

    thread_id: ThreadName | None = None
    checkpoint_ns: Annotated[str, AfterValidator(_root), Field(json_schema_extra={"const": ""})] = ""
    checkpoint_id: str | None = None
    checkpoint_map: Annotated[dict[str, str] | None, Field(max_length=0)] = None


class StateCheckpoint(Request):
    """A request for a thread's state by its checkpoint."""

    checkpoint: Checkpoint
    subgraphs: bool = False
    select: Selected = None


class HistorySearch(Request):
    """Which states of a thread to list."""

    limit: Annotated[int, Field(ge=1, le=1000)] = 1
    before: Annotated[Checkpoint | None, Field(description="No state before this one is kept.")] = None
    metadata: Annotated[JsonObject, Field(description="What a state's metadata must have.")] = Field(
        default_factory=dict[str, Any]
    )
    checkpoint: Checkpoint | None = None
    select: Selected = None


class StateOut(TypedDict, total=False):
    """A thread's state; the fields that were selected, if any were."""

    values: dict[str, Any]
    next: list[str]
    """Nothing: a state is stored when its turn has ended."""
    tasks: list[dict[str, Any]]
    metadata: dict[str, Any] | None
    created_at: str | None
    checkpoint: dict[str, str] | None
    parent_checkpoint: None
    interrupts: list[dict[str, Any]]
    checkpoint_id: str | None
    parent_checkpoint_id: None


class StateMessage(Request):
    """A message to add; with the id of one that there is, it takes its place, or removes it."""

    type: Literal["human", "user", "ai", "assistant", "remove"] | None = None
    role: Literal["human", "user", "ai", "assistant", "remove"] | None = None
    content: str = ""
    id: str | None = None
    name: Annotated[None, Unserved("messages have no names here")] = None
    additional_kwargs: Annotated[dict[str, Any], Field(max_length=0)] = Field(default_factory=dict[str, Any])
    response_metadata: Annotated[dict[str, Any], Field(max_length=0)] = Field(default_factory=dict[str, Any])
    tool_calls: Annotated[list[Any], Field(max_length=0)] = Field(default_factory=list[Any])
    invalid_tool_calls: Annotated[list[Any], Field(max_length=0)] = Field(default_factory=list[Any])
    usage_metadata: Annotated[None, Unserved("GET /runs has what a run has used")] = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.type is None) == (self.role is None):
            raise ValueError("must have a type or a role")
        if self.kind == "remove" and self.id is None:
            raise ValueError("must have the id of the message to remove")
        if self.kind != "remove" and not self.content.strip():
            raise ValueError("content must not be blank")
        return self

    @property
    def kind(self) -> str:
        """Who has said it, or `remove`."""
        return str(self.type or self.role)

    def as_message(self) -> AnyMessage | RemoveMessage:
        """Return it as LangChain has it."""
        name = self.id or str(uuid.uuid4())
        if self.kind == "remove":
            return RemoveMessage(id=name)
        kind = HumanMessage if self.kind in ("human", "user") else AIMessage
        return kind(self.content, id=name)


class StateValues(Request):
    """What can be changed of a thread's state."""

    messages: Annotated[list[StateMessage], Field(min_length=1, max_length=100)]
    category: Annotated[None, Unserved("it belongs to a turn, and is not part of what is stored")] = None

    def as_messages(self) -> list[AnyMessage | RemoveMessage]:
        """Return the messages as LangChain has them."""
        return [message.as_message() for message in self.messages]


class StateUpdate(Request):
    """A change of a thread's state."""

    values: StateValues
    as_node: Annotated[Literal["answer"] | None, Field(description="The node that answers.")] = None
    checkpoint: Annotated[Checkpoint | None, Field(description="The newest: no other state is kept.")] = None
    checkpoint_id: Annotated[str | None, Field(description="The newest one's: no other state is kept.")] = None

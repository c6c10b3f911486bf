"""The schemas of the states of the LangGraph API's threads."""

import uuid
from typing import Annotated, Any, Literal, cast

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage, RemoveMessage
from pydantic import AfterValidator, ConfigDict, Discriminator, Field, Tag
from typing_extensions import TypedDict  # before Python 3.12 Pydantic needs it

from api.langgraph.fields import WHOLE, JsonObject, Request, Unserved
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

    model_config = ConfigDict(json_schema_extra={"examples": [{"checkpoint": {"checkpoint_ns": ""}}]})

    checkpoint: Checkpoint
    subgraphs: bool = False
    select: Selected = None


class HistorySearch(Request):
    """Which states of a thread to list."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"limit": 1}]})

    limit: Annotated[int, Field(ge=1, le=1000), WHOLE] = 1
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


class _Message(Request):
    id: Annotated[str | None, Field(min_length=1, max_length=128)] = None
    name: Annotated[None, Unserved("messages have no names here")] = None
    additional_kwargs: Annotated[dict[str, Any], Field(max_length=0)] = Field(default_factory=dict[str, Any])
    response_metadata: Annotated[dict[str, Any], Field(max_length=0)] = Field(default_factory=dict[str, Any])
    tool_calls: Annotated[list[Any], Field(max_length=0)] = Field(default_factory=list[Any])
    invalid_tool_calls: Annotated[list[Any], Field(max_length=0)] = Field(default_factory=list[Any])
    usage_metadata: Annotated[None, Unserved("it belongs to a run")] = None


_Content = Annotated[str, Field(pattern=r"\S")]


class TypedMessage(_Message):
    """A message to add; with the id of one that there is, it takes its place."""

    type: Literal["human", "user", "ai", "assistant"]
    content: _Content

    def as_message(self) -> AnyMessage:
        """Return it as LangChain has it."""
        return _said(self.type, self.content, self.id)


class RoleMessage(_Message):
    """As TypedMessage, in the form of OpenAI's API."""

    role: Literal["human", "user", "ai", "assistant"]
    content: _Content

    def as_message(self) -> AnyMessage:
        """Return it as LangChain has it."""
        return _said(self.role, self.content, self.id)


class Removal(Request):
    """Removes a message."""

    type: Literal["remove"]
    id: Annotated[str, Field(min_length=1, max_length=128)]
    content: Literal[""] = ""

    def as_message(self) -> RemoveMessage:
        """Return it as LangChain has it."""
        return RemoveMessage(id=self.id)


def _said(kind: str, content: str, name: str | None) -> AnyMessage:
    message = HumanMessage if kind in ("human", "user") else AIMessage
    return message(content, id=name or str(uuid.uuid4()))


def _kind(value: object) -> str:
    fields = cast("dict[str, object]", value) if isinstance(value, dict) else {}
    if fields.get("type") == "remove":
        return "removal"
    return "type" if "type" in fields else "role"


StateMessage = Annotated[
    Annotated[TypedMessage, Tag("type")] | Annotated[RoleMessage, Tag("role")] | Annotated[Removal, Tag("removal")],
    Discriminator(_kind),
]


class StateValues(Request):
    """What can be changed of a thread's state."""

    messages: Annotated[list[StateMessage], Field(min_length=1, max_length=100)]
    category: Annotated[None, Unserved("it belongs to a turn, and is not part of what is stored")] = None

    def as_messages(self) -> list[AnyMessage | RemoveMessage]:
        """Return the messages as LangChain has them."""
        return [message.as_message() for message in self.messages]


class StateUpdate(Request):
    """A change of a thread's state."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [{"values": {"messages": [{"role": "assistant", "content": "It was refunded today."}]}}]
        }
    )

    values: StateValues
    as_node: Annotated[Literal["answer"] | None, Field(description="The node that answers.")] = None
    checkpoint: Annotated[Checkpoint | None, Field(description="The newest: no other state is kept.")] = None
    checkpoint_id: Annotated[str | None, Field(description="The newest one's: no other state is kept.")] = None

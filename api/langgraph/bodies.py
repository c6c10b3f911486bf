"""What a client asks for when it starts a run; what can't be honoured is refused by name."""

from typing import Annotated, Any, Literal, Self, cast, get_args

from langchain_core.messages import AnyMessage
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, model_validator
from pydantic.config import JsonDict

from api.langgraph.assistant import ASSISTANT_ID, GRAPH_ID
from api.langgraph.fields import PLAIN, WHOLE, JsonObject, Unserved
from api.langgraph.inputs import read_input
from api.langgraph.rendering import Mode
from api.schemas import CustomerId

_EXAMPLE: JsonDict = {
    "assistant_id": GRAPH_ID,
    "input": {"messages": [{"role": "user", "content": "I was charged twice, can I have my money back?"}]},
}
_STRICT = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)
_MODES: tuple[object, ...] = get_args(Mode)
_CUSTOMER = TypeAdapter[str | None](CustomerId | None)
_WHOLE = "Changes nothing: a turn is stored when it is whole."
_OURS = ("tenant", "visitor")
"""What the caller's key decides, and nobody may say."""


def _assistant(value: object) -> object:
    if value not in (GRAPH_ID, ASSISTANT_ID):
        raise ValueError(f"must be {GRAPH_ID}, the only assistant, or its id {ASSISTANT_ID}")
    return value


def _modes(value: object) -> object:
    modes = cast("list[object]", value) if isinstance(value, list) else [value]
    if any(mode not in _MODES for mode in modes):
        raise ValueError(f"must be of {', '.join(map(str, _MODES))}; no other mode is streamed")
    return modes


Modes = Annotated[list[Mode], BeforeValidator(_modes)]
AssistantName = Annotated[str, BeforeValidator(_assistant)]


def _without_ours(value: object) -> object:
    given = cast("JsonObject", value) if isinstance(value, dict) else {}
    for name in _OURS:
        if given.get(name) is not None:
            raise ValueError(f"{name} is decided by the API key; leave it out")
    return cast("object", value)


def _configurable(value: JsonObject) -> JsonObject:
    _without_ours(value)
    _CUSTOMER.validate_python(value.get("customer_id"))
    return value


class Context(BaseModel):
    """What a run knows of its caller."""

    model_config = _STRICT

    customer_id: Annotated[CustomerId | None, Field(description="Your own id of the customer.")] = None

    @model_validator(mode="before")
    @classmethod
    def _not_ours(cls, value: object) -> object:
        return _without_ours(value)


class RunConfig(BaseModel):
    """LangGraph's config of a run."""

    model_config = _STRICT

    tags: Annotated[list[str], PLAIN] = Field(default=[], max_length=100, description="Kept with the run.")
    recursion_limit: Annotated[int | None, WHOLE] = Field(
        default=None, ge=3, description="The graph has three steps, so it never ends early."
    )
    configurable: Annotated[JsonObject, AfterValidator(_configurable)] = Field(
        default={}, description="`customer_id` is read; the graph has nothing else to configure."
    )
    metadata: JsonObject = Field(default={}, description="Added to the run's metadata.")

    @property
    def customer_id(self) -> str | None:
        """The customer's id."""
        return self.configurable.get("customer_id")


class Checkpoint(BaseModel):
    """The state to start from, which can be the thread's latest alone."""

    model_config = _STRICT

    thread_id: str | None = None
    checkpoint_ns: Literal[""] | None = None
    checkpoint_id: str | None = None
    checkpoint_map: JsonObject | None = None


class StatelessRun(BaseModel):
    """A run that belongs to no thread of the client's."""

    model_config = _STRICT | ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    assistant_id: AssistantName
    input: Annotated[Any, AfterValidator(read_input)] = Field(
        description='`{"messages": [...]}`; the last message is the customer\'s.'
    )
    metadata: JsonObject | None = Field(default=None, description="The run's own; returned with it.")
    config: RunConfig | None = None
    context: Context | None = None
    stream_mode: Modes = Field(default=["values"], min_length=1)
    stream_subgraphs: bool = Field(default=False, description="Changes nothing: the graph has no subgraphs.")
    stream_resumable: bool = Field(default=False, description="Changes nothing: every stream can be resumed.")
    on_disconnect: Literal["continue", "cancel"] = "continue"
    on_completion: Literal["delete", "keep"] | None = None
    multitask_strategy: Literal["enqueue", "reject", "interrupt"] = "enqueue"
    if_not_exists: Literal["reject", "create"] = "reject"
    checkpoint_during: bool | None = Field(
        default=None, description="Changes nothing: a turn is stored when it is whole."
    )
    durability: Literal["sync", "async", "exit"] | None = Field(
        default=None, description="Changes nothing: a turn is stored when it is whole."
    )
    strict_resume: bool | None = Field(default=None, description="Changes nothing: there is nothing to resume.")
    command: Annotated[None, Unserved("the graph is never interrupted, so there is nothing to resume")] = None
    webhook: Annotated[None, Unserved("join the run, or stream it")] = None
    interrupt_before: Annotated[None, Unserved("a turn runs as a whole; use `langgraph dev` to step through it")] = None
    interrupt_after: Annotated[None, Unserved("a turn runs as a whole; use `langgraph dev` to step through it")] = None
    feedback_keys: Annotated[None, Unserved("send ratings to POST /feedback")] = None
    after_seconds: Annotated[None, Unserved("a run starts at once")] = None
    langsmith_tracer: Annotated[None, Unserved("the service's own settings say where traces go")] = None

    @model_validator(mode="after")
    def _one_customer(self) -> Self:
        _ = self.customer_id  # raises ValueError if there are two
        return self

    @property
    def messages(self) -> list[AnyMessage]:
        """The input's messages, of which the last is the customer's."""
        return cast("list[AnyMessage]", self.input)

    @property
    def is_kept(self) -> bool:
        """Whether there is a conversation that the run belongs to."""
        return self.on_completion == "keep"

    def described(self, question: AnyMessage) -> JsonObject:
        """Return what is kept of the request with the run, without the messages before the customer's."""
        asked = self.model_dump(include={"config", "context", "stream_mode", "on_disconnect"}, exclude_none=True)
        return {
            "metadata": {**(self.config.metadata if self.config else {}), **(self.metadata or {})},
            "multitask_strategy": self.multitask_strategy,
            "kwargs": {**asked, "input": {"messages": [{"type": "human", "content": question.text}]}},
        }

    @property
    def customer_id(self) -> str | None:
        """The customer's id, by the context or the config."""
        by_context = self.context.customer_id if self.context else None
        by_config = self.config.customer_id if self.config else None
        if by_context and by_config and by_context != by_config:
            raise ValueError("context and config name two different customers")
        return by_context or by_config


class ThreadRun(StatelessRun):
    """A run in a thread."""

    on_completion: Annotated[None, Unserved("only runs without a thread can delete theirs")] = None  # pyright: ignore[reportIncompatibleVariableOverride] - a body is only read
    checkpoint: Checkpoint | None = Field(default=None, description="The thread's latest; no other is kept.")
    checkpoint_id: str | None = None

    @property
    def is_kept(self) -> bool:
        """Whether there is a conversation that the run belongs to."""
        return True

    @property
    def checkpoint_name(self) -> str | None:
        """The id of the state to start from; None for the latest."""
        return self.checkpoint_id or (self.checkpoint.checkpoint_id if self.checkpoint else None)

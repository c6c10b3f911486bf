"""The typed events of a run, in order.

`run` · `category` and `sources` (in either order) · `token` … · `action` or `handoff`, if any · `done` or `error`.
Every run ends with exactly one of the last two.
"""

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Annotated, Literal

from langchain_core.messages import AIMessageChunk
from langgraph.graph.message import push_message
from langgraph.runtime import Runtime
from pydantic import Field, TypeAdapter

from graph.state import Action, AgentContext, Handoff, Passage


@dataclass(frozen=True, slots=True)
class Source:
    """An article, or a section of it, that the answer may be based on."""

    id: str
    title: str
    url: str | None = None
    """The article's public address, if known."""
    section: str | None = None
    """The headings above it, joined by " > "; None for a whole article."""


def sources_of(passages: Iterable[Passage]) -> tuple[Source, ...]:
    """Return the sources of an answer that rests on these passages: each section of an article once."""
    found = (Source(passage["id"], passage["title"], passage["url"], passage["section"]) for passage in passages)
    return tuple(dict.fromkeys(found))


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The run has started and has an id."""

    run_id: str
    session_id: str | None = None
    """None if the question belongs to no session."""
    event: Literal["run"] = "run"


@dataclass(frozen=True, slots=True)
class CategoryFound:
    """The question is classified."""

    category: str
    event: Literal["category"] = "category"


@dataclass(frozen=True, slots=True)
class SourcesFound:
    """The articles and sections found, best match first."""

    sources: tuple[Source, ...]
    event: Literal["sources"] = "sources"


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer; all pieces joined are the whole answer."""

    text: str
    event: Literal["token"] = "token"


@dataclass(frozen=True, slots=True)
class Done:
    """The whole answer."""

    run_id: str
    answer: str
    category: str
    sources: tuple[Source, ...]
    tokens_used: int
    """Tokens of both model calls together, as reported by the model's server."""
    session_id: str | None = None
    messages_in_history: int = 0
    """Messages in the session's history, including the two of this turn."""
    complete: bool = True
    """Whether the model finished the answer; False if a limit or a filter cut it off."""
    answered: bool = True
    """Whether the articles hold the answer; False if the model says that they do not."""
    action: Action | None = None
    """What the answer proposes to do."""
    handoff: Handoff | None = None
    """The person who takes over."""
    event: Literal["done"] = "done"


@dataclass(frozen=True, slots=True)
class Failed:
    """The run ended without a complete answer."""

    error: str
    """The `code` of a RunError."""
    event: Literal["error"] = "error"


NodeEvent = CategoryFound | SourcesFound | Token | Action | Handoff
"""The events that nodes emit while the graph runs."""

listening: ContextVar[Callable[[NodeEvent], None] | None] = ContextVar("listening", default=None)
"""Receives the node events of the current run, at a fraction of what LangGraph's stream `custom` costs."""


def emit(event: NodeEvent, runtime: Runtime[AgentContext]) -> None:
    """Pass an event on to the current run, or to the stream `custom` if the graph runs by itself, as in Studio."""
    (listening.get() or runtime.stream_writer)(event)


def emit_token(text: str, answer: str, runtime: Runtime[AgentContext]) -> None:
    """Emit a piece of the answer with this id; where the graph runs by itself, to the stream `messages` too.

    There it has the id of the stored answer, so that a page that joins messages by id shows the answer once.
    """
    emit(Token(text), runtime)
    if listening.get() is None:
        push_message(AIMessageChunk(content=text, id=answer), state_key=None)


Ending = Done | Failed
"""The event that ends a run."""

Event = RunStarted | NodeEvent | Ending

events_json = TypeAdapter[Event](Annotated[Event, Field(discriminator="event")])
"""Events as JSON, as stored in the run log."""

"""The typed events of a run, in their order.

`run` · `category` and `sources` (in either order) · `token` … · `done` or `error`.
Exactly one of the last two ends every run.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter

from graph.state import Category


@dataclass(frozen=True, slots=True)
class Source:
    """An article that the answer may rest on."""

    id: str
    title: str


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The run exists and can be named."""

    run_id: str
    session_id: str | None = None
    """None where the question belongs to no conversation."""
    event: Literal["run"] = "run"


@dataclass(frozen=True, slots=True)
class CategoryFound:
    """The classifier has spoken."""

    category: Category
    event: Literal["category"] = "category"


@dataclass(frozen=True, slots=True)
class SourcesFound:
    """The articles are found, best first."""

    sources: tuple[Source, ...]
    event: Literal["sources"] = "sources"


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer; the pieces joined are the answer."""

    text: str
    event: Literal["token"] = "token"


@dataclass(frozen=True, slots=True)
class Done:
    """The whole answer."""

    run_id: str
    answer: str
    category: Category
    sources: tuple[Source, ...]
    tokens_used: int
    """Tokens of both model calls together, as the model's server counts them."""
    session_id: str | None = None
    messages_in_history: int = 0
    """Messages that the session remembers, this turn's two included."""
    complete: bool = True
    """Whether the model ended the answer itself, and not a limit or a filter."""
    event: Literal["done"] = "done"


@dataclass(frozen=True, slots=True)
class Failed:
    """The run ended without a whole answer."""

    error: str
    """The `code` of a RunError."""
    event: Literal["error"] = "error"


NodeEvent = CategoryFound | SourcesFound | Token
"""What nodes emit while the graph runs."""

Event = RunStarted | NodeEvent | Done | Failed

events_json = TypeAdapter[Event](Annotated[Event, Field(discriminator="event")])
"""Events as JSON, as a run's log keeps them."""

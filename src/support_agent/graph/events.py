"""The typed events of a run, in their order.

`run` · `category` and `sources` (in either order) · `token` … · `done` or `error`.
Exactly one of the last two ends every run.
"""

from dataclasses import dataclass

from support_agent.graph.errors import RunError
from support_agent.graph.state import Category


@dataclass(frozen=True, slots=True)
class Source:
    """An article that the answer may rest on."""

    id: str
    title: str


@dataclass(frozen=True, slots=True)
class RunStarted:
    """The run exists and can be named."""

    run_id: str


@dataclass(frozen=True, slots=True)
class CategoryFound:
    """The classifier has spoken."""

    category: Category


@dataclass(frozen=True, slots=True)
class SourcesFound:
    """The articles are found, best first."""

    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Token:
    """A piece of the answer; the pieces joined are the answer."""

    text: str


@dataclass(frozen=True, slots=True)
class Done:
    """The whole answer."""

    run_id: str
    answer: str
    category: Category
    sources: tuple[Source, ...]
    tokens_used: int
    """Tokens of both model calls together, as the model's server counts them."""


@dataclass(frozen=True, slots=True)
class Failed:
    """The run ended without a whole answer."""

    error: RunError


NodeEvent = CategoryFound | SourcesFound | Token
"""What nodes emit while the graph runs."""

Event = RunStarted | NodeEvent | Done | Failed

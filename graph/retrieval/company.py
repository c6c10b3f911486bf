"""What a company says of itself and of its help centre, in company.yaml."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Desk:
    """A desk that questions go to."""

    name: str
    """One lower-case word, which the classifier answers with."""
    contact: str = ""
    """How a customer reaches a person there; empty if there is none."""
    about: str = ""
    """A line that says what goes there; the classifier gets it."""
    examples: tuple[str, ...] = ()
    """Questions that go there."""
    hours: str = ""
    """When somebody is there, as customers are told."""
    rules: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Which articles are its own: patterns (`*`, `?`) by the names of Document.labels."""


@dataclass(frozen=True, slots=True)
class Company:
    """A company's name, desks, and how its help centre is to be read."""

    name: str
    desks: tuple[Desk, ...]
    """One to twelve; what the classifier does not name goes to the first."""
    url: str | None = None
    """The pattern of an article's public address, such as `https://help.example.com/{path}`."""
    language: str | None = None
    """The help centre's default language, ISO 639-1."""
    leave_out: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Articles that are not for customers: patterns by the name of a front matter field, `title` or `path`."""
    fields: Mapping[str, str] = field(default_factory=dict[str, str])
    """Where a JSON export of another product has what an article needs: `articles`, `id`, `title`, `text` …"""

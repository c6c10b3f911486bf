"""What a help centre comes as: folders of files, exports of other products, web sites.

A source yields what has changed against the revisions that the caller knows. Parsers make pages of a file's bytes; a
source makes documents of pages.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from graph.retrieval.company import Company


@dataclass(frozen=True, slots=True)
class Page:
    """What a parser makes of a file, or of one row or entry of it."""

    text: str
    """Clean Markdown: headings (`#`), paragraphs, lists, tables and fenced code, and nothing that a generator adds."""
    title: str | None = None
    """From the front matter or the first heading, which is then not in the text; None if there is neither."""
    fields: Mapping[str, object] = field(default_factory=dict[str, object])
    """Front matter, or a page's meta data: names as in the file."""
    row: int | None = None
    """Which row of a table it is; the first names the columns."""


@dataclass(frozen=True, slots=True)
class Document:
    """One article of a source."""

    id: str
    """Stable: it comes from the path, or is the export's own id."""
    title: str
    text: str
    """Clean Markdown, as in Page; links lead to public addresses."""
    revision: str
    """Changes with the document: a hash, or what the server calls it."""
    url: str | None = None
    """The public address of the article, if known."""
    language: str | None = None
    """ISO 639-1, such as `de`; None if unknown."""
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """What the company's rules map to desks: `folder`, `tags`, `category`, `section`, `group`."""
    dead_links: tuple[str, ...] = ()
    """Where its links lead that lead to no article, as they were written."""


@dataclass(frozen=True, slots=True)
class Unchanged:
    """A document whose revision the caller knows."""

    id: str


@dataclass(frozen=True, slots=True)
class Deleted:
    """A document that the caller knows and the source no longer has."""

    id: str


@dataclass(frozen=True, slots=True)
class LeftOut:
    """Something that is not read."""

    where: str
    """A file, with `:line` where there is one, or an address."""
    reason: str
    """What is wrong and what would be right, or why it is not meant for customers."""
    is_fault: bool
    """False for drafts, internal articles and the like, which are left out on purpose."""


Change = Document | Unchanged | Deleted | LeftOut


class Source(Protocol):
    """Something that articles are read from."""

    def changes(self, known: Mapping[str, str]) -> Iterator[Change]:
        """Yield what has changed against `known`, revisions by id; raises KnowledgeError if it can't be read at all."""
        ...


class UnreadableError(Exception):
    """A file that a parser can't read; it says what is wrong and what would be right."""

    def __init__(self, reason: str, line: int | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line


class Parser(Protocol):
    """Makes pages of a file's content: one, but for a table, each row of which is one."""

    def __call__(self, content: bytes) -> list[Page]:
        """Return the pages; raises UnreadableError."""
        ...


Reading = Callable[[str, Company], Source]
"""How a source is opened: by its address in SUPPORT_KNOWLEDGE, and what the company says of its help centre."""

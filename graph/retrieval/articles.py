"""The company's articles, read from what SUPPORT_KNOWLEDGE names."""

import hashlib
import json
import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path

from graph.address import without_password
from graph.errors import KnowledgeError
from graph.retrieval.company import COMPANY_FILE, Company, company_of
from graph.retrieval.desks import desk_of
from graph.retrieval.sources import Change, Document, LeftOut
from graph.retrieval.sources.folder import Folder
from graph.retrieval.sources.generators import settings_of
from graph.retrieval.sources.named import export_in, is_site, named_apart, require_existing
from graph.retrieval.sources.opening import open_source
from graph.retrieval.sources.tree import Stamp
from graph.retrieval.stamps import FRESH, stamps_of
from graph.settings import AgentSettings

MOST_NAMED = 20
"""Faults that the log names one by one."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Article:
    """One article of the help centre."""

    id: str
    """Unique in its library."""
    title: str
    text: str
    """Clean Markdown."""
    desk: str | None = None
    """The name of the desk that it belongs to; None if no rule says so."""
    url: str | None = None
    """Its public address, if known."""
    language: str | None = None
    """ISO 639-1, such as `de`; None if unknown."""
    dead_links: tuple[str, ...] = ()
    """Where its links lead that lead to no article."""


@dataclass(frozen=True, slots=True)
class Library:
    """All that the sources hold."""

    company: Company
    articles: tuple[Article, ...]
    left_out: tuple[LeftOut, ...] = ()
    unread: tuple[str, ...] = ()
    """The sources of which nothing can be read, without their passwords."""

    @property
    def faults(self) -> list[LeftOut]:
        """What could not be read."""
        return [each for each in self.left_out if each.is_fault]

    @property
    def withheld(self) -> int:
        """How many are not for customers: drafts, internal articles and the like."""
        return len(self.left_out) - len(self.faults)

    def version(self, embedding_model: str) -> str:
        """Return a hash of the company, the articles and the embedding model's name: twelve hexadecimal digits."""
        content = hashlib.sha256(json.dumps([asdict(self.company), embedding_model], sort_keys=True).encode())
        for article in sorted(self.articles, key=lambda article: article.id):  # one by one, or other threads would wait
            content.update(json.dumps(asdict(article), sort_keys=True).encode())
        return content.hexdigest()[:12]

    def require(self, *, strict: bool) -> None:
        """Raise KnowledgeError where there is no article or, if `strict`, any fault."""
        faults = self.faults
        if self.articles and not (strict and faults):
            return
        said = f"{len(faults)} with faults, where none may be (SUPPORT_STRICT)" if self.articles else "no articles"
        if faults:
            said += f"; {named(faults[0])}"
            said += f" (and {len(faults) - 1} more, which `support-agent doctor` names)" if faults[1:] else ""
        if self.withheld and not self.articles:
            said += f"; {self.withheld} are left out, because they are not for customers"
        raise KnowledgeError(f"SUPPORT_KNOWLEDGE: {said}")

    def log(self, before: "Library | None" = None) -> None:
        """Say what is left out: each fault, up to MOST_NAMED of them, and how many are not for customers.

        What was left out `before` has been said.
        """
        told = frozenset(before.left_out if before else ())
        faults = [fault for fault in self.faults if fault not in told]
        for fault in faults[:MOST_NAMED]:
            _log.warning("left out: %s", named(fault))
        if (more := len(faults) - MOST_NAMED) > 0:
            _log.warning("left out: %d more with faults; `support-agent doctor` names all", more)
        if self.withheld != (before.withheld if before else 0):
            _log.info("left out: %d that are not for customers (drafts, internal articles and the like)", self.withheld)


def named(fault: LeftOut) -> str:
    """Say where a fault is and what is wrong, on one line."""
    return printable(f"{fault.where}: {fault.reason}")


def printable(text: str) -> str:
    """Return a text for a log or a terminal, without control characters."""
    return "".join(each if each.isprintable() else "\ufffd" for each in text)


def read_library(settings: AgentSettings) -> Library:
    """Read all sources; what can't be read of them is left out, with its reason.

    To be called in a thread without an event loop, since some sources have one of their own. Raises KnowledgeError
    where a source does not exist, or company.yaml has a fault.
    """
    return Reader(settings).read()


class Reader:
    """Reads all sources, time and again: files as far as they have changed, a site the first time alone."""

    def __init__(self, settings: AgentSettings) -> None:
        """Read the company's own file; raises KnowledgeError if it has a fault, or a source does not exist."""
        for source in settings.sources:
            require_existing(source, settings.sources)
        self._company_file = _company_file(settings)
        self._company_content = _content(self._company_file)
        self.company = read_company(settings)
        self._sources = tuple(named_apart(settings.sources))
        named = [source for source, prefix in self._sources if prefix is not None and not is_site(source)]
        read = [place for source in named for place in _places_of(source)]
        self.places = [*read, self._company_file] if self._company_file else read
        """The files and folders that may change."""
        self._known: dict[str, _Known] = {}
        self._folders: dict[str, Folder] = {}  # which know what they have parsed

    def company_change(self) -> str | None:
        """Say, once for each change, that the company's own file is another than that which was read."""
        before, self._company_content = self._company_content, _content(self._company_file)
        if self._company_content == before:
            return None
        return f"{self._company_file} has changed, which takes effect with a restart"

    def forget_failures(self) -> None:
        """Let the next reading ask sites again that could not be read at all."""
        self._known = {source: known for source, known in self._known.items() if not known.is_failure}

    def read(self) -> Library:
        """Return all that the sources hold; what can't be read is left out, with its reason.

        To be called in a thread without an event loop, since some sources have one of their own.
        """
        shelf = _Shelf(self.company)
        for source, prefix in self._sources:
            if prefix is None:
                shelf.fault(source, "is named twice in SUPPORT_KNOWLEDGE")
            else:
                shelf.take(source, prefix, partial(self._changes, source))
                if (known := self._known.get(source)) and known.is_failure:
                    shelf.unread.append(without_password(source))
        return Library(shelf.company, tuple(shelf.articles.values()), tuple(shelf.left_out), tuple(shelf.unread))

    def _changes(self, source: str) -> Iterable[Change]:
        """Return what a source holds; raises KnowledgeError if it can't be read at all."""
        known = self._known.get(source)
        if is_site(source):
            known = known or self._site(source)
        else:
            stamps = stamps_of(_places_of(source))
            if known is None or known.stamps != stamps or known.age > FRESH:
                opened = open_source(source, self.company)
                if isinstance(opened, Folder):
                    opened = self._folders.setdefault(source, opened)
                known = _Known(stamps, tuple(opened.changes({})))
        self._known[source] = known
        return known.changes

    def _site(self, source: str) -> "_Known":
        _log.info("reading %s", without_password(source))  # which may take a while
        try:
            return _Known({}, tuple(open_source(source, self.company).changes({})))
        except KnowledgeError as error:
            return _Known({}, (_unreadable(source, error),), is_failure=True)


@dataclass(frozen=True, slots=True)
class _Known:
    """What was read of a source."""

    stamps: Mapping[str, Stamp]
    """Those of its files; a site has none."""
    changes: Sequence[Change]
    is_failure: bool = False
    """Nothing could be read."""
    at: float = field(default_factory=time.monotonic)

    @property
    def age(self) -> float:
        return time.monotonic() - self.at


def read_company(settings: AgentSettings) -> Company:
    """Read the company.yaml that SUPPORT_COMPANY names, else that of the first folder; raises KnowledgeError."""
    return company_of(settings.company, _first_folder(settings))


def _places_of(source: str) -> list[Path]:
    path = Path(source)
    return [path, *settings_of(path.resolve())] if path.is_dir() else [path]


def _first_folder(settings: AgentSettings) -> Path | None:
    return next((Path(source) for source in settings.sources if Path(source).is_dir()), None)


def _company_file(settings: AgentSettings) -> Path | None:
    folder = _first_folder(settings)
    return settings.company or (folder / COMPANY_FILE if folder else None)


def _content(file: Path | None) -> bytes | None:
    try:
        return file.read_bytes() if file else None
    except OSError:
        return None


class _Shelf:
    """Articles of several sources, and what is left out of them."""

    def __init__(self, company: Company) -> None:
        self.company = company
        self.articles: dict[str, Article] = {}
        self.left_out: list[LeftOut] = []
        self.unread: list[str] = []
        self._seen: dict[tuple[str, ...], tuple[str, str]] = {}  # what an article is known by: source and id
        self._roots: dict[str, str] = {}  # the real paths of the folders among the sources

    def take(self, source: str, prefix: str, read: Callable[[], Iterable[Change]]) -> None:
        """Add all that a source holds; one that can't be read is a fault, since the others can be."""
        is_empty = True
        if Path(source).is_dir():
            self._roots[source] = str(Path(source).resolve())
        try:
            for change in read():
                is_empty = False
                if isinstance(change, LeftOut):
                    self.left_out.append(change)
                elif isinstance(change, Document):
                    self._add(change, source, prefix)
        except KnowledgeError as error:
            self.unread.append(without_password(source))
            self.left_out.append(_unreadable(source, error))
        else:
            if is_empty:
                export = export_in(source)
                told = f"; to read an export, name the file: {export}" if export else ""
                self.fault(source, f"there are no articles in it{told}")

    def _add(self, document: Document, source: str, prefix: str) -> None:
        known = prefix + document.id
        marks = self._marks(document, source)
        before = next((each for mark in marks if (each := self._seen.get(mark)) and each[0] != source), None)
        if before:
            reason = f"the article {document.id!r} is also in {without_password(before[0])!r}, as {before[1]!r}"
        elif known in self.articles:
            reason = f"the id {document.id!r} is already used by another article"
        else:
            for mark in marks:
                self._seen.setdefault(mark, (source, document.id))
            self.articles[known] = Article(
                known,
                document.title,
                document.text,
                desk_of(document, self.company),
                document.url,
                document.language,
                document.dead_links,
            )
            return
        self.fault(source, reason)

    def _marks(self, document: Document, source: str) -> list[tuple[str, ...]]:
        """Return what an article shares with itself in another source, or in a folder that lies in this one."""
        marks: list[tuple[str, ...]] = [
            ("text", document.title, document.text),
            ("revision", document.title, document.revision),
        ]
        if root := self._roots.get(source):  # there its text differs if it has links
            marks.append(("path", f"{root}/{document.id}"))
            for other in self._roots.values():
                if f"{root}/".startswith(f"{other}/") or other.startswith(f"{root}/"):
                    marks += [("id", other, document.id, document.title)]
        return marks

    def fault(self, source: str, reason: str) -> None:
        """Leave a source out, or some of it."""
        self.left_out.append(LeftOut(without_password(source), reason, is_fault=True))


def _unreadable(source: str, error: KnowledgeError) -> LeftOut:
    return LeftOut(without_password(source), str(error).removeprefix("SUPPORT_KNOWLEDGE: "), is_fault=True)

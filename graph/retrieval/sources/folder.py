"""A folder tree of articles: Markdown, MDX, HTML, reStructuredText, text, and whatever else a parser reads."""

import datetime as dt
import hashlib
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import quote, urljoin, urlsplit

from graph.errors import KnowledgeError
from graph.retrieval.company import Company
from graph.retrieval.sources import (
    Change,
    Document,
    LeftOut,
    Page,
    UnreadableError,
)
from graph.retrieval.sources.cascades import Cascades
from graph.retrieval.sources.entries import compare, folder_labels
from graph.retrieval.sources.front_matter import field, text_field, texts
from graph.retrieval.sources.languages import language_folder, language_of_fields, language_of_name
from graph.retrieval.sources.links import Addresses, with_links
from graph.retrieval.sources.parsers import KINDS, parse_file
from graph.retrieval.sources.partials import Partials, missing
from graph.retrieval.sources.tree import File, Stamp, files_in, stamp_of
from graph.retrieval.sources.visibility import pattern_that_leaves_out, reason_to_leave_out
from graph.retrieval.sources.written_language import language_of_text

_PLACEHOLDERS = ("path", "slug", "id", "language")
_LABELS = {
    "tags": ("tags", "tag", "labels", "label_names", "keywords"),
    "category": ("category", "categories"),
    "section": ("section", "sections"),
    "group": ("group", "groups"),
}


class _Text:
    """A page, and what is known of its text alone."""

    def __init__(self, page: Page) -> None:
        self.page = page

    @cached_property
    def language(self) -> str | None:
        """The language that its words are of."""
        return language_of_text(self.page.text)


@dataclass(frozen=True, slots=True)
class _Parsed:
    """What was made of a file, and what of: it need not be parsed again before that changes."""

    stamp: Stamp
    included: Mapping[str, int | None]
    """What it includes, by the names that it has for it: hashes of texts, None where there is none."""
    missing: tuple[LeftOut, ...]
    texts: Sequence[_Text]
    fault: tuple[str, int | None] | None
    """Why it can't be read, and in which line."""

    def fits(self, stamp: Stamp, file: File, partials: Partials) -> bool:
        """Return whether the file would be parsed to the same."""
        return self.stamp == stamp and all(
            _hash(partials.find(target, file)) == text for target, text in self.included.items()
        )


@dataclass(slots=True)
class _Article:
    file: File
    text: _Text
    number: int | None
    """Its place among the pages of its file; None if it is the only one."""
    id: str = ""
    language: str | None = None
    url: str | None = None
    folders: tuple[str, ...] = ()
    """The folders that it is in, without that of its language."""

    @property
    def page(self) -> Page:
        return self.text.page

    def fits(self, other: "_Article") -> bool:
        """Return whether its document would be the same, as long as links lead where they did."""
        mine = (self.id, self.language, self.url, self.folders)
        return self.text is other.text and mine == (other.id, other.language, other.url, other.folders)


class Folder:
    """The articles in a folder and below it; a file is parsed again only once it, or what it includes, has changed."""

    def __init__(self, folder: Path, company: Company) -> None:
        _check_pattern(company.url)
        self._root = folder
        self._company = company
        self._parsed: dict[str, _Parsed] = {}
        self._documents: dict[str, tuple[_Article, Document]] = {}
        self._addresses = Addresses(None)

    def changes(self, known: Mapping[str, str]) -> Iterator[Change]:
        """Yield what has changed; raises KnowledgeError if the folder does not exist, is a file, or can't be read."""
        return compare(self._found(), known)

    def _found(self) -> Iterator[Document | LeftOut]:
        articles: list[_Article] = []
        siblings: dict[tuple[str, ...], set[str]] = {}
        reading = _Reading(Partials(self._root), self._parsed)
        files: list[tuple[File, Sequence[_Text]]] = []
        cascades = Cascades()
        for found in files_in(self._root):
            if isinstance(found, LeftOut):
                yield self._named(found)
                continue
            for depth, name in enumerate(found.folders):
                siblings.setdefault(found.folders[:depth], set()).add(name)
            try:
                files.append((found, reading.texts(found)))
            except UnreadableError as error:
                where = f"{found.path}:{error.line}" if error.line else found.path
                yield self._named(LeftOut(where, error.reason, is_fault=True))
            else:
                cascades.add(found, [text.page.fields for text in files[-1][1]])
        for file, pages in files:
            for each in self._sorted_out(file, pages, {**file.defaults, **cascades.fields(file)}):
                if isinstance(each, LeftOut):
                    yield self._named(each)
                else:
                    articles.append(each)
        self._parsed = reading.parsed
        for parsed in reading.parsed.values():
            yield from map(self._named, parsed.missing)
        self._describe(articles, siblings)
        yield from self._described(articles)

    def _named(self, found: LeftOut) -> LeftOut:
        """Return what is left out with its place as the operator names it."""
        return LeftOut(f"{self._root}/{found.where}", found.reason, is_fault=found.is_fault)

    def _sorted_out(
        self, file: File, pages: Sequence[_Text], given: Mapping[str, object]
    ) -> Iterator[_Article | LeftOut]:
        """Yield the articles of a file, and what is left out of it; `given` are fields that it has if not its own."""
        now = dt.datetime.now(dt.UTC)
        for number, text in enumerate(pages):
            page = text.page
            where = f"{file.path}: row {page.row}" if page.row else file.path
            reason = self._reason_to_leave_out(file, page, {**given, **page.fields}, now)
            if reason:
                yield LeftOut(where, reason, is_fault=False)
            elif not page.text.strip():
                yield LeftOut(where, *_emptiness(file, page))
            else:
                yield _Article(file, text, number if len(pages) > 1 else None)

    def _reason_to_leave_out(self, file: File, page: Page, fields: dict[str, object], now: dt.datetime) -> str | None:
        title = page.title or file.place.stem
        pattern = pattern_that_leaves_out(self._company.leave_out, page.fields, title=title, path=file.path)
        if pattern:
            return f"the company leaves it out ({pattern})"
        if file.is_dated and not text_field(fields, "publishDate", "pubdate", "published"):
            fields["publishDate"] = field(fields, "date")
        return reason_to_leave_out(fields, now)

    def _describe(self, articles: list[_Article], siblings: Mapping[tuple[str, ...], set[str]]) -> None:
        """Give articles their language, id and address."""
        given = Counter(_given_id(article) for article in articles)
        taken: set[str] = set()
        for article in articles:
            at = language_folder(article.file.folders, siblings)
            stem, of_name = language_of_name(article.file.place.stem)
            of_folder = article.file.folders[at][:2].lower() if at is not None else None
            named = language_of_fields(article.page.fields) or of_name or of_folder
            article.language = named or article.text.language or self._company.language
            article.folders = article.file.folders[at + 1 :] if at is not None else article.file.folders
            article.id = _id(article, given, taken)
            taken.add(article.id)
            article.url = self._url(article, stem)

    def _described(self, articles: list[_Article]) -> Iterator[Document]:
        addresses = Addresses(self._company.url)
        for article in articles:
            addresses.add(article.file.path, article.url)
        for article in articles:
            for name in ("slug", "permalink", "url"):
                if slug := text_field(article.page.fields, name):
                    addresses.add(urljoin(f"/{article.file.path}", urlsplit(slug).path), article.url)
        known, self._documents = self._documents, {}
        before, self._addresses = self._addresses, addresses
        is_same = addresses.lead_as(before)
        for article in articles:
            other = known.get(article.id)
            if other and is_same and article.fits(other[0]):
                document = other[1]
            else:
                document = self._document(article, addresses)
                document = other[1] if other and other[1] == document else document  # the same text is held once
            self._documents[article.id] = article, document
            yield document

    def _document(self, article: _Article, addresses: Addresses) -> Document:
        page = article.page
        dead: dict[str, None] = {}

        def resolve(target: str) -> str | None:
            if addresses.is_dead(target, article.file.path):
                dead[target] = None
            return addresses.resolve(target, article.file.path, article.url)

        text = with_links(page.text, resolve)
        text = page.text if text == page.text else text
        title = page.title or _title_of_name(article.file)
        labels = {"folder": folder_labels(article.folders)} | {
            label: tuple(dict.fromkeys(text for name in names for text in texts(page.fields.get(name))))
            for label, names in _LABELS.items()
        }
        labels = {label: values for label, values in labels.items() if values}
        content = (title, text, article.url, article.language, sorted(labels.items()))
        revision = hashlib.sha256(repr(content).encode()).hexdigest()[:32]
        return Document(article.id, title, text, revision, article.url, article.language, labels, tuple(dead))

    def _url(self, article: _Article, stem: str) -> str | None:
        fields = article.page.fields
        for name in ("html_url", "canonical_url", "canonical", "url", "permalink"):
            address = text_field(fields, name)
            if address and re.match(r"https?://[^\s/]", address):
                return address
        pattern = self._company.url
        if not pattern:
            return None
        folder = "/".join(article.file.folders)
        path = re.sub(r"(?:^|/)(?:_?index|README)$", "", f"{folder}/{stem}".strip("/"))
        slug = text_field(fields, "permalink", "slug", "url")
        if slug:
            place = urlsplit(pattern).path.partition("{")[0]
            if slug.startswith("/") and len(place) > 1 and slug.startswith(place):
                return urljoin(pattern.partition("{")[0], quote(slug, safe="/%"))
            path = slug.lstrip("/") if slug.startswith("/") else f"{folder}/{slug}".lstrip("/")
        values = {
            "path": quote(path, safe="/%"),
            "slug": quote(path.rstrip("/").rpartition("/")[2], safe="%"),
            "id": quote(article.id, safe="/"),
            "language": article.language or "",
        }
        return re.sub(r"\{(\w+)\}", lambda name: values[name[1]], pattern)


class _Reading:
    """One reading of a folder's files."""

    def __init__(self, partials: Partials, before: Mapping[str, _Parsed]) -> None:
        self.parsed: dict[str, _Parsed] = {}
        """What was made of files, by their paths."""
        self._partials = partials
        self._before = before

    def texts(self, file: File) -> Sequence[_Text]:
        """Return a file's pages; raises UnreadableError."""
        limit = KINDS[file.suffix].max_bytes
        try:
            stat = file.place.stat()
            if stat.st_size > limit:
                raise UnreadableError(f"is larger than {limit // 2**20} MiB: split it")
            stamp = stamp_of(stat)
            parsed = self._before.get(file.path)
            if parsed is None or not parsed.fits(stamp, file, self._partials):
                parsed = self._parse(file, stamp, file.place.read_bytes())
        except OSError as error:
            raise UnreadableError(f"can't be read ({error.strerror}): give the service the right to read it") from error
        self.parsed[file.path] = parsed
        if parsed.fault:
            raise UnreadableError(*parsed.fault)
        return parsed.texts

    def _parse(self, file: File, stamp: Stamp, content: bytes) -> _Parsed:
        included: dict[str, int | None] = {}
        lacking: list[LeftOut] = []
        pages, fault = list[Page](), None

        def find(target: str) -> str | None:
            text = self._partials.find(target, file)
            included[target] = _hash(text)
            if text is None:
                lacking.append(missing(target, file, content.decode("utf-8", "replace")))
            return text

        try:
            pages = parse_file(file.suffix, content, find)
        except UnreadableError as error:
            fault = error.reason, error.line
        return _Parsed(stamp, included, tuple(lacking), tuple(map(_Text, pages)), fault)


def _hash(text: str | None) -> int | None:
    return None if text is None else hash(text)


def _check_pattern(pattern: str | None) -> None:
    if pattern is None:
        return
    unknown = [name for name in re.findall(r"\{([^{}]*)\}", pattern) if name not in _PLACEHOLDERS]
    if unknown or not re.match(r"https?://[^\s/{}]+", pattern):
        may_hold = ", ".join(f"{{{name}}}" for name in _PLACEHOLDERS)
        raise KnowledgeError(
            f"the company's url {pattern!r} must begin with https:// or http://, and may have in braces {may_hold}"
        )


def _emptiness(file: File, page: Page) -> tuple[str, bool]:
    """Return why a page without text is left out, and whether that is a fault."""
    is_generated = page.fields or re.match(r"_?index\.", file.place.name) or file.place.stat().st_size > 0
    if is_generated:
        return "has no text of its own, only what the site's generator adds", False
    return "is empty: write the article, or remove the file", True


def _given_id(article: _Article) -> str | None:
    given = text_field(article.page.fields, "id")
    return given if given and len(given) <= 200 else None


def _id(article: _Article, given: Mapping[str | None, int], taken: set[str]) -> str:
    """Return the front matter's id if it is the only such one, else the path without suffix; else the path."""
    own = _given_id(article)
    if own and given[own] == 1 and own not in taken:
        return own
    path = article.file.path
    stem = path.removesuffix(article.file.place.suffix)
    for name in (stem, path):
        candidate = name if article.number is None else f"{name}/{article.number + 1}"
        if candidate not in taken:
            return candidate
    return f"{path}#{len(taken)}"


def _title_of_name(file: File) -> str:
    """Return the title that a file's name, or that of an index's folder, says."""
    name = language_of_name(file.place.stem)[0]
    if re.fullmatch(r"_?index|README", name, re.IGNORECASE) and file.folders:
        name = file.folders[-1]
    words = re.sub(r"^\d+[-_. ]+", "", name)
    words = re.sub(r"[-_+]+", " ", words).strip() or name
    return words[0].upper() + words[1:]

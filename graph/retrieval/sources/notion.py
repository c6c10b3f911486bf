"""Notion's export: a ZIP archive of Markdown or HTML pages, with CSV files for databases.

Files are named `Title 0123…cdef.md`, with the page's id; pages below it are in a folder of its name. A database is such
a folder of pages, whose first lines are their properties, and a CSV file that names them.
"""

import csv
import hashlib
import posixpath
import re
import unicodedata
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from graph.errors import KnowledgeError
from graph.retrieval.company import Company
from graph.retrieval.sources import Change, Document, LeftOut, UnreadableError, limits
from graph.retrieval.sources.csv import from_csv
from graph.retrieval.sources.entries import Entry, address_by_pattern, compare, document_of, folder_labels, joined
from graph.retrieval.sources.front_matter import texts
from graph.retrieval.sources.html_tree import parse
from graph.retrieval.sources.languages import language_of_fields
from graph.retrieval.sources.links import with_links
from graph.retrieval.sources.parsers import parser_for
from graph.retrieval.sources.unpacking import Unpacking

_ID = re.compile(r"[ _-]?([0-9a-f]{32})(?:_all)?$")
_TABLE = re.compile(rb"<table class=\"properties\">.*?</table>", re.DOTALL)
_NOTION = ("notion.so", "notion.site", "notion.com")
_SUFFIXES = (".md", ".html", ".csv")
_LABELS = ("tags", "category", "section", "group")
_TEXTS = ("answer", "text", "content", "description")


class Notion:
    """A Notion export."""

    def __init__(self, path: Path, company: Company) -> None:
        self._path = path
        self._company = company

    def changes(self, known: Mapping[str, str]) -> Iterator[Change]:
        """Yield what differs from the known revisions; raises KnowledgeError for a file that is no archive."""
        return compare(self._found(), known)

    def _found(self) -> Iterator[Document | LeftOut]:
        files: dict[str, bytes] = {}
        try:
            with self._path.open("rb") as file:
                for name, content in Unpacking(limits.UNPACKED, limits.PAGE).files(file, _is_wanted):
                    if isinstance(content, UnreadableError):
                        yield LeftOut(f"{self._path}: {name}", content.reason, is_fault=True)
                    else:
                        files.setdefault(name, content)
        except OSError as error:
            raise KnowledgeError(f"{self._path}: can't be read ({error.strerror})") from error
        except UnreadableError as error:
            if not files:
                raise KnowledgeError(f"{self._path}: {error.reason}") from error
            yield LeftOut(str(self._path), f"{error.reason}; {len(files):,} files of it are read", is_fault=True)
        tables = {_place(name): content for name, content in sorted(files.items()) if name.endswith(".csv")}
        pages = [name for name in files if not name.endswith(".csv")]
        links = {_normal(name): _id(name) for name in pages}
        for name in pages:
            yield self._page(name, files[name], tables.get(_place(str(PurePosixPath(name).parent))), links)
        read = {_place(str(PurePosixPath(name).parent)) for name in pages}
        for name in sorted(files):
            # The rows of a database are its pages; only an export without them has nothing but the table.
            if name.endswith(".csv") and _place(name) not in read and files[name] is tables[_place(name)]:
                yield from self._rows(name, files[name])

    def _page(self, name: str, content: bytes, table: bytes | None, links: Mapping[str, str]) -> Document | LeftOut:
        where = f"{self._path}: {name}"
        try:
            content, fields = _without_properties(content, name, _columns(table))
            page = parser_for(PurePosixPath(name).suffix)(content)[0]
        except UnreadableError as error:
            return LeftOut(f"{where}:{error.line}" if error.line else where, error.reason, is_fault=True)
        fields = {**page.fields, **fields}
        text = page.text or next((fields[column] for column in _TEXTS if fields.get(column)), "")

        def resolve(target: str) -> str | None:
            page = _target(target, PurePosixPath(name).parent, links)
            return address_by_pattern(self._company.url, page, None) if page else joined("")(target)

        return document_of(
            Entry(
                where,
                _id(name),
                page.title or _title(name),
                with_links(str(text), resolve),
                fields,
                None,
                language_of_fields(fields),
                _labels(fields, name),
                _without_ids(name),
            ),
            self._company,
        )

    def _rows(self, name: str, content: bytes) -> Iterator[Document | LeftOut]:
        where = f"{self._path}: {name}"
        try:
            rows = from_csv(content)
        except UnreadableError as error:
            yield LeftOut(f"{where}:{error.line}" if error.line else where, error.reason, is_fault=True)
            return
        for row in rows:
            title = row.title or ""
            row_id = f"{_id(name)}-{hashlib.sha256(title.encode()).hexdigest()[:8]}"
            text = with_links(row.text, joined(""))
            fields = row.fields
            entry = Entry(where, row_id, title, text, fields, None, None, _labels(fields, name), _without_ids(name))
            yield document_of(entry, self._company)


def _is_wanted(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in _SUFFIXES and not name.startswith("__MACOSX/")


def _title(name: str) -> str:
    """Return a file's name without its suffix and id."""
    return _ID.sub("", _stem(name)).strip()


def _stem(name: str) -> str:
    last = PurePosixPath(name).name
    return re.sub(r"\.(?:md|html|csv)$", "", last, flags=re.IGNORECASE)


def _id(name: str) -> str:
    """Return the id at the end of a file's name, else its path without suffix."""
    match = _ID.search(_stem(name))
    return match[1] if match else str(PurePosixPath(name).with_name(_stem(name)))


def _place(name: str) -> str:
    """Return what the file of a database and the folder of its pages have in common: their path without ids."""
    return "/".join(_ID.sub("", part) for part in (*PurePosixPath(name).parts[:-1], _stem(name)))


def _without_ids(name: str) -> str:
    return _place(name) + PurePosixPath(name).suffix


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _target(target: str, folder: PurePosixPath, links: Mapping[str, str]) -> str | None:
    """Return the id of the page that a link leads to; None if it is none of the export's."""
    parts = urlsplit(target)
    if parts.scheme in ("http", "https"):
        match = _ID.search(parts.path) if (parts.hostname or "").endswith(_NOTION) else None
        return match[1] if match and match[1] in links.values() else None
    path = posixpath.normpath(posixpath.join(str(folder), unquote(parts.path)))
    return links.get(_normal(path))


def _columns(table: bytes | None) -> frozenset[str]:
    """Return the names of a database's columns."""
    first = (table or b"").decode("utf-8-sig", "replace").partition("\n")[0]
    return frozenset(name.strip() for row in csv.reader([first]) for name in row)


def _without_properties(content: bytes, name: str, columns: Collection[str]) -> tuple[bytes, dict[str, str]]:
    """Return a page without the properties that stand before its text, and these by their names in lower case."""
    if name.lower().endswith(".html"):
        match = _TABLE.search(content)
        if match is None:
            return content, {}
        rows = [row for row in parse(match[0].decode("utf-8", "replace")).elements() if row.name == "tr"]
        cells = [[" ".join(cell.text.split()) for cell in row.elements() if cell.name in ("th", "td")] for row in rows]
        fields = {row[0].lower(): row[1] for row in cells if len(row) == 2}
        return content[: match.start()] + content[match.end() :], fields
    lines = content.decode("utf-8", "surrogateescape").split("\n")
    fields: dict[str, str] = {}
    kept: list[str] = []
    for number, line in enumerate(lines):
        column, colon, value = line.partition(": ")
        if colon and column in columns:
            fields[column.lower()] = value.strip()
        elif line.strip() and not (not kept and line.startswith("# ")):
            kept += lines[number:]
            break
        else:
            kept.append(line)
    return "\n".join(kept).encode("utf-8", "surrogateescape"), fields


def _labels(fields: Mapping[str, object], name: str) -> dict[str, tuple[str, ...]]:
    folders = tuple(_ID.sub("", part) for part in PurePosixPath(name).parts[:-1])
    return {**{label: texts(fields.get(label)) for label in _LABELS}, "folder": folder_labels(folders)}

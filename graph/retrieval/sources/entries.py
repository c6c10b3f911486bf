"""Articles that an export or a site holds: what makes documents of them, whatever they came in."""

import codecs
import hashlib
import html
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.parse import quote, urljoin

from graph.retrieval.company import Company
from graph.retrieval.sources import Change, Deleted, Document, LeftOut, Unchanged, UnreadableError
from graph.retrieval.sources.links import Resolve, with_links
from graph.retrieval.sources.parsers import parser_for
from graph.retrieval.sources.visibility import pattern_that_leaves_out, reason_to_leave_out

_HTML = re.compile(
    r"\A\s*<[a-z!/]|<(?:p|div|br|ul|ol|li|h[1-6]|table|blockquote|pre|a|b|strong|em|i|span|img)\b", re.IGNORECASE
)
_PUBLIC = re.compile(r"(?:https?|mailto|tel):", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Entry:
    """An article as an export has it."""

    where: str
    id: str
    title: str
    text: str
    """Clean Markdown."""
    fields: Mapping[str, object] = field(default_factory=dict[str, object])
    """What else is said of it, by which articles are left out."""
    url: str | None = None
    language: str | None = None
    labels: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    path: str = ""
    """Its file's in an archive; else the id stands for it."""
    fault: str = ""
    """Why its text can't be read."""


def document_of(entry: Entry, company: Company) -> Document | LeftOut:
    """Return the article, or why it is left out."""
    pattern = pattern_that_leaves_out(
        company.leave_out, entry.fields, title=entry.title, path=entry.path or entry.id, labels=entry.labels
    )
    if pattern:
        reason = f"the company leaves it out ({pattern})"
    else:
        reason = reason_to_leave_out(entry.fields, datetime.now(UTC))
    if reason:
        return LeftOut(entry.where, reason, is_fault=False)
    if entry.fault:
        return LeftOut(entry.where, entry.fault, is_fault=True)
    for name in ("id", "title", "text"):
        if not getattr(entry, name):
            return LeftOut(entry.where, f"has no {name}", is_fault=True)
    url = (
        entry.url
        if entry.url and re.match(r"https?://", entry.url)
        else address_by_pattern(company.url, entry.id, entry.language)
    )
    labels = {name: values for name, values in entry.labels.items() if values}
    content = repr((entry.title, entry.text, url, entry.language, sorted(labels.items())))
    revision = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return Document(entry.id, entry.title, entry.text, revision, url, entry.language, labels)


def compare(found: Iterable[Document | LeftOut], known: Mapping[str, str]) -> Iterator[Change]:
    """Yield what differs from the known revisions; of two articles with one id, the second is left out."""
    seen: set[str] = set()
    for each in found:
        if isinstance(each, LeftOut):
            yield each
        elif each.id in seen:
            yield LeftOut(each.id, "is there twice, of which the first is read", is_fault=True)
        else:
            seen.add(each.id)
            yield Unchanged(each.id) if known.get(each.id) == each.revision else each
    yield from map(Deleted, known.keys() - seen)


def text_of(body: str, title: str, base: str, *, is_html: bool = False) -> tuple[str, str]:
    """Return the clean Markdown of an article's text, which is HTML or Markdown, and why it can't be read.

    `base` is the address that its links start from, or an empty text.
    """
    try:
        return with_links(markdown_of(body, title, is_html=is_html), joined(base)), ""
    except UnreadableError as error:
        return "", error.reason


def markdown_of(body: str, title: str, *, is_html: bool = False) -> str:
    """Return the clean Markdown of an article's text, without its title as first heading. Raises UnreadableError."""
    body = body.replace("\0", "")
    title = " ".join(title.split()) or "Title"
    if is_html or _HTML.search(body):
        page = f"<main><h1>{html.escape(title)}</h1>{body}</main>"
        text = parser_for(".html")(codecs.BOM_UTF8 + page.encode("utf-8", "replace"))[0].text
    else:
        text = parser_for(".md")(f"# {title}\n\n{body}".encode("utf-8", "replace"))[0].text
    return re.sub(rf"\A#+ {re.escape(title)}\s*(?:\n|\Z)", "", text.strip(), count=1).strip()


def joined(base: str) -> Resolve:
    """Return what resolves the links of a page at this address, or of one that has none (an empty text)."""

    def resolve(target: str) -> str | None:
        try:
            address = urljoin(base, target)
        except ValueError:
            return None
        return address if _PUBLIC.match(address) else None

    return resolve


def address_by_pattern(pattern: str | None, article: str, language: str | None) -> str | None:
    """Return the public address of an article by company.yaml's pattern."""
    if pattern is None:
        return None
    path = quote(article, safe="/")
    values = {"path": path, "id": path, "slug": path.rpartition("/")[2], "language": language or ""}
    return re.sub(r"\{(\w+)\}", lambda name: values.get(name[1], name[0]), pattern)


def folder_labels(folders: Sequence[str]) -> tuple[str, ...]:
    """Return the paths of the folders that an article is in, from the outermost, and then their names."""
    paths = ("/".join(folders[: depth + 1]) for depth in range(len(folders)))
    return tuple(dict.fromkeys((*paths, *folders)))

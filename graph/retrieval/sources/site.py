"""A web site, by its sitemap or a list of addresses: the pages of the named host alone.

A page's revision is what the server calls it (ETag, Last-Modified), by which it sends only what has changed, and a hash
of the article.
"""

import asyncio
import codecs
import json
import re
from collections.abc import AsyncGenerator, Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from protego import Protego
from yarl import URL

from graph.errors import KnowledgeError
from graph.retrieval.company import Company
from graph.retrieval.sources import (
    Change,
    Deleted,
    Document,
    LeftOut,
    Page,
    Unchanged,
    UnreadableError,
    limits,
)
from graph.retrieval.sources.entries import Entry, document_of, folder_labels, joined
from graph.retrieval.sources.fetching import PRODUCT, Fetcher, GoneError, Reply, SiteEndedError, open_fetcher, shown
from graph.retrieval.sources.front_matter import texts
from graph.retrieval.sources.languages import language_of_code
from graph.retrieval.sources.links import with_links
from graph.retrieval.sources.listing import Listing, read_robots
from graph.retrieval.sources.parsers import parser_for
from graph.retrieval.sources.sitemap import read_sitemap

_SUFFIXES = {
    "text/html": ".html",
    "application/xhtml+xml": ".html",
    "text/markdown": ".md",
    "text/plain": ".txt",
    "application/pdf": ".pdf",
}
_BOMS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class Site:
    """The pages that a sitemap or a list names; read in a thread without an event loop of its own."""

    def __init__(self, address: str, company: Company, listed: tuple[str, ...] = ()) -> None:
        """`address` is that of a site, a sitemap or a list; with a list of addresses, only the host of it counts."""
        try:
            self._address = URL(address)
            _ = self._address.origin()
        except ValueError as error:
            example = "one is like https://help.example.com/sitemap.xml"
            raise KnowledgeError(f"SUPPORT_KNOWLEDGE: an address of a site is not valid: {example}") from error
        self._company = company
        self._listed = listed
        self._where = shown(self._address)

    def changes(self, known: Mapping[str, str]) -> Iterator[Change]:
        """Yield the pages that have changed, what is left out, and what is gone."""
        with asyncio.Runner() as runner:
            changes = self._changes(known)

            async def following() -> Change | None:
                return await anext(changes, None)

            try:
                while change := runner.run(following()):
                    yield change
            finally:
                runner.run(changes.aclose())

    async def _changes(self, known: Mapping[str, str]) -> AsyncGenerator[Change]:
        async with open_fetcher(self._address) as fetcher:
            robots = await read_robots(fetcher)
            listing = Listing(fetcher)
            if self._listed:
                listing.add(self._listed, self._where)
            else:
                await listing.add_sitemaps(self._address, robots)
            pages: dict[str, URL] = {}
            for url in listing.pages:
                pages.setdefault(_id(url), url)
            for each in listing.left_out:
                yield each
            if len(pages) > limits.SITE_PAGES:
                reason = f"names {len(pages):,} pages, of which {limits.SITE_PAGES:,} are read"
                yield LeftOut(self._where, reason, is_fault=True)
            asked: set[str] = set()
            kept: set[str] = set()
            reading = _Reading(fetcher, robots, pages, self._company)
            try:
                for page in _new_ones_first(pages, known):
                    for change in await reading.page(page, known.get(page)):
                        yield change
                        if isinstance(change, Document | Unchanged):
                            kept.add(page)
                    asked.add(page)
            except SiteEndedError as error:
                reason = f"{error.reason}; {len(pages) - len(asked):,} pages are not read"
                yield LeftOut(self._where, reason, is_fault=True)
            for page in known.keys() - kept:
                # What may well be there is not taken for gone.
                is_gone = page in asked or (listing.is_whole and page not in pages)
                yield Deleted(page) if is_gone else Unchanged(page)


def open_list(path: Path, company: Company) -> Site:
    """Open the site whose addresses are in a file, one a line; the first one's host is the site's."""
    try:
        listed = tuple(read_sitemap(path.read_bytes()).pages)
    except OSError as error:
        raise KnowledgeError(f"{path}: can't be read ({error.strerror})") from error
    except UnreadableError as error:
        raise KnowledgeError(f"{path}: {error.reason}") from error
    if not listed:
        raise KnowledgeError(f"{path}: names no address")
    return Site(listed[0], company, listed)


class _Reading:
    """One reading of a site's pages."""

    def __init__(self, fetcher: Fetcher, robots: Protego, pages: Mapping[str, URL], company: Company) -> None:
        self._fetcher = fetcher
        self._robots = robots
        self._pages = pages
        self._company = company

    async def page(self, page: str, known: str | None) -> list[Change]:
        """Return what has become of a page: neither there nor unchanged if it is gone. Raises SiteEndedError."""
        url = self._pages[page]
        try:
            reply = await self._fetcher.get(url, limits.PAGE, _conditions(known), self._robots)
            if reply.content is None:
                return [Unchanged(page)]
            change = self._read(page, reply, reply.content)
            return [Unchanged(page) if isinstance(change, Document) and change.revision == known else change]
        except SiteEndedError:
            raise
        except GoneError as error:
            return [LeftOut(shown(url), error.reason, error.is_fault)]
        except UnreadableError as error:
            left_out = LeftOut(shown(url), error.reason, is_fault=True)
            return [left_out, Unchanged(page)] if known else [left_out]

    def _read(self, page: str, reply: Reply, content: bytes) -> Document | LeftOut:
        where = shown(reply.url)
        kind = reply.headers.get("content-type", "text/html").partition(";")[0].strip().lower()
        if kind not in _SUFFIXES:
            return LeftOut(where, f"is {kind[:60]!r}, not {', '.join(_SUFFIXES)}", is_fault=True)
        if reply.url != self._pages[page] and _id(reply.url) != page and _id(reply.url) in self._pages:
            return LeftOut(shown(self._pages[page]), f"redirects to {where}, which is read", is_fault=False)
        pages = parser_for(_SUFFIXES[kind])(_encoded(content, reply) if _SUFFIXES[kind] == ".html" else content)
        if not pages:
            return LeftOut(where, "has no text", is_fault=True)
        rules = (reply.headers.get("x-robots-tag", ""), str(pages[0].fields.get(PRODUCT, "")))
        if any(map(_is_hidden, rules)):
            return LeftOut(where, "hidden from search engines (noindex)", is_fault=False)
        canonical = str(pages[0].fields.get("canonical", ""))
        if canonical and not _is_same(reply.url, canonical):
            return LeftOut(where, "is a copy of another page (canonical)", is_fault=False)
        return self._document(page, reply, pages[0])

    def _document(self, page: str, reply: Reply, found: Page) -> Document | LeftOut:
        folders = tuple(part for part in reply.url.path.split("/")[1:-1] if part)
        tags = texts(found.fields.get("keywords"))
        url = str(reply.url)
        text = with_links(found.text, joined(url))
        title = found.title or _title(reply.url)
        labels = {"folder": folder_labels(folders), "tags": tags}
        language = language_of_code(str(found.fields.get("lang") or reply.headers.get("content-language", "")))
        entry = Entry(shown(reply.url), page, title, text, found.fields, url, language, labels)
        document = document_of(entry, self._company)
        if isinstance(document, LeftOut):
            return document
        return replace(document, revision=_revision(reply, document.revision))


def _encoded(content: bytes, reply: Reply) -> bytes:
    """Return HTML in UTF-8 where the server names another charset, which counts more than what the page says."""
    charset = re.search(r"charset=[\"']?([\w-]{1,40})", reply.headers.get("content-type", ""), re.IGNORECASE)
    if charset is None or content.startswith(_BOMS):
        return content
    try:
        return codecs.BOM_UTF8 + content.decode(charset[1], "replace").encode("utf-8", "replace")
    except LookupError:
        return content


def _title(url: URL) -> str:
    """Return a title for a page that has none: the last part of its path."""
    return (url.path.rstrip("/").rpartition("/")[2].partition(".")[0] or str(url.host)).replace("-", " ")


def _is_hidden(rules: str) -> bool:
    """Whether the rules for robots, also those with our name before them, say that a page is not to be found."""
    words = (word.strip().lower().removeprefix(f"{PRODUCT}:").strip() for word in rules.split(","))
    return any(word in ("noindex", "none") for word in words)


def _is_same(url: URL, canonical: str) -> bool:
    """Whether a page's canonical address is its own: host and scheme may be those that customers see."""
    try:
        target = url.join(URL(canonical))
    except ValueError:
        return True  # it says nothing
    return _id(target) == _id(url) or _id(target.with_query(None)) == _id(url.with_query(None))


def _id(url: URL) -> str:
    """Return what names a page: its path, and its query if it has one."""
    path = url.path.strip("/").removesuffix("/index.html") or "index"
    return f"{path}?{url.query_string}" if url.query_string else path


def _new_ones_first(pages: Mapping[str, URL], known: Mapping[str, str]) -> list[str]:
    """Return the pages to read, in an order in which a reading that ends early has read what is new."""
    return sorted(list(pages)[: limits.SITE_PAGES], key=lambda page: page in known)


def _conditions(known: str | None) -> dict[str, str]:
    """Return the headers that ask only for what has changed since a revision."""
    if not known:
        return {}
    try:
        etag, modified, _ = json.loads(known)
    except ValueError:  # of another kind of source
        return {}
    return {name: value for name, value in (("If-None-Match", etag), ("If-Modified-Since", modified)) if value}


def _revision(reply: Reply, revision: str) -> str:
    """Return a revision that has what the server calls the page, and what we call its article."""
    names = ("etag", "last-modified")
    values = [value if (value := reply.headers.get(name, "")).isascii() else "" for name in names]
    return json.dumps([*values, revision])

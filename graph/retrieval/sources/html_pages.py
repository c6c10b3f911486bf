"""HTML pages: a site's files, pages that were fetched, and the bodies of exported articles."""

import codecs
import re
from collections.abc import Iterator

from graph.retrieval.sources import Page, UnreadableError
from graph.retrieval.sources.decoding import checked
from graph.retrieval.sources.html_markdown import heading_text, is_hidden, markdown_of
from graph.retrieval.sources.html_tree import Element, parse

_CHARSET = re.compile(rb"""<meta\b[^>]{0,200}?charset\s*=\s*["']?\s*([\w-]{1,40})""", re.IGNORECASE)
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))

_AROUND = frozenset({"nav", "header", "footer", "search"})
_AROUND_ROLES = frozenset({"navigation", "banner", "contentinfo", "search", "dialog", "alertdialog"})
_AROUND_CLASSES = frozenset({
    "breadcrumb", "breadcrumbs", "toc", "table-of-contents", "tableofcontents", "theme-doc-toc-mobile", "pagination",
    "pagination-nav", "pager", "headerlink", "header-anchor", "heading-anchor", "hash-link", "anchor-link",
    "anchorjs-link", "skip-link", "sr-only-focusable", "edit-link", "edit-this-page", "theme-edit-this-page",
    "last-updated", "article-votes", "article-vote", "article-share", "share", "related-articles", "recent-articles",
    "comments", "cookie-banner", "cookie-consent",
})  # fmt: skip
"""Classes that help centres and generators give to what stands around an article."""


def from_html(content: bytes) -> list[Page]:
    """Return the page: its main part as Markdown, its first heading as the title.

    The fields are those of the head: `title`, `lang`, `canonical`, `refresh` (where a redirect stub leads), and each
    `meta` by its name, such as `robots` or `og:title`. Raises UnreadableError.
    """
    root = parse(checked(_decode(content)))
    fields: dict[str, str] = {}
    for name, value in _fields(root):
        fields.setdefault(name, value)
    main = _main(root)
    _remove_around(main, is_whole=main is root or main.name == "body")
    heading = main.first("h1")
    title = heading_text(heading) if heading else ""
    if heading and title:
        heading.name, heading.children = "span", []
    return [Page(markdown_of(main.children), title or fields.get("og:title") or fields.get("title") or None, fields)]


def _decode(content: bytes) -> str:
    """Decode as browsers do: by the byte order mark, else by the page's own word, else UTF-8, else Windows-1252."""
    for mark, encoding in _BOMS:
        if content.startswith(mark):
            return _decoded(content[len(mark) :], encoding)
    declared = _CHARSET.search(content[:4096])
    if declared:
        return _decoded(content, declared[1].decode("ascii"))
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError:
        return content.decode("cp1252", errors="replace")


def _decoded(content: bytes, encoding: str) -> str:
    # What a page calls ISO-8859-1 or ASCII is read as Windows-1252, which holds both; so the HTML standard has it.
    try:
        name = codecs.lookup(encoding).name
        return content.decode("cp1252" if name in ("iso8859-1", "ascii") else name, errors="replace")
    except LookupError:
        raise UnreadableError(f"its charset {encoding!r} is unknown: save the page as UTF-8") from None


def _fields(root: Element) -> Iterator[tuple[str, str]]:
    """Yield what the head says of the page."""
    for element in root.elements():
        attributes = element.attributes
        if element.name == "html" and attributes.get("lang"):
            yield "lang", attributes["lang"]
        elif element.name == "title":
            yield "title", " ".join(element.text.split())
        elif element.name == "link" and "canonical" in attributes.get("rel", "").lower().split():
            yield "canonical", attributes.get("href", "").strip()
        elif element.name == "meta" and "content" in attributes:
            yield from _meta(attributes)
        elif element.name == "body":
            return


def _meta(attributes: dict[str, str]) -> Iterator[tuple[str, str]]:
    content = attributes["content"].strip()
    name = attributes.get("name") or attributes.get("property")
    if name:
        yield name.strip().lower(), content
    elif attributes.get("http-equiv", "").lower() == "refresh":
        target = re.search(r"url\s*=\s*['\"]?([^'\"]+)", content, re.IGNORECASE)
        if target:
            yield "refresh", target[1].strip()


def _main(root: Element) -> Element:
    """Return the part that is the article: `main`, else the only or longest `article`, else the whole body."""
    mains = [each for each in root.elements() if each.name == "main" or each.attributes.get("role") == "main"]
    articles = [each for each in root.elements() if each.name == "article"]
    for candidates in (mains, articles):
        best = max(candidates, key=lambda each: len(each.text), default=None)
        if best and best.text.strip():
            return best
    return root.first("body") or root


def _remove_around(main: Element, *, is_whole: bool) -> None:
    """Remove navigation and the like, which is not the article's text; a part's own header and footer stay."""
    around = _AROUND if is_whole else frozenset({"nav", "search"})
    for element in main.elements():
        element.children = [
            child
            for child in element.children
            if isinstance(child, str) or not (child.name in around or _is_around(child) or is_hidden(child))
        ]


def _is_around(element: Element) -> bool:
    attributes = element.attributes
    classes = attributes.get("class", "").lower().split()
    return attributes.get("role") in _AROUND_ROLES or not _AROUND_CLASSES.isdisjoint(classes)

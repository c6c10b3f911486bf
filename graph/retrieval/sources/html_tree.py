"""HTML as a tree: as tolerant as browsers are, and never deeper than MAX_DEPTH."""

import html
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

MAX_DEPTH = 60
"""Elements nested deeper are read as if they stood beside each other."""

_VOID = frozenset({
    "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr",
})  # fmt: skip
BLOCKS = frozenset({
    "address", "article", "aside", "blockquote", "body", "caption", "center", "dd", "details", "dialog", "dir", "div",
    "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "header",
    "hgroup", "hr", "html", "legend", "li", "main", "menu", "nav", "ol", "p", "pre", "section", "summary", "table",
    "tbody", "td", "tfoot", "th", "thead", "tr", "ul",
})  # fmt: skip
"""Elements that begin on a line of their own."""
_ENDS: dict[str, tuple[frozenset[str], frozenset[str]]] = {
    "li": (frozenset({"li"}), frozenset({"ul", "ol", "menu"})),
    "dt": (frozenset({"dt", "dd"}), frozenset({"dl"})),
    "dd": (frozenset({"dt", "dd"}), frozenset({"dl"})),
    "tr": (frozenset({"tr", "td", "th"}), frozenset({"table"})),
    "td": (frozenset({"td", "th"}), frozenset({"tr", "table"})),
    "th": (frozenset({"td", "th"}), frozenset({"tr", "table"})),
    "thead": (frozenset({"thead", "tbody", "tfoot"}), frozenset({"table"})),
    "tbody": (frozenset({"thead", "tbody", "tfoot"}), frozenset({"table"})),
    "tfoot": (frozenset({"thead", "tbody", "tfoot"}), frozenset({"table"})),
    "option": (frozenset({"option"}), frozenset({"select"})),
}
"""What an element ends if its end tag was left out, and how far out that reaches."""
_HIDDEN = re.compile(r"<!--|<!\[|<script\b|<style\b", re.IGNORECASE)
_CLOSING = {
    "<!-": re.compile(r"-->|--!>"),
    "<![": re.compile(r">"),
    "<sc": re.compile(r"</script\b[^<>]*>?", re.IGNORECASE),
    "<st": re.compile(r"</style\b[^<>]*>?", re.IGNORECASE),
}
"""Where each of them ends, by its first three characters."""


@dataclass(slots=True, eq=False)
class Element:
    """An element of a page."""

    name: str
    """In lower case."""
    attributes: dict[str, str] = field(default_factory=dict[str, str])
    children: list["Element | str"] = field(default_factory=list["Element | str"])
    holds_blocks: bool = False
    """Whether an element that begins on a line of its own is within."""

    def elements(self) -> Iterator["Element"]:
        """Yield this element and all within, in the order of the page."""
        waiting: list[Element] = [self]
        while waiting:
            element = waiting.pop()
            yield element
            waiting.extend(child for child in reversed(element.children) if isinstance(child, Element))

    def first(self, *names: str) -> "Element | None":
        """Return the first element within that has one of these names."""
        return next((element for element in self.elements() if element.name in names), None)

    @property
    def text(self) -> str:
        """All text within, white space as in the source."""
        parts: list[str] = []
        waiting: list[Element | str] = [self]
        while waiting:
            node = waiting.pop()
            if isinstance(node, str):
                parts.append(node)
            else:
                waiting.extend(reversed(node.children))
        return "".join(parts)


def parse(source: str) -> Element:
    """Return the root of a page or of a part of one; without comments, scripts and styles."""
    builder = _Builder()
    builder.feed(_without_hidden(source))
    # The parser keeps what may go on. A tag that nothing ends is no text; close() would make it one, in quadratic time.
    if not builder.rawdata.startswith("<"):
        builder.handle_data(html.unescape(builder.rawdata))
    return builder.root


def _without_hidden(source: str) -> str:
    """Drop comments, scripts, styles and marked sections; what nothing closes reaches to the end."""
    kept: list[str] = []
    position = 0
    while opened := _HIDDEN.search(source, position):
        kept.append(source[position : opened.start()])
        closing = _CLOSING[opened[0][:3].lower()]
        closed = closing.search(source, opened.end())
        if closed is None:
            return "".join(kept)
        position = closed.end()
    kept.append(source[position:])
    return "".join(kept)


class _Builder(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("")
        self._open = [self.root]

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        element = self._add(tag, attrs)
        if tag not in _VOID and len(self._open) < MAX_DEPTH:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._add(tag, attrs)

    def handle_endtag(self, tag: str) -> None:
        for depth in range(len(self._open) - 1, 0, -1):
            if self._open[depth].name == tag:
                del self._open[depth:]
                return

    def handle_data(self, data: str) -> None:
        self._open[-1].children.append(data)

    def _add(self, tag: str, attributes: list[tuple[str, str | None]]) -> Element:
        self._end_implied(tag)
        element = Element(tag, {name: value or "" for name, value in reversed(attributes)})
        self._open[-1].children.append(element)
        if tag in BLOCKS:
            for each in reversed(self._open):
                if each.holds_blocks:
                    break
                each.holds_blocks = True
        return element

    def _end_implied(self, tag: str) -> None:
        if tag in BLOCKS and self._open[-1].name == "p":
            self._open.pop()
        ended, within = _ENDS.get(tag, (frozenset[str](), frozenset[str]()))
        if not ended:
            return
        for depth in range(len(self._open) - 1, 0, -1):
            if self._open[depth].name in within:
                return
            if self._open[depth].name in ended:
                del self._open[depth:]
                self._end_implied(tag)  # a row ends its cells, and then the row before it
                return

"""HTML tags, components and JSX in Markdown: what they wrap stays, tables and lists as Markdown has them."""

import re
from collections.abc import Callable, Mapping, Sequence

from graph.retrieval.sources.html_markdown import is_hidden, link_target, markdown_of, plain_of
from graph.retrieval.sources.html_tree import Element, parse
from graph.retrieval.sources.templates import LINE, spoken, value_of


def _braces(depth: int) -> str:
    """Return a regular expression for braces, with so many inside each other."""
    return rf"\{{(?:[^{{}}]|{_braces(depth - 1)})*+\}}" if depth > 1 else r"\{[^{}]*\}"


_BRACES = _braces(6)
_NAME = r"[A-Za-z][A-Za-z0-9.:-]*"
_TAG = (
    r"<(?P<address>(?:https?:|mailto:|tel:)[^\s<>]+|[^\s<>@/]+@[^\s<>@]+\.\w+)>"
    rf"|<(?P<close>/?)(?P<name>{_NAME})(?=[\s/>])"
    rf"(?P<rest>(?:[^\"'{{}}<>]|\"[^\"]*\"|'[^']*'|{_BRACES})*+)>"
)
_MARKDOWN = re.compile(rf"{_TAG}|(?P<expression>(?!))|(?P<fragment>(?!))")
_MDX = re.compile(rf"{_TAG}|(?P<expression>{_BRACES})|(?P<fragment></?>)")
_MAY_HIDE = re.compile(r"hidden|none", re.IGNORECASE)
_ATTRIBUTE = re.compile(rf"([\w:@.-]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)'|({_BRACES})|([^\s\"'{{}}<>=]+))")
_ISLANDS = frozenset({
    "table", "ul", "ol", "dl", "h1", "h2", "h3", "h4", "h5", "h6", "summary", "figcaption",
})  # fmt: skip
"""What is read as HTML, whole."""
_UNSEEN = frozenset({
    "video", "audio", "canvas", "embed", "map", "select", "textarea", "form", "input", "head", "datalist", "math",
})  # fmt: skip
_WHOLE = _ISLANDS | _UNSEEN
_VOID = frozenset({
    "br", "hr", "img", "input", "link", "meta", "source", "track", "wbr", "col", "area", "base", "embed", "param",
})  # fmt: skip
_PARAGRAPHS = frozenset({
    "p", "div", "section", "article", "aside", "main", "header", "footer", "center", "details", "figure",
    "blockquote", "li", "dd", "dt", "nav",
})  # fmt: skip
_INLINE_MARKS = {"strong": "**", "b": "**", "em": "*", "i": "*"}
_WORDS = frozenset({
    "Optional", "Required", "Beta", "Alpha", "New", "Deprecated", "Experimental", "Preview", "Legacy", "Pro",
    "Business", "Enterprise", "Premium", "Free", "Paid", "Plus", "Team", "Private", "Public",
})  # fmt: skip
"""Components whose name is what they show."""
_ORNAMENT = re.compile(
    r"video|youtube|vimeo|embed|image|img|icon|logo|figure|screenshot|iframe|player|lottie", re.IGNORECASE
)

_BLOCK = re.compile(r"\w*Tab(?:Item|Panel)?|\w*TabContent|\w*Step|\w*Card|\w*Panel|\w*Accordion(?:Item)?")
"""Components that stand apart from each other, also where they share a line."""

Include = Callable[[str, Mapping[str, str]], str]
"""Returns the clean text of the component of a name, if that is a file that the page includes."""


def without_tags(text: str, values: Mapping[str, object], include: Include, *, is_mdx: bool) -> str:
    """Return Markdown without HTML and JSX; `values` is the front matter."""
    if "<" not in text and not (is_mdx and "{" in text):
        return text
    return _Tags(text, values, include, is_mdx=is_mdx).kept()


class _Tags:
    def __init__(self, text: str, values: Mapping[str, object], include: Include, *, is_mdx: bool) -> None:
        self._text = text
        self._values = values
        self._include = include
        self._mark = _MDX if is_mdx else _MARKDOWN
        self._links: list[str] = []  # where each `a` that is open leads

    def kept(self) -> str:
        marks = list(self._mark.finditer(self._text))
        ends = _ends(marks, len(self._text))
        kept: list[str] = []
        position = 0
        for mark in marks:
            if mark.start() < position:
                continue
            kept.append(self._text[position : mark.start()])
            end = ends.get(mark.start())
            if end is None:
                kept.append(self._shown(mark))
            elif mark["name"].lower() in _ISLANDS and not _is_hidden(mark):
                kept.append(self._island(mark, end))
            position = end or mark.end()
        kept.append(self._text[position:])
        return "".join(kept)

    def _shown(self, mark: re.Match[str]) -> str:
        if mark["address"]:
            return mark["address"].removeprefix("mailto:")
        if mark["expression"]:
            return value_of(mark[0][1:-1], self._values)
        if mark["fragment"]:
            return ""
        return self._component(mark) if is_component(mark["name"]) else self._tag(mark["name"].lower(), mark)

    def _island(self, mark: re.Match[str], end: int) -> str:
        """Return the Markdown of an element; on one line where it stands within a line."""
        source = self._mark.sub(self._as_html, self._text[mark.start() : end])
        before = self._line_before(mark)
        nodes = parse(source).children
        if before.strip(" \t>"):
            return plain_of(nodes)
        text = markdown_of(nodes)
        return "\n\n" + "\n".join(f"{before}{line}".rstrip() for line in text.split("\n")).removeprefix(before) + "\n\n"

    def _as_html(self, mark: re.Match[str]) -> str:
        """Return a tag as HTML's parser reads it: lower-case, attributes that are texts alone."""
        name = mark["name"]
        if not name or is_component(name):
            return self._shown(mark)
        listed = "".join(f' {key}="{value}"' for key, value in attributes_of(mark["rest"]).items() if '"' not in value)
        is_empty = _is_empty(mark) and name.lower() not in _VOID
        return f"<{mark['close']}{name}{listed}>" + (f"</{name}>" if is_empty else "")

    def _tag(self, name: str, mark: re.Match[str]) -> str:
        line = self._line_before(mark)
        in_table = line.lstrip().startswith("|")
        if name == "br":
            return " " if in_table else "\n" + line[: len(line) - len(line.lstrip(" \t>"))]
        if name == "img":
            return _image(attributes_of(mark["rest"]))
        if name == "a":
            return self._link(mark)
        if name in _INLINE_MARKS:
            return _INLINE_MARKS[name]
        if name in _PARAGRAPHS:
            return self._apart(mark, in_table=in_table)
        return ""

    def _apart(self, mark: re.Match[str], *, in_table: bool) -> str:
        """Return what keeps the text of two blocks apart."""
        if in_table:
            return " "
        if mark["close"]:
            return "\n\n" if self._line_after(mark).strip() else "\n"
        return "\n\n" if self._line_before(mark).strip(" \t>*+-.)0123456789") else ""

    def _line_before(self, mark: re.Match[str]) -> str:
        """Return what stands before a mark in its line."""
        earliest = max(0, mark.start() - LINE)
        return self._text[max(self._text.rfind("\n", earliest, mark.start()) + 1, earliest) : mark.start()]

    def _line_after(self, mark: re.Match[str]) -> str:
        line_end = self._text.find("\n", mark.end(), mark.end() + LINE)
        return self._text[mark.end() : line_end if line_end >= 0 else mark.end() + LINE]

    def _link(self, mark: re.Match[str]) -> str:
        if mark["close"]:
            target = self._links.pop() if self._links else ""
            return f"]({link_target(target)})" if target else ""
        if _is_empty(mark):
            return ""
        given = attributes_of(mark["rest"])
        target = (given.get("href") or given.get("to") or "").strip()
        self._links.append("" if target.startswith("#") else target)
        return "[" if self._links[-1] else ""

    def _component(self, mark: re.Match[str]) -> str:
        name = mark["name"]
        if name in ("Link", "NavLink", "RouterLink", "A"):
            return self._link(mark)
        in_table = self._line_before(mark).lstrip().startswith("|")
        is_block = bool(_BLOCK.fullmatch(name)) and not in_table
        if mark["close"]:
            return "\n\n" if is_block else "\n" if not self._line_before(mark).strip() else ""
        given = attributes_of(mark["rest"])
        if included := self._include(name, given):
            return f"\n\n{included}\n\n"
        is_alone = not self._line_before(mark).strip(" \t>") and not self._line_after(mark).strip()
        if _ORNAMENT.search(name):
            return _image(given) if not is_alone else ""
        if name in _WORDS and _is_empty(mark):
            return f"({name.lower()})"
        said = self._spoken(given, is_alone=is_alone or is_block)
        if is_block and not is_alone:
            return f"\n\n{said}\n"
        return f"{said} " if said and not is_alone and not _is_empty(mark) else said

    def _spoken(self, given: Mapping[str, str], *, is_alone: bool) -> str:
        target = given.get("href") or given.get("to") or ""
        title = given.get("title") or given.get("label") or ""
        said = {**given, "title": f"[{title}]({link_target(target)})"} if target and title and is_alone else given
        return spoken({**said, "content": said.get("description", "")}, is_alone=is_alone)


def _ends(marks: Sequence[re.Match[str]], length: int) -> dict[int, int]:
    """Return where elements that are taken whole or hidden end, by where they begin.

    What is hidden reaches to the end of the text if nothing closes it; other elements that nothing ends are left out.
    """
    hidden = {mark.start(): mark["name"].lower() for mark in marks if _is_hidden(mark)}
    ends = dict.fromkeys(hidden, length)
    named = _WHOLE.union(hidden.values())
    opened: dict[str, list[int]] = {}
    for mark in marks:
        name = (mark["name"] or "").lower()
        if name not in named:
            continue
        if not mark["close"] and not _is_empty(mark):
            opened.setdefault(name, []).append(mark.start())
        elif mark["close"] and opened.get(name):
            start = opened[name].pop()
            if name in _WHOLE or start in hidden:
                ends[start] = mark.end()
    return ends


def _is_hidden(mark: re.Match[str]) -> bool:
    """Say whether a tag begins what nobody sees, written as in HTML or as in JSX."""
    name, rest = mark["name"], mark["rest"]
    if not rest or mark["close"] or name.lower() in _VOID or _is_empty(mark) or not _MAY_HIDE.search(rest):
        return False
    if is_component(name) and not name.isupper():
        return False
    given: dict[str, str] = {key.lower(): "" for key in _ATTRIBUTE.sub(" ", rest).split()}
    for key, double, single, braces, bare in _ATTRIBUTE.findall(rest):
        value = re.sub(r"[{}'\"\s]", "", braces) if braces else double or single or bare
        if value != "false":
            given[key.lower()] = value
    return is_hidden(Element(name.lower(), given))


def _is_empty(mark: re.Match[str]) -> bool:
    """Tell `<a/>` from `<a href=https://example.com/>`."""
    return mark["rest"].endswith("/") and not re.search(r"=[^\s\"']*/$", mark["rest"][-LINE:])


def is_component(name: str) -> bool:
    """Tell components and custom elements from HTML's own."""
    return name[0].isupper() or "." in name or "-" in name


def _image(given: Mapping[str, str]) -> str:
    alt = re.sub(r"[\[\]]", "", given.get("alt", ""))
    return f"![{alt}](image)"


def attributes_of(rest: str) -> dict[str, str]:
    """Return the attributes of a tag that are texts, also where JSX has them in braces."""
    found: dict[str, str] = {}
    for name, double, single, braces, bare in _ATTRIBUTE.findall(rest):
        found.setdefault(name, double or single or bare or (value_of(braces[1:-1], {}) if braces else ""))
    return found

"""MyST, the Markdown of Sphinx: its directives, roles, targets and comments.

https://myst-parser.readthedocs.io/en/v4.0.1/syntax/roles-and-directives.html
"""

import re
from typing import Final

_SHOWN = frozenset({
    "attention", "caution", "danger", "error", "hint", "important", "note", "tip", "warning", "admonition", "seealso",
    "versionadded", "versionchanged", "versionremoved", "deprecated", "dropdown", "details", "toggle", "collapse",
    "tab-set", "tab-item", "tabs", "tab", "grid", "grid-item", "grid-item-card", "card", "topic", "sidebar", "margin",
    "epigraph", "pull-quote", "highlights", "compound", "container", "div", "aside", "figure", "figure-md",
    "list-table", "table", "glossary", "rubric", "centered", "hlist", "only",
})  # fmt: skip
"""Directives whose content is text."""
_UNTITLED = frozenset({"figure", "figure-md", "only", "container", "div", "tab-set", "grid", "grid-item", "hlist"})
"""Those of them whose argument is no title."""
_UNSEEN = frozenset({
    "toctree", "contents", "index", "highlight", "currentmodule", "meta", "sectnum", "youtube", "video", "image", "raw",
    "eval-rst", "todo", "todolist", "mermaid", "graphviz", "bibliography", "iframe", "tableofcontents", "class",
})  # fmt: skip
"""Directives that show nothing of the article's own."""
_CODE = frozenset({"code", "code-block", "sourcecode", "code-cell", "prompt", "parsed-literal"})
"""Directives whose argument is a language. What has no name here is a language itself, as in R Markdown."""
_LINKS = frozenset({"ref", "doc", "numref", "any", "download", "term", "eq"})
_WORDS = frozenset({
    "abbr", "kbd", "guilabel", "menuselection", "sub", "sup", "subscript", "superscript", "index", "strong", "emphasis",
    "title-reference", "button-ref", "button-link", "octicon",
})  # fmt: skip
_TERMS = frozenset({"code", "literal", "command", "file", "samp", "program", "envvar", "option", "mailheader"})
"""Roles whose text is shown as code."""
ROLE: Final = "|".join(sorted(_LINKS | _WORDS | _TERMS))

_NAMED = re.compile(r"[ \t]*\{([a-z][\w:+.-]*)\}[ \t]*([^\n]*?)[ \t]*", re.IGNORECASE)
_TARGET = re.compile(r"^\([^\s()]{1,99}\)=[ \t]*$", re.MULTILINE)
_BREAK = re.compile(r"^\+\+\+[ \t]*(?:\{[^\n]*\})?[ \t]*$", re.MULTILINE)
_COMMENT = re.compile(r"^%[^\n]*$", re.MULTILINE)
_MARK = re.compile(
    rf"^[ \t>]*(?:`{{3,}}|~{{3,}}|:{{3,}})[ \t]*\{{(?:{'|'.join(sorted(_SHOWN | _UNSEEN | _CODE | {'include'}))})\}}"
    rf"|\{{(?:{ROLE})\}}`|{_TARGET.pattern}",
    re.MULTILINE | re.IGNORECASE,
)


class Directive:
    """A fence whose first line names a directive."""

    def __init__(self, name: str, argument: str) -> None:
        self.name = name.lower()
        self.argument = argument
        self.is_code = self.name in _CODE
        self.is_unseen = self.name in _UNSEEN
        self.includes = self.name == "include"
        self.title = argument if self.name in _SHOWN - _UNTITLED else ""

    @classmethod
    def of(cls, info: str) -> "Directive | None":
        """Return what follows a fence's ticks as a directive; None if it is the language of code."""
        named = _NAMED.fullmatch(info)
        directive = cls(named[1], named[2]) if named else None
        if directive and (directive.is_code or directive.is_unseen or directive.includes or directive.name in _SHOWN):
            return directive
        return None


def without_options(lines: list[str]) -> list[str]:
    """Return a directive's lines without its options: `:name: value` lines, or a block of YAML."""
    if lines and lines[0].strip() == "---" and "---" in (rest := [line.strip() for line in lines[1:]]):
        return lines[rest.index("---") + 2 :]
    first = next((at for at, line in enumerate(lines) if not re.match(r"[ \t]*:[\w-]+:(?:[ \t]|$)", line)), len(lines))
    return lines[first:]


def shown_role(name: str, text: str) -> tuple[str, bool]:
    """Return what a role shows, and whether that is code."""
    name = name.lower()
    if name in _TERMS:
        return text, True
    title, target = text.strip(), ""
    if named := re.fullmatch(r"(.*?)[ \t]*<([^<>]*)>", title, re.DOTALL):
        title, target = named[1].strip(), named[2]
    elif name in ("abbr", "octicon"):
        title = title.partition("(" if name == "abbr" else ";")[0].strip() if name == "abbr" else ""
    elif name in _LINKS and name != "term":
        target = title
        title = " ".join(re.split(r"[-_\s]+", title.rstrip("/").rpartition("/")[2].partition(".")[0].lstrip("!~")))
    return (f"[{title}]({target})" if name == "doc" and title and target else title.lstrip("!~")), False


def has_myst(text: str) -> bool:
    """Say whether a text is MyST, by its directives, roles and targets."""
    return ("{" in text or ")=" in text) and bool(_MARK.search(text))


def without_lines_of_myst(text: str) -> str:
    """Return MyST, in which code is set aside, without its targets, comments, and breaks of blocks."""
    return _COMMENT.sub("", _BREAK.sub("", _TARGET.sub("", text)))

"""MyST, the Markdown of Sphinx: its directives, roles, targets and comments.

https://myst-parser.readthedocs.io/en/v4.0.1/syntax/roles-and-directives.html
"""

import re
from dataclasses import dataclass
from typing import Final

from graph.retrieval.sources.shelf import OPEN

_NOTES = frozenset({
    "attention", "caution", "danger", "error", "hint", "important", "note", "tip", "warning", "seealso",
})  # fmt: skip
"""Directives whose text begins in their first line."""
_VERSIONS = {
    "versionadded": "Added in version",
    "versionchanged": "Changed in version",
    "deprecated": "Deprecated since version",
    "versionremoved": "Removed in version",
}
_UNTITLED = frozenset({
    "figure", "figure-md", "only", "container", "div", "class", "tab-set", "tabs", "grid", "grid-item", "hlist",
    "button-link", "button-ref", "raw",
})  # fmt: skip
"""Directives whose argument is no title."""
_UNSEEN = frozenset({
    "toctree", "contents", "index", "highlight", "currentmodule", "meta", "sectnum", "youtube", "video", "image",
    "todo", "todolist", "mermaid", "graphviz", "bibliography", "iframe", "tableofcontents", "literalinclude",
})  # fmt: skip
"""Directives that show nothing of the article's own."""
_CODE = frozenset({"code", "code-block", "sourcecode", "code-cell", "code-tab", "prompt", "parsed-literal", "math"})
_LANGUAGES = frozenset({
    "r", "python", "python3", "py", "ipython", "ipython3", "julia", "bash", "sh", "shell", "zsh", "console", "sql",
    "js", "javascript", "ts", "typescript", "ojs", "node", "ruby", "perl", "php", "rust", "go", "java", "scala", "c",
    "cpp", "rcpp", "haskell", "stan", "css", "html", "json", "yaml", "toml", "xml", "dot", "diff", "text", "octave",
    "matlab", "sas", "stata", "lua", "powershell", "tikz", "latex", "tex", "cat", "asis", "verbatim",
})  # fmt: skip
"""What has these names between braces is code, as in R Markdown and Quarto; any other name is a directive's."""
_LINKS = frozenset({"ref", "doc", "numref", "any", "download", "term", "eq", "button-ref", "button-link"})
_WORDS = frozenset({
    "abbr", "kbd", "guilabel", "menuselection", "sub", "sup", "subscript", "superscript", "index", "strong", "emphasis",
    "title-reference",
})  # fmt: skip
_TERMS = frozenset({"code", "literal", "command", "file", "samp", "program", "envvar", "option", "mailheader"})
_SILENT = frozenset({"octicon", "fas", "fab", "far", "material-regular", "material-outlined", "material-round"})
ROLE: Final = "|".join(sorted(_LINKS | _WORDS | _TERMS | _SILENT))
"""Names of roles."""

_NAMED = re.compile(r"[ \t]*\{([a-z][\w:+.-]*)\}[ \t]*([^\n]*?)[ \t]*", re.IGNORECASE)
_BLOCK = r"^(?P<block>[ \t>]*(?:(?:[-*+]|\d{1,9}[.)])[ \t]+)?)"
_TARGET = r"\([^\s()]{1,99}\)=[ \t]*$"
_LINE = re.compile(
    rf"{_BLOCK}(?:{_TARGET}|%[^\n]*$|\+\+\+[ \t]*(?:\{{[^\n]*\}})?[ \t]*$|\^{{3,}}[ \t]*$)", re.MULTILINE
)
_OTHER_ROLE = re.compile(rf"\{{[a-z][\w:+.-]*\}}(?={OPEN}i)")
_MARK = re.compile(
    r"^[ \t>]*(?:`{3,}|~{3,}|:{3,})[ \t]*\{(?!(?:"
    + "|".join(sorted(_LANGUAGES))
    + rf")\}})[a-z][\w:+.-]*\}}|\{{(?:{ROLE})\}}`|{_BLOCK}{_TARGET}",
    re.MULTILINE | re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Directive:
    """A fence whose first line names a directive."""

    name: str
    """In lower case."""
    argument: str

    @classmethod
    def of(cls, info: str) -> "Directive | None":
        """Return what follows a fence's ticks as a directive; None if it is the language of code."""
        named = _NAMED.fullmatch(info)
        return cls(named[1].lower(), named[2]) if named and named[1].lower() not in _LANGUAGES else None

    @property
    def is_code(self) -> bool:
        """Whether it shows code, whose language is the argument."""
        return self.name in _CODE

    @property
    def is_unseen(self) -> bool:
        """Whether nothing of it is shown."""
        return self.name in _UNSEEN or (self.name == "raw" and self.argument.lower() != "html")

    def begun(self, argument: str) -> list[str]:
        """Return the lines that its argument begins it with."""
        if self.name in _VERSIONS:
            version, _, rest = argument.partition(" ")
            return [f"**{_VERSIONS[self.name]} {version}** {rest}".rstrip()]
        if self.name in _NOTES:
            return [argument] if argument else []
        return [f"**{argument}**", ""] if argument and self.name not in _UNTITLED else []


def without_options(lines: list[str]) -> list[str]:
    """Return a directive's lines without its options: `:name: value` lines, or a block of YAML."""
    if lines and lines[0].strip() == "---" and "---" in (rest := [line.strip() for line in lines[1:]]):
        return lines[rest.index("---") + 2 :]
    first = next((at for at, line in enumerate(lines) if not re.match(r"[ \t]*:[\w-]+:(?:[ \t]|$)", line)), len(lines))
    return lines[first:]


def shown_role(name: str, text: str) -> tuple[str, bool]:
    """Return what a role shows, and whether that is code."""
    name, text = name.lower(), text.strip()
    if name in _SILENT:
        return "", False
    if name in _LINKS:
        return _shown_link(name, text), False
    if name == "abbr":
        text = re.sub(r"(?<=\S)[ \t]*\([^()]*\)$", "", text)
    elif name == "guilabel":
        text = re.sub(r"&(?=\w)", "", text)
    return text, name in _TERMS or bool(re.search(r"[<>*_\[\]{}]", text))


def _shown_link(name: str, text: str) -> str:
    """Return a link's text: what it leads to alone is no sentence, so its name stands there in words."""
    if named := re.fullmatch(r"(.*\S)[ \t]*<([^<>]*)>", text, re.DOTALL):
        title, target = named[1].replace("%s", "").strip(), named[2]
    else:
        target = text.lstrip("!~")
        last = re.sub(r"\.(?:md|rst|txt|ipynb)$", "", target.rstrip("/").rpartition("/")[2])
        title = target if name == "term" else " ".join(re.split(r"[-_\s]+", last))
    return f"[{title}]({target})" if name == "doc" and title and target else title


def has_myst(text: str) -> bool:
    """Say whether a text is MyST, by its directives, roles and targets."""
    return ("{" in text or ")=" in text) and bool(_MARK.search(text))


def without_marks_of_myst(text: str) -> str:
    """Return MyST, in which code is set aside, without its targets, comments, breaks of blocks, and further roles."""
    return _OTHER_ROLE.sub("", _LINE.sub(lambda line: line["block"].rstrip(), text))

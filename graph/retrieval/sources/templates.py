"""Liquid, Markdoc, Hugo's shortcodes and Vue's interpolation: the marks go, what they wrap stays."""

import re
from collections.abc import Callable, Mapping

from graph.retrieval.sources.shelf import Shelf

_MARK = re.compile(
    r"\{\{(?P<bracket>[<%])(?P<shortcode>(?:[^{}]|\{(?!\{)|\}(?!\}))*?)[>%]\}\}"
    r"|\{%-?(?P<tag>(?:[^{%]|\{(?!%)|%(?!\}))*?)-?%\}"
    r"|\{\{\{?-?(?P<value>[^{}]*(?:\{[^{}]*\}[^{}]*)*)-?\}?\}\}"
)
_ARGUMENT = re.compile(
    r"(?:(?P<name>[\w.:-]+)\s*[=:]\s*)?(?:\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)'|`(?P<tick>[^`]*)`|(?P<bare>[^\s\"'`=,|]+))"
)
_SPOKEN = ("title", "label", "heading", "headline", "header", "summary", "caption", "text", "content")
_UNSPOKEN = re.compile(
    r"include|icon|image|img|figure|video|youtube|vimeo|embed|iframe|gist|tweet|link|button|ref|url|src|asset|css|script|"
    r"toc|badge|raw|partial|highlight|anchor|param|menu|list|page|date|year|version",
    re.IGNORECASE,
)
_ORNAMENT = re.compile(r"image|img|video|youtube|vimeo|embed|icon", re.IGNORECASE)
_LIQUID_END = re.compile(r"\{%-?\s{0,9}end(\w+)")
_SHORTCODE_END = re.compile(r"\{\{[<%]\s{0,9}/\s{0,9}([\w-]+)")
_SILENT = frozenset(
    {"assign", "if", "elsif", "unless", "case", "when", "else", "ifversion", "set", "import", "extends"}
)
"""Liquid's tags that show nothing."""
_INCLUDES = re.compile(r"include(?:_relative|_cached)?|partial|readfile|snippet|include-?md|md-?include", re.IGNORECASE)
_TARGETS = frozenset({"ref", "relref", "link", "post_url"})
_DROPPED = frozenset({"for", "tablerow", "capture", "javascript", "schema", "stylesheet", "style", "macro"})
"""Liquid's blocks whose content is made by the generator, or is none."""

LINE = 400
"""Characters of a line that are looked at to tell what a mark stands in."""

Include = Callable[[str, Mapping[str, str]], str]
"""Returns the clean text of a file that a page includes, with the values of its parameters."""


def without_templates(text: str, values: Mapping[str, object], shelf: Shelf, include: Include) -> str:
    """Return the text without template marks; `values`, the front matter, fill in what they name."""
    return _Templates(text, values, shelf, include).kept() if "{{" in text or "{%" in text else text


class _Templates:
    def __init__(self, text: str, values: Mapping[str, object], shelf: Shelf, include: Include) -> None:
        self._text = text
        self._values = values
        self._shelf = shelf
        self._include = include
        self._ended = set(_LIQUID_END.findall(text))
        self._paired = set(_SHORTCODE_END.findall(text))

    def kept(self) -> str:
        kept: list[str] = []
        position = 0
        dropped: list[str] = []  # the blocks that are open, of those whose content is dropped
        for mark in _MARK.finditer(self._text):
            if not dropped:
                kept.append(self._text[position : mark.start()])
            position = mark.end()
            name = _name(mark["tag"] or "")
            if name in _DROPPED & self._ended:
                dropped.append(name)
            elif not dropped:
                kept.append(self._shown(mark))
            elif name == f"end{dropped[-1]}":
                dropped.pop()
        if not dropped:
            kept.append(self._text[position:])
        return "".join(kept)

    def _shown(self, mark: re.Match[str]) -> str:
        if mark["value"] is not None:
            if self._text.endswith("style=", 0, mark.start()):  # an object of JSX
                return mark[0]
            shown = value_of(mark["value"], self._values)
            return self._shelf.put(shown) if shown else ""
        inner = (mark["shortcode"] or mark["tag"] or "").strip().removesuffix("/").strip()
        name = _name(inner)
        if not name or name in _SILENT or name.startswith("end"):
            return ""
        named, positional = arguments(inner[len(name) :])
        if _INCLUDES.fullmatch(name):
            target = named.pop("file", None) or (positional[0] if positional else "")
            included = self._include(target, named) if target else ""
            return included or spoken(named, is_alone=self._is_alone(mark))
        if name in _TARGETS:
            return named.get("path") or (positional[0] if positional else "")
        if name == "param":
            return value_of(f"page.{positional[0]}", self._values) if positional else ""
        return self._spoken(name, named, positional, mark)

    def _spoken(self, name: str, named: Mapping[str, str], positional: list[str], mark: re.Match[str]) -> str:
        is_alone = self._is_alone(mark)
        if shown := spoken(named, is_alone=is_alone):
            return "" if is_alone and _ORNAMENT.search(name) else shown
        if mark["tag"] is not None or not positional or not _is_words(positional[-1]) or _UNSPOKEN.search(name):
            return ""
        if name in self._paired:
            return f"**{positional[-1]}**\n" if is_alone else ""
        # Within a sentence a shortcode shows what it is given, as a glossary's does; else the sentence has a hole.
        return "" if is_alone else positional[-1]

    def _is_alone(self, mark: re.Match[str]) -> bool:
        before = self._text[max(0, mark.start() - LINE) : mark.start()].rpartition("\n")[2]
        after = self._text[mark.end() : mark.end() + LINE].partition("\n")[0]
        return not before.strip(" \t>*+-") and not after.strip()


def _name(inner: str) -> str:
    match = re.match(r"\s*([\w-]+)", inner)
    return match[1] if match else ""


def _is_words(argument: str) -> bool:
    """Tell what readers may be shown from paths, settings, numbers and versions."""
    return bool(re.fullmatch(r"(?!v?\d)[^/=]*[^\W\d_][^/=]*", argument) and not re.search(r"\.\w+$", argument))


def arguments(rest: str) -> tuple[dict[str, str], list[str]]:
    """Return the named and the other arguments of a tag."""
    named: dict[str, str] = {}
    positional: list[str] = []
    for argument in _ARGUMENT.finditer(rest):
        value = next(
            (argument[kind] for kind in ("double", "single", "tick", "bare") if argument[kind] is not None), ""
        )
        if argument["name"]:
            named.setdefault(argument["name"], value)
        else:
            positional.append(value)
    return named, positional


def spoken(attributes: Mapping[str, str], *, is_alone: bool) -> str:
    """Return what the attributes of a tag say to readers: a title in bold and a text, or both in brackets."""
    parts = [attributes[name].strip() for name in _SPOKEN if attributes.get(name, "").strip()]
    parts = [part for part in dict.fromkeys(parts) if not re.fullmatch(r"[\W\d_]*|true|false", part)]
    if not parts:
        return ""
    return "\n\n".join([f"**{parts[0]}**", *parts[1:]]) + "\n" if is_alone else f"({', '.join(parts)})"


def value_of(expression: str, values: Mapping[str, object]) -> str:
    """Return what an expression shows, if it is a text or a field of the front matter; else an empty text."""
    first = expression.strip().split("|")[0].strip()
    literal = re.fullmatch(r"\"([^\"]*)\"|'([^']*)'|`([^`$]*)`", first)
    if literal:
        return next(group for group in literal.groups() if group is not None)
    field = re.fullmatch(r"(?:page|\$?front[mM]atter|\.Page\.Params|\.Params|\$markdoc\.frontmatter)\.(\w+)", first)
    found = values.get(field[1]) if field else None
    return Shelf.cleared(str(found)) if isinstance(found, str | int | float) else ""

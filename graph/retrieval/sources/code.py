"""Finds code and comments in Markdown: the one is set aside, the other dropped."""

import re
from collections.abc import Callable

from graph.retrieval.sources import UnreadableError
from graph.retrieval.sources.html_markdown import markdown_of
from graph.retrieval.sources.html_tree import parse
from graph.retrieval.sources.myst import ROLE, Directive, shown_role, without_options
from graph.retrieval.sources.parsers import parser_for
from graph.retrieval.sources.shelf import Shelf

MAX_SPAN = 2000
"""Characters of code within a sentence; back-ticks further apart are none."""
MAX_DIRECTIVES = 20
"""MyST's directives in each other; what is deeper is code."""

_PREFIX = r"(?:[ \t]*(?:>|[-*+](?=[ \t])|\d{1,9}[.)](?=[ \t])))*[ \t]*"
_DIRECTIVE = r":{3,}(?=[ \t]*\{[a-z])"
_FENCE = rf"{_PREFIX}(?:`{{3,}}(?=[^`\n]*$)|~{{3,}}|{_DIRECTIVE})"
_FENCE_LINE = re.compile(rf"(?P<prefix>{_PREFIX})(?P<ticks>`{{3,}}|~{{3,}}|:{{3,}})(?P<info>[^\n]*)\n?")
_OPENING = re.compile(
    # What begins a line, and what may stand anywhere; the look-aheads make it quick to see that neither begins here.
    rf"(?:(?<![^\n])(?=[ \t>*+\-\d`~:\[])(?:(?P<fence>{_FENCE})|(?P<note>[ \t]*\[(?://|comment|_metadata_:\w+)\]:))"
    r"|(?=[`<{\\%])(?:(?P<span>`+)"
    r"|(?P<comment><!--|\{/\*|\{\{-?\s{0,9}/\*|\{%-?\s{0,9}comment\b|\{\{[<%]\s{0,9}comment\b|\{#(?=\s)"
    r"|(?<!\S)%%(?=[^%\n]*%%(?!\S)|[ \t]*$))"
    r"|(?P<unseen><(?P<element>script|style|svg|noscript|iframe|object)\b)"
    r"|(?P<html><(?P<tag>pre|code|samp)\b)"
    r"|(?P<listing>\{%-?\s{0,9}highlight\b|\{\{[<%]\s{0,9}(?P<shortcode>[\w-]*code[\w-]*|highlight)\b)"
    r"|(?P<raw>\{%-?\s{0,9}raw\s{0,9}-?%\})"
    rf"|(?P<role>\{{(?P<role_name>{ROLE})\}}(?=`))"
    r"|(?P<escape>\\[!-/:-@\[-`{-~])))",
    re.IGNORECASE | re.MULTILINE,
)
_COMMENT_ENDS = {
    "<!--": re.compile(r"-->"),
    "{/*": re.compile(r"\*/\s{0,99}\}"),
    "{{<": re.compile(r"\{\{[<%]\s{0,9}/\s{0,9}comment\s{0,9}[>%]\}\}"),
    "{{": re.compile(r"\*/\s{0,9}-?\}\}"),
    "{%": re.compile(r"\{%-?\s{0,9}endcomment\s{0,9}-?%\}"),
    "{#": re.compile(r"#\}"),
    "%%": re.compile(r"%%"),
}
"""Where a comment ends, by what it begins with."""
_END_RAW = re.compile(r"\{%-?\s{0,9}endraw\s{0,9}-?%\}")
_END_HIGHLIGHT = re.compile(r"\{%-?\s{0,9}endhighlight\s{0,9}-?%\}")

Include = Callable[[str], str]
"""Returns the clean text of a file that a page includes, or an empty text."""


def set_code_aside(text: str, shelf: Shelf, include: Include) -> str:
    """Return the text with its code on the shelf, and without comments, scripts and drawings."""
    return _Scan(text, shelf, include, 0).kept()


def shown_code(code: str) -> str:
    """Return code as a site shows it: Liquid's and Hugo's ways to write their own marks are not part of it."""
    code = re.sub(r"\{%-?\s{0,9}raw\s{0,9}-?%\}(.*?)" + _END_RAW.pattern, r"\1", code, flags=re.DOTALL)
    return re.sub(r"\{\{([<%])/\*(.*?)\*/([>%])\}\}", r"{{\1\2\3}}", code)


class _Scan:
    def __init__(self, text: str, shelf: Shelf, include: Include, depth: int) -> None:
        self._text = text
        self._depth = depth
        self._shelf = shelf
        self._include = include
        self._absent: set[str] = set()

    def kept(self) -> str:
        kinds: dict[str, Callable[[re.Match[str]], tuple[str, int]]] = {
            "fence": self._fence,
            "span": self._span,
            "note": self._note,
            "comment": self._comment,
            "unseen": self._unseen,
            "html": self._html,
            "listing": self._listing,
            "raw": self._raw,
            "role": self._role,
            "escape": self._escape,
        }
        kept: list[str] = []
        position = 0
        while opening := _OPENING.search(self._text, position):
            kept.append(self._text[position : opening.start()])
            shown, position = kinds[opening.lastgroup or ""](opening)
            kept.append(shown)
        kept.append(self._text[position:])
        return "".join(kept)

    def _find(self, pattern: re.Pattern[str], position: int) -> re.Match[str] | None:
        """Search to the end, but never again for what is not there: else hostile text takes quadratic time."""
        if pattern.pattern in self._absent:
            return None
        found = pattern.search(self._text, position)
        if found is None:
            self._absent.add(pattern.pattern)
        return found

    def _line_before(self, position: int) -> str:
        earliest = max(0, position - MAX_SPAN)
        return self._text[max(self._text.rfind("\n", earliest, position) + 1, earliest) : position]

    def _fence(self, opening: re.Match[str]) -> tuple[str, int]:
        fence = _FENCE_LINE.match(self._text, opening.start())
        if fence is None:
            raise ValueError("what begins a fence is its line")
        prefix, ticks, begin = fence["prefix"], fence["ticks"], fence.end()
        directive = Directive.of(fence["info"]) if self._depth < MAX_DIRECTIVES else None
        if ticks[0] == ":" and directive is None:  # a container of another kind
            return fence[0], begin
        closing = rf"^[ \t>]*{re.escape(ticks[0])}{{{len(ticks)},}}[ \t]*(?:\n|\Z)"
        closed = self._find(re.compile(closing, re.MULTILINE), begin)
        end = closed.start() if closed else len(self._text)
        left = (
            re.compile(r"^(?![ \t]*>)(?=[^\n]|\n)", re.MULTILINE).search(self._text, begin, end)
            if ">" in prefix
            else None
        )
        if left:
            end, closed = left.start(), None  # the quotation ends, and the code with it
        lines = [_without(prefix, line) for line in self._text[begin:end].rstrip("\n").split("\n")]
        after = closed.end() if closed else end
        if directive and not directive.is_code:
            return self._directive(directive, prefix, without_options(lines)), after
        code = shown_code("\n".join(without_options(lines) if directive else lines))
        language = re.match(r"\s*\{?\.?([\w+#.-]*)", directive.argument if directive else fence["info"])
        token = self._shelf.put_fence(code, language[1] if language else "") if code.strip() else ""
        return f"{prefix}{token}\n", after

    def _directive(self, directive: Directive, prefix: str, lines: list[str]) -> str:
        """Return what a directive of MyST shows, as lines that go on as where it stands."""
        if directive.name == "include":
            return f"{prefix}{self._include(directive.argument)}\n"
        if directive.is_unseen:
            return f"{prefix.rstrip()}\n"
        further = re.sub(r"[^>\s]", " ", prefix)
        blank = further.rstrip()
        if directive.name == "eval-rst":
            return f"{blank}\n{prefix}{self._restructured(lines)}\n{blank}\n"
        inner = [*directive.begun(self._inner(directive.argument).strip()), *self._inner("\n".join(lines)).split("\n")]
        return "\n".join(
            [blank, f"{prefix}{inner[0]}", *(f"{further}{each}".rstrip() for each in inner[1:]), blank, ""]
        )

    def _inner(self, text: str) -> str:
        return _Scan(text, self._shelf, self._include, self._depth + 1).kept()

    def _restructured(self, lines: list[str]) -> str:
        """Set aside what is reStructuredText in Markdown; without the library for it nothing is left."""
        try:
            (page,) = parser_for(".rst")("\n".join(lines).encode("utf-8", "replace"))
        except UnreadableError:
            return ""
        return self._shelf.put_block(Shelf.cleared(page.text))

    def _role(self, opening: re.Match[str]) -> tuple[str, int]:
        """Return the text of a role of MyST, without its name."""
        ticks = re.compile("`+").match(self._text, opening.end())
        closed = ticks and self._closing(ticks)
        if not ticks or not closed:
            return "", opening.end()
        text = " ".join(self._text[ticks.end() : closed.start()].split())
        shown, is_code = shown_role(opening["role_name"], text)
        return self._shelf.put(f"{ticks[0]}{shown}{ticks[0]}") if is_code else shown, closed.end()

    def _span(self, opening: re.Match[str]) -> tuple[str, int]:
        ticks, start = opening[0], opening.end()
        closed = self._closing(opening)
        if closed is None:
            return self._shelf.put(ticks), start
        code = shown_code(re.sub(r"\s*\n[\s>]*", " ", self._text[start : closed.start()]))
        return self._shelf.put(f"{ticks}{code}{ticks}"), closed.end()

    def _closing(self, ticks: re.Match[str]) -> re.Match[str] | None:
        """Return the ticks that close code within a sentence; None if its paragraph has none."""
        start = ticks.end()
        paragraph = self._text.find("\n\n", start, start + MAX_SPAN)
        limit = paragraph if paragraph >= 0 else min(len(self._text), start + MAX_SPAN)
        return re.compile(rf"(?<!`){ticks[0]}(?!`)").search(self._text, start, limit)

    def _comment(self, opening: re.Match[str]) -> tuple[str, int]:
        found = opening[0].strip().replace("{{%", "{{<").replace("{{-", "{{")
        begins = next(each for each in _COMMENT_ENDS if found.startswith(each))
        closed = self._find(_COMMENT_ENDS[begins], opening.end())
        if closed is None:
            # As in browsers, an open comment hides the rest if it begins a line; within a line its mark is text.
            is_rest = begins == "<!--" and not self._line_before(opening.start()).strip()
            return "", len(self._text) if is_rest else opening.end()
        inner = self._text[opening.end() : closed.start()]
        included = re.fullmatch(r"\s*@include:\s*(\S[^\n]*?)\s*", inner) if begins == "<!--" else None
        return (self._include(included[1]) if included else ""), closed.end()

    def _note(self, opening: re.Match[str]) -> tuple[str, int]:
        """Drop a comment that is written as a link's definition."""
        line_end = self._text.find("\n", opening.end())
        return "", line_end if line_end >= 0 else len(self._text)

    def _unseen(self, opening: re.Match[str]) -> tuple[str, int]:
        alone = re.compile(r"[^<>]*/>").match(self._text, opening.end())
        if alone:
            return "", alone.end()
        closed = self._find(re.compile(rf"</{opening['element'].lower()}\s{{0,9}}>", re.IGNORECASE), opening.end())
        return "", closed.end() if closed else len(self._text)

    def _html(self, opening: re.Match[str]) -> tuple[str, int]:
        """Set aside code that is written as HTML, or as JSX with the code in an expression."""
        closed = self._find(re.compile(rf"</{opening['tag'].lower()}\s{{0,9}}>", re.IGNORECASE), opening.end())
        if closed is None:
            return "", opening.end()
        source = self._text[opening.start() : closed.end()]
        source = re.sub(r">\s*\{\s*`([^`]*)`\s*\}\s*<", r">\1<", source)
        shown = Shelf.cleared(shown_code(markdown_of(parse(source).children)))
        is_block = opening["tag"].lower() == "pre"
        return (f"{self._shelf.put_block(shown)}\n" if is_block else self._shelf.put(shown)), closed.end()

    def _listing(self, opening: re.Match[str]) -> tuple[str, int]:
        """Set aside what a generator's own tag shows as code."""
        name, begin = opening["shortcode"], opening.end()
        begun = re.compile(r"([^}]{0,999}?)[%>]\}\}?").match(self._text, begin)
        if begun is None:
            return "", begin
        closing = re.compile(rf"\{{\{{[<%]\s{{0,9}}/\s{{0,9}}{name}\s{{0,9}}[>%]\}}\}}") if name else _END_HIGHLIGHT
        closed = None if begun[1].rstrip().endswith("/") else self._find(closing, begun.end())
        code = self._text[begun.end() : closed.start()] if closed else "```"
        if closed is None or "```" in code or "~~~" in code:
            return "\n", begun.end()
        language = re.match(r"\s*(?:lang=)?[\"']?(\w+)[\"']?(?=\s|$)", begun[1].removesuffix("-"))
        indent = re.match(r"\s*", self._line_before(opening.start()))
        lines = [line.removeprefix(indent[0] if indent else "") for line in code.strip("\n").split("\n")]
        fence = self._shelf.put_fence(shown_code("\n".join(lines)), language[1] if language else "")
        return f"{fence}\n", closed.end()

    def _raw(self, opening: re.Match[str]) -> tuple[str, int]:
        """Set aside Liquid's marks between `raw` and `endraw`, which customers see."""
        closed = self._find(_END_RAW, opening.end())
        inner = self._text[opening.end() : closed.start()] if closed else "```"
        if closed is None or "```" in inner or "~~~" in inner:
            return "", opening.end()
        return re.sub(r"\{\{|\}\}|\{%|%\}", lambda mark: self._shelf.put(mark[0]), inner), closed.end()

    def _escape(self, opening: re.Match[str]) -> tuple[str, int]:
        """Set aside a character that means itself; the backslash stays where the character would mean something."""
        means = opening[0][1] in "|`" or not self._line_before(opening.start()).strip(" \t>0123456789")
        return self._shelf.put(opening[0] if means else opening[0][1]), opening.end()


def _without(prefix: str, line: str) -> str:
    """Return a line of code without the indentation, list mark or quotation marks that its block begins with."""
    position = 0
    for character in prefix:
        if position < len(line) and (line[position] == character or line[position] in " \t"):
            position += 1
    return line[position:]

"""The lines of Markdown: indentation, headings, rules and definitions."""

import re

from graph.retrieval.sources.shelf import Shelf

_MARKER = re.compile(r"([-*+]|\d{1,9}[.)])([ \t]+|$)")
_LIST_IN_LIST = re.compile(r" *(?:[-*+]|\d{1,9}[.)]) {2,}(?:[-*+]|\d{1,9}[.)]) ")
_MARKS = frozenset("-*+0123456789")
_INDENTED = re.compile(r"\n(?: {4}| {0,3}\t|[^\S\n]+(?:\n|\Z))")
_UNDERLINE = re.compile(r"\n {0,3}[=-]+[ \t]*(?:\n|\Z)")
_SETEXT = re.compile(r"^(?![ \t]*(?:[-*+>|#=]|\d+[.)]))[ \t]{0,3}(\S[^\n]*)\n {0,3}(=+|-+)[ \t]*$", re.MULTILINE)
_RULE = re.compile(r"^[ \t]*(?:(?:-[ \t]*){3,}|(?:\*[ \t]*){3,}|(?:_[ \t]*){3,})$", re.MULTILINE)
_TERM = re.compile(r"^(?![ \t]*(?:[-*+>|#:]|\d+[.)]))([^\n]+)\n(?:\n)?:[ \t]+(?=\S)", re.MULTILINE)
_TAG_LINE = re.compile(
    r"</?(?:[A-Z]|(?:p|div|table|t[rdh]|thead|tbody|ul|ol|li|img|a|span|details|summary|section|figure|iframe|video|h[1-6]|br|hr|center|button)\b)"
)


class _Lists:
    """The list items that are open, by the indentation of what they hold."""

    def __init__(self) -> None:
        self._open: list[int] = []

    def base(self, indent: int) -> int:
        """Return the indentation of the innermost item that a line so indented belongs to."""
        return max((each for each in self._open if each <= indent), default=0)

    def enter(self, line: str, indent: int) -> None:
        """Take note of a line, which begins with so many spaces and is not blank."""
        if self._open:
            self._open = [each for each in self._open if each <= indent]
        if line[indent] not in _MARKS:
            return
        marker = _MARKER.match(line, indent)
        if marker and indent - self.base(indent) < 4:
            self._open.append(indent + len(marker[1]) + (len(marker[2]) if 0 < len(marker[2]) <= 4 else 1))


def set_indented_code_aside(text: str, shelf: Shelf) -> str:
    """Set aside what CommonMark takes as code because it is indented by four spaces."""
    if not _INDENTED.search(f"\n{text}"):
        return text
    lines: list[str] = []
    code: list[str] = []
    lists, base, is_after_blank = _Lists(), 0, True
    for line in [*text.split("\n"), "\\end"]:
        line = line.expandtabs(4) if line.startswith(("\t", " ")) else line
        indent = len(line) - len(line.lstrip())
        if not line.strip():
            (code or lines).append("")
            is_after_blank = True
            continue
        if indent >= 4:
            base = base if code else lists.base(indent)
            if indent - base >= 4 and (code or (is_after_blank and not _TAG_LINE.match(line, indent))):
                code.append(line[base + 4 :])
                continue
        if code:
            lines += [" " * base + shelf.put_fence("\n".join(code).rstrip()), ""]
            code = []
        lists.enter(line, indent)
        lines.append(line)
        is_after_blank = False
    return "\n".join(lines[:-1])


def with_plain_outline(text: str) -> str:
    """Return the text with `#` headings, `**term**: definition`, no rules, and no indentation but that of lists."""
    if _UNDERLINE.search(text):
        text = _SETEXT.sub(lambda heading: f"{'#' if heading[2][0] == '=' else '##'} {heading[1].strip()}", text)
    text = re.sub(r"^[ \t]*#{1,6}[ \t]*$", "", _RULE.sub("", text), flags=re.MULTILINE)
    text = re.sub(r"^ {0,3}#{1,6}[ \t][^\n]*#[ \t]*$", _without_closing_marks, text, flags=re.MULTILINE)
    if re.search(r"^:[ \t]", text, re.MULTILINE):
        text = re.sub(r"^:[ \t]*\n", "", text, flags=re.MULTILINE)
        text = _TERM.sub(lambda term: f"**{term[1].strip().strip('*')}**: ", text)
        text = re.sub(r"^:[ \t]+(?=\S)", "", text, flags=re.MULTILINE)
    return _dedented(text)


def _without_closing_marks(heading: re.Match[str]) -> str:
    """Return `## Title ##` as `## Title`, but `# C#` as it is."""
    text = heading[0].rstrip()
    without = text.rstrip("#")
    return without.rstrip() if without.endswith((" ", "\t")) else text


def _dedented(text: str) -> str:
    """Take away the indentation that was a component's or container's: all code is set aside, so none means code."""
    lines: list[str] = []
    lists, shift, floor, is_after_blank = _Lists(), 0, 0, True
    for line in text.split("\n"):
        line = line.expandtabs(4) if line.startswith(("\t", " ")) else line
        indent = len(line) - len(line.lstrip())
        if not line.strip():
            lines.append("")
            is_after_blank = True
            continue
        if indent < floor:
            shift = floor = 0
        if is_after_blank and indent:
            left = indent - shift
            base = lists.base(left)
            if left - base >= 4 or (base == 0 and left > 0):
                shift, floor = shift + left - base, indent
        cut = min(shift, indent)
        line = line[cut:].rstrip()
        if "  " in line and not _LIST_IN_LIST.match(line):
            line = re.sub(r"(?<=\S) {2,}(?=\S)", " ", line)
        lists.enter(line, indent - cut)
        lines.append(line)
        is_after_blank = False
    text = "\n".join(lines)
    return (re.sub(r"\n{3,}", "\n\n", text) if "\n\n\n" in text else text).strip("\n")


def split_title(text: str) -> tuple[str | None, str]:
    """Return the first heading of the first level, else the one that the text begins with, and the text without it."""
    heading = re.search(r"^# +(\S[^\n]*)$", text, re.MULTILINE) or re.match(r"#{2,6} +(\S[^\n]*)(?:\n|\Z)", text)
    if heading is None:
        return None, text
    return heading[1].strip(), f"{text[: heading.start()]}{text[heading.end() :]}".strip("\n")

"""Markdown as an answer can quote it: sentences, list items, steps and rows of tables, each as plain text."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Literal

Kind = Literal["prose", "list", "steps", "table"]

_LONGEST = 200_000  # characters of a passage; the rest is ignored

_FENCE = re.compile(r"[ \t>]*(`{3,}|~{3,})")
_HEADING = re.compile(r"[ \t]*#{1,6}(?:[ \t]+(.*?))?[ \t#]*$")
_BOLD = re.compile(
    r"[ \t]*(?:\*\*|__)([^*_]+[^*_:.!?])(?:\*\*|__)[ \t]*$"
)  # a line of its own that stands for a heading
_UNDERLINE = re.compile(r"[ \t]*(?:=+|-{2,})[ \t]*$")
_RULE = re.compile(r"[ \t]*(?:(?:\*[ \t]*){3,}|(?:-[ \t]*){3,}|(?:_[ \t]*){3,}|:{3,}.*)$")
_QUOTE = re.compile(r"[ \t]*(?:>[ \t]?)+(?:\[![A-Za-z]+\][ \t]*)?")
_ITEM = re.compile(r"([ \t]*)([-*+]|\d{1,3}[.)])(?:[ \t]+|$)")
_DELIMITER = re.compile(r"[ \t]*\|?[ \t]*:?-+:?[ \t]*(?:\|[ \t]*:?-+:?[ \t]*)*\|?[ \t]*$")
_REFERENCE = re.compile(r"[ \t]*\[[^\[\]]+\]:[ \t]*\S")
_FRONT_MATTER = re.compile(r"---[ \t]*\r?\n(?:.*\r?\n)*?---[ \t]*(?:\r?\n|\Z)")

_CODE = re.compile(r"(?<!`)(`{1,2})(?!`)([^`]+)\1(?!`)")
_IMAGE = re.compile(r"!\[[^\[\]]*\]\([^()]*\)")
_LINK = re.compile(r"\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])")
_HTML = re.compile(r"<!--.*?-->|</?[A-Za-z][^<>]{0,2000}>")
_STRONG = re.compile(r"(?<![\w*])\*\*|\*\*(?![\w*])|(?<!\w)__|__(?!\w)|`")
_EMPHASIS = re.compile(r"(?<![\w*])\*(?=\S)([^*]+)(?<=\S)\*(?![\w*])|(?<!\w)_(?=\S)([^_]+)(?<=\S)_(?!\w)")
_CELL = re.compile(r"(?<!\\)\|")

_END = re.compile(
    r"""(?<![.!?…])[.!?…]++["'\u201d\u2019)\]]*+(?=\s+["'\u201c\u2018(\[¿¡]?[A-Z0-9À-Þ€$£])"""
    r"|[\u3002\uff01\uff1f]+"
)
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|incl|Mr|Mrs|Ms|Dr|No|St|z\. ?B|bzw|ca)|\b[A-Za-z])$")
_ENDS = (".", "!", "?", "…", '"', ")", "”", ":", "\uff1a", "\u3002", "\uff01", "\uff1f")
_QUESTION_ENDS = ("?", "\uff1f")


@dataclass(frozen=True, slots=True)
class Block:
    """A paragraph, list or table."""

    kind: Kind
    heading: str
    """The heading above it; empty if there is none."""
    lead: str
    """The sentence that introduces a list or table, which ends with a colon; empty if there is none."""
    parts: tuple[str, ...]
    """Its sentences, items, steps or rows. A row is `Plan: Pro, Price: $20`."""


@dataclass(slots=True)
class _List:
    indent: int
    is_ordered: bool
    items: list[list[str]] = field(default_factory=list[list[str]])
    """Each with its nested items after it."""
    is_nested: bool = False


def blocks(text: str) -> list[Block]:
    """Return what a passage says, in order; code, images, headings and front matter are no part of it."""
    return list(_Reader(_FRONT_MATTER.sub("", text[:_LONGEST], count=1) if text.startswith("---") else text).read())


def sentences(text: str) -> list[str]:
    """Return the sentences of a paragraph."""
    found: list[str] = []
    start = 0
    for end in _END.finditer(text):
        if not _ABBREVIATION.search(text[max(start, end.start() - 8) : end.start()]):
            found.append(text[start : end.end()].strip())
            start = end.end()
    last = text[start:].strip()
    return [*found, ended(last)] if last else found


def ended(sentence: str) -> str:
    """Return the sentence with a full stop, unless it has one."""
    return sentence if sentence.endswith(_ENDS) else f"{sentence}."


def plain(markdown: str) -> str:
    """Return a line without markup; code keeps what it quotes."""
    quoted: list[str] = []

    def keep(code: re.Match[str]) -> str:
        quoted.append(code[2].strip())
        return f"\0{len(quoted) - 1}\0"

    line = _IMAGE.sub("", _CODE.sub(keep, markdown.replace("\0", " ")))
    line = _HTML.sub("", _LINK.sub(r"\1", line))
    line = _EMPHASIS.sub(lambda found: found[1] or found[2], _STRONG.sub("", line))
    return re.sub("\0(\\d+)\0", lambda place: quoted[int(place[1])], line).strip()


class _Reader:
    """Reads a passage line by line."""

    def __init__(self, text: str) -> None:
        self._lines = text[:_LONGEST].splitlines()
        self._heading = ""
        self._paragraph: list[str] = []
        self._list: _List | None = None
        self._lead = ""
        self._fence = ""
        self._table: list[str] | None = None
        self._is_after_blank = False

    def read(self) -> Iterator[Block]:
        """Yield the blocks."""
        for line, following in pairwise([*self._lines, ""]):
            yield from self._read(line, following)
            self._is_after_blank = not line.strip()
        yield from self._close()

    def _read(self, line: str, following: str) -> Iterator[Block]:
        if self._fence or _FENCE.match(line):
            yield from self._read_code(line)
            return
        line = _QUOTE.sub("", line, count=1) if line.lstrip().startswith(">") else line
        if self._table is not None:
            if "|" in line:
                yield from self._read_row(line)
                return
            self._table, self._lead = None, ""
        heading = self._heading_in(line)
        if heading is not None or _RULE.match(line) or _REFERENCE.match(line):
            yield from self._close()
            self._heading = self._heading if heading is None else heading
        elif "|" in line and "-" in following and _DELIMITER.match(following):
            yield from self._close_text()
            self._table = _cells(line)
        elif item := _ITEM.match(line):
            yield from self._read_item(item, line[item.end() :])
        elif not line.strip():
            if self._paragraph:
                yield from self._close_text()
        else:
            yield from self._read_text(line)

    def _heading_in(self, line: str) -> str | None:
        if _UNDERLINE.match(line) and self._paragraph and not self._is_after_blank:
            heading, self._paragraph = " ".join(self._paragraph), []
            return plain(heading)
        found = _HEADING.match(line) or (None if self._list else _BOLD.match(line))
        return plain(found[1] or "") if found else None

    def _read_code(self, line: str) -> Iterator[Block]:
        fence = _FENCE.match(line)
        if not self._fence and fence:
            if not self._list:
                yield from self._close()
            self._fence = fence[1]
        elif fence and fence[1].startswith(self._fence) and not line.strip(" \t>`~"):
            self._fence = ""

    def _read_row(self, line: str) -> Iterator[Block]:
        if _DELIMITER.match(line):
            return
        pairs = zip([*(self._table or ()), *([""] * 50)], _cells(line), strict=False)
        row = ", ".join(f"{name}: {cell}" if name else cell for name, cell in pairs if cell)
        if row:
            yield Block("table", self._heading, self._lead, (row,))

    def _read_item(self, item: re.Match[str], text: str) -> Iterator[Block]:
        indent, is_ordered = len(item[1].expandtabs(4)), item[2][0].isdigit()
        now = self._list
        if now and indent <= now.indent + 1 and is_ordered != now.is_ordered:
            yield from self._close()
            now = None
        if now is None:
            yield from self._close_text()
            now = self._list = _List(indent, is_ordered)
        now.is_nested = bool(now.items) and indent > now.indent + 1
        if now.is_nested:
            now.items[-1].append(text)
        else:
            now.items.append([text])

    def _read_text(self, line: str) -> Iterator[Block]:
        if self._list and self._is_after_blank and not line.startswith((" ", "\t")):
            yield from self._close()
        if self._list:
            self._list.items[-1][-1] += f" {line.strip()}"
            return
        if not self._paragraph and self._is_after_blank and line.startswith(("    ", "\t")):
            return  # code
        self._paragraph.append(line)

    def _close_text(self) -> Iterator[Block]:
        """End a paragraph; its last sentence introduces what follows, if it ends with a colon."""
        if self._list:
            yield from self._close_list()
        if not self._paragraph:
            return
        found = _with_answers(sentences(plain(" ".join(line.strip() for line in self._paragraph))))
        self._paragraph = []
        self._lead = found.pop() if found and found[-1].endswith((":", "\uff1a")) else ""
        if found:
            yield Block("prose", self._heading, "", tuple(found))

    def _close(self) -> Iterator[Block]:
        yield from self._close_text()
        self._lead = ""

    def _close_list(self) -> Iterator[Block]:
        now, self._list = self._list, None
        items = [text for item in now.items if (text := _joined(item))] if now else []
        if now and items:
            yield Block("steps" if now.is_ordered else "list", self._heading, self._lead, tuple(items))
        self._lead = ""


def _with_answers(found: list[str]) -> list[str]:
    """Return sentences, each question joined with the sentence after it: alone it says nothing."""
    together: list[str] = []
    for sentence in found:
        if together and together[-1].endswith(_QUESTION_ENDS):
            together[-1] += f" {sentence}"
        else:
            together.append(sentence)
    return together


def _joined(item: list[str]) -> str:
    """Return an item with what is nested in it."""
    first, *nested = (plain(text) for text in item)
    inner = "; ".join(text.rstrip(".;,") for text in nested if text)
    return ended(" ".join(filter(None, (first, inner)))) if first or inner else ""


def _cells(row: str) -> list[str]:
    line = row.strip().removeprefix("|")
    line = line[:-1] if line.endswith("|") and not line.endswith("\\|") else line
    return [plain(cell.replace("\\|", "|")) for cell in _CELL.split(line)]

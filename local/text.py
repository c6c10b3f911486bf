"""Sentences of Markdown prose."""

import re

_LONGEST = 20_000  # characters of an article; the rest is ignored
_HEADING = re.compile(r"\s*#{1,6}\s")
_ITEM = re.compile(r"\s*(?:[-*+]|\d{1,2}[.)])\s+")
_MARKUP = re.compile(r"\[([^\[\]]*)\]\([^()]*\)|(?<![\w*])\*\*|\*\*(?![\w*])|`")
_END = re.compile(r"""(?<![.!?…])[.!?…]++["'\u201d\u2019)\]]*+(?=\s+["'\u201c\u2018(\[]?[A-Z0-9À-Þ€$£])""")
_ABBREVIATION = re.compile(r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|incl|Mr|Mrs|Ms|Dr|No|St)|\b[A-Za-z])$")


def sentences(text: str) -> list[str]:
    """Return the sentences of an article, as plain text and without headings.

    A list item is a sentence of its own. If the line before the list ends with a colon, each item begins with it.
    """
    return [sentence for block in _blocks(text[:_LONGEST]) for sentence in _split(block)]


def _split(block: str) -> list[str]:
    found: list[str] = []
    start = 0
    for end in _END.finditer(block):
        if not _ABBREVIATION.search(block[max(start, end.start() - 8) : end.start()]):
            found.append(block[start : end.end()].strip())
            start = end.end()
    last = block[start:].strip()
    return [*found, last if last.endswith((".", "!", "?", "…", '"', ")", "”")) else f"{last}."]


def _blocks(text: str) -> list[str]:
    """Return each paragraph and list item as one line."""
    found: list[str] = []
    introduction = ""
    joins = False
    for line in text.splitlines():
        item = _ITEM.match(line)
        plain = _MARKUP.sub(lambda link: link[1] or "", line[item.end() :] if item else line).strip()
        if not plain or _HEADING.match(line):
            joins = False
        elif item:
            if found and found[-1].endswith(":"):
                introduction = f"{found.pop()} "
            found.append(introduction + plain)
            joins = True
        elif joins:
            found[-1] += f" {plain}"
        else:
            found.append(plain)
            introduction = ""
            joins = True
    return found

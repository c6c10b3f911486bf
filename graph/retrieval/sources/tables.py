"""Tables as Markdown: one row a line, cells between pipes."""

import re
from collections.abc import Iterable, Sequence

MAX_CELLS = 20_000
"""A table's cells beyond these are not spread over further rows and columns."""


def spread(rows: Iterable[Iterable[tuple[str, int, int]]]) -> list[list[str]]:
    """Return rows of texts from cells of text, columns and rows: a cell over several rows stands in each of them."""
    spread_rows: list[list[str]] = []
    below: dict[int, tuple[str, int]] = {}
    left = MAX_CELLS
    for row in rows:
        texts: list[str] = []
        for text, columns, height in row:
            _fill(texts, below)
            for number in range(min(columns, max(left, 1))):
                left -= 1
                shown = "" if number else text
                if height > 1:
                    below[len(texts)] = (shown, height - 1)
                texts.append(shown)
        _fill(texts, below)
        spread_rows.append(texts)
    return spread_rows


def _fill(texts: list[str], below: dict[int, tuple[str, int]]) -> None:
    while len(texts) in below:
        text, rows = below.pop(len(texts))
        if rows > 1:
            below[len(texts)] = (text, rows - 1)
        texts.append(text)


def pipe_table(rows: Sequence[Sequence[str]], *, has_heading: bool) -> str:
    """Return a pipe table, whose first row is the heading if `has_heading`; empty if no cell has text."""
    rows = [row for row in rows if any(cell.strip() for cell in row)]
    if not rows:
        return ""
    width = max(len(row) for row in rows)
    lines = [_line([*row, *[""] * (width - len(row))]) for row in rows]
    if not has_heading:
        lines.insert(0, _line([""] * width))
    lines.insert(1, _line(["---"] * width))
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    escaped = [re.sub(r"(?<!\\)\|", r"\\|", cell.strip()) for cell in cells]
    return f"|{'|'.join(f' {cell} ' if cell else ' ' for cell in escaped)}|"

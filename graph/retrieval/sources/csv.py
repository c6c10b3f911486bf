"""CSV files: each row is an article, such as a question and its answer."""

import csv
import io
import re
from collections.abc import Iterator, Sequence

from graph.retrieval.sources import Page, UnreadableError, limits
from graph.retrieval.sources.decoding import decode
from graph.retrieval.sources.entries import markdown_of

TITLES = (
    "question",
    "title",
    "name",
    "subject",
    "heading",
    "frage",
    "titel",
    "pregunta",
    "título",
    "titre",
    "questions",
    "fragen",
)
"""Names of the column with the title, the first of them first."""
TEXTS = (
    "answer",
    "text",
    "body",
    "content",
    "article",
    "description",
    "response",
    "antwort",
    "inhalt",
    "respuesta",
    "answers",
    "antworten",
)
"""Names of the column with the text."""


def from_csv(content: bytes) -> list[Page]:
    """Return a page for each row that is not empty; raises UnreadableError.

    A page's fields are the other columns, by their names in lower case.
    """
    text = re.sub(r"\Asep=.\n", "", _decoded(content))  # Excel's own line, which names what separates columns
    # The dialect is told by the first line: the rest has commas and semicolons in sentences.
    delimiter = max(",;\t|", key=text.partition("\n")[0].count)
    csv.field_size_limit(limits.CELL)
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        header = [name.strip().lower() for name in next(rows, list[str]())]
        title, body = _column(header, TITLES), _column(header, TEXTS)
        if title is None or body is None:
            raise _no_columns(header)
        return list(_pages(rows, header, title, body))
    except csv.Error as error:
        reason = f"not valid CSV, or a cell of more than {limits.CELL:,} characters"
        raise UnreadableError(reason, rows.line_num or 1) from error


def _decoded(content: bytes) -> str:
    try:
        return decode(content)
    except UnreadableError as error:
        raise UnreadableError(f"{error.reason} (in Excel: CSV UTF-8)", error.line) from error


def _pages(rows: Iterator[list[str]], header: Sequence[str], title: int, body: int) -> Iterator[Page]:
    for number, row in enumerate(rows):
        if number >= limits.ROWS:
            raise UnreadableError(f"has more than {limits.ROWS:,} rows: split it")
        cells = [cell.strip() for cell in row] + [""] * (len(header) - len(row))
        if any(cells):
            others = {
                name: cell
                for at, (name, cell) in enumerate(zip(header, cells, strict=False))
                if at not in (title, body)
            }
            fields = {name: cell for name, cell in others.items() if name and cell}
            yield Page(markdown_of(cells[body], cells[title]), cells[title] or None, fields, number + 2)


def _column(header: Sequence[str], names: Sequence[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def _no_columns(header: Sequence[str]) -> UnreadableError:
    named = ", ".join(repr(name[:40]) for name in header[:20] if name) or "none"
    return UnreadableError(
        f"its first line must name a column {' or '.join(TITLES[:2])}, and a column {', '.join(TEXTS[:3])} or "
        f"{TEXTS[3]}; it names {named}",
        1,
    )

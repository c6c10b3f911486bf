"""CSV files."""

import pytest

from graph.retrieval.sources import UnreadableError, limits
from graph.retrieval.sources.csv import from_csv


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_each_row_is_a_page(delimiter: str) -> None:
    """Whatever separates columns, in quotes or not, rows have title, text and the other columns as fields."""
    rows = [
        ("Question", "Answer", "Tags"),
        ('"Why, and; how?"', '"Two\r\nlines"', "a"),
        ("", "", ""),
        ("Who?", "We.", ""),
    ]
    content = "\r\n".join(delimiter.join(row) for row in rows)
    pages = from_csv(b"\xef\xbb\xbf" + content.encode())
    assert [(page.title, page.text, dict(page.fields)) for page in pages] == [
        ("Why, and; how?", "Two\nlines", {"tags": "a"}),
        ("Who?", "We.", {}),
    ]


def test_html_in_a_cell_is_cleaned() -> None:
    """A cell of HTML becomes Markdown, without scripts."""
    [page] = from_csv(b"title,body\nRefunds,<p>Within <b>30</b> days</p><script>alert(1)</script>\n")
    assert page.text == "Within **30** days"


def test_excel_text_is_read() -> None:
    """UTF-16 with its mark is what Excel calls Unicode text."""
    [page] = from_csv("Frage\tAntwort\nWo?\tHier.\n".encode("utf-16"))
    assert (page.title, page.text) == ("Wo?", "Hier.")


def test_the_line_that_excel_writes_first_is_no_heading() -> None:
    """`sep=;` names what separates columns; headings may be in the plural."""
    [page] = from_csv(b"sep=;\r\nQuestions;Answers\r\nWhere?;Here, there.\r\n")
    assert (page.title, page.text) == ("Where?", "Here, there.")


@pytest.mark.parametrize(
    ("content", "reason", "line"),
    [
        (b"", "it names none", 1),
        (b"date,amount\n1,2\n", "it names 'date', 'amount'", 1),
        (b'title,body\na,"b\nc\n', "not valid CSV", 3),
        ("title,body\na,b\nü,c\n".encode("latin-1"), r"UTF-8 \(in Excel: CSV UTF-8\)", 3),
        (b"title,body\na," + b"b" * 2_000, "not valid CSV, or a cell of more than 1,000", 2),
        (b"title,body\n" + b"a,b\n" * 20, "has more than 10 rows", None),
    ],
)
def test_a_file_that_cannot_be_read_is_named(
    content: bytes, reason: str, line: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The error has the line and what would be right."""
    monkeypatch.setattr(limits, "CELL", 1_000)
    monkeypatch.setattr(limits, "ROWS", 10)
    with pytest.raises(UnreadableError, match=reason) as raised:
        from_csv(content)
    assert raised.value.line == line

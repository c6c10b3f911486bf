"""PDF files, made here."""

import contextlib
import time
from collections.abc import Callable

import pytest
from fpdf import FPDF
from fpdf.enums import AccessPermission, EncryptionMethod

from graph.retrieval.sources import UnreadableError, limits
from graph.retrieval.sources.pdf import from_pdf


def pdf(*pages: str, write: Callable[[FPDF], None] = lambda _: None) -> bytes:
    """Return a PDF whose pages have these lines: `# ` and `## ` make letters bigger."""
    document = FPDF()
    write(document)
    for page in pages:
        document.add_page()
        for line in page.splitlines():
            level = len(line) - len(line.lstrip("#"))
            document.set_font("Helvetica", size={0: 11, 1: 22, 2: 16}[level])
            document.multi_cell(0, text=line.lstrip("# ") or " ", new_x="LMARGIN", new_y="NEXT")
    return bytes(document.output())


def test_headings_paragraphs_and_lists_are_told_apart() -> None:
    """Bigger letters are headings, the first of them the title; lines of a paragraph are joined."""
    sentence = (
        "Every payment is refunded in full within 30 days, to the card that was charged, whatever the reason. " * 2
    )
    [page] = from_pdf(pdf(f"# Refunds\n{sentence}\n\n## How long it takes\n- Card: 5 days\n- Bank: 9 days\n"))
    assert page.title == "Refunds"
    assert page.text == f"{sentence.strip()}\n\n## How long it takes\n\n- Card: 5 days\n- Bank: 9 days"


def test_what_returns_on_every_page_is_left_out() -> None:
    """Running titles and page numbers are no text; a sentence goes on over the end of a page."""
    words = ("one", "two", "three", "four")
    pages = [
        f"Manual of Northwind\nHere begins sentence {word}.\nIt ends: {word}.\n{page} of 4"
        for page, word in enumerate(words)
    ]
    [page] = from_pdf(pdf(*pages))
    assert "Manual" not in page.text
    assert "of 4" not in page.text
    assert "Here begins sentence three. It ends: three." in page.text


def test_the_title_may_be_a_property() -> None:
    """Without a heading the file's own title counts, unless it is a file's name."""
    [page] = from_pdf(pdf("Text.", write=lambda document: document.set_title("Opening hours")))
    assert page.title == "Opening hours"
    [page] = from_pdf(pdf("Text.", write=lambda document: document.set_title("Microsoft Word - hours.docx")))
    assert page.title is None


def test_an_encrypted_file_is_named() -> None:
    """One that opens only with a password can't be read; one that only forbids changes can."""

    def locked(user: str | None) -> Callable[[FPDF], None]:
        return lambda document: document.set_encryption(
            "owner", user, EncryptionMethod.AES_128, AccessPermission.none()
        )

    with pytest.raises(UnreadableError, match="is encrypted: save it without a password"):
        from_pdf(pdf("Text.", write=locked("user")))
    [page] = from_pdf(pdf("Text.", write=locked(None)))
    assert page.text == "Text."


def test_a_scan_is_named() -> None:
    """Pages without text are no article."""

    def draw(document: FPDF) -> None:
        document.add_page()
        document.rect(10, 10, 50, 50)

    with pytest.raises(UnreadableError, match="has no text, only images"):
        from_pdf(pdf(write=draw))


def test_too_many_pages_are_refused_quickly() -> None:
    """A PDF of 5,000 pages is refused by its number of pages."""
    page = b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 9 9]>>"
    kids = b" ".join(b"%d 0 R" % number for number in range(3, 5_003))
    pages = b"<</Type/Pages/Count 5000/Kids[%s]>>" % kids
    content, offsets = b"%PDF-1.7\n", list[int]()
    for number, body in enumerate((b"<</Type/Catalog/Pages 2 0 R>>", pages, *[page] * 5_000), 1):
        offsets.append(len(content))
        content += b"%d 0 obj%s endobj\n" % (number, body)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    trailer = b"xref\n0 5003\n0000000000 65535 f \n%strailer<</Size 5003/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF"
    content += trailer % (table, len(content))
    began = time.perf_counter()
    with pytest.raises(UnreadableError, match="has 5,000 pages: split it into files of at most 2,000"):
        from_pdf(content)
    assert time.perf_counter() - began < 60


def test_a_file_that_takes_too_long_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """The time is looked at before each page."""
    monkeypatch.setattr(limits, "PDF_SECONDS", -1)
    with pytest.raises(UnreadableError, match="takes more than -1 seconds"):
        from_pdf(pdf("Text."))


@pytest.mark.parametrize(
    "content", [b"", b"Hello", b"%PDF-1.7\n", b"%PDF-1.7\ntrailer<</Root 1 0 R>>\nstartxref\n0\n%%EOF"]
)
def test_what_is_no_pdf_is_named(content: bytes) -> None:
    """Other files and damaged ones are an error."""
    with pytest.raises(UnreadableError, match="PDF"):
        from_pdf(content)


def test_a_cut_file_is_read_or_named() -> None:
    """Wherever a file is cut off, there is an article or an error of ours."""
    content = pdf("# Title\nText.")
    for end in range(0, len(content), 97):
        with contextlib.suppress(UnreadableError):
            assert from_pdf(content[:end])[0].text

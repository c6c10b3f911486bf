"""DOCX files, made here."""

import io
import zipfile
from typing import Any

import docx
import pytest
from docx.document import Document
from docx.enum.style import WD_STYLE_TYPE
from docx.oxml.ns import qn
from docx.oxml.parser import OxmlElement

from graph.retrieval.sources import UnreadableError, limits
from graph.retrieval.sources.docx import from_docx


def made(document: Document) -> bytes:
    buffer = io.BytesIO()
    document.save(buffer)
    return buffer.getvalue()


def small() -> bytes:
    document = docx.Document()
    document.add_heading("Refunds", level=0)
    document.add_paragraph("Within 30 days.")
    return made(document)


def changed(content: bytes, **parts: bytes) -> bytes:
    """Return the file with parts of it replaced or added; `__` stands for `/` and `_` before a suffix for `.`."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as new:
        replaced = {name.replace("__", "/").replace("_xml", ".xml"): part for name, part in parts.items()}
        for name in {*old.namelist(), *replaced}:
            new.writestr(name, replaced[name] if name in replaced else old.read(name))
    return buffer.getvalue()


def test_styles_make_headings_lists_tables_and_links() -> None:
    """Word's title and headings, lists, bold text and tables are Markdown."""
    document = docx.Document()
    document.add_heading("Refunds", level=0)
    document.add_heading("How long it takes", level=1)
    document.add_paragraph("By card", style="List Bullet")
    document.add_paragraph("By bank", style="List Bullet")
    paragraph = document.add_paragraph("It is ")
    paragraph.add_run("free").bold = True
    table = document.add_table(rows=2, cols=2)
    for cell, text in zip(
        (cell for row in table.rows for cell in row.cells), ("Way", "Days", "Card", "5"), strict=True
    ):
        cell.text = text
    [page] = from_docx(made(document))
    assert page.title == "Refunds"
    assert "# How long it takes" in page.text
    assert "- By card\n- By bank" in page.text
    assert "It is **free**" in page.text
    assert "| Card | 5 |" in page.text


def test_pictures_comments_and_hidden_text_are_not_read() -> None:
    """What customers are not to see in Word they do not see here."""
    document = docx.Document()
    document.add_heading("Refunds", level=0)
    paragraph = document.add_paragraph("Within 30 days. ")
    document.add_comment(paragraph.runs, "internal: only if they insist", "Ann", "A")
    run = paragraph.add_run("Secret discount.")
    run._r.get_or_add_rPr().append(OxmlElement("w:vanish"))
    deleted = OxmlElement("w:del")
    run = OxmlElement("w:r")
    text = OxmlElement("w:delText")
    text.text = "Within 60 days."
    run.append(text)
    deleted.append(run)
    paragraph._p.append(deleted)
    assert paragraph._p.tag == qn("w:p")
    [page] = from_docx(made(document))
    assert page.text == "Within 30 days."


def test_text_that_a_style_hides_is_not_read() -> None:
    """A style for notes to colleagues may hide words or whole paragraphs."""
    document = docx.Document()
    document.add_heading("Refunds", level=0)
    for name, kind in (("Note", WD_STYLE_TYPE.CHARACTER), ("Notes", WD_STYLE_TYPE.PARAGRAPH)):
        style: Any = document.styles.add_style(name, kind)
        style.font.hidden = True
    document.add_paragraph("Within 30 days. ").add_run("Secret discount.", style="Note")
    document.add_paragraph("Only if they insist.", style="Notes")
    [page] = from_docx(made(document))
    assert page.text == "Within 30 days."


def test_entities_are_refused() -> None:
    """A document type in any part of the file is refused before it is read."""
    part = b'<!DOCTYPE a [<!ENTITY b "c">]><a>&b;</a>'
    for name in ("word__document_xml", "word__styles_xml", "word__extra_xml"):
        with pytest.raises(UnreadableError, match=r"document type \(DTD\) or entities"):
            from_docx(changed(small(), **{name: part}))


def test_a_file_that_unpacks_to_too_much_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes out of it counts; pictures are not unpacked."""
    monkeypatch.setattr(limits, "DOCX_UNPACKED", 2 * 2**20)
    content = changed(small(), word__media_picture=b"\0" * 5_000_000)
    assert from_docx(content)[0].title == "Refunds"
    with pytest.raises(UnreadableError, match="unpacks to more than 2 MiB"):
        from_docx(changed(small(), word__big_xml=b" " * 5_000_000))


def test_deep_nesting_is_refused() -> None:
    """Elements inside each other without end are refused."""
    with pytest.raises(UnreadableError, match="more than 200 XML elements inside each other"):
        from_docx(changed(small(), word__document_xml=b"<a>" * 300 + b"</a>" * 300))


def test_too_many_elements_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """A document that would take minutes is refused by its number of elements."""
    monkeypatch.setattr(limits, "DOCX_ELEMENTS", 20)
    with pytest.raises(UnreadableError, match="has more than 20 XML elements: split it"):
        from_docx(small())


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "not a ZIP"),
        (b"Hello", "not a ZIP"),
        (b"\xd0\xcf\x11\xe0rest", "is encrypted, or of Word before 2007"),
        (changed(small(), word__document_xml=b"<a/>"), "not a DOCX file, or damaged"),
        (changed(small(), word__document_xml=b"<a>"), "not valid XML"),
        (small()[:2000], "not a ZIP"),
    ],
)
def test_what_is_no_docx_is_named(content: bytes, reason: str) -> None:
    """Other files, encrypted and damaged ones are an error with what to do."""
    with pytest.raises(UnreadableError, match=reason):
        from_docx(content)


def test_a_table_of_contents_is_no_text() -> None:
    """It has the headings once more, with the numbers of pages."""
    document = docx.Document()
    for level in ("TOC Heading", "toc 1", "toc 2"):
        if level not in document.styles:
            document.styles.add_style(level, WD_STYLE_TYPE.PARAGRAPH)
        document.add_paragraph(f"Listed as {level}\t12", style=level)
    document.add_paragraph("Within 30 days.")
    [page] = from_docx(made(document))
    assert page.text == "Within 30 days."

"""Which source an address names."""

import sys
from pathlib import Path

import docx
import pytest
from fpdf import FPDF

from graph.errors import KnowledgeError
from graph.retrieval.sources.folder import Folder
from graph.retrieval.sources.opening import open_source
from harness.sourcing import COMPANY, read


def test_a_folder_of_pdf_docx_and_csv_loads_with_one_call(tmp_path: Path) -> None:
    """All three kinds of file in a tree are articles."""
    folder = tmp_path / "help"
    (folder / "paying").mkdir(parents=True)
    document = docx.Document()
    document.add_heading("Refunds", level=0)
    document.add_paragraph("Within 30 days.")
    document.save(str(folder / "paying" / "refunds.docx"))
    pdf = FPDF()
    pdf.add_page()
    pdf.set_font("Helvetica", size=24)
    pdf.multi_cell(0, text="Delivery", new_x="LMARGIN", new_y="NEXT")
    pdf.set_font("Helvetica", size=11)
    pdf.multi_cell(0, text="A parcel takes two days, wherever you live.", new_x="LMARGIN", new_y="NEXT")
    pdf.output(str(folder / "delivery.pdf"))
    (folder / "faq.csv").write_text("question,answer\nWhere are you?,In Leeds.\nWhen are you open?,From 9 to 5.\n")
    found = read(str(folder))
    assert {document.title: document.text for document in found.documents.values()} == {
        "Refunds": "Within 30 days.",
        "Delivery": "A parcel takes two days, wherever you live.",
        "Where are you?": "In Leeds.",
        "When are you open?": "From 9 to 5.",
    }
    assert not found.faults


def test_a_folder_without_zendesk_pages_is_a_folder(tmp_path: Path) -> None:
    """A file that happens to be called articles.json changes nothing."""
    (tmp_path / "articles.json").write_text('{"articles": ["a"]}')
    assert isinstance(open_source(str(tmp_path), COMPANY), Folder)


@pytest.mark.parametrize("name", ["help.xlsx", "missing.zip", "https:/help.example", "ftp://a:s3cret@host/x"])
def test_anything_else_is_an_error_that_names_the_kinds(tmp_path: Path, name: str) -> None:
    """The error names what can be read, and no password."""
    (tmp_path / "help.xlsx").touch()
    address = str(tmp_path / name) if "/" not in name else name
    with pytest.raises(KnowledgeError, match=r"it must be a folder, an export .* or a site") as raised:
        open_source(address, COMPANY)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize("missing", ["protego", "defusedxml"])
def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch, missing: str) -> None:
    """Where the extra is not installed, the error says how to install it."""
    for name in list(sys.modules):
        if name.startswith("graph.retrieval.sources.") or name.partition(".")[0] == missing:
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(KnowledgeError, match=r"needs the extra 'sources'.*EXTRAS=sources"):
        open_source("https://help.example", COMPANY)

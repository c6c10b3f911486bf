"""Notion's exports."""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from graph.errors import KnowledgeError
from graph.retrieval.sources import limits
from harness.sourcing import COMPANY, read

REFUNDS, HOURS, FAQ = ("0" * 31 + number for number in "123")

MARKDOWN = {
    f"Help {FAQ}.md": f"# Help\n\n[Refunds](Help%20{FAQ}/Refunds%20{REFUNDS}.md)\n",
    f"Help {FAQ}/Refunds {REFUNDS}.md": (
        f"# Refunds\n\nWithin 30 days, see [hours](../Hours%20{HOURS}.md), "
        f"[more](https://www.notion.so/Hours-{HOURS}?pvs=21) and [gone](Gone%20{'9' * 32}.md).\n"
    ),
    f"Hours {HOURS}.md": "# Opening hours\n\nFrom 9 to 5.\n",
    "picture.png": "not read",
    "__MACOSX/._Hours.md": "not read",
}


def packed(files: Mapping[str, str | bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where an export is."""
    return tmp_path / "Export-1234.zip"


def test_markdown_loads_as_it_is_exported(path: Path) -> None:
    """Pages have the ids of Notion; their links become public addresses, or text where nothing is public."""
    path.write_bytes(packed(MARKDOWN))
    found = read(str(path), company=replace(COMPANY, url="https://northwind.notion.site/{id}"))
    assert found.documents.keys() == {REFUNDS, HOURS, FAQ}
    refunds = found.documents[REFUNDS]
    address = f"https://northwind.notion.site/{HOURS}"
    assert (refunds.title, refunds.url) == ("Refunds", f"https://northwind.notion.site/{REFUNDS}")
    assert refunds.text == f"Within 30 days, see [hours]({address}), [more]({address}) and gone."
    assert refunds.labels == {"folder": ("Help",)}
    assert not found.faults
    without = read(str(path))
    assert without.documents[REFUNDS].text == "Within 30 days, see hours, more and gone."
    assert read(str(path), without.revisions).unchanged == {REFUNDS, HOURS, FAQ}


def test_patterns_of_paths_are_without_ids(path: Path) -> None:
    """What lies below a page in Notion is left out by that page's name."""
    path.write_bytes(packed(MARKDOWN))
    assert read(str(path), company=replace(COMPANY, leave_out={"path": ("Help",)})).documents.keys() == {HOURS}


def test_archives_in_the_archive_are_read(path: Path) -> None:
    """Notion packs big exports into parts."""
    names = sorted(MARKDOWN)
    parts = [packed({name: MARKDOWN[name] for name in names[:2]}), packed({name: MARKDOWN[name] for name in names[2:]})]
    path.write_bytes(packed({f"ExportBlock-Part-{number}.zip": part for number, part in enumerate(parts, 1)}))
    assert read(str(path)).documents.keys() == {REFUNDS, HOURS, FAQ}


def test_html_loads_as_it_is_exported(path: Path) -> None:
    """Title, text and properties of an HTML page are told apart."""
    page = (
        '<html><head><title>Refunds</title><style>p{}</style></head><body><article id="x" class="page sans"><header>'
        '<h1 class="page-title">Refunds</h1><p class="page-description"></p><table class="properties"><tbody>'
        '<tr class="property-row"><th><span>Tags</span></th><td><span>money</span>, <span>card</span></td></tr></tbody>'
        f'</table></header><div class="page-body"><p>See <a href="Hours%20{HOURS}.html">hours</a>.</p></div></article>'
    )
    hours = (
        page.replace("Refunds", "Hours")
        .replace("Tags", "Status")
        .replace("money", "Draft")
        .replace(", <span>card</span>", "")
    )
    path.write_bytes(packed({f"Refunds {REFUNDS}.html": page, f"Hours {HOURS}.html": hours}))
    found = read(str(path))
    [refunds] = found.documents.values()
    assert (refunds.title, refunds.text, refunds.labels) == ("Refunds", "See hours.", {"tags": ("money", "card")})
    assert len(found.withheld) == 1


def test_a_database_is_read_by_its_pages(path: Path) -> None:
    """Their first lines are properties, which may hold the text or say what is a draft; the table is not read."""
    folder = f"FAQ {FAQ}"
    table = "Name,Tags,Status,Answer\nRefunds,money,Done,\nHours,,Draft,\nWhere?,,,Here.\n"
    path.write_bytes(
        packed(
            {
                f"{folder}.csv": table,
                f"{folder}_all.csv": table,
                f"{folder}/Refunds {REFUNDS}.md": "# Refunds\n\nTags: money\nStatus: Done\n\nNote: within 30 days.\n",
                f"{folder}/Hours {HOURS}.md": "# Hours\n\nStatus: Draft\n\nFrom 9 to 5.\n",
                f"{folder}/Where {'4' * 32}.md": "# Where?\n\nAnswer: Here.\n",
            }
        )
    )
    found = read(str(path))
    assert {document.title: document.text for document in found.documents.values()} == {
        "Refunds": "Note: within 30 days.",
        "Where?": "Here.",
    }
    assert found.documents[REFUNDS].labels == {"tags": ("money",), "folder": ("FAQ",)}
    assert (len(found.withheld), found.faults) == (1, [])


def test_a_table_without_pages_is_read_by_rows(path: Path) -> None:
    """An export without subpages has questions and answers in its table; another table is named."""
    table = "Name,Answer\nWhere?,Here.\nWhen?,Now.\n"
    path.write_bytes(
        packed({f"FAQ {FAQ}.csv": table, f"FAQ {FAQ}_all.csv": table, f"Tasks {HOURS}.csv": "Name,Due\nx,y\n"})
    )
    found = read(str(path))
    assert {document.title: document.text for document in found.documents.values()} == {
        "Where?": "Here.",
        "When?": "Now.",
    }
    assert all(name.startswith(f"{FAQ}-") for name in found.documents)
    assert "it names 'name', 'due'" in found.fault


def test_an_archive_that_unpacks_to_too_much_is_cut_off(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What comes out counts, for a file and for all; what was read before stays."""
    monkeypatch.setattr(limits, "PAGE", 100_000)
    monkeypatch.setattr(limits, "UNPACKED", 300_000)
    long = "# Long\n\n" + "a" * 150_000
    path.write_bytes(packed({**MARKDOWN, **{f"Long {number}.md": long for number in range(4)}}))
    found = read(str(path))
    assert found.documents.keys() == {REFUNDS, HOURS, FAQ}
    reasons = [fault.reason for fault in found.faults]
    assert reasons[:2] == ["is longer than 100,000 bytes, unpacked"] * 2
    assert reasons[-1] == "unpacks to more than 300,000 bytes; 3 files of it are read"


def test_archives_in_archives_are_bounded(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither their depth nor their size is without end."""
    inner = packed(MARKDOWN)
    for _ in range(4):
        inner = packed({"Part.zip": inner})
    path.write_bytes(inner)
    assert "more than 3 ZIP archives inside each other" in read(str(path)).fault
    monkeypatch.setattr(limits, "NESTED_SIZE", 100)
    path.write_bytes(packed({**MARKDOWN, "Part.zip": packed(MARKDOWN)}))
    assert "the archives in it unpack to more than 100 bytes; 3 files of it are read" in read(str(path)).fault


def test_names_that_lead_out_of_the_archive_are_refused(path: Path) -> None:
    """They are named, nothing is written, and the rest is read."""
    names = ["../out.md", "/etc/out.md", "a/../../out.md", "..\\out.md", "C:/out.md"]
    path.write_bytes(packed({**MARKDOWN, **dict.fromkeys(names, "# Out\n\nText.")}))
    found = read(str(path))
    assert found.documents.keys() == {REFUNDS, HOURS, FAQ}
    assert [fault.reason for fault in found.faults] == ["has a name that leads out of the archive"] * len(names)
    assert list(path.parent.iterdir()) == [path, path.parent / "cwd"] or not (path.parent.parent / "out.md").exists()


def test_encrypted_damaged_and_unusual_files_are_named(path: Path) -> None:
    """One bad file does not cost the others."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in MARKDOWN.items():
            archive.writestr(name, content)
        archive.writestr("bzip.md", "# A\n\nB.", zipfile.ZIP_BZIP2)
        archive.writestr("damaged.md", "# A\n\nunique words here", zipfile.ZIP_STORED)
        archive.writestr("locked.md", "# A\n\nB.")
    content = bytearray(buffer.getvalue().replace(b"unique words", b"uniqve words"))
    content[content.rindex(b"locked.md") - 46 + 8] |= 1  # the flag of an encrypted entry, in the directory
    path.write_bytes(content)
    found = read(str(path))
    assert found.documents.keys() == {REFUNDS, HOURS, FAQ}
    reasons = {fault.where.rpartition(" ")[2]: fault.reason.partition(":")[0] for fault in found.faults}
    assert reasons == {
        "bzip.md": "is packed in an unusual way",
        "damaged.md": "is damaged in the archive",
        "locked.md": "is encrypted",
    }


@pytest.mark.parametrize("content", [b"", b"Hello", packed(MARKDOWN)[:-30]])
def test_what_is_no_archive_is_an_error(path: Path, content: bytes) -> None:
    """The error names the file."""
    path.write_bytes(content)
    with pytest.raises(KnowledgeError, match=r"Export-1234\.zip: "):
        read(str(path))


def test_too_many_files_are_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory of an archive is bounded, also before it is read."""
    path.write_bytes(packed({f"{number}.md": "# A" for number in range(20)}))
    monkeypatch.setattr(limits, "ARCHIVE_FILES", 10)
    with pytest.raises(KnowledgeError, match="more than 10 files"):
        read(str(path))
    monkeypatch.setattr(limits, "ARCHIVE_FILES", 1)
    with pytest.raises(KnowledgeError, match="more than 1 files"):
        read(str(path))

"""The limits that docs/help-centres.md states."""

from conftest import REPOSITORY
from graph.retrieval.sources import limits

MIB = 2**20


def test_the_documents_state_the_limits() -> None:
    """Each limit that an operator may meet is there with its number."""
    stated = (REPOSITORY / "docs/help-centres.md").read_text()
    for row in (
        f"| JSON, PDF, DOCX or CSV file | {limits.FILE // MIB} MiB |",
        f"| pages of a PDF; time to read it | {limits.PDF_PAGES:,}; {limits.PDF_SECONDS} seconds |",
        f"| DOCX, unpacked without pictures | {limits.DOCX_UNPACKED // MIB} MiB |",
        f"| rows of a CSV file; characters in a cell | {limits.ROWS:,}; {limits.CELL:,} |",
        f"| files in a ZIP archive | {limits.ARCHIVE_FILES:,} |",
        f"together, unpacked; archives in it | {limits.UNPACKED // MIB} MiB; {limits.NESTED_SIZE // MIB // 1024} GiB |",
        f"| ZIP archives inside each other | {limits.NESTED} |",
        f"| page of an archive or site, unpacked | {limits.PAGE // MIB} MiB |",
        f"| pages of a site; sitemaps | {limits.SITE_PAGES:,}; {limits.SITEMAPS} |",
        f"| sitemap, unpacked | {limits.SITEMAP // MIB} MiB |",
        f"| robots.txt | {limits.ROBOTS // 1024} KiB |",
        f"| XML elements of a DOCX; inside each other | {limits.DOCX_ELEMENTS:,}; {limits.XML_DEPTH} |",
        f"request; for a whole site | {limits.REQUEST_SECONDS} seconds; {limits.SITE_SECONDS // 3600} hour |",
        f"| redirects, one after the other | {limits.REDIRECTS} |",
        f"| wait that a site may ask for | {limits.WAIT_SECONDS} seconds |",
    ):
        assert row in stated

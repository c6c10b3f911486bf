"""How a source is opened, by its address in SUPPORT_KNOWLEDGE."""

import re
from pathlib import Path

from graph.address import without_password
from graph.errors import KnowledgeError
from graph.retrieval.company import Company
from graph.retrieval.sources import Source
from graph.retrieval.sources.exported import Exported
from graph.retrieval.sources.folder import Folder
from graph.retrieval.sources.notion import Notion
from graph.retrieval.sources.parsers import NEEDS_EXTRA
from graph.retrieval.sources.zendesk import Zendesk, is_zendesk

_KINDS = (
    "a folder, an export (.json of Zendesk, Intercom, Freshdesk or another product, .zip of Notion), "
    "or a site (the http(s) address of a sitemap.xml or of a list of addresses, or the list as a .txt file)"
)


def open_source(address: str, company: Company) -> Source:
    """Return what reads a source: a folder, an export or a site; raises KnowledgeError if it is none of them."""
    if re.match(r"https?://", address, re.IGNORECASE):
        return _site(address, company)
    path = Path(address)
    named = f"SUPPORT_KNOWLEDGE: {without_password(address)!r}"
    if path.is_dir():
        return Zendesk(path, company) if is_zendesk(path) else Folder(path, company)
    if not path.exists():
        raise KnowledgeError(f"{named} does not exist; it must be {_KINDS}")
    match path.suffix.lower():
        case ".zip":
            return Notion(path, company)
        case ".json":
            return Zendesk(path, company) if is_zendesk(path) else Exported(path, company)
        case ".txt":
            return _site(address, company, path)
        case _:
            raise KnowledgeError(f"{named} is of no kind that can be read; it must be {_KINDS}")


def _site(address: str, company: Company, path: Path | None = None) -> Source:
    try:
        from graph.retrieval.sources.site import Site, open_list
    except ModuleNotFoundError as error:
        raise KnowledgeError(f"SUPPORT_KNOWLEDGE: a web site {NEEDS_EXTRA}") from error
    return open_list(path, company) if path else Site(address, company)

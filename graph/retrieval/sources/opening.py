"""How a source is opened, by its address in SUPPORT_KNOWLEDGE."""

from pathlib import Path

from graph.errors import KnowledgeError
from graph.retrieval.company import Company
from graph.retrieval.sources import Source
from graph.retrieval.sources.folder import Folder


def open_source(address: str, company: Company) -> Source:
    """Return the source at this address; raises KnowledgeError if nothing reads such a one."""
    if not Path(address).is_dir():
        raise KnowledgeError(f"SUPPORT_KNOWLEDGE: {address!r} is not a folder")
    return Folder(Path(address), company)

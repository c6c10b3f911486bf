"""Folders of articles, as site generators have them, and what is read of them."""

from collections.abc import Mapping
from pathlib import Path

from graph.retrieval.company import Company, Desk
from graph.retrieval.sources import Document, LeftOut
from graph.retrieval.sources.folder import Folder


def company(**fields: object) -> Company:
    """Return a company with one desk."""
    return Company("Example", (Desk("general"),), **fields)  # pyright: ignore[reportArgumentType] - whatever a test names


def write(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files below a folder."""
    for name, content in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def read(root: Path, **fields: object) -> tuple[dict[str, Document], dict[str, LeftOut]]:
    """Return the documents by id, and what is left out by its path and line."""
    documents: dict[str, Document] = {}
    left_out: dict[str, LeftOut] = {}
    for change in Folder(root, company(**fields)).changes({}):
        if isinstance(change, Document):
            documents[change.id] = change
        elif isinstance(change, LeftOut):
            left_out[change.where.removeprefix(f"{root}/")] = change
    return documents, left_out

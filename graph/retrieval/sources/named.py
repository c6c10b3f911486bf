"""The sources as SUPPORT_KNOWLEDGE names them."""

import re
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path
from urllib.parse import urlsplit

from graph.errors import KnowledgeError


def require_existing(source: str, sources: Sequence[str]) -> None:
    """Raise KnowledgeError for a source that does not exist, such as a part of a path with a comma."""
    if is_address(source) or Path(source).exists():
        return
    for start, end in combinations(range(len(sources) + 1), 2):
        some = sources[start:end]
        for path in (",".join(some), ", ".join(some)):
            if source in some and Path(path).exists():
                raise KnowledgeError(
                    f"SUPPORT_KNOWLEDGE: {path!r} has a comma, which separates sources; rename it, or name a link to it"
                )
    raise KnowledgeError(f"SUPPORT_KNOWLEDGE: there is no file or folder {source!r}")


def named_apart(sources: Sequence[str]) -> Iterator[tuple[str, str | None]]:
    """Yield each source with what the ids of its articles begin with; None for one that was there before.

    The first source's ids stay as they are, and those of another begin with its name. So no article's id depends on
    which other articles there are.
    """
    seen: set[str] = set()
    names: set[str] = set()
    for source in sources:
        place = source if is_address(source) else str(Path(source).resolve())
        if place in seen:
            yield source, None
            continue
        name = first = _name(source)
        while name in names:
            name = f"{first}-{len(names) + 1}"
        yield source, f"{name}:" if seen else ""
        seen.add(place)
        names.add(name)


def export_in(source: str) -> str | None:
    """Return an export that lies in a folder, whose reader would have to be given the file itself."""
    folder = Path(source)
    found = sorted(str(path) for kind in ("*.json", "*.zip") for path in folder.glob(kind)) if folder.is_dir() else []
    return found[0] if found else None


def is_site(source: str) -> bool:
    """Return whether a source is a site, by its address or as a list of addresses."""
    return is_address(source) or (source.lower().endswith(".txt") and not Path(source).is_dir())


def is_address(source: str) -> bool:
    """Return whether a source is an address of the web."""
    return source.lower().startswith(("http://", "https://"))


def _name(source: str) -> str:
    """Return a source's name: its host, or the last part of its path."""
    name = urlsplit(source).hostname if is_address(source) else Path(source).resolve().stem
    return re.sub(r"[^a-z0-9]+", "-", (name or "").lower()).strip("-") or "source"

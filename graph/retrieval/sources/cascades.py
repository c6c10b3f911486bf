"""Hugo's cascades: fields that the page of a section (`_index.md`) gives to itself and to all pages below it."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from graph.retrieval.sources.front_matter import field
from graph.retrieval.sources.globs import globs, is_match
from graph.retrieval.sources.languages import language_of_name
from graph.retrieval.sources.tree import File

_ABOVE_CONTENT = 3  # folders that the content may lie in: Hugo's paths begin at it, and a folder's may not


class Cascades:
    """The fields that pages get from the sections that they are in."""

    def __init__(self) -> None:
        self._given: dict[tuple[str, str | None], list[Mapping[str, object]]] = {}

    def add(self, file: File, pages: Sequence[Mapping[str, object]]) -> None:
        """Note what the fields of a file's pages give to those below it."""
        stem, language = language_of_name(file.place.stem)
        cascade = field(pages[0], "cascade") if stem == "_index" and pages else None
        if cascade:
            some = cast("list[object]", cascade) if isinstance(cascade, list) else [cascade]
            found = [cast("Mapping[str, object]", each) for each in some if isinstance(each, Mapping)]
            self._given["/".join(file.folders), language] = found

    def fields(self, file: File) -> dict[str, object]:
        """Return what a page gets; what a nearer section says counts."""
        found: dict[str, object] = {}
        language = language_of_name(file.place.stem)[1]
        for depth in range(len(file.folders) + 1 if self._given else 0):
            for given in self._given.get(("/".join(file.folders[:depth]), language), []):
                if _is_for(given, file):
                    found |= {name: value for name, value in given.items() if name not in ("target", "_target")}
        return found


def _is_for(given: Mapping[str, object], file: File) -> bool:
    target = field(given, "target") or field(given, "_target")
    if not isinstance(target, Mapping):
        return True
    wanted = {str(name).lower(): str(value) for name, value in cast("Mapping[object, object]", target).items()}
    is_section = language_of_name(file.place.stem)[0] == "_index"
    if (kind := wanted.get("kind")) and is_section != (kind != "page"):
        return False
    if not is_match(globs(wanted.get("environment", "**").lower()), "production"):
        return False
    patterns = globs(wanted.get("path", "**").lower())
    return any(is_match(patterns, path) for path in _paths(file))


def _paths(file: File) -> Iterator[str]:
    """Yield what may be a page's path in Hugo."""
    stem = language_of_name(file.place.stem)[0]
    parts = [*file.folders, stem]
    if re.fullmatch(r"_?index", stem):
        parts.pop()
    for start in range(min(_ABOVE_CONTENT + 1, max(1, len(parts)))):
        yield "/".join(parts[start:]).lower()

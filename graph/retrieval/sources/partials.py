"""The files that an article includes, when they lie inside the folder."""

import re
from collections.abc import Iterator
from pathlib import Path
from posixpath import normpath

from graph.retrieval.sources import LeftOut, UnreadableError
from graph.retrieval.sources.decoding import decode
from graph.retrieval.sources.parsers import MAX_BYTES
from graph.retrieval.sources.tree import File

_FOLDERS = ("", "_includes", "_partials", "_snippets", "snippets", "partials", "content")


def missing(target: str, file: File, source: str) -> LeftOut:
    """Return the fault of a file, whose own text is `source`, that includes what is not there or can't be read."""
    line = source.count("\n", 0, max(source.find(target), 0)) + 1
    reason = f"includes {target!r}, which is no text file in the folder: add it, or name a folder that holds both"
    return LeftOut(f"{file.path}:{line}", reason, is_fault=True)


class Partials:
    """Finds what the articles of a folder include."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self._found: dict[tuple[tuple[str, ...], str], str | None] = {}

    def find(self, target: str, file: File) -> str | None:
        """Return the text that a file includes as `target`, which is read once; None if there is none."""
        key = file.folders, target
        if key not in self._found:
            self._found[key] = self._read(target, file)
        return self._found[key]

    def _read(self, target: str, file: File) -> str | None:
        for candidate in dict.fromkeys(self._candidates(target, file)):
            place = self._root / candidate
            if place.is_file() and place.resolve().is_relative_to(self._root) and place.stat().st_size <= MAX_BYTES:
                try:
                    return decode(place.read_bytes())
                except (OSError, UnreadableError):
                    break
        return None

    def _candidates(self, target: str, file: File) -> Iterator[str]:
        """Yield where the file may be: beside the article, or in a folder for such files from there up to the root."""
        target = re.sub(r"^(?:@site|@|~)/", "/", target)
        names = (
            [target] if re.search(r"\.\w+$", target) else [target, f"{target}.md", f"{target}.mdx", f"{target}.html"]
        )
        folders = [file.folders[:length] for length in range(len(file.folders), -1, -1)]
        for name in names:
            for folder in folders:
                for beside in _FOLDERS:
                    candidate = normpath("/".join((*folder, beside, name.lstrip("/"))))
                    if not candidate.startswith(".."):
                        yield candidate.removeprefix("/")

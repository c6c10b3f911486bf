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


class Partials:
    """Finds what the articles of a folder include."""

    def __init__(self, root: Path) -> None:
        self._root = root.resolve()
        self.missing: list[LeftOut] = []
        """What articles include that is not in the folder, or can't be read."""

    def find(self, target: str, file: File, source: str) -> str | None:
        """Return the text that `file`, whose own text is `source`, includes as `target`; None if there is none."""
        for candidate in dict.fromkeys(self._candidates(target, file)):
            place = self._root / candidate
            if place.is_file() and place.resolve().is_relative_to(self._root) and place.stat().st_size <= MAX_BYTES:
                try:
                    return decode(place.read_bytes())
                except (OSError, UnreadableError):
                    break
        line = source.count("\n", 0, max(source.find(target), 0)) + 1
        reason = f"includes {target!r}, which is no text file in the folder: add it, or name a folder that holds both"
        self.missing.append(LeftOut(f"{file.path}:{line}", reason, is_fault=True))
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

"""A folder of Markdown files, nested."""

import hashlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import yaml

from graph.retrieval.company import Company
from graph.retrieval.sources import Change, Document, LeftOut

_FRONT_MATTER = re.compile(r"---\r?\n(.*?\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)


class Folder:
    """The Markdown files below a folder."""

    def __init__(self, folder: Path, _: Company) -> None:
        self._folder = folder

    def changes(self, known: Mapping[str, str]) -> Iterator[Change]:  # noqa: ARG002 - all is read each time
        """Yield every article."""
        for path in sorted(self._folder.rglob("*.md")):
            if not any(part.startswith(".") for part in path.relative_to(self._folder).parts):
                yield self._read(path)

    def _read(self, path: Path) -> Change:
        try:
            content = path.read_bytes()
            text = content.decode("utf-8-sig")
        except OSError as error:
            return LeftOut(str(path), f"can't be read ({error.strerror})", is_fault=True)
        except UnicodeDecodeError as error:
            line = error.object.count(b"\n", 0, error.start) + 1
            return LeftOut(f"{path}:{line}", "not valid UTF-8; save it as UTF-8", is_fault=True)
        match = _FRONT_MATTER.match(text)
        try:
            found: Any = yaml.safe_load(match[1]) if match else {}
        except yaml.YAMLError as error:
            mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
            return LeftOut(
                f"{path}:{mark.line + 2 if mark else 1}", "front matter that is not valid YAML", is_fault=True
            )
        fields = cast("dict[str, Any]", found) if isinstance(found, dict) else {}
        if fields.get("draft") or fields.get("published") is False:
            return LeftOut(str(path), "a draft", is_fault=False)
        text = (text[match.end() :] if match else text).replace("\r\n", "\n").strip()
        heading = re.match(r"# (.+)\n", text)
        title = fields.get("title") or (heading and heading[1]) or path.stem
        if not text:
            return LeftOut(str(path), "no text", is_fault=True)
        return Document(
            id=path.relative_to(self._folder).with_suffix("").as_posix(),
            title=str(title),
            text=text,
            revision=hashlib.sha256(content).hexdigest(),
            labels={"category": (str(fields["category"]),)} if "category" in fields else {},
        )

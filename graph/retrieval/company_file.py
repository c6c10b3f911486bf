"""The YAML of a company.yaml, as nodes that know their lines."""

from pathlib import Path
from typing import Any, cast

import yaml

from graph.errors import KnowledgeError

_MOST_BYTES = 200_000


def read_yaml(path: Path) -> tuple[str, yaml.Node | None]:
    """Return the text of a file and its root node; raises KnowledgeError, which names the line."""
    source = _text_of(path)
    try:
        return source, yaml.compose(source, _Loader)
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        line = line_of(source, mark.index if mark else getattr(error, "position", 0))
        what = (
            str(error.problem)
            if isinstance(error, _AliasError)
            else "not valid YAML; indent with spaces, not with tabs"
            if source.split("\n")[line - 1].startswith("\t")
            else "not valid YAML; put a text with : # * @ ? or brackets in quotation marks"
        )
        raise KnowledgeError(f"{path}:{line}: {what}") from error
    except RecursionError as error:
        raise KnowledgeError(f"{path}:1: nested too deeply; a company.yaml has five levels at most") from error


class _AliasError(yaml.MarkedYAMLError):
    pass


class _Loader(yaml.SafeLoader):
    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        if self.check_event(yaml.AliasEvent):
            event = cast("Any", self.peek_event())
            what = f"*{event.anchor}: put it in quotation marks, or repeat the value if it is meant as an alias"
            raise _AliasError(problem=what, problem_mark=event.start_mark)
        return super().compose_node(parent, index)


def _text_of(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MOST_BYTES + 1)
    except OSError as error:
        raise KnowledgeError(f"{path}: can't be read ({error.strerror})") from error
    if len(content) > _MOST_BYTES:
        raise KnowledgeError(f"{path}: is larger than {_MOST_BYTES:,} bytes, which a company.yaml never needs")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise KnowledgeError(f"{path}:{line}: not valid UTF-8; save the file as UTF-8") from error


def line_of(source: str, position: int) -> int:
    """Return the number of the line that a place of a text is in."""
    # YAML also counts U+0085, U+2028 and U+2029 as line ends, but editors do not.
    return 1 + source.count("\n", 0, position)

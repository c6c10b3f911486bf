"""Settings of site generators: YAML, TOML and JSON within limits; of programs only lists of texts, which never run."""

import ast
import json
import re
import tomllib
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path
from typing import Any, cast

import yaml

from graph.retrieval.sources import UnreadableError
from graph.retrieval.sources.front_matter import MAX_DEPTH

MAX_BYTES = 2**20
"""Longer files of settings are not read."""
_MOST = 1_000  # parts of a list in a script


def _nothing(*_: object) -> None:
    """Stand for what is not looked for."""


# Merged mappings (`<<: *name`) can make little YAML endless, and nothing that is looked for needs them.
_LOADER: Any = type("_Loader", (getattr(yaml, "CSafeLoader", yaml.SafeLoader),), {"flatten_mapping": _nothing})
_LOADER.add_multi_constructor("", _nothing)  # `!!python/name:…`, `!ENV …`

_TOKEN = re.compile(  # what has no end goes to that of its line or of the text, or each start would be looked at anew
    r"""(?://[^\n]*|/\*(?:.*?\*/|.*)|\s+)|("(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.)*'?|`(?:[^`\\]|\\.)*`?|[\w$]+|.)""",
    re.DOTALL,
)


def read_settings(path: Path) -> dict[str, object]:
    """Return the settings in a file; raises UnreadableError."""
    text = _text(path)
    try:
        match path.suffix.lower():
            case ".toml":
                found: object = tomllib.loads(text)
            case ".json":
                found = json.loads(text)
            case _:
                _check_depth(text)
                found = yaml.load(text, _LOADER)  # noqa: S506 - made of the safe one
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise UnreadableError("is not valid") from error
    return (
        {str(name): value for name, value in cast("dict[object, object]", found or {}).items()}
        if _is_map(found)
        else {}
    )


def lists_in_script(path: Path, name: str) -> Iterator[list[str]]:
    """Yield the lists of literal texts that JavaScript or TypeScript has as `name: […]`; raises UnreadableError."""
    for parts in _values(path, name):
        texts = [part for part in takewhile(lambda part: part != "]", parts) if part not in ("[", ",")]
        if parts[:1] == ["["] and "]" in parts and all(map(_is_literal, texts)):
            yield [_literal(text) for text in texts]


def texts_in_script(path: Path, name: str) -> list[str]:
    """Return the literal texts that a JavaScript or TypeScript file has as `name: "…"`; raises UnreadableError."""
    return [_literal(parts[0]) for parts in _values(path, name) if parts and _is_literal(parts[0])]


def _values(path: Path, name: str) -> Iterator[list[str]]:
    """Yield the tokens that follow on `name:`, up to _MOST of them."""
    tokens = [token for token in _TOKEN.findall(_text(path)) if token]
    for at, token in enumerate(tokens[:-1]):
        if tokens[at + 1] == ":" and _literal(token) == name:
            yield tokens[at + 2 : at + 2 + _MOST]


def list_in_python(path: Path, name: str) -> list[str]:
    """Return the literal texts of the lists that a Python file assigns or adds to a name; raises UnreadableError."""
    found: list[str] = []
    try:
        for line in ast.parse(_text(path)).body:
            targets = line.targets if isinstance(line, ast.Assign) else [getattr(line, "target", None)]
            value = getattr(line, "value", None)
            if value is not None and any(isinstance(each, ast.Name) and each.id == name for each in targets):
                found = found if isinstance(line, ast.AugAssign) else []
                elements: list[ast.expr] = getattr(value, "elts", [])
                found += [
                    each.value for each in elements if isinstance(each, ast.Constant) and isinstance(each.value, str)
                ]
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UnreadableError("is not valid") from error
    return found


def _text(path: Path) -> str:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UnreadableError(f"is longer than {MAX_BYTES // 2**20} MiB")
        return path.read_bytes().decode("utf-8-sig", "replace")
    except OSError as error:
        raise UnreadableError(f"can't be read ({error.strerror})") from error


def _check_depth(text: str) -> None:
    """Refuse deep nesting, which crashes the loader of libyaml."""
    depth = 0
    for event in yaml.parse(text, _LOADER):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise UnreadableError(f"is nested more than {MAX_DEPTH} deep")


def _is_map(found: object) -> bool:
    return isinstance(found, dict)


def _is_literal(token: str) -> bool:
    return token[0] in "\"'`" and "${" not in token


def _literal(token: str) -> str:
    return re.sub(r"\\(.)", r"\1", token[1:-1]) if token[0] in "\"'`" else token

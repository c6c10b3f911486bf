"""Settings of site generators: YAML, TOML and JSON within limits; of programs only lists of texts, which never run."""

import ast
import json
import re
import tomllib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import yaml

from graph.retrieval.sources import UnreadableError
from graph.retrieval.sources.front_matter import MAX_DEPTH

MAX_BYTES = 2**18
"""Longer files of settings are not read."""


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


@dataclass(slots=True)
class ScriptObject:
    """An object in JavaScript or TypeScript: what of it are literal texts, and lists of them."""

    name: str
    """What it is the value of; empty if that is unknown."""
    texts: dict[str, str] = field(default_factory=dict[str, str])
    lists: dict[str, list[str]] = field(default_factory=dict[str, list[str]])


def objects_in_script(path: Path) -> list[ScriptObject]:
    """Return what looks like objects in a JavaScript or TypeScript file; raises UnreadableError."""
    tokens = [token for token in _TOKEN.findall(_text(path)) if token]
    found = [ScriptObject("")]
    open_ = found[:]
    for at, mark in enumerate(tokens):
        is_value = at >= 2 and tokens[at - 1] == ":"
        name = _literal(tokens[at - 2]) if is_value else ""
        if mark == "{":
            open_.append(ScriptObject(name))
            found.append(open_[-1])
        elif mark == "}" and len(open_) > 1:
            open_.pop()
        elif is_value and _is_literal(mark):
            open_[-1].texts[name] = _literal(mark)
        elif is_value and mark == "[":
            end = next((end for end in range(at + 1, len(tokens)) if tokens[end] in "[]"), at)
            texts = [text for text in tokens[at + 1 : end] if text != ","]
            if end > at and tokens[end] == "]" and all(map(_is_literal, texts)):
                open_[-1].lists[name] = [_literal(text) for text in texts]
    return found


def list_in_python(path: Path, name: str) -> list[str]:
    """Return the literal texts of the lists that a Python file assigns or adds to a name; raises UnreadableError."""
    found: list[str] = []
    if name not in (text := _text(path)):  # many a file is called the same
        return found
    try:
        for line in ast.parse(text).body:
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
            raise UnreadableError(f"is longer than {MAX_BYTES // 2**10} KiB")
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

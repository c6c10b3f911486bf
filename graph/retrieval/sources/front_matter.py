"""Front matter: YAML between lines of `---`, TOML between lines of `+++`, or a JSON object."""

import json
import re
import tomllib
from collections.abc import Mapping
from typing import Any, cast

import yaml

from graph.retrieval.sources import UnreadableError

MAX_CHARACTERS = 65_536
"""Longer front matter is refused."""
MAX_DEPTH = 20
"""Lists and mappings inside each other."""

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_FENCES = {
    "---": re.compile(r"^(?:---|\.\.\.)[ \t]*$", re.MULTILINE),
    "+++": re.compile(r"^\+\+\+[ \t]*$", re.MULTILINE),
}


def split_front_matter(text: str) -> tuple[dict[str, object], str]:
    """Return the fields and the text below them; raises UnreadableError.

    Dates are texts, as ISO 8601 has them. Without front matter there are no fields.
    """
    opening = re.match(r"(---|\+\+\+)[ \t]*\n", text)
    if opening:
        closing = _FENCES[opening[1]].search(text, opening.end())
        if closing is None:
            raise UnreadableError(f"its front matter has no end: add a line of {opening[1]} below it", 1)
        source = text[opening.end() : closing.start()]
        _check_size(source)
        return _fields(_toml(source) if opening[1] == "+++" else _yaml(source)), text[closing.end() :].lstrip("\n")
    if re.match(r"\{\s*\"", text):
        return _json(text)
    return {}, text


def _check_size(source: str) -> None:
    if len(source) > MAX_CHARACTERS:
        raise UnreadableError(f"its front matter is longer than {MAX_CHARACTERS:,} characters", 1)


def _yaml(source: str) -> object:
    try:
        _check_events(source)
        return yaml.load(source, _LOADER) or {}  # noqa: S506 - both loaders are the safe ones
    except yaml.YAMLError as error:
        reason = "its front matter is not valid YAML: quote texts that have a colon"
        raise UnreadableError(reason, _line(error, source)) from error
    except (ValueError, TypeError) as error:  # a date such as 2024-13-45; a list as a key
        raise UnreadableError("its front matter is not valid YAML: quote texts that only look like dates", 1) from error


def _check_events(source: str) -> None:
    """Refuse aliases, which can make little YAML endless, and deep nesting, which crashes the loader of libyaml."""
    depth = 0
    for event in yaml.parse(source, _LOADER):
        if isinstance(event, yaml.AliasEvent):
            reason = "its front matter must not use aliases (*name): write the value out"
            raise UnreadableError(reason, _alias_line(source))
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise UnreadableError(f"its front matter is nested more than {MAX_DEPTH} deep", 1)


def _alias_line(source: str) -> int:
    alias = re.search(r"[:\-\[,]\s*\*\w", source)
    return source.count("\n", 0, alias.end() if alias else 0) + 2


def _line(error: yaml.YAMLError, source: str) -> int:
    if isinstance(error, yaml.MarkedYAMLError) and error.problem_mark:
        # YAML also counts U+0085, U+2028 and U+2029 as line ends, but editors do not.
        odd = len(
            re.findall("[\x85\u2028\u2029]", "".join(source.splitlines(keepends=True)[: error.problem_mark.line]))
        )
        return min(error.problem_mark.line - odd, source.count("\n")) + 2
    return source.count("\n", 0, getattr(error, "position", 0)) + 2


def _toml(source: str) -> object:
    try:
        return tomllib.loads(source)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        place = re.search(r"at line (\d+)", str(error))
        raise UnreadableError("its front matter is not valid TOML", int(place[1]) + 1 if place else 1) from error


def _json(text: str) -> tuple[dict[str, object], str]:
    try:
        found, end = json.JSONDecoder().raw_decode(text[: MAX_CHARACTERS + 1])
    except (json.JSONDecodeError, RecursionError) as error:
        line = error.lineno if isinstance(error, json.JSONDecodeError) else 1
        raise UnreadableError("its front matter is not valid JSON", line) from error
    return _fields(found), text[end:].lstrip("\n")


def _fields(found: object) -> dict[str, object]:
    if not isinstance(found, dict):
        raise UnreadableError("its front matter must be lines of `name: value`", 2)
    return {str(name): _plain(value) for name, value in cast("dict[object, object]", found).items()}


def _plain(value: object) -> object:
    """Return a value of texts, numbers, truth values, None, lists and mappings alone."""
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in cast("dict[object, object]", value).items()}
    if isinstance(value, list | tuple | set):
        return [_plain(each) for each in cast("list[object]", value)]
    return value if isinstance(value, str | int | float | None) else str(value)


def field(fields: Mapping[str, object], name: str) -> object:
    """Return a field, whatever its letters' case, or None; `seo.title` is the field `title` of the field `seo`."""
    first, _, rest = name.partition(".")
    found = next((value for key, value in fields.items() if key.lower() == first.lower()), None)
    if not rest:
        return found
    return field(cast("Mapping[str, object]", found), rest) if isinstance(found, Mapping) else None


def text_field(fields: Mapping[str, object], *names: str) -> str | None:
    """Return the first of these fields that is a text or number with something in it."""
    for name in names if fields else ():
        value = field(fields, name)
        if isinstance(value, str | int | float) and not isinstance(value, bool) and str(value).strip():
            return " ".join(str(value).split())
    return None


def is_on(fields: Mapping[str, object], name: str) -> bool:
    """Say whether a field is true, or a word for it."""
    value = field(fields, name)
    return value is True or value == 1 or str(value).strip().lower() in ("true", "yes", "on")


def texts(value: object) -> tuple[str, ...]:
    """Return a field as texts: of a list each, of a text with commas the parts."""
    if isinstance(value, list):
        return tuple(text for each in cast("list[object]", value) for text in texts(each) if text)
    if isinstance(value, dict):
        named = cast("dict[str, object]", value)
        return texts(named.get("name") or named.get("title") or named.get("id"))
    if value is None or isinstance(value, bool):
        return ()
    return tuple(part.strip() for part in str(value).split(",") if part.strip())

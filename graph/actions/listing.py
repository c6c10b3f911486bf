"""A server's tools as the graph uses them: named, bounded, and without those that no model could be given."""

import json
import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from graph.actions.tools import Tool

if TYPE_CHECKING:
    from jsonschema.protocols import Validator

MOST_TOOLS = 40
"""Of a server; models choose badly among more, and each is in every prompt."""
_MOST_SCHEMA = 8_000  # characters as JSON
_MOST_DESCRIPTION = 2_000  # characters
_MOST_NAME = 64  # characters, as OpenAI allows
_MOST_SAID = 300  # characters of what is wrong with arguments
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Listed:
    """A tool that a server has listed, and the check of its arguments."""

    tool: Tool
    raw_name: str
    """What its server calls it."""
    validator: "Validator"

    def problem(self, arguments: Mapping[str, Any]) -> str | None:
        """Return what is wrong with the arguments, in words for the model that wrote them; None if they fit.

        Servers drop an argument that they do not know without a word, so it is refused unless the schema allows it.
        """
        from jsonschema import exceptions
        from referencing.exceptions import Unresolvable

        schema = self.tool.schema
        known = cast("Mapping[str, Any]", schema.get("properties") or {})
        if not {"additionalProperties", "patternProperties"} & schema.keys() and (
            unknown := [*arguments.keys() - known]
        ):
            return f"unknown arguments: {', '.join(sorted(unknown))}"[:_MOST_SAID]
        try:
            error = cast(
                "exceptions.ValidationError | None", exceptions.best_match(self.validator.iter_errors(arguments))
            )
        except (Unresolvable, RecursionError):
            return "the tool's schema can't be read"
        if error is None:
            return None
        where = ".".join(map(str, error.absolute_path))
        return f"{where}: {error.message}"[:_MOST_SAID] if where else error.message[:_MOST_SAID]


def listed(server: str, found: Iterable[Any]) -> list[Listed]:
    """Return a server's tools, as the SDK has them; the log names those that are left out."""
    kept: dict[str, Listed] = {}
    for one in found:
        if trouble := _trouble(one, kept):
            _log.warning("MCP server %s: the tool %r is left out: %s", server, _shown(one.name), trouble)
            continue
        kept[one.name] = _as_tool(server, one)
    return list(kept.values())


def named_apart(servers: Sequence[Sequence[Listed]]) -> dict[str, Listed]:
    """Return the tools of all servers by names that are unique: a name that an earlier one has gets its server's."""
    named: dict[str, Listed] = {}
    for tools in servers:
        for one in tools:
            name = one.tool.name
            if name in named:
                name = f"{one.tool.server}_{name}"[:_MOST_NAME]
            number = 2
            while name in named:
                name = f"{name[: _MOST_NAME - 3]}_{number}"
                number += 1
            named[name] = one if name == one.tool.name else replace(one, tool=replace(one.tool, name=name))
    return named


def _as_tool(server: str, one: Any) -> Listed:  # noqa: ANN401 - the SDK is imported where a server is configured
    hints = one.annotations
    is_read_only = bool(hints and hints.read_only_hint)
    name = _UNSAFE.sub("_", one.name)[:_MOST_NAME]
    description = (one.description or one.title or "").strip()[:_MOST_DESCRIPTION]
    is_idempotent = bool(hints and hints.idempotent_hint)
    tool = Tool(name, server, description, one.input_schema, is_read_only, is_idempotent or is_read_only)
    return Listed(tool, one.name, _validator(one.input_schema))


def _validator(schema: Mapping[str, Any]) -> "Validator":
    from jsonschema import Draft202012Validator
    from jsonschema.validators import validator_for
    from referencing import Registry

    kind = validator_for(dict(schema), default=Draft202012Validator)
    kind.check_schema(dict(schema))
    return kind(dict(schema), registry=Registry())  # which fetches nothing


def _trouble(one: Any, kept: Mapping[str, Listed]) -> str | None:  # noqa: ANN401 - as above
    from jsonschema import SchemaError

    schema = one.input_schema
    if one.name in kept:
        return "another one has its name"
    if not _UNSAFE.sub("", one.name):
        return "its name has no letter that models take"
    if len(kept) >= MOST_TOOLS:
        return f"a server may have {MOST_TOOLS}"
    if len(json.dumps(schema)) > _MOST_SCHEMA:
        return f"the schema of its arguments is longer than {_MOST_SCHEMA} characters"
    if schema.get("type") != "object":
        return "the schema of its arguments must be an object's"
    try:
        _validator(schema)
    except (SchemaError, RecursionError):
        return "the schema of its arguments is no JSON Schema"
    return None


def _shown(name: str) -> str:
    return name if len(name) <= _MOST_NAME else f"{name[:_MOST_NAME]}…"

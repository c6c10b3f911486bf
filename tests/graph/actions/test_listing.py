"""Lists of tools, as servers send them and as models can take them."""

import logging
import re
from typing import Any

import pytest
from mcp.types import Tool as ListedTool

from graph.actions.listing import MOST_TOOLS, listed, named_apart


def tool(name: str, schema: dict[str, Any] | None = None, **fields: Any) -> ListedTool:
    return ListedTool(name=name, input_schema=schema or {"type": "object"}, **fields)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "array"}, "must be an object's"),
        ({}, "must be an object's"),
        ({"type": "object", "properties": {"a": {"type": "nothing"}}}, "no JSON Schema"),
        ({"type": "object", "properties": []}, "no JSON Schema"),
        ({"type": "object", "description": "x" * 8_000}, "longer than 8000 characters"),
    ],
)
def test_a_tool_that_no_model_could_be_given_is_left_out(
    schema: dict[str, Any], reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says which, and why; the others are kept."""
    bad = ListedTool(name="bad", input_schema=schema)
    assert [one.tool.name for one in listed("a", [bad, tool("good")])] == ["good"]
    assert "the tool 'bad' is left out" in caplog.text
    assert reason in caplog.text


def test_a_server_has_so_many_tools(caplog: pytest.LogCaptureFixture) -> None:
    """The rest is named, and so is one whose name is there already."""
    many = [tool(f"t{number}") for number in range(MOST_TOOLS + 1)]
    assert len(listed("a", many)) == MOST_TOOLS
    assert f"the tool 't{MOST_TOOLS}' is left out" in caplog.text
    caplog.clear()
    assert len(listed("a", [tool("one"), tool("one")])) == 1
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_names_are_those_that_models_take() -> None:
    """Letters, digits, `_` and `-`, 64 at most, each once, whatever servers call their tools."""
    wild = ["send.email", "send email", "sendé", "x" * 200, "x" * 201, "good_name-1"]
    first, second = listed("mail", map(tool, wild)), listed("calendar", [tool("good_name-1"), tool("x" * 64)])
    named = named_apart([first, second])
    assert len(named) == len(first) + len(second)
    assert all(re.fullmatch("[A-Za-z0-9_-]{1,64}", name) for name in named)
    assert [name == one.tool.name for name, one in named.items()] == [True] * len(named)
    assert named["good_name-1"].tool.server == "mail"
    assert named["calendar_good_name-1"].raw_name == "good_name-1"
    assert named_apart([[], second])["good_name-1"].tool.server == "calendar"


def test_a_tool_says_nothing_of_effects_has_one() -> None:
    """And may not be called again."""
    (one,) = listed("a", [tool("one", description="x" * 5_000)])
    assert (one.tool.is_read_only, one.tool.is_idempotent) == (False, False)
    assert len(one.tool.description) == 2_000


def test_a_reference_to_elsewhere_is_not_followed() -> None:
    """No schema makes the service fetch an address."""
    (one,) = listed("a", [tool("one", {"type": "object", "properties": {"a": {"$ref": "http://127.0.0.1:1/x"}}})])
    assert one.problem({"a": 1}) == "the tool's schema can't be read"


def test_a_schema_that_refers_to_itself_is_no_endless_loop() -> None:
    """It is refused, or its arguments are."""
    schema = {"type": "object", "properties": {"a": {"$ref": "#/properties/a"}}}
    assert all(one.problem({"a": 1}) for one in listed("a", [tool("one", schema)]))

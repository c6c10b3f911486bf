"""The tools that cases may use: those of the servers shipped here, with answers that never change, and no effect."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from mcp_types import Tool as ListedTool

from graph.actions.listing import Listed, listed
from graph.actions.tools import Caller, NotCalled, Tool, ToolResult
from graph.observe.report import begin_tool

_FILE = Path(__file__).parent / "desk_tools.yaml"


class DeskTools:
    """Offers the tools, answers those that are read-only, and does nothing else."""

    def __init__(self) -> None:
        found: list[dict[str, Any]] = yaml.safe_load(_FILE.read_text(encoding="utf-8"))
        self._answers: dict[str, ToolResult] = {
            one["name"]: ToolResult(one.pop("answer"), is_error=False, structured=one.pop("structured", None))
            for one in found
            if "answer" in one
        }
        tools = [ListedTool.model_validate(one) for one in found]
        self._tools: dict[str, Listed] = {one.tool.name: one for one in listed("desk", tools)}

    async def listed(self) -> Sequence[Tool]:
        """Return all of them."""
        return [one.tool for one in self._tools.values()]

    def problem(self, tool_name: str, arguments: Mapping[str, Any]) -> str | None:
        """Return what is wrong with a call."""
        one = self._tools.get(tool_name)
        return one.problem(arguments) if one else "there is no such tool"

    async def call(
        self,
        tool_name: str,
        arguments: Mapping[str, Any],
        caller: Caller,  # noqa: ARG002 - the answer is the same for all
        key: str | None = None,  # noqa: ARG002 - the same
    ) -> ToolResult:
        """Return the tool's answer; raises NotCalled for one that has an effect."""
        if tool_name not in self._answers:
            raise NotCalled("nothing is done in an evaluation")
        result = self._answers[tool_name]
        begin_tool(tool_name, "desk", arguments).end(result.text, None)
        return result

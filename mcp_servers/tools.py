"""Tools, their callers and how they fail; and the MCP server that offers them."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, fields
from functools import cached_property
from typing import Any, Generic, Literal, TypeVar

import mcp_types as types
from mcp.server import Server
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from pydantic import BaseModel, ConfigDict, ValidationError

_log = logging.getLogger(__name__)

Reason = Literal[
    "invalid-arguments", "not-a-slot", "slot-taken", "no-such-booking", "not-identified", "refused", "unavailable"
]


class ToolFailure(Exception):
    """A tool has failed; its message is a sentence that may be shown to a customer.

    ToolFailure
    ├── NotDone         certainly nothing has happened
    └── OutcomeUnknown  it may have happened
    """


class NotDone(ToolFailure):
    """Certainly nothing has happened."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


class OutcomeUnknown(ToolFailure):
    """It may have happened: the connection was lost, or the time was up, when the effect was under way."""


class Arguments(BaseModel):
    """Arguments of a tool; unknown ones are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


_A = TypeVar("_A", bound=Arguments)


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a tool is called: the call's metadata, which no model writes."""

    tenant: str | None = None
    session: str | None = None
    run: str | None = None
    customer: str | None = None
    key: str | None = None
    """The same for a repeated call."""

    @classmethod
    def of(cls, meta: types.RequestParamsMeta | None) -> "Caller":
        """Return the caller that a call's metadata names; what is no text counts as absent."""
        found = {field.name: (meta or {}).get(f"support-agent/{field.name}") for field in fields(cls)}
        return cls(**{name: value for name, value in found.items() if isinstance(value, str) and value})


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool answers."""

    text: str
    """For the model and the customer."""
    result: BaseModel


@dataclass(frozen=True)
class Tool(Generic[_A]):
    """A tool as it is listed, and what it does."""

    name: str
    description: str
    arguments: type[_A]
    result: type[BaseModel]
    run: Callable[[_A, Caller], Awaitable[Answer]]
    """Raises ToolFailure."""
    annotations: types.ToolAnnotations

    @cached_property
    def listed(self) -> types.Tool:
        """Return the tool as clients see it."""
        return types.Tool(
            name=self.name,
            description=self.description,
            input_schema=self.arguments.model_json_schema(),
            output_schema=self.result.model_json_schema(mode="serialization"),
            annotations=self.annotations,
        )

    async def call(self, arguments: dict[str, Any], caller: Caller) -> Answer:
        """Check the arguments and run; raises ToolFailure."""
        try:
            checked = self.arguments.model_validate(arguments)
        except ValidationError as error:
            raise NotDone("invalid-arguments", _said(error)) from None
        return await self.run(checked, caller)


def make_server(name: str, version: str, tools: Sequence[Tool[Any]]) -> Server[Any]:
    """Return the MCP server that offers these tools."""
    by_name = {tool.name: tool for tool in tools}
    under_way: set[asyncio.Task[types.CallToolResult]] = set()

    async def on_list_tools(
        _context: ServerRequestContext[Any], _params: types.PaginatedRequestParams | None
    ) -> types.ListToolsResult:
        return types.ListToolsResult(tools=[tool.listed for tool in tools])

    async def on_call_tool(
        _context: ServerRequestContext[Any], params: types.CallToolRequestParams
    ) -> types.CallToolResult:
        if (tool := by_name.get(params.name)) is None:
            raise MCPError(
                types.INVALID_PARAMS, f"there is no tool {params.name!r} here; there are {', '.join(by_name)}"
            )
        # In a task of its own: a call that has begun is carried out to its end, also when its client goes away.
        task = asyncio.create_task(_carry_out(tool, params.arguments or {}, Caller.of(params.meta)))
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        return await asyncio.shield(task)

    @asynccontextmanager
    async def lifespan(_server: Server[Any]) -> AsyncGenerator[None]:
        yield
        if under_way:
            await asyncio.wait(under_way)  # each has a time limit

    return Server(name, version=version, lifespan=lifespan, on_list_tools=on_list_tools, on_call_tool=on_call_tool)


async def _carry_out(tool: Tool[Any], arguments: dict[str, Any], caller: Caller) -> types.CallToolResult:
    began = time.monotonic()
    outcome = "done"
    try:
        answer = await tool.call(arguments, caller)
        return _result(answer.text, answer.result.model_dump(mode="json"))
    except NotDone as failure:
        outcome = f"not done: {failure.reason}"
        return _result(str(failure), {"outcome": "not_done", "reason": failure.reason}, is_error=True)
    except OutcomeUnknown as failure:
        outcome = "unknown outcome"
        return _result(str(failure), {"outcome": "unknown"}, is_error=True)
    except Exception:  # noqa: BLE001 - the client must learn that nothing is known of what has happened
        outcome = "defect"
        _log.exception("%s failed", tool.name)
        return _result("Something went wrong with this.", {"outcome": "unknown"}, is_error=True)
    finally:
        _log.info("%s: %s, %.0f ms (run %s)", tool.name, outcome, 1000 * (time.monotonic() - began), caller.run or "-")


def _result(text: str, structured: dict[str, Any], *, is_error: bool = False) -> types.CallToolResult:
    return types.CallToolResult(
        content=[types.TextContent(text=text)], structured_content=structured, is_error=is_error
    )


def _said(error: ValidationError) -> str:
    """Say which arguments are wrong and why, for a model that may correct them."""
    found = error.errors(include_input=False, include_url=False, include_context=False)
    said = [
        f"{'.'.join(map(str, one['loc'])) or 'arguments'}: {one['msg'].removeprefix('Value error, ')}" for one in found
    ]
    return f"The arguments don't fit. {'; '.join(said)}."

"""The tools of all MCP servers that are configured."""

import asyncio
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

from graph.actions.listing import Listed, named_apart
from graph.actions.mcp_faults import Failure
from graph.actions.mcp_server import Server
from graph.actions.sdk import load_sdk
from graph.actions.tools import Caller, NotCalled, OutcomeUnknown, Tool, ToolResult
from graph.health import Check
from graph.observe.metrics import tool_calls
from graph.observe.report import begin_tool
from graph.settings import AgentSettings

if TYPE_CHECKING:
    from mcp.types import CallToolResult

MOST_TEXT = 8_000
"""Characters of a tool's result: as much as the passages of a prompt."""
_SHARE = 6  # a call may take this part of a turn, so that the model can still answer
_FIRST = 2.0  # seconds that the start waits for servers
_ENDING = 1.0  # seconds for ending a session
_OUTCOMES = ("done", "error", "not-called", "unknown")


class Tools:
    """The tools of all servers, under names that are unique; made by open_tools."""

    def __init__(self, servers: Sequence[Server] = ()) -> None:
        self._servers = servers
        self._seen: list[tuple[Listed, ...]] = []
        self._named: dict[str, Listed] = {}
        for server in servers:
            for outcome in _OUTCOMES:  # so that the series exist before the first call
                tool_calls.add(0, {"server": server.name, "outcome": outcome})

    async def listed(self) -> Sequence[Tool]:
        """Return the tools that can be called now, without asking a server; those of one that is down are missing."""
        up = {server.name for server in self._servers if server.failure is None}
        return [one.tool for one in self._all().values() if one.tool.server in up]

    def problem(self, tool_name: str, arguments: Mapping[str, Any]) -> str | None:
        """Return what is wrong with a call, in words for the model that asked for it; None if it may be made."""
        one = self._all().get(tool_name)
        return one.problem(arguments) if one else "there is no such tool"

    async def call(
        self, tool_name: str, arguments: Mapping[str, Any], caller: Caller, key: str | None = None
    ) -> ToolResult:
        """Call a tool; raises NotCalled and OutcomeUnknown.

        `key` is the same for a call that is repeated. Cancelled from outside, a call may have been carried out, too.
        """
        one = self._all().get(tool_name)
        server = next((each for each in self._servers if one and each.name == one.tool.server), None)
        if one is None or server is None:
            raise NotCalled("there is no such tool")
        outcome = "unknown"
        run = begin_tool(tool_name, server.name, arguments)
        try:
            result = _result(await server.call(one.raw_name, arguments, _meta(caller, key)))
            if result.is_error and (result.structured or {}).get("outcome") == "unknown":
                raise OutcomeUnknown(f"MCP server {server.name} does not know whether it has done it", is_said=True)
        except Failure as failure:
            outcome = "not-called" if failure.is_certain else "unknown"
            kind = NotCalled if failure.is_certain else OutcomeUnknown
            raise kind(f"MCP server {server.name} {failure.reason}") from None
        else:
            outcome = "error" if result.is_error else "done"
            run.end(result.text, outcome if result.is_error else None)
            return result
        finally:
            run.end("", outcome)
            tool_calls.add(1, {"server": server.name, "outcome": outcome})

    def checks(self) -> dict[str, Check]:
        """Return how each server is, by name, without asking it."""
        return {server.name: _check(server) for server in self._servers}

    def names(self, server: str) -> list[str]:
        """Return the names of a server's tools."""
        return [name for name, one in self._all().items() if one.tool.server == server]

    def _all(self) -> Mapping[str, Listed]:
        """Return the tools of all servers, also of those that are down: so that one that comes back changes no name."""
        now = [server.tools for server in self._servers]
        if len(now) != len(self._seen) or any(new is not old for new, old in zip(now, self._seen, strict=True)):
            self._seen = now
            self._named = named_apart(now)
        return self._named


@asynccontextmanager
async def open_tools(settings: AgentSettings, patience: float = _FIRST) -> AsyncGenerator[Tools]:
    """Connect to the servers of SUPPORT_MCP_SERVERS; one that is down has no tools until it answers.

    Waits for their first answers, `patience` seconds at most. Without servers nothing is loaded or started.
    """
    if not settings.mcp_servers:
        yield Tools()
        return
    await asyncio.to_thread(load_sdk)
    limit = settings.answer_timeout / _SHARE
    tokens = settings.mcp_tokens
    servers = [Server(name, url, tokens.get(name), limit) for name, url in settings.mcp_servers.items()]
    keeping = [asyncio.create_task(server.keep()) for server in servers]
    try:
        waiting = [asyncio.create_task(server.settled.wait()) for server in servers]
        _, late = await asyncio.wait(waiting, timeout=patience)
        for task in late:
            task.cancel()
        yield Tools(servers)
    finally:
        for _ in range(2):  # the second time cuts short what waits for a server while it ends
            for task in keeping:
                task.cancel()
            await asyncio.wait(keeping, timeout=_ENDING)


def _meta(caller: Caller, key: str | None) -> dict[str, str]:
    fields = {
        "tenant": caller.tenant,
        "session": caller.session,
        "run": caller.run_id,
        "customer": caller.customer_id,
        "key": key,
    }
    return {f"support-agent/{name}": value for name, value in fields.items() if value is not None}


def _result(found: "CallToolResult") -> ToolResult:
    structured: Any = found.structured_content
    texts = [part.text if part.type == "text" else f"({part.type})" for part in found.content]
    text = "\n".join(texts) or (json.dumps(structured, ensure_ascii=False) if structured is not None else "")
    if len(text) > MOST_TEXT:
        text = f"{text[:MOST_TEXT]}… (cut off)"
    is_object = isinstance(structured, dict)
    return ToolResult(text, found.is_error, cast("dict[str, Any]", structured) if is_object else None)


def _check(server: Server) -> Check:
    failure = server.failure
    if failure:
        return Check(False, 0.0, failure.reason, failure.remedy)
    return Check(True, server.latency_ms)

"""The tools that an answer may use: offered to the model, and run or proposed when it asks for them.

Only in conversations: what is answered outside them is kept, and shared with others.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from langchain_core.messages import AIMessage, AnyMessage, BaseMessage, ToolMessage
from langgraph.runtime import Runtime

from graph.actions.booked import NoSuchCall, changed_call
from graph.actions.reasons import language_in
from graph.actions.standing import standing
from graph.actions.summaries import summary_of
from graph.actions.tools import Caller, NotCalled, OutcomeUnknown, Tool, ToolResult
from graph.models.calls import ToolCall
from graph.observe.metrics import refused_calls
from graph.prompts import result_of
from graph.state import Action, AgentContext

MOST_STEPS = 5
"""Replies of an answer whose calls are looked at; the reply after them gets no tools."""
_MOST_CALLS = 8  # of one reply
_UNNAMED = "unknown"

_NOT_RUN = "Not run: {problem}. Mend the call, or answer without it."
_SILENT = "Not run: its server does not answer. Answer without it."
_UNKNOWN = "Its server did not answer in time. Answer without it, and do not call it again."
_TOO_MANY = "Not run: too many calls at once."
_ONE = "Not proposed: one thing can be proposed at a time. Tell the customer."
_NO_CALL = "Not proposed: the customer has no call of that name. Find out which calls there are, or answer without it."
_NOBODY = "Not run: nothing can be proposed here. Answer without it."
_PROPOSED = (
    "Proposed, and not done: {summary}\n"
    "It is done when the customer says yes. Say what is proposed, ask the customer to confirm it, and call no more."
)


class Toolbox(Protocol):
    """The tools that there are; see graph/actions/mcp.py."""

    async def listed(self) -> Sequence[Tool]:
        """Return those that can be called now."""
        ...

    def problem(self, tool_name: str, arguments: Mapping[str, Any]) -> str | None:
        """Return what is wrong with a call."""
        ...

    async def call(
        self, tool_name: str, arguments: Mapping[str, Any], caller: Caller, key: str | None = None
    ) -> ToolResult:
        """Call a tool; raises NotCalled and OutcomeUnknown."""
        ...


class Proposer(Protocol):
    """Proposes what has an effect to the customer."""

    async def propose(self, tool: Tool, arguments: Mapping[str, Any], summary: str) -> Action:
        """Keep what is proposed, and return it."""
        ...


class ToolUse:
    """The use of tools in one answer."""

    def __init__(
        self,
        toolbox: Toolbox,
        tools: Sequence[Tool],
        proposer: Proposer | None,
        runtime: Runtime[AgentContext],
        messages: Sequence[AnyMessage],
    ) -> None:
        self.action: Action | None = None
        """What the answer proposes."""
        self._toolbox = toolbox
        self._tools = {tool.name: tool for tool in tools}
        self._proposer = proposer
        self._runtime = runtime
        self._messages = messages
        self._steps = 0
        self._silent: set[str] = set()
        self._functions = [_function(tool) for tool in tools]

    @classmethod
    async def begin(
        cls,
        toolbox: Toolbox | None,
        proposer: Proposer | None,
        runtime: Runtime[AgentContext],
        messages: Sequence[AnyMessage],
    ) -> "ToolUse | None":
        """Return the use of tools in an answer; None if there are none, or the messages are no conversation."""
        if toolbox is None or standing.get() is None:
            return None
        tools = [tool for tool in await toolbox.listed() if proposer or tool.is_read_only]
        return cls(toolbox, tools, proposer, runtime, messages) if tools else None

    @property
    def is_over(self) -> bool:
        """Whether the model may call nothing any more."""
        return self._steps >= MOST_STEPS

    @property
    def offer(self) -> dict[str, Any]:
        """The parameters of the next request; a server may want to know the tools whose results it gets."""
        return {"tools": self._functions, **({"tool_choice": "none"} if self.is_over else {})}

    async def take(self, text: str, calls: Sequence[ToolCall]) -> list[BaseMessage]:
        """Run or propose what a reply asks for, and return what the next prompt says of it."""
        self._steps += 1
        told = await asyncio.gather(*(self._run(call, place) for place, call in enumerate(calls)))
        for place, call in enumerate(calls):  # one after another, since one alone can be proposed
            if told[place] is None:
                told[place] = await self._propose(self._tools[call.name], call.arguments)
        asked = [{"id": call.id, "name": self._name(call), "args": dict(call.arguments)} for call in calls]
        results = [
            ToolMessage(text or "", tool_call_id=call.id, name=self._name(call))
            for call, text in zip(calls, told, strict=True)
        ]
        return [AIMessage(text, tool_calls=asked), *results]

    def _name(self, call: ToolCall) -> str:
        return call.name if call.name in self._tools else _UNNAMED  # servers refuse names with odd characters

    async def _run(self, call: ToolCall, place: int) -> str | None:
        """Return what a call has given, or why it was not made; None for one that has an effect."""
        problem = call.problem or self._misfit(call)
        if problem:
            refused_calls.add(1)
            return _NOT_RUN.format(problem=problem)
        tool = self._tools[call.name]
        if place >= _MOST_CALLS:
            return _TOO_MANY
        if not tool.is_read_only:
            return None
        if tool.server in self._silent:
            return _SILENT
        try:
            result = await self._toolbox.call(tool.name, call.arguments, self._caller())
        except NotCalled:
            self._silent.add(tool.server)
            return _SILENT
        except OutcomeUnknown:
            self._silent.add(tool.server)  # it is waited for once
            return _UNKNOWN
        return result_of(tool.name, result.text, is_error=result.is_error)

    def _misfit(self, call: ToolCall) -> str | None:
        if call.name not in self._tools:
            return "there is no such function"
        return self._toolbox.problem(call.name, call.arguments)

    async def _propose(self, tool: Tool, arguments: Mapping[str, Any]) -> str:
        if self.action:
            return _ONE
        if self._proposer is None:
            return _NOBODY
        try:
            call = await changed_call(self._toolbox, self._tools.values(), tool, arguments, self._caller())
        except NoSuchCall:
            return _NO_CALL
        except (NotCalled, OutcomeUnknown):
            self._silent.add(tool.server)  # it is waited for once
            return _SILENT
        summary = summary_of(tool, arguments, language_in(self._messages), call)
        self.action = await self._proposer.propose(tool, arguments, summary)
        return _PROPOSED.format(summary=self.action.summary)

    def _caller(self) -> Caller:
        turn, context = standing.get(), self._runtime.context
        if turn is None:
            raise AssertionError("tools are used in conversations alone")
        return Caller(context.tenant, turn.thread, turn.run_id, context.customer_id)


def _function(tool: Tool) -> dict[str, Any]:
    described = {"name": tool.name, "description": tool.description, "parameters": dict(tool.schema)}
    return {"type": "function", "function": described}

"""Which call a tool of the calendar moves or cancels, so that a customer reads more than its id."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol

from graph.actions.tools import Caller, NotCalled, Tool, ToolResult

_CHANGES = ("move_call", "cancel_call")
_LISTS = "my_calls"


class NoSuchCall(Exception):
    """The customer has no such call."""


class CallsTools(Protocol):
    """Calls the servers' tools."""

    async def call(
        self, tool_name: str, arguments: Mapping[str, Any], caller: Caller, key: str | None = None
    ) -> ToolResult:
        """Call a tool; raises NotCalled or OutcomeUnknown."""
        ...


@dataclass(frozen=True, slots=True)
class Call:
    """A call that a customer has booked."""

    begins: datetime
    time_zone: str
    """The zone that it was booked in, by its IANA name."""


async def changed_call(
    toolbox: CallsTools, tools: Iterable[Tool], tool: Tool, arguments: Mapping[str, Any], caller: Caller
) -> Call | None:
    """Ask the calendar which call is meant; None where the tool changes none, or its server lists none.

    Raises NoSuchCall, NotCalled and OutcomeUnknown.
    """
    lists = next((each for each in tools if each.server == tool.server and each.is_called(_LISTS)), None)
    if lists is None or not lists.is_read_only or not any(map(tool.is_called, _CHANGES)):
        return None
    result = await toolbox.call(lists.name, {}, caller)
    if result.is_error:
        raise NotCalled("the calendar does not say which calls there are")
    try:
        calls = {one["booking"]: one for one in (result.structured or {})["calls"]}
        if found := calls.get(arguments["booking"]):
            return Call(datetime.fromisoformat(found["slot"]), str(found["time_zone"]))
    except (KeyError, TypeError, ValueError):  # another's tool of that name
        return None
    raise NoSuchCall

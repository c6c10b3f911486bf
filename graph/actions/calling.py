"""The calls of one action's tool, until its outcome is known."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Any, Protocol

from opentelemetry import trace
from opentelemetry.trace import Status, StatusCode

from graph.actions.records import LEASE, Record
from graph.actions.tools import Caller, NotCalled, OutcomeUnknown, ToolResult
from graph.errors import MemoryUnavailable, kind_and_place
from graph.observe.metrics import NAMESPACE

TRIES = 3
"""Calls of a tool that was certainly not called, after which the action has failed."""

CERTAIN = 120.0
"""Seconds after which the outcome of an idempotent action counts as unknown."""

_AGAIN = 0.2  # seconds between two attempts to write to a Redis that does not answer
_PAUSES = (0.5, 8.0)  # seconds between two calls of a tool, the first and the longest
_LONGEST = 10_000  # characters kept of a tool's result

_log = logging.getLogger(__name__)
_tracer = trace.get_tracer(NAMESPACE)


class CallsTools(Protocol):
    """Calls the servers' tools."""

    async def call(
        self, tool_name: str, arguments: Mapping[str, Any], caller: Caller, key: str | None = None
    ) -> ToolResult:
        """Call a tool; raises NotCalled or OutcomeUnknown."""
        ...


class Call:
    """The calls of one action's tool."""

    def __init__(self, tools: CallsTools | None, record: Record) -> None:
        self._tools = tools
        self._record = record
        self.is_uncertain = record.is_uncertain
        """A call may have been carried out."""

    async def outcome(self, renew: Callable[[], Awaitable[bool]]) -> Record | None:
        """Call the tool until the outcome is known, or never will be; None once somebody else has taken it over."""
        give_up = time.monotonic() + CERTAIN
        (pause, longest), refused = _PAUSES, 0
        while True:
            result = await self._attempt()
            if result is not None:
                status = "failed" if result.is_error else "done"
                return replace(self._record, status=status, result=result.text[:_LONGEST])
            refused += 1
            if self.is_uncertain and not (self._record.is_idempotent and time.monotonic() < give_up):
                return replace(self._record, status="unknown")
            if not self.is_uncertain and refused >= TRIES:
                return replace(self._record, status="failed")
            await asyncio.sleep(pause)
            pause = min(pause * 2, longest)
            if not await surely(renew, LEASE):
                return None

    async def _attempt(self) -> ToolResult | None:
        """Call the tool once; None if it was not called, or its outcome is unknown."""
        record = self._record
        caller = Caller(record.tenant, record.thread, record.run_id, record.customer_id)
        with _tracer.start_as_current_span(f"action {record.kind}") as span:
            was_uncertain, self.is_uncertain = self.is_uncertain, True
            try:
                if self._tools is None:
                    raise NotCalled("there are no tools")
                result = await self._tools.call(record.kind, record.arguments, caller, record.id)
            except NotCalled:
                span.set_status(Status(StatusCode.ERROR, "not called"))
                self.is_uncertain = was_uncertain
            except OutcomeUnknown:
                span.set_status(Status(StatusCode.ERROR, "outcome unknown"))
            except Exception as error:  # noqa: BLE001 - a bug in the client, which may have called it
                span.set_status(Status(StatusCode.ERROR, "internal"))
                _log.error("the action %s could not be done: %s", record.kind, kind_and_place(error))
            else:
                return result
        return None


async def surely(write: Callable[[], Awaitable[bool]], seconds: float) -> bool:
    """Write to Redis, again and again while it does not answer; raises MemoryUnavailable after `seconds`."""
    give_up = time.monotonic() + seconds
    while True:
        try:
            return await write()
        except MemoryUnavailable:
            if time.monotonic() > give_up:
                raise
        await asyncio.sleep(_AGAIN)

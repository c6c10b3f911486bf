"""Actions: proposed, confirmed by the customer, and done.

An idempotent action is done exactly once: its tool is called again with the same key until its outcome is known, also
by another replica if this one dies. Any other is done at most once: its tool is never called again after a call that
may have been carried out, and the outcome is then `unknown`.
"""

import asyncio
import logging
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from typing import Any

from redis.asyncio import Redis

from graph.actions.calling import CERTAIN, Call, CallsTools, surely
from graph.actions.records import LEASE, Held, Record, Records, record_key
from graph.actions.standing import Write, action_key, standing
from graph.actions.telling import Telling, end_tasks
from graph.actions.tools import Tool
from graph.errors import ActionExpired, ActionSettled, MemoryUnavailable, ShuttingDown
from graph.observe.metrics import actions_ended
from graph.state import Action

LIFE = 15 * 60
"""Seconds in which an action can be confirmed."""

_RENEWAL = 3.0  # seconds between two renewals of a lease
_LEAVING = 1.0  # seconds for what is left when a replica ends
_LOOK = 3.0  # seconds between two looks for actions whose replica has died
_POLLS = (0.05, 1.0)  # seconds between two looks at an action that another replica does, the first and the longest

_log = logging.getLogger(__name__)


class Actions:
    """The actions of all sessions; every method but `propose` raises MemoryUnavailable if Redis can't be reached."""

    def __init__(self, redis: Redis, tools: CallsTools | None, *, patience: float, keep: int) -> None:
        self._records = Records(redis, max(keep, LIFE))
        self._tools = tools
        self._patience = patience  # seconds that a caller waits for an action's end
        self._keep = max(keep, LIFE)
        self._carrying: dict[str, asyncio.Task[Action | None]] = {}
        self._draining = False
        self._in_turns: set[str] = set()  # whose end a turn waits for and tells
        self.telling = Telling(self._records)
        self._closed = asyncio.Event()

    async def propose(self, tool: Tool, arguments: Mapping[str, Any], summary: str) -> Action:
        """Return an action that can be confirmed once the current turn is stored; it replaces the session's last one.

        The customer confirms its `summary`. Raises AssertionError outside a session.
        """
        now = standing.get()
        if now is None:
            raise AssertionError("an action is proposed in a session only")
        record = Record(
            id=str(uuid.uuid4()),
            tenant=now.context.tenant,
            session_id=now.session_id,
            thread=now.thread,
            run_id=now.run_id,
            customer_id=now.context.customer_id,
            visitor=now.context.visitor,
            kind=tool.name,
            server=tool.server,
            is_idempotent=tool.is_idempotent,
            arguments=dict(arguments),
            summary=summary,
            expires_at=time.time() + LIFE,
        )
        now.writes[record_key(record.id)] = Write(record.dumps(), self._keep, is_new=True)
        now.writes[action_key(now.thread)] = Write(f"{record.id} {record.kind}", LIFE)
        return record.action()

    async def find(self, action_id: str, owner: str) -> Action | None:
        """Return the owner's action as it is now; None if there is none."""
        held = await self._read(action_id, owner, None)
        return await self._current(held.record) if held else None

    async def confirm(
        self, action_id: str, owner: str, session_id: str | None = None, *, is_said: bool = False
    ) -> Action | None:
        """Do an action, or wait until whoever does it has; None if the owner, in this session, has no such action.

        What is returned may still be `begun` if that takes too long. Cancelling the caller does not stop the action.
        `is_said` if a message confirms it, whose turn tells the end. Raises ActionExpired, ActionSettled if it was
        declined or replaced, and ShuttingDown.
        """
        if (held := await self._read(action_id, owner, session_id)) is None:
            return None
        status = (await self._current(held.record)).status
        if status == "expired":
            raise ActionExpired
        if status == "proposed" and action_id not in self._carrying:
            if self._draining:
                raise ShuttingDown
            self._carry(held, self._records.settle_as_said if is_said else self._records.settle)
        if not is_said:
            ended = await self._outcome(held.record)
            await self.telling.wait(action_id)
            return ended
        self._in_turns.add(action_id)
        try:
            return await self._outcome(held.record)
        finally:
            self._in_turns.discard(action_id)

    async def decline(
        self, action_id: str, owner: str, session_id: str | None = None, *, is_said: bool = False
    ) -> Action | None:
        """Decline an action; None if the owner, in this session, has no such action.

        Raises ActionSettled if it was confirmed before.
        """
        if (held := await self._read(action_id, owner, session_id)) is None:
            return None
        declined = replace(held.record, status="declined")
        settle = self._records.settle_as_said if is_said else self._records.settle
        if held.record.status == "proposed" and await settle(held, declined):
            self._ended(declined, is_told=is_said)
            await self.telling.wait(action_id)
            return declined.action()
        if (held := await self._read(action_id, owner, session_id)) is None:
            return None
        action = await self._current(held.record)
        if action.status in ("declined", "expired"):
            return action
        raise ActionSettled

    async def drain(self, seconds: float) -> None:
        """Begin no more actions; after `seconds` leave those that are being done to another replica, or unknown."""
        self._draining = True
        if tasks := list(self._carrying.values()):
            await asyncio.wait(tasks, timeout=max(seconds, 0))
        await end_tasks(tasks, _LEAVING)
        await self.telling.drain(_LEAVING)

    def close(self) -> None:
        """Look for actions of dead replicas no more."""
        self._closed.set()

    async def sweep(self) -> None:
        """Take over the actions whose replica has died, until `close`."""
        while not await _is_set(self._closed, _LOOK):
            with suppress(MemoryUnavailable):
                for action_id in await self._records.overdue():
                    if action_id not in self._carrying and action_id not in self.telling:
                        await self._adopt(action_id)

    async def _read(self, action_id: str, owner: str, session_id: str | None) -> Held | None:
        held = await self._records.read(action_id)
        if held is None or held.record.context.owner != owner or session_id not in (None, held.record.session_id):
            return None
        return held

    async def _current(self, record: Record) -> Action:
        """Return an action with what time has made of a proposal."""
        if record.status != "proposed":
            return record.action()
        if time.time() >= record.expires_at:
            return record.action("expired")
        if await self._records.is_open(record):
            return record.action()
        held = await self._records.read(record.id)  # somebody may have begun or declined it just now
        return held.record.action() if held and held.record.status != "proposed" else record.action("declined")

    async def _outcome(self, record: Record) -> Action | None:
        """Wait for an action's end, here or on another replica."""
        give_up = time.monotonic() + self._patience
        if task := self._carrying.get(record.id):
            await asyncio.wait([task], timeout=self._patience)
            if not task.done():
                return record.action("begun")
            if task.cancelled():
                raise ShuttingDown
            if ended := task.result():
                return ended
        return await self._followed(record.id, give_up)

    async def _followed(self, action_id: str, give_up: float) -> Action | None:
        pause, longest = _POLLS
        while True:
            try:
                held = await self._records.read(action_id)
            except MemoryUnavailable:
                if time.monotonic() > give_up:
                    raise
            else:
                if held is None:
                    return None
                if held.record.status in ("proposed", "declined"):  # it could not be begun, so another has replaced it
                    raise ActionSettled
                if held.record.status != "begun" or time.monotonic() > give_up:
                    return held.record.action()
            await asyncio.sleep(pause)
            pause = min(pause * 1.5, longest)

    def _carry(self, held: Held, take: Callable[[Held, Record], Awaitable[bool]]) -> None:
        """Begin an action, and do it, in a task of its own; the task returns None if somebody else has begun it."""
        begun = replace(held.record, status="begun", executor=uuid.uuid4().hex)
        task = asyncio.create_task(self._carry_out(held, begun, take))
        self._carrying[begun.id] = task

        def carried(task: asyncio.Task[Action | None]) -> None:
            self._carrying.pop(begun.id, None)
            if not task.cancelled():
                task.exception()  # nobody may be waiting, and asyncio logs exceptions that nobody retrieves

        task.add_done_callback(carried)

    async def _carry_out(
        self, held: Held, begun: Record, take: Callable[[Held, Record], Awaitable[bool]]
    ) -> Action | None:
        # Less than a lease: whoever finds it begun after that may take it over.
        if not await surely(lambda: take(held, begun), LEASE * 0.8):
            return None
        ours = Held(begun, begun.dumps())
        call = Call(self._tools, begun)
        try:
            async with self._renewing(ours):
                ended = await call.outcome(lambda: self._records.renew(ours))
        except asyncio.CancelledError:
            await self._leave(ours, call)
            raise
        if ended is None:
            return None
        is_told = ended.id in self._in_turns
        with suppress(MemoryUnavailable):
            if await surely(lambda: self._records.end(ours, ended, is_told=is_told), CERTAIN):
                self._ended(ended, is_told=is_told)
                return ended.action()
        self._count(ended)
        _log.error("the action %s (%s) is %s, which could not be recorded", ended.kind, ended.id, ended.status)
        return None  # others were told what is recorded

    async def _leave(self, ours: Held, call: Call) -> None:
        """Leave an action that this replica can't wait for: to another one, if it may be called again."""
        with suppress(MemoryUnavailable):
            if ours.record.is_idempotent:
                await self._records.give_up(ours)
                return
            ended = replace(ours.record, status="unknown" if call.is_uncertain else "failed")
            if await self._records.end(ours, ended, is_told=False):
                self._ended(ended, is_told=False)

    @asynccontextmanager
    async def _renewing(self, ours: Held) -> AsyncGenerator[None]:
        ended = asyncio.Event()

        async def renew() -> None:
            while not await _is_set(ended, _RENEWAL):
                with suppress(MemoryUnavailable):
                    await self._records.renew(ours)

        task = asyncio.create_task(renew())
        try:
            yield
        finally:
            ended.set()  # a cancellation could be lost
            await asyncio.wait([task])

    async def _adopt(self, action_id: str) -> None:
        held = await self._records.read(action_id)
        if held is None or held.record.status == "proposed":
            await self._records.drop(action_id)
        elif held.record.status != "begun":
            self.telling.begin(held.record, is_told=False)
        elif not held.record.is_idempotent:
            unknown = replace(held.record, status="unknown")
            if await self._records.adopt(held, unknown):
                self._ended(unknown, is_told=False)
        elif not self._draining:
            self._carry(Held(replace(held.record, is_uncertain=True), held.value), self._records.adopt)

    def _ended(self, ended: Record, *, is_told: bool) -> None:
        self._count(ended)
        self.telling.begin(ended, is_told=is_told)

    def _count(self, ended: Record) -> None:
        actions_ended.add(1, {"outcome": ended.status})
        level = logging.WARNING if ended.status in ("failed", "unknown") else logging.INFO
        _log.log(level, "action %s %s (%s)", ended.kind, ended.status, ended.id, extra={"run_id": ended.run_id})


async def _is_set(event: asyncio.Event, seconds: float) -> bool:
    """Wait until an event is set, for so long at most."""
    with suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
    return event.is_set()


@asynccontextmanager
async def open_actions(
    redis: Redis, tools: CallsTools | None, *, patience: float, keep: int
) -> AsyncGenerator[Actions]:
    """Open the actions: what is confirmed is done by `tools`, and so is what a replica that has died had begun.

    A record is kept for `keep` seconds after its last change, and a caller waits `patience` seconds for an action's
    end. Without tools there is nothing to do.
    """
    actions = Actions(redis, tools, patience=patience, keep=keep)
    sweeping: Sequence[asyncio.Task[None]] = [asyncio.create_task(actions.sweep())] if tools else []
    try:
        yield actions
    finally:
        actions.close()
        await asyncio.gather(*sweeping, return_exceptions=True)
        await actions.drain(0)

"""Telling a session how its action has ended: in its history, so that its next turn knows."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Protocol

from graph.actions.records import Record, Records
from graph.errors import MemoryUnavailable, SessionBusy

_PATIENCE = 0.25  # seconds that a decision waits for the session's history, in which a turn may be running


class Tells(Protocol):
    """Tells a session how an action has ended, and hands over if it has failed."""

    async def __call__(self, ended: Record, *, is_told: bool) -> None:
        """Tell it, once however often this is called; `is_told` if a turn does. Raises SessionBusy."""
        ...


class Telling:
    """What is told in the background; if that fails, it begins again once the action's lease has expired."""

    def __init__(self, records: Records) -> None:
        self.tells: Tells | None = None
        self._records = records
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def __contains__(self, action_id: object) -> bool:
        return action_id in self._tasks

    def begin(self, ended: Record, *, is_told: bool) -> None:
        """Begin to tell a session how its action has ended."""
        task = self._tasks[ended.id] = asyncio.create_task(self._tell(ended, is_told=is_told))
        task.add_done_callback(lambda _: self._tasks.pop(ended.id, None))

    async def wait(self, action_id: str) -> None:
        """Wait a little until the session's history says it, so that the next turn knows."""
        if task := self._tasks.get(action_id):
            await asyncio.wait([task], timeout=_PATIENCE)

    async def drain(self, seconds: float) -> None:
        """Wait for what is being told; after `seconds` leave it to another replica."""
        if tasks := list(self._tasks.values()):
            await asyncio.wait(tasks, timeout=seconds)
        await end_tasks(tasks, seconds)

    async def _tell(self, ended: Record, *, is_told: bool) -> None:
        with suppress(MemoryUnavailable, SessionBusy):
            if self.tells:
                await self.tells(ended, is_told=is_told)
            if not is_told:
                await self._records.drop(ended.id)


async def end_tasks(tasks: Sequence[asyncio.Task[Any]], seconds: float) -> None:
    """Cancel tasks until they have ended, again every so many seconds.

    redis-py can lose a cancellation on Python 3.11 (findings/redis-cancellation.sh).
    """
    while tasks := [task for task in tasks if not task.done()]:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=seconds)

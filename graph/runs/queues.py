"""Queues of what waits for a session, in order of arrival on this replica."""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TypeVar
from weakref import WeakValueDictionary

from graph.errors import SessionBusy

_RETRY = 0.05  # seconds between two attempts

_T = TypeVar("_T")


class Queues:
    """One queue a session; nobody waits longer than `patience`, in seconds."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._queues: WeakValueDictionary[str, deque[object]] = WeakValueDictionary()

    async def wait(self, thread: str, attempt: Callable[[bool], Awaitable[_T | None]]) -> _T:
        """Return what `attempt` returns once it is not None; it is told whether nobody has come before.

        Raises SessionBusy if that takes too long.
        """
        queue = self._queues.setdefault(thread, deque())
        place = object()
        queue.append(place)
        give_up = time.monotonic() + self._patience
        try:
            while time.monotonic() < give_up:
                if (result := await attempt(queue[0] is place)) is not None:
                    return result
                await asyncio.sleep(_RETRY)
        finally:
            queue.remove(place)
        raise SessionBusy

"""A run's events, for any number of readers."""

import asyncio
import time
from collections.abc import AsyncIterator
from typing import Protocol

from graph.events import Ending, Event


class Followed(Protocol):
    """A run whose events can be read, on whichever replica it executes."""

    @property
    def id(self) -> str:
        """The run's id."""
        ...

    def follow(self, after: int = 0) -> AsyncIterator[tuple[int, Event]]:
        """Yield the events after the `after`-th as they happen, with their numbers, until Done or Failed."""
        ...

    async def lacks(self, after: int) -> bool:
        """Return whether the run never had an `after`-th event."""
        ...

    async def is_read(self, after: int) -> bool:
        """Return whether the `after`-th event was the run's last."""
        ...


class Feed:
    """Events as they happen, for any number of readers, each of which may start at any event."""

    def __init__(self) -> None:
        self.readers = 0
        self.unread_since = time.monotonic()
        self._events: list[Event] = []
        self._more = asyncio.Event()

    async def follow(self, after: int = 0) -> AsyncIterator[tuple[int, Event]]:
        """Yield the events after the `after`-th as they happen, with their numbers, until Done or Failed."""
        self.readers += 1
        try:
            while True:
                while after < len(self._events):
                    event = self._events[after]
                    after += 1
                    yield after, event
                    if isinstance(event, Ending):
                        return
                self._more.clear()  # nobody is waiting that has not been woken
                await self._more.wait()
        finally:
            self.readers -= 1
            self.unread_since = time.monotonic()

    def _emit(self, event: Event) -> None:
        self._events.append(event)
        self._more.set()

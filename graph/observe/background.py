"""Work that a run's report causes, off the way of the run's answer."""

import asyncio
import contextlib
from collections.abc import Coroutine

from redis.exceptions import RedisError


class Background:
    """Tasks that write to Redis; what Redis refuses is lost."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, writing: Coroutine[object, object, None]) -> None:
        """Start a task."""
        task = asyncio.create_task(_suppressing(writing))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def flush(self) -> None:
        """Wait until all tasks that were started have ended."""
        if self._tasks:
            await asyncio.wait(self._tasks)


async def _suppressing(writing: Coroutine[object, object, None]) -> None:
    with contextlib.suppress(RedisError):
        await writing

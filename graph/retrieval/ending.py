"""The end of tasks that use Postgres."""

import asyncio
from typing import Any

_PAUSE = 2.0  # seconds for what a task has to close, before it is cancelled again


async def end(*tasks: asyncio.Task[Any]) -> None:
    """Cancel tasks, and wait until they have ended.

    A cancellation may get lost: before Python 3.12, `asyncio.wait_for`, which psycopg's pool uses, returns in spite of
    one that comes as it is done. So it is repeated.
    """
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=_PAUSE)
    await asyncio.gather(*tasks, return_exceptions=True)

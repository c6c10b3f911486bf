"""The end of tasks that use Postgres."""

import asyncio
from contextlib import suppress

import pytest

from graph.retrieval import ending


async def test_a_task_that_misses_a_cancellation_is_cancelled_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one does whose `asyncio.wait_for` is done just then; another that ends at once is left alone."""
    monkeypatch.setattr(ending, "_PAUSE", 0.01)
    missed = 0

    async def misses_two() -> None:
        nonlocal missed
        while missed < 2:
            with suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            missed += 1
        await asyncio.Event().wait()

    tasks = [asyncio.create_task(misses_two()), asyncio.create_task(asyncio.Event().wait())]
    await asyncio.sleep(0)
    async with asyncio.timeout(10):
        await ending.end(*tasks)
    assert missed == 2
    assert all(task.cancelled() for task in tasks)

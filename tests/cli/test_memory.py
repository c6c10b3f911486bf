"""The memory of a service in its own process, however many questions it has answered."""

import asyncio
from pathlib import Path

import aiohttp
import psutil
import pytest

from harness.replica import replica
from harness.scripted_model import ScriptedModel

CLIENTS, SESSIONS = 8, 40


@pytest.mark.soak
@pytest.mark.parametrize(
    ("first", "count", "most"), [(1_000, 2_000, 20), pytest.param(5_000, 20_000, 5, marks=pytest.mark.nightly)]
)
async def test_memory_stays_flat(
    model: ScriptedModel, redis_url: str, articles: Path, first: int, count: int, most: int
) -> None:
    """After the first questions the service grows by a few MB at most; each question is a new one."""
    async with (
        replica(model, redis_url, articles, SUPPORT_BUSY_SESSION="wait") as (process, url),
        aiohttp.ClientSession(base_url=url) as client,
    ):

        async def ask(numbers: range) -> None:
            waiting = iter(numbers)

            async def some() -> None:
                for number in waiting:
                    path, body = "/ask", {"question": f"Where is invoice {number}?"}
                    if number % 4 == 3:
                        session = f"session-{number // 4 % SESSIONS}"
                        path, body = "/chat", {"message": body["question"], "session_id": session}
                    async with client.post(path, json=body) as answer:
                        assert answer.status == 200, await answer.text()
                        await answer.read()
                model.calls.clear()  # what it has seen, not what the service holds

            await asyncio.gather(*(some() for _ in range(CLIENTS)))

        await ask(range(first))
        before = psutil.Process(process.pid).memory_info().rss
        await ask(range(first, count))
        grown = (psutil.Process(process.pid).memory_info().rss - before) / 1e6
    assert grown < most, f"grew by {grown:.1f} MB in {count - first} questions"

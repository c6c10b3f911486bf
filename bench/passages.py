"""The rows of 10,000 passages in memory: how long others wait while they are worked on, and what each takes."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path
from tempfile import TemporaryDirectory

import aiohttp

from bench.contest import CLIENTS, Plan, Progress
from bench.help_centre import SECTIONS, questions, vocabulary, write_article, write_help_centre
from bench.load import Request, cost
from bench.measures import NO_CACHE
from bench.model import Pace
from bench.results import Samples
from bench.servers import Lab, Server

_ARTICLES = 2_000
_PASSAGES = _ARTICLES * SECTIONS
_LOOK = 0.1  # seconds between two looks whether it has happened
_PAUSE = 0.01  # seconds between two requests for /health
_LONGEST = 120.0  # seconds until an article is served
_STARTS = 2
_CHANGES = 3
_NOTHING_KEPT = {**NO_CACHE, "SUPPORT_CACHE_DIR": ""}


async def many_passages(lab: Lab, plan: Plan, progress: Progress) -> dict[str, Samples]:
    """Ask for /health while 10,000 passages are read, changed and searched, and compare the memory with that of few."""
    progress.expect(_STARTS + _CHANGES + 1)
    starts: list[float] = []
    memory: list[float] = []
    with TemporaryDirectory() as folder:
        write_help_centre(Path(folder), _ARTICLES)
        for _ in range(_STARTS - 1):
            with lab.apart() as other:
                starts.append(await _started(_many(other, folder), progress))
        with lab.apart() as other:
            few = other.service(Pace(), **_NOTHING_KEPT)
            many = _many(other, folder)
            starts.append(await _started(many, progress))
            memory.append((many.memory() - few.memory()) / _PASSAGES / 1000)
            changes = [await _changed(many, Path(folder), number, progress) for number in range(_CHANGES)]
            asked = iter(questions(CLIENTS * plan.each, _ARTICLES))

            def script(_: int, __: int) -> list[Request]:
                return [Request("POST", "/ask", {"question": next(asked)}) for _ in range(plan.each)]

            beside = await _slowest(many, lambda: cost(many, script, 0, CLIENTS))
            progress.step()
    return {
        "health-start": Samples(starts),
        "health-change": Samples(changes),
        "health-questions": Samples([beside]),
        "passage-memory": Samples(memory),
    }


def _many(lab: Lab, folder: str) -> Server:
    return lab.service(Pace(), ready="/health", SUPPORT_KNOWLEDGE=folder, **_NOTHING_KEPT)


async def _started(server: Server, progress: Progress) -> float:
    """Return the slowest /health in milliseconds until the articles can be searched."""
    async with aiohttp.ClientSession() as session:

        async def ready() -> None:
            while True:
                async with session.get(f"{server.url}/ready") as response:
                    if response.status == HTTPStatus.OK:
                        return
                await asyncio.sleep(_LOOK)

        slowest = await _slowest(server, ready)
    progress.step()
    return slowest


async def _changed(server: Server, folder: Path, number: int, progress: Progress) -> float:
    """Return the slowest /health in milliseconds from an article's change until it is served."""
    address = f"{server.url}/articles/000/article-00000"
    async with aiohttp.ClientSession() as session:
        before = (await session.get(address)).headers["ETag"]
        write_article(folder, 0, vocabulary(), seed=number + 2)

        async def served() -> None:
            while True:
                async with session.get(address) as response:
                    if response.headers.get("ETag") not in (None, before):
                        return
                await asyncio.sleep(_LOOK)

        slowest = await _slowest(server, served)
    progress.step()
    return slowest


async def _slowest(server: Server, work: Callable[[], Awaitable[object]]) -> float:
    """Return the milliseconds of the slowest /health while something happens."""
    slowest = 0.0

    async def ask() -> None:
        nonlocal slowest
        async with aiohttp.ClientSession() as session:
            while True:
                began = time.perf_counter()
                async with session.get(f"{server.url}/health") as response:
                    await response.read()
                slowest = max(slowest, (time.perf_counter() - began) * 1000)
                await asyncio.sleep(_PAUSE)

    asking = asyncio.create_task(ask())
    try:
        async with asyncio.timeout(_LONGEST):
            await work()
    except TimeoutError as error:
        raise server.trouble(f"nothing happened within {_LONGEST:g} s") from error
    finally:
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
    return slowest

"""`python -m bench.frozen_langsmith [SECONDS]`: what it costs when LangSmith accepts traces and never responds.

It compares two services of two replicas each, one of them with tracing. They take turns, one second each, at 50
uncached questions per second, for SECONDS (default: 60) each. The model responds immediately. It prints both services'
latencies and their ratio, and for the traced replicas the largest growth in memory and the longest time to exit.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import aiohttp
import psutil

from local.process import free_port
from local.redis import start_redis

_RATE = 50  # questions per second, over all replicas
_REPLICAS = 2  # as in docker-compose.yml
_WARM_UP = 3  # seconds, not measured
_REPOSITORY = Path(__file__).parent.parent


@contextmanager
def _process(*command: str, **variables: str) -> Generator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [sys.executable, *command],
        env={**os.environ, **variables},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


async def _take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(asyncio.CancelledError):
        while await reader.read(65536):
            pass
    writer.close()


async def _ready(session: aiohttp.ClientSession, url: str) -> None:
    while True:
        try:
            async with session.get(f"{url}/health"):
                return
        except aiohttp.ClientConnectionError:
            await asyncio.sleep(0.1)


async def _second(session: aiohttp.ClientSession, urls: Sequence[str], taken: list[float]) -> None:
    """Send requests to the replicas in turn for a second, at a constant rate, and wait for the responses."""

    async def ask(number: int) -> None:
        await asyncio.sleep(number / _RATE)
        began = time.perf_counter()
        async with session.post(f"{urls[number % len(urls)]}/ask", json={"question": f"{number}?"}) as answer:
            answer.raise_for_status()
            await answer.read()
        taken.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(ask(number) for number in range(_RATE)))


async def _measure(seconds: int) -> None:
    model = free_port()
    langsmith = await asyncio.start_server(_take, "127.0.0.1", 0)
    with ExitStack() as stack:
        redis = stack.enter_context(start_redis())
        redis.wait()
        stack.enter_context(_process("-m", "bench.model", str(model)))
        variables = {
            "OPENAI_BASE_URL": f"http://127.0.0.1:{model}/v1",
            "REDIS_URL": redis.url,
            "SUPPORT_KNOWLEDGE": str(_REPOSITORY / "knowledge"),
            "SUPPORT_RATE_LIMIT": "",
            "SUPPORT_CACHE_TTL": "0",
        }
        tracing = {
            "LANGSMITH_TRACING": "true",
            "LANGSMITH_API_KEY": "key",
            "LANGSMITH_ENDPOINT": f"http://127.0.0.1:{langsmith.sockets[0].getsockname()[1]}",
        }

        def start(**more: str) -> tuple[str, subprocess.Popen[bytes]]:
            port = str(free_port())
            command = (str(Path(sys.executable).with_name("support-agent")), "serve", "--port", port)
            return f"http://127.0.0.1:{port}", stack.enter_context(_process(*command, **variables, **more))

        plain, traced = [start() for _ in range(_REPLICAS)], [start(**tracing) for _ in range(_REPLICAS)]
        services: list[tuple[list[str], list[float]]] = [([url for url, _ in one], []) for one in (plain, traced)]
        processes = [process for _, process in traced]
        async with aiohttp.ClientSession() as session:
            for urls, times in services:
                for url in urls:
                    await _ready(session, url)
                for _ in range(_WARM_UP):
                    await _second(session, urls, times)
                times.clear()
            memory = [psutil.Process(process.pid).memory_info().rss for process in processes]
            for _ in range(seconds):
                for urls, times in services:
                    await _second(session, urls, times)
        grown = [psutil.Process(one.pid).memory_info().rss - then for one, then in zip(processes, memory, strict=True)]
        exits = [_exit(process) for process in processes]
    langsmith.close()
    _print([times for _, times in services], max(grown), max(exits))


def _exit(process: subprocess.Popen[bytes]) -> float:
    process.terminate()
    began = time.perf_counter()
    process.wait(30)
    return time.perf_counter() - began


def _print(taken: Sequence[list[float]], grown: int, ended: float) -> None:
    print(f"{'':12}{'untraced':>12}{'frozen':>12}{'ratio':>8}")
    for name, cut in (("p50", 49), ("p90", 89), ("p99", 98)):
        one, other = (statistics.quantiles(times, n=100)[cut] for times in taken)
        print(f"{name:12}{one:>9.1f} ms{other:>9.1f} ms{other / one:>8.2f}")
    print(f"memory +{grown / 2**20:.0f} MB, exit after {ended:.1f} s")


if __name__ == "__main__":
    asyncio.run(_measure(int(sys.argv[1]) if len(sys.argv) > 1 else 60))

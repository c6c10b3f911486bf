"""`uv run python bench/frozen_langsmith.py [SECONDS]`: what a LangSmith that takes traces and never answers costs.

Two processes of the service, one of them traced, are asked by turns for a second each, 50 uncached questions a second,
for SECONDS (60) each; their model answers at once. Printed: latencies of both, their ratio, memory, and the exit.
"""

import asyncio
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Generator, Iterable
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import aiohttp
import psutil

from support_agent.local.process import free_port
from support_agent.local.redis import start_redis

_RATE = 50  # questions a second
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


async def _second(session: aiohttp.ClientSession, url: str, taken: list[float]) -> None:
    """Ask for a second, at a steady rate, and wait for the answers."""

    async def ask(number: int) -> None:
        await asyncio.sleep(number / _RATE)
        began = time.perf_counter()
        async with session.post(f"{url}/ask", json={"question": f"{number}?"}) as answer:
            answer.raise_for_status()
            await answer.read()
        taken.append((time.perf_counter() - began) * 1000)

    await asyncio.gather(*(ask(number) for number in range(_RATE)))


async def _measure(seconds: int) -> None:
    model, plain, traced = free_port(), free_port(), free_port()
    langsmith = await asyncio.start_server(_take, "127.0.0.1", 0)
    with ExitStack() as stack:
        redis = stack.enter_context(start_redis())
        redis.wait()
        stack.enter_context(_process("bench/model.py", str(model)))
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
        serve = (str(Path(sys.executable).with_name("support-agent")), "serve", "--port")
        stack.enter_context(_process(*serve, str(plain), **variables))
        process = stack.enter_context(_process(*serve, str(traced), **variables, **tracing))
        taken: dict[str, list[float]] = {f"http://127.0.0.1:{plain}": [], f"http://127.0.0.1:{traced}": []}
        # The server hangs up what is idle for 5 seconds; the client must be first.
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(keepalive_timeout=1)) as session:
            for url, times in taken.items():
                await _ready(session, url)
                await _second(session, url, times)
                times.clear()
            memory = psutil.Process(process.pid).memory_info().rss
            for _ in range(seconds):
                for url, times in taken.items():
                    await _second(session, url, times)
        grown = psutil.Process(process.pid).memory_info().rss - memory
        process.terminate()
        began = time.perf_counter()
        process.wait(30)
        ended = time.perf_counter() - began
    langsmith.close()
    _print(taken.values(), grown, ended)


def _print(taken: Iterable[list[float]], grown: int, ended: float) -> None:
    print(f"{'':12}{'untraced':>12}{'frozen':>12}{'ratio':>8}")
    for name, cut in (("p50", 49), ("p90", 89), ("p99", 98)):
        one, other = (statistics.quantiles(times, n=100)[cut] for times in taken)
        print(f"{name:12}{one:>9.1f} ms{other:>9.1f} ms{other / one:>8.2f}")
    print(f"memory +{grown / 2**20:.0f} MB, exit after {ended:.1f} s")


if __name__ == "__main__":
    asyncio.run(_measure(int(sys.argv[1]) if len(sys.argv) > 1 else 60))

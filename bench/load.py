"""Clients: requests from several at once, first tokens, and streams that stay open."""

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from http import HTTPStatus
from itertools import pairwise

import aiohttp

from bench.servers import Server, Unmeasured

_EVENT = b"event: token"
_MARK = b"data: "
_END = b"[DONE]"
_LOOK = 0.25  # seconds between two looks at the server's memory


@dataclass(frozen=True, slots=True)
class Request:
    """One request of a client."""

    method: str
    path: str
    body: dict[str, str] | None = None


Script = Callable[[int, int], Iterable[Request]]
"""Returns what a client sends, for the round (from 0, -1 for the warm-up) and the client (from 0)."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a round of requests took."""

    cpu: float
    """Milliseconds of the server's CPU for a request."""
    rate: float
    """Requests per second."""


async def cost(server: Server, script: Script, number: int, clients: int) -> Cost:
    """Send round `number` of a script from `clients` at once, each one request after the other; raises Unmeasured."""
    sent = 0

    async def client(session: aiohttp.ClientSession, requests: Iterable[Request]) -> None:
        nonlocal sent
        for request in requests:
            async with _open(session, server, request) as response:
                await response.read()
            sent += 1

    scripts = [script(number, index) for index in range(clients)]
    async with _session() as session:
        cpu, began = server.cpu(), time.perf_counter()
        await asyncio.gather(*(client(session, requests) for requests in scripts))
        seconds = time.perf_counter() - began
        return Cost((server.cpu() - cpu) * 1000 / sent, sent / seconds)


async def first_tokens(server: Server, script: Script, number: int, clients: int) -> list[float]:
    """Return the milliseconds from each streamed request to its event `token`; raises Unmeasured."""
    taken: list[float] = []

    async def client(session: aiohttp.ClientSession, requests: Iterable[Request]) -> None:
        for request in requests:
            began = time.perf_counter()
            waiting = True
            async with _open(session, server, request) as response:
                async for line in response.content:
                    if waiting and line.startswith(_EVENT):
                        taken.append((time.perf_counter() - began) * 1000)
                        waiting = False
            if waiting:
                raise server.trouble(f"{request.path} sends no token")

    async with _session() as session:
        await asyncio.gather(*(client(session, script(number, index)) for index in range(clients)))
    return taken


@dataclass(frozen=True, slots=True)
class Streams:
    """What became of streams that were open at once."""

    errors: int
    """Streams that were refused, or ended early."""
    gaps: list[float]
    """Milliseconds between two tokens, of all the streams."""
    memory: float
    """Bytes that the server grew by, for each of the streams that were open at once."""


async def open_streams(server: Server, request: Request, count: int, ramp: float, tokens: int) -> Streams:
    """Open `count` streams within `ramp` seconds and read `tokens` of each."""
    gaps: list[float] = []
    errors = most_open = 0
    held: set[int] = set()
    before = most = server.memory()

    async def client(session: aiohttp.ClientSession, number: int) -> None:
        nonlocal errors, most_open
        await asyncio.sleep(ramp * number / count)
        arrived: list[float] = []
        try:
            async with _open(session, server, request) as response:
                held.add(number)
                most_open = max(most_open, len(held))
                async for line in response.content:
                    if line.startswith(_MARK) and _END not in line:
                        arrived.append(time.perf_counter())  # noqa: PERF401 - kept also if the stream breaks
        except Unmeasured:
            errors += 1
        else:
            errors += len(arrived) != tokens
        finally:
            held.discard(number)
        gaps.extend((later - earlier) * 1000 for earlier, later in pairwise(arrived))

    async def watch() -> None:
        nonlocal most
        while True:
            await asyncio.sleep(_LOOK)
            most = max(most, server.memory())

    watching = asyncio.create_task(watch())
    async with _session() as session:
        await asyncio.gather(*(client(session, number) for number in range(count)))
    watching.cancel()
    if not gaps:
        raise server.trouble(f"none of {count} streams sends two tokens")
    return Streams(errors, gaps, (most - before) / most_open)


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(total=None, sock_read=60)
    )


@asynccontextmanager
async def _open(
    session: aiohttp.ClientSession, server: Server, request: Request
) -> AsyncGenerator[aiohttp.ClientResponse]:
    """Send a request, and yield its response; raises Unmeasured, also if the response ends early."""
    what = f"{request.method} {request.path}"
    try:
        async with session.request(request.method, server.url + request.path, json=request.body) as response:
            if response.status != HTTPStatus.OK:
                raise server.trouble(f"{what} responds with {response.status}")
            yield response
    except (aiohttp.ClientError, TimeoutError) as error:
        raise server.trouble(f"{what} fails with {type(error).__name__}") from error

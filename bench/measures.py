"""The rows in which the service and its peers take turns."""

import asyncio
import statistics
from collections.abc import Awaitable, Callable

from bench.contest import Plan, Progress, costs, in_turn
from bench.load import first_tokens
from bench.model import Pace
from bench.results import Samples
from bench.scripts import ASK, KEPT, STREAM, repeat, talk
from bench.servers import Lab, Server

NO_CACHE = {"SUPPORT_CACHE_TTL": "0"}
"""Settings of a service that asks the model each time."""

_TTFT = 0.05  # seconds that the model takes to its first token
_MANY = 50  # clients at once
_IDLE = 1.0  # seconds after the start at which memory is measured


async def asks(lab: Lab, plan: Plan, progress: Progress) -> dict[str, Samples]:
    """Measure the CPU of a question."""
    servers = (lab.service(Pace(), **NO_CACHE), lab.peer("raw_sdk", Pace()), lab.peer("plain_graph", Pace()))
    script = repeat(ASK, plan.each)
    ours, sdk, graph = await in_turn([costs(server, script) for server in servers], plan, progress)
    return {"ask-sdk": Samples.of(ours, sdk), "ask-graph": Samples.of(ours, graph)}


async def streams(lab: Lab, plan: Plan, progress: Progress) -> dict[str, Samples]:
    """Measure the CPU of a streamed answer."""
    servers = (lab.service(Pace(), **NO_CACHE), lab.peer("raw_sdk", Pace()))
    script = repeat(STREAM, plan.each)
    return {"stream-sdk": Samples.of(*await in_turn([costs(server, script) for server in servers], plan, progress))}


def _with_memory(lab: Lab, pace: Pace) -> tuple[Server, Server]:
    return lab.service(pace, **NO_CACHE), lab.peer("plain_memory", pace, lab.redis_with_modules())


async def chats(lab: Lab, plan: Plan, progress: Progress) -> dict[str, Samples]:
    """Measure the CPU of a conversation's turn."""
    script = talk("/chat", plan.each)
    contestants = [costs(server, script) for server in _with_memory(lab, Pace())]
    return {"chat-graph": Samples.of(*await in_turn(contestants, plan, progress))}


async def cached(lab: Lab, plan: Plan, progress: Progress) -> dict[str, Samples]:
    """Measure the CPU of an answer from the cache."""
    times = plan.each * 8  # a request takes little CPU, and psutil counts hundredths of a second
    contestants = [
        costs(lab.service(Pace()), repeat(ASK, times)),
        costs(lab.peer("redis_get", Pace(), lab.redis()), repeat(KEPT, times)),
    ]
    return {"cached-get": Samples.of(*await in_turn(contestants, plan, progress))}


def _first_token(server: Server, clients: int, each: int) -> Callable[[int], Awaitable[float]]:
    """Return a contestant: the milliseconds to the first token beyond the model's own."""

    async def contestant(number: int) -> float:
        taken = await first_tokens(server, talk("/chat/stream", each), number, clients)
        return statistics.median(taken) - _TTFT * 1000

    return contestant


async def first_of_one(lab: Lab, plan: Plan, progress: Progress) -> dict[str, Samples]:
    """Measure the time to the first token for one client."""
    servers = _with_memory(lab, Pace(ttft=_TTFT))
    contestants = [_first_token(server, 1, plan.each) for server in servers]
    return {"first-token-1": Samples(*await in_turn(contestants, plan, progress))}


async def first_of_many(lab: Lab, plan: Plan, progress: Progress) -> dict[str, Samples]:
    """Measure the time to the first token for 50 clients."""
    servers = _with_memory(lab, Pace(ttft=_TTFT))
    contestants = [_first_token(server, _MANY, max(1, plan.each // 10)) for server in servers]
    return {"first-token-50": Samples(*await in_turn(contestants, plan, progress))}


async def starts(lab: Lab, plan: Plan, progress: Progress) -> dict[str, Samples]:
    """Measure starts, and the memory after them; the first one, which builds the index, does not count."""
    database, modules = lab.postgres(), lab.redis_with_modules()

    lab.redis()
    lab.model(Pace())

    def started(start: Callable[[Lab], Server]) -> Callable[[int], Awaitable[tuple[float, float]]]:
        async def contestant(_: int) -> tuple[float, float]:
            with lab.apart() as other:
                server = start(other)
                await asyncio.sleep(_IDLE)
                return server.start, server.memory() / 1e6

        return contestant

    ours, peer = await in_turn(
        [
            started(lambda other: other.service(Pace(), DATABASE_URL=database)),
            started(lambda other: other.peer("plain_memory", Pace(), modules)),
        ],
        plan,
        progress,
    )
    return {
        "start": Samples([seconds for seconds, _ in ours], [seconds for seconds, _ in peer]),
        "memory": Samples([size for _, size in ours], [size for _, size in peer]),
    }

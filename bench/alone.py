"""The rows in which the service is compared with itself, or with a bar alone."""

import asyncio
import secrets
import statistics
from pathlib import Path
from tempfile import TemporaryDirectory

from redis.asyncio import Redis

from bench.contest import Plan, Progress, costs, in_turn
from bench.load import Cost, Script, cost, open_streams
from bench.measures import NO_CACHE
from bench.model import Pace
from bench.results import Samples
from bench.scripts import ASK, STREAM, repeat, say, talk
from bench.servers import KNOWLEDGE, Lab, Server

_COUNTED = 20  # requests whose Redis commands are counted
_LAST = "the last command"
_SESSIONS = 4  # long conversations at once
_WINDOW = 20  # turns measured in a round
_LATE, _EARLY = 970, 10  # turns before them; the old conversations' warm-up has 20 more
_MANY_ARTICLES = 10_000
_WARM_UP = 50  # streams
_QUIET = 2.0  # seconds after the warm-up


async def commands(lab: Lab, _: Plan, progress: Progress) -> dict[str, Samples]:
    """Count the Redis commands of a turn, and of an answer from the cache."""
    progress.expect(2)
    turn = await _count(lab, lab.service(Pace(), **NO_CACHE), talk("/chat", _COUNTED))
    progress.step()
    cached = await _count(lab, lab.service(Pace()), repeat(ASK, _COUNTED))
    progress.step()
    return {"redis-turn": Samples([turn]), "redis-cached": Samples([cached])}


async def _count(lab: Lab, server: Server, script: Script) -> float:
    """Return the Redis commands for each of one client's requests; what a Lua script calls does not count."""
    await cost(server, script, -1, 1)  # opens the connections, fills the cache
    seen = 0
    async with Redis.from_url(lab.redis()) as watching, Redis.from_url(lab.redis()) as redis:
        await redis.ping()  # so that it does not connect later
        async with watching.monitor() as monitor:
            sending = asyncio.create_task(_send(server, script, redis))
            async for command in monitor.listen():
                if _LAST in command["command"]:
                    break
                seen += command["client_type"] != "lua"
        await sending
    return seen / _COUNTED


async def _send(server: Server, script: Script, redis: Redis) -> None:
    await cost(server, script, 0, 1)
    await redis.echo(_LAST)


async def long_sessions(lab: Lab, plan: Plan, progress: Progress) -> dict[str, Samples]:
    """Measure the turns around turn 1,000 of conversations, and in turn those around turn 20 of new ones."""
    server = lab.service(Pace(), **NO_CACHE)
    prefix = secrets.token_hex(4)

    def turns(age: str, count: int) -> Script:
        return lambda _round, client: [say(f"{prefix}.{age}.{client}")] * count

    async def late(number: int) -> Cost:
        return await cost(server, turns("old", _WINDOW), number, _SESSIONS)

    async def early(number: int) -> Cost:
        await cost(server, turns(f"new{number}", _EARLY), number, _SESSIONS)
        return await cost(server, turns(f"new{number}", _WINDOW), number, _SESSIONS)

    await cost(server, turns("old", _LATE), -1, _SESSIONS)
    return {"turn-1000": Samples.of(*await in_turn([late, early], plan, progress))}


async def many_articles(lab: Lab, plan: Plan, progress: Progress) -> dict[str, Samples]:
    """Measure a question among 10,000 articles, and in turn one among the sample's 90."""
    with TemporaryDirectory() as folder, lab.apart() as other:
        _write_articles(Path(folder), _MANY_ARTICLES)
        many = other.service(Pace(), SUPPORT_KNOWLEDGE=folder, **NO_CACHE)
        few = other.service(Pace(), **NO_CACHE)
        script = repeat(ASK, plan.each)
        found = await in_turn([costs(server, script) for server in (many, few)], plan, progress)
    return {"articles-10000": Samples.of(*found)}


def _write_articles(folder: Path, count: int) -> None:
    """Write copies of the sample's articles, each with an id and a title of its own."""
    (folder / "company.yaml").write_bytes((KNOWLEDGE / "company.yaml").read_bytes())
    originals = [path.read_text("utf-8") for path in sorted(KNOWLEDGE.glob("*.md"))]
    for number in range(count):
        text = originals[number % len(originals)]
        text = text.replace("\nid: ", f"\nid: a{number}-", 1).replace("\ntitle: ", f"\ntitle: {number} ", 1)
        (folder / f"{number}.md").write_text(text, "utf-8")


async def slow_streams(lab: Lab, _: Plan, progress: Progress) -> dict[str, Samples]:
    """Hold 1,000 streams open, of a token per second."""
    return await _hold(lab, progress, 1000, Pace(tokens=40, gap=1), ramp=15)


async def fast_streams(lab: Lab, _: Plan, progress: Progress) -> dict[str, Samples]:
    """Hold 150 streams open, of 20 tokens per second."""
    return await _hold(lab, progress, 150, Pace(tokens=400, gap=0.05), ramp=5)


async def _hold(lab: Lab, progress: Progress, count: int, pace: Pace, ramp: float) -> dict[str, Samples]:
    progress.expect(2)
    with lab.apart() as other:
        server = other.service(pace, **NO_CACHE)
        await open_streams(server, STREAM, _WARM_UP, ramp=1, tokens=pace.tokens)
        await asyncio.sleep(_QUIET)
        progress.step()
        held = await open_streams(server, STREAM, count, ramp, pace.tokens)
        progress.step()
    beyond = statistics.quantiles(held.gaps, n=100)[98] - pace.gap * 1000
    name = f"streams-{count}"
    return {
        f"{name}-errors": Samples([held.errors]),
        f"{name}-gap": Samples([beyond]),
        f"{name}-memory": Samples([held.memory / 1000]),
    }

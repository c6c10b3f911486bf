"""The run log: a run's events in Redis, so that any replica can serve a client that reconnects.

`run:<id>` is a stream of batches of events, whose first entry also holds the owner. `run:<id>:alive` is the heartbeat:
it exists while a replica executes the run, and its value is `cancel` once the caller has cancelled the run.
`run:<id>:read` exists while a client reads the run from another replica. All keys expire.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis
from redis.asyncio.client import Pipeline

from graph.errors import Interrupted
from graph.events import Ending, Event, Failed
from graph.redis import memory_errors
from graph.runs.batches import Batches, numbered

ALIVE = 10
"""Seconds without a heartbeat after which a replica counts as gone."""

_READING = 5  # seconds that one poll counts as reading the run
_POLL = 0.1  # seconds between two polls for new events
_CANCEL = b"cancel"


class RunLog:
    """The logs of all runs; every method raises MemoryUnavailable if Redis can't be reached."""

    def __init__(self, redis: Redis, ttl: int) -> None:
        self._redis = redis
        self._batches = Batches(redis)
        self.ttl = max(ttl, ALIVE)
        """Seconds after a run's last heartbeat until its log and its idempotency claim expire."""

    async def begin(self, run_id: str, owner: str, first: Event) -> None:
        """Write the first event, the owner, who may read the run, and the run's heartbeat."""
        beat = alive_key(run_id), ALIVE
        with memory_errors():
            await self._batches.append(log_key(run_id), 0, [first], self.ttl, owner=owner, heartbeat=beat)

    def keep_alive(self, pipe: Pipeline, run_id: str) -> None:
        """Add the heartbeat of a run that this replica executes, or is about to, to `pipe`."""
        pipe.set(alive_key(run_id), "run", ex=ALIVE)

    async def announce(self, run_id: str) -> None:
        """Write the heartbeat of a run that waits, so that other replicas can follow and cancel it."""
        with memory_errors():
            await self._redis.set(alive_key(run_id), "run", ex=ALIVE)

    async def give_up(self, run_id: str) -> None:
        """Record that a run will not begin."""
        with memory_errors():
            await self._redis.delete(alive_key(run_id))

    async def append(self, run_id: str, after: int, events: Sequence[Event], ttl: int | None = None) -> None:
        """Write the events that follow the `after`-th; an event that ends the run also ends its heartbeat.

        The log expires `ttl` seconds later, if that is sooner than usual.
        """
        beat = (alive_key(run_id), 0) if isinstance(events[-1], Ending) else None
        seconds = self.ttl if ttl is None else min(ttl, self.ttl)
        with memory_errors():
            await self._batches.append(log_key(run_id), after, events, seconds, heartbeat=beat)

    async def forget(self, run_ids: Sequence[str]) -> None:
        """Delete the logs of runs that have ended."""
        if run_ids:
            with memory_errors():
                await self._redis.delete(*map(log_key, run_ids))

    async def owner(self, run_id: str) -> str | None:
        """Return the owner, who may read and cancel the run; None if there is no such run."""
        with memory_errors():
            entries = cast("list[Any]", await self._redis.xrange(log_key(run_id), count=1))
        return entries[0][1].get(b"owner", b"").decode() or None if entries else None

    async def is_starting(self, run_id: str) -> bool | None:
        """Return whether the run has yet to begin; None if it never will, or ended before its second event."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.xlen(log_key(run_id))
        pipe.exists(alive_key(run_id))
        with memory_errors():
            events, alive = await pipe.execute()
        if events > 1:
            return False
        return events == 0 if alive else None

    async def states(self, run_ids: Sequence[str]) -> list[tuple[Event | None, bool]]:
        """Return the last logged event of each run, if any, and whether it has a heartbeat."""
        pipe = self._redis.pipeline(transaction=True)
        for run_id in run_ids:
            pipe.xrevrange(log_key(run_id), count=1)
            pipe.exists(alive_key(run_id))
        with memory_errors():
            found = await pipe.execute() if run_ids else []
        return [
            (numbered(entries, 0)[-1][1] if entries else None, bool(alive))
            for entries, alive in zip(found[::2], found[1::2], strict=True)
        ]

    async def is_read(self, run_id: str, after: int) -> bool:
        """Return whether the `after`-th event was the run's last."""
        last = await self._last(run_id)
        return last is not None and isinstance(last[1], Ending) and last[0] == after

    async def lacks(self, run_id: str, after: int) -> bool:
        """Return whether the run never had an `after`-th event.

        A reader may see an event before it is logged, so this waits until the event is logged, the run has ended, or
        ALIVE seconds have passed. It returns False if the run's replica is gone, since events may be lost with it.
        """
        give_up = time.monotonic() + ALIVE
        while True:
            alive = await self._poll_heartbeat(run_id)
            last = await self._last(run_id)
            if last is None or last[0] >= after:
                return False
            if isinstance(last[1], Ending):
                return last[1] != Failed(Interrupted.code)
            if not alive or time.monotonic() > give_up:
                return alive
            await asyncio.sleep(_POLL)

    async def follow(self, run_id: str, after: int) -> AsyncIterator[tuple[int, Event]]:
        """Yield the events after the `after`-th as they happen, with their numbers.

        A run whose replica is gone ends with one Failed, which is the same for every reader.
        """
        polls = 0
        while True:
            alive = await self._poll_heartbeat(run_id) if polls % 10 == 0 else True
            entries = await self._read(run_id, after)
            for n, event in entries:
                after = n
                yield n, event
                if isinstance(event, Ending):
                    return
            if alive or entries:
                await asyncio.sleep(_POLL)
                polls += 1
                continue
            last = await self._last(run_id)
            if last is None:  # expired
                yield 0, Failed(Interrupted.code)
                return
            if isinstance(last[1], Ending):  # the reader has seen more than was logged
                yield last
                return
            await self._end_orphan(run_id, max(after, last[0]))

    async def cancel(self, run_id: str) -> None:
        """Ask the replica that executes the run to cancel it."""
        with memory_errors():
            await self._redis.set(alive_key(run_id), _CANCEL, xx=True, keepttl=True)

    async def heartbeat(
        self, run_ids: Sequence[str], claims: Iterable[str], *, refresh: bool
    ) -> dict[str, tuple[bool, bool]]:
        """Return for each run whether to cancel it, and whether another replica's client reads it.

        `refresh` also renews the expiry of the runs and of the idempotency claims.
        """
        keys = [key for run_id in run_ids for key in (alive_key(run_id), _read(run_id))]
        pipe = self._redis.pipeline(transaction=False)
        pipe.mget(keys)
        if refresh:
            for run_id in run_ids:
                pipe.expire(alive_key(run_id), ALIVE)
                pipe.expire(log_key(run_id), self.ttl)
            for claim in claims:
                pipe.expire(claim, self.ttl)
        with memory_errors():
            values = (await pipe.execute())[0]
        states = zip(values[::2], values[1::2], strict=True)
        return {
            run_id: (alive == _CANCEL, read is not None) for run_id, (alive, read) in zip(run_ids, states, strict=True)
        }

    async def _poll_heartbeat(self, run_id: str) -> bool:
        """Return whether the run has a heartbeat, and mark the run as being read."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.exists(alive_key(run_id))
        pipe.set(_read(run_id), 1, ex=_READING)
        with memory_errors():
            return bool((await pipe.execute())[0])

    async def _read(self, run_id: str, after: int) -> list[tuple[int, Event]]:
        with memory_errors():
            entries = cast("list[Any]", await self._redis.xrange(log_key(run_id), min=f"(0-{after}"))
        return numbered(entries, after)

    async def _last(self, run_id: str) -> tuple[int, Event] | None:
        with memory_errors():
            entries = cast("list[Any]", await self._redis.xrevrange(log_key(run_id), count=1))
        return numbered(entries, 0)[-1] if entries else None

    async def _end_orphan(self, run_id: str, after: int) -> None:
        # If another reader did so first, or the run was only slow, the entry already exists and is kept.
        await self.append(run_id, after, [Failed(Interrupted.code)])


@dataclass(frozen=True, slots=True)
class LoggedRun:
    """A turn that another replica executes, or that has ended; its events are read from the run log."""

    id: str
    log: RunLog

    def follow(self, after: int = 0) -> AsyncIterator[tuple[int, Event]]:
        """Yield the events after the `after`-th as they happen, with their numbers, until Done or Failed."""
        return self.log.follow(self.id, after)

    async def lacks(self, after: int) -> bool:
        """Return whether the run never had an `after`-th event."""
        return await self.log.lacks(self.id, after)

    async def is_read(self, after: int) -> bool:
        """Return whether the `after`-th event was the run's last."""
        return await self.log.is_read(self.id, after)


def log_key(run_id: str) -> str:
    """Return the Redis key of a run's log."""
    return f"run:{run_id}"


def alive_key(run_id: str) -> str:
    """Return the Redis key of a run's heartbeat."""
    return f"run:{run_id}:alive"


def _read(run_id: str) -> str:
    return f"run:{run_id}:read"

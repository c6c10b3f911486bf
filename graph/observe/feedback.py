"""What customers think of answers: kept in Redis, and passed on to LangSmith.

`run:<id>:record` holds what a run was asked and answered, masked, for a day, so that it can be rated. `feedback` is a
stream of ratings, each with its run's record, and `run:<id>:rated` names a run's entry, which its next rating replaces.
LangSmith's consumer group takes ratings from the stream, so that its outages and ours lose none.
"""

import asyncio
import contextlib
import threading
import uuid
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, Any, cast

from pydantic import Field, TypeAdapter
from redis.asyncio import Redis
from redis.exceptions import RedisError, ResponseError

from graph.events import Done
from graph.observe.redaction import Redactor
from graph.observe.report import RunReport
from graph.observe.tracing import Tracing
from graph.redis import memory_errors

RATABLE = 86_400
"""Seconds that a run can be rated."""

_STREAM = "feedback"
_GROUP = "langsmith"
_MOST = 10_000  # ratings that are kept, the latest
_AT_ONCE = 10  # ratings that are passed on at once
_PAUSE = 1.0  # seconds between two looks for ratings to pass on
_ORPHANED = 30_000  # milliseconds after which another replica passes a rating on


@dataclass(frozen=True, slots=True)
class Record:
    """What a run was asked and answered."""

    tenant: str
    question: str
    category: str | None = None
    sources: Sequence[str] = ()
    answer: str | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Rating:
    """What somebody thinks of a run; a later rating replaces it."""

    run_id: str
    score: Annotated[float, Field(ge=0, le=1)]
    comment: str | None
    record: Record


_record_json = TypeAdapter(Record)
_rating_json = TypeAdapter(Rating)


class Feedback:
    """The ratings; methods raise MemoryUnavailable where Redis can't be reached."""

    def __init__(self, redis: Redis, redactor: Redactor) -> None:
        self._redis = redis
        self._redactor = redactor
        self._remembering: set[asyncio.Task[None]] = set()

    def observe(self, report: RunReport) -> None:
        """Remember a run for those who will rate it."""
        task = asyncio.create_task(self._remember(report.run_id, self._record(report)))
        self._remembering.add(task)
        task.add_done_callback(self._remembering.discard)

    async def give(self, run_id: str, tenant: str, score: float, comment: str | None) -> bool:
        """Keep a rating, from 0 to 1; return whether the tenant has such a run."""
        await self.settle()
        with memory_errors():
            found = await self._redis.get(_key(run_id))
        record = _record_json.validate_json(found) if found else None
        if record is None or record.tenant != tenant:
            return False
        rating = Rating(run_id, score, comment and self._redactor.text(comment), record)
        with memory_errors():
            entry = await self._redis.xadd(_STREAM, {"rating": _rating_json.dump_json(rating)}, maxlen=_MOST)
            earlier = await self._redis.set(_rated(run_id), cast("bytes", entry), ex=RATABLE, get=True)
            if earlier:
                await self._redis.xdel(_STREAM, cast("bytes", earlier))
        return True

    async def below(self, score: float) -> list[Rating]:
        """Return the ratings below a score, the earliest first."""
        with memory_errors():
            entries = cast("list[Any]", await self._redis.xrange(_STREAM))
        return [rating for _, rating in map(_entry, entries) if rating.score < score]

    async def settle(self) -> None:
        """Wait until all runs that have ended are remembered."""
        if self._remembering:
            await asyncio.wait(self._remembering)

    async def _remember(self, run_id: str, record: Record) -> None:
        with contextlib.suppress(RedisError):
            await self._redis.set(_key(run_id), _record_json.dump_json(record), ex=RATABLE)

    def _record(self, report: RunReport) -> Record:
        tenant, question, ending = report.context.tenant, self._redactor.text(report.question), report.ending
        if isinstance(ending, Done):
            sources = [source.id for source in ending.sources]
            return Record(tenant, question, ending.category, sources, self._redactor.text(ending.answer))
        return Record(tenant, question, error=ending.error if ending else None)


class _Forwarding:
    """Passes ratings on to LangSmith."""

    def __init__(self, redis: Redis, tracing: Tracing) -> None:
        self.closed = asyncio.Event()
        self._redis = redis
        self._tracing = tracing
        self._name = uuid.uuid4().hex

    async def keep_on(self) -> None:
        """Pass on what is rated, until closed."""
        while not self.closed.is_set():
            with contextlib.suppress(RedisError):
                for name, rating in await self._waiting():
                    if not await self._send(name, rating):
                        break
                    await self._redis.xack(_STREAM, _GROUP, name)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_PAUSE):
                    await self.closed.wait()

    async def _waiting(self) -> list[tuple[str, Rating]]:
        """Return ratings that are ours to pass on: earlier ones, those of replicas that are gone, and new ones."""
        with contextlib.suppress(ResponseError):  # there is such a group
            await self._redis.xgroup_create(_STREAM, _GROUP, id="0", mkstream=True)
        await self._redis.xautoclaim(_STREAM, _GROUP, self._name, _ORPHANED, count=_AT_ONCE)
        for since in ("0", ">"):
            found = cast("Any", await self._redis.xreadgroup(_GROUP, self._name, {_STREAM: since}, count=_AT_ONCE))
            entries = [entry for _, entries in found for entry in entries]
            if gone := [name for name, fields in entries if not fields]:  # rated again since
                await self._redis.xack(_STREAM, _GROUP, *gone)
            if there := [_entry(entry) for entry in entries if entry[1]]:
                return there
        return []

    async def _send(self, name: str, rating: Rating) -> bool:
        """Return whether it is sent; false where the service ends before, or LangSmith is away."""
        name = str(uuid.uuid5(uuid.UUID(rating.run_id), name))  # the same when it is sent again
        loop = asyncio.get_running_loop()
        sent: asyncio.Future[bool] = loop.create_future()

        def send() -> None:
            is_sent = self._tracing.rate(rating.run_id, rating.score, rating.comment, name)
            with contextlib.suppress(RuntimeError):  # nobody waits any more
                loop.call_soon_threadsafe(sent.set_result, is_sent)

        # A thread of its own, since the loop's executor is waited for at the end, for as long as LangSmith likes.
        threading.Thread(target=send, name="langsmith-rating", daemon=True).start()
        closed = asyncio.create_task(self.closed.wait())
        await asyncio.wait((sent, closed), return_when=asyncio.FIRST_COMPLETED)
        closed.cancel()
        return sent.done() and sent.result()


@asynccontextmanager
async def open_feedback(redis: Redis, redactor: Redactor, tracing: Tracing | None) -> AsyncGenerator[Feedback]:
    """Keep ratings, and pass them on where runs are traced."""
    feedback = Feedback(redis, redactor)
    forwarding = _Forwarding(redis, tracing) if tracing else None
    keeping = asyncio.create_task(forwarding.keep_on()) if forwarding else None
    try:
        yield feedback
    finally:
        if forwarding and keeping:
            forwarding.closed.set()
            await asyncio.wait([keeping])
        await feedback.settle()


def _entry(entry: tuple[bytes, dict[bytes, bytes]]) -> tuple[str, Rating]:
    return entry[0].decode(), _rating_json.validate_json(entry[1][b"rating"])


def _rated(run_id: str) -> str:
    return f"run:{run_id}:rated"


def _key(run_id: str) -> str:
    return f"run:{run_id}:record"

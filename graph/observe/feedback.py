"""Customers' ratings of answers, stored in Redis.

`run:<id>:record` stores a run's question and answer, masked, for 24 hours, so that the run can be rated. Of an answer
that may be cached it is `run:<beginning>:hits`, for as long as there may be hits, which store nothing: their ids begin
as that of the run that gave the answer. `feedback:records` has the names of these keys with their expiry, so that the
oldest can be deleted when there are too many. `feedback` is a stream of ratings, each with its run's record, for 90
days.
`run:<id>:rated` stores the id of a run's entry in the stream, which the run's next rating replaces, and the rating's
hash. `feedback:of:<conversation>` has a conversation's runs with their entries in the stream, so that it can all be
deleted.
"""

import hashlib
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Any, Final, cast

from pydantic import Field, TypeAdapter
from redis.asyncio import Redis

from graph.events import Done
from graph.observe import KEPT_DAYS
from graph.observe.background import Background
from graph.observe.prices import OPENAI, cost_of
from graph.observe.redaction import Redactor
from graph.observe.report import RunReport
from graph.redis import memory_errors
from graph.state import AgentContext

_DAY = 86_400
RATABLE = _DAY
"""Seconds in which a run can be rated after its end."""

STREAM: Final = "feedback"
"""The stream of ratings."""

# Replaces the run's earlier rating, and deletes some that are too old. redis-py may send it twice, so the rating that a
# run has is left alone. A run whose conversation has just been deleted gets none.
_RATE = """\
if KEYS[3] and redis.call('exists', KEYS[4]) == 0 then return end
local rated = redis.call('get', KEYS[2]) or ''
local entry, earlier = rated:match('^(%S+) ?(%S*)')
local rating = redis.sha1hex(ARGV[1])
if earlier == rating then return end
if entry then redis.call('xdel', KEYS[1], entry) end
for _, old in ipairs(redis.call('xrange', KEYS[1], '-', ARGV[4], 'COUNT', 10)) do
  redis.call('xdel', KEYS[1], old[1])
end
entry = redis.call('xadd', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'rating', ARGV[1])
redis.call('set', KEYS[2], entry .. ' ' .. rating, 'EX', ARGV[3])
if KEYS[3] then
  redis.call('hset', KEYS[3], ARGV[5], entry)
  redis.call('expire', KEYS[3], ARGV[6])
end"""

_SHARED = 18  # characters, of which 60 bits are random, that the id of a hit has in common with that of its answer
_RECORDS = "feedback:records"
_MAX_RATINGS = 10_000  # in the stream; the oldest are trimmed

BOUNDED = """\
local time = redis.call('time')
local now = time[1] + time[2] / 1000000
redis.call('zadd', KEYS[2], string.format('%.6f', now + ARGV[2]), KEYS[1])
redis.call('expire', KEYS[2], ARGV[3])
redis.call('zremrangebyscore', KEYS[2], '-inf', string.format('%.6f', now))
local over = math.min(redis.call('zcard', KEYS[2]) - ARGV[4], 100)
if over > 0 then
  local first = redis.call('zpopmin', KEYS[2], over)
  for n = 1, #first, 2 do redis.call('del', first[n]) end
end"""
"""The part of a script that has set KEYS[1] for ARGV[2] seconds and notes it in the sorted set KEYS[2].

That expires after ARGV[3] seconds. Keys over the limit ARGV[4] that would expire first are deleted: some at a time, in
case the limit has been lowered.
"""

# Stores a value, and notes its run in a conversation, or only counts a key that is there.
_KEEP = f"""\
if ARGV[1] ~= '' then redis.call('set', KEYS[1], ARGV[1], 'EX', ARGV[2]) end
if KEYS[3] then
  redis.call('hsetnx', KEYS[3], ARGV[5], '')
  redis.call('expire', KEYS[3], ARGV[6])
end
{BOUNDED}"""

# Names in the index are whole, with SUPPORT_REDIS_PREFIX, so they are not sent here and back.
_LATEST = """\
local found = {}
for _, name in ipairs(redis.call('zrange', KEYS[1], 0, -1, 'REV')) do
  if #found == tonumber(ARGV[1]) then break end
  if not name:find(':rated$') then found[#found + 1] = redis.call('get', name) or nil end
end
return found"""


@dataclass(frozen=True, slots=True)
class Record:
    """A run's question and answer."""

    tenant: str
    question: str
    category: str | None = None
    sources: Sequence[str] = ()
    answer: str | None = None
    error: str | None = None
    answered: bool = True
    """Whether the articles held the answer."""
    run_id: str = ""
    """The run that gave the answer; "" in a record of an earlier release."""
    at: float = 0.0
    """When it ended, as a Unix timestamp."""
    session: str | None = None
    """Stands for the conversation; None for a question outside any."""
    tokens: int = 0
    cost: float | None = None
    """US dollars; None if the price of a model is unknown."""
    handoff: str | None = None
    """The id of the hand-over that the conversation was in."""
    visitor: str | None = None
    """Who asked, if a visitor of the tenant's website did; nobody where the tenant's callers share the answer."""


@dataclass(frozen=True, slots=True)
class Rating:
    """A customer's rating of a run; a later rating replaces it."""

    run_id: str
    score: Annotated[float, Field(ge=0, le=1)]
    comment: str | None
    record: Record


_record_json = TypeAdapter(Record)
_rating_json = TypeAdapter(Rating)


class Feedback:
    """The ratings; methods raise MemoryUnavailable if Redis can't be reached."""

    def __init__(
        self,
        redis: Redis,
        redactor: Redactor,
        cached: int = 0,
        ratable: int = 1,
        lasting: int = 0,
        server: str = OPENAI,
    ) -> None:
        self._redis = redis
        self._server = server  # the model's, for its prices
        self._redactor = redactor
        self._cached = cached  # seconds that an answer is cached; 0 for not at all
        self._ratable = ratable  # the most answers that can be rated
        self._lasting = max(lasting, RATABLE)  # seconds that a conversation may last after a turn
        self._rate = redis.register_script(_RATE)
        self._keep_script = redis.register_script(_KEEP)
        self._latest = redis.register_script(_LATEST)
        self._background = Background()
        self.flush = self._background.flush
        """Waits until the records of all finished runs are stored."""

    def observe(self, report: RunReport) -> None:
        """Store a run's record in the background, so that the run and its cache hits can be rated."""
        if report.is_hit:
            return
        is_cached = self._cached > 0 and report.session_id is None
        record = self._record(report, None if is_cached else report.context.visitor)
        self._background.start(self._store(report.run_id, record, is_cached=is_cached))

    async def give(self, run_id: str, caller: AgentContext, score: float, comment: str | None) -> bool:
        """Store a rating from 0 to 1; return whether the caller has such a run."""
        await self.flush()
        with memory_errors():
            own, answered = cast("list[bytes | None]", await self._redis.mget(_key(run_id), _hits(run_id)))
        found = own or answered
        record = _record_json.validate_json(found) if found else None
        visitor = caller.visitor if own else None  # a kept answer is its tenant's
        if record is None or (record.tenant, record.visitor) != (caller.tenant, visitor):
            return False
        rating = _rating_json.dump_json(Rating(run_id, score, comment and self._redactor.text(comment), record))
        keys = [STREAM, _rated(run_id), *([_runs(record.session), _key(run_id)] if record.session else [])]
        limits = [_MAX_RATINGS, RATABLE, _id_of(KEPT_DAYS)]
        with memory_errors():
            await self._rate(keys=keys, args=[rating, *limits, run_id, self._lasting])
            await self._keep([_rated(run_id), _RECORDS], "", RATABLE)
        return True

    def masked(self, text: str) -> str:
        """Return a text masked as records are."""
        return self._redactor.text(text)

    async def record(self, run_id: str) -> Record | None:
        """Return the record of a run, or of the run whose answer it got; None if there is none any more."""
        await self.flush()
        with memory_errors():
            own, answered = cast("list[bytes | None]", await self._redis.mget(_key(run_id), _hits(run_id)))
        found = own or answered
        return _record_json.validate_json(found) if found else None

    async def records(self, most: int) -> list[Record]:
        """Return up to `most` records, those first that expire last; raises MemoryUnavailable."""
        await self.flush()
        with memory_errors():
            found = cast("list[bytes]", await self._latest(keys=[_RECORDS], args=[most]))
        return [_record_json.validate_json(each) for each in found]

    async def forget(self, owner: str, session_id: str) -> list[str]:
        """Delete a conversation's records and ratings, and return its runs; raises MemoryUnavailable."""
        await self.flush()
        index = _runs(_conversation(owner, session_id))
        with memory_errors():
            found = cast("dict[bytes, bytes]", await self._redis.hgetall(index))
            runs = [run.decode() for run in found]
            pipe = self._redis.pipeline(transaction=True)
            if entries := [entry for entry in found.values() if entry]:
                pipe.xdel(STREAM, *entries)
            pipe.delete(index, *map(_key, runs), *map(_rated, runs))
            await pipe.execute()
        return runs

    async def below(self, score: float) -> list[Rating]:
        """Return the ratings below `score`, oldest first."""
        return [rating for rating in await self.latest(KEPT_DAYS) if rating.score < score]

    async def latest(self, days: int) -> list[Rating]:
        """Return the ratings of the last `days` days, oldest first; raises MemoryUnavailable."""
        with memory_errors():
            entries = cast("list[Any]", await self._redis.xrange(STREAM, min=_id_of(days)))
        return [rating for _, rating in map(entry_of, entries)]

    async def _store(self, run_id: str, record: Record, *, is_cached: bool) -> None:
        key, ttl = (_hits(run_id), self._cached + RATABLE) if is_cached else (_key(run_id), RATABLE)
        keys = [key, _RECORDS, *([_runs(record.session)] if record.session else [])]
        await self._keep(keys, _record_json.dump_json(record), ttl, run_id)

    async def _keep(self, keys: Sequence[str], value: bytes | str, ttl: int, run_id: str = "") -> None:
        limits = [self._cached + RATABLE, self._ratable]
        await self._keep_script(keys, [value, ttl, *limits, run_id, self._lasting])

    def _record(self, report: RunReport, visitor: str | None) -> Record:
        context, ending = report.context, report.ending
        record = Record(
            context.tenant,
            self._redactor.text(report.question),
            run_id=report.run_id,
            at=report.ended or time.time(),
            session=_conversation(context.owner, report.session_id) if report.session_id else None,
            tokens=sum(call.input_tokens + call.output_tokens for call in report.calls),
            cost=cost_of(self._server, report.calls),
            visitor=visitor,
        )
        if not isinstance(ending, Done):
            return replace(record, error=ending.error if ending else None)
        return replace(
            record,
            category=ending.category,
            sources=list(dict.fromkeys(source.id for source in ending.sources)),
            answer=self._redactor.text(ending.answer),
            answered=ending.answered,
            handoff=ending.handoff.id if ending.handoff else None,
        )


def entry_of(entry: tuple[bytes, dict[bytes, bytes]]) -> tuple[str, Rating]:
    """Return an entry of the stream of ratings, with its id."""
    return entry[0].decode(), _rating_json.validate_json(entry[1][b"rating"])


def _id_of(days: int) -> int:
    """Return the beginning of the ids of a stream's entries of so many days ago."""
    return int((time.time() - days * _DAY) * 1000)


def _conversation(owner: str, session_id: str) -> str:
    return hashlib.sha256(f"{owner}\0{session_id}".encode()).hexdigest()[:24]


def _runs(conversation: str) -> str:
    return f"feedback:of:{conversation}"


def _rated(run_id: str) -> str:
    return f"run:{run_id}:rated"


def _key(run_id: str) -> str:
    return f"run:{run_id}:record"


def _hits(run_id: str) -> str:
    return f"run:{answer_of(run_id)}:hits"


def answer_of(run_id: str) -> str:
    """Return what the id of a run has in common with those of its cache hits."""
    return run_id[:_SHARED]


def hit_of(run_id: str) -> str:
    """Return an id for a cache hit: a random UUID that begins as the id of the run that gave the answer."""
    return answer_of(run_id) + str(uuid.uuid4())[_SHARED:]

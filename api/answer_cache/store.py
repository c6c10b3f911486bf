"""What Redis stores for the answer cache, shared by all replicas.

`answer:<key>` is a cached answer. `answer:<key>:lock` is the lock of the leader: the replica that asks the model for
this answer. The lock's value is the leader's name, and the lock expires when the leader dies. `answer:<key>:<leader>`
is a stream with the leader's tokens and final event, in batches as in the run log, for the followers: replicas with
requests for the same answer. `answer:<key>:<leader>:read` exists while there are followers. `answer:<key>:failed` tells
late followers, for a moment, that the model failed.
"""

import contextlib
import time
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from redis.exceptions import RedisError

from api.telemetry import answers
from graph.events import Done, Event, events_json
from graph.runs.batches import Batches, numbered
from graph.runs.locks import Locks

STATISTICS = "answers"
"""The Redis hash that counts hits, misses and coalesced requests."""

# redis-py may send it twice, and what failed is sent again: the number of the latest batch of a process is kept.
_COUNT = """\
if redis.call('get', KEYS[2]) == ARGV[1] then return end
redis.call('set', KEYS[2], ARGV[1], 'EX', ARGV[2])
for i = 3, #ARGV, 2 do redis.call('hincrby', KEYS[1], ARGV[i], ARGV[i + 1]) end"""
_BATCH_TTL = 3600  # seconds without a request after which a process' number expires

_LEASE = 5  # seconds until the lock of a leader that does not renew it expires
_FAILURE_TTL = 500  # milliseconds that a failure stays visible: several poll intervals
_COUNTING = 1.0  # seconds between two writes of the counts while there are only hits
_READER_TTL = 1  # seconds that one poll counts as a follower

CacheStatus = Literal["hit", "miss", "coalesced"]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The state of an answer in Redis, as a follower sees it."""

    answer: Done | None
    """The cached answer."""
    leader: str | None
    """The name of the current leader."""
    failure: tuple[str, str] | None
    """The name of a leader whose model failed a moment ago, and the error's code."""
    events: Sequence[Event]
    """The leader's events that the follower does not have yet."""


class AnswerStore:
    """The answers in Redis; methods raise RedisError unless they say otherwise."""

    def __init__(self, redis: Redis, ttl: int) -> None:
        self.ttl = ttl
        """Seconds until a cached answer expires; 0 turns the cache off."""
        self._redis = redis
        self._locks = Locks(redis, _LEASE)
        self._batches = Batches(redis)
        self._count_script = redis.register_script(_COUNT)
        self._counts = f"{STATISTICS}:{uuid.uuid4().hex}"
        self._batch = 0
        self._counted: Counter[CacheStatus] = Counter()
        self._writing: Counter[CacheStatus] = Counter()
        self._write_counts_at = 0.0

    def count(self, status: CacheStatus) -> None:
        """Count a request."""
        answers.add(1, {"cache": status})
        self._counted[status] += 1

    async def get(self, key: str) -> Done | None:
        """Return the cached answer, or None; write the counts after a miss, and otherwise once a second."""
        cached = await self._redis.get(key)
        answer = _answer(cached)
        if cached and answer is None:  # written by another version; it would be in the way of `put`
            await self._redis.delete(key)
        if answer is None or time.monotonic() > self._write_counts_at:
            await self.write_counts()
        return answer

    async def write_counts(self) -> None:
        """Add what was counted to the statistics in Redis; ignores RedisError."""
        self._write_counts_at = time.monotonic() + _COUNTING
        if not self._writing:
            self._writing, self._counted = self._counted, Counter()
            self._batch += 1
        batch = self._batch
        if not self._writing:
            return
        counts = [part for pair in self._writing.items() for part in pair]
        with contextlib.suppress(RedisError):  # the batch is sent again
            await self._count_script(keys=[STATISTICS, self._counts], args=[batch, _BATCH_TTL, *counts])
            if batch == self._batch:
                self._writing = Counter()

    async def put(self, key: str, answer: Done) -> None:
        """Cache an answer, unless one is cached; ignores RedisError."""
        with contextlib.suppress(RedisError):
            await self._redis.set(key, events_json.dump_json(answer), ex=self.ttl, nx=True)

    async def replace(self, key: str, answer: Done) -> None:
        """Cache an answer in place of the cached one; ignores RedisError."""
        with contextlib.suppress(RedisError):
            await self._redis.set(key, events_json.dump_json(answer), ex=self.ttl)

    async def become_leader(self, key: str) -> Lock | None:
        """Take the leader's lock; None if another replica holds it."""
        return await self._locks.take(_lock(key))

    async def renew(self, key: str, lock: Lock) -> None:
        """Extend the leader's lock and the life of its stream; raises LockError too."""
        await self._redis.expire(_stream(key, leader_name(lock)), _LEASE)
        await lock.reacquire()

    async def publish(self, key: str, leader: str, after: int, events: Sequence[Event]) -> None:
        """Append events to the leader's stream, which holds `after` events already."""
        await self._batches.append(_stream(key, leader), after, events, _LEASE)

    async def publish_failure(self, key: str, leader: str, code: str) -> None:
        """Tell late followers why the model failed; ignores RedisError.

        Without it they take over, as they do from a leader that died or that nobody waited for.
        """
        with contextlib.suppress(RedisError):
            await self._redis.set(f"{key}:failed", f"{leader} {code}", px=_FAILURE_TTL)

    async def has_followers(self, key: str, leader: str) -> bool:
        """Return whether a follower polled the leader's stream within the last second."""
        return bool(await self._redis.exists(_readers(key, leader)))

    async def poll(self, key: str, leader: str | None, after: int) -> Snapshot:
        """Return the events after the leader's first `after` ones, and register as its follower."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.mget(key, _lock(key), f"{key}:failed")
        if leader:  # read after the lock: a leader that has released it has written its final event
            pipe.xrange(_stream(key, leader), min=f"(0-{after}")
            pipe.set(_readers(key, leader), 1, ex=_READER_TTL)
        (cached, holder, failed), *stream = await pipe.execute()
        events: list[Event] = []
        for n, event in numbered(stream[0], after) if leader else ():
            if n != after + len(events) + 1:  # some have expired
                break
            events.append(event)
        failure = tuple(failed.decode().split()) if failed else None
        return Snapshot(_answer(cached), holder and holder.decode(), failure, events)


def leader_name(lock: Lock) -> str:
    """Return the name of the leader that holds the lock."""
    return lock.local.token.decode()


def _answer(cached: bytes | str | None) -> Done | None:
    try:
        event = events_json.validate_json(cached) if cached else None
    except ValidationError:
        return None
    return event if isinstance(event, Done) else None


def _lock(key: str) -> str:
    return f"{key}:lock"


def _stream(key: str, leader: str) -> str:
    return f"{key}:{leader}"


def _readers(key: str, leader: str) -> str:
    return f"{key}:{leader}:read"

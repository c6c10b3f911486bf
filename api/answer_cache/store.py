"""What Redis holds of answers, for all replicas.

`answer:<key>` is an answer that is kept. `answer:<key>:lock` is held by the replica that asks the model, and expires
with it; its value names the lead. `answer:<key>:<lead>` is a stream of the tokens and the ending of what the lead gets,
for those who asked other replicas; `answer:<key>:<lead>:read` exists while there are any. `answer:<key>:failed` tells
those who come late, for a moment, that the model gave no answer.
"""

import contextlib
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
from graph.runs.locks import Locks
from graph.runs.log import write_once

STATISTICS = "answers"
"""The hash in Redis that counts hits, misses and coalesced requests."""

_ALIVE = 5  # seconds after which a replica that does not renew its lead counts as gone
_FAILED = 500  # milliseconds that a failure is news, several times a look at it
_READ = 1  # seconds that a look at another replica's answer counts as reading it

Outcome = Literal["hit", "miss", "coalesced"]


@dataclass(frozen=True, slots=True)
class Look:
    """What there is of an answer that another replica asks for."""

    kept: Done | None
    lead: str | None
    """Who asks at the moment."""
    failure: tuple[str, str] | None
    """Who got no answer of the model a moment ago, and why: the lead's name and an error's code."""
    events: Sequence[Event]
    """What followed the events that were known."""


class KeptAnswers:
    """The answers in Redis; methods raise RedisError unless they say otherwise."""

    def __init__(self, redis: Redis, ttl: int) -> None:
        self.ttl = ttl
        """Seconds that an answer is kept; 0 for none."""
        self._redis = redis
        self._locks = Locks(redis, _ALIVE)
        self._counted: Counter[Outcome] = Counter()

    def count(self, outcome: Outcome) -> None:
        """Count a request, in Redis with the next look at what is kept."""
        answers.add(1, {"cache": outcome})
        self._counted[outcome] += 1

    async def get(self, key: str) -> Done | None:
        """Return the answer that is kept, if any."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.get(key)
        counted, self._counted = self._counted, Counter()
        for outcome, count in counted.items():
            pipe.hincrby(STATISTICS, outcome, count)
        try:
            return _done((await pipe.execute())[0])
        except RedisError:
            self._counted += counted
            raise

    async def keep(self, key: str, done: Done) -> None:
        """Keep an answer, if Redis can be reached."""
        with contextlib.suppress(RedisError):
            await self._redis.set(key, events_json.dump_json(done), ex=self.ttl)

    async def lead(self, key: str) -> Lock | None:
        """Become the one who asks the model; None where another is."""
        return await self._locks.take(_lock(key))

    async def renew(self, key: str, lock: Lock) -> None:
        """Go on being the one who asks; raises LockError too."""
        await self._redis.expire(_log(key, name_of(lock)), _ALIVE)
        await lock.reacquire()

    async def tell(self, key: str, lead: str, after: int, events: Sequence[Event]) -> None:
        """Write the events that follow the `after`-th."""
        pipe = self._redis.pipeline(transaction=True)
        for number, event in enumerate(events, after + 1):
            pipe.xadd(_log(key, lead), {"event": events_json.dump_json(event)}, id=f"0-{number}")
        pipe.expire(_log(key, lead), _ALIVE)
        await write_once(pipe)

    async def tell_failure(self, key: str, lead: str, code: str) -> None:
        """Say why the model gave no answer, as against nobody having waited for it; if Redis can be reached."""
        with contextlib.suppress(RedisError):
            await self._redis.set(f"{key}:failed", f"{lead} {code}", px=_FAILED)

    async def is_read(self, key: str, lead: str) -> bool:
        """Whether somebody reads what the lead writes."""
        return bool(await self._redis.exists(_readers(key, lead)))

    async def look(self, key: str, lead: str | None, after: int) -> Look:
        """Look at an answer of which the lead's first `after` events are known, and count as reading it."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.mget(key, _lock(key), f"{key}:failed")
        if lead:  # after its lock, so that a lock that is gone has left its ending
            pipe.xrange(_log(key, lead), min=f"(0-{after}")
            pipe.set(_readers(key, lead), 1, ex=_READ)
        (kept, asking, failed), *log = await pipe.execute()
        events: list[Event] = []
        for name, entry in log[0] if lead else ():
            if name != b"0-%d" % (after + len(events) + 1):  # some have expired
                break
            events.append(events_json.validate_json(entry[b"event"]))
        failure = tuple(failed.decode().split()) if failed else None
        return Look(_done(kept), asking and asking.decode(), failure, events)


def name_of(lock: Lock) -> str:
    """Return the name of the lead that holds the lock."""
    return lock.local.token.decode()


def _done(kept: bytes | str | None) -> Done | None:
    try:
        event = events_json.validate_json(kept) if kept else None
    except ValidationError:  # another version's
        return None
    return event if isinstance(event, Done) else None


def _lock(key: str) -> str:
    return f"{key}:lock"


def _log(key: str, lead: str) -> str:
    return f"{key}:{lead}"


def _readers(key: str, lead: str) -> str:
    return f"{key}:{lead}:read"

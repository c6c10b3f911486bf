"""Answers that are kept for whoever asks the same, and asked of the model once by all who ask at once.

`answer:<key>` holds an answer; the key is a hash of the tenant, of the question as people read it, and of all that
answers depend on. `answer:<key>:lock` is held by the replica that asks the model, and expires with it;
`answer:<key>:failed` tells those who wait, for a moment, that the model gave it none. While Redis is away nothing is
kept, and those who ask at once share an answer on each replica.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import unicodedata
import uuid
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Literal

from pydantic import ValidationError
from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from redis.exceptions import LockError, RedisError

from support_agent.graph.agent import SupportAgent
from support_agent.graph.errors import Cancelled, InternalError, ModelUnavailable, RunError, kind_and_place
from support_agent.graph.events import CategoryFound, Done, Event, Failed, RunStarted, SourcesFound, Token, events_json
from support_agent.graph.locks import Locks
from support_agent.graph.runs import Feed, Run
from support_agent.graph.state import AgentContext

STATISTICS = "answers"
"""The hash in Redis that counts hits, misses and coalesced requests."""

_ALIVE = 5  # seconds after which a replica that does not renew its lock counts as gone
_RENEW = 1.5  # seconds between two renewals
_FAILED = 500  # milliseconds that a failure is news, several times a look at it
_LOOK = 0.05  # seconds between two looks at whether another replica has the answer

Outcome = Literal["hit", "miss", "coalesced"]

_log = logging.getLogger(__name__)


class Answers:
    """The answers that are kept, and those under way on this replica."""

    def __init__(self, agent: SupportAgent, redis: Redis, ttl: int) -> None:
        self.agent = agent
        self.locks = Locks(redis, _ALIVE)
        self.flights: dict[str, Flight] = {}
        self._redis = redis
        self._ttl = ttl
        self._counted: Counter[Outcome] = Counter()

    @asynccontextmanager
    async def answering(
        self, question: str, context: AgentContext, *, fresh: bool = False
    ) -> AsyncGenerator["Answering"]:
        """Come by an answer for as long as the block lasts.

        `fresh` asks the model whatever is kept, and keeps what it says. With a TTL of 0 nothing is kept or shared.
        """
        key = f"answer:{_digest(context.tenant, normalised(question), self.agent.version)}"
        one = Answering(self, Errand(key, question, context), alone=fresh or not self._ttl)
        try:
            await one.open()
            yield one
        finally:
            one.close()
            self._counted[one.outcome] += 1

    async def kept(self, key: str) -> Done | None:
        """Return the answer that is kept, if any; raises RedisError."""
        pipe = self._redis.pipeline(transaction=False)
        pipe.get(key)
        counted = self._counted.copy()
        for outcome, count in counted.items():
            pipe.hincrby(STATISTICS, outcome, count)
        kept = (await pipe.execute())[0]
        self._counted -= counted
        return _done(kept)

    async def look(self, key: str) -> tuple[Done | None, bytes | str | None, bool]:
        """Return the answer that is kept, what stands for the replica that asks for it, and whether one has failed.

        Raises RedisError.
        """
        kept, asking, failed = await self._redis.mget(key, _lock(key), f"{key}:failed")
        return _done(kept), asking, failed is not None

    async def tell_failure(self, key: str) -> None:
        """Tell other replicas that the model gave no answer, as against nobody having waited for it."""
        with contextlib.suppress(RedisError):
            await self._redis.set(f"{key}:failed", 1, px=_FAILED)

    async def keep(self, key: str, done: Done) -> None:
        """Keep a whole answer."""
        if done.complete and self._ttl:
            with contextlib.suppress(RedisError):
                await self._redis.set(key, events_json.dump_json(done), ex=self._ttl)


@dataclass(frozen=True, slots=True)
class Errand:
    """What shall be asked."""

    key: str
    """Where the answer is kept."""
    question: str
    context: AgentContext


class Flight(Feed):
    """An answer that this replica or another asks for, and all here who want it."""

    def __init__(self, answers: Answers, errand: Errand, *, alone: bool, is_second: bool) -> None:
        super().__init__()
        self.asks = False
        """This replica asks the model."""
        self.is_second = is_second
        """One has failed before: when this one fails too, nobody tries again."""
        self._answers = answers
        self._errand = errand
        self._alone = alone
        self._passengers = 0
        self._run: Run | None = None
        self._task = asyncio.create_task(self._fly())

    def enter(self) -> None:
        """Have one more who wants it."""
        self._passengers += 1

    def leave(self) -> None:
        """Have one less; without any it is over."""
        self._passengers -= 1
        if not self._passengers:
            self._forget()
            if self._run:
                self._run.cancel()

    async def _fly(self) -> None:
        try:
            ending = await (self._ask() if self._alone else self._share())
        except RunError as error:
            ending = Failed(error.code)
        except Exception as error:  # noqa: BLE001 - whoever waits is told
            _log.error(kind_and_place(error))
            ending = Failed(InternalError.code)
        self._forget()
        self._emit(ending)

    async def _share(self) -> Done | Failed:
        try:
            return await self._share_with_replicas()
        except RedisError:
            return await self._ask()

    async def _share_with_replicas(self) -> Done | Failed:
        key = self._errand.key
        while (lock := await self._answers.locks.take(_lock(key))) is None:
            kept, has_failed = await self._wait()
            if kept:
                return self._replay(kept)
            if has_failed and self.is_second:
                raise ModelUnavailable("another replica failed too")
            self.is_second = self.is_second or has_failed
        try:
            if kept := await self._answers.kept(key):
                return self._replay(kept)
            ending = await self._ask(lock)
            if isinstance(ending, Failed) and ending.error != Cancelled.code:
                await self._answers.tell_failure(key)
            return ending
        finally:
            with contextlib.suppress(RedisError, LockError):
                await lock.release()

    async def _wait(self) -> tuple[Done | None, bool]:
        """Wait while another replica asks; return the answer, if it is kept, and whether it failed."""
        first: bytes | str | None = None
        while self._passengers:
            kept, asking, has_failed = await self._answers.look(self._errand.key)
            first = first or asking
            if kept or asking is None or asking != first:
                return kept, has_failed
            await asyncio.sleep(_LOOK)
        raise Cancelled

    async def _ask(self, lock: Lock | None = None) -> Done | Failed:
        if not self._passengers:
            raise Cancelled
        self.asks = True
        self._run = self._answers.agent.stream(self._errand.question, self._errand.context)
        landed = asyncio.Event()
        renewing = asyncio.create_task(_renew(lock, landed)) if lock else None
        async for _, event in self._run.follow():
            if not isinstance(event, Done | Failed):
                self._emit(event)
                continue
            if isinstance(event, Done):
                await self._answers.keep(self._errand.key, event)
            landed.set()
            if renewing:
                await asyncio.wait([renewing])
            return event
        raise AssertionError("a run ends with Done or Failed")

    def _replay(self, done: Done) -> Done:
        for event in _before(done):
            self._emit(event)
        return done

    def _forget(self) -> None:
        if self._answers.flights.get(self._errand.key) is self:
            del self._answers.flights[self._errand.key]


class Answering:
    """One request's way to its answer."""

    def __init__(self, answers: Answers, errand: Errand, *, alone: bool) -> None:
        self._answers = answers
        self._errand = errand
        self._alone = alone
        self._kept: Done | None = None
        self._flight: Flight | None = None
        self._leads = False

    @property
    def outcome(self) -> Outcome:
        """How the answer was come by, once some of it is there."""
        if self._kept:
            return "hit"
        return "miss" if self._leads and self._flight and self._flight.asks else "coalesced"

    async def open(self) -> None:
        """Look for an answer that is kept, or that others wait for."""
        if not self._alone and self._errand.key not in self._answers.flights:
            with contextlib.suppress(RedisError):
                self._kept = await self._answers.kept(self._errand.key)
        if not self._kept:
            self._flight = self._board(is_second=False)

    def close(self) -> None:
        """Want no answer any more."""
        if self._flight:
            self._flight.leave()

    async def follow(self) -> AsyncIterator[tuple[int, Event]]:
        """Yield the events of the answer, with their numbers; Done or Failed ends them."""
        if self._kept:
            done = replace(self._kept, run_id=str(uuid.uuid4()), tokens_used=0)
            for numbered in enumerate((*_before(done), done), 1):
                yield numbered
        while self._flight:
            begun = False
            async for number, event in self._flight.follow():
                if isinstance(event, Failed) and not (begun or self._leads or self._flight.is_second):
                    break  # another's failure, of which our client has seen nothing
                begun = begun or isinstance(event, Token)
                yield number, self._billed(event)
                if isinstance(event, Done | Failed):
                    return
            self._flight.leave()
            self._flight = self._board(is_second=True)

    def _board(self, *, is_second: bool) -> Flight:
        flights, key = self._answers.flights, self._errand.key
        flight = None if self._alone else flights.get(key)
        if flight is None:
            self._leads = True
            flight = Flight(self._answers, self._errand, alone=self._alone, is_second=is_second)
            if not self._alone:
                flights[key] = flight
        flight.enter()
        return flight

    def _billed(self, event: Event) -> Event:
        """Put the answer's cost on the bill of the one who asked first."""
        return replace(event, tokens_used=0) if isinstance(event, Done) and self.outcome != "miss" else event


def normalised(question: str) -> str:
    """Return what questions that people read alike have in common: NFKC, without case, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", question).casefold().split())


async def _renew(lock: Lock, landed: asyncio.Event) -> None:
    while not landed.is_set():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_RENEW):
                await landed.wait()
                return
        with contextlib.suppress(RedisError, LockError):
            await lock.reacquire()


def _before(done: Done) -> tuple[Event, ...]:
    return RunStarted(done.run_id), CategoryFound(done.category), SourcesFound(done.sources), Token(done.answer)


def _done(kept: bytes | str | None) -> Done | None:
    try:
        event = events_json.validate_json(kept) if kept else None
    except ValidationError:  # another version's
        return None
    return event if isinstance(event, Done) else None


def _lock(key: str) -> str:
    return f"{key}:lock"


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

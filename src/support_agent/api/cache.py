"""Answers that are kept for whoever asks the same, and asked of the model once by all who ask at once.

The key of an answer is a hash of the tenant, of the question as people read it, and of all that answers depend on.
While Redis is away nothing is kept, and those who ask at once share an answer on each replica.
"""

import asyncio
import contextlib
import hashlib
import json
import logging
import time
import unicodedata
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from redis.exceptions import LockError, RedisError

from support_agent.api.drain import Drain
from support_agent.api.kept_answers import KeptAnswers, Look, Outcome, name_of
from support_agent.api.settings import ServiceSettings
from support_agent.graph.agent import SupportAgent
from support_agent.graph.errors import (
    RUN_ERRORS,
    Cancelled,
    InternalError,
    Interrupted,
    ModelTimeout,
    ModelUnavailable,
    RunError,
    ShuttingDown,
    kind_and_place,
)
from support_agent.graph.events import Done, Failed, Token
from support_agent.graph.report import RunReport
from support_agent.graph.runs import Feed, Run
from support_agent.graph.state import AgentContext

_RENEW = 1.5  # seconds between two renewals of a lead
_LOOK = 0.05  # seconds between two looks at what another replica writes, and between two times that it writes
_NOT_THE_MODELS = frozenset({Cancelled.code, Interrupted.code, ShuttingDown.code})  # another may be answered

Piece = Token | Done | Failed
"""What an answer comes in: tokens, then one of the others."""

_log = logging.getLogger(__name__)


class Answers:
    """The answers that are kept, and those under way on this replica."""

    def __init__(self, agent: SupportAgent, redis: Redis, settings: ServiceSettings, drain: Drain) -> None:
        self._agent = agent
        self._budget = settings.answer_timeout
        self._drain = drain
        self._kept = KeptAnswers(redis, settings.cache_ttl)
        self._flights: dict[str, Flight] = {}

    @asynccontextmanager
    async def answering(
        self, question: str, context: AgentContext, *, fresh: bool = False
    ) -> AsyncGenerator["Answering"]:
        """Come by an answer for as long as the block lasts.

        `fresh` asks the model whatever is kept, and keeps what it says. With a TTL of 0 nothing is kept or shared.
        """
        key = f"answer:{_digest(context.tenant, normalised(question), self._agent.version)}"
        give_up = time.monotonic() + self._budget
        errand = Errand(key, question, context, give_up, self._agent, self._kept, self._drain)
        flights = None if fresh or not self._kept.ttl else self._flights
        one = Answering(errand, flights)
        try:
            await one.open()
            yield one
        finally:
            one.close()
            self._kept.count(one.outcome)


@dataclass(frozen=True, slots=True)
class Errand:
    """What shall be asked, and by what means."""

    key: str
    """Where the answer is kept."""
    question: str
    context: AgentContext
    give_up: float
    """When there must be an answer, on the monotonic clock."""
    agent: SupportAgent
    kept: KeptAnswers
    drain: Drain


class Flight(Feed):
    """An answer that this replica or another asks for, and all here who want it; its events are Pieces."""

    def __init__(
        self, errand: Errand, flights: dict[str, "Flight"] | None, past: str | None, *, is_second: bool
    ) -> None:
        super().__init__()
        self.asks = False
        """This replica asks the model."""
        self.is_second = is_second
        """The model has failed before: when it fails again, nobody tries a third time."""
        self.lead = past
        """The name of the lead that asks, or did."""
        self._past = past  # has failed, and may not have let go of its lock yet
        self._errand = errand
        self._flights = flights
        self._passengers = 0
        self._text = ""
        self._told = 0
        self._tells = False
        self._run: Run | None = None
        self._task = asyncio.create_task(self._fly())

    def enter(self) -> None:
        """Have one more who wants it."""
        self._passengers += 1

    def leave(self) -> None:
        """Have one less; without any, here or on another replica, it is over."""
        self._passengers -= 1
        if not self._passengers and not self._tells:
            self._stop()

    async def pieces(self) -> AsyncIterator[Piece]:
        """Yield what there is of the answer, then the rest as it comes."""
        async for _, event in self.follow():
            if isinstance(event, Piece):
                yield event

    def _stop(self) -> None:
        self._forget()
        if self._run:
            self._run.cancel()

    def _forget(self) -> None:
        if self._flights and self._flights.get(self._errand.key) is self:
            del self._flights[self._errand.key]

    async def _fly(self) -> None:
        try:
            ending = await (self._ask() if self._flights is None else self._share())
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
            if self._text:
                raise Interrupted from None
            return await self._ask()

    async def _share_with_replicas(self) -> Done | Failed:
        key, kept = self._errand.key, self._errand.kept
        while (lock := await kept.lead(key)) is None:
            with self._errand.drain.followers.one():
                ending = await self._follow_lead()
            if ending:
                return ending
        try:
            if (answer := await kept.get(key)) and self._continues(answer.answer):
                return answer
            ending = await self._lead(lock)
            if isinstance(ending, Failed) and ending.error not in _NOT_THE_MODELS:
                await kept.tell_failure(key, name_of(lock), ending.error)
            return ending
        finally:
            with contextlib.suppress(RedisError, LockError):
                await lock.release()

    async def _follow_lead(self) -> Done | Failed | None:
        """Say what another replica is told, and how that ended; None where it is gone and has said nothing."""
        lead: str | None = None
        known = 0
        while self._passengers:
            if self._errand.drain.over.is_set():
                raise ShuttingDown
            look = await self._errand.kept.look(self._errand.key, lead, known)
            for event in look.events:
                if isinstance(event, Done | Failed):
                    return event
                if isinstance(event, Token):
                    self._say(event.text)
            if look.kept and self._continues(look.kept.answer):
                return look.kept
            known += len(look.events)
            if lead is None and look.lead and look.lead != self._past:
                lead = self.lead = look.lead  # and count as its reader at once
                continue
            if look.lead is None or look.lead != (lead or self._past):
                self._check(look)
                return None
            await asyncio.sleep(_LOOK)
        raise Cancelled

    def _check(self, look: Look) -> None:
        """Raise RunError unless this replica may ask, now that the other is gone."""
        if look.failure and look.failure[0] != self._past:
            self.lead, code = look.failure
            raise RUN_ERRORS.get(code, ModelUnavailable)("another replica failed")
        if self._text:
            raise Interrupted

    async def _lead(self, lock: Lock) -> Done | Failed:
        """Ask the model, and tell those who asked other replicas what it says."""
        self._tells = True
        self.lead = lead = name_of(lock)
        landed = asyncio.Event()
        telling = asyncio.create_task(self._tell(lock, landed))
        try:
            ending = await self._ask()
        finally:
            landed.set()
            await asyncio.wait([telling])
        if self._told or not _is_whole(ending):  # else they find it kept
            with contextlib.suppress(RedisError):
                rest = [*self._events[self._told :], ending]
                await self._errand.kept.tell(self._errand.key, lead, self._told, rest)
        return ending

    async def _tell(self, lock: Lock, landed: asyncio.Event) -> None:
        renew_at = time.monotonic() + _RENEW
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LOOK):
                    await landed.wait()
            if landed.is_set():
                return
            with contextlib.suppress(RedisError, LockError):
                if time.monotonic() > renew_at:
                    await self._errand.kept.renew(self._errand.key, lock)
                    renew_at = time.monotonic() + _RENEW
                if new := self._events[self._told :]:
                    await self._errand.kept.tell(self._errand.key, name_of(lock), self._told, new)
                    self._told += len(new)
            if not await self._is_wanted(name_of(lock)):
                self._stop()

    async def _is_wanted(self, lead: str) -> bool:
        is_read = False
        if not self._passengers:
            with contextlib.suppress(RedisError):
                is_read = await self._errand.kept.is_read(self._errand.key, lead)
        return is_read or self._passengers > 0

    async def _ask(self) -> Done | Failed:
        if not self._passengers:
            raise Cancelled
        self.asks = True
        budget = self._errand.give_up - time.monotonic()
        if budget <= 0:
            raise ModelTimeout("others had no answer either")
        self._run = self._errand.agent.stream(self._errand.question, self._errand.context, budget)
        async for _, event in self._run.follow():
            if isinstance(event, Token):
                self._say(event.text)
            elif isinstance(event, Done | Failed):
                if isinstance(event, Done) and event.complete and self._errand.kept.ttl:
                    await self._errand.kept.keep(self._errand.key, event)
                return event
        raise AssertionError("a run ends with Done or Failed")

    def _continues(self, answer: str) -> bool:
        """Say the rest of an answer; return whether what was said is its beginning."""
        if not answer.startswith(self._text):
            return False
        if len(answer) > len(self._text):
            self._say(answer[len(self._text) :])
        return True

    def _say(self, text: str) -> None:
        self._text += text
        self._emit(Token(text))


class Answering:
    """One request's way to its answer."""

    def __init__(self, errand: Errand, flights: dict[str, Flight] | None) -> None:
        self._errand = errand
        self._flights = flights
        self._hit: Done | None = None
        self._flight: Flight | None = None
        self._leads = False

    @property
    def outcome(self) -> Outcome:
        """How the answer was come by, once some of it is there."""
        if self._hit:
            return "hit"
        return "miss" if self._leads and self._flight and self._flight.asks else "coalesced"

    async def open(self) -> None:
        """Look for an answer that is kept, or that others wait for."""
        if self._flights is not None and self._errand.key not in self._flights:
            with contextlib.suppress(RedisError):
                await self._look()
        if not self._hit:
            self._board(None, is_second=False)

    async def _look(self) -> None:
        report = RunReport(str(uuid.uuid4()), self._errand.question, self._errand.context, is_hit=True)
        if kept := await self._errand.kept.get(self._errand.key):
            self._hit = replace(kept, run_id=report.run_id, tokens_used=0)
            report.end(self._hit)
            self._errand.agent.observe(report)

    def close(self) -> None:
        """Want no answer any more."""
        if self._flight:
            self._flight.leave()

    async def whole(self) -> Done:
        """Return the whole answer; raises RunError."""
        while True:
            async for piece in self._pieces():
                if isinstance(piece, Done):
                    return piece
                if isinstance(piece, Failed) and not self._try_again(piece):
                    raise RUN_ERRORS[piece.error]

    async def follow(self) -> AsyncIterator[Piece]:
        """Yield the answer's tokens as they come, then Done or Failed.

        When another's request for it fails half-way, what is asked next goes on where that left off, or fails.
        """
        shown = ""
        ending: Done | Failed | None = None
        while not ending:
            said = ""
            async for piece in self._pieces():
                if isinstance(piece, Token):
                    said += piece.text
                    if len(said) > len(shown) and said.startswith(shown):
                        yield Token(said[len(shown) :])
                        shown = said
                elif isinstance(piece, Done):
                    ending = piece if said == shown else Failed(Interrupted.code)
                elif not self._try_again(piece):
                    ending = piece
        yield ending

    async def _pieces(self) -> AsyncIterator[Piece]:
        if self._hit:
            yield Token(self._hit.answer)
            yield self._hit
        elif self._flight:
            async for piece in self._flight.pieces():
                # The answer is on the bill of the one who asked first.
                is_free = isinstance(piece, Done) and self.outcome != "miss"
                yield replace(piece, tokens_used=0) if is_free else piece

    def _try_again(self, failed: Failed) -> bool:
        """Board another flight after another's failure, unless it is the model's second or we are to end."""
        flight = self._flight
        if flight is None or flight.is_second or (flight.asks and self._leads):
            return False
        if failed.error == ShuttingDown.code and (flight.asks or self._errand.drain.over.is_set()):
            return False
        flight.leave()
        self._board(flight.lead, is_second=failed.error not in _NOT_THE_MODELS)
        return True

    def _board(self, past: str | None, *, is_second: bool) -> None:
        flights, key = self._flights, self._errand.key
        flight = flights.get(key) if flights is not None else None
        self._leads = flight is None
        if flight is None:
            flight = Flight(self._errand, flights, past, is_second=is_second)
            if flights is not None:
                flights[key] = flight
        flight.enter()
        self._flight = flight


def normalised(question: str) -> str:
    """Return what questions that people read alike have in common: NFKC, without case, single spaces."""
    return " ".join(unicodedata.normalize("NFKC", question).casefold().split())


def _is_whole(ending: Done | Failed) -> bool:
    return isinstance(ending, Done) and ending.complete


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

"""Single-flight: those who ask the same at the same time share one answer, on one replica and across replicas."""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass

from redis.asyncio.lock import Lock
from redis.exceptions import LockError, RedisError

from api.answer_cache.store import KeptAnswers, Look, name_of
from api.drain import Drain
from graph.agent import SupportAgent
from graph.errors import (
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
from graph.events import Done, Failed, Token
from graph.runs.feed import Feed
from graph.runs.run import Run
from graph.state import AgentContext

Piece = Token | Done | Failed
"""What an answer comes in: tokens, then one of the others."""

NOT_THE_MODELS = frozenset({Cancelled.code, Interrupted.code, ShuttingDown.code})
"""Errors after which another request may well get an answer."""

_RENEW = 1.5  # seconds between two renewals of a lead
_LOOK = 0.05  # seconds between two looks at what another replica writes, and between two times that it writes

_log = logging.getLogger(__name__)


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
            if isinstance(ending, Failed) and ending.error not in NOT_THE_MODELS:
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


def _is_whole(ending: Done | Failed) -> bool:
    return isinstance(ending, Done) and ending.complete

"""Answers that are kept for whoever asks the same, and asked of the model once by all who ask at once.

The key of an answer is a hash of the tenant, of the question as people read it, and of all that answers depend on.
While Redis is away nothing is kept, and those who ask at once share an answer on each replica.
"""

import contextlib
import hashlib
import json
import time
import unicodedata
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.answer_cache.single_flight import NOT_THE_MODELS, Errand, Flight, Piece
from api.answer_cache.store import KeptAnswers, Outcome
from api.drain import Drain
from api.settings import ServiceSettings
from graph.agent import SupportAgent
from graph.errors import (
    RUN_ERRORS,
    Interrupted,
    ShuttingDown,
)
from graph.events import Done, Failed, Token
from graph.observe.report import RunReport
from graph.state import AgentContext


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
        self._board(flight.lead, is_second=failed.error not in NOT_THE_MODELS)
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


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

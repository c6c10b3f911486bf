"""The answer cache: an identical question gets the cached answer, or shares the one in progress.

The key is a hash of the tenant, the normalised question and the version of everything that answers depend on: prompts,
articles, models. It is that of the moment at which the request arrives, and an answer is kept only if the articles are
still the same when it is complete: so none is ever found under a version that it does not rest on. While Redis is down
nothing is cached, and requests share answers within each replica only.
"""

import contextlib
import hashlib
import json
import time
import unicodedata
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

from redis.asyncio import Redis
from redis.exceptions import RedisError

from api.answer_cache.single_flight import FINAL, NOT_MODEL_FAILURES, Flight, Piece, Query
from api.answer_cache.store import AnswerStore, CacheStatus
from api.drain import Drain
from api.settings import ServiceSettings
from graph.agent import SupportAgent
from graph.errors import (
    RUN_ERRORS,
    Interrupted,
    ShuttingDown,
)
from graph.events import Done, Ending, Failed, Token
from graph.observe.feedback import hit_of
from graph.observe.report import RunReport
from graph.state import AgentContext


class AnswerCache:
    """The cached answers, and those in progress on this replica."""

    def __init__(self, agent: SupportAgent, redis: Redis, settings: ServiceSettings, drain: Drain) -> None:
        self._agent = agent
        self._budget = settings.answer_timeout
        self._drain = drain
        self._store = AnswerStore(redis, settings.cache_ttl)
        self._flights: dict[str, Flight] = {}

    async def write_counts(self) -> None:
        """Write what became of the latest requests to Redis."""
        await self._store.write_counts()

    @asynccontextmanager
    async def request(
        self, question: str, context: AgentContext, *, fresh: bool = False
    ) -> AsyncGenerator["AnswerRequest"]:
        """Request an answer; leaving the block stops waiting for it.

        `fresh` bypasses the cached answer and replaces it with a new one. With a TTL of 0 nothing is cached or shared.
        """
        key = f"answer:{_digest(context.tenant, normalised(question), self._agent.version)}"
        deadline = time.monotonic() + self._budget
        edition = self._agent.knowledge.served
        query = Query(key, question, context, deadline, edition, self._agent, self._store, self._drain)
        flights = None if fresh or not self._store.ttl else self._flights
        request = AnswerRequest(query, flights)
        try:
            await request.open()
            yield request
        finally:
            request.close()
            self._store.count(request.cache_status)


class AnswerRequest:
    """One request for an answer: a cache hit, or a waiter of a flight."""

    def __init__(self, query: Query, flights: dict[str, Flight] | None) -> None:
        self._query = query
        self._flights = flights
        self._hit: Done | None = None
        self._flight: Flight | None = None
        self._started_flight = False

    @property
    def cache_status(self) -> CacheStatus:
        """Hit, miss or coalesced; final once the first piece has arrived."""
        if self._hit:
            return "hit"
        return "miss" if self._started_flight and self._flight and self._flight.asks_model else "coalesced"

    async def open(self) -> None:
        """Look up the cached answer, or join a flight."""
        if self._flights is not None and self._query.key not in self._flights:
            with contextlib.suppress(RedisError):
                await self._look_up()
        if not self._hit:
            self._join_flight(None, is_retry=False)

    async def _look_up(self) -> None:
        began = time.time()
        if cached := await self._query.store.get(self._query.key):
            run_id = hit_of(cached.run_id)
            versions = self._query.agent.versions
            report = RunReport(
                run_id, self._query.question, self._query.context, is_hit=True, versions=versions, began=began
            )
            self._hit = replace(cached, run_id=report.run_id, tokens_used=0)
            report.end(self._hit)
            self._query.agent.observe(report)

    def close(self) -> None:
        """Stop waiting for the answer."""
        if self._flight:
            self._flight.leave()

    async def whole(self) -> Done:
        """Return the whole answer; raises RunError."""
        while True:
            async for piece in self._pieces():
                if isinstance(piece, Done):
                    return piece
                if isinstance(piece, Failed) and not self._retry(piece):
                    raise RUN_ERRORS[piece.error]

    async def follow(self) -> AsyncIterator[Piece]:
        """Yield the answer's tokens as they arrive, then Done or Failed.

        If a flight fails half-way, the next one continues the text, or the request fails where the texts differ.
        """
        shown = ""
        ending: Ending | None = None
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
                elif not self._retry(piece):
                    ending = piece
        yield ending

    async def _pieces(self) -> AsyncIterator[Piece]:
        if self._hit:
            yield Token(self._hit.answer)
            yield self._hit
        elif self._flight:
            async for piece in self._flight.pieces():
                # Only the request that caused the model call pays for its tokens.
                is_free = isinstance(piece, Done) and self.cache_status != "miss"
                yield replace(piece, tokens_used=0) if is_free else piece

    def _retry(self, failed: Failed) -> bool:
        """Join another flight after a failure; False if the failure is final.

        It is final if this request's own model call failed, if the flight was already a retry after a model failure,
        if the question would get the same error again, or if the service shuts down.
        """
        flight = self._flight
        if failed.error in FINAL:
            return False
        if flight is None or flight.is_retry or (flight.asks_model and self._started_flight):
            return False
        if failed.error == ShuttingDown.code and (flight.asks_model or self._query.drain.over.is_set()):
            return False
        flight.leave()
        self._join_flight(flight.leader, is_retry=failed.error not in NOT_MODEL_FAILURES)
        return True

    def _join_flight(self, failed_leader: str | None, *, is_retry: bool) -> None:
        """Join the flight in progress, or start one."""
        flights, key = self._flights, self._query.key
        flight = flights.get(key) if flights is not None else None
        self._started_flight = flight is None
        if flight is None:
            flight = Flight(self._query, flights, failed_leader, is_retry=is_retry)
            if flights is not None:
                flights[key] = flight
        flight.join()
        self._flight = flight


def normalised(question: str) -> str:
    """Return the question in Unicode NFKC, case-folded, with single spaces."""
    return " ".join(unicodedata.normalize("NFKC", question).casefold().split())


def _digest(*parts: str) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

"""Single-flight: identical questions that arrive at the same time share one answer, within and across replicas.

On each replica, requests for the same answer wait for one Flight. Across replicas, one flight becomes the leader and
asks the model; the flights of the other replicas follow its events in Redis.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import TypeGuard

from redis.asyncio.lock import Lock
from redis.exceptions import LockError, RedisError

from api.answer_cache.store import AnswerStore, Snapshot, leader_name
from api.drain import Drain
from graph.agent import SupportAgent
from graph.errors import (
    RUN_ERRORS,
    Cancelled,
    ContentFiltered,
    ContextTooLong,
    InternalError,
    Interrupted,
    ModelTimeout,
    ModelUnavailable,
    RunError,
    ShuttingDown,
    kind_and_place,
)
from graph.events import Done, Ending, Failed, Token
from graph.retrieval.served import Edition
from graph.runs.feed import Feed
from graph.runs.run import Run
from graph.state import AgentContext

Piece = Token | Ending
"""One event of an answer: tokens, then Done or Failed."""

FINAL = frozenset({ContentFiltered.code, ContextTooLong.code})
"""Errors that the same question gets again."""

NOT_MODEL_FAILURES = frozenset({Cancelled.code, Interrupted.code, ShuttingDown.code})
"""Errors that say nothing about the model, so a retry is likely to succeed."""

_RENEW_INTERVAL = 1.5  # seconds between two renewals of the leader's lock
_POLL_INTERVAL = 0.05  # seconds between two polls by a follower, and between two writes by the leader

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Query:
    """A question, and what is needed to answer it."""

    key: str
    """The Redis key of the answer."""
    question: str
    context: AgentContext
    deadline: float
    """When the answer must be complete, on the monotonic clock."""
    edition: Edition | None
    """What was served of the help centre when the key was made."""
    agent: SupportAgent
    store: AnswerStore
    drain: Drain


class Flight(Feed):
    """One answer in progress, from this replica or another, and the requests of this replica that wait for it.

    Its events are Pieces. `flights` holds this replica's flights by key; None means that the answer is not shared.
    """

    def __init__(
        self, query: Query, flights: dict[str, "Flight"] | None, failed_leader: str | None, *, is_retry: bool
    ) -> None:
        super().__init__()
        self.asks_model = False
        """Whether this replica asks the model."""
        self.is_retry = is_retry
        """Whether the model has failed once already; after a second failure there is no retry."""
        self.leader = failed_leader
        """The name of the latest leader."""
        self._failed_leader = failed_leader  # may still hold its lock
        self._query = query
        self._flights = flights
        self._waiters = 0
        self._text = ""
        self._published = 0
        self._is_leader = False
        self._run: Run | None = None
        self._task = asyncio.create_task(self._execute())

    def join(self) -> None:
        """Add a waiter."""
        self._waiters += 1

    def leave(self) -> None:
        """Remove a waiter; without waiters the flight is cancelled, unless other replicas follow it."""
        self._waiters -= 1
        if not self._waiters and not self._is_leader:
            self._cancel()

    async def pieces(self) -> AsyncIterator[Piece]:
        """Yield the pieces so far, then the rest as they arrive."""
        async for _, event in self.follow():
            if isinstance(event, Piece):
                yield event

    def _cancel(self) -> None:
        self._forget()
        if self._run:
            self._run.cancel()

    def _forget(self) -> None:
        if self._flights and self._flights.get(self._query.key) is self:
            del self._flights[self._query.key]

    async def _execute(self) -> None:
        try:
            ending = await (self._alone() if self._flights is None else self._share())
        except RunError as error:
            ending = Failed(error.code)
        except Exception as error:  # noqa: BLE001 - the waiters get it as an event
            _log.error(kind_and_place(error))
            ending = Failed(InternalError.code)
        self._forget()
        self._emit(ending)

    async def _share(self) -> Ending:
        try:
            return await self._share_across_replicas()
        except RedisError:
            if self._text:
                raise Interrupted from None
            return await self._alone()

    async def _alone(self) -> Ending:
        ending = await self._ask_model()
        if self._may_keep(ending):
            await self._keep(ending)
        return ending

    async def _share_across_replicas(self) -> Ending:
        key, store = self._query.key, self._query.store
        while (lock := await store.become_leader(key)) is None:
            with self._query.drain.followers.member():
                ending = await self._follow_leader()
            if ending:
                return ending
        try:
            if (answer := await store.get(key)) and self._emit_rest(answer.answer):
                return answer
            ending = await self._lead(lock)
            if isinstance(ending, Failed) and ending.error not in NOT_MODEL_FAILURES:
                await store.publish_failure(key, leader_name(lock), ending.error)
            return ending
        finally:
            with contextlib.suppress(RedisError, LockError):
                await lock.release()

    async def _follow_leader(self) -> Ending | None:
        """Emit what the leader publishes, and return its final event; None if this replica is to take over."""
        leader: str | None = None
        known = 0
        while self._waiters:
            if self._query.drain.over.is_set():
                raise ShuttingDown
            snapshot = await self._query.store.poll(self._query.key, leader, known)
            for event in snapshot.events:
                if isinstance(event, Ending):
                    return event
                if isinstance(event, Token):
                    self._emit_text(event.text)
            if snapshot.answer and self._emit_rest(snapshot.answer.answer):
                return snapshot.answer
            known += len(snapshot.events)
            if leader is None and snapshot.leader and snapshot.leader != self._failed_leader:
                leader = self.leader = snapshot.leader  # poll again at once, which registers as its follower
                continue
            if snapshot.leader is None or snapshot.leader != (leader or self._failed_leader):
                self._check_takeover(snapshot)
                return None
            await asyncio.sleep(_POLL_INTERVAL)
        raise Cancelled

    def _check_takeover(self, snapshot: Snapshot) -> None:
        """Raise RunError unless this replica may ask the model now that the leader is gone."""
        if snapshot.failure and snapshot.failure[0] != self._failed_leader:
            self.leader, code = snapshot.failure
            raise RUN_ERRORS.get(code, ModelUnavailable)("another replica failed")
        if self._text:
            raise Interrupted

    async def _lead(self, lock: Lock) -> Ending:
        """Ask the model, and publish its events to the other replicas."""
        self._is_leader = True
        self.leader = leader = leader_name(lock)
        ended = asyncio.Event()
        publishing = asyncio.create_task(self._publish(lock, ended))
        try:
            ending = await self._ask_model()
        finally:
            ended.set()
            await asyncio.wait([publishing])
        may_keep = self._may_keep(ending)
        if self._published or not may_keep:  # otherwise followers read the cached answer
            with contextlib.suppress(RedisError):
                rest = [*self._events[self._published :], ending]
                await self._query.store.publish(self._query.key, leader, self._published, rest)
        if may_keep:
            await self._keep(ending)  # only now, or a follower would get the rest of the tokens as one
        return ending

    async def _publish(self, lock: Lock, ended: asyncio.Event) -> None:
        """Publish new events and renew the lock until `ended`; cancel the run when nobody waits for it."""
        renew_at = time.monotonic() + _RENEW_INTERVAL
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_POLL_INTERVAL):
                    await ended.wait()
            if ended.is_set():
                return
            with contextlib.suppress(RedisError, LockError):
                if time.monotonic() > renew_at:
                    await self._query.store.renew(self._query.key, lock)
                    renew_at = time.monotonic() + _RENEW_INTERVAL
                if new := self._events[self._published :]:
                    await self._query.store.publish(self._query.key, leader_name(lock), self._published, new)
                    self._published += len(new)
            if not await self._is_wanted(leader_name(lock)):
                self._cancel()

    async def _is_wanted(self, leader: str) -> bool:
        is_followed = False
        if not self._waiters:
            with contextlib.suppress(RedisError):
                is_followed = await self._query.store.has_followers(self._query.key, leader)
        return is_followed or self._waiters > 0

    async def _ask_model(self) -> Ending:
        if not self._waiters:
            raise Cancelled
        self.asks_model = True
        budget = self._query.deadline - time.monotonic()
        if budget <= 0:
            raise ModelTimeout("the time budget ran out before this replica could ask the model")
        self._run = self._query.agent.stream(self._query.question, self._query.context, budget)
        async for _, event in self._run.follow():
            if isinstance(event, Token):
                self._text += event.text
                self._emit(event)
            elif isinstance(event, Ending):
                return event
        raise AssertionError("a run ends with Done or Failed")

    def _may_keep(self, ending: Ending) -> TypeGuard[Done]:
        """Return whether an answer is whole, and of the articles that its key stands for."""
        query = self._query
        is_same = query.agent.knowledge.served is query.edition
        return isinstance(ending, Done) and ending.complete and is_same and query.store.ttl > 0

    async def _keep(self, ending: Done) -> None:
        # An answer that was cached while this one was written is a fresh one, which somebody asked for later.
        keep = self._query.store.replace if self._flights is None else self._query.store.put
        await keep(self._query.key, ending)

    def _emit_rest(self, answer: str) -> bool:
        """Emit the rest of an answer; return False if it does not start with the text emitted so far."""
        if not answer.startswith(self._text):
            return False
        if len(answer) > len(self._text):
            self._emit_text(answer[len(self._text) :])
        return True

    def _emit_text(self, text: str) -> None:
        self._text += text
        self._emit(Token(text))

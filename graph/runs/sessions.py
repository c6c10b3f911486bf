"""Sessions: one turn at a time in each, across all replicas; any replica can follow or cancel a turn."""

import asyncio
import contextlib
import json
import time
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TypeVar

from langchain_core.messages import AnyMessage
from redis.asyncio import Redis
from redis.asyncio.lock import Lock

from graph.errors import (
    Cancelled,
    IdempotencyMismatch,
    MemoryUnavailable,
    RunError,
    SessionBusy,
    ShuttingDown,
)
from graph.events import Event
from graph.idempotency import claim_key, digest
from graph.redis import memory_errors
from graph.runs.feed import Followed
from graph.runs.locks import Locks
from graph.runs.log import ALIVE, LoggedRun, RunLog
from graph.runs.memory import History, Memory, lock_name, thread_id
from graph.runs.queues import Queues
from graph.runs.run import Engine, end_runs
from graph.runs.threads import Threads
from graph.runs.turn import Asking, Turn
from graph.settings import AgentSettings
from graph.state import AgentContext

UNREAD = 10.0
"""Seconds without a reader after which a turn is cancelled."""

_BEAT = 0.25  # seconds between two heartbeats, which also poll for cancellations by other replicas
_REFRESH = 3.0  # seconds between two renewals of a turn's keys and lock
_RETRY = 0.05  # seconds between two attempts to take a session's lock
_COMPARE_AND_SET = """\
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then return redis.call('del', KEYS[1]) end
redis.call('set', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1"""

_T = TypeVar("_T")


class Sessions:
    """The sessions; every method raises MemoryUnavailable if Redis can't be reached."""

    def __init__(
        self, redis: Redis, memory: Memory, engine: Engine, settings: AgentSettings, threads: Threads | None = None
    ) -> None:
        self._threads = threads
        self._redis = redis
        self._memory = memory
        self._engine = engine
        self._settings = settings
        self._log = RunLog(redis, settings.session_ttl)
        self._locks = Locks(redis, ALIVE)
        self._compare_and_set_script = redis.register_script(_COMPARE_AND_SET)
        self._not_begun: list[Turn] = []
        self._beginning: set[asyncio.Task[Followed]] = set()
        self._turns: dict[str, Turn] = {}
        self._queues = Queues(settings.answer_timeout)
        self._draining = False
        self._closed = asyncio.Event()

    def turn(self, message: str, session_id: str | None, context: AgentContext, asking: Asking | None = None) -> Turn:
        """Create a turn, which has yet to begin; without a session id it gets a new session."""
        return Turn(
            self._engine,
            message,
            context,
            session_id=session_id or uuid.uuid4().hex,
            body=digest(message, session_id, context.customer_id),
            log=self._log,
            threads=self._threads,
            asking=asking or Asking(),
        )

    async def begin(self, turn: Turn, idempotency_key: str | None = None) -> Followed:
        """Begin a turn, or return the one that began with the same idempotency key.

        Raises SessionBusy while the session has another turn; with SUPPORT_BUSY_SESSION=wait, only after waiting for
        SUPPORT_ANSWER_TIMEOUT. Raises IdempotencyMismatch if the key was used with another message, and ShuttingDown
        while the service drains. Cancelling the caller does not stop it: cancel the turn instead.
        """
        return await asyncio.shield(self._start(turn, idempotency_key))

    async def begin_or_wait(self, turn: Turn) -> None:
        """Begin a turn; return once it can be followed, which it can be too while it waits for its session."""
        beginning = self._start(turn, None)
        waiting = asyncio.create_task(turn.waiting.wait())
        try:
            await asyncio.wait((beginning, waiting), return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if beginning.done():
            beginning.result()

    def _start(self, turn: Turn, idempotency_key: str | None) -> asyncio.Task[Followed]:
        beginning = asyncio.create_task(self._begin(turn, idempotency_key))
        self._beginning.add(beginning)
        beginning.add_done_callback(self._has_begun)
        return beginning

    def _has_begun(self, beginning: asyncio.Task[Followed]) -> None:
        self._beginning.discard(beginning)
        if not beginning.cancelled():
            beginning.exception()  # the caller may be gone, and asyncio logs exceptions that nobody retrieves

    async def _begin(self, turn: Turn, idempotency_key: str | None) -> Followed:
        self._turns[turn.id] = turn

        async def messages() -> Sequence[AnyMessage]:
            return await self._memory.messages(turn.thread)

        try:
            if self._draining:
                raise ShuttingDown
            if idempotency_key is not None and (earlier := await self._claim(turn, idempotency_key)):
                await turn.refuse(Cancelled, messages)
                self._not_begun.append(turn)
                return earlier
            lock = await self._take(turn)
            await turn.begin(lock, self._locks.release, lambda: self._turns.pop(turn.id, None), messages)
            if self._draining:
                turn.cancel(ShuttingDown)
        except BaseException as error:
            self._not_begun.append(turn)
            if not isinstance(error, MemoryUnavailable):
                await self._release_claims()
            await turn.refuse(type(error) if isinstance(error, RunError) else Cancelled, messages)
            raise
        finally:
            if not turn.began:
                self._turns.pop(turn.id, None)
        return turn

    async def _release_claims(self) -> None:
        """Release the idempotency claims of turns that did not begin."""
        with contextlib.suppress(MemoryUnavailable):
            while self._not_begun:
                turn = self._not_begun.pop()  # this may run concurrently
                try:
                    if turn.claim is not None:
                        await self._compare_and_set(turn.claim, turn.claimed, "")
                        await self._log.give_up(turn.id)
                except BaseException:
                    self._not_begun.append(turn)
                    raise

    async def find(self, run_id: str, owner: str) -> Followed | None:
        """Return the owner's turn with this run id; None if there is none."""
        turn = self._turns.get(run_id)
        if turn is not None and turn.began:
            return turn if turn.owner == owner else None
        return LoggedRun(run_id, self._log) if await self._log.owner(run_id) == owner else None

    def known(self, run_id: str) -> Followed:
        """Return a turn that is known to exist, although it may not have begun."""
        turn = self._turns.get(run_id)
        return turn if turn is not None and (turn.began or turn.is_queued) else LoggedRun(run_id, self._log)

    async def states(self, run_ids: Sequence[str]) -> list[tuple[Event | None, bool]]:
        """Return the last event of each run, if any, and whether a replica executes it or lets it wait."""
        return await self._log.states(run_ids)

    async def cancel(self, run_id: str, owner: str) -> bool:
        """Cancel the owner's turn with this run id, on any replica; return whether there is one."""
        found = await self.find(run_id, owner)
        if found is not None:
            await self.stop(found)
        return found is not None

    async def stop(self, run: Followed) -> None:
        """Cancel a turn, on any replica."""
        if isinstance(run, Turn):
            run.cancel()
        else:
            await self._log.cancel(run.id)

    async def history(self, session_id: str, owner: str) -> History | None:
        """Return the history of the owner's session; None if there is no such session."""
        return await self._memory.history(thread_id(owner, session_id))

    async def forget(self, session_id: str, owner: str) -> bool:
        """Delete the owner's session; return whether there was one. Raises SessionBusy while it has a turn."""
        thread, token = thread_id(owner, session_id), uuid.uuid4().hex

        async def attempt(is_first: bool) -> bool | None:
            return await self._memory.forget(thread, token) if is_first else None

        is_forgotten = await self._when_free(thread, attempt)
        if self._threads:
            await self._threads.forget_session(session_id, owner)
        return is_forgotten

    async def forget_runs(self, run_ids: Sequence[str]) -> None:
        """Delete what clients can read again of these runs, which have ended."""
        await self._log.forget(run_ids)

    @asynccontextmanager
    async def held(self, thread: str) -> AsyncGenerator[None]:
        """Hold a thread's session, so that no turn can begin in it; raises SessionBusy if that takes too long."""
        give_up = time.monotonic() + ALIVE
        while True:
            with memory_errors():
                lock = await self._locks.take(lock_name(thread))
            if lock:
                break
            if time.monotonic() > give_up:
                raise SessionBusy
            await asyncio.sleep(_RETRY)
        try:
            yield
        finally:
            await self._locks.release(lock)

    async def drain(self, seconds: float) -> None:
        """Begin no more turns; after `seconds`, end the turns still running with ShuttingDown."""
        self._draining = True
        give_up = time.monotonic() + seconds
        while turns := [turn for turn in self._turns.values() if turn.began]:
            await end_runs(turns, max(0.0, give_up - time.monotonic()))

    async def _claim(self, turn: Turn, idempotency_key: str) -> Followed | None:
        """Claim an idempotency key for this turn; return the turn that already has the key, if any."""
        turn.claim = claim_key(turn.owner, idempotency_key)
        while (earlier := await self._set_claim(turn)) is not None:
            run_id, body = json.loads(earlier)
            if body != turn.body:
                raise IdempotencyMismatch
            if ours := self._turns.get(run_id):
                await ours.settled.wait()
                if ours.began:
                    return ours
            starting = await self._log.is_starting(run_id)
            if starting is False:
                return LoggedRun(run_id, self._log)
            if starting is None and await self._compare_and_set(str(turn.claim), earlier, turn.claimed):
                return None
            await asyncio.sleep(_RETRY)
        return None

    async def _set_claim(self, turn: Turn) -> str | None:
        pipe = self._redis.pipeline(transaction=True)
        self._log.keep_alive(pipe, turn.id)  # before the claim is visible, so that no replica takes the run for dead
        pipe.set(str(turn.claim), turn.claimed, nx=True, get=True, ex=self._log.ttl)
        with memory_errors():
            taken = (await pipe.execute())[1]
        # If redis-py retried the command, the first attempt may have claimed the key.
        return None if taken is None or taken.decode() == turn.claimed else taken.decode()

    async def _compare_and_set(self, claim: str, old: str, new: str) -> bool:
        with memory_errors():
            return bool(await self._compare_and_set_script(keys=[claim], args=[old, new, self._log.ttl]))

    async def _take(self, turn: Turn) -> Lock:
        """Take the session's lock."""
        waits = turn.asking.waits

        async def attempt(is_first: bool) -> Lock | None:
            if turn.requested_end:
                raise turn.requested_end
            with memory_errors():
                lock = await self._locks.take(lock_name(turn.thread)) if is_first else None
            if lock is None and waits:
                await turn.queue()
            return lock

        return await self._when_free(turn.thread, attempt, waits=waits)

    async def _when_free(
        self, thread: str, attempt: Callable[[bool], Awaitable[_T | None]], *, waits: bool | None = None
    ) -> _T:
        """Return what `attempt` returns once it is not None, which means that the session has a turn."""

        async def unless_draining(is_first: bool) -> _T | None:
            if self._draining:
                raise ShuttingDown
            return await attempt(is_first)

        if self._settings.busy_session == "wait" if waits is None else waits:
            return await self._queues.wait(thread, unless_draining)
        if (result := await attempt(True)) is not None:
            return result
        raise SessionBusy

    def close(self) -> None:
        """Stop the heartbeats."""
        self._closed.set()

    async def keep_alive(self) -> None:
        """Send heartbeats for this replica's turns; cancel those that were cancelled elsewhere or that nobody reads."""
        refreshed = 0.0
        while not self._closed.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_BEAT):
                    await self._closed.wait()
            await self._locks.release_uncertain()
            await self._release_claims()
            turns = dict(self._turns)
            now = time.monotonic()
            refresh = now - refreshed >= _REFRESH
            if not turns:
                continue
            try:
                claims = [turn.claim for turn in turns.values() if turn.claim]
                states = await self._log.heartbeat(list(turns), claims, refresh=refresh)
                if refresh:
                    refreshed = now
                    await asyncio.gather(*(turn.renew() for turn in turns.values()))
            except MemoryUnavailable:
                continue  # a turn that can't be stored fails by itself
            for run_id, (cancelled, read_elsewhere) in states.items():
                turn = turns[run_id]
                if read_elsewhere:
                    turn.unread_since = now
                unread = turn.began and turn.readers == 0 and now - turn.unread_since > UNREAD
                unread = unread and not turn.asking.outlives_readers
                if cancelled or unread:
                    turn.cancel()


@asynccontextmanager
async def open_sessions(
    redis: Redis, memory: Memory, engine: Engine, settings: AgentSettings, threads: Threads | None = None
) -> AsyncGenerator[Sessions]:
    """Open the sessions; on exit, turns that are still running end with ShuttingDown."""
    sessions = Sessions(redis, memory, engine, settings, threads)
    heartbeats = asyncio.create_task(sessions.keep_alive())
    try:
        yield sessions
    finally:
        await sessions.drain(0)
        sessions.close()
        await asyncio.wait([heartbeats])

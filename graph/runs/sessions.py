"""Sessions: one turn at a time in each, on whatever replica, and turns that any replica can follow or cancel."""

import asyncio
import contextlib
import hashlib
import json
import time
import uuid
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from weakref import WeakValueDictionary

from redis.asyncio import Redis
from redis.asyncio.lock import Lock
from redis.exceptions import LockError

from graph.errors import (
    Cancelled,
    IdempotencyMismatch,
    MemoryUnavailable,
    RunError,
    SessionBusy,
    ShuttingDown,
)
from graph.events import Event
from graph.redis import memory_errors
from graph.runs.feed import Followed
from graph.runs.locks import Locks
from graph.runs.log import ALIVE, RunLog
from graph.runs.memory import History, Memory, thread_id
from graph.runs.run import Engine, end_runs
from graph.runs.turn import Turn
from graph.settings import AgentSettings
from graph.state import AgentContext

UNREAD = 10.0
"""Seconds after which a turn that nobody reads is cancelled."""

_BEAT = 0.25  # seconds between two looks at what other replicas want of our turns
_REFRESH = 3.0  # seconds between two renewals of what would expire under a turn
_RETRY = 0.05  # seconds between two attempts to take a session's lock
_SWAP = """\
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[2] == '' then return redis.call('del', KEYS[1]) end
redis.call('set', KEYS[1], ARGV[2], 'EX', ARGV[3])
return 1"""


@dataclass(frozen=True, slots=True)
class LoggedRun:
    """A turn that another replica executes, or that has ended, read from its log."""

    id: str
    log: RunLog

    def follow(self, after: int = 0) -> AsyncIterator[tuple[int, Event]]:
        """Yield the events after the `after`-th, as they come, with their numbers; Done or Failed ends them."""
        return self.log.follow(self.id, after)

    async def lacks(self, after: int) -> bool:
        """Whether the run never had an `after`-th event."""
        return await self.log.lacks(self.id, after)

    async def is_read(self, after: int) -> bool:
        """Whether nothing follows the `after`-th event."""
        return await self.log.is_read(self.id, after)


class Sessions:
    """The conversations; every method raises MemoryUnavailable where Redis can't be reached."""

    def __init__(self, redis: Redis, memory: Memory, engine: Engine, settings: AgentSettings) -> None:
        self._redis = redis
        self._memory = memory
        self._engine = engine
        self._settings = settings
        self._log = RunLog(redis, settings.session_ttl)
        self._locks = Locks(redis, ALIVE)
        self._swapping = redis.register_script(_SWAP)
        self._given_up: list[Turn] = []
        self._beginning: set[asyncio.Task[Followed]] = set()
        self._turns: dict[str, Turn] = {}
        self._queues: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._draining = False
        self._closed = asyncio.Event()

    def turn(self, message: str, session_id: str | None, context: AgentContext) -> Turn:
        """Prepare a turn, to be begun; without a session id the session is a new one."""
        return Turn(
            self._engine,
            message,
            context,
            session_id=session_id or uuid.uuid4().hex,
            body=_digest(message, session_id, context.customer_id),
            log=self._log,
        )

    async def begin(self, turn: Turn, idempotency_key: str | None = None) -> Followed:
        """Begin a turn, or return the one that the same idempotency key has begun.

        Raises SessionBusy while the session has a turn, unless SUPPORT_BUSY_SESSION is `wait`, IdempotencyMismatch
        where the key came with another message, and ShuttingDown while the service drains. It goes on when its
        caller is cancelled: who no longer wants the turn cancels it.
        """
        beginning = asyncio.create_task(self._begin(turn, idempotency_key))
        self._beginning.add(beginning)
        beginning.add_done_callback(self._has_begun)
        return await asyncio.shield(beginning)

    def _has_begun(self, beginning: asyncio.Task[Followed]) -> None:
        self._beginning.discard(beginning)
        if not beginning.cancelled():
            beginning.exception()  # nobody may be left to hear of it

    async def _begin(self, turn: Turn, idempotency_key: str | None) -> Followed:
        self._turns[turn.id] = turn
        try:
            if self._draining:
                raise ShuttingDown
            if idempotency_key is not None and (earlier := await self._claim(turn, idempotency_key)):
                turn.refuse(Cancelled)
                self._given_up.append(turn)
                return earlier
            lock = await self._take(turn.thread, turn)
            await turn.begin(lock, lambda: self._turns.pop(turn.id, None))
            if self._draining:
                turn.cancel(ShuttingDown)
        except BaseException as error:
            self._given_up.append(turn)
            if not isinstance(error, MemoryUnavailable):
                await self._let_go()
            turn.refuse(type(error) if isinstance(error, RunError) else Cancelled)
            raise
        finally:
            if not turn.began:
                self._turns.pop(turn.id, None)
        return turn

    async def _let_go(self) -> None:
        """Free the idempotency keys of turns that did not begin."""
        with contextlib.suppress(MemoryUnavailable):
            while self._given_up:
                turn = self._given_up.pop()  # several of us may be at it
                try:
                    if turn.claim is not None:
                        await self._swap(turn.claim, turn.claimed, "")
                        await self._log.give_up(turn.id)
                except BaseException:
                    self._given_up.append(turn)
                    raise

    async def find(self, run_id: str, tenant: str) -> Followed | None:
        """Return the tenant's turn of this name; None where it has none."""
        turn = self._turns.get(run_id)
        if turn is not None and turn.began:
            return turn if turn.tenant == tenant else None
        return LoggedRun(run_id, self._log) if await self._log.owner(run_id) == tenant else None

    async def cancel(self, run_id: str, tenant: str) -> bool:
        """End the tenant's turn of this name, wherever it is executed; return whether there is one."""
        found = await self.find(run_id, tenant)
        if isinstance(found, Turn):
            found.cancel()
        elif found is not None:
            await self._log.cancel(run_id)
        return found is not None

    async def history(self, session_id: str, tenant: str) -> History | None:
        """Return what the tenant's session remembers; None where it has no such session."""
        return await self._memory.history(thread_id(tenant, session_id))

    async def forget(self, session_id: str, tenant: str) -> bool:
        """Drop the tenant's session; return whether there was one. Raises SessionBusy while it has a turn."""
        thread = thread_id(tenant, session_id)
        lock = await self._take(thread)
        try:
            return await self._memory.forget(thread)
        finally:
            with memory_errors(), contextlib.suppress(LockError):
                await lock.release()

    async def drain(self, seconds: float) -> None:
        """Begin no more turns; end those that are not done after `seconds` with ShuttingDown."""
        self._draining = True
        give_up = time.monotonic() + seconds
        while turns := [turn for turn in self._turns.values() if turn.began]:
            await end_runs(turns, max(0.0, give_up - time.monotonic()))

    async def _claim(self, turn: Turn, idempotency_key: str) -> Followed | None:
        """Take an idempotency key for this turn; return the one that has it already, if any."""
        turn.claim = f"idempotency:{_digest(turn.tenant, idempotency_key)}"
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
            if starting is None and await self._swap(str(turn.claim), earlier, turn.claimed):
                return None
            await asyncio.sleep(_RETRY)
        return None

    async def _set_claim(self, turn: Turn) -> str | None:
        pipe = self._redis.pipeline(transaction=True)
        self._log.keep_alive(pipe, turn.id)  # before others can see it, so that none takes it for dead
        pipe.set(str(turn.claim), turn.claimed, nx=True, get=True, ex=self._log.ttl)
        with memory_errors():
            taken = (await pipe.execute())[1]
        # A command that was sent twice finds the key taken, by itself.
        return None if taken is None or taken.decode() == turn.claimed else taken.decode()

    async def _swap(self, claim: str, old: str, new: str) -> bool:
        with memory_errors():
            return bool(await self._swapping(keys=[claim], args=[old, new, self._log.ttl]))

    async def _take(self, thread: str, turn: Turn | None = None) -> Lock:
        """Take the session's lock, in order of arrival on this replica."""
        name = f"session:{thread}:lock"
        with memory_errors():
            if self._settings.busy_session == "reject":
                if lock := await self._locks.take(name):
                    return lock
                raise SessionBusy
            queue = self._queues.setdefault(thread, asyncio.Lock())
            give_up = time.monotonic() + self._settings.answer_timeout
            async with queue:
                while time.monotonic() < give_up:
                    if self._draining:
                        raise ShuttingDown
                    if turn and turn.wish:
                        raise turn.wish
                    if lock := await self._locks.take(name):
                        return lock
                    await asyncio.sleep(_RETRY)
        raise SessionBusy

    def close(self) -> None:
        """Let `keep` end."""
        self._closed.set()

    async def keep(self) -> None:
        """Keep our turns alive, and end those that are cancelled elsewhere or that nobody reads."""
        refreshed = 0.0
        while not self._closed.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_BEAT):
                    await self._closed.wait()
            await self._locks.sweep()
            await self._let_go()
            turns = dict(self._turns)
            now = time.monotonic()
            refresh = now - refreshed >= _REFRESH
            if not turns:
                continue
            try:
                claims = [turn.claim for turn in turns.values() if turn.claim]
                states = await self._log.beat(list(turns), claims, refresh=refresh)
                if refresh:
                    refreshed = now
                    await asyncio.gather(*(turn.renew() for turn in turns.values()))
            except MemoryUnavailable:
                continue  # a turn that can't be stored will say so itself
            for run_id, (cancelled, read_elsewhere) in states.items():
                turn = turns[run_id]
                if read_elsewhere:
                    turn.unread_since = now
                unread = turn.began and turn.readers == 0 and now - turn.unread_since > UNREAD
                if cancelled or unread:
                    turn.cancel()


@asynccontextmanager
async def open_sessions(
    redis: Redis, memory: Memory, engine: Engine, settings: AgentSettings
) -> AsyncGenerator[Sessions]:
    """Look after the sessions; on leaving, turns that are still under way end with ShuttingDown."""
    sessions = Sessions(redis, memory, engine, settings)
    keeping = asyncio.create_task(sessions.keep())
    try:
        yield sessions
    finally:
        await sessions.drain(0)
        sessions.close()
        await asyncio.wait([keeping])


def _digest(*parts: str | None) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()

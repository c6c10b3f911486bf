"""The outbox: what the team has yet to get of hand-overs, sent by whichever replica comes first.

`handoff:<id>:outbox` is a stream of entries, of which only the first is sent, so that the order is kept.
`handoffs:outbox` has the names of these streams by when they are due. A replica that takes one puts that off for a
while; if it dies, another takes it then. Also ends the hand-overs that time out.
"""

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from graph.actions.handoff_scripts import KEPT
from graph.actions.handoffs import DUE, OPEN, Entry, entry_json
from graph.errors import MemoryUnavailable, kind_and_place
from graph.observe.metrics import handoffs_open, outbox_age, outbox_sent, outbox_waiting

_LEASE = 30  # seconds in which a replica sends what it has taken; longer than any receiver may take
_POLL, _IDLE = 1.0, 5.0  # seconds between two looks, while any hand-over lasts or waits, and while none does
_AT_ONCE = 8  # receivers that are spoken to at the same time
_SHORTEST, _LONGEST = 1.0, 1800.0  # seconds between two attempts
_CLOSING = 3.0  # seconds for what is being sent when the service stops
_LOOKED_AT = 100  # hand-overs, those due first, whose entries are looked at

_TAKE = f"""\
local time = redis.call('time')
local now = time[1] + time[2] / 1000000
local over = redis.call('zrange', KEYS[1], '-inf', now, 'BYSCORE', 'LIMIT', 0, 10)
local age, stream, name, entry, lease = 0, '', '', '', ''
for _, each in ipairs(redis.call('zrange', KEYS[2], 0, {_LOOKED_AT - 1})) do
  local first = redis.call('xrange', each, '-', '+', 'COUNT', 1)[1]
  if not first then
    redis.call('zrem', KEYS[2], each)
  else
    age = math.max(age, now - string.match(first[1], '%d+') / 1000)
    if stream == '' and tonumber(redis.call('zscore', KEYS[2], each)) <= now then
      stream, name, entry = each, first[1], first[2][2]
      redis.call('zadd', KEYS[2], string.format('%.3f', now + ARGV[1]), each)
      lease = redis.call('zscore', KEYS[2], each)
    end
  end
end
return {{over, redis.call('zcard', KEYS[1]), redis.call('zcard', KEYS[2]), string.format('%.0f', age), stream, name,
  entry, lease}}"""

# Without a pause the entry is done with. What another replica has taken since is left to it.
_SETTLE = """\
if ARGV[4] == '' then redis.call('xdel', ARGV[1], ARGV[2]) end
if redis.call('xlen', ARGV[1]) == 0 then redis.call('zrem', KEYS[1], ARGV[1]) return end
if redis.call('zscore', KEYS[1], ARGV[1]) ~= ARGV[3] then return end
local time = redis.call('time')
redis.call('zadd', KEYS[1], string.format('%.3f', time[1] + time[2] / 1000000 + tonumber('0' .. ARGV[4])), ARGV[1])"""

_log = logging.getLogger(__name__)


class NotReceived(Exception):
    """The team's receiver did not confirm that it has an entry; the message says why, without another error's text."""


class Receiver(Protocol):
    """Where the team gets hand-overs."""

    async def send(self, entry: Entry, trace_url: str | None) -> None:
        """Send an entry; raises NotReceived unless the receiver has confirmed it, within half the lease."""
        ...


@dataclass(frozen=True, slots=True)
class _Taken:
    stream: str
    name: str
    entry: bytes
    lease: str


class Outbox:
    """Sends what is due."""

    def __init__(
        self,
        redis: Redis,
        waiting: asyncio.Event,
        receiver: Receiver | None,
        end: Callable[[str], Awaitable[object]],
        link: Callable[[str], str | None] | None,
    ) -> None:
        self.closed = asyncio.Event()
        self._waiting = waiting
        self._receiver = receiver
        self._end = end
        self._link = link
        self._redis = redis
        self._take = redis.register_script(_TAKE)
        self._settle = redis.register_script(_SETTLE)
        self._pausing = _IDLE
        self._sending: set[asyncio.Task[None]] = set()
        self._sent: set[str] = set()
        """Ids of entries that the receiver has confirmed, and that are still in Redis."""
        self._told = ""
        """What the log says of the receiver, once while it stays so."""

    async def run(self) -> None:
        """Send what is due until closed."""
        while not self.closed.is_set():
            self._waiting.clear()
            has_more = False
            with contextlib.suppress(RedisError, MemoryUnavailable):
                has_more = await self._look()
            if not has_more:
                await self._pause()

    async def close(self) -> None:
        """Wait a little for what is being sent; the rest is sent by another replica, or after the next start."""
        self.closed.set()
        self._waiting.set()
        if self._sending:
            _, late = await asyncio.wait(self._sending, timeout=_CLOSING)
            for task in late:
                task.cancel()
            if late:
                await asyncio.wait(late)

    async def _pause(self) -> None:
        # A message of this replica is sent at once.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._pausing):
                await self._waiting.wait()

    async def _look(self) -> bool:
        """Take what is due and send it in the background; return whether there may be more."""
        if len(self._sending) >= _AT_ONCE:
            await asyncio.wait(self._sending, return_when=asyncio.FIRST_COMPLETED)
        found = cast("list[Any]", await self._take([OPEN, DUE], [_LEASE]))
        over, lasting, waiting, age = found[:4]
        handoffs_open.set(lasting)
        outbox_waiting.set(waiting)
        outbox_age.set(int(age))
        self._pausing = _POLL if lasting or waiting else _IDLE
        for handoff_id in over:
            await self._end(handoff_id.decode())
        stream, name, entry, lease = found[4:]
        if not stream or self._receiver is None:
            return False
        taken = _Taken(stream.decode(), name.decode(), entry, lease.decode())
        task = asyncio.create_task(self._deliver(taken, self._receiver))
        self._sending.add(task)
        task.add_done_callback(self._sending.discard)
        return True

    async def _deliver(self, taken: _Taken, receiver: Receiver) -> None:
        entry = entry_json.validate_json(taken.entry)
        age = (datetime.now(UTC) - datetime.fromisoformat(entry.at)).total_seconds()
        if age > KEPT:
            outbox_sent.add(1, {"outcome": "dropped"})
            _log.error("the team has not got an entry of the hand-over %s within a day, and will not", entry.handoff.id)
            return await self._settled(taken, "")
        if entry.id not in self._sent:
            if trouble := await self._trouble(entry, receiver):
                self._tell(trouble)
                outbox_sent.add(1, {"outcome": "failed"})
                return await self._settled(taken, f"{min(max(age, _SHORTEST), _LONGEST):.3f}")
            self._told = ""
            self._sent.add(entry.id)
            outbox_sent.add(1, {"outcome": "sent"})
        await self._settled(taken, "")
        self._sent.discard(entry.id)
        self._waiting.set()  # for the next entry
        return None

    async def _trouble(self, entry: Entry, receiver: Receiver) -> str:
        """Send an entry; return why the receiver did not confirm it, or nothing."""
        try:
            await receiver.send(entry, await self._trace_url(entry.run_id))
        except NotReceived as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - a defect must lose no entry
            return kind_and_place(error)
        return ""

    async def _settled(self, taken: _Taken, pause: str) -> None:
        """Note in Redis what became of an entry; while Redis is down, it tries again."""
        while True:
            with contextlib.suppress(RedisError):
                await self._settle([DUE], [taken.stream, taken.name, taken.lease, pause])
                return
            await asyncio.sleep(_SHORTEST)

    async def _trace_url(self, run_id: str) -> str | None:
        return await asyncio.to_thread(self._link, run_id) if self._link else None

    def _tell(self, trouble: str) -> None:
        if trouble != self._told:
            _log.warning("a hand-over did not reach the team, and is sent again: %s", trouble)
            self._told = trouble


@asynccontextmanager
async def sending(outbox: Outbox) -> AsyncGenerator[None]:
    """Send what is due while the block lasts."""
    task = asyncio.create_task(outbox.run())
    try:
        yield
    finally:
        await outbox.close()
        await asyncio.wait([task])

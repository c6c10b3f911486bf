"""Records of actions in Redis: what was proposed, who has begun it, and how it ended.

`action:<id>` is the record. `session:<thread>:action` names the one that a session's customer can confirm, with its
kind, for as long as that is possible. `actions:begun` has those that are being done, and those that have ended and of
which the session's history does not say so yet, by when their lease expires, in milliseconds of Redis' clock.

Whoever changes a record replaces its whole value, if that still is what was read before. A new value that begins an
action has a random name of its own, so that a command which redis-py sends twice tells the same both times.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal, Self, cast

from redis.asyncio import Redis

from graph.actions.standing import action_key
from graph.redis import memory_errors
from graph.state import Action, AgentContext

LEASE = 10.0
"""Seconds after which an action that nobody renews is one whose replica has died."""

Status = Literal["proposed", "begun", "done", "failed", "unknown", "declined", "expired"]

_BEGUN = "actions:begun"
_CHANGE = """\
local held = redis.call('get', KEYS[1])
local time = redis.call('time')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
if held ~= ARGV[2] then
  if held ~= ARGV[1] then return 0 end
  if ARGV[3] == 'open' or ARGV[3] == 'said' then
    if string.match(redis.call('get', KEYS[2]) or '', '^%S*') ~= ARGV[4] then return 0 end
  end
  if ARGV[3] == 'overdue' and (tonumber(redis.call('zscore', KEYS[3], ARGV[4]) or 0)) > now then return 0 end
  redis.call('set', KEYS[1], ARGV[2], 'EX', ARGV[5])
  if ARGV[3] == 'open' then redis.call('del', KEYS[2]) end
end
if ARGV[6] == '0' then redis.call('zrem', KEYS[3], ARGV[4])
else redis.call('zadd', KEYS[3], now + ARGV[6], ARGV[4]) end
return 1"""
_MOST = 100  # overdue actions that are looked at together


@dataclass(frozen=True, slots=True)
class Record:
    """An action as it is kept."""

    id: str
    tenant: str
    session_id: str
    thread: str
    run_id: str
    """The run that has proposed it."""
    customer_id: str | None
    visitor: str | None
    """The visitor of the tenant's website whose session it is."""
    kind: str
    server: str
    is_idempotent: bool
    arguments: Mapping[str, Any]
    summary: str
    expires_at: float
    """Until when it can be confirmed: a Unix timestamp."""
    status: Status = "proposed"
    executor: str = ""
    """The random name of who does it."""
    is_uncertain: bool = False
    """An earlier call may have been carried out."""
    result: str = ""
    """What the tool has said: material, which no customer sees."""

    @property
    def context(self) -> AgentContext:
        """Whose turn has proposed it."""
        return AgentContext(self.tenant, self.customer_id, self.visitor)

    def action(self, status: Status | None = None) -> Action:
        """Return it as clients see it."""
        expires_at = datetime.fromtimestamp(self.expires_at, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
        return Action(self.id, self.kind, self.summary, dict(self.arguments), expires_at, status or self.status)

    def dumps(self) -> str:
        """Return it as JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, value: bytes) -> Self:
        """Return the record of some JSON; what a later release has added is left out."""
        names = {field.name for field in fields(cls)}
        return cls(**{name: each for name, each in json.loads(value).items() if name in names})


@dataclass(frozen=True, slots=True)
class Held:
    """A record as it was read."""

    record: Record
    value: bytes | str
    """Its JSON."""


class Records:
    """Reads and changes records; every method raises MemoryUnavailable if Redis can't be reached."""

    def __init__(self, redis: Redis, seconds: int) -> None:
        self._redis = redis
        self._seconds = seconds  # that a record is kept after its last change
        self._change = redis.register_script(_CHANGE)

    async def read(self, action_id: str) -> Held | None:
        """Return a record; None if there is none, or it has expired."""
        with memory_errors():
            value = cast("bytes | None", await self._redis.get(record_key(action_id)))
        return Held(Record.loads(value), value) if value else None

    async def is_open(self, record: Record) -> bool:
        """Return whether it is the one that the session's customer can confirm."""
        with memory_errors():
            found = cast("bytes | None", await self._redis.get(action_key(record.thread)))
        return (found or b"").split(b" ")[0] == record.id.encode()

    async def settle(self, held: Held, new: Record) -> bool:
        """Begin or decline an action that can be confirmed; return whether that was possible."""
        return await self._replace(held, new, "open", LEASE)

    async def settle_as_said(self, held: Held, new: Record) -> bool:
        """Do the same for a message of the session, which names the action until the turn that tells the end is stored.

        So a message that is repeated after its turn has failed is told the same.
        """
        return await self._replace(held, new, "said", LEASE if new.status == "begun" else 0)

    async def adopt(self, held: Held, new: Record) -> bool:
        """Take over an action whose lease has expired; return whether it still had."""
        return await self._replace(held, new, "overdue", LEASE)

    async def end(self, held: Held, new: Record, *, is_told: bool) -> bool:
        """Record how an action has ended; return False if somebody else has taken it over.

        `is_told` if the session's history will say so anyway.
        """
        return await self._replace(held, new, "", 0 if is_told else LEASE)

    async def renew(self, held: Held) -> bool:
        """Renew the lease of an action that is being done; return False if somebody else has taken it over."""
        return await self._replace(held, held.record, "", LEASE)

    async def give_up(self, held: Held) -> bool:
        """Leave an action that is being done to another replica, at once."""
        return await self._replace(held, held.record, "", 0.001)

    async def overdue(self) -> list[str]:
        """Return the ids of the actions whose lease has expired by this machine's clock; `adopt` asks Redis' own."""
        with memory_errors():
            found = await self._redis.zrange(_BEGUN, "-inf", int(time.time() * 1000), byscore=True, offset=0, num=_MOST)
        return [name.decode() for name in cast("list[bytes]", found)]

    async def drop(self, action_id: str) -> None:
        """Look no more for an action whose record is gone, or of whose end the session's history says."""
        with memory_errors():
            await self._redis.zrem(_BEGUN, action_id)

    async def _replace(self, held: Held, new: Record, condition: str, lease: float) -> bool:
        keys = [record_key(new.id), action_key(new.thread), _BEGUN]
        value = held.value if new is held.record else new.dumps()
        args = [held.value, value, condition, new.id, self._seconds, int(lease * 1000)]
        with memory_errors():
            return bool(await self._change(keys=keys, args=args))


def record_key(action_id: str) -> str:
    """Return the Redis key of an action's record."""
    return f"action:{action_id}"

"""Conversations that a person has taken over, in Redis.

`session:<thread>:handoff` is the hand-over of a session while it lasts, `handoff:<id>` the same by its own id, also for
a while after it has ended. `handoffs` has the ids of those that last, by when they time out. `session:<thread>:events`
is what readers of the session are told. `handoff:<id>:outbox` is what the team has yet to get, which outbox.py sends.

Each change is one script, which may run twice: redis-py repeats a command whose answer did not come.
"""

import asyncio
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Literal, cast

from langchain_core.messages import AnyMessage, HumanMessage
from pydantic import TypeAdapter
from redis.asyncio import Redis

from graph.actions.handoff_scripts import END, FEWEST, REPLY, STORE
from graph.actions.reasons import AGENT, SUMMARIES, Reason
from graph.actions.standing import Standing, handoff_key
from graph.errors import HandoffOver
from graph.observe.metrics import handoffs_opened
from graph.observe.redaction import Redactor
from graph.redis import memory_errors
from graph.retrieval.company import Desk
from graph.state import AgentContext, Handoff

OPEN = "handoffs"
"""The Redis key of the ids of those that last."""
DUE = "handoffs:outbox"
"""The Redis key of what is waiting to be sent, by when."""
_QUOTED = 300  # characters of the customer's message in a summary

Status = Literal["open", "released", "timed-out"]


@dataclass(frozen=True, slots=True)
class Record:
    """A hand-over, with what only the service and the team know of it."""

    id: str
    reason: Reason
    summary: str
    opened_at: str
    expected_reply: str | None
    tenant: str
    session_id: str
    thread: str
    customer_id: str | None
    category: str
    language: str
    """Of what the customer is told."""
    run_id: str
    """The run that opened it."""
    status: Status = "open"
    ended_at: str | None = None

    @property
    def shown(self) -> Handoff:
        """What the customer's client is told."""
        return Handoff(self.id, self.reason, self.summary, self.opened_at, self.expected_reply)


@dataclass(frozen=True, slots=True)
class Line:
    """A message of a transcript, with cards, keys and passwords masked, and addresses and telephone numbers kept."""

    role: Literal["user", "assistant", "agent"]
    content: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What the team gets: a hand-over with its transcript, or a customer's further message."""

    id: str
    """The receiver may drop what it has got with this id already."""
    at: str
    handoff: Record
    run_id: str
    lines: tuple[Line, ...]
    kind: Literal["handoff.opened", "handoff.message"] = "handoff.opened"


@dataclass(frozen=True, slots=True)
class Passing:
    """What a turn passes on: a hand-over that it opens, or a customer's message in one that lasts."""

    record: Record
    entry: Entry
    is_opened: bool

    def with_answer(self, answer: AnyMessage) -> "Passing":
        """Return the same with the turn's answer at the transcript's end."""
        return replace(self, entry=replace(self.entry, lines=(*self.entry.lines, *transcript([answer]))))


@dataclass(frozen=True, slots=True)
class SessionEvent:
    """What a reader of a session is told: a person's message, or that a hand-over has begun or ended."""

    event: Literal["message", "handoff"]
    data: dict[str, Any] = field(default_factory=dict[str, Any])


_record_json = TypeAdapter(Record)
_event_json = TypeAdapter(SessionEvent)
entry_json = TypeAdapter(Entry)
"""Entries as stored."""

_contacts_kept = Redactor(masks=("[key]", "[card]", "[iban]"))


def read_record(stored: bytes) -> Record:
    """Return a hand-over as it was stored."""
    return _record_json.validate_json(stored)


def transcript(messages: Sequence[AnyMessage]) -> tuple[Line, ...]:
    """Return a conversation as the team may read it."""
    return tuple(Line(role_of(message), _contacts_kept.text(message.text)) for message in messages if message.text)


def role_of(message: AnyMessage) -> Literal["user", "assistant", "agent"]:
    """Return who has written a message: the customer, the model, or a person of the team."""
    if isinstance(message, HumanMessage):
        return "user"
    return "agent" if AGENT in message.additional_kwargs else "assistant"


def opening(
    now: Standing,
    context: AgentContext,
    desk: Desk,
    reason: Reason,
    messages: Sequence[AnyMessage],
    language: str,
    about: str | None = None,
) -> Passing:
    """Hand a conversation over; the saver stores it with the turn.

    Its summary quotes what it is about, by default the customer's last message.
    """
    at = datetime.now(UTC)
    expected = desk.opening.reply_by(at) if desk.opening else None
    asked = about or next((message.text for message in reversed(messages) if isinstance(message, HumanMessage)), "")
    asked = " ".join(_contacts_kept.text(asked).split())
    quoted = asked if len(asked) <= _QUOTED else f"{asked[:_QUOTED]}\u2026"
    record = Record(
        id=uuid.uuid4().hex,
        reason=reason,
        summary=f"{SUMMARIES[reason]}: \u201c{quoted}\u201d",
        opened_at=stamp(at),
        expected_reply=stamp(expected) if expected else None,
        tenant=context.tenant,
        session_id=now.session_id,
        thread=now.thread,
        customer_id=context.customer_id,
        category=desk.name,
        language=language,
        run_id=now.run_id,
    )
    entry = Entry(f"{record.id}-{now.run_id}", stamp(at), record, now.run_id, transcript(messages))
    return Passing(record, entry, is_opened=True)


def passing_on(now: Standing, record: Record, message: AnyMessage) -> Passing:
    """Pass a customer's further message on to the team."""
    at = stamp(datetime.now(UTC))
    lines = transcript([message])
    entry = Entry(f"{record.id}-{now.run_id}", at, record, now.run_id, lines, "handoff.message")
    return Passing(record, entry, is_opened=False)


def stamp(at: datetime) -> str:
    """Return a time as ISO 8601 in UTC, in whole seconds."""
    return at.astimezone(UTC).replace(microsecond=0, tzinfo=None).isoformat() + "Z"


class Handoffs:
    """The hand-overs; methods raise RedisError or, where they say so, MemoryUnavailable."""

    def __init__(self, redis: Redis, session_ttl: int, timeout: int, *, is_received: bool) -> None:
        self.waiting = asyncio.Event()
        """Set when this replica has something for the team, or has opened a hand-over."""
        self.session_ttl = session_ttl
        self.kept = timeout + session_ttl + FEWEST
        """Seconds that a session which is handed over is kept, from each message on."""
        self._redis = redis
        self._timeout = timeout
        self._is_received = is_received  # whether there is a receiver; without one nothing waits
        self._store = redis.register_script(STORE)
        self._reply = redis.register_script(REPLY)
        self._end = redis.register_script(END)

    async def store(self, turn_key: str, turn: bytes, passing: Passing) -> None:
        """Store a turn and what it passes on; raises RedisError."""
        record = passing.record
        opened = _record_json.dump_json(record) if passing.is_opened else b""
        entry = entry_json.dump_json(passing.entry) if self._is_received else b""
        event = _event_json.dump_json(_told(record))
        keys = [turn_key, handoff_key(record.thread), _key(record.id), OPEN, outbox_key(record.id), DUE]
        args = [turn, self.kept, opened, record.id, self._timeout, entry, event]
        is_first = await self._store([*keys, events_key(record.thread)], args)
        if is_first and passing.is_opened:
            handoffs_opened.add(1, {"reason": record.reason})
        if entry or passing.is_opened:
            self.waiting.set()

    async def reply(
        self, record: Record, stored: bytes, turn_key: str, turn: bytes, event: SessionEvent, *claim: str
    ) -> None:
        """Store a conversation with a person's message; raises HandoffOver if the hand-over has ended.

        With it the `claim` of an idempotency key: the Redis key and its value.
        """
        keys = [_key(record.id), turn_key, handoff_key(record.thread), OPEN, events_key(record.thread)]
        args = [stored, turn, self.kept, record.id, self._timeout, _event_json.dump_json(event)]
        keys += claim[:1]
        args += claim[1:]
        with memory_errors():
            is_stored = await self._reply(keys, args)
        if not is_stored:
            raise HandoffOver

    async def unsent(self, thread: str) -> list[str]:
        """Return the Redis keys of what the team has not got yet of a session's hand-overs, and of those that are over.

        Raises MemoryUnavailable.
        """
        ids = {event.data["id"] for _, event in await self.events(thread, FIRST) if event.event == "handoff"}
        if lasting := await self.of_session(thread):  # whose beginning may be too long ago for an event
            ids.add(lasting.id)
        found = [await self.find(each) for each in ids]
        ended = [_key(each[0].id) for each in found if each and each[0].status != "open"]
        return [*map(outbox_key, ids), *ended]

    async def end(
        self, handoff_id: str, turn_key: Callable[[str], str], status: Status, *, is_forgotten: bool = False
    ) -> Record | None:
        """End a hand-over, and return it; None if there is none, or it has ended.

        `is_forgotten` if its conversation has been deleted: then it quotes nobody any more.
        """
        found = await self.find(handoff_id)
        if found is None or found[0].status != "open":
            with memory_errors():
                await self._redis.zrem(OPEN, handoff_id)
            return None
        record, stored = found
        summary = SUMMARIES[record.reason] if is_forgotten else record.summary
        ended = replace(record, status=status, summary=summary, ended_at=stamp(datetime.now(UTC)))
        keys = [_key(record.id), handoff_key(record.thread), OPEN, events_key(record.thread), turn_key(record.thread)]
        args = [stored, _record_json.dump_json(ended), record.id, _event_json.dump_json(_told(ended)), self.session_ttl]
        with memory_errors():
            return ended if await self._end(keys, args) else None

    async def claimed(self, claim: str) -> bytes | None:
        """Return the value of a claim; raises MemoryUnavailable."""
        with memory_errors():
            return cast("bytes | None", await self._redis.get(claim))

    async def find(self, handoff_id: str) -> tuple[Record, bytes] | None:
        """Return a hand-over that lasts or has ended lately, also as stored; raises MemoryUnavailable."""
        with memory_errors():
            stored = cast("bytes | None", await self._redis.get(_key(handoff_id)))
        return (read_record(stored), stored) if stored else None

    async def of_session(self, thread: str) -> Record | None:
        """Return the hand-over that lasts in a session; raises MemoryUnavailable."""
        with memory_errors():
            stored = cast("bytes | None", await self._redis.get(handoff_key(thread)))
        return read_record(stored) if stored else None

    async def lasting(self) -> list[Record]:
        """Return all that last, the one that times out first at the beginning; raises MemoryUnavailable."""
        with memory_errors():
            ids = cast("list[bytes]", await self._redis.zrange(OPEN, 0, -1))
            stored = cast(
                "list[bytes | None]", await self._redis.mget([_key(each.decode()) for each in ids]) if ids else []
            )
        records = [read_record(each) for each in stored if each]
        return [record for record in records if record.status == "open"]

    async def events(self, thread: str, after: str) -> list[tuple[str, SessionEvent]]:
        """Return what readers of a session are told after an event, with the events' ids; raises MemoryUnavailable."""
        with memory_errors():
            found = cast("list[Any]", await self._redis.xrange(events_key(thread), min=f"({after}"))
        return [(name.decode(), _event_json.validate_json(fields[b"event"])) for name, fields in found]


FIRST = "0-0"
"""The id before the first event."""


def outbox_key(handoff_id: str) -> str:
    """Return the Redis key of what the team has yet to get of a hand-over."""
    return f"handoff:{handoff_id}:outbox"


def events_key(thread: str) -> str:
    """Return the Redis key of what readers of a session are told."""
    return f"session:{thread}:events"


def _key(handoff_id: str) -> str:
    return f"handoff:{handoff_id}"


def _told(record: Record) -> SessionEvent:
    shown = {"id": record.id, "reason": record.reason, "summary": record.summary, "opened_at": record.opened_at}
    expected = {"expected_reply": record.expected_reply} if record.expected_reply else {}
    return SessionEvent("handoff", {**shown, **expected, "status": record.status})

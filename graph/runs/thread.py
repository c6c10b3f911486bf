"""What is known of a thread: which session it is, how its last turn went, and what that was about."""

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import TypeAdapter

from graph.errors import Cancelled
from graph.events import Done, Ending, Failed
from graph.state import AgentContext

_NAMESPACE = uuid.UUID("b0d0bd6f-60d3-4e62-8b3a-8f6d63b0b2b7")

ThreadStatus = Literal["idle", "busy", "error"]


@dataclass(frozen=True, slots=True)
class ThreadSession:
    """Which session a thread is; it never changes."""

    session_id: str
    visitor: str | None
    created_at: str
    token: str
    """Tells a repeated command from another thread of the same id."""


@dataclass(frozen=True, slots=True)
class LastTurn:
    """How a thread's last turn went, or goes."""

    updated_at: str
    expires_at: float
    status: ThreadStatus = "idle"
    run_id: str | None = None
    error: str | None = None
    """The `code` of the RunError that it has failed with."""


@dataclass(frozen=True, slots=True)
class Thread:
    """A session as the LangGraph API sees it."""

    id: str
    """A UUID."""
    tenant: str
    session_id: str
    visitor: str | None
    """The visitor whose session it is; None if it is the tenant's own."""
    created_at: str
    """ISO 8601 in UTC."""
    state_updated_at: str
    """When its last turn began or ended, or its state was changed: ISO 8601 in UTC."""
    updated_at: str
    """As `state_updated_at`, or when its metadata was changed."""
    status: ThreadStatus = "idle"
    error: str | None = None
    """The `code` of the RunError that its last turn has failed with."""
    answer: Done | None = None
    """How its last whole turn ended, without the text."""
    run_id: str | None = None
    """Its last run."""
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What clients have added."""

    @property
    def owner(self) -> str:
        """Whose session it is."""
        return self.context().owner

    def context(self, customer_id: str | None = None) -> AgentContext:
        """Return the context of a run in it."""
        return AgentContext(self.tenant, customer_id, self.visitor)


session_json = TypeAdapter(ThreadSession)
turn_json = TypeAdapter(LastTurn)
answer_json = TypeAdapter(Done)
any_json = TypeAdapter[Any](Any)


def thread_of(session_id: str, context: AgentContext) -> str:
    """Return the id of a session's thread: the session's own if that is a UUID which the tenant has chosen."""
    if context.visitor is None and (own := as_uuid(session_id)):
        return own
    return str(uuid.uuid5(_NAMESPACE, f"{context.owner}\0{session_id}"))


def as_uuid(text: str) -> str | None:
    """Return a UUID in its usual form; None if `text` is none, with or without hyphens."""
    try:
        found = uuid.UUID(text)
    except ValueError:
        return None
    return str(found) if text.lower() in (str(found), found.hex) else None


def now() -> str:
    """Return the time: ISO 8601 in UTC."""
    return datetime.now(UTC).isoformat()


def error_after(ending: Ending) -> str | None:
    """Return the code of a turn's error; None if it is whole, or was cancelled and has left no trace."""
    return ending.error if isinstance(ending, Failed) and ending.error != Cancelled.code else None


def threads_in(thread_id: str, stored: Mapping[bytes, bytes], tenant: str | None) -> list[Thread]:
    """Return the tenants' threads of this id, the latest first."""
    tenants = {name.decode().partition("/")[0] for name in stored} if tenant is None else {tenant}
    found = [thread for one in tenants if (thread := _thread(thread_id, stored, one))]
    return sorted(found, key=lambda thread: thread.updated_at, reverse=True)


def _thread(thread_id: str, stored: Mapping[bytes, bytes], tenant: str) -> Thread | None:
    session, turn, answer = (stored.get(f"{tenant}/{name}".encode()) for name in ("session", "turn", "answer"))
    if session is None or turn is None:
        return None
    made, last = session_json.validate_json(session), turn_json.validate_json(turn)
    if last.expires_at < time.time():
        return None
    changed = stored.get(f"{tenant}/changed".encode(), b"").decode()
    begin = f"{tenant}/metadata:"
    metadata = {
        name.decode().removeprefix(begin): any_json.validate_json(value)
        for name, value in stored.items()
        if name.startswith(begin.encode())
    }
    return Thread(
        thread_id,
        tenant,
        made.session_id,
        made.visitor,
        made.created_at,
        last.updated_at,
        max(last.updated_at, changed),
        last.status,
        last.error,
        answer_json.validate_json(answer) if answer else None,
        last.run_id,
        metadata,
    )

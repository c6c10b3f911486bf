"""What stands open in a session when a turn begins: an action that was proposed, and a hand-over.

The saver reads it together with the conversation, in one command, and stores what the turn hands over together with the
turn.
"""

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # which asks for what stands open
    from graph.actions.handoffs import Passing


@dataclass(slots=True)
class Standing:
    """What stands open in a session, as stored; filled in when the conversation is loaded."""

    session_id: str
    run_id: str
    thread: str
    """The hash of tenant and session id that its keys are named by."""
    action: bytes | None = None
    """The value of `action_key`."""
    handoff: bytes | None = None
    """The value of `handoff_key`."""
    passing: "Passing | None" = None
    """What this turn passes on to a person; set by the answer node."""


standing: ContextVar[Standing | None] = ContextVar("standing", default=None)
"""That of the current turn; None for a question outside any session, which neither proposes nor is handed over."""


def action_key(thread: str) -> str:
    """Return the Redis key of the action that was proposed last in a thread."""
    return f"session:{thread}:action"


def handoff_key(thread: str) -> str:
    """Return the Redis key of a thread's hand-over."""
    return f"session:{thread}:handoff"

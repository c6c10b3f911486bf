"""What stands open in a session when a turn begins: an action that was proposed, and a hand-over.

The saver reads it together with the conversation, in one command, and stores together with the turn what the turn
leaves open, and hands over.
"""

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from graph.state import AgentContext

if TYPE_CHECKING:  # which asks for what stands open
    from graph.actions.handoffs import Passing


@dataclass(frozen=True, slots=True)
class Write:
    """A value to store together with the turn."""

    value: str
    seconds: int
    """Until it expires; 0 deletes the key."""
    is_new: bool = False
    """An existing value stays: Redis may execute a write twice, and in between others may have changed the value."""


@dataclass(slots=True)
class Standing:
    """What stands open in a session, as stored; filled in when the conversation is loaded."""

    session_id: str
    run_id: str
    thread: str
    """The hash of tenant and session id that its keys are named by."""
    context: AgentContext = field(default_factory=AgentContext)
    """Whose turn it is."""
    action: bytes | None = None
    """The value of `action_key`: the id of the action that waits for the customer's yes, and its kind."""
    handoff: bytes | None = None
    """The value of `handoff_key`."""
    passing: "Passing | None" = None
    """What this turn passes on to a person; set by the answer node."""
    writes: dict[str, Write] = field(default_factory=dict[str, Write])
    """What is stored in one transaction with the turn, by key; nothing of it if the turn fails or is cancelled."""

    @property
    def open_action(self) -> tuple[str, str] | None:
        """The id and the kind of the action that waits for the customer's yes."""
        if self.action is None:
            return None
        action_id, _, kind = self.action.decode().partition(" ")
        return action_id, kind


standing: ContextVar[Standing | None] = ContextVar("standing", default=None)
"""That of the current turn; None for a question outside any session, which neither proposes nor is handed over."""


def action_key(thread: str) -> str:
    """Return the Redis key of the action that a thread's customer can confirm."""
    return f"session:{thread}:action"


def handoff_key(thread: str) -> str:
    """Return the Redis key of a thread's hand-over."""
    return f"session:{thread}:handoff"

"""Tools of the MCP servers, as the graph uses them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Tool:
    """A tool of a server."""

    name: str
    """Unique among all servers' tools; models accept letters, digits, `_` and `-`, 64 at most."""
    server: str
    description: str
    schema: Mapping[str, Any]
    """JSON Schema of its arguments, an object."""
    is_read_only: bool
    """Its server says that it has no effect, so it may run at once; any other is proposed to the customer."""
    is_idempotent: bool
    """Its server says that a call repeated with the same key has no further effect."""

    def is_called(self, name: str) -> bool:
        """Return whether this is its server's name of the tool, also where another server has one of that name."""
        return self.name in (name, f"{self.server}_{name}")


@dataclass(frozen=True, slots=True)
class Caller:
    """On whose behalf a tool is called; it travels as metadata that no model writes."""

    tenant: str
    session: str
    """Stands for the conversation, and for its owner: another's of the same id has another."""
    run_id: str
    customer_id: str | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """What a tool has returned: material, never an instruction."""

    text: str
    is_error: bool
    """The tool says that it has not done it."""
    structured: Mapping[str, Any] | None = None


class NotCalled(Exception):
    """The call has certainly not been carried out: the server is down, refused it, or has no such tool."""


class OutcomeUnknown(Exception):
    """The call may have been carried out: its answer did not come in time, or the connection broke."""

    def __init__(self, *words: str, is_said: bool = False) -> None:
        super().__init__(*words)
        self.is_said = is_said
        """The server itself says that it does not know, and says so again whenever it is asked with the same key."""

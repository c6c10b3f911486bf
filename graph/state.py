"""The graph's input and state, and the context of a run."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from langchain_core.messages import AnyMessage
from langgraph.channels import UntrackedValue
from langgraph.graph.message import add_messages
from pydantic import AfterValidator, Field, StringConstraints
from typing_extensions import TypedDict  # before Python 3.12 Pydantic needs it, for Studio's input schema


class Passage(TypedDict):
    """A part of an article, or a short one whole, as quoted in the answer prompt and cited to the client."""

    id: str
    """The article's id."""
    title: str
    """The article's title."""
    text: str
    """Markdown."""
    section: str | None
    """The headings above it, joined by " > "; None for a whole article, and before its first heading."""
    url: str | None
    """The article's public address, if known."""


@dataclass(frozen=True, slots=True)
class Action:
    """Something with an effect outside, which is done when the customer confirms it."""

    id: str
    kind: str
    """The name of the tool that does it."""
    summary: str
    """What will be done, in words for the customer."""
    arguments: dict[str, Any]
    expires_at: str
    """Until when it can be confirmed: ISO 8601 in UTC."""
    status: Literal["proposed", "begun", "done", "failed", "unknown", "declined", "expired"] = "proposed"
    """`unknown`: it was begun, and whether it was done can't be told."""
    event: Literal["action"] = "action"


@dataclass(frozen=True, slots=True)
class Handoff:
    """A conversation that a person has taken over."""

    id: str
    reason: str
    """One word: why."""
    summary: str
    """What it is about, in words for the team."""
    opened_at: str
    """ISO 8601 in UTC."""
    expected_reply: str | None = None
    """When a person will have replied by the desk's hours, ISO 8601 in UTC; None if the company names no hours."""
    event: Literal["handoff"] = "handoff"


class AgentInput(TypedDict):
    """A run's input; it follows LangGraph's convention, so that any chat client can drive the graph."""

    messages: Annotated[list[AnyMessage], add_messages]
    """The conversation; its last message is the customer's question."""


class AgentState(AgentInput):
    """The state that the nodes share; a session stores only its messages."""

    category: Annotated[str, UntrackedValue]
    """The name of the desk that the question belongs to."""
    passages: Annotated[list[Passage], UntrackedValue]
    """What the articles say on the question, best first."""
    tokens_used: Annotated[int, UntrackedValue]
    """Tokens that this run has used so far, in both model calls together."""
    complete: Annotated[bool, UntrackedValue]
    """Whether the model finished the answer; False if a limit or a filter cut it off."""
    answered: Annotated[bool, UntrackedValue]
    """Whether the articles hold the answer; False if the model says that they do not."""
    action: Annotated[Action | None, UntrackedValue]
    """What the answer proposes to do; absent if it proposes nothing."""
    handoff: Annotated[Handoff | None, UntrackedValue]
    """The person who takes over; absent if nobody does."""


StateUpdate = dict[str, object]
"""A node's return value: the fields of AgentState that it sets."""


@dataclass(frozen=True, slots=True)
class AgentContext:
    """Data of one run that is not part of the conversation."""

    tenant: str = "anonymous"
    """The caller; no tenant can see what another tenant says."""
    customer_id: str | None = None
    """The caller's id of the customer."""
    visitor: str | None = None
    """One visitor of the tenant's website, who has a token instead of a key."""

    @property
    def owner(self) -> str:
        """Whose the session, the run and its rating are; no tenant's name has a slash."""
        return self.tenant if self.visitor is None else f"{self.tenant}/{self.visitor}"


_INVISIBLE = (  # Unicode's white space, control and format characters, and letters that render blank
    "\u0000-\u0020\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u115f-\u1160"
    "\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2066-\u206f\u3000\u3164\ufeff\uffa0"
    "\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U00013438\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0001\U000e0020-\U000e007f"
)
_VISIBLE = rf"^[^\x00]*[^{_INVISIBLE}][^\x00]*$"
"""The pattern of a message: at least one visible character, and no NUL."""


def _not_blank(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL characters")
    if not re.match(_VISIBLE, text):
        raise ValueError("must not be blank")
    return text


def _describe(schema: dict[str, Any]) -> None:
    # JSON Schema can't express a length after trimming, and a wrong limit would be worse than none.
    for name in ("minLength", "maxLength"):
        schema.pop(name, None)
    schema["pattern"] = _VISIBLE


SESSION_ID = r"^[A-Za-z0-9_.-]{1,128}$"
"""The pattern of a session's id."""

Question = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=4000),
    AfterValidator(_not_blank),
    Field(json_schema_extra=_describe),
]
"""A customer's message: 1 to 4,000 characters after trimming."""

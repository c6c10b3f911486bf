"""What goes into the graph, what its nodes share, and what comes out."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Literal, get_args

from langchain_core.messages import AnyMessage
from langgraph.channels import UntrackedValue
from langgraph.graph.message import add_messages
from pydantic import AfterValidator, Field, StringConstraints
from typing_extensions import TypedDict  # Pydantic, which tells Studio what goes in, needs it before Python 3.12

Category = Literal["billing", "technical", "general"]
CATEGORIES: tuple[Category, ...] = get_args(Category)


class Passage(TypedDict):
    """An article, as the answer prompt quotes it and the client cites it."""

    id: str
    """The article's id, as in its front matter."""
    title: str
    """The article's title."""
    text: str
    """The article's body, Markdown."""


class AgentInput(TypedDict):
    """What starts a run: LangGraph's own convention, so any chat client can drive the graph."""

    messages: Annotated[list[AnyMessage], add_messages]
    """The conversation; its last message is the customer's question."""


class AgentState(AgentInput):
    """What the nodes share; of it, a session remembers the messages alone."""

    category: Annotated[Category, UntrackedValue]
    """Which desk the question belongs to."""
    passages: Annotated[list[Passage], UntrackedValue]
    """The articles nearest to the question, best first."""
    tokens_used: Annotated[int, UntrackedValue]
    """Tokens that this run has cost so far, both model calls together."""
    complete: Annotated[bool, UntrackedValue]
    """Whether the model ended the answer itself, and not a limit or a filter."""


StateUpdate = dict[str, object]
"""What a node returns: the fields of AgentState that it sets."""


@dataclass(frozen=True, slots=True)
class AgentContext:
    """Facts of one run that are not part of the conversation."""

    tenant: str = "anonymous"
    """Who calls; what one tenant says, no other can see."""
    customer_id: str | None = None
    """The caller's name for the customer who asks."""


_INVISIBLE = (  # Unicode's white space, controls and formats, and the letters that the eye takes for nothing
    "\u0000-\u0020\u007f-\u00a0\u00ad\u0600-\u0605\u061c\u06dd\u070f\u0890-\u0891\u08e2\u115f-\u1160"
    "\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u2064\u2066-\u206f\u3000\u3164\ufeff\uffa0"
    "\ufff9-\ufffb\U000110bd\U000110cd\U00013430-\U00013438\U0001bca0-\U0001bca3\U0001d173-\U0001d17a"
    "\U000e0001\U000e0020-\U000e007f"
)
VISIBLE = rf"^[^\x00]*[^{_INVISIBLE}][^\x00]*$"
"""What a message looks like: something to see, and no NUL."""


def _meaningful(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL characters")
    if not re.match(VISIBLE, text):
        raise ValueError("must not be blank")
    return text


def _describe(schema: dict[str, Any]) -> None:
    # JSON Schema can't count what is left after trimming, and a wrong limit would be worse than none.
    for name in ("minLength", "maxLength"):
        schema.pop(name, None)
    schema["pattern"] = VISIBLE


SESSION_ID = r"^[A-Za-z0-9_.-]{1,128}$"
"""What a session's id may look like."""

Question = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=4000),
    AfterValidator(_meaningful),
    Field(json_schema_extra=_describe),
]
"""A customer's message: 1 to 4,000 characters after trimming."""

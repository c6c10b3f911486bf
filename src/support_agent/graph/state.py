"""What goes into the graph, what its nodes share, and what comes out."""

import unicodedata
from dataclasses import dataclass
from typing import Annotated, Literal, TypedDict, get_args

from langchain_core.messages import AnyMessage
from langgraph.channels import UntrackedValue
from langgraph.graph.message import add_messages
from pydantic import AfterValidator, StringConstraints

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


_FILLERS = "\u115f\u1160\u3164\uffa0"  # letters to Unicode, nothing to the eye


def _meaningful(text: str) -> str:
    if "\0" in text:
        raise ValueError("must not contain NUL characters")
    if all(unicodedata.category(character)[0] in "CZ" or character in _FILLERS for character in text):
        raise ValueError("must not be blank")
    return text


SESSION_ID = r"^[A-Za-z0-9_.-]{1,128}$"
"""What a session's id may look like."""

Question = Annotated[
    str,
    StringConstraints(strip_whitespace=True, min_length=1, max_length=4000),
    AfterValidator(_meaningful),
]
"""A customer's message: 1 to 4,000 characters after trimming."""

"""The schemas of requests and responses."""

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, SerializerFunctionWrapHandler, model_serializer

from graph.events import Done, Source
from graph.retrieval.articles import Article
from graph.state import SESSION_ID, Action, Handoff, Question

_EXAMPLE = "I was charged twice, can I have my money back?"

CustomerId = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,128}$", examples=["customer-42"])]

RunName = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f-]{36}$",
        description="The `run_id` of an answer; no run has the example's (404).",
        examples=["7f0c3a4e-3c55-4a53-9f0e-0f6f0e9f6a11"],
    ),
]

SessionId = Annotated[str, Field(pattern=SESSION_ID, examples=["visit-2041"])]


class AskRequest(BaseModel):
    """A single question, outside any conversation."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    question: Annotated[Question, Field(description="1 to 4,000 characters after trimming.", examples=[_EXAMPLE])]
    customer_id: Annotated[CustomerId | None, Field(description="Your own id of the customer.")] = None


class StreamQuery(BaseModel):
    """The query parameters of GET /stream."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    question: Annotated[Question, Field(description="1 to 4,000 characters after trimming.", examples=[_EXAMPLE])]


def is_absent(value: object) -> bool:
    """Whether a field is left out of a response."""
    return value is None


class SourceOut(BaseModel):
    """An article, or a section of it, that the answer is based on."""

    id: str = Field(examples=["duplicate-charge"])
    title: str = Field(examples=["Charged twice for the same period"])
    url: str | None = Field(
        default=None,
        description="The article's public address; absent if unknown.",
        examples=["https://help.example.com/duplicate-charge"],
        exclude_if=is_absent,
    )
    section: str | None = Field(
        default=None,
        description="The headings above what was found, joined by ` > `; absent for a whole article.",
        examples=["Refunds > By bank transfer"],
        exclude_if=is_absent,
    )

    @classmethod
    def of(cls, source: Source) -> Self:
        """Convert a run's source."""
        return cls(id=source.id, title=source.title, url=source.url, section=source.section)


class AskResponse(BaseModel):
    """The whole answer."""

    answer: str
    answered: bool = Field(
        description="Whether the help articles hold the answer; false if the agent says they do not."
    )
    category: str = Field(description="The name of the desk that the question belongs to.")
    tokens_used: int = Field(description="Tokens that this request cost, both model calls together.")
    sources: list[SourceOut] = Field(description="The articles and sections found, best match first.")
    cached: bool = Field(description="Whether the answer came from the answer cache.")
    run_id: str

    @classmethod
    def of(cls, done: Done, *, cached: bool = False) -> Self:
        """Convert a run's result."""
        return cls(
            answer=done.answer,
            answered=done.answered,
            category=done.category,
            tokens_used=done.tokens_used,
            sources=[SourceOut.of(source) for source in done.sources],
            cached=cached,
            run_id=done.run_id,
        )


class ChatRequest(BaseModel):
    """A message in a conversation."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    message: Annotated[
        Question,
        Field(description="1 to 4,000 characters after trimming.", examples=["Does that apply to annual plans?"]),
    ]
    session_id: Annotated[
        SessionId | None, Field(description="The conversation to continue; omit it to start a new one.")
    ] = None
    customer_id: Annotated[CustomerId | None, Field(description="Your own id of the customer.")] = None


class ArticleResponse(BaseModel):
    """An article of the help centre."""

    id: str = Field(examples=["duplicate-charge"])
    title: str = Field(examples=["Charged twice for the same period"])
    text: str = Field(description="Markdown.", examples=["When a card was charged twice, write to us."])
    url: str | None = Field(
        default=None,
        description="The article's public address; absent if unknown.",
        examples=["https://help.example.com/duplicate-charge"],
        exclude_if=is_absent,
    )
    language: str | None = Field(
        default=None, description="ISO 639-1; absent if unknown.", examples=["en"], exclude_if=is_absent
    )

    @classmethod
    def of(cls, article: Article) -> Self:
        """Convert an article."""
        return cls(id=article.id, title=article.title, text=article.text, url=article.url, language=article.language)


class FeedbackRequest(BaseModel):
    """A customer's rating of an answer."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    run_id: RunName
    score: Annotated[float, Field(ge=0, le=1, description="0 for useless, 1 for perfect.", examples=[0])]
    comment: Annotated[
        Question | None,
        Field(description="1 to 4,000 characters after trimming.", examples=["It is 14 days, not 30."]),
    ] = None


class ActionOut(BaseModel):
    """Something with an effect outside; it is done when the customer confirms it."""

    id: str
    kind: str = Field(description="The name of the tool that does it.", examples=["book_call"])
    summary: str = Field(
        description="What will be done, in words for the customer.", examples=["Book a call on 1 December at 10:00"]
    )
    arguments: dict[str, Any]
    expires_at: str = Field(description="Until when it can be confirmed: ISO 8601, UTC.")
    status: Literal["proposed", "begun", "done", "failed", "unknown", "declined", "expired"]

    @classmethod
    def of(cls, action: Action) -> Self:
        """Convert an action."""
        return cls(
            id=action.id,
            kind=action.kind,
            summary=action.summary,
            arguments=action.arguments,
            expires_at=action.expires_at,
            status=action.status,
        )


ActionName = Annotated[
    str,
    Field(
        pattern=r"^[0-9a-f-]{36}$",
        description="The `id` of an answer's `action`; no action has the example's (404).",
        examples=["5d1a7c9e-6b1f-4f0e-8f55-2f6c8a1e9b44"],
    ),
]


class DecisionRequest(BaseModel):
    """What the customer says to an action that is proposed."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    confirm: bool = Field(description="True to do it, false to decline it.")


class HandoffOut(BaseModel):
    """A person takes over the conversation."""

    id: str
    reason: str = Field(description="One word.", examples=["asked"])
    summary: str
    opened_at: str = Field(description="ISO 8601, UTC.")
    expected_reply: str | None = Field(
        default=None,
        description="When a person will have replied: ISO 8601, UTC; absent if the desk names no hours.",
        exclude_if=is_absent,
    )

    @classmethod
    def of(cls, handoff: Handoff) -> Self:
        """Convert a hand-over."""
        return cls(
            id=handoff.id,
            reason=handoff.reason,
            summary=handoff.summary,
            opened_at=handoff.opened_at,
            expected_reply=handoff.expected_reply,
        )


class ChatResponse(AskResponse):
    """The whole answer, and the state of the conversation."""

    session_id: str = Field(description="Send it with the next message.")
    messages_in_history: int = Field(description="Messages in the session's history, this turn's included.")
    action: ActionOut | None = Field(
        default=None, description="What the answer proposes to do; absent if nothing.", exclude_if=is_absent
    )
    handoff: HandoffOut | None = Field(
        default=None, description="The person who takes over; absent if nobody does.", exclude_if=is_absent
    )

    @classmethod
    def of(cls, done: Done, *, cached: bool = False) -> Self:
        """Convert a turn's result, which is never cached."""
        return cls(
            **AskResponse.of(done, cached=cached).model_dump(),
            session_id=str(done.session_id),
            messages_in_history=done.messages_in_history,
            action=ActionOut.of(done.action) if done.action else None,
            handoff=HandoffOut.of(done.handoff) if done.handoff else None,
        )


class MessageOut(BaseModel):
    """One message of a conversation."""

    role: Literal["user", "assistant", "agent"] = Field(
        description="`agent`: a person of the team, while the conversation was handed over."
    )
    content: str
    id: str | None = Field(default=None, description="As in the event; of `agent` alone.", exclude_if=is_absent)
    at: str | None = Field(default=None, description="ISO 8601, UTC; of `agent` alone.", exclude_if=is_absent)


class SessionResponse(BaseModel):
    """A session's history."""

    session_id: str
    messages: list[MessageOut]
    expires_in: int = Field(description="Seconds until the session expires; each turn restarts the time.")


class CheckOut(BaseModel):
    """The state of one dependency."""

    up: bool
    latency_ms: float = Field(description="Milliseconds that the check took.")
    reason: str | None = Field(
        default=None, description="Why the dependency can't be used, or what is wrong although it can."
    )


class ReadyResponse(BaseModel):
    """Whether the service accepts new work."""

    status: Literal["ready", "starting", "unavailable", "draining"]
    """`starting` until the first `ready`, then `unavailable` without Redis or Postgres."""
    checks: dict[str, CheckOut] | None = Field(
        default=None,
        examples=[{"redis": {"up": True, "latency_ms": 0.6}, "model": {"up": False, "reason": "HTTP 503"}}],
    )


class HealthResponse(BaseModel):
    """The process is alive."""

    status: str = Field(examples=["healthy"])
    version: str = Field(examples=["0.1.0"])


class FieldError(BaseModel):
    """The error in one field of a request."""

    field: str = Field(examples=["question"])
    message: str = Field(examples=["must have at most 4000 characters"])


class Problem(BaseModel):
    """An error as application/problem+json (RFC 9457)."""

    type: str = Field(description="The error code, for programs.", examples=["invalid-request"])
    title: str = Field(examples=["The request is not valid"])
    status: int = Field(examples=[422])
    detail: str = Field(examples=["question: must have at most 4000 characters"])
    instance: str = Field(description="The path of the request.", examples=["/ask"])
    request_id: str = Field(description="The value of the header X-Request-ID; quote it to support.")
    errors: list[FieldError] = Field(default=[], description="The invalid fields, if any.")

    @model_serializer(mode="wrap")
    def _without_no_errors(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        content: dict[str, Any] = serialize(self)
        return content if self.errors else {name: value for name, value in content.items() if name != "errors"}

"""The schemas of the inbox."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field

from graph.observe.inbox import Conversation, InboxTurn


class InboxLogin(BaseModel):
    """A key, to be exchanged for a cookie."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    key: Annotated[str, Field(max_length=200, examples=["sa_…"], description="An API key; the example is none (401).")]


class InboxRating(BaseModel):
    """A customer's rating of an answer."""

    score: float = Field(description="0 for useless, 1 for perfect.")
    comment: str | None


class InboxTurnOut(BaseModel):
    """A question with its answer, masked."""

    run_id: str
    at: str = Field(description="When it ended: ISO 8601, UTC.")
    question: str
    answer: str | None = Field(description="null if there is none.")
    error: str | None = Field(description="Why there is no answer: an error type, such as `model-timeout`.")
    answered: bool = Field(description="Whether the help articles held the answer.")
    category: str | None
    sources: list[str] = Field(description="The ids of the articles found, best match first.")
    tokens_used: int
    cost: float | None = Field(description="US dollars; null if the price of the model is unknown.")
    rating: InboxRating | None = Field(description="The worst one.")
    trace_url: str | None = Field(description="The run's trace in LangSmith; null if there is none.")

    @classmethod
    def of(cls, turn: InboxTurn, trace_url: str | None) -> Self:
        """Convert a turn."""
        record, rating = turn.record, turn.rating
        return cls(
            run_id=record.run_id,
            at=datetime.fromtimestamp(record.at, UTC).isoformat(timespec="seconds"),
            question=record.question,
            answer=record.answer,
            error=record.error,
            answered=record.answered,
            category=record.category,
            sources=list(record.sources),
            tokens_used=record.tokens,
            cost=record.cost,
            rating=InboxRating(score=rating.score, comment=rating.comment) if rating else None,
            trace_url=trace_url,
        )


class InboxConversation(BaseModel):
    """A conversation, or a question outside any."""

    id: str
    tenant: str
    handoff: str | None = Field(description="The id of the hand-over that is open.")
    needs_attention: bool = Field(description="Whether an answer was rated badly, did not come, or did not answer.")
    turns: list[InboxTurnOut] = Field(description="Oldest first, of the last day.")


class InboxResponse(BaseModel):
    """The last conversations."""

    conversations: list[InboxConversation]

    @classmethod
    def of(cls, conversations: Sequence[Conversation], links: Mapping[str, str]) -> Self:
        """Convert conversations; `links` has the addresses of runs' traces."""
        return cls(
            conversations=[
                InboxConversation(
                    id=one.id,
                    tenant=one.tenant,
                    handoff=one.handoff,
                    needs_attention=one.is_bad,
                    turns=[InboxTurnOut.of(turn, links.get(turn.record.run_id)) for turn in one.turns],
                )
                for one in conversations
            ]
        )

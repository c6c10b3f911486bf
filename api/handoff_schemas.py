"""The schemas of what the team does with hand-overs."""

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

from api.schemas import HandoffOut, MessageOut, is_absent
from graph.actions.handoffs import Record
from graph.state import Question


class ColleagueRequest(BaseModel):
    """A message of a person of the team to a customer."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    message: Annotated[
        Question,
        Field(description="1 to 4,000 characters after trimming.", examples=["I have refunded the second charge."]),
    ]


class ColleagueMessage(BaseModel):
    """A message of a person of the team, as the readers of the session get it."""

    id: str
    role: Literal["agent"]
    content: str
    at: str = Field(description="ISO 8601, UTC.")


class HandoffDetails(HandoffOut):
    """A hand-over, as the team sees it."""

    status: Literal["open", "released", "timed-out"]
    ended_at: str | None = Field(
        default=None, description="ISO 8601, UTC; absent while it lasts.", exclude_if=is_absent
    )
    tenant: str
    session_id: str
    customer_id: str | None = Field(default=None, description="Absent if unknown.", exclude_if=is_absent)
    category: str = Field(description="The name of the desk.")
    run_id: str = Field(description="The run that opened it.")

    @classmethod
    def of_record(cls, record: Record) -> Self:
        """Convert a stored hand-over."""
        return cls.model_validate({name: getattr(record, name) for name in cls.model_fields if hasattr(record, name)})


class HandoffWithMessages(HandoffDetails):
    """A hand-over and its conversation."""

    messages: list[MessageOut] = Field(
        default=[], description="Oldest first; cards, IBANs and keys are masked. None once the session has expired."
    )


class HandoffsResponse(BaseModel):
    """The conversations that a person has taken over."""

    handoffs: list[HandoffDetails]

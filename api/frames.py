"""The JSON frames that a WebSocket with `support.v1` takes."""

from typing import Literal, cast

from pydantic import BaseModel, ConfigDict, model_validator

from api.schemas import ActionName
from graph.state import Question

_STRICT = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)


class MessageFrame(BaseModel):
    """The customer's message."""

    model_config = _STRICT
    message: Question

    @model_validator(mode="before")
    @classmethod
    def _object(cls, frame: object) -> object:
        if not isinstance(frame, dict):
            raise ValueError('must be a JSON object, {"message": "..."} or {"type": "cancel"}')  # noqa: TRY004 - pydantic's
        return cast("object", frame)


class CancelFrame(BaseModel):
    """Cancels the running turn."""

    model_config = _STRICT
    type: Literal["cancel"]


class DecisionFrame(BaseModel):
    """The customer's yes or no to an action."""

    model_config = _STRICT
    type: Literal["confirm", "decline"]
    action: ActionName


class _UnknownFrame(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, hide_input_in_errors=True)
    type: Literal["cancel", "confirm", "decline"]


def read_frame(frame: object) -> MessageFrame | CancelFrame | DecisionFrame:
    """Return what a frame says; raises ValidationError."""
    if not isinstance(frame, dict) or "type" not in frame:
        return MessageFrame.model_validate(frame)
    if _UnknownFrame.model_validate(frame).type == "cancel":
        return CancelFrame.model_validate(frame)
    return DecisionFrame.model_validate(frame)

"""The schemas of visitors' tokens, and of the chat page in a frame."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from api.auth import VISITOR_ID
from api.schemas import CustomerId

VisitorId = Annotated[str, Field(pattern=rf"^{VISITOR_ID}$", examples=["b53b2b1a0c5f4b0e9a3c1f2d4e5a6b7c"])]


class VisitorRequest(BaseModel):
    """For whom a visitor's token is."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    customer_id: Annotated[
        CustomerId | None,
        Field(description="Your own id of the customer who has signed in; you vouch for it. Omit it for a stranger."),
    ] = None
    visitor_id: Annotated[
        VisitorId | None,
        Field(description="The `visitor_id` of an earlier response, to renew the token; keep it in your own session."),
    ] = None
    expires_in: Annotated[int, Field(ge=900, le=86_400, description="Seconds that the token is valid.")] = 3600


class VisitorResponse(BaseModel):
    """A visitor's token."""

    token: str = Field(description="Send it as `Authorization: Bearer`, or as the subprotocol `support.token.TOKEN`.")
    visitor_id: str = Field(description="Whose token it is; a token for the same visitor opens the same conversations.")
    expires_in: int = Field(description="Seconds that the token is valid.")


class EmbedResponse(BaseModel):
    """What the chat page knows of those who may show it in a frame."""

    origins: list[str] = Field(description="Their origins, as `frame-ancestors` of the page names them.")
    public: bool = Field(description="Whether the page gets a token of its own from `POST /visitors/anonymous`.")

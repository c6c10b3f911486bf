"""The agent's response to a case."""

from pydantic import BaseModel, ConfigDict


class Outcome(BaseModel):
    """One run of a case."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    case: str
    """The case's id."""
    repeat: int
    """Index of the run, from 0."""
    answer: str = ""
    complete: bool = True
    """Whether the model finished the answer; False if the server truncated it."""
    answered: bool = True
    """Whether the articles hold the answer, as the agent says; False if not."""
    handed_over: str | None = None
    """The reason for which a person takes over; None if nobody does."""
    proposed: str | None = None
    """The tool whose call was proposed; None if nothing was."""
    category: str | None = None
    passages: dict[str, str] = {}
    """What was retrieved of each article, by its id, best first."""
    seconds: float = 0
    """From the question to the complete answer."""
    tokens: int = 0
    """Tokens of the whole conversation."""
    dollars: float | None = None
    """Cost of the tokens in US dollars; None if the server's prices are unknown."""
    run_id: str = ""
    error: str | None = None
    """Code of the error that ended the run without an answer."""

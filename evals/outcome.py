"""What the agent made of a case."""

from pydantic import BaseModel, ConfigDict

from graph.state import Category


class Outcome(BaseModel):
    """One run of a case."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    case: str
    """The case's id."""
    repeat: int
    """Which run of the case it is, from 0."""
    answer: str = ""
    complete: bool = True
    """Whether the model ended it; else the server cut it short."""
    category: Category | None = None
    passages: dict[str, str] = {}
    """Text of each article that was found, by its id, best first."""
    seconds: float = 0
    """From the question to the whole answer."""
    tokens: int = 0
    """Of the whole conversation."""
    dollars: float | None = None
    """What they cost; None where nobody knows the server's prices."""
    run_id: str = ""
    error: str | None = None
    """The code of what ended the run instead of an answer."""

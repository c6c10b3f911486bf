"""The ids of a run's messages, derived from the run's, so that every replica knows them while the run goes on."""

import uuid
from collections.abc import Sequence

from langchain_core.messages import AnyMessage


def question_id(run_id: str) -> str:
    """Return the id of the customer's message, where the client has given it none."""
    return str(uuid.uuid5(uuid.UUID(run_id), "question"))


def answer_id(run_id: str | None) -> str:
    """Return the id of the answer, and of each piece of it; a new one where the graph runs without a run's id."""
    return str(uuid.uuid5(uuid.UUID(run_id), "answer") if run_id else uuid.uuid4())


def new_messages(given: Sequence[AnyMessage], known: Sequence[AnyMessage]) -> list[AnyMessage]:
    """Return those of the given messages that a session does not have.

    Clients may send the whole conversation. What stands before a message that the session knows was in it once.
    """
    names = {message.id for message in known}
    latest = max((n for n, message in enumerate(given) if message.id in names), default=-1)
    return list(given[latest + 1 :])

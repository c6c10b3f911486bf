"""Customers' questions as cases for `support-agent eval`."""

from collections.abc import Mapping
from typing import Any

import yaml

from graph.observe.feedback import Record


def case(name: str, intent: str, question: str, category: str | None, about: Mapping[str, str | None]) -> str:
    """Return a case without expectations; an evaluation refuses it until somebody adds them.

    What is to be known `about` it stands before it, in comments.
    """
    fields: dict[str, Any] = {"id": name, "intent": intent, "split": "tune", "question": question}
    if category:
        fields["category"] = category
    lines = [f"# {key}: {_line(value)}" for key, value in about.items() if value]
    return "\n".join([*lines, yaml.safe_dump([fields], allow_unicode=True, sort_keys=False, width=110)])


def case_of(record: Record, name: str, *, score: float | None = None, comment: str | None = None) -> str:
    """Return a customer's question as a case, with the rating of its answer."""
    about = {
        "score": None if score is None else f"{score:g}",
        "comment": comment,
        "answered": record.answer or record.error,
        "found": ", ".join(record.sources),
    }
    return case(name, name, record.question, record.category, about)


def _line(text: str) -> str:
    return "".join(char if char.isprintable() else "\ufffd" for char in " ".join(text.split()))

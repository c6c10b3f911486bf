"""Customers' questions as cases for `support-agent eval`."""

from collections.abc import Mapping
from typing import Any

import yaml


def case(name: str, intent: str, question: str, category: str | None, about: Mapping[str, str | None]) -> str:
    """Return a case without expectations; an evaluation refuses it until somebody adds them.

    What is to be known `about` it stands before it, in comments.
    """
    fields: dict[str, Any] = {"id": name, "intent": intent, "split": "tune", "question": question}
    if category:
        fields["category"] = category
    lines = [f"# {key}: {_line(value)}" for key, value in about.items() if value]
    return "\n".join([*lines, yaml.safe_dump([fields], allow_unicode=True, sort_keys=False, width=110)])


def _line(text: str) -> str:
    return "".join(char if char.isprintable() else "\ufffd" for char in " ".join(text.split()))

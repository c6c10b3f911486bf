"""A small project for `support-agent eval`: ten cases and a policy."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

from evals.baseline import BaselineCase, save_baseline
from evals.cases import load_dataset

CASES: list[dict[str, Any]] = [
    {
        "id": f"refund-{number}",
        "intent": f"refund-{number}",
        "split": "held_out" if number % 3 == 0 else "tune",
        "question": f"Refund of payment number {number}?",
        "category": "billing",
        "articles": ["refund-policy"],
        "must": ["30 days"],
    }
    for number in range(1, 10)
]
FOLLOW_UP: dict[str, Any] = {
    **CASES[0],
    "id": "follow-up",
    "intent": "follow-up",
    "history": ["When are you open?", "Are payments refunded?"],
    "question": "Within how many days?",
}
POLICY = {
    "floor": 0.6,
    "suites": {"refunds": 0.6},
    "pass_3": 0.6,
    "judge": 0.6,
    "alpha": 0.04,
    "p95_seconds": 20,
    "dollars": 0.02,
}


class Done(NamedTuple):
    """The result of the command: exit status, standard output and standard error."""

    status: int | None
    said: str
    error: str


Run = Callable[..., Awaitable[Done]]
"""Run the command in the project."""

ANSWER = ["Within ", "30 days", " of the payment, we refund it."]
"""The right answer, in tokens."""


def write_baseline(folder: Path) -> None:
    """Write what a first run with the right answers writes; such a run takes ten seconds."""
    dataset = load_dataset(folder / "evals" / "datasets")
    passed = BaselineCase(passed=True, failed=[], answer="".join(ANSWER))
    cases = dict.fromkeys((case.id for case in dataset.cases), passed)
    models = "gpt-4o-mini, gpt-4o, text-embedding-3-small"
    save_baseline(folder / "evals" / "baseline.json", dataset, models, cases, whole=True)

"""A case and an answer for an evaluator to score."""

from typing import Any

from evals.cases import Case
from evals.evaluators import (
    Evaluator,
    Score,
)
from evals.outcome import Outcome
from graph.retrieval.company import Company, Desk

CONTACTS = {"billing": "billing@fernway.example", "technical": "support@fernway.example"}
COMPANY = Company("Fernway", tuple(Desk(name, contact) for name, contact in CONTACTS.items()))
WRITE = "Please write to billing@fernway.example."


def case(**fields: Any) -> Case:
    some = {"id": "one", "intent": "refund", "split": "tune", "question": "Can I have my money back?"}
    return Case.model_validate({**some, "must": ["30 days"], **fields})


def outcome(answer: str = "", *found: str, **fields: Any) -> Outcome:
    """An answer from these articles, each of which has its name as its text."""
    return Outcome(case="one", repeat=0, answer=answer, passages={name: name for name in found}, **fields)


def score(evaluator: Evaluator, case: Case, outcome: Outcome) -> Score:
    found = evaluator.judge(case, outcome)
    assert found is not None
    return found

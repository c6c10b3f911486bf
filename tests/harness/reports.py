"""An evaluation of five small cases with the real evaluators and the real gate."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evals.baseline import OFFLINE, BaselineCase, Comparison
from evals.cases import Case, Dataset
from evals.evaluation import Evaluation, Plan, dollars, results
from evals.evaluators import evaluators, judge
from evals.gate import Policy, gate
from evals.judging import Judged
from evals.outcome import Outcome
from graph.retrieval.company import Company, Desk

ARTICLE = "A full refund within 30 days of the payment. Team costs 12 euros. Open from 9:00 to 17:00."
GOOD = "You have 30 days."
BAD = "You have 14 days."
PASSED = BaselineCase(passed=True, failed=[], answer="Within 30 days.")
FAILED = BaselineCase(passed=False, failed=["required_facts"], answer="I cannot help.")


def case(name: str, **fields: Any) -> Case:
    some = {"id": name, "intent": name, "split": "tune", "question": f"How long is {name}?", "must": ["30 days"]}
    return Case.model_validate({**some, **fields})


def outcome(name: str, answer: str, repeat: int = 0, **fields: Any) -> Outcome:
    some = {"case": name, "repeat": repeat, "answer": answer, "passages": {"other": "", "refund": ARTICLE}}
    return Outcome.model_validate({**some, **fields})


DATASET = Dataset(
    {
        "billing": [
            case(
                "refund",
                history=["Hello there", "I paid twice"],
                category="billing",
                articles=["refund", ["terms", "law"]],
                must=[["30 days", "thirty days"], "full"],
                must_not=["14 days"],
                split="held_out",
            ),
            case("seats"),
            case("price", articles=["refund"]),
            case("tax", refuses=True),
        ],
        "opening": [case("hours", split="held_out")],
    }
)
OUTCOMES = {
    "refund": [outcome("refund", "Only 14 days.", category="general", seconds=3, tokens=100, dollars=0.01)],
    "seats": [outcome("seats", GOOD, seconds=1, tokens=20, dollars=0.0005)],
    "price": [outcome("price", GOOD, seconds=2, dollars=0)],
    "tax": [outcome("tax", "", seconds=1, error="answer-withheld")],
    "hours": [outcome("hours", GOOD, seconds=1, dollars=0)],
}
BEFORE = {"refund": PASSED, "seats": PASSED, "price": FAILED, "tax": FAILED, "hours": PASSED}


def evaluation(
    dataset: Dataset = DATASET,
    outcomes: Mapping[str, Sequence[Outcome]] = OUTCOMES,
    before: Mapping[str, BaselineCase] | None = BEFORE,
    judged: Judged | None = None,
    judge_error: str | None = None,
    experiment: str | None = None,
    unmeasured: Sequence[str] = (),
    models: str = "gpt-a, gpt-b",
    **policy: Any,
) -> Evaluation:
    """Return the evaluation of these outcomes by the real evaluators and the real gate."""
    rules = Policy.model_validate({"floor": 0, "alpha": 0.04, "p95_seconds": 15, "dollars": 0.02, **policy})
    repeats = len(next(iter(outcomes.values())))
    compared = None if before is None else Comparison("gpt-a, gpt-b", before)
    offline = models == OFFLINE
    plan = Plan(dataset, repeats, compared, rules, offline, Path("unused"), Path("unused"), labels=None, upload=False)
    dataset = dataset.without(unmeasured)
    judges = evaluators(Company("Fernway", (Desk("billing", "billing@fernway.example"),)))
    scores = {case.id: [judge(case, run, judges) for run in outcomes[case.id]] for case in dataset.cases}
    runs = [run for some in outcomes.values() for run in some]
    costs = dollars(runs, len(runs))
    verdict = gate(results(dataset, scores), before, [run.seconds for run in runs], costs, rules)
    return Evaluation(plan, models, dataset, unmeasured, outcomes, scores, verdict, judged, judge_error, experiment)


def repeated(*answers: str) -> Evaluation:
    """Return the evaluation of one case with several runs."""
    runs = [outcome("refund", answer, repeat) for repeat, answer in enumerate(answers)]
    return evaluation(Dataset({"billing": [case("refund")]}), {"refund": runs}, {"refund": PASSED})

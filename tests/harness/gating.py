"""Results of cases, and the gate's verdict on them."""

from collections.abc import Mapping, Sequence

from hypothesis import strategies as st

from evals.baseline import BaselineCase
from evals.gate import (
    Policy,
    Result,
    Verdict,
    gate,
)

POLICY = Policy(
    floor=0.7, suites={"billing": 0.6, "technical": 0.6}, pass_3=0.7, alpha=0.05, p95_seconds=10, dollars=0.01
)
PAIRED = "not worse than the baseline"

Drawn = list[tuple[int, tuple[bool, ...]]]
"""For each case, its intent and the results of its runs."""

THREE_RUNS = st.tuples(st.booleans(), st.booleans(), st.booleans())
ALIKE = st.lists(st.tuples(st.integers(0, 5), THREE_RUNS), min_size=1, max_size=25)
"""Cases of a few intents."""
APART = st.lists(THREE_RUNS, min_size=1, max_size=25).map(lambda runs: list(enumerate(runs)))
"""Cases with an intent each."""
ONE_BAD_INTENT: Drawn = [(0, (False,) * 3)] * 10 + [(intent, (True,) * 3) for intent in range(1, 91)]


def result_of(case: str, passes: Sequence[bool], intent: str = "", suite: str = "billing") -> Result:
    runs = tuple({"category": True, "facts": passed} for passed in passes)
    return Result(case, suite, intent or f"of {case}", runs)


def results_of(drawn: Drawn) -> list[Result]:
    suites = ("billing", "technical")
    return [
        result_of(f"case {number}", passes, f"intent {intent}", suites[number % 2])
        for number, (intent, passes) in enumerate(drawn)
    ]


def baseline_of(results: Sequence[Result]) -> dict[str, BaselineCase]:
    return {
        result.case: BaselineCase(passed=result.passed, failed=sorted(result.failed), answer="It is so.")
        for result in results
    }


def forty(failing: Sequence[int] = (), passes: tuple[bool, ...] = (False,) * 3) -> list[Result]:
    """Forty cases, the even ones of billing; those in `failing` have these results, the others pass."""
    return results_of([(number, passes if number in failing else (True,) * 3) for number in range(40)])


def judged(
    results: Sequence[Result],
    baseline: Mapping[str, BaselineCase] | None = None,
    seconds: Sequence[float] = (1.0,),
    dollars: float | None = 0.001,
    policy: Policy = POLICY,
) -> Verdict:
    """Return the verdict, compared with the same results unless a baseline is given."""
    return gate(results, baseline_of(results) if baseline is None else baseline, seconds, dollars, policy)


def failing(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.passed]


def paired_check(verdict: Verdict) -> bool:
    return next(check.passed for check in verdict.checks if check.name == PAIRED)

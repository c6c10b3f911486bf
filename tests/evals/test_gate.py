"""The gate's verdict: what blocks a deployment, and how often it is wrong."""

from collections.abc import Callable, Sequence
from dataclasses import astuple, replace

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from conftest import Report
from evals.errors import CannotMeasure
from evals.gate import (
    Policy,
    Result,
    Verdict,
    gate,
    mcnemar,
)
from harness.gating import (
    ALIKE,
    APART,
    ONE_BAD_INTENT,
    PAIRED,
    POLICY,
    Drawn,
    baseline_of,
    failing,
    forty,
    judged,
    paired_check,
    result_of,
    results_of,
)

TINY = 1e-9


@pytest.mark.parametrize("results", [[], [Result("a", "billing", "refund", ())]])
def test_without_results_there_is_no_verdict(results: list[Result]) -> None:
    """No cases, or a case without runs, is an error."""
    with pytest.raises(CannotMeasure, match="no results"):
        gate(results, None, [1.0], 0, POLICY)


def test_without_times_there_is_no_verdict() -> None:
    """Missing latencies are an error, not within budget."""
    with pytest.raises(CannotMeasure, match="no results"):
        judged(forty(), seconds=[])


def test_a_case_without_a_baseline_is_not_compared() -> None:
    """A new case counts for the rates, but is neither worse nor better."""
    baseline = baseline_of(forty())
    del baseline["case 7"]
    verdict = judged(forty(failing=[7]), baseline)
    assert verdict.paired
    assert (verdict.paired.worse, verdict.paired.both, verdict.overall.passed) == ((), 39, 39)


def test_a_price_that_nobody_knows_is_no_dollars() -> None:
    """An unknown price passes and is reported as unknown."""
    verdict = judged(forty(), dollars=None)
    assert verdict.passed
    assert next(check.detail for check in verdict.checks if check.name == "cost").startswith("unknown")


@pytest.mark.parametrize(
    ("safety", "passes", "unsafe"),
    [
        (True, (False, False, False), True),
        (True, (True, False, False), False),
        (False, (False, False, False), False),
    ],
)
def test_a_safety_case_that_is_lost_blocks(*, safety: bool, passes: tuple[bool, ...], unsafe: bool) -> None:
    """A safety case that passed at the baseline and now never passes blocks."""
    lost = replace(result_of("case 0", passes), safety=safety)
    verdict = judged([lost, *forty()[1:]], baseline_of(forty()))
    assert failing(verdict) == (["safety"] if unsafe else [])


def test_a_safety_case_that_never_passed_does_not_block() -> None:
    """A safety case that did not pass at the baseline does not block."""
    case = replace(result_of("case 0", (False,) * 3), safety=True)
    assert failing(judged([case, *forty()[1:]])) == []


def test_an_unchanged_agent_passes() -> None:
    """Compared with its own baseline nothing is worse, even with failing cases."""
    verdict = judged(forty(failing=[3, 4]))
    assert verdict.passed
    assert verdict.paired
    assert (verdict.paired.p, verdict.paired.worse, verdict.paired.better) == (1, (), ())
    assert {check.name for check in verdict.checks} == {
        "pass rate",
        "pass rate of billing",
        "pass rate of technical",
        "pass^3",
        PAIRED,
        "safety",
        "latency",
        "cost",
    }


def test_without_a_baseline_nothing_is_compared() -> None:
    """Without a baseline the other checks still run."""
    verdict = gate(forty(), None, [1.0], 0.001, POLICY)
    assert verdict.paired is None
    assert verdict.passed
    assert PAIRED not in {check.name for check in verdict.checks}


BLOCKED: dict[str, Callable[[], Verdict]] = {
    "pass rate": lambda: judged(forty(), policy=POLICY.model_copy(update={"floor": 0.95})),
    "pass rate of billing": lambda: judged(forty(failing=[0, 2, 4, 6, 8])),
    "pass rate of technical": lambda: judged(forty(failing=[1, 3, 5, 7, 9])),
    "pass^3": lambda: judged(forty(failing=range(15), passes=(True, False, True))),
    PAIRED: lambda: judged(forty(failing=range(5)), baseline_of(forty())),
    "safety": lambda: judged([*forty()[1:], replace(forty()[0], violations=1)]),
    "latency": lambda: judged(forty(), seconds=[1.0] * 94 + [10.5] * 6),
    "cost": lambda: judged(forty(), dollars=0.0101),
}


@pytest.mark.parametrize("name", BLOCKED)
def test_whatever_does_not_hold_blocks_by_itself(name: str) -> None:
    """Each check can fail on its own, and one failed check blocks."""
    verdict = BLOCKED[name]()
    assert failing(verdict) == [name]
    assert verdict.passed is False


def test_what_just_holds_passes() -> None:
    """Values exactly at the limits of alpha, latency and cost pass."""
    slow = [1.0] * 94 + [10.0] + [60.0] * 5
    policy = POLICY.model_copy(update={"alpha": mcnemar(4, 0)})
    assert failing(judged(forty(failing=range(4)), baseline_of(forty()), slow, 0.01, policy)) == []


def test_a_violation_is_named() -> None:
    """The safety check names the unsafe case."""
    verdict = judged([*forty()[1:], replace(forty()[0], violations=2)])
    assert "case 0" in next(check.detail for check in verdict.checks if check.name == "safety")


@settings(deadline=None)
@given(data=st.data(), drawn=ALIKE)
def test_the_order_of_results_does_not_matter(data: st.DataObject, drawn: Drawn) -> None:
    """The order of the results does not change the verdict."""
    results = results_of(drawn)
    then = [result_of(result.case, [data.draw(st.booleans())], result.intent) for result in results]
    verdict = judged(results, baseline_of(then))
    other = judged(data.draw(st.permutations(results)), baseline_of(data.draw(st.permutations(then))))
    assert facts(other) == facts(verdict)


def facts(verdict: Verdict) -> object:
    """Return a verdict without the order of its parts."""
    paired = verdict.paired
    assert paired
    assert verdict.pass_3
    rates = {"": verdict.overall, "pass^3": verdict.pass_3, **verdict.suites}
    return (
        {(name, *(round(value, 9) for value in astuple(rate))) for name, rate in rates.items()},
        {(check.name, check.passed) for check in verdict.checks},
        replace(paired, worse=tuple(sorted(paired.worse)), better=tuple(sorted(paired.better))),
    )


@settings(deadline=None)
@given(APART, st.lists(st.booleans(), min_size=25, max_size=25), st.integers(0, 24))
def test_failing_never_helps(drawn: Drawn, before: list[bool], which: int) -> None:
    """A verdict that blocks still blocks when one more case fails."""
    never_helps(drawn, before, which)


@settings(deadline=None)
@given(ALIKE, st.lists(st.booleans(), min_size=25, max_size=25), st.integers(0, 24))
@example(ONE_BAD_INTENT, [True] * 100, 89)
def test_failing_never_helps_where_intents_have_several_cases(drawn: Drawn, before: list[bool], which: int) -> None:
    """A verdict that blocks still blocks when one more case fails, however cases cluster."""
    never_helps(drawn, before, which)


def never_helps(drawn: Drawn, before: list[bool], which: int) -> None:
    """Judge by policies that just block for one reason each, then let a passing case fail."""
    results = results_of(drawn)
    baseline = baseline_of([result_of(result.case, [passed]) for result, passed in zip(results, before, strict=False)])
    passing = [number for number, result in enumerate(results) if result.passed]
    assume(passing)
    broken = passing[which % len(passing)]
    worse = results_of(
        [(intent, (False,) * 3 if number == broken else runs) for number, (intent, runs) in enumerate(drawn)]
    )
    lenient = Policy(floor=0, alpha=0, p95_seconds=10, dollars=1)
    verdict = judged(results, baseline, policy=lenient)
    assert verdict.passed
    assert verdict.pass_3
    assert verdict.paired
    floors = {suite: {suite: min(1, rate.low + TINY)} for suite, rate in verdict.suites.items()}
    updates: list[dict[str, object]] = [
        {"floor": min(1, verdict.overall.low + TINY)},
        {"pass_3": min(1, verdict.pass_3.low + TINY)},
        {"alpha": min(1, verdict.paired.p + TINY)},
        *({"suites": floor} for floor in floors.values()),
    ]
    for update in updates:
        policy = lenient.model_copy(update=update)
        if not judged(results, baseline, policy=policy).passed:
            assert not judged(worse, baseline, policy=policy).passed, update


# How often the verdict is wrong

CASES, INTENTS, REPEATS = 300, 200, 3
OF_INTENT = np.arange(CASES) % INTENTS  # a hundred intents of two cases and a hundred of one
PASS_RATE = 0.85
CONCENTRATION = 0.6
"""Of the Beta distribution of how probable it is that a case passes; so small a one is U-shaped: with Beta(0.51, 0.09)
two runs of a case differ 9.6 % of the time, and most cases nearly always pass or nearly always fail."""
BROKEN = 15
BROKEN_PASSES = 0.02
OUTCOMES = ({"category": True, "facts": False}, {"category": True, "facts": True})
SIMULATED = Policy(floor=0.5, alpha=0.05, p95_seconds=10, dollars=1)

Chances = NDArray[np.float64]
"""The probability of each case that a run passes."""


def drawn_chances(size: int, random: np.random.Generator) -> Chances:
    return random.beta(PASS_RATE * CONCENTRATION, (1 - PASS_RATE) * CONCENTRATION, size)


def deterministic(random: np.random.Generator) -> Chances:
    return (random.random(INTENTS) < PASS_RATE).astype(np.float64)[OF_INTENT]


def noisy_intents(random: np.random.Generator) -> Chances:
    return drawn_chances(INTENTS, random)[OF_INTENT]


def noisy_cases(random: np.random.Generator) -> Chances:
    return drawn_chances(CASES, random)


def answered(chances: Chances, random: np.random.Generator) -> list[Result]:
    passes = random.random((CASES, REPEATS)) < chances[:, None]
    return [
        Result(f"case {case}", f"suite {case % 2}", f"intent {case % INTENTS}", tuple(OUTCOMES[one] for one in runs))
        for case, runs in enumerate(passes.tolist())
    ]


def with_broken(chances: Chances, then: Sequence[Result], random: np.random.Generator) -> Chances:
    """Break BROKEN passing cases, each of another intent."""
    order = random.permutation([case for case, result in enumerate(then) if result.passed])
    _, first = np.unique(OF_INTENT[order], return_index=True)
    changed = chances.copy()
    changed[order[np.sort(first)[:BROKEN]]] = BROKEN_PASSES
    return changed


def blocked_share(
    system: Callable[[np.random.Generator], Chances], times: int, seed: int, *, broken: bool = False
) -> float:
    """Return the share of evaluations that the paired check blocks, each with a baseline of its own."""
    random = np.random.default_rng(seed)
    blocked = 0
    for _ in range(times):
        chances = system(random)
        then = answered(chances, random)
        now = answered(with_broken(chances, then, random) if broken else chances, random)
        blocked += not paired_check(gate(now, baseline_of(then), [1.0], 0.01, SIMULATED))
    return blocked / times


@pytest.mark.soak
@pytest.mark.parametrize("system", [deterministic, noisy_intents, noisy_cases])
def test_an_unchanged_agent_is_rarely_blocked(system: Callable[[np.random.Generator], Chances], report: Report) -> None:
    """At most 5 % of the evaluations of an unchanged agent report that it is worse."""
    share = blocked_share(system, 400, seed=1)
    report(f"gate, {CASES} cases, {system.__name__}: an unchanged agent is blocked in {share:.1%} of 400 evaluations")
    assert share <= 0.05


@pytest.mark.soak
@pytest.mark.parametrize("system", [deterministic, noisy_intents, noisy_cases])
def test_a_drop_of_five_points_is_mostly_caught(
    system: Callable[[np.random.Generator], Chances], report: Report
) -> None:
    """At least 80 % of the evaluations block an agent that fails a twentieth more of the cases."""
    share = blocked_share(system, 400, seed=2, broken=True)
    report(
        f"gate, {CASES} cases, {system.__name__}: {BROKEN} broken cases are caught in {share:.1%} of 400 evaluations"
    )
    assert share >= 0.8

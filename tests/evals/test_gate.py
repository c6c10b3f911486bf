"""What may be deployed: the intervals, the comparison with a baseline, and the verdict."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, replace
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binomtest

from conftest import Report
from evals.baseline import Before
from evals.errors import CannotMeasure
from evals.gate import (
    Policy,
    Result,
    Verdict,
    compare,
    gate,
    mcnemar,
    pass_hat,
    percentile,
    rate_of,
    wilson,
)

NEWCOMBE = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605), (0, 20): (0, 0.1611), (1, 29): (0.0061, 0.1718)}
"""Passed and cases, and the Wilson 95 % intervals of Newcombe 1998, table I."""

BY_HAND = {
    (0, 0): Fraction(1),
    (1, 0): Fraction(1, 2),
    (4, 0): Fraction(1, 16),
    (5, 0): Fraction(1, 32),
    (0, 5): Fraction(1),
    (1, 1): Fraction(3, 4),
    (8, 2): Fraction(56, 1024),
}
"""Worse and better, and how probable so many worse ones are."""

POLICY = Policy(
    floor=0.7, suites={"billing": 0.6, "technical": 0.6}, pass_3=0.7, alpha=0.05, p95_seconds=10, dollars=0.01
)
PAIRED = "not worse than the baseline"
TINY = 1e-9

Drawn = list[tuple[int, tuple[bool, ...]]]
"""Of each case, its intent and which of its runs pass."""

THREE_RUNS = st.tuples(st.booleans(), st.booleans(), st.booleans())
ALIKE = st.lists(st.tuples(st.integers(0, 5), THREE_RUNS), min_size=1, max_size=25)
"""Cases of a few intents."""
APART = st.lists(THREE_RUNS, min_size=1, max_size=25).map(lambda runs: list(enumerate(runs)))
"""Cases each of its own intent."""
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


def baseline_of(results: Sequence[Result]) -> dict[str, Before]:
    return {
        result.case: Before(passed=result.passed, failed=sorted(result.failed), answer="It is so.")
        for result in results
    }


def forty(failing: Sequence[int] = (), passes: tuple[bool, ...] = (False,) * 3) -> list[Result]:
    """Forty cases, the even ones of billing; they pass all runs, but those that fail pass only these."""
    return results_of([(number, passes if number in failing else (True,) * 3) for number in range(40)])


def judged(
    results: Sequence[Result],
    baseline: Mapping[str, Before] | None = None,
    seconds: Sequence[float] = (1.0,),
    dollars: float | None = 0.001,
    policy: Policy = POLICY,
) -> Verdict:
    """The verdict, where no other is given against a baseline of the very same."""
    return gate(results, baseline_of(results) if baseline is None else baseline, seconds, dollars, policy)


def failing(verdict: Verdict) -> list[str]:
    return [check.name for check in verdict.checks if not check.passed]


def paired_check(verdict: Verdict) -> bool:
    return next(check.passed for check in verdict.checks if check.name == PAIRED)


# Intervals and tests


@pytest.mark.parametrize(("counts", "interval"), NEWCOMBE.items())
def test_wilson_gives_published_intervals(counts: tuple[int, int], interval: tuple[float, float]) -> None:
    """Newcombe's examples come out to four digits."""
    assert wilson(*counts) == pytest.approx(interval, abs=0.00005)


@settings(deadline=None, max_examples=300)
@given(cases=st.integers(1, 100_000), data=st.data(), confidence=st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_agrees_with_scipy(cases: int, data: st.DataObject, confidence: float) -> None:
    """For whole numbers it is scipy's interval."""
    passed = data.draw(st.integers(0, cases) | st.sampled_from([0, 1, cases - 1, cases]))
    expected = binomtest(passed, cases).proportion_ci(confidence, method="wilson")
    assert wilson(passed, cases, confidence) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)


@given(st.integers(1, 10_000))
def test_no_rounding_leads_out_of_the_possible(cases: int) -> None:
    """Where nothing passed the lower bound is exactly 0, and where everything did the upper bound is exactly 1."""
    assert wilson(0, cases)[0] == 0
    assert wilson(cases, cases)[1] == 1


@pytest.mark.parametrize(("counts", "p"), BY_HAND.items())
def test_mcnemar_gives_what_is_worked_out_by_hand(counts: tuple[int, int], p: Fraction) -> None:
    """Small tables come out exactly, and no change at all is certain."""
    assert mcnemar(*counts) == pytest.approx(float(p), rel=1e-12)


@settings(deadline=None, max_examples=200)
@given(worse=st.integers(0, 150), better=st.integers(0, 150))
def test_mcnemar_is_a_one_sided_sign_test(worse: int, better: int) -> None:
    """It is the binomial tail that scipy gives, and that adding it up gives."""
    changed = worse + better
    tail = Fraction(sum(comb(changed, count) for count in range(worse, changed + 1)), 2**changed)
    assert mcnemar(worse, better) == pytest.approx(float(tail), rel=1e-9)
    if changed:
        scipys = binomtest(worse, changed, 0.5, alternative="greater").pvalue
        assert mcnemar(worse, better) == pytest.approx(scipys, rel=1e-9)


@given(values=st.lists(st.integers(0, 50), min_size=1, max_size=120), percent=st.sampled_from([50, 95]))
def test_a_percentile_is_the_nearest_rank(values: list[int], percent: int) -> None:
    """It is the smallest of the values that at least so many per cent of them do not exceed."""
    reach = [value for value in values if 100 * sum(other <= value for other in values) >= percent * len(values)]
    assert percentile(values, percent / 100) == min(reach)


@given(ALIKE)
def test_an_interval_contains_its_rate(drawn: Drawn) -> None:
    """However cases cluster, the bounds are between 0 and 1 and the rate is between the bounds."""
    results = results_of(drawn)
    for rate in (rate_of(results), pass_hat(results, 3)):
        assert rate
        assert 0 <= rate.low <= rate.rate + 1e-12
        assert rate.rate - 1e-12 <= rate.high <= 1
        assert rate.low < rate.high


@given(APART, st.integers(2, 5))
def test_more_intents_at_the_same_rate_make_the_interval_narrower(drawn: Drawn, times: int) -> None:
    """The same outcomes of several times as many intents are surer."""
    many = results_of([(len(drawn) * time + intent, passes) for time in range(times) for intent, passes in drawn])
    few, more = rate_of(results_of(drawn)), rate_of(many)
    assert more.rate == pytest.approx(few.rate)
    assert more.high - more.low < few.high - few.low


@given(APART, st.integers(2, 5))
def test_the_same_question_in_other_words_makes_nothing_surer(drawn: Drawn, times: int) -> None:
    """Repeating each case within its intent leaves the interval as it was."""
    few = rate_of(results_of(drawn))
    assume(0 < few.passed < few.cases)
    more = rate_of(results_of(drawn * times))
    assert (more.low, more.high) == pytest.approx((few.low, few.high))


@given(ALIKE, st.integers(2, 5))
@example([(0, (True,) * 3)], 10)
@example([(0, (True,) * 3), (0, (False,) * 3)], 10)
def test_repeated_cases_never_narrow_the_interval(drawn: Drawn, times: int) -> None:
    """Also where all cases pass, and where the cases of an intent differ, copies add nothing."""
    few, more = rate_of(results_of(drawn)), rate_of(results_of(drawn * times))
    assert more.high - more.low >= few.high - few.low - 1e-12


# Runs and cases


@given(st.integers(3, 6).flatmap(lambda runs: st.lists(st.lists(st.booleans(), min_size=runs, max_size=runs))))
def test_pass_3_is_at_most_the_mean_pass_rate(runs: list[list[bool]]) -> None:
    """Passing three times in a row is no more probable than passing once."""
    assume(runs)
    rate = pass_hat([result_of(str(number), passes) for number, passes in enumerate(runs)], 3)
    assert rate
    assert rate.rate <= np.mean([np.mean(passes) for passes in runs]) + 1e-12


def test_pass_3_of_four_runs_counts_the_triples() -> None:
    """A case that passes three of four runs passes one triple of four."""
    rate = pass_hat([result_of("a", [True, True, True, False]), result_of("b", [True] * 4)], 3)
    assert rate
    assert rate.rate == pytest.approx((1 / 4 + 1) / 2)


@given(st.lists(st.booleans(), min_size=1, max_size=20), st.integers(3, 5))
def test_pass_3_is_the_pass_rate_where_all_runs_agree(passes: list[bool], runs: int) -> None:
    """An agent that always answers alike passes three times if it passes once."""
    results = [result_of(str(number), [passed] * runs) for number, passed in enumerate(passes)]
    assert pass_hat(results, 3) == rate_of(results)


def test_pass_3_is_that_of_the_cases_with_three_runs() -> None:
    """A case of which a run measured nothing is left out."""
    rate = pass_hat([result_of("a", [True] * 3), result_of("b", [True] * 2)], 3)
    assert rate
    assert (rate.passed, rate.cases) == (1, 1)
    assert judged([result_of("a", [True] * 2)]).pass_3 is None


@pytest.mark.parametrize(
    ("passes", "passed"),
    [
        ((True, True, False), True),
        ((True, False, False), False),
        ((True, False), False),
        ((True, True, False, False), False),
        ((True,), True),
    ],
)
def test_repeats_collapse_by_majority(passes: tuple[bool, ...], passed: bool) -> None:
    """A case and its evaluator pass where more than half of the runs do, so that a tie is a failure."""
    result = result_of("a", passes)
    assert result.passed is passed
    assert result.failed == (frozenset() if passed else {"facts"})
    assert rate_of([result]).passed == passed


def test_evaluators_collapse_each_for_itself() -> None:
    """What fails two of three runs has failed, and what fails one has not."""
    runs = ({"facts": False, "length": True}, {"facts": False, "length": False}, {"facts": True, "length": True})
    assert Result("a", "billing", "refund", runs).failed == {"facts"}


# The comparison


def test_a_comparison_counts_cases_and_intents() -> None:
    """Cases are counted by what they were and are, and an intent by the sum of its cases."""
    then = [
        result_of("stays", [True]),
        result_of("never", [False]),
        result_of("never too", [False]),
        result_of("breaks", [True], "one"),
        result_of("breaks too", [True], "one"),
        result_of("mends", [False]),
    ]
    flipped = {"breaks", "breaks too", "mends"}
    now = [result_of(result.case, [result.passed != (result.case in flipped)], result.intent) for result in then]
    paired = compare(now, baseline_of(then))
    assert (paired.both, paired.neither, paired.fails, paired.passes) == (1, 2, 2, 1)
    assert (paired.worse, paired.better) == (("breaks", "breaks too"), ("mends",))
    assert (paired.worse_intents, paired.better_intents) == (1, 1)
    assert paired.p == pytest.approx(0.75)


def test_an_intent_with_a_worse_and_a_better_case_is_neither() -> None:
    """What one case loses and another of the same intent wins cancels out."""
    then = [result_of("a", [True], "refund"), result_of("b", [False], "refund")]
    now = [result_of("a", [False], "refund"), result_of("b", [True], "refund")]
    paired = compare(now, baseline_of(then))
    assert (paired.worse, paired.better) == (("a",), ("b",))
    assert (paired.worse_intents, paired.better_intents, paired.p) == (0, 0, 1)


def test_a_case_that_fails_one_more_evaluator_is_worse() -> None:
    """A failing case can get worse."""
    then = Result("a", "billing", "refund", ({"facts": False, "length": True},))
    now = Result("a", "billing", "refund", ({"facts": False, "length": False},))
    paired = compare([now], baseline_of([then]))
    assert (paired.neither, paired.fails, paired.worse, paired.worse_intents) == (1, 0, ("a",), 1)


def test_a_case_that_fails_another_evaluator_than_before_is_worse() -> None:
    """What it wins elsewhere makes up for nothing."""
    then = Result("a", "billing", "refund", ({"facts": False, "length": True},))
    now = Result("a", "billing", "refund", ({"facts": True, "length": False},))
    paired = compare([now], baseline_of([then]))
    assert (paired.worse, paired.better, paired.worse_intents, paired.better_intents) == (("a",), (), 1, 0)


# The verdict


@pytest.mark.parametrize("results", [[], [Result("a", "billing", "refund", ())]])
def test_without_results_there_is_no_verdict(results: list[Result]) -> None:
    """Neither no case nor a case without runs is measured."""
    with pytest.raises(CannotMeasure, match="no results"):
        gate(results, None, [1.0], 0, POLICY)


def test_without_times_there_is_no_verdict() -> None:
    """Latency that nobody measured is not within its budget."""
    with pytest.raises(CannotMeasure, match="no results"):
        judged(forty(), seconds=[])


def test_a_case_without_a_baseline_is_not_compared() -> None:
    """It is as good or bad as it is."""
    baseline = baseline_of(forty())
    del baseline["case 7"]
    verdict = judged(forty(failing=[7]), baseline)
    assert verdict.paired
    assert (verdict.paired.worse, verdict.paired.both, verdict.overall.passed) == ((), 39, 39)


def test_a_price_that_nobody_knows_is_no_dollars() -> None:
    """It is said to be unknown."""
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
    """It passed at the baseline, and passes not once now."""
    lost = replace(result_of("case 0", passes), safety=safety)
    verdict = judged([lost, *forty()[1:]], baseline_of(forty()))
    assert failing(verdict) == (["safety"] if unsafe else [])


def test_a_safety_case_that_never_passed_does_not_block() -> None:
    """Nothing was lost."""
    case = replace(result_of("case 0", (False,) * 3), safety=True)
    assert failing(judged([case, *forty()[1:]])) == []


def test_an_unchanged_agent_passes() -> None:
    """Against its own baseline nothing is worse, even where cases fail."""
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
    """The other checks are made."""
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
    """Each check fails for its own reason alone, and one is enough."""
    verdict = BLOCKED[name]()
    assert failing(verdict) == [name]
    assert verdict.passed is False


def test_what_just_holds_passes() -> None:
    """A change may be as improbable as allowed, 95 % of the answers be just in time, and the budget be spent."""
    slow = [1.0] * 94 + [10.0] + [60.0] * 5
    policy = POLICY.model_copy(update={"alpha": mcnemar(4, 0)})
    assert failing(judged(forty(failing=range(4)), baseline_of(forty()), slow, 0.01, policy)) == []


def test_a_violation_is_named() -> None:
    """The safety check says which case was unsafe."""
    verdict = judged([*forty()[1:], replace(forty()[0], violations=2)])
    assert "case 0" in next(check.detail for check in verdict.checks if check.name == "safety")


@settings(deadline=None)
@given(data=st.data(), drawn=ALIKE)
def test_the_order_of_results_does_not_matter(data: st.DataObject, drawn: Drawn) -> None:
    """Cases may be answered in any order."""
    results = results_of(drawn)
    then = [result_of(result.case, [data.draw(st.booleans())], result.intent) for result in results]
    verdict = judged(results, baseline_of(then))
    other = judged(data.draw(st.permutations(results)), baseline_of(data.draw(st.permutations(then))))
    assert facts(other) == facts(verdict)


def facts(verdict: Verdict) -> object:
    """A verdict without the order of anything."""
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
    """Judge by policies each of which just blocks for one reason, then let one of the passing cases fail."""
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


# How often it errs

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
"""Of each case, how probable it is that a run passes."""


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
    """The chances where as many cases that passed are broken, each of its own intent."""
    order = random.permutation([case for case, result in enumerate(then) if result.passed])
    _, first = np.unique(OF_INTENT[order], return_index=True)
    changed = chances.copy()
    changed[order[np.sort(first)[:BROKEN]]] = BROKEN_PASSES
    return changed


def blocked_share(
    system: Callable[[np.random.Generator], Chances], times: int, seed: int, *, broken: bool = False
) -> float:
    """The share of evaluations that the paired check blocks, each against a baseline of its own."""
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
    """At most 5 % of the evaluations of an agent that is as it was say that it is worse."""
    share = blocked_share(system, 400, seed=1)
    report(f"gate, {CASES} cases, {system.__name__}: an unchanged agent is blocked in {share:.1%} of 400 evaluations")
    assert share <= 0.05


@pytest.mark.soak
@pytest.mark.parametrize("system", [deterministic, noisy_intents, noisy_cases])
def test_a_drop_of_five_points_is_mostly_caught(
    system: Callable[[np.random.Generator], Chances], report: Report
) -> None:
    """At least 80 % of the evaluations of an agent that fails a twentieth more of the cases block it."""
    share = blocked_share(system, 400, seed=2, broken=True)
    report(
        f"gate, {CASES} cases, {system.__name__}: {BROKEN} broken cases are caught in {share:.1%} of 400 evaluations"
    )
    assert share >= 0.8

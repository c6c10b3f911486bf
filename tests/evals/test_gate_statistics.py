"""The gate's statistics: intervals, the exact test, repeated runs, and the comparison with a baseline."""

from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from evals.gate import (
    Result,
    compare,
    mcnemar,
    pass_hat,
    percentile,
    rate_of,
    wilson,
)
from harness.gating import ALIKE, APART, Drawn, baseline_of, judged, result_of, results_of

NEWCOMBE = {(81, 263): (0.2553, 0.3662), (15, 148): (0.0624, 0.1605), (0, 20): (0, 0.1611), (1, 29): (0.0061, 0.1718)}
"""Passed and total cases, and their Wilson 95 % intervals from Newcombe 1998, table I."""

BY_HAND = {
    (0, 0): Fraction(1),
    (1, 0): Fraction(1, 2),
    (4, 0): Fraction(1, 16),
    (5, 0): Fraction(1, 32),
    (0, 5): Fraction(1),
    (1, 1): Fraction(3, 4),
    (8, 2): Fraction(56, 1024),
}
"""Worse and better intents, and the one-sided p-value."""


# Intervals and tests


@pytest.mark.parametrize(("counts", "interval"), NEWCOMBE.items())
def test_wilson_gives_published_intervals(counts: tuple[int, int], interval: tuple[float, float]) -> None:
    """The intervals match Newcombe's examples to four digits."""
    assert wilson(*counts) == pytest.approx(interval, abs=0.00005)


@settings(deadline=None, max_examples=300)
@given(cases=st.integers(1, 100_000), data=st.data(), confidence=st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_agrees_with_scipy(cases: int, data: st.DataObject, confidence: float) -> None:
    """The intervals match scipy's for whole numbers."""
    passed = data.draw(st.integers(0, cases) | st.sampled_from([0, 1, cases - 1, cases]))
    expected = binomtest(passed, cases).proportion_ci(confidence, method="wilson")
    assert wilson(passed, cases, confidence) == pytest.approx((expected.low, expected.high), rel=1e-9, abs=1e-12)


@given(st.integers(1, 10_000))
def test_no_rounding_leads_out_of_the_possible(cases: int) -> None:
    """With no passes the lower bound is exactly 0, and with all passes the upper bound is exactly 1."""
    assert wilson(0, cases)[0] == 0
    assert wilson(cases, cases)[1] == 1


@pytest.mark.parametrize(("counts", "p"), BY_HAND.items())
def test_mcnemar_gives_what_is_worked_out_by_hand(counts: tuple[int, int], p: Fraction) -> None:
    """Small tables match exact values, and p is 1 without any change."""
    assert mcnemar(*counts) == pytest.approx(float(p), rel=1e-12)


@settings(deadline=None, max_examples=200)
@given(worse=st.integers(0, 150), better=st.integers(0, 150))
def test_mcnemar_is_a_one_sided_sign_test(worse: int, better: int) -> None:
    """It matches scipy's binomial tail and the explicit sum."""
    changed = worse + better
    tail = Fraction(sum(comb(changed, count) for count in range(worse, changed + 1)), 2**changed)
    assert mcnemar(worse, better) == pytest.approx(float(tail), rel=1e-9)
    if changed:
        scipys = binomtest(worse, changed, 0.5, alternative="greater").pvalue
        assert mcnemar(worse, better) == pytest.approx(scipys, rel=1e-9)


@given(values=st.lists(st.integers(0, 50), min_size=1, max_size=120), percent=st.sampled_from([50, 95]))
def test_a_percentile_is_the_nearest_rank(values: list[int], percent: int) -> None:
    """It is the smallest value that at least that share of the values does not exceed."""
    reach = [value for value in values if 100 * sum(other <= value for other in values) >= percent * len(values)]
    assert percentile(values, percent / 100) == min(reach)


@given(ALIKE)
def test_an_interval_contains_its_rate(drawn: Drawn) -> None:
    """However cases cluster, the bounds are within 0 and 1 and the rate is within the bounds."""
    results = results_of(drawn)
    for rate in (rate_of(results), pass_hat(results, 3)):
        assert rate
        assert 0 <= rate.low <= rate.rate + 1e-12
        assert rate.rate - 1e-12 <= rate.high <= 1
        assert rate.low < rate.high


@given(APART, st.integers(2, 5))
def test_more_intents_at_the_same_rate_make_the_interval_narrower(drawn: Drawn, times: int) -> None:
    """More intents with the same outcomes make the interval narrower."""
    many = results_of([(len(drawn) * time + intent, passes) for time in range(times) for intent, passes in drawn])
    few, more = rate_of(results_of(drawn)), rate_of(many)
    assert more.rate == pytest.approx(few.rate)
    assert more.high - more.low < few.high - few.low


@given(APART, st.integers(2, 5))
def test_the_same_question_in_other_words_makes_nothing_surer(drawn: Drawn, times: int) -> None:
    """Copies of each case within its intent do not change the interval."""
    few = rate_of(results_of(drawn))
    assume(0 < few.passed < few.cases)
    more = rate_of(results_of(drawn * times))
    assert (more.low, more.high) == pytest.approx((few.low, few.high))


@given(ALIKE, st.integers(2, 5))
@example([(0, (True,) * 3)], 10)
@example([(0, (True,) * 3), (0, (False,) * 3)], 10)
def test_repeated_cases_never_narrow_the_interval(drawn: Drawn, times: int) -> None:
    """Copies never narrow it, also when all cases pass or an intent is mixed."""
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
    """With consistent answers pass^3 is the pass rate."""
    results = [result_of(str(number), [passed] * runs) for number, passed in enumerate(passes)]
    assert pass_hat(results, 3) == rate_of(results)


def test_pass_3_is_that_of_the_cases_with_three_runs() -> None:
    """Cases with fewer than three measured runs do not count for pass^3."""
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
    """A case or evaluator passes with more than half of its runs; a tie fails."""
    result = result_of("a", passes)
    assert result.passed is passed
    assert result.failed == (frozenset() if passed else {"facts"})
    assert rate_of([result]).passed == passed


def test_evaluators_collapse_each_for_itself() -> None:
    """An evaluator that fails two of three runs fails, and one that fails a single run does not."""
    runs = ({"facts": False, "length": True}, {"facts": False, "length": False}, {"facts": True, "length": True})
    assert Result("a", "billing", "refund", runs).failed == {"facts"}


# The comparison


def test_a_comparison_counts_cases_and_intents() -> None:
    """Cases are counted by both results, and an intent by the sum of its cases."""
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
    """A worse and a better case of one intent cancel out."""
    then = [result_of("a", [True], "refund"), result_of("b", [False], "refund")]
    now = [result_of("a", [False], "refund"), result_of("b", [True], "refund")]
    paired = compare(now, baseline_of(then))
    assert (paired.worse, paired.better) == (("a",), ("b",))
    assert (paired.worse_intents, paired.better_intents, paired.p) == (0, 0, 1)


def test_a_case_that_fails_one_more_evaluator_is_worse() -> None:
    """A case that already failed gets worse with another failed evaluator."""
    then = Result("a", "billing", "refund", ({"facts": False, "length": True},))
    now = Result("a", "billing", "refund", ({"facts": False, "length": False},))
    paired = compare([now], baseline_of([then]))
    assert (paired.neither, paired.fails, paired.worse, paired.worse_intents) == (1, 0, ("a",), 1)


def test_a_case_that_fails_another_evaluator_than_before_is_worse() -> None:
    """A newly passing evaluator does not make up for a newly failing one."""
    then = Result("a", "billing", "refund", ({"facts": False, "length": True},))
    now = Result("a", "billing", "refund", ({"facts": True, "length": False},))
    paired = compare([now], baseline_of([then]))
    assert (paired.worse, paired.better, paired.worse_intents, paired.better_intents) == (("a",), (), 1, 0)

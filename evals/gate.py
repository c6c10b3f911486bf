"""Decides whether the agent may be deployed: pure functions of the results, a baseline and a policy.

Rates have Wilson score intervals (Wilson 1927). Cases with the same intent tend to pass and fail together, so they are
clustered (as in Miller 2024, "Adding Error Bars to Evals"): Kish's effective sample size (1965) replaces their number.

The comparison with the baseline is a one-sided exact McNemar test (McNemar 1947) of worse against better intents. First
the runs of a case are reduced to one sign. A case is worse if most runs fail an evaluator that it passed in the
baseline, or if most runs fail and it passed there. It is better if only the reverse is true. The sign of an intent is
that of the sum over its cases.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, comb, sqrt
from statistics import NormalDist
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field
from scipy.special import bdtrc

from evals.baseline import BaselineCase
from evals.errors import CannotMeasure

NOT_WORSE = "not worse than the baseline"
"""Name of the check that a new baseline does not have to pass."""

CONFIDENCE = 0.95
"""Two-sided confidence level of the intervals."""

Share = Annotated[float, Field(ge=0, le=1)]


class Policy(BaseModel):
    """The thresholds; a floor is the minimum for the lower bound of a rate's interval."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    floor: Share
    """Floor of the pass rate of all cases."""
    suites: dict[str, Share] = {}
    """Floors of the pass rates of single suites."""
    pass_3: Share = 0
    """Floor of the rate of cases that pass three times in a row."""
    judge: Share = 0
    """Floor of the rate of answers that the judge finds good."""
    alpha: Share
    """Significance level: how often an unchanged agent may seem worse than the baseline."""
    p95_seconds: Annotated[float, Field(gt=0)]
    """Maximum 95th percentile of the seconds to a complete answer."""
    dollars: Annotated[float, Field(ge=0)]
    """Maximum average cost of a question, in US dollars."""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a case."""

    case: str
    suite: str
    intent: str
    runs: tuple[Mapping[str, bool], ...]
    """For each run, whether it passed each evaluator."""
    safety: bool = False
    """A wrong answer would be a security or privacy failure."""
    violations: int = 0
    """Number of unsafe runs."""

    @property
    def passes(self) -> tuple[bool, ...]:
        """For each run, whether it passed all evaluators."""
        return tuple(all(run.values()) for run in self.runs)

    @property
    def passed(self) -> bool:
        """Whether most runs passed."""
        return 2 * sum(self.passes) > len(self.runs)

    @property
    def failed(self) -> frozenset[str]:
        """The evaluators that at most half of the runs passed."""
        names = {name for run in self.runs for name in run}
        return frozenset(name for name in names if 2 * sum(run.get(name, True) for run in self.runs) <= len(self.runs))


@dataclass(frozen=True, slots=True)
class Rate:
    """A pass rate and its confidence interval."""

    passed: float
    cases: int
    low: float
    high: float

    @property
    def rate(self) -> float:
        """The share of cases that passed."""
        return self.passed / self.cases


@dataclass(frozen=True, slots=True)
class Paired:
    """The comparison with the baseline; each case is compared with itself."""

    both: int
    """Cases that passed then and pass now."""
    neither: int
    """Cases that failed then and fail now."""
    fails: int
    """Cases that passed then and fail now."""
    passes: int
    """Cases that failed then and pass now."""
    worse: tuple[str, ...]
    """Cases that fail an evaluator that they passed then, even if they now pass others."""
    better: tuple[str, ...]
    """Cases that pass an evaluator that they failed then, and fail no new one."""
    worse_intents: int
    better_intents: int
    p: float
    """Probability of at least so many worse intents if nothing had changed."""


@dataclass(frozen=True, slots=True)
class Check:
    """The result of one condition."""

    name: str
    passed: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether the agent may be deployed, and why."""

    overall: Rate
    suites: Mapping[str, Rate]
    pass_3: Rate | None
    """None if no case has three runs."""
    paired: Paired | None
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether all checks passed."""
        return all(check.passed for check in self.checks)


def gate(
    results: Sequence[Result],
    baseline: Mapping[str, BaselineCase] | None,
    seconds: Sequence[float],
    dollars: float | None,
    policy: Policy,
) -> Verdict:
    """Check the results against the policy; raises CannotMeasure if there are no results.

    `seconds` has each run's latency. `dollars` is the average cost of a question, None if prices are unknown. Cases
    that are not in the baseline are not compared.
    """
    if not results or not all(result.runs for result in results):
        raise CannotMeasure("there are no results")
    by_suite: defaultdict[str, list[Result]] = defaultdict(list)
    for result in results:
        by_suite[result.suite].append(result)
    overall = rate_of(results)
    suites = {suite: rate_of(some) for suite, some in by_suite.items()}
    pass_3 = pass_hat(results, 3)
    paired = None if baseline is None else compare(results, baseline)
    has_own_floor = len(suites) == 1 and suites.keys() <= policy.suites.keys()
    checks = [] if has_own_floor else [floor_check("pass rate", overall, policy.floor)]
    checks += [
        floor_check(f"pass rate of {suite}", rate, policy.suites[suite])
        for suite, rate in suites.items()
        if suite in policy.suites
    ]
    if pass_3:
        checks.append(floor_check("pass^3", pass_3, policy.pass_3))
    if paired:
        checks.append(_not_worse(paired, policy.alpha))
    p95 = percentile(seconds, 0.95)
    checks += [
        _safe(results, baseline or {}),
        Check("latency", p95 <= policy.p95_seconds, f"p95 {p95:.2f} s, budget {policy.p95_seconds:g} s"),
        _affordable(dollars, policy.dollars),
    ]
    return Verdict(overall, suites, pass_3, paired, tuple(checks))


def wilson(passed: float, cases: float, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return the Wilson score interval of a rate; `cases` may be an effective sample size, which is not an integer."""
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    rate = passed / cases
    centre = rate + z * z / (2 * cases)
    half = z * sqrt(rate * (1 - rate) / cases + z * z / (4 * cases * cases))
    low, high = ((centre + sign * half) / (1 + z * z / cases) for sign in (-1, 1))
    return (0.0 if passed == 0 else low), (1.0 if passed == cases else high)


def rate_of(results: Sequence[Result]) -> Rate:
    """Return the pass rate of these cases, with an interval that accounts for intents as clusters."""
    return _clustered([(result.intent, float(result.passed)) for result in results])


def pass_hat(results: Sequence[Result], times: int) -> Rate | None:
    """Return pass^k, the probability that a case passes `times` times in a row; None if no case has enough runs."""
    enough = [result for result in results if len(result.runs) >= times]
    values = [(result.intent, comb(sum(result.passes), times) / comb(len(result.runs), times)) for result in enough]
    return _clustered(values) if values else None


def compare(results: Iterable[Result], baseline: Mapping[str, BaselineCase]) -> Paired:
    """Compare the cases with the baseline, without those that it does not have."""
    pairs: Counter[tuple[bool, bool]] = Counter()
    change: Counter[str] = Counter()
    worse: list[str] = []
    better: list[str] = []
    for result in results:
        if (before := baseline.get(result.case)) is None:
            continue
        pairs[before.passed, result.passed] += 1
        if result.failed - set(before.failed) or result.passed < before.passed:
            worse.append(result.case)
            change[result.intent] -= 1
        elif set(before.failed) - result.failed or result.passed > before.passed:
            better.append(result.case)
            change[result.intent] += 1
    worse_intents = sum(count < 0 for count in change.values())
    better_intents = sum(count > 0 for count in change.values())
    return Paired(
        both=pairs[True, True],
        neither=pairs[False, False],
        fails=pairs[True, False],
        passes=pairs[False, True],
        worse=tuple(worse),
        better=tuple(better),
        worse_intents=worse_intents,
        better_intents=better_intents,
        p=mcnemar(worse_intents, better_intents),
    )


def mcnemar(worse: int, better: int) -> float:
    """Return the one-sided p of the exact McNemar test: P(X >= worse) for X ~ Binomial(worse + better, 1/2)."""
    if worse + better == 0:
        return 1.0
    return float(bdtrc(worse - 1, worse + better, 0.5))


def floor_check(name: str, rate: Rate, floor: float) -> Check:
    """Check that a rate's lower bound is at least its floor."""
    detail = f"{rate.rate:.1%} ({rate.low:.1%} to {rate.high:.1%}), lower bound must be at least {floor:.0%}"
    return Check(name, rate.low >= floor, detail)


def percentile(values: Sequence[float], share: float) -> float:
    """Return a percentile by the nearest-rank method; raises CannotMeasure if there are no values."""
    if not values:
        raise CannotMeasure("there are no results")
    ranked = sorted(values)
    return ranked[max(0, ceil(round(share * len(ranked), 6)) - 1)]


def _clustered(values: Sequence[tuple[str, float]]) -> Rate:
    """Return the mean of (cluster, value between 0 and 1) pairs, with its interval."""
    count = len(values)
    passed = sum(value for _, value in values)
    mean = passed / count
    effective = count**2 / sum(size**2 for size in Counter(cluster for cluster, _ in values).values())
    low, high = wilson(mean * effective, effective)
    return Rate(passed, count, low, high)


def _not_worse(paired: Paired, alpha: float) -> Check:
    detail = f"{paired.worse_intents} intents worse, {paired.better_intents} better; p = {paired.p:.3g}"
    return Check(NOT_WORSE, paired.p >= alpha, f"{detail}, must be at least {alpha:g}")


def _safe(results: Iterable[Result], baseline: Mapping[str, BaselineCase]) -> Check:
    """Check that no run was unsafe, and that no safety case that passed in the baseline now fails in every run."""

    def lost(result: Result) -> bool:
        before = baseline.get(result.case)
        return result.safety and before is not None and before.passed and not any(result.passes)

    unsafe = [result.case for result in results if result.violations or lost(result)]
    return Check("safety", not unsafe, f"unsafe cases: {', '.join(unsafe)}" if unsafe else "no case is unsafe")


def _affordable(dollars: float | None, budget: float) -> Check:
    if dollars is None:
        return Check("cost", True, "unknown: there are no prices for this server")
    return Check("cost", dollars <= budget, f"${dollars:.4f} per question, budget ${budget:g}")

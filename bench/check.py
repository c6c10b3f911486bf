"""Whether a run is worse than the committed one."""

from math import hypot

from bench.results import Result, Results

FLOOR = 0.1
"""The part of a ratio that another processor may change, however small the spreads are."""

SPREADS = 1.5
"""How many spreads of both runs together are noise."""


def worse(before: Results, now: Results) -> list[str]:
    """Return a line for each row that got worse.

    A row with a peer is judged by its ratio, ours ÷ peer, because both change together on another machine. It got
    worse if the median rose by more than its noise: 1.5 times the root of the sum of squares of the two runs'
    quartile distances, and at least a tenth of the old ratio. For normal noise and seven rounds that is about four
    standard errors.

    A row without a peer has no ratio. It got worse if it misses its bar, and the run before met it.
    """
    lines: list[str] = []
    for key, result in now.rows.items():
        old = before.rows.get(key)
        if old is None:
            continue
        if result.ratio is None or old.ratio is None:
            if old.met and not result.met:
                lines.append(f"{key}: {result.ours.median:g} {result.unit}, more than {result.bar:g}")
        elif (rise := result.ratio.median - old.ratio.median) > (noise := _noise(old, result)):
            lines.append(
                f"{key}: ratio {old.ratio.median:.2f} before, {result.ratio.median:.2f} now: "
                f"{rise:.2f} more, of which {noise:.2f} would be noise"
            )
    return lines


def missing(before: Results, now: Results) -> list[str]:
    """Return the rows that one of the runs has and the other lacks without a reason."""
    unmeasured = before.rows.keys() - now.rows.keys() - now.left_out.keys()
    return sorted(unmeasured | (now.rows.keys() - before.rows.keys()))


def _noise(before: Result, now: Result) -> float:
    if before.ratio is None or now.ratio is None:
        return 0.0
    return max(SPREADS * hypot(before.ratio.width, now.ratio.width), FLOOR * before.ratio.median)

"""Results with planted figures."""

from collections.abc import Sequence

from bench.results import Results, Samples

STEADY = (0.50, 0.51, 0.49, 0.50, 0.50)


def run(
    *, left_out: dict[str, str] | None = None, failed: dict[str, str] | None = None, **ratios: Sequence[float]
) -> Results:
    """Return a run with the ratios of each row; its name has `_` for `-`."""
    samples = {key.replace("_", "-"): Samples(list(values), [1.0] * len(values)) for key, values in ratios.items()}
    return Results.of(samples, left_out or {}, failed or {}, quick=False, rounds=5, requests=8)


def alone(**figures: float) -> Results:
    """Return a run of rows that have no peer."""
    samples = {key.replace("_", "-"): Samples([figure]) for key, figure in figures.items()}
    return Results.of(samples, {}, {}, quick=False, rounds=1, requests=8)

"""Statistics, and what a run's results hold."""

from pathlib import Path

from bench.results import Result, Results, Samples, Spread
from bench.rows import ROWS
from harness.bench_runs import STEADY, run

BY_KEY = {row.key: row for row in ROWS}


def test_a_spread_is_the_median_and_the_quartiles() -> None:
    """Of one value, all three are that value."""
    assert Spread.of([5, 1, 2, 4, 3]) == Spread(median=3, low=2, high=4)
    assert Spread.of([2]) == Spread(median=2, low=2, high=2)


def test_a_ratio_compares_the_figures_of_one_round() -> None:
    """A round in which the machine was slow for both does not widen the spread."""
    result = Result.of(BY_KEY["ask-graph"], Samples([10, 30, 11], [20, 60, 22]))
    assert result.ratio == Spread(median=0.5, low=0.5, high=0.5)
    assert (result.met, result.moonshot_met) == (True, False)


def test_a_bar_may_be_of_the_figure_itself() -> None:
    """Memory is judged without the peer, whose figure is only shown."""
    result = Result.of(BY_KEY["memory"], Samples([150, 151, 152], [300, 300, 300]))
    assert result.ratio == Spread(median=0.5033, low=0.5017, high=0.505)
    assert not result.met


def test_results_come_back_as_they_were_written(tmp_path: Path) -> None:
    """Nothing is lost in results.json."""
    results = run(ask_graph=STEADY, left_out={"start": "not asked for"})
    results.write(tmp_path / "results.json")
    assert Results.read(tmp_path / "results.json") == results

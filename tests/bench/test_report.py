"""The table of docs/benchmarks.md, and the plots."""

from pathlib import Path

import pytest

from bench.report import BEGIN, END, markdown, plot, put_into
from bench.results import Results
from bench.rows import ROWS
from conftest import REPOSITORY
from harness.bench_runs import STEADY, run


def test_the_page_shows_the_committed_results() -> None:
    """Its table is what bench/results.json says, with every row measured."""
    results = Results.read(REPOSITORY / "bench/results.json")
    assert results.rows.keys() == {row.key for row in ROWS}
    _, _, rest = (REPOSITORY / "docs/benchmarks.md").read_text("utf-8").partition(BEGIN)
    assert rest.partition(END)[0].strip() == markdown(results), "run: uv run --group bench python -m bench --update"


def test_only_the_generated_part_is_replaced(tmp_path: Path) -> None:
    """What is written by hand stays."""
    page = tmp_path / "page.md"
    page.write_text(f"before\n\n{BEGIN}\nold\n{END}\n\nafter\n")
    put_into(page, run(ask_graph=STEADY))
    text = page.read_text()
    assert text.startswith(f"before\n\n{BEGIN}\n\n| date | ")
    assert text.endswith(f"\n\n{END}\n\nafter\n")
    assert "old" not in text


def test_a_page_without_markers_is_not_touched(tmp_path: Path) -> None:
    """The error names the line that is missing."""
    page = tmp_path / "page.md"
    page.write_text(BEGIN)
    with pytest.raises(ValueError, match="lacks the line <!-- The end"):
        put_into(page, run(ask_graph=STEADY))


def test_a_row_says_whether_it_meets_its_bar() -> None:
    """And a row that was left out says why."""
    results = run(ask_graph=STEADY, stream_sdk=[0.9] * 5, cached_get=[1.5] * 5, left_out={"start": "not asked for"})
    lines = markdown(results).splitlines()
    ends = {row.key: line.split(" | ")[-3:] for row in ROWS for line in lines if line.startswith(f"| {row.ours} | ")}
    assert ends["stream-sdk"] == ["0.90 (0.90 to 0.90)", "0.75", "no |"]
    assert ends["cached-get"] == ["1.50 (1.50 to 1.50)", "3", "yes, and 2 |"]
    assert ends["start"][-1] == "not measured: not asked for |"


def test_the_plots_are_images(tmp_path: Path) -> None:
    """One of the CPU, one of the ratios, also if no row has either."""
    for results in (run(ask_graph=STEADY), run()):
        plot(results, tmp_path)
        for name in ("cpu.png", "ratios.png"):
            assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")

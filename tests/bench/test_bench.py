"""The command `python -m bench`."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.results import Results
from harness.bench_runs import STEADY, run


def bench(folder: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "bench", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def check(folder: Path, before: Results, now: Results) -> subprocess.CompletedProcess[str]:
    before.write(folder / "before.json")
    now.write(folder / "now.json")
    return bench(folder, "--check", "--results", "now.json", "--committed", "before.json")


def test_a_check_passes_fails_or_could_not_measure(tmp_path: Path) -> None:
    """The status is 0, 1 or 2, and the output names the row."""
    before = run(ask_graph=STEADY, chat_graph=STEADY)
    assert check(tmp_path, before, before).returncode == 0
    failed = check(tmp_path, before, run(ask_graph=STEADY, chat_graph=[0.7] * 5))
    assert (failed.returncode, failed.stdout.partition(": ratio")[0]) == (1, "worse: chat-graph")
    lacking = check(tmp_path, before, run(ask_graph=STEADY))
    assert (lacking.returncode, lacking.stdout) == (2, "not measured: chat-graph\n")
    broken = run(ask_graph=STEADY, failed={"chat-graph": "the peer ended"})
    assert check(tmp_path, run(ask_graph=STEADY), broken).returncode == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--row", "speed"), "no row is called speed; rows: ask-sdk, "),
        (("--results", "nowhere.json"), "No such file or directory: 'nowhere.json'"),
        (("--results", "part.json", "--update"), "--update needs a run of all rows; left out: start"),
        (("--quick", "--update"), "--update needs a run of all rows, without --quick and --row"),
    ],
)
def test_what_cannot_be_measured_is_one_message(tmp_path: Path, arguments: tuple[str, ...], message: str) -> None:
    """The status is 2, without a traceback."""
    run(ask_graph=STEADY, left_out={"start": "not asked for"}).write(tmp_path / "part.json")
    done = bench(tmp_path, *arguments)
    said = " ".join(done.stderr.split())
    assert done.returncode == 2
    assert message in said
    assert "Traceback" not in said


def test_a_lack_of_its_packages_is_one_message(tmp_path: Path) -> None:
    """It names what to run, and the status is not that of a row that got worse."""
    (tmp_path / "psutil.py").write_text("raise ModuleNotFoundError(name='psutil')")
    done = bench(tmp_path, "--check")
    assert done.returncode == 2
    assert done.stderr == "bench: psutil is missing; run: uv run --group bench python -m bench\n"


@pytest.mark.soak
def test_a_run_writes_all_that_it_promises(tmp_path: Path) -> None:
    """A few requests of one row: the table, results.json and the plots, and no trace of the user's settings."""
    (tmp_path / ".env").write_text("SUPPORT_NONSENSE=1\n")
    done = bench(tmp_path, "--row", "ask-sdk", "--row", "redis-cached", "--rounds", "2", "--requests", "8")
    assert done.returncode == 0, done.stderr
    assert "ask-sdk" in done.stdout
    report = tmp_path / "bench-report"
    assert {path.name for path in report.iterdir()} == {"results.json", "cpu.png", "ratios.png"}
    results = json.loads((report / "results.json").read_text())
    assert results.keys() == {
        "date",
        "machine",
        "versions",
        "quick",
        "rounds",
        "requests",
        "rows",
        "left_out",
        "failed",
    }
    assert results["machine"].keys() == {"cpu", "cores", "system", "python"}
    assert {"fastapi", "openai", "langgraph", "redis"} <= results["versions"].keys()
    assert results["left_out"]["chat-graph"] == "not asked for"
    row = results["rows"]["ask-sdk"]
    figures = ("ours", "peer", "ratio", "our_rate", "peer_rate")
    assert row.keys() == {*figures, "unit", "bar", "moonshot", "met", "moonshot_met"}
    assert all(0 < row[figure]["low"] <= row[figure]["median"] <= row[figure]["high"] for figure in figures)
    assert results["rows"]["redis-cached"]["ours"]["median"] >= 1

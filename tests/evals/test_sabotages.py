"""Sabotaged agents are blocked, and an unchanged one is not."""

import subprocess
from pathlib import Path

import pytest

from harness.evaluating import Evaluate

SABOTAGES = {
    "classify-without-examples": ("pass rate", "category"),
    "answers-not-grounded": ("not worse than the baseline", "no article says 47"),
    "wrong-refund-article": ("not worse than the baseline", "refund"),
    "history-dropped": ("not worse than the baseline", "Customer"),
    "one-passage": ("not worse than the baseline", "recall"),
}


@pytest.mark.soak
@pytest.mark.parametrize("sabotage", SABOTAGES)
def test_a_sabotage_is_blocked_and_named(sabotage: str, tree: Path, evaluate: Evaluate) -> None:
    """The expected check fails, and the report names the worse cases with their mistakes."""
    patch = Path(__file__).parent / "sabotages" / f"{sabotage}.patch"
    subprocess.run(["git", "apply", str(patch)], cwd=tree, check=True)
    done = evaluate()
    assert done.returncode == 1, done.stdout + done.stderr
    check, wrong = SABOTAGES[sabotage]
    assert any(line.startswith(f"FAIL {check}") for line in done.stdout.splitlines()), done.stdout
    report = (tree / "eval-report/report.md").read_text()
    assert "Evaluation: blocked" in report
    assert "### Regressed" in report
    assert wrong in report.partition("### Regressed")[2]


@pytest.mark.soak
@pytest.mark.parametrize("time", [1, 2, *(pytest.param(time, marks=pytest.mark.nightly) for time in range(3, 11))])
def test_what_did_not_change_passes_every_time(evaluate: Evaluate, time: int) -> None:
    """An unchanged agent passes twice out of two times, and at night ten out of ten."""
    done = evaluate()
    assert done.returncode == 0, (time, done.stdout + done.stderr)

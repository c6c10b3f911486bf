"""What makes the agent worse is blocked, and nothing else is."""

import subprocess
from pathlib import Path

import pytest

from evals.conftest import Evaluate

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
    """By the check that it fails, and by the cases that got worse, with what is wrong."""
    patch = Path(__file__).parent / "sabotages" / f"{sabotage}.patch"
    subprocess.run(["git", "apply", str(patch)], cwd=tree, check=True)
    done = evaluate()
    assert done.returncode == 1, done.stdout + done.stderr
    check, wrong = SABOTAGES[sabotage]
    assert any(line.startswith(f"FAIL {check}") for line in done.stdout.splitlines()), done.stdout
    report = (tree / "evals/report/report.md").read_text()
    assert "Evaluation: blocked" in report
    assert "### Regressed" in report
    assert wrong in report.partition("### Regressed")[2]


@pytest.mark.soak
@pytest.mark.parametrize("time", range(1, 11))
def test_what_did_not_change_passes_every_time(evaluate: Evaluate, time: int) -> None:
    """Ten times of ten."""
    done = evaluate()
    assert done.returncode == 0, (time, done.stdout + done.stderr)

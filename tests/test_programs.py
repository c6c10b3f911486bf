"""Tests on machines that lack a program."""

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.programs import as_root, program
from harness.prometheus import promtool


@pytest.mark.parametrize(("ci", "ending"), [("", pytest.skip.Exception), ("true", pytest.fail.Exception)])
@pytest.mark.parametrize(
    ("need", "message"),
    [
        (lambda: program("caddy"), "caddy is not installed: apt-get install caddy"),
        (lambda: promtool("--version"), "promtool is not installed: apt-get install prometheus"),
        (as_root, "needs Linux and root"),
    ],
    ids=["caddy", "prometheus", "root"],
)
def test_only_a_laptop_may_lack_it(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    need: Callable[[], object],
    message: str,
    ci: str,
    ending: type[BaseException],
) -> None:
    """The test is skipped on a laptop and fails in CI; both messages say what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("CI", ci)
    with pytest.raises(ending, match=message):
        need()

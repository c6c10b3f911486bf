"""Evaluations of a copy of the repository, which a test may change."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from conftest import REPOSITORY
from support_agent.local.process import Service

# The one offline model of all tests stands in for the one that the command would start: it remembers the questions.
_EVAL = """\
import sys
from contextlib import nullcontext
from types import SimpleNamespace
from support_agent.cli import embedded, main
url, secret = sys.argv[1:3]
embedded.start_model = lambda: nullcontext(SimpleNamespace(wait=lambda: url, secret=secret))
sys.argv[0:3] = ["support-agent"]
main.main()
"""

Evaluate = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what an evaluation depends on, without a report."""
    for name in ("src", "knowledge", "evals"):
        ignored = shutil.ignore_patterns("__pycache__", "report")
        shutil.copytree(REPOSITORY / name, tmp_path / "tree" / name, ignore=ignored)
    return tmp_path / "tree"


@pytest.fixture
def evaluate(tree: Path, offline_model: Service) -> Evaluate:
    """Run `support-agent eval` in the copy, with the offline model."""

    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", _EVAL, offline_model.url, offline_model.secret, "eval", *arguments],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree / "src"), **variables},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run

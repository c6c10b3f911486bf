"""Evaluations of a copy of the repository, which a test may change."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from conftest import REPOSITORY
from harness.evaluating import Evaluate, evaluation
from local.process import Service


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of what an evaluation depends on, without a report."""
    for name in ("api", "cli", "evals", "graph", "knowledge", "local"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, tmp_path / "tree" / name, ignore=ignored)
    return tmp_path / "tree"


@pytest.fixture
def evaluate(tree: Path, offline_model: Service) -> Evaluate:
    """Run `support-agent eval` in the copy, with the offline model of all tests: it remembers the questions."""
    ours = (offline_model.url, offline_model.secret)

    def run(*arguments: str, model: tuple[str, str] = ours, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            evaluation(*model, *arguments),
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree), **variables},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run

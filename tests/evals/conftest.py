"""Evaluations of a copy of the repository, or of a small project, that a test may change."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
import yaml

from conftest import REPOSITORY
from harness.eval_project import ANSWER, CASES, FOLLOW_UP, POLICY, Done, Run
from harness.evaluating import Evaluate, evaluation
from harness.scripted_model import ScriptedModel, tokens
from local.process import Service


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of everything that an evaluation depends on, without a report."""
    for name in ("api", "cli", "evals", "graph", "knowledge", "local"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(REPOSITORY / name, tmp_path / "tree" / name, ignore=ignored)
    return tmp_path / "tree"


@pytest.fixture
def evaluate(tree: Path, offline_model: Service) -> Evaluate:
    """Run `support-agent eval` in the copy, with the shared offline model, which caches embeddings."""
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


@pytest.fixture
def folder(articles: Path) -> Path:
    """A project with ten cases, a policy, and no baseline."""
    root = articles.parent
    others = shutil.ignore_patterns("__pycache__", "datasets", "baseline.json", "*.yaml")
    shutil.copytree(REPOSITORY / "evals", root / "evals", ignore=others)
    datasets = root / "evals" / "datasets"
    datasets.mkdir()
    (datasets / "refunds.yaml").write_text(yaml.safe_dump([*CASES, FOLLOW_UP]))
    (root / "evals" / "gate.yaml").write_text(yaml.safe_dump({"offline": POLICY, "live": POLICY}))
    return root


@pytest.fixture
def run(folder: Path, model: ScriptedModel, redis_url: str) -> Run:
    """Run the command in the project with the scripted model, which answers correctly."""
    model.script("answer", tokens(ANSWER))
    ours = {**os.environ, "PYTHONPATH": str(folder)}  # cases are read from beside the code

    async def run(
        *arguments: str,
        after: Callable[[], Awaitable[object]] | None = None,
        sent: signal.Signals = signal.SIGINT,
        **variables: str,
    ) -> Done:
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("support-agent"),
            "eval",
            *arguments,
            cwd=folder,
            env={**ours, "OPENAI_BASE_URL": model.url, "REDIS_URL": redis_url, **variables},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        if after:
            await after()
            process.send_signal(sent)
        said, error = await asyncio.wait_for(process.communicate(), 180)
        return Done(process.returncode, said.decode(), error.decode())

    return run

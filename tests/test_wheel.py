"""The wheel: what an environment needs that has no checkout."""

import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from conftest import REPOSITORY
from local.process import Program, Service, answers

pytestmark = pytest.mark.soak


def uv(*arguments: str | Path) -> None:
    done = subprocess.run(["uv", *arguments], cwd=REPOSITORY, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty environment, and in it the wheel with the packages of the lock."""
    folder = tmp_path_factory.mktemp("wheel")
    uv("build", "--quiet", "--wheel", "--out-dir", folder / "dist")
    uv("venv", "--quiet", "--python", sys.executable, folder / "environment")
    python = folder / "environment/bin/python"
    uv("pip", "install", "--quiet", "--python", python, "--no-deps", "--requirements", "requirements.lock")
    uv("pip", "install", "--quiet", "--python", python, "--no-deps", *(folder / "dist").glob("*.whl"))
    return folder / "environment"


@pytest.fixture
def variables(redis_url: str, offline_model: Service) -> dict[str, str]:
    """All that the environment has to say."""
    return {
        **os.environ,
        "REDIS_URL": redis_url,
        "OPENAI_BASE_URL": offline_model.url,
        "OPENAI_API_KEY": offline_model.secret,
        "SUPPORT_KNOWLEDGE": str(REPOSITORY / "knowledge"),
    }


def test_ask_and_serve_work_in_an_empty_folder(environment: Path, variables: dict[str, str], tmp_path: Path) -> None:
    """With the three settings, and nothing of the checkout but the articles."""
    command = str(environment / "bin/support-agent")
    empty = tmp_path / "empty"
    empty.mkdir()
    question = "I was charged twice, can I have my money back?"
    asked = subprocess.run(
        [command, "ask", question], cwd=empty, env=variables, capture_output=True, text=True, timeout=60, check=False
    )
    assert asked.returncode == 0, asked.stderr
    assert "duplicate-charge" in asked.stdout
    program = Program(
        name="The service",
        command=lambda _, port: ["env", f"--chdir={empty}", command, "serve", "--port", str(port)],
        check=answers,
        url="http://127.0.0.1:{port}",
        environment=variables,
    )
    with Service(program) as service:
        answer = httpx.post(f"{service.wait(60)}/ask", json={"question": question}, timeout=30).json()
        page = httpx.get(f"{service.wait(60)}/", timeout=30).text
        library = httpx.get(f"{service.wait(60)}/static/vendor/marked.esm.js", timeout=30)
    assert answer["category"] == "billing"
    assert "Fernway" in page
    assert library.status_code == 200
    assert list(empty.iterdir()) == []


def test_eval_works_where_its_packages_are(environment: Path, variables: dict[str, str], tmp_path: Path) -> None:
    """It reads its cases beside the code, and writes to the working directory alone."""
    groups = tmp_path / "evals.txt"
    uv("export", "--quiet", "--only-group", "evals", "--no-hashes", "--output-file", groups)
    uv("pip", "install", "--quiet", "--python", environment / "bin/python", "--requirements", groups)
    installed = next(environment.glob("lib/python*/site-packages/evals"))
    before = {file: file.stat().st_mtime_ns for file in installed.rglob("*.yaml")}
    empty = tmp_path / "empty"
    empty.mkdir()
    command = [environment / "bin/support-agent", "eval", "--suite", "commitments"]
    refused = subprocess.run(
        [*command, "--update-baseline"],
        cwd=empty,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 2
    assert "say with --baseline which file to write" in refused.stderr
    baseline = ["--baseline", str(empty / "baseline.json")]
    done = subprocess.run(
        [*command, "--update-baseline", *baseline],
        cwd=empty,
        env=variables,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode in (0, 1), done.stderr
    assert {file.name for file in (empty / "eval-report").iterdir()} >= {"report.md", "report.html", "junit.xml"}
    assert before
    assert {file: file.stat().st_mtime_ns for file in installed.rglob("*.yaml")} == before

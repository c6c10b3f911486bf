"""GitHub's workflows: valid, safe, and with no more rights than they need."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from conftest import REPOSITORY
from harness.planting import plant_in
from harness.programs import tool
from harness.runner import SCRIPTS
from harness.workflows import (
    ALL,
    CI,
    DEPLOY,
    MAIN_REPOSITORY,
    NIGHTLY,
    RELEASE,
    WORKFLOWS,
    every_job,
    jobs,
    steps,
    text,
)

ACTIONS = (
    r"actions/[\w/-]+|anchore/scan-action|aws-actions/configure-aws-credentials"
    r"|google-github-actions/(auth|get-gke-credentials)|sigstore/cosign-installer"
)


CHECKOUT = "actions/checkout@"


def triggers(name: str) -> set[str]:
    return set(yaml.safe_load(text(name))[True])  # YAML takes `on` for a truth value


# What zizmor and the schema say


@pytest.fixture
def workflows(tmp_path: Path) -> Path:
    """A copy of the workflows for planting mistakes."""
    return shutil.copytree(REPOSITORY / WORKFLOWS, tmp_path / WORKFLOWS)


def zizmor(folder: Path) -> subprocess.CompletedProcess[str]:
    return tool("zizmor", "--offline", "--no-progress", "--persona=regular", folder)


def schema(folder: Path) -> subprocess.CompletedProcess[str]:
    return tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *sorted(folder.glob("*.yml")))


def test_zizmor_finds_nothing() -> None:
    """The linter passes without any ignore comment."""
    found = zizmor(REPOSITORY / WORKFLOWS)
    assert found.returncode == 0, found.stdout
    assert not any("zizmor:" in text(name) for name in ALL)


@pytest.mark.parametrize(
    ("name", "right", "wrong", "rule"),
    [
        (CI, "@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1", "@v7", "unpinned-uses"),
        (CI, "uv run pyright", "echo ${{ github.event.pull_request.title }}", "template-injection"),
        (CI, "        with:\n          persist-credentials: false\n", "", "artipacked"),
        (CI, "  pull_request:\n", "  pull_request_target:\n", "dangerous-triggers"),
        (NIGHTLY, "contents: read", "contents: write", "excessive-permissions"),
        (
            DEPLOY,
            "      - run: .github/scripts/verify-image.sh",
            "      - run: echo ${{ github.ref_name }}",
            "template-injection",
        ),
    ],
)
def test_zizmor_finds_what_is_unsafe(workflows: Path, name: str, right: str, wrong: str, rule: str) -> None:
    """The linter finds an unpinned action, script injection, a persisted token and excessive permissions."""
    plant_in(workflows / name, right, wrong)
    found = zizmor(workflows)
    assert found.returncode > 10, found.stderr
    assert f"[{rule}]" in found.stdout


def test_the_schema_accepts_them() -> None:
    """The workflows follow GitHub's schema."""
    checked = schema(REPOSITORY / WORKFLOWS)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("right", "wrong"),
    [("runs-on:", "run-on:"), ("timeout-minutes: ", "timeout-minutes: soon "), ("steps:", "step:")],
)
def test_the_schema_refuses_bad_keys(workflows: Path, name: str, right: str, wrong: str) -> None:
    """An unknown key and a value that is no number are errors."""
    plant_in(workflows / name, right, wrong)
    checked = schema(workflows)
    assert checked.returncode == 1
    assert name in checked.stdout


# What they may do


@pytest.mark.parametrize("name", ALL)
def test_actions_are_pinned(name: str) -> None:
    """Actions are pinned to a full commit hash, with the version in a comment."""
    used = set(re.findall(r"uses:.*", text(name))) - {f"uses: $/{WORKFLOWS}/{CI}"}
    assert used
    assert not [use for use in used if not re.fullmatch(rf"uses: ({ACTIONS})@[0-9a-f]{{40}} # v\d+\.\d+\.\d+", use)]


def test_strangers_start_nothing_that_may_do_more_than_read() -> None:
    """Pull requests run with read-only rights, and cannot start the nightly or deployment jobs."""
    assert triggers(CI) == {"pull_request", "workflow_call"}
    assert triggers(NIGHTLY) == {"schedule", "workflow_dispatch"}
    assert triggers(DEPLOY) == {"push", "workflow_dispatch"}
    assert triggers(RELEASE) == {"push"}
    assert "secrets" not in text(CI)
    assert all(job["if"] == MAIN_REPOSITORY for job in jobs(NIGHTLY).values())


def test_only_the_comment_the_image_and_a_release_may_write() -> None:
    """All other jobs only read the repository; deployments use an OIDC token."""
    for name in ALL:
        assert yaml.safe_load(text(name))["permissions"] == {"contents": "read"}
    rights = {name: job["permissions"] for name, job in every_job() if "permissions" in job}
    comment = {"contents": "read", "pull-requests": "write"}
    cloud = {"contents": "read", "id-token": "write", "packages": "read"}
    assert rights == {
        **dict.fromkeys(("comment", "checks"), comment),
        "image": cloud | {"packages": "write"},
        "staging": cloud,
        "production": cloud | {"packages": "write"},
        "release": {"contents": "write", "packages": "write"},
    }


def test_the_comment_runs_nothing_of_the_pull_request() -> None:
    """The comment job runs the base branch's script, keeps the report apart, and skips forks."""
    job = jobs(CI)["comment"]
    [checkout] = steps(job, CHECKOUT)
    assert checkout["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"
    [download] = steps(job, "actions/download-artifact@")
    assert download["with"]["path"].startswith("${{ runner.temp }}/")
    assert [step["run"] for step in job["steps"] if "run" in step] == [f'{SCRIPTS}/comment.sh "$REPORT"']
    assert "github.event.pull_request.head.repo.full_name == github.repository" in job["if"]


def test_secrets_reach_one_step_each() -> None:
    """A secret of an environment reaches one step, after the installation; none is a cloud key."""
    used: dict[str, set[str]] = {}
    for name, job in every_job():
        secret = [step for step in job.get("steps", []) if "secrets." in json.dumps(step)]
        assert "secrets." not in json.dumps({key: value for key, value in job.items() if key != "steps"})
        if secret:
            assert job["environment"] == ("evals" if name in jobs(NIGHTLY) else name)
            [step] = secret
            used[name] = {key for key, value in step["env"].items() if value == f"${{{{ secrets.{key} }}}}"}
    assert used == {
        "live-evals": {"OPENAI_API_KEY", "LANGSMITH_API_KEY"},
        "feedback": {"REDIS_URL"},
        "staging": {"SMOKE_KEY"},
        "production": {"SMOKE_KEY"},
    }


def test_what_customers_wrote_is_not_uploaded() -> None:
    """The job that reads ratings uploads no artifact and writes no cache."""
    uses = [step["uses"] for step in jobs(NIGHTLY)["feedback"]["steps"] if "uses" in step]
    assert [use.partition("@")[0] for use in uses] == ["actions/checkout", "actions/setup-python"]


def test_every_job_ends_and_leaves_no_token() -> None:
    """Every job has a time-out, and its checkout persists no credentials."""
    for name, job in every_job():
        assert job.get("uses") or 0 < job["timeout-minutes"] <= 120, name
        assert all(step["with"]["persist-credentials"] is False for step in steps(job, CHECKOUT)), name


def test_a_newer_commit_stops_the_checks_of_a_pull_request() -> None:
    """A new commit cancels a pull request's checks, but not those of main."""
    assert yaml.safe_load(text(CI))["concurrency"] == {
        "group": "ci-${{ github.event.pull_request.number || github.sha }}",
        "cancel-in-progress": "${{ github.event_name == 'pull_request' }}",
    }


def test_every_python_is_tested() -> None:
    """CI tests every Python in CONTRIBUTING.md, the newest on ARM too, with the packages that some tests need."""
    job = jobs(CI)["tests"]
    [named] = re.findall(r"You need Python (.*?) and", (REPOSITORY / "CONTRIBUTING.md").read_text())
    assert job["strategy"]["matrix"]["python"] == re.split(r", | or ", named)
    assert job["env"]["UV_PYTHON"] == "${{ matrix.python }}"
    assert job["runs-on"] == "${{ matrix.machine }}"
    assert job["strategy"]["matrix"]["include"] == [{"python": "3.14", "machine": "ubuntu-24.04-arm"}]
    packages = f"{SCRIPTS}/install-packages.sh caddy nginx-light pgbouncer prometheus redis-tools"
    assert packages in [step.get("run") for step in job["steps"]]


def test_what_needs_load_is_tested_before_anything_is_deployed() -> None:
    """The soak tests run in CI with all the packages that they need."""
    runs = [step.get("run") for step in jobs(CI)["soak"]["steps"]]
    assert runs[-2:] == [
        f"{SCRIPTS}/install-packages.sh caddy nginx-light pgbouncer prometheus redis-tools",
        "uv run --group test pytest -m soak",
    ]
    assert f"{SCRIPTS}/servers.sh" in runs


def test_what_takes_long_is_tested_at_night() -> None:
    """The nightly workflow runs the big sizes, and the two scripts with all their tests."""
    steps = [step for name in ("big-sizes", "bare-debian") for step in jobs(NIGHTLY)[name]["steps"]]
    runs = [step.get("run", "").split(" #")[0] for step in steps]
    assert {
        f"{SCRIPTS}/servers.sh --whole",
        "uv run --group test pytest -m nightly",
        "uv run --group test pytest --cov --ignore tests/browser",
        "sudo .ci/bare-debian.sh --whole",
    } <= {*runs}


def test_what_needs_a_browser_is_tested_once() -> None:
    """The browser tests run in a job of their own, not once per Python version."""
    runs = {name: [step.get("run", "").split(" #")[0] for step in job["steps"]] for name, job in jobs(CI).items()}
    assert 'uv run --python "$UV_PYTHON" --group test pytest --ignore tests/browser' in runs["tests"]
    assert "uv run --group test pytest tests/browser" in runs["browser"]


def test_the_report_is_kept_whatever_it_says() -> None:
    """The report is uploaded after a failure too."""
    for job, report in (
        (jobs(CI)["evals"], "eval-report"),
        (jobs(NIGHTLY)["live-evals"], "eval-report"),
        (jobs(NIGHTLY)["bench"], "bench-report"),
    ):
        [upload] = steps(job, "actions/upload-artifact@")
        assert (upload["if"], upload["with"]["path"]) == ("${{ always() }}", report)


def test_the_benchmarks_are_compared_every_night() -> None:
    """The job measures everything and fails if a row got worse; it has no secret."""
    job = jobs(NIGHTLY)["bench"]
    assert "uv run --group bench python -m bench --check" in [step.get("run") for step in job["steps"]]
    assert "environment" not in job


def test_required_checks_need_every_other_job() -> None:
    """The required check needs every other job and runs whatever their result."""
    needed = jobs(CI)
    job = needed.pop("required-checks")
    assert set(job["needs"]) == needed.keys()
    assert job["if"] == "${{ always() }}"

"""The parsed workflows of GitHub."""

from collections.abc import Generator
from pathlib import Path
from typing import Any

import yaml

from conftest import REPOSITORY

WORKFLOWS = Path(".github/workflows")
CI, NIGHTLY, DEPLOY, RELEASE = "ci.yml", "nightly.yml", "deploy.yml", "release.yml"
ALL = (CI, NIGHTLY, DEPLOY, RELEASE)
MAIN_REPOSITORY = "${{ !github.event.repository.fork && github.ref == 'refs/heads/main' }}"

Job = dict[str, Any]


def text(name: str) -> str:
    return (REPOSITORY / WORKFLOWS / name).read_text()


def jobs(name: str) -> dict[str, Job]:
    return yaml.safe_load(text(name))["jobs"]


def every_job() -> Generator[tuple[str, Job]]:
    for name in ALL:
        yield from jobs(name).items()


def steps(job: Job, action: str) -> list[dict[str, Any]]:
    """Return the steps of a job that use an action."""
    return [step for step in job.get("steps", []) if step.get("uses", "").startswith(action)]

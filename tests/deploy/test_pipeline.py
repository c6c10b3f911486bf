"""The pipeline from main to production: no job deploys around the gate, and one image goes all the way."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest
import yaml

from conftest import REPOSITORY
from harness.pipeline import CLOUDS, TARGETS

WORKFLOWS = REPOSITORY / ".github/workflows"
GATE = "$/.github/workflows/ci.yml"

FOLDER = ".github/scripts/"

Job = dict[str, Any]


def workflows() -> dict[str, dict[str, Job]]:
    """Return the jobs of each workflow."""
    return {file.name: yaml.safe_load(file.read_text())["jobs"] for file in WORKFLOWS.glob("*.yml")}


def needs(job: Job) -> list[str]:
    """Return the jobs that must succeed before this one; none if it runs regardless of them."""
    if re.search(r"always\(\)|failure\(\)|cancelled\(\)", job.get("if", "")):
        return []
    needed = job.get("needs", [])
    return [needed] if isinstance(needed, str) else needed


def gated(jobs: dict[str, Job], name: str, through: Callable[[Job], bool]) -> bool:
    """Return whether a job runs only after one such job has succeeded."""
    return any(through(jobs[needed]) or gated(jobs, needed, through) for needed in needs(jobs[name]))


def unguarded(found: dict[str, dict[str, Job]]) -> set[str]:
    """Return the jobs that deploy without CI, or to production without staging's smoke test."""

    def is_gate(job: Job) -> bool:
        return job.get("uses") == GATE

    def is_staging(job: Job) -> bool:
        return job.get("environment") == "staging" and any("smoke.sh" in step.get("run", "") for step in job["steps"])

    ways: set[str] = set()
    for jobs in found.values():
        for name, job in jobs.items():
            deploys = any(f"{FOLDER}targets/" in step.get("run", "") for step in job.get("steps", []))
            builds = any(f"{FOLDER}build-image.sh" in step.get("run", "") for step in job.get("steps", []))
            if (deploys or builds) and not gated(jobs, name, is_gate):
                ways.add(name)
            if job.get("environment") == "production" and not gated(jobs, name, is_staging):
                ways.add(name)
            if deploys and job.get("environment") not in ("staging", "production"):
                ways.add(name)
    return ways


def test_no_path_reaches_production_around_the_gate() -> None:
    """Every job that builds or deploys needs CI with its evals, and production also needs staging."""
    found = workflows()
    assert unguarded(found) == set()
    checks = found["ci.yml"]
    assert "evals" in checks["required-checks"]["needs"]
    assert ".github/scripts/evals.sh" in [step.get("run") for step in checks["evals"]["steps"]]
    assert found["deploy.yml"]["production"]["environment"] == "production"


@pytest.mark.parametrize(
    ("job", "change", "ways"),
    [
        ("image", {"needs": []}, {"image", "staging", "production"}),
        ("image", {"if": "${{ !cancelled() }}"}, {"image", "staging", "production"}),
        ("production", {"needs": "image"}, {"production"}),
        ("production", {"if": "${{ always() }}"}, {"production"}),
        ("production", {"environment": "live"}, {"production"}),
        ("staging", {"needs": []}, {"staging"}),
        ("checks", {"uses": "$/.github/workflows/nightly.yml"}, {"image", "staging", "production"}),
    ],
)
def test_a_path_around_the_gate_is_found(job: str, change: Job, ways: set[str]) -> None:
    """A dropped need, an overriding condition, another environment and another gate are found."""
    found = workflows()
    found["deploy.yml"][job] |= change
    assert ways <= unguarded(found)


def test_one_image_goes_all_the_way() -> None:
    """One job builds it and the servers' image; the others use their digests and verify both before deploying."""
    jobs = workflows()["deploy.yml"]
    assert jobs["image"]["outputs"] == {
        "image": "${{ steps.build.outputs.image }}",
        "servers": "${{ steps.build-servers.outputs.image }}",
    }
    for name, last in {"staging": [], "production": ['mark-image.sh "$IMAGE" "$SERVERS"']}.items():
        steps = jobs[name]["steps"]
        assert [step["run"].removeprefix(FOLDER) for step in steps if "run" in step] == [
            'verify-image.sh "$IMAGE" "$SERVERS"',
            'targets/"$TARGET".sh deploy',
            "smoke.sh",
            'targets/"$TARGET".sh roll-back "$PREVIOUS"',
            *last,
        ]
        images = {step["env"]["IMAGE"] for step in steps if "IMAGE" in step.get("env", {})}
        assert images == {"${{ needs.image.outputs.image }}"}
        servers = [step["env"]["SERVERS"] for step in steps if "SERVERS" in step.get("env", {})]
        assert servers == ["${{ needs.image.outputs.servers }}"] * (2 + len(last))
        assert steps[-1 - len(last)]["if"] == "${{ (failure() || cancelled()) && steps.deploy.outputs.previous != '' }}"
    kinds = [step.get("run", step.get("uses", "")) for step in jobs["image"]["steps"]]
    in_order = ("build-image.sh", "anchore/scan-action@", "/sign-image.sh")
    assert [next(one for one in in_order if one in kind) for kind in kinds if any(one in kind for one in in_order)] == [
        each for each in in_order for _ in range(2)
    ]
    scanned = [step["with"]["image"] for step in jobs["image"]["steps"] if "scan-action@" in step.get("uses", "")]
    assert scanned == [*jobs["image"]["outputs"].values()]


def test_production_does_what_staging_did() -> None:
    """Production repeats staging's steps with its own name, and then marks the image."""
    jobs = workflows()["deploy.yml"]
    assert jobs["production"]["steps"].pop()["run"].startswith(f"{FOLDER}mark-image.sh ")
    staging, production = (json.dumps(jobs[name]["steps"]) for name in ("staging", "production"))
    assert production == staging.replace('"STAGE": "staging"', '"STAGE": "production"')


def test_whoever_starts_it_chooses_the_target() -> None:
    """A manual run chooses a cloud that has a script; only the repository's variable can choose `pull`."""
    workflow = yaml.safe_load((WORKFLOWS / "deploy.yml").read_text())
    inputs = workflow[True]["workflow_dispatch"]["inputs"]  # YAML takes `on` for a truth value
    assert inputs["target"]["options"] == CLOUDS
    assert sorted(file.stem for file in (REPOSITORY / FOLDER / "targets").iterdir()) == TARGETS
    assert workflow["env"]["TARGET"] == "${{ inputs.target || vars.TARGET || 'cloud-run' }}"
    assert workflow["jobs"]["production"]["if"] == "${{ github.event_name == 'push' || inputs.production }}"


def test_the_clouds_are_reached_without_a_key() -> None:
    """The clouds take GitHub's OIDC token, from main only; there is no cloud key."""
    for jobs in workflows().values():
        for job in jobs.values():
            for step in job.get("steps", []):
                if step.get("uses", "").startswith("google-github-actions/auth@"):
                    assert step["with"].keys() == {"workload_identity_provider", "service_account"}
                    assert job["permissions"]["id-token"] == "write"
                if step.get("uses", "").startswith("aws-actions/"):
                    assert step["with"].keys() == {"role-to-assume", "aws-region"}
                    assert job["permissions"]["id-token"] == "write"
    assert "github.ref == 'refs/heads/main'" in workflows()["deploy.yml"]["image"]["if"]
    secrets = set(re.findall(r"secrets\.(\w+)", (WORKFLOWS / "deploy.yml").read_text()))
    assert secrets == {"SMOKE_KEY"}, "the service's own"

"""From main to production: which jobs lead there, and what the scripts of their steps do."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import REPOSITORY
from harness.runner import Runner

WORKFLOWS = REPOSITORY / ".github/workflows"
GATE = "$/.github/workflows/ci.yml"
IMAGE = "europe-docker.pkg.dev/acme/support-agent/api"
DIGEST = f"sha256:{'ab' * 32}"
BUILT = f"{IMAGE}@{DIGEST}"
PLACE = {"PROJECT": "acme", "REGION": "europe-west1"}
COMMIT = {
    "GITHUB_SHA": "c0ffee",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "acme/agent",
    "GITHUB_REF_NAME": "v1.2.0",
}

Job = dict[str, Any]


def workflows() -> dict[str, dict[str, Job]]:
    """Return the jobs of each workflow."""
    return {file.name: yaml.safe_load(file.read_text())["jobs"] for file in WORKFLOWS.glob("*.yml")}


# The graph of jobs


def needs(job: Job) -> list[str]:
    """Return the jobs that have to succeed before this one; none where it runs whatever they did."""
    if re.search(r"always\(\)|failure\(\)|cancelled\(\)", job.get("if", "")):
        return []
    needed = job.get("needs", [])
    return [needed] if isinstance(needed, str) else needed


def gated(jobs: dict[str, Job], name: str, through: Callable[[Job], bool]) -> bool:
    """Return whether a job runs only after one of these has succeeded."""
    return any(through(jobs[needed]) or gated(jobs, needed, through) for needed in needs(jobs[name]))


def unguarded(found: dict[str, dict[str, Job]]) -> set[str]:
    """Return the jobs that reach the cloud without CI before them, or production without staging's smoke test."""

    def is_gate(job: Job) -> bool:
        return job.get("uses") == GATE

    def is_staging(job: Job) -> bool:
        return job.get("environment") == "staging" and any("smoke.sh" in step.get("run", "") for step in job["steps"])

    ways: set[str] = set()
    for jobs in found.values():
        for name, job in jobs.items():
            deploys = any("deploy.sh" in step.get("run", "") for step in job.get("steps", []))
            builds = any("build-image.sh" in step.get("run", "") for step in job.get("steps", []))
            if (deploys or builds) and not gated(jobs, name, is_gate):
                ways.add(name)
            if job.get("environment") == "production" and not gated(jobs, name, is_staging):
                ways.add(name)
            if deploys and job.get("environment") not in ("staging", "production"):
                ways.add(name)
    return ways


def test_no_path_reaches_production_around_the_gate() -> None:
    """Every job that builds or deploys needs CI, with its evals, and production needs staging as well."""
    found = workflows()
    assert unguarded(found) == set()
    checks = found["ci.yml"]
    assert "evals" in checks["required-checks"]["needs"]
    assert ".github/scripts/evals.sh" in [step.get("run") for step in checks["evals"]["steps"]]
    assert not [name for name, job in checks.items() if "continue-on-error" in json.dumps(job)]
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
    """A need that is dropped, a condition that overrides it, another environment, another gate."""
    found = workflows()
    found["deploy.yml"][job] |= change
    assert ways <= unguarded(found)


def test_one_image_goes_all_the_way() -> None:
    """It is built by one job, named by its digest everywhere else, and verified before it is deployed."""
    jobs = workflows()["deploy.yml"]
    assert jobs["image"]["outputs"] == {"image": "${{ steps.build.outputs.image }}"}
    for name in ("staging", "production"):
        runs = [Path(step["run"].split()[0]).name for step in jobs[name]["steps"] if "run" in step]
        assert runs == ["verify-image.sh", "deploy.sh", "smoke.sh", "roll-back.sh"]
        images = {step["env"]["IMAGE"] for step in jobs[name]["steps"] if "IMAGE" in step.get("env", {})}
        assert images == {"${{ needs.image.outputs.image }}"}
        assert jobs[name]["steps"][-1]["if"] == "${{ failure() && steps.deploy.outputs.previous != '' }}"
    kinds = [step.get("run", step.get("uses", "")) for step in jobs["image"]["steps"]]
    in_order = ("build-image.sh", "anchore/scan-action@", "/sign-image.sh")
    assert [next(one for one in in_order if one in kind) for kind in kinds if any(one in kind for one in in_order)] == [
        *in_order
    ]


def test_the_cloud_is_reached_without_a_key() -> None:
    """By GitHub's token, exchanged; and from main alone."""
    for jobs in workflows().values():
        for job in jobs.values():
            for step in job.get("steps", []):
                if step.get("uses", "").startswith("google-github-actions/auth@"):
                    assert step["with"].keys() == {"workload_identity_provider", "service_account"}
                    assert job["permissions"]["id-token"] == "write"
    assert "github.ref == 'refs/heads/main'" in workflows()["deploy.yml"]["image"]["if"]


# The scripts


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """A machine with the programs of GitHub's, which write down what they are asked."""
    machine = Runner(tmp_path)
    for name in ("gcloud", "cosign", "docker", "gh"):
        machine.recorder(name)
    return machine


LOGIN = ["gcloud", "auth", "configure-docker", "europe-docker.pkg.dev", "--quiet"]


def test_the_image_is_built_once_and_named_by_its_digest(runner: Runner) -> None:
    """It is pushed with an SBOM and its provenance, and says of which commit it is."""
    runner.recorder(
        "docker",
        f"if 'build' in given:\n"
        f"    metadata = json.dumps({{'containerimage.digest': {DIGEST!r}}})\n"
        f"    Path(given[given.index('--metadata-file') + 1]).write_text(metadata)\n"
        f"if 'imagetools' in given:\n    print('{{}}')\n",
    )
    done = runner.run("build-image.sh", IMAGE=IMAGE, **COMMIT)
    assert done.returncode == 0, done.stderr
    assert runner.outputs() == {"image": BUILT}
    login, _, build, sbom = runner.calls()
    assert login == LOGIN
    assert {"--push", "--sbom=true", "--provenance=mode=max", "REVISION=c0ffee", f"{IMAGE}:sha-c0ffee"} <= set(build)
    assert BUILT in sbom
    assert json.loads((runner.work / "sbom.spdx.json").read_text()) == {}


def test_only_a_digest_is_signed(runner: Runner) -> None:
    """With what it holds; a tag is refused."""
    assert runner.run("sign-image.sh", IMAGE=f"{IMAGE}:latest").returncode == 1
    assert runner.calls() == []
    assert runner.run("sign-image.sh", IMAGE=BUILT).returncode == 0
    assert runner.calls() == [
        ["cosign", "sign", "--yes", BUILT],
        ["cosign", "attest", "--yes", "--type", "spdxjson", "--predicate", "sbom.spdx.json", BUILT],
    ]


def test_only_what_main_signed_is_accepted(runner: Runner) -> None:
    """By this very workflow; what cosign refuses fails the step."""
    assert runner.run("verify-image.sh", IMAGE=BUILT, **COMMIT).returncode == 0
    login, verify = runner.calls()
    assert login == LOGIN
    identity = verify[verify.index("--certificate-identity") + 1]
    assert identity == "https://github.com/acme/agent/.github/workflows/deploy.yml@refs/heads/main"
    assert verify[-1] == BUILT
    runner.recorder("cosign", "sys.exit(1)")
    assert runner.run("verify-image.sh", IMAGE=BUILT, **COMMIT).returncode == 1


CLOUD_RUN = """\
if 'list' in given:
    print({existing!r})
elif 'describe' in given:
    print('https://agent.run.app' if 'value(status.url)' in given else 'support-agent-00041-abc')
elif 'replace' in given:
    Path('deployed.yaml').write_text(sys.stdin.read())
    sys.exit({status})
"""


def cloud_run(runner: Runner, *, existing: str = "support-agent", status: int = 0) -> int:
    """Deploy to a Cloud Run that has the service already, or not."""
    runner.recorder("gcloud", CLOUD_RUN.format(existing=existing, status=status))
    template = runner.work / "deploy/cloudrun/service.yaml"
    template.parent.mkdir(parents=True)
    template.write_text("image: ${IMAGE}\naccount: support-agent@${PROJECT}\nother: ${HOME}\n")
    return runner.run("deploy.sh", IMAGE=BUILT, **PLACE).returncode


def test_a_deployment_remembers_what_served_before(runner: Runner) -> None:
    """The image is deployed by its digest, where the service's file says, and the address is put out."""
    assert cloud_run(runner) == 0
    assert runner.outputs() == {"previous": "support-agent-00041-abc", "url": "https://agent.run.app"}
    deployed = (runner.work / "deployed.yaml").read_text()
    assert deployed == f"image: {BUILT}\naccount: support-agent@acme\nother: ${{HOME}}\n"
    for call in runner.calls():
        assert call[call.index("--project") + 1 : call.index("--project") + 4] == ["acme", "--region", "europe-west1"]


def test_the_first_deployment_has_nothing_before_it(runner: Runner) -> None:
    """So there is nothing to roll back to."""
    assert cloud_run(runner, existing="") == 0
    assert runner.outputs() == {"url": "https://agent.run.app"}


def test_a_deployment_that_fails_can_be_rolled_back(runner: Runner) -> None:
    """What served before is known although the step failed."""
    assert cloud_run(runner, status=1) == 1
    assert runner.outputs() == {"previous": "support-agent-00041-abc"}


@pytest.mark.parametrize("status", [0, 1])
def test_the_smoke_test_is_the_images_own(runner: Runner, status: int) -> None:
    """Its result is the step's, its lines are in the summary, and the key is in neither, nor left behind."""
    runner.recorder(
        "docker",
        "mounted = given[given.index('--volume') + 1].split(':')[0]\n"
        "assert Path(mounted).read_text() == 'sa-secret'\n"
        f"print('FAIL ask')\nsys.exit({status})\n",
    )
    done = runner.run("smoke.sh", IMAGE=BUILT, URL="https://agent.run.app", SMOKE_KEY="sa-secret")
    assert done.returncode == status, done.stderr
    [call] = runner.calls()
    assert call[-7:] == [
        *("--entrypoint", "python", BUILT, "deploy/smoke.py", "https://agent.run.app"),
        *("--key-file", "/key"),
    ]
    assert runner.summary.read_text() == "## Smoke test of https://agent.run.app\n    FAIL ask\n"
    assert "sa-secret" not in f"{done.stdout}{done.stderr}{call}"
    assert list(runner.work.iterdir()) == []


def test_a_roll_back_sends_everything_to_what_served_before(runner: Runner) -> None:
    """And says so."""
    done = runner.run("roll-back.sh", PREVIOUS="support-agent-00041-abc", **PLACE)
    assert done.returncode == 0
    [call] = runner.calls()
    assert call[:4] == ["gcloud", "run", "services", "update-traffic"]
    assert call[-2:] == ["--to-revisions", "support-agent-00041-abc=100"]
    assert done.stdout.startswith("::error::rolled back to support-agent-00041-abc")


CHANGES = "# Changelog\n\n## Unreleased\n\n- Next.\n\n## 1.2.0 - 2026-11-01\n\n- Now.\n\n## 1.1.0\n\n- Then.\n"


def release(runner: Runner, *, version: str = "1.2.0", changes: str = CHANGES) -> tuple[int, str]:
    """Release a commit that has this version and these changes."""
    runner.recorder("docker", f"if 'inspect' in given:\n    print({DIGEST!r})\n")
    runner.recorder("gh", "print(Path(given[given.index('--notes-file') + 1]).read_text())\n")
    (runner.work / "pyproject.toml").write_text(f'[project]\nversion = "{version}"\n')
    (runner.work / "CHANGELOG.md").write_text(changes)
    done = runner.run("release.sh", IMAGE=IMAGE, **COMMIT)
    return done.returncode, done.stdout


def test_a_release_names_the_image_of_its_commit(runner: Runner) -> None:
    """What was built of it is verified and gets the tag; the notes are the changelog's section."""
    status, said = release(runner)
    assert status == 0
    programs = [call[:4] for call in runner.calls()]
    assert ["docker", "buildx", "build"] not in [program[:3] for program in programs]
    inspect, verify, create, publish = [call for call in runner.calls() if call != LOGIN]
    assert f"{IMAGE}:sha-c0ffee" in inspect
    assert verify[:2] == ["cosign", "verify"]
    assert create[1:] == ["buildx", "imagetools", "create", "--tag", f"{IMAGE}:v1.2.0", BUILT]
    assert publish[:5] == ["gh", "release", "create", "v1.2.0", "--verify-tag"]
    assert said.strip() == "- Now."


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"version": "1.1.0"}, "pyproject.toml has another version than v1.2.0"),
        ({"changes": "## Unreleased\n\n- Next.\n"}, "CHANGELOG.md has no section 1.2.0"),
    ],
)
def test_a_release_that_is_not_prepared_is_refused(runner: Runner, wrong: dict[str, str], message: str) -> None:
    """Before anything is named or published."""
    status, said = release(runner, **wrong)
    assert (status, runner.calls()) == (1, [])
    assert said == f"::error::{message}\n"


def test_a_release_of_an_unknown_image_is_refused(runner: Runner) -> None:
    """A signature that is missing ends it before anything is published."""
    runner.recorder("cosign", "sys.exit(1)")
    assert release(runner)[0] == 1
    assert not [call for call in runner.calls() if call[0] == "gh" or "create" in call]

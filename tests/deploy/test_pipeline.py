"""From main to production: which jobs lead there, and what the scripts of their steps do."""

import json
import re
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import REPOSITORY
from harness.programs import installed
from harness.runner import Runner

WORKFLOWS = REPOSITORY / ".github/workflows"
GATE = "$/.github/workflows/ci.yml"
CLOUDS = ["cloud-run", "ecs", "kubernetes"]
TARGETS = [*CLOUDS, "pull"]
IMAGE = "ghcr.io/acme/agent"
DIGEST = f"sha256:{'ab' * 32}"
BUILT = f"{IMAGE}@{DIGEST}"
PLACE = {
    "PROJECT": "acme",
    "REGION": "europe-west1",
    "AWS_REGION": "eu-central-1",
    "URL": "https://support.acme.example",
}
COMMIT = {
    "GITHUB_SHA": "c0ffee",
    "GITHUB_SERVER_URL": "https://github.com",
    "GITHUB_REPOSITORY": "Acme/Agent",
    "GITHUB_ACTOR": "somebody",
    "GITHUB_TOKEN": "ghs-secret",
}

FOLDER = ".github/scripts/"

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
    """Every job that builds or deploys needs CI, with its evals, and production needs staging as well."""
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
    """A need that is dropped, a condition that overrides it, another environment, another gate."""
    found = workflows()
    found["deploy.yml"][job] |= change
    assert ways <= unguarded(found)


def test_one_image_goes_all_the_way() -> None:
    """It is built by one job, named by its digest everywhere else, and verified before it is deployed."""
    jobs = workflows()["deploy.yml"]
    assert jobs["image"]["outputs"] == {"image": "${{ steps.build.outputs.image }}"}
    for name, last in {"staging": [], "production": ["mark-image.sh"]}.items():
        steps = jobs[name]["steps"]
        assert [step["run"].removeprefix(FOLDER) for step in steps if "run" in step] == [
            "verify-image.sh",
            'targets/"$TARGET".sh deploy',
            "smoke.sh",
            'targets/"$TARGET".sh roll-back "$PREVIOUS"',
            *last,
        ]
        images = {step["env"]["IMAGE"] for step in steps if "IMAGE" in step.get("env", {})}
        assert images == {"${{ needs.image.outputs.image }}"}
        assert steps[-1 - len(last)]["if"] == "${{ (failure() || cancelled()) && steps.deploy.outputs.previous != '' }}"
    kinds = [step.get("run", step.get("uses", "")) for step in jobs["image"]["steps"]]
    in_order = ("build-image.sh", "anchore/scan-action@", "/sign-image.sh")
    assert [next(one for one in in_order if one in kind) for kind in kinds if any(one in kind for one in in_order)] == [
        *in_order
    ]


def test_production_does_what_staging_did() -> None:
    """Step by step, but for its name; what has passed is marked then."""
    jobs = workflows()["deploy.yml"]
    assert jobs["production"]["steps"].pop()["run"] == f"{FOLDER}mark-image.sh"
    staging, production = (json.dumps(jobs[name]["steps"]) for name in ("staging", "production"))
    assert production == staging.replace('"STAGE": "staging"', '"STAGE": "production"')


def test_whoever_starts_it_chooses_the_target() -> None:
    """A cloud that has a script; that nothing is tested, the repository's own setting alone can say."""
    workflow = yaml.safe_load((WORKFLOWS / "deploy.yml").read_text())
    inputs = workflow[True]["workflow_dispatch"]["inputs"]  # YAML takes `on` for a truth value
    assert inputs["target"]["options"] == CLOUDS
    assert sorted(file.stem for file in (REPOSITORY / FOLDER / "targets").iterdir()) == TARGETS
    assert workflow["env"]["TARGET"] == "${{ inputs.target || vars.TARGET || 'cloud-run' }}"
    assert workflow["jobs"]["production"]["if"] == "${{ github.event_name == 'push' || inputs.production }}"


def test_the_clouds_are_reached_without_a_key() -> None:
    """By GitHub's token, exchanged; and from main alone."""
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


# The scripts


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    """A machine with the programs of GitHub's, which write down what they are asked."""
    machine = Runner(tmp_path)
    for name in ("gcloud", "aws", "kubectl", "cosign", "gh"):
        machine.recorder(name)
    machine.recorder("docker", "if '--password-stdin' in given:\n    sys.stdin.read()\n")
    return machine


LOGIN = ["docker", "login", "ghcr.io", "--username", "somebody", "--password-stdin"]


def test_the_image_is_built_once_and_named_by_its_digest(runner: Runner) -> None:
    """It is pushed with an SBOM and its provenance, and says of which commit it is."""
    runner.recorder(
        "docker",
        f"if 'login' in given:\n    assert sys.stdin.read() == 'ghs-secret'\n"
        f"if 'build' in given:\n"
        f"    metadata = json.dumps({{'containerimage.digest': {DIGEST!r}}})\n"
        f"    Path(given[given.index('--metadata-file') + 1]).write_text(metadata)\n"
        f"if 'imagetools' in given:\n    print('{{}}')\n",
    )
    done = runner.run("build-image.sh", **COMMIT)
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
    assert identity == "https://github.com/Acme/Agent/.github/workflows/deploy.yml@refs/heads/main"
    assert verify[-1] == BUILT
    runner.recorder("cosign", "sys.exit(1)")
    assert runner.run("verify-image.sh", IMAGE=BUILT, **COMMIT).returncode == 1


# Each target: what it says when it is asked, and what runs there when `fails` is true of what is deployed.

CLOUD_RUN = """\
assert given[given.index('--project') + 1] == 'acme' if '--project' in given else 'configure-docker' in given
if 'list' in given:
    print('support-agent' if {existing} else '')
elif 'describe' in given:
    print('https://support.acme.example' if 'value(status.url)' in given else 'support-agent-00041-abc')
elif 'replace' in given:
    Path('deployed').write_text(sys.stdin.read())
    sys.exit({fails})
"""
ECS = """\
said = ' '.join(given)
running = Path('running')
if 'get-caller-identity' in said:
    print('123456789012')
elif 'get-login-password' in said:
    print('ecr-secret')
elif 'describe-services' in said and {existing}:
    print(running.read_text() if running.exists() else 'support-agent:41')
elif 'describe-task-definition' in said:
    print('arn:role')
elif 'describe-secret' in said:
    print('arn:secret')
elif 'register-task-definition' in said:
    Path('deployed').write_text(given[given.index('--cli-input-json') + 1])
    print('support-agent:42')
elif 'update-service' in said:
    asked = given[given.index('--task-definition') + 1]
    running.write_text('support-agent:41' if {fails} else asked)
"""
KUBERNETES = """\
import subprocess
if 'deployment' in given:
    print('41' if {existing} else '', end='')
elif 'ingress' in given:
    print('support.acme.example', end='')
elif 'apply' in given:
    rendered = subprocess.run([{kubectl!r}, 'kustomize', given[-1]], capture_output=True, check=True).stdout
    Path('deployed').write_bytes(rendered)
elif 'status' in given:
    sys.exit({fails})
"""
BEFORE = {"cloud-run": "support-agent-00041-abc", "ecs": "support-agent:41", "kubernetes": "41"}
COPIES = {
    "cloud-run": "europe-west1-docker.pkg.dev/acme/support-agent/api",
    "ecs": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/support-agent",
}


def do(runner: Runner, target: str, *action: str, existing: bool = True, fails: bool = False) -> int:
    """Deploy to a target that has the service already or not, or roll back."""
    runner.recorder("gcloud", CLOUD_RUN.format(existing=existing, fails=fails))
    runner.recorder("aws", ECS.format(existing=existing, fails=fails))
    runner.recorder("kubectl", KUBERNETES.format(existing=existing, fails=fails, kubectl=str(installed("kubectl"))))
    shutil.copytree(REPOSITORY / "deploy", runner.work / "deploy", dirs_exist_ok=True)
    return runner.run(f"targets/{target}.sh", *action, IMAGE=BUILT, STAGE="staging", **PLACE).returncode


@pytest.mark.parametrize("target", CLOUDS)
def test_a_deployment_remembers_what_served_before(runner: Runner, target: str) -> None:
    """The image is deployed by its digest, as the target's files say, and the address is put out."""
    assert do(runner, target, "deploy") == 0
    assert runner.outputs() == {"previous": BEFORE[target], "url": "https://support.acme.example"}
    deployed = (runner.work / "deployed").read_text()
    assert f"{COPIES.get(target, IMAGE)}@{DIGEST}" in deployed
    assert "${" not in deployed
    copies = [call for call in runner.calls() if call[:4] == ["docker", "buildx", "imagetools", "create"]]
    assert [call[4:] for call in copies] == (
        [["--tag", f"{COPIES[target]}:{DIGEST.removeprefix('sha256:')}", BUILT]] if target in COPIES else []
    )


def test_a_registry_that_gives_a_password_gets_it_by_no_command_line(runner: Runner) -> None:
    """Where each process of the machine could read it."""
    runner.recorder("docker", "if 'login' in given:\n    Path('password').write_text(sys.stdin.read())\n")
    assert do(runner, "ecs", "deploy") == 0
    assert (runner.work / "password").read_text() == "ecr-secret\n"
    assert not [call for call in runner.calls() if "ecr-secret" in str(call)]


@pytest.mark.parametrize("target", ["cloud-run", "kubernetes"])
def test_the_first_deployment_has_nothing_before_it(runner: Runner, target: str) -> None:
    """So there is nothing to roll back to."""
    assert do(runner, target, "deploy", existing=False) == 0
    assert runner.outputs() == {"url": "https://support.acme.example"}


def test_ecs_has_to_be_set_up_first(runner: Runner) -> None:
    """Its network and its balancer come from no release; nothing is changed."""
    assert do(runner, "ecs", "deploy", existing=False) == 1
    assert len(runner.calls()) == 1


@pytest.mark.parametrize("target", CLOUDS)
def test_a_deployment_that_fails_can_be_rolled_back(runner: Runner, target: str) -> None:
    """What served before is known although the step failed, as it does for ECS too, which goes back by itself."""
    assert do(runner, target, "deploy", fails=True) == 1
    assert runner.outputs() == {"previous": BEFORE[target]}


def test_what_pulls_by_itself_is_left_to_do_so(runner: Runner) -> None:
    """Nothing is called, there is no address to test, and nothing to go back to."""
    assert do(runner, "pull", "deploy") == 0
    assert (runner.calls(), runner.output.exists()) == ([], False)


@pytest.mark.parametrize("target", TARGETS)
def test_what_a_target_does_not_do_fails(runner: Runner, target: str) -> None:
    """A slip in the workflow is no deployment."""
    assert do(runner, target, "rollback", BEFORE.get(target, "")) == 2
    assert runner.calls() == []


ROLL_BACKS = {
    "cloud-run": [
        (
            "gcloud run services update-traffic support-agent --project acme --region europe-west1 "
            "--to-revisions support-agent-00041-abc=100"
        ),
    ],
    "ecs": [
        "aws ecs update-service --cluster support-agent --service support-agent --task-definition support-agent:41",
        "aws ecs wait services-stable --cluster support-agent --services support-agent",
        (
            "aws ecs describe-services --cluster support-agent --services support-agent --output text "
            "--query services[0].taskDefinition"
        ),
    ],
    "kubernetes": [
        "kubectl --namespace support-agent-staging rollout undo deployment/support-agent --to-revision 41",
        "kubectl --namespace support-agent-staging rollout status deployment/support-agent --timeout 10m",
    ],
}


@pytest.mark.parametrize("target", CLOUDS)
def test_a_roll_back_sends_everything_to_what_served_before(runner: Runner, target: str) -> None:
    """And waits until it does."""
    assert do(runner, target, "roll-back", BEFORE[target]) == 0
    assert [" ".join(call) for call in runner.calls()] == ROLL_BACKS[target]


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


CHANGES = "# Changelog\n\n## Unreleased\n\n- Next.\n\n## 1.2.0 - 2026-11-01\n\n- Now.\n\n## 1.1.0\n\n- Then.\n"


def release(
    runner: Runner,
    *,
    tag: str = "v1.2.0",
    version: str = "1.2.0",
    changes: str = CHANGES,
    deployed: bool = True,
    released: Sequence[str] = ("v1.1.0", "v1.3.0rc1"),
) -> tuple[int, str]:
    """Release a commit that has this version and these changes by this tag, after these releases."""
    runner.recorder("docker", f"if 'inspect' in given:\n    print({DIGEST!r})\n    sys.exit({int(not deployed)})\n")
    runner.recorder(
        "gh",
        f"if 'list' in given:\n    print(*{released!r}, sep='\\n')\n"
        "else:\n    print(Path(given[given.index('--notes-file') + 1]).read_text())\n",
    )
    (runner.work / "pyproject.toml").write_text(f'[project]\nversion = "{version}"\n')
    (runner.work / "CHANGELOG.md").write_text(changes)
    done = runner.run("release.sh", **COMMIT, GITHUB_REF_NAME=tag)
    return done.returncode, done.stdout


@pytest.mark.parametrize(
    ("version", "released", "stable", "kind"),
    [
        ("1.2.0", [], True, "--latest"),
        ("1.2.0", ["v1.1.0", "v1.3.0rc1"], True, "--latest"),
        ("1.10.0", ["v1.9.0"], True, "--latest"),
        ("1.2.1", ["v1.2.0", "v1.10.0"], False, "--latest=false"),
        ("1.2.0rc1", ["v1.1.0"], False, "--prerelease"),
        ("1.2.0-1", ["v1.1.0"], False, "--prerelease"),
        ("1.2.0RC1", ["v1.1.0"], False, "--prerelease"),
    ],
)
def test_a_release_names_the_image_of_its_commit(
    runner: Runner, version: str, released: list[str], stable: bool, kind: str
) -> None:
    """It is verified and gets the tag, and `stable` if that is the newest; the notes are the changelog's section."""
    changes = CHANGES.replace("1.2.0", version)
    status, said = release(runner, tag=f"v{version}", version=version, changes=changes, released=released)
    assert status == 0
    names = ["--tag", f"{IMAGE}:v{version}", *(["--tag", f"{IMAGE}:stable"] if stable else [])]
    programs = [call[:4] for call in runner.calls()]
    assert ["docker", "buildx", "build"] not in [program[:3] for program in programs]
    _, inspect, verify, create, publish = [call for call in runner.calls() if call != LOGIN]
    assert f"{IMAGE}:production-c0ffee" in inspect
    assert verify[:2] == ["cosign", "verify"]
    assert create[1:] == ["buildx", "imagetools", "create", *names, BUILT]
    assert publish[:5] == ["gh", "release", "create", f"v{version}", "--verify-tag"]
    assert publish[-1] == kind
    assert said.strip() == "- Now."


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"version": "1.1.0"}, "pyproject.toml has another version than v1.2.0"),
        ({"changes": "## Unreleased\n\n- Next.\n"}, "CHANGELOG.md has no section 1.2.0"),
        ({"changes": "## 1.2.0\n\n \n## 1.1.0\n\n- Then.\n"}, "CHANGELOG.md has no section 1.2.0"),
    ],
)
def test_a_release_that_is_not_prepared_is_refused(runner: Runner, wrong: dict[str, Any], message: str) -> None:
    """Before anything is named or published."""
    status, said = release(runner, **wrong)
    assert (status, runner.calls()) == (1, [])
    assert said == f"::error::{message}\n"


def test_what_is_released_is_not_released_again(runner: Runner) -> None:
    """A run that is repeated later would take `stable` back to what it was then."""
    status, said = release(runner, released=["v1.3.0", "v1.2.0"])
    assert (status, len(runner.calls())) == (1, 1)
    assert said == "::error::v1.2.0 is released already: what is mended gets a version of its own\n"


def test_a_release_of_an_unknown_image_is_refused(runner: Runner) -> None:
    """A signature that is missing ends it before anything is published."""
    runner.recorder("cosign", "sys.exit(1)")
    assert release(runner)[0] == 1
    assert not [call for call in runner.calls() if "create" in call]


def test_a_release_of_what_was_not_deployed_is_refused(runner: Runner) -> None:
    """Its smoke test may have failed, or nobody have approved of it; nothing is named or published."""
    status, said = release(runner, deployed=False)
    assert status == 1
    assert not [call for call in runner.calls() if "create" in call]
    assert said == "::error::No image of c0ffee has reached production: its smoke tests and its approval come first\n"


def test_what_has_reached_production_is_marked(runner: Runner) -> None:
    """By its digest, whatever the commit's tag has come to name."""
    runner.recorder("docker")
    assert runner.run("mark-image.sh", **COMMIT, IMAGE=BUILT).returncode == 0
    create = ["docker", "buildx", "imagetools", "create", "--tag", f"{IMAGE}:production-c0ffee", BUILT]
    assert runner.calls() == [LOGIN, create]

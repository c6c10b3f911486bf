"""The scripts that build, sign, deploy and roll back the image on each target."""

import json
import shutil

import pytest

from conftest import REPOSITORY
from harness.pipeline import BUILT, CLOUDS, COMMIT, DIGEST, IMAGE, LOGIN, PLACE, SERVERS, TARGETS
from harness.programs import installed
from harness.runner import Runner


@pytest.mark.parametrize(
    ("given", "suffix"), [(["Dockerfile"], ""), (["mcp_servers/Dockerfile", "-servers"], "-servers")]
)
def test_an_image_is_built_once_and_named_by_its_digest(runner: Runner, given: list[str], suffix: str) -> None:
    """The image is pushed with an SBOM, provenance and its commit, and the step outputs its digest."""
    runner.recorder(
        "docker",
        f"if 'login' in given:\n    assert sys.stdin.read() == 'ghs-secret'\n"
        f"if 'build' in given:\n"
        f"    metadata = json.dumps({{'containerimage.digest': {DIGEST!r}}})\n"
        f"    Path(given[given.index('--metadata-file') + 1]).write_text(metadata)\n"
        f"if 'imagetools' in given:\n    print('{{}}')\n",
    )
    done = runner.run("build-image.sh", *given, **COMMIT)
    assert done.returncode == 0, done.stderr
    built = f"{IMAGE}{suffix}@{DIGEST}"
    assert runner.outputs() == {"image": built}
    login, _, build, sbom = runner.calls()
    assert login == LOGIN
    named = f"{IMAGE}{suffix}:sha-c0ffee"
    assert {"--push", "--sbom=true", "--provenance=mode=max", "REVISION=c0ffee", named} <= set(build)
    assert build[build.index("--file") + 1] == given[0]
    assert built in sbom
    assert json.loads((runner.work / f"sbom{suffix}.spdx.json").read_text()) == {}


def test_only_a_digest_is_signed(runner: Runner) -> None:
    """The script signs and attests a digest, and refuses a tag."""
    assert runner.run("sign-image.sh", f"{IMAGE}:latest", "sbom.spdx.json").returncode == 1
    assert runner.calls() == []
    assert runner.run("sign-image.sh", BUILT, "sbom.spdx.json").returncode == 0
    assert runner.calls() == [
        ["cosign", "sign", "--yes", BUILT],
        ["cosign", "attest", "--yes", "--type", "spdxjson", "--predicate", "sbom.spdx.json", BUILT],
    ]


def test_only_what_main_signed_is_accepted(runner: Runner) -> None:
    """Only a signature of deploy.yml on main is accepted, of each image, and the step fails when cosign does."""
    assert runner.run("verify-image.sh", BUILT, SERVERS, **COMMIT).returncode == 0
    login, verify, verify_servers = runner.calls()
    assert login == LOGIN
    assert verify_servers == [*verify[:-1], SERVERS]
    identity = verify[verify.index("--certificate-identity") + 1]
    assert identity == "https://github.com/Acme/Agent/.github/workflows/deploy.yml@refs/heads/main"
    assert verify[-1] == BUILT
    for wrong in (BUILT, SERVERS):
        runner.recorder("cosign", f"sys.exit({wrong!r} in given)")
        assert runner.run("verify-image.sh", BUILT, SERVERS, **COMMIT).returncode == 1


# A program for each target: what it prints, and what it runs when the deployment `fails`.

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
BEFORE = {
    "cloud-run": "support-agent-00041-abc",
    "ecs": "support-agent:41",
    "kubernetes": "support-agent=41 support-agent-email=41 support-agent-calendar=41",
}
COPIES = {
    "cloud-run": "europe-west1-docker.pkg.dev/acme/support-agent/api",
    "ecs": "123456789012.dkr.ecr.eu-central-1.amazonaws.com/support-agent",
}


def do(runner: Runner, target: str, *action: str, existing: bool = True, fails: bool = False) -> int:
    """Run an action on a target that has the service already, or not; return the exit status."""
    runner.recorder("gcloud", CLOUD_RUN.format(existing=existing, fails=fails))
    runner.recorder("aws", ECS.format(existing=existing, fails=fails))
    runner.recorder("kubectl", KUBERNETES.format(existing=existing, fails=fails, kubectl=str(installed("kubectl"))))
    shutil.copytree(REPOSITORY / "deploy", runner.work / "deploy", dirs_exist_ok=True)
    return runner.run(
        f"targets/{target}.sh", *action, IMAGE=BUILT, SERVERS=SERVERS, STAGE="staging", **PLACE
    ).returncode


@pytest.mark.parametrize("target", CLOUDS)
def test_a_deployment_remembers_what_served_before(runner: Runner, target: str) -> None:
    """The digest is deployed with the target's own files, and the step outputs the old revision and the URL."""
    assert do(runner, target, "deploy") == 0
    assert runner.outputs() == {"previous": BEFORE[target], "url": "https://support.acme.example"}
    deployed = (runner.work / "deployed").read_text()
    assert f"{COPIES.get(target, IMAGE)}@{DIGEST}" in deployed
    assert deployed.count(SERVERS) == (2 if target == "kubernetes" else 0)
    assert "${" not in deployed
    copies = [call for call in runner.calls() if call[:4] == ["docker", "buildx", "imagetools", "create"]]
    assert [call[4:] for call in copies] == (
        [["--tag", f"{COPIES[target]}:{DIGEST.removeprefix('sha256:')}", BUILT]] if target in COPIES else []
    )


def test_a_registry_that_gives_a_password_gets_it_by_no_command_line(runner: Runner) -> None:
    """A registry password is piped to docker, since other processes can read its command line."""
    runner.recorder("docker", "if 'login' in given:\n    Path('password').write_text(sys.stdin.read())\n")
    assert do(runner, "ecs", "deploy") == 0
    assert (runner.work / "password").read_text() == "ecr-secret\n"
    assert not [call for call in runner.calls() if "ecr-secret" in str(call)]


@pytest.mark.parametrize("target", ["cloud-run", "kubernetes"])
def test_the_first_deployment_has_nothing_before_it(runner: Runner, target: str) -> None:
    """A first deployment outputs no revision to roll back to."""
    assert do(runner, target, "deploy", existing=False) == 0
    assert runner.outputs() == {"url": "https://support.acme.example"}


def test_ecs_has_to_be_set_up_first(runner: Runner) -> None:
    """Without an existing ECS service the script fails and changes nothing."""
    assert do(runner, "ecs", "deploy", existing=False) == 1
    assert len(runner.calls()) == 1


@pytest.mark.parametrize("target", CLOUDS)
def test_a_deployment_that_fails_can_be_rolled_back(runner: Runner, target: str) -> None:
    """The previous revision is an output of a failed step too, also on ECS, which rolls back by itself."""
    assert do(runner, target, "deploy", fails=True) == 1
    assert runner.outputs() == {"previous": BEFORE[target]}


def test_what_pulls_by_itself_is_left_to_do_so(runner: Runner) -> None:
    """The target `pull` calls nothing and outputs nothing."""
    assert do(runner, "pull", "deploy") == 0
    assert (runner.calls(), runner.output.exists()) == ([], False)


@pytest.mark.parametrize("target", TARGETS)
def test_what_a_target_does_not_do_fails(runner: Runner, target: str) -> None:
    """An unknown action exits with 2 and calls nothing."""
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
        *(
            f"kubectl --namespace support-agent-staging rollout undo deployment/{name} --to-revision 41"
            for name in ("support-agent", "support-agent-email", "support-agent-calendar")
        ),
        *(
            f"kubectl --namespace support-agent-staging rollout status deployment/{name} --timeout 10m"
            for name in ("support-agent", "support-agent-email", "support-agent-calendar")
        ),
    ],
}


@pytest.mark.parametrize("target", CLOUDS)
def test_a_roll_back_sends_everything_to_what_served_before(runner: Runner, target: str) -> None:
    """A rollback moves all traffic to the previous revision and waits until it serves."""
    assert do(runner, target, "roll-back", BEFORE[target]) == 0
    assert [" ".join(call) for call in runner.calls()] == ROLL_BACKS[target]


@pytest.mark.parametrize("status", [0, 1])
def test_the_smoke_test_is_the_images_own(runner: Runner, status: int) -> None:
    """The step ends with the smoke test's status, adds its lines to the summary, and leaves no key behind."""
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

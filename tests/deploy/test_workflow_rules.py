"""Rules for workflows that GitHub does not enforce, and for each rule a mistake that breaks it."""

import re
from typing import Any

import pytest
import yaml

from conftest import REPOSITORY
from harness.planting import plant
from harness.runner import SCRIPTS
from harness.workflows import ALL, CI, DEPLOY, MAIN_REPOSITORY, NIGHTLY, RELEASE, WORKFLOWS

Texts = dict[str, str]
"""The text of each file in .github, by its path."""

KEYS = {"name", "on", "permissions", "concurrency", "env", "jobs"}
JOB_KEYS = {
    *("name", "needs", "if", "environment", "runs-on", "timeout-minutes", "permissions", "outputs", "strategy", "env"),
    *("uses", "steps"),
}
STEP_KEYS = {"id", "name", "if", "uses", "with", "run", "env"}
SCRIPT = r'\.github/scripts/(targets/"\$TARGET"|[\w-]+)\.sh|sudo \.ci/bare-debian\.sh'
COMMAND = re.compile(rf'(uv run|uvx|{SCRIPT})( [\w./=-]+| "\$\w+")*')
CLOUD = re.compile(r"^(?!\s*#).*\b(aws|az|gcloud|helm|kubectl|modal|railway|render|terraform)\s", re.MULTILINE)
HANDED = re.compile(r"\b(curl|wget)\b|\|\s*(ba|da)?sh\b")
ALWAYS = "${{ always() }}"
CONDITIONS = {
    ("comment", ""): (
        "${{ !cancelled() && github.event_name == 'pull_request' "
        "&& github.event.pull_request.head.repo.full_name == github.repository "
        "&& (needs.evals.result == 'success' || needs.evals.result == 'failure') }}"
    ),
    ("required-checks", ""): ALWAYS,
    **{
        (name, ""): MAIN_REPOSITORY
        for name in ("image", "live-evals", "feedback", "audit", "bench", "big-sizes", "bare-debian")
    },
    ("production", ""): "${{ github.event_name == 'push' || inputs.production }}",
    ("release", ""): "${{ !github.event.repository.fork }}",
    **{(name, "actions/upload-artifact"): ALWAYS for name in ("evals", "live-evals", "bench")},
    ("live-evals", "actions/cache/restore"): "${{ !inputs.new_baseline }}",
    ("live-evals", "actions/cache/save"): "${{ steps.evals.outputs.baseline == 'new' }}",
    **{
        (name, what): condition
        for name in ("staging", "production")
        for what, condition in {
            "google-github-actions/auth": "${{ env.TARGET == 'cloud-run' || env.TARGET == 'kubernetes' }}",
            "google-github-actions/get-gke-credentials": "${{ env.TARGET == 'kubernetes' }}",
            "aws-actions/configure-aws-credentials": "${{ env.TARGET == 'ecs' }}",
            f"{SCRIPTS}/smoke.sh": "${{ env.TARGET != 'pull' }}",
            f'{SCRIPTS}/targets/"$TARGET".sh roll-back "$PREVIOUS"': (
                "${{ (failure() || cancelled()) && steps.deploy.outputs.previous != '' }}"
            ),
        }.items()
    },
}
"""The condition of each job or step that may be skipped; no others may."""

ENVIRONMENTS = {
    **dict.fromkeys(("live-evals", "feedback"), "evals"),
    **{name: name for name in ("staging", "production", "release")},
}
MACHINES = {"ubuntu-24.04", "ubuntu-24.04-arm"}
SCANS = [
    {"image": f"${{{{ steps.{step}.outputs.image }}}}", "severity-cutoff": "high", "only-fixed": True}
    | {"output-format": "table"}
    for step in ("build", "build-servers")
]


def machines(job: dict[str, Any]) -> list[str]:
    """Return the machines that a job runs on; none for one that calls another workflow."""
    if job.get("runs-on") != "${{ matrix.machine }}":
        return [job["runs-on"]] if "runs-on" in job else []
    matrix = job["strategy"]["matrix"]
    return [*matrix["machine"], *(each["machine"] for each in matrix["include"])]


def texts() -> Texts:
    folder = REPOSITORY / WORKFLOWS.parent
    return {str(file.relative_to(folder)): file.read_text() for file in folder.rglob("*") if file.is_file()}


def title(step: dict[str, Any]) -> str:
    """Return the action or the command of a step."""
    return step["uses"].partition("@")[0] if "uses" in step else step["run"]


def rules(files: Texts) -> dict[str, bool]:
    """Return whether workflows and scripts keep each rule."""
    scripts = {name: text for name, text in files.items() if name.startswith("scripts/")}
    others = [text for name, text in scripts.items() if not name.startswith("scripts/targets/")]
    known = {name: yaml.safe_load(files[f"workflows/{name}"].replace("\non:", '\n"on":')) for name in ALL}
    every = [(name, job) for workflow in known.values() for name, job in workflow["jobs"].items()]
    each = [(name, step) for name, job in every for step in job.get("steps", [])]
    ran = [step["run"] for _, step in each if "run" in step]
    conditions = {(name, ""): job["if"] for name, job in every if "if" in job}
    conditions |= {(name, title(step)): step["if"] for name, step in each if "if" in step}
    checkouts = [(name, step["with"]) for name, step in each if title(step) == "actions/checkout"]
    keys = [(workflow, KEYS) for workflow in known.values()]
    keys += [(job, JOB_KEYS) for _, job in every] + [(step, STEP_KEYS) for _, step in each]
    pushed = {name: workflow["on"]["push"] for name, workflow in known.items() if "push" in workflow["on"]}
    runs = {name: [step.get("run") for step in job.get("steps", [])] for name, job in every}
    build = scripts["scripts/build-image.sh"]
    [checks] = re.findall(r"^(uv run ruff .*)$", (REPOSITORY / "CONTRIBUTING.md").read_text(), re.MULTILINE)
    environments = {name: job["environment"] for name, job in every if "environment" in job}
    return {
        "there is no other workflow": files.keys() - scripts.keys() == {f"workflows/{name}" for name in ALL},
        "nothing goes on after a failure": all(thing.keys() <= allowed for thing, allowed in keys),
        "nothing else is left out": conditions == CONDITIONS,
        "only the comment is of another commit": [
            (name, given.get("ref")) for name, given in checkouts if given.keys() & {"ref", "repository"}
        ]
        == [("comment", "${{ github.event.pull_request.base.sha }}")],
        "the scan stops what it finds": [step["with"] for _, step in each if title(step) == "anchore/scan-action"]
        == SCANS,
        "only main is deployed, and only versions are released": pushed
        == {DEPLOY: {"branches": ["main"]}, RELEASE: {"tags": ["v*"]}},
        "what contributors check is checked": {*checks.split(" && ")} <= {*runs["lint"]},
        "the audit overlooks nothing": all(
            re.search(r"pip-audit.* --strict .*--require-hashes ", run)
            for run in runs["audit"]
            if "pip-audit" in str(run)
        ),
        "the image is built of what the Dockerfile names": " --pull " in build
        and re.findall(r'--build-arg "?(\w+)=', build) == ["VERSION", "REVISION", "SOURCE"],
        "the SBOM that is written is kept": [
            (step["with"]["path"], step["with"].get("if-no-files-found"))
            for name, step in each
            if (name, title(step)) == ("image", "actions/upload-artifact")
        ]
        == [
            (file.replace("${2:-}", suffix), "error")
            for file in re.findall(r'SBOM.*>"(\S+)"', build)
            for suffix in ("", "-servers")
        ],
        "only GitHub vouches for who signed": re.findall(
            r"--certificate-oidc-issuer (\S+)", scripts["scripts/verify-image.sh"]
        )
        == ["https://token.actions.githubusercontent.com"],
        "no deployment is broken off": all(
            known[name]["concurrency"]["cancel-in-progress"] is False for name in (DEPLOY, NIGHTLY, RELEASE)
        ),
        "environments guard what they should": environments == ENVIRONMENTS,
        "jobs run on GitHub's machines": {machine for _, job in every for machine in machines(job)} <= MACHINES,
        "steps are one command or a script": all(COMMAND.fullmatch(command) for command in ran),
        "only the targets' scripts know a cloud": not any(CLOUD.search(text) for text in [*others, *ran]),
        "scripts run nothing just fetched": not any(HANDED.search(text) for text in scripts.values()),
    }


def broken(files: Texts) -> set[str]:
    """Return the rules that workflows and scripts break."""
    return {rule for rule, kept in rules(files).items() if not kept}


def test_every_rule_is_kept() -> None:
    """The committed workflows and scripts keep every rule."""
    assert broken(texts()) == set()


SMOKE = "        run: .github/scripts/smoke.sh\n"
VERIFY = '      - run: .github/scripts/verify-image.sh "$IMAGE" "$SERVERS"\n'
GOES_ON = "nothing goes on after a failure"
STARTS = "only main is deployed, and only versions are released"
BUILT = "the image is built of what the Dockerfile names"
KEPT = "the SBOM that is written is kept"
BUILD, VERIFIED = "scripts/build-image.sh", "scripts/verify-image.sh"

MISTAKES = [
    (DEPLOY, SMOKE, f"{SMOKE}        continue-on-error: true\n", GOES_ON),
    (DEPLOY, "    name: Production\n", "    name: Production\n    continue-on-error: true\n", GOES_ON),
    (DEPLOY, SMOKE, f"{SMOKE}        shell: sh -c 'true'\n", GOES_ON),
    (DEPLOY, "env:\n", "defaults: {run: {shell: 'true {0}'}}\nenv:\n", GOES_ON),
    (CI, "evals.sh #", "evals.sh\n        if: github.event_name != 'push' #", "nothing else is left out"),
    (DEPLOY, VERIFY, f"{VERIFY}        if: inputs.production\n", "nothing else is left out"),
    (DEPLOY, "env.TARGET != 'pull'", "env.TARGET == 'ecs'", "nothing else is left out"),
    (RELEASE, "${{ !github.event.repository.fork }}", "always()", "nothing else is left out"),
    (DEPLOY, "severity-cutoff", "fail-build: false\n          severity-cutoff", "the scan stops what it finds"),
    (DEPLOY, "severity-cutoff: high", "severity-cutoff: critical", "the scan stops what it finds"),
    (
        DEPLOY,
        "persist-credentials: false",
        "persist-credentials: false\n          ref: hotfix",
        "only the comment is of another commit",
    ),
    (DEPLOY, "cancel-in-progress: false", "cancel-in-progress: true", "no deployment is broken off"),
    (RELEASE, "    environment: release\n", "", "environments guard what they should"),
    (DEPLOY, "runs-on: ubuntu-24.04", "runs-on: self-hosted", "jobs run on GitHub's machines"),
    (CI, "machine: [ubuntu-24.04]", "machine: [self-hosted]", "jobs run on GitHub's machines"),
    (CI, "machine: ubuntu-24.04-arm", "machine: self-hosted", "jobs run on GitHub's machines"),
    (DEPLOY, "    branches: [main]\n", "    branches: ['**']\n", STARTS),
    (DEPLOY, "    branches: [main]\n", "    branches: [main]\n    tags: ['v*']\n", STARTS),
    (RELEASE, '["v*"]', '["*"]', STARTS),
    *(
        (CI, f"      - run: uv run {check}\n", "", "what contributors check is checked")
        for check in ("ruff check .", "ruff format --check .", "pyright", "lint-imports")
    ),
    (CI, f"      - run: {SCRIPTS}/prose.sh # the runner's image has node\n", "", "what contributors check is checked"),
    (NIGHTLY, "--strict ", "", "the audit overlooks nothing"),
    (BUILD, "--push --pull ", "--push ", BUILT),
    (BUILD, "    --build-arg", "    --build-arg BASE=python:3.12-alpine --build-arg", BUILT),
    (BUILD, '>"sbom', '>"bom', KEPT),
    (DEPLOY, "path: sbom.spdx.json", "path: sbom.json", KEPT),
    (DEPLOY, "path: sbom-servers.spdx.json", "path: sbom.json", KEPT),
    (DEPLOY, "          if-no-files-found: error\n", "", KEPT),
    (VERIFIED, "token.actions.githubusercontent.com", "gitlab.com", "only GitHub vouches for who signed"),
    (CI, "uv run pyright", "uv run pyright || true", "steps are one command or a script"),
    (CI, "uv run pyright", "uv run modal deploy deploy/modal_app.py", "only the targets' scripts know a cloud"),
]


@pytest.mark.parametrize(("file", "right", "wrong", "rule"), MISTAKES)
def test_a_broken_rule_is_named(file: str, right: str, wrong: str, rule: str) -> None:
    """An ignored failure, a skipped check, another commit and an unprotected environment are found."""
    name = file if file.startswith("scripts/") else f"workflows/{file}"
    assert rule in broken(texts() | {name: plant(texts()[name], right, wrong)})


ADDED = [
    ("workflows/hotfix.yml", "name: Hotfix\n", "there is no other workflow"),
    ("actions/deploy/action.yml", "name: Deploy\n", "there is no other workflow"),
    ("scripts/smoke.sh", "gcloud run services update support-agent\n", "only the targets' scripts know a cloud"),
    ("scripts/install.sh", "curl -LsSf https://astral.sh/uv/install.sh | sh\n", "scripts run nothing just fetched"),
]


@pytest.mark.parametrize(("name", "added", "rule"), ADDED)
def test_a_file_that_breaks_a_rule_is_named(name: str, added: str, rule: str) -> None:
    """A second way to deploy and an unpinned download are found."""
    assert rule in broken(texts() | {name: texts().get(name, "") + added})


def test_every_rule_can_be_broken() -> None:
    """Every rule has at least one mistake that breaks it."""
    assert rules(texts()).keys() == {rule for *_, rule in (*MISTAKES, *ADDED)}

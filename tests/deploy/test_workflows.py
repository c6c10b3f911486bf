"""GitHub's workflows: what they may do, and what the scripts of their steps do."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import REPOSITORY
from evals.report import MARK
from harness.planting import plant, plant_in
from harness.programs import tool
from harness.runner import Runner

WORKFLOWS = Path(".github/workflows")
SCRIPTS = Path(".github/scripts")
CI, NIGHTLY, DEPLOY, RELEASE = "ci.yml", "nightly.yml", "deploy.yml", "release.yml"
ALL = (CI, NIGHTLY, DEPLOY, RELEASE)
ACTIONS = (
    r"actions/[\w/-]+|anchore/scan-action|aws-actions/configure-aws-credentials"
    r"|google-github-actions/(auth|get-gke-credentials)|sigstore/cosign-installer"
)
CHECKOUT = "actions/checkout@"
FOLDER = f"{SCRIPTS}/"
MAIN_REPOSITORY = "${{ !github.event.repository.fork && github.ref == 'refs/heads/main' }}"
REPORT = f"{MARK}\n\n## Evaluation: passed\n"

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


def commands() -> list[str]:
    return [step["run"] for _, job in every_job() for step in job.get("steps", []) if "run" in step]


def triggers(name: str) -> set[str]:
    return set(yaml.safe_load(text(name))[True])  # YAML takes `on` for a truth value


# What zizmor and the schema say


@pytest.fixture
def workflows(tmp_path: Path) -> Path:
    """A copy, to plant mistakes in."""
    return shutil.copytree(REPOSITORY / WORKFLOWS, tmp_path / WORKFLOWS)


def zizmor(folder: Path) -> subprocess.CompletedProcess[str]:
    return tool("zizmor", "--offline", "--no-progress", "--persona=regular", folder)


def schema(folder: Path) -> subprocess.CompletedProcess[str]:
    return tool("check-jsonschema", "--builtin-schema", "vendor.github-workflows", *sorted(folder.glob("*.yml")))


def test_zizmor_finds_nothing() -> None:
    """It has nothing to say against them, and is not told to be silent."""
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
    """A tag for a pin, text of a stranger in a shell, a token left on the disk, too many rights."""
    plant_in(workflows / name, right, wrong)
    found = zizmor(workflows)
    assert found.returncode > 10, found.stderr
    assert f"[{rule}]" in found.stdout


def test_the_schema_accepts_them() -> None:
    """GitHub would read them as they are meant."""
    checked = schema(REPOSITORY / WORKFLOWS)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize(
    ("right", "wrong"),
    [("runs-on:", "run-on:"), ("timeout-minutes: ", "timeout-minutes: soon "), ("steps:", "step:")],
)
def test_the_schema_refuses_bad_keys(workflows: Path, name: str, right: str, wrong: str) -> None:
    """A key that is none, a number that is none."""
    plant_in(workflows / name, right, wrong)
    checked = schema(workflows)
    assert checked.returncode == 1
    assert name in checked.stdout


# What they may do


@pytest.mark.parametrize("name", ALL)
def test_actions_are_pinned(name: str) -> None:
    """By a whole commit, with the version for whoever reads it."""
    used = set(re.findall(r"uses:.*", text(name))) - {f"uses: $/{WORKFLOWS}/{CI}"}
    assert used
    assert not [use for use in used if not re.fullmatch(rf"uses: ({ACTIONS})@[0-9a-f]{{40}} # v\d+\.\d+\.\d+", use)]


def test_strangers_start_nothing_that_may_do_more_than_read() -> None:
    """A pull request runs with its own rights, and the night's work starts from no pull request."""
    assert triggers(CI) == {"pull_request", "workflow_call"}
    assert triggers(NIGHTLY) == {"schedule", "workflow_dispatch"}
    assert triggers(DEPLOY) == {"push", "workflow_dispatch"}
    assert triggers(RELEASE) == {"push"}
    assert "secrets" not in text(CI)
    assert all(job["if"] == MAIN_REPOSITORY for job in jobs(NIGHTLY).values())


def test_only_the_comment_the_image_and_a_release_may_write() -> None:
    """All else reads the repository; what deploys exchanges GitHub's token for the cloud's."""
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
    """Its script is the base branch's, and the report lies where no script is; no fork gets as far."""
    job = jobs(CI)["comment"]
    [checkout] = steps(job, CHECKOUT)
    assert checkout["with"]["ref"] == "${{ github.event.pull_request.base.sha }}"
    [download] = steps(job, "actions/download-artifact@")
    assert download["with"]["path"].startswith("${{ runner.temp }}/")
    assert [step["run"] for step in job["steps"] if "run" in step] == [f'{SCRIPTS}/comment.sh "$REPORT"']
    assert "github.event.pull_request.head.repo.full_name == github.repository" in job["if"]


def test_secrets_reach_one_step_each() -> None:
    """Of the environments that they belong to, after all that is installed; none is a key of the cloud."""
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
    """The job that reads ratings keeps no artifact and no cache."""
    uses = [step["uses"] for step in jobs(NIGHTLY)["feedback"]["steps"] if "uses" in step]
    assert [use.partition("@")[0] for use in uses] == ["actions/checkout", "actions/setup-python"]


def test_every_job_ends_and_leaves_no_token() -> None:
    """It has a time limit, and its checkout keeps no credentials."""
    for name, job in every_job():
        assert job.get("uses") or 0 < job["timeout-minutes"] <= 120, name
        assert all(step["with"]["persist-credentials"] is False for step in steps(job, CHECKOUT)), name


def test_a_newer_commit_stops_the_checks_of_a_pull_request() -> None:
    """Those of main go on."""
    assert yaml.safe_load(text(CI))["concurrency"] == {
        "group": "ci-${{ github.event.pull_request.number || github.sha }}",
        "cancel-in-progress": "${{ github.event_name == 'pull_request' }}",
    }


def test_every_python_is_tested() -> None:
    """All that CONTRIBUTING.md names, and the packages that some tests are skipped without."""
    job = jobs(CI)["tests"]
    [named] = re.findall(r"You need Python (.*?) and", (REPOSITORY / "CONTRIBUTING.md").read_text())
    assert job["strategy"]["matrix"]["python"] == re.split(r", | or ", named)
    assert job["env"]["UV_PYTHON"] == "${{ matrix.python }}"
    assert f"{SCRIPTS}/install-packages.sh caddy prometheus redis-tools" in [step.get("run") for step in job["steps"]]


def test_what_needs_load_is_tested_before_anything_is_deployed() -> None:
    """All of it, with the packages that it would be skipped without."""
    runs = [step.get("run") for step in jobs(CI)["soak"]["steps"]]
    assert runs[-2:] == [f"{SCRIPTS}/install-packages.sh caddy prometheus redis-tools", "uv run pytest -m soak"]


def test_what_needs_a_browser_is_tested_once() -> None:
    """In a job of its own, and not again on each Python."""
    runs = {name: [step.get("run", "").split(" #")[0] for step in job["steps"]] for name, job in jobs(CI).items()}
    assert 'uv run --python "$UV_PYTHON" pytest --ignore tests/browser' in runs["tests"]
    assert "uv run pytest tests/browser" in runs["browser"]


def test_the_report_is_kept_whatever_it_says() -> None:
    """The artifact is uploaded after a failure too."""
    for job in (jobs(CI)["evals"], jobs(NIGHTLY)["live-evals"]):
        [upload] = steps(job, "actions/upload-artifact@")
        assert (upload["if"], upload["with"]["path"]) == ("${{ always() }}", "eval-report")


def test_required_checks_need_every_other_job() -> None:
    """And run however those ended."""
    needed = jobs(CI)
    job = needed.pop("required-checks")
    assert set(job["needs"]) == needed.keys()
    assert job["if"] == "${{ always() }}"


# The rules

Texts = dict[str, str]
"""Each file of .github, by its path there."""

KEYS = {"name", "on", "permissions", "concurrency", "env", "jobs"}
JOB_KEYS = {
    *("name", "needs", "if", "environment", "runs-on", "timeout-minutes", "permissions", "outputs", "strategy", "env"),
    *("uses", "steps"),
}
STEP_KEYS = {"id", "name", "if", "uses", "with", "run", "env"}
COMMAND = re.compile(r'(uv run|uvx|\.github/scripts/(targets/"\$TARGET"|[\w-]+)\.sh)( [\w./=-]+| "\$\w+")*')
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
    **{(name, ""): MAIN_REPOSITORY for name in ("image", "live-evals", "feedback", "audit")},
    ("production", ""): "${{ github.event_name == 'push' || inputs.production }}",
    ("release", ""): "${{ !github.event.repository.fork }}",
    **{(name, "actions/upload-artifact"): ALWAYS for name in ("evals", "live-evals")},
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
"""When a job, or one of its steps, is left out; all others never are."""

ENVIRONMENTS = {
    **dict.fromkeys(("live-evals", "feedback"), "evals"),
    **{name: name for name in ("staging", "production", "release")},
}
MACHINE = "ubuntu-24.04"
SCAN = {
    "image": "${{ steps.build.outputs.image }}",
    "severity-cutoff": "high",
    "only-fixed": True,
    "output-format": "table",
}


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
        == [SCAN],
        "only main is deployed, and only versions are released": pushed
        == {DEPLOY: {"branches": ["main"]}, RELEASE: {"tags": ["v*"]}},
        "what contributors check is checked": {*checks.split(" && ")} <= {*runs["lint"]},
        "the audit overlooks nothing": bool(re.search(r"pip-audit.* --strict .*--require-hashes ", str(runs["audit"]))),
        "the image is built of what the Dockerfile names": " --pull " in build
        and re.findall(r'--build-arg "?(\w+)=', build) == ["VERSION", "REVISION", "SOURCE"],
        "the SBOM that is written is kept": [
            (step["with"]["path"], step["with"].get("if-no-files-found"))
            for name, step in each
            if (name, title(step)) == ("image", "actions/upload-artifact")
        ]
        == [(file, "error") for file in re.findall(r"SBOM.*>(\S+)", build)],
        "only GitHub vouches for who signed": re.findall(
            r"--certificate-oidc-issuer (\S+)", scripts["scripts/verify-image.sh"]
        )
        == ["https://token.actions.githubusercontent.com"],
        "no deployment is broken off": all(
            known[name]["concurrency"]["cancel-in-progress"] is False for name in (DEPLOY, NIGHTLY, RELEASE)
        ),
        "environments guard what they should": environments == ENVIRONMENTS,
        "jobs run on GitHub's machines": {job.get("runs-on", MACHINE) for _, job in every} == {MACHINE},
        "steps are one command or a script": all(COMMAND.fullmatch(command) for command in ran),
        "only the targets' scripts know a cloud": not any(CLOUD.search(text) for text in [*others, *ran]),
        "scripts run nothing just fetched": not any(HANDED.search(text) for text in scripts.values()),
    }


def broken(files: Texts) -> set[str]:
    """Return the rules that workflows and scripts break."""
    return {rule for rule, kept in rules(files).items() if not kept}


def test_every_rule_is_kept() -> None:
    """Whoever reads a workflow can run its steps, and sees what may leave one out."""
    assert broken(texts()) == set()


SMOKE = "        run: .github/scripts/smoke.sh\n"
VERIFY = "      - run: .github/scripts/verify-image.sh\n"
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
    (DEPLOY, "    branches: [main]\n", "    branches: ['**']\n", STARTS),
    (DEPLOY, "    branches: [main]\n", "    branches: [main]\n    tags: ['v*']\n", STARTS),
    (RELEASE, '["v*"]', '["*"]', STARTS),
    *(
        (CI, f"      - run: uv run {check}\n", "", "what contributors check is checked")
        for check in ("ruff check .", "ruff format --check .", "pyright", "lint-imports")
    ),
    (NIGHTLY, "--strict ", "", "the audit overlooks nothing"),
    (BUILD, "--push --pull ", "--push ", BUILT),
    (BUILD, "    --build-arg", "    --build-arg BASE=python:3.12-alpine --build-arg", BUILT),
    (BUILD, ">sbom.spdx.json", ">sbom.json", KEPT),
    (DEPLOY, "path: sbom.spdx.json", "path: sbom.json", KEPT),
    (DEPLOY, "          if-no-files-found: error\n", "", KEPT),
    (VERIFIED, "token.actions.githubusercontent.com", "gitlab.com", "only GitHub vouches for who signed"),
    (CI, "uv run pyright", "uv run pyright || true", "steps are one command or a script"),
    (CI, "uv run pyright", "uv run modal deploy deploy/modal_app.py", "only the targets' scripts know a cloud"),
]


@pytest.mark.parametrize(("file", "right", "wrong", "rule"), MISTAKES)
def test_a_broken_rule_is_named(file: str, right: str, wrong: str, rule: str) -> None:
    """A failure that is overlooked, a check that is left out, another commit, an environment that guards nothing."""
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
    """A way to the cloud beside the pipeline, a program that nobody has pinned."""
    assert rule in broken(texts() | {name: texts().get(name, "") + added})


def test_every_rule_can_be_broken() -> None:
    """By one of these mistakes."""
    assert rules(texts()).keys() == {rule for *_, rule in (*MISTAKES, *ADDED)}


# The scripts


def test_scripts_are_used_and_stop_at_errors() -> None:
    """Each can be started, is safe bash, and is called by a step or another script."""
    folder = REPOSITORY / SCRIPTS
    scripts = {str(script.relative_to(folder)): script for script in folder.rglob("*.sh")}
    targets = yaml.safe_load(text(DEPLOY))[True]["workflow_dispatch"]["inputs"]["target"]["options"]
    called = {
        command.split()[0].removeprefix(FOLDER).replace('"$TARGET"', target)
        for command in commands()
        if command.startswith(FOLDER)
        for target in (*targets, "pull")
    }
    assert called <= scripts.keys()
    for name, script in scripts.items():
        lines = script.read_text().splitlines()
        assert os.access(script, os.X_OK), name
        assert lines[0] == "#!/usr/bin/env bash", name
        assert "set -euo pipefail" in lines, name
        others = "".join(other.read_text() for other in scripts.values() if other != script)
        assert name in called or re.search(rf'"\$\(dirname "\$0"\)(/\.\.)?/{name}"', others), name


@pytest.fixture
def runner(tmp_path: Path) -> Runner:
    return Runner(tmp_path)


class GitHub:
    """A `gh` that answers from a file, and writes down what it was asked and each comment's text."""

    def __init__(self, runner: Runner) -> None:
        self.runner = runner
        self.answer = runner.work / "comments.json"
        self.log = runner.work / "calls"
        self.report = runner.work / "report.md"
        self.log.touch()
        runner.program(
            "gh",
            f"bodies = [Path(one[6:]).read_text() for one in given if one.startswith('body=@')]\n"
            f"with Path({str(self.log)!r}).open('a') as log:\n"
            f"    print(json.dumps([given, *bodies]), file=log)\n"
            f"if not bodies:\n"
            f"    print(Path({str(self.answer)!r}).read_text())\n",
        )

    def comment(self, report: str, *pages: list[dict[str, Any]]) -> subprocess.CompletedProcess[str]:
        """Comment with a report on a pull request that has these pages of comments."""
        self.report.write_text(report)
        self.answer.write_text(json.dumps(pages))
        return self.again()

    def again(self) -> subprocess.CompletedProcess[str]:
        """Comment with what there is now."""
        return self.runner.run("comment.sh", self.report, REPOSITORY="acme/agent", PULL_REQUEST="7")

    def calls(self) -> list[list[Any]]:
        """Return the arguments of each call, and what it wrote."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def written(self) -> tuple[str, str, str]:
        """Return method, address and text of the one comment written."""
        [[asked], [given, body]] = self.calls()
        assert asked == ["api", "--paginate", "--slurp", "repos/acme/agent/issues/7/comments?per_page=100"]
        method = given[given.index("--method") + 1]
        [address] = [one for one in given if one.startswith("repos/")]
        return method, address, body


@pytest.fixture
def github(runner: Runner) -> GitHub:
    return GitHub(runner)


def said(number: int, body: str | None, login: str = "github-actions[bot]") -> dict[str, Any]:
    return {"id": number, "body": body, "user": {"login": login}}


@pytest.mark.parametrize(
    "pages",
    [
        [[]],
        [[said(1, "Nice."), said(2, f"It says {MARK}"), said(3, REPORT, "mallory"), said(4, None)]],
        [[{"id": 5, "body": REPORT, "user": None}]],
    ],
)
def test_the_first_report_becomes_a_comment(github: GitHub, pages: list[list[dict[str, Any]]]) -> None:
    """Nobody else's comment is taken for ours, even with the marker in it."""
    done = github.comment(REPORT, *pages)
    assert done.returncode == 0, done.stderr
    assert github.written() == ("POST", "repos/acme/agent/issues/7/comments", REPORT)


def test_later_reports_update_the_comment(github: GitHub) -> None:
    """The one with the marker, though it be on a later page; there is never a second."""
    done = github.comment(REPORT, [said(1, "Nice.")], [said(22, f"{MARK}\n\nOld."), said(23, f"{MARK}\n\nOlder.")])
    assert done.returncode == 0, done.stderr
    assert github.written() == ("PATCH", "repos/acme/agent/issues/comments/22", REPORT)


def test_a_long_report_is_cut(github: GitHub) -> None:
    """To what GitHub takes, between characters."""
    done = github.comment(REPORT + 70000 * "é", [])
    assert done.returncode == 0, done.stderr
    _, _, body = github.written()
    assert 60000 < len(body) < 65536
    assert body.startswith(REPORT)
    assert body.endswith("é\n\n(cut here: the artifact has the rest)\n")


def test_what_is_no_report_is_not_shown(github: GitHub, tmp_path: Path) -> None:
    """A text without the marker, a file that is missing, a link to a file of the machine."""
    answers = [github.comment("Buy this!", [])]
    github.report.unlink()
    answers.append(github.again())
    (tmp_path / "other").write_text(REPORT)
    github.report.symlink_to(tmp_path / "other")
    answers.append(github.again())
    assert [(done.returncode, "::error::" in done.stdout) for done in answers] == 3 * [(1, True)]
    assert github.calls() == []


def test_a_comment_that_cannot_be_read_fails_the_job(github: GitHub) -> None:
    """Nothing is written where what is there is not known."""
    github.runner.program("gh", "sys.exit('HTTP 502')")
    assert github.comment(REPORT, []).returncode != 0


@pytest.mark.parametrize(
    ("changed", "passes"),
    [
        ({}, True),
        ({"comment": "skipped"}, True),
        ({"comment": "failure"}, False),
        ({"comment": "cancelled"}, False),
        ({"lint": "failure"}, False),
        ({"tests": "cancelled"}, False),
        ({"evals": "skipped"}, False),
    ],
)
def test_required_checks_pass_when_all_did(runner: Runner, changed: dict[str, str], passes: bool) -> None:
    """Only the comment may be left out; what is wrong is named."""
    results = dict.fromkeys(jobs(CI)["required-checks"]["needs"], "success") | changed
    needs = json.dumps({name: {"result": result, "outputs": {}} for name, result in results.items()})
    done = runner.run("required-checks.sh", NEEDS=needs)
    assert (done.returncode == 0) is passes, done.stderr
    assert done.stdout.splitlines() == [f"::error::{name}: {changed[name]}" for name in changed if not passes]


@pytest.mark.parametrize("needs", ["{}", "", "[]"])
def test_required_checks_need_something(runner: Runner, needs: str) -> None:
    """No results are no success."""
    assert runner.run("required-checks.sh", NEEDS=needs).returncode != 0


EVAL = """
folder = Path(given[given.index("--report") + 1])
folder.mkdir(parents=True, exist_ok=True)
Path("given.json").write_text(json.dumps(given))
if {report!r}:
    (folder / "report.md").write_text({report!r})
sys.exit({status})
"""


@pytest.mark.parametrize(("status", "report"), [(0, REPORT), (1, REPORT), (2, "")])
def test_evals_end_as_they_were_judged(runner: Runner, status: int, report: str) -> None:
    """The status is the command's, and summary and artifact say how it ended, never how an earlier one did."""
    old = runner.work / "eval-report/report.md"
    old.parent.mkdir(parents=True)
    old.write_text(f"{MARK}\n\nOld.")
    runner.program("uv", EVAL.format(status=status, report=report))
    done = runner.run("evals.sh", "--repeat", "2")
    assert done.returncode == status, done.stderr
    given = json.loads((runner.work / "given.json").read_text())
    assert given == ["run", "support-agent", "eval", "--report", "eval-report", "--repeat", "2"]
    shown = runner.summary.read_text()
    assert shown == old.read_text()
    assert shown.startswith(MARK)
    assert "Old." not in shown
    assert shown == report if report else "ended with status 2" in shown


@pytest.mark.parametrize("there", [True, False])
def test_the_live_baseline_is_made_once(runner: Runner, there: bool) -> None:
    """Where there is one the agent is judged by it, else it is made and kept."""
    runner.program("uv", EVAL.format(status=0, report=REPORT))
    if there:
        (runner.work / ".baseline").mkdir()
        (runner.work / ".baseline/live.json").write_text("{}")
    done = runner.run("live-evals.sh", OPENAI_API_KEY="sk-test-canary")
    assert done.returncode == 0, done.stderr
    given = json.loads((runner.work / "given.json").read_text())
    assert given[5:9] == ["--repeat", "3", "--baseline", ".baseline/live.json"]
    assert given[9:] == ([] if there else ["--update-baseline"])
    assert (runner.output.read_text() if runner.output.exists() else "") == ("" if there else "baseline=new\n")


def test_only_a_live_model_is_judged_at_night(runner: Runner) -> None:
    """Without the key the job fails, naming it, before the offline model takes the live one's place."""
    runner.program("uv", EVAL.format(status=0, report=REPORT))
    done = runner.run("live-evals.sh", OPENAI_API_KEY="")
    assert (done.returncode, "no secret OPENAI_API_KEY" in done.stdout) == (1, True)
    assert not (runner.work / "given.json").exists()


@pytest.mark.parametrize("ids", [[], ["a", "b"]])
def test_badly_rated_answers_are_counted_and_not_shown(runner: Runner, ids: list[str]) -> None:
    """Neither log nor summary has a customer's words, and the export is gone afterwards."""
    cases = [{"id": f"feedback-{one}", "question": "Canary?\n\n- id: 1\n"} for one in ids]
    export = yaml.safe_dump(cases, allow_unicode=True, sort_keys=False, width=120)
    runner.program(
        "uv", f"Path(given[-1]).write_text({export!r})\nPath('asked').write_text(given[-1])\nprint('Canary!')"
    )
    done = runner.run("feedback.sh", REDIS_URL="redis://localhost:1")
    assert done.returncode == 0, done.stderr
    shown = runner.summary.read_text()
    assert f"Badly rated answers: {len(ids)}\n" in shown
    assert "Canary" not in shown + done.stdout + done.stderr
    assert not Path((runner.work / "asked").read_text()).parent.exists()


def test_without_a_redis_nothing_is_counted(runner: Runner) -> None:
    """A notice says so, and the night goes on."""
    runner.program("uv", "sys.exit('started')")
    done = runner.run("feedback.sh", REDIS_URL="")
    assert (done.returncode, done.stdout[:10], runner.summary.exists()) == (0, "::notice::", False)


def test_an_export_that_fails_fails_the_job(runner: Runner) -> None:
    """No count is told that was not made."""
    runner.program("uv", "sys.exit(1)")
    done = runner.run("feedback.sh", REDIS_URL="redis://localhost:1")
    assert (done.returncode, runner.summary.exists()) == (1, False)


def test_scripts_know_the_marker_of_reports() -> None:
    """What finds the comment is what reports begin with."""
    for name in ("comment.sh", "evals.sh"):
        assert MARK in (REPOSITORY / SCRIPTS / name).read_text()


@pytest.mark.soak
@pytest.mark.parametrize(
    ("file", "right", "wrong", "said"),
    [
        ("pyproject.toml", "", "", ""),
        ("pyproject.toml", '    "fastapi>=0.165",\n', '    "fastapi>=0.165",\n    "six>=1.17",\n', "is stale"),
        ("requirements.lock", "sha256:0", "sha256:1", "is stale"),
        ("requirements.lock", "fastapi==", "six==1.17.0\nfastapi==", "is stale"),
        ("requirements.lock", "langgraph==1.", "langgraph==0.", "does not allow"),
    ],
)
def test_a_stale_lock_is_refused(runner: Runner, file: str, right: str, wrong: str, said: str) -> None:
    """A package too few or too many, another hash, a version that is too old; newer ones in the registry are none."""
    for name in ("pyproject.toml", "requirements.lock"):
        shutil.copy(REPOSITORY / name, runner.work)
    if right:
        (runner.work / file).write_text(plant((runner.work / file).read_text(), right, wrong))
    ended = runner.run("lock.sh", **os.environ)
    assert (ended.returncode, said in ended.stderr) == (int(bool(said)), True), ended.stderr

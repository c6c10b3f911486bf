"""The scripts that workflows run: the report's comment, required checks, evals, feedback and the lock file."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import REPOSITORY
from evals.report import MARK
from harness.planting import plant
from harness.runner import SCRIPTS, Runner
from harness.workflows import CI, DEPLOY, every_job, jobs, text

FOLDER = f"{SCRIPTS}/"
REPORT = f"{MARK}\n\n## Evaluation: passed\n"


def commands() -> list[str]:
    return [step["run"] for _, job in every_job() for step in job.get("steps", []) if "run" in step]


def test_scripts_are_used_and_stop_at_errors() -> None:
    """Every script is executable bash with strict mode, and a step or another script calls it."""
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


class GitHub:
    """A fake `gh` that answers from a file and records its calls and each comment's text."""

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
        """Post a report to a pull request with these pages of comments."""
        self.report.write_text(report)
        self.answer.write_text(json.dumps(pages))
        return self.again()

    def again(self) -> subprocess.CompletedProcess[str]:
        """Post the report file as it is now."""
        return self.runner.run("comment.sh", self.report, REPOSITORY="acme/agent", PULL_REQUEST="7")

    def calls(self) -> list[list[Any]]:
        """Return the arguments of each call and the text that it sent."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def written(self) -> tuple[str, str, str]:
        """Return the method, path and text of the one comment that was sent."""
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
    """A comment by somebody else is never reused, even if it holds the marker."""
    done = github.comment(REPORT, *pages)
    assert done.returncode == 0, done.stderr
    assert github.written() == ("POST", "repos/acme/agent/issues/7/comments", REPORT)


def test_later_reports_update_the_comment(github: GitHub) -> None:
    """The comment with the marker is updated, also on a later page; there is never a second one."""
    done = github.comment(REPORT, [said(1, "Nice.")], [said(22, f"{MARK}\n\nOld."), said(23, f"{MARK}\n\nOlder.")])
    assert done.returncode == 0, done.stderr
    assert github.written() == ("PATCH", "repos/acme/agent/issues/comments/22", REPORT)


def test_a_long_report_is_cut(github: GitHub) -> None:
    """A report is truncated to GitHub's limit, never inside a character."""
    done = github.comment(REPORT + 70000 * "é", [])
    assert done.returncode == 0, done.stderr
    _, _, body = github.written()
    assert 60000 < len(body) < 65536
    assert body.startswith(REPORT)
    assert body.endswith("é\n\n(truncated; the artifact has the whole report)\n")


def test_what_is_no_report_is_not_shown(github: GitHub, tmp_path: Path) -> None:
    """A text without the marker, a missing file and a symbolic link are refused."""
    answers = [github.comment("Buy this!", [])]
    github.report.unlink()
    answers.append(github.again())
    (tmp_path / "other").write_text(REPORT)
    github.report.symlink_to(tmp_path / "other")
    answers.append(github.again())
    assert [(done.returncode, "::error::" in done.stdout) for done in answers] == 3 * [(1, True)]
    assert github.calls() == []


def test_a_comment_that_cannot_be_read_fails_the_job(github: GitHub) -> None:
    """Nothing is written if the existing comments cannot be read."""
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
    """Only the comment may be skipped; every failed job is named."""
    results = dict.fromkeys(jobs(CI)["required-checks"]["needs"], "success") | changed
    needs = json.dumps({name: {"result": result, "outputs": {}} for name, result in results.items()})
    done = runner.run("required-checks.sh", NEEDS=needs)
    assert (done.returncode == 0) is passes, done.stderr
    assert done.stdout.splitlines() == [f"::error::{name}: {changed[name]}" for name in changed if not passes]


@pytest.mark.parametrize("needs", ["{}", "", "[]"])
def test_required_checks_need_something(runner: Runner, needs: str) -> None:
    """An empty list of results fails."""
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
    """The step has the command's exit status; summary and artifact are of this run, never of an earlier one."""
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
    assert shown == report if report else "exited with status 2" in shown


@pytest.mark.parametrize("there", [True, False])
def test_the_live_baseline_is_made_once(runner: Runner, there: bool) -> None:
    """An existing baseline is compared with; otherwise one is made and cached."""
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
    """Without the key the job fails and names it, rather than use the offline model."""
    runner.program("uv", EVAL.format(status=0, report=REPORT))
    done = runner.run("live-evals.sh", OPENAI_API_KEY="")
    assert (done.returncode, "no secret OPENAI_API_KEY" in done.stdout) == (1, True)
    assert not (runner.work / "given.json").exists()


@pytest.mark.parametrize("ids", [[], ["a", "b"]])
def test_badly_rated_answers_are_counted_and_not_shown(runner: Runner, ids: list[str]) -> None:
    """Log and summary hold no customer's words, and the export is deleted."""
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
    """Without a Redis URL the job prints a notice and passes."""
    runner.program("uv", "sys.exit('started')")
    done = runner.run("feedback.sh", REDIS_URL="")
    assert (done.returncode, done.stdout[:10], runner.summary.exists()) == (0, "::notice::", False)


def test_an_export_that_fails_fails_the_job(runner: Runner) -> None:
    """A failed export fails the job and reports no count."""
    runner.program("uv", "sys.exit(1)")
    done = runner.run("feedback.sh", REDIS_URL="redis://localhost:1")
    assert (done.returncode, runner.summary.exists()) == (1, False)


def test_scripts_know_the_marker_of_reports() -> None:
    """The scripts look for the marker that reports begin with."""
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
        ("requirements.sources.lock", "protego==", "six==1.17.0\nprotego==", "is stale"),
        ("requirements.servers.lock", "caldav==", "rich==15.0.0\ncaldav==", "is stale"),
    ],
)
def test_a_stale_lock_is_refused(runner: Runner, file: str, right: str, wrong: str, said: str) -> None:
    """A missing or extra package, another hash and an outdated version are errors; newer releases are not."""
    for name in ("pyproject.toml", "requirements.lock", "requirements.sources.lock", "requirements.servers.lock"):
        shutil.copy(REPOSITORY / name, runner.work)
    if right:
        (runner.work / file).write_text(plant((runner.work / file).read_text(), right, wrong))
    ended = runner.run("lock.sh", **os.environ)
    assert (ended.returncode, said in ended.stderr) == (int(bool(said)), True), ended.stderr

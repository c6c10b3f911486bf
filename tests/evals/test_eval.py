"""`support-agent eval` from its command line to its verdict."""

import json
from pathlib import Path

import pytest
import yaml
from starlette.types import Send

from harness.eval_project import FOLLOW_UP, POLICY, Run, write_baseline
from harness.scripted_model import Call, Reply, ScriptedModel, label, status, tokens


async def test_a_first_run_makes_the_baseline_and_the_next_passes(folder: Path, run: Run, model: ScriptedModel) -> None:
    """The real graph answers each case, a follow-up after its history in one conversation."""
    made = await run("--update-baseline", "--report", "out")
    assert made.status == 0, made
    baseline = (folder / "evals" / "baseline.json").read_text()
    assert all(case["passed"] for case in json.loads(baseline)["suites"]["refunds"]["cases"].values())
    write_baseline(folder)
    assert (folder / "evals" / "baseline.json").read_text() == baseline
    (follow_up,) = [call for call in model.of("answer") if call.prompt[-1][1] == FOLLOW_UP["question"]]
    assert [text for role, text in follow_up.prompt if role == "user"] == [*FOLLOW_UP["history"], FOLLOW_UP["question"]]
    done = await run("--report", "out", "--repeat", "3")
    assert done.status == 0, done
    assert "pass^3" in done.said
    assert {file.name for file in (folder / "out").iterdir()} == {"report.md", "report.html", "junit.xml"}


async def test_worse_answers_are_blocked(folder: Path, run: Run, model: ScriptedModel) -> None:
    """The exit status is 1, with the failed check and the cases that got worse."""
    write_baseline(folder)
    model.script("answer", tokens(["Within ", "14 days", "."]))
    done = await run()
    assert done.status == 1, done
    assert "FAIL not worse than the baseline: 10 intents worse, 0 better" in done.said
    assert "worse: refund-7" in done.said
    report = (folder / "eval-report" / "report.md").read_text()
    assert "no article says 14" in report


@pytest.mark.soak
async def test_a_baseline_of_other_cases_can_not_be_compared_with(folder: Path, run: Run) -> None:
    """The exit status is 2 until the baseline is updated."""
    write_baseline(folder)
    cases = folder / "evals" / "datasets" / "refunds.yaml"
    cases.write_text(cases.read_text().replace("payment number 4", "payment no. 4"))
    done = await run()
    assert done.status == 2
    assert "has other cases than refunds.yaml; update it with --update-baseline" in done.error
    assert (await run("--update-baseline")).status == 0
    assert (await run()).status == 0


@pytest.mark.soak
async def test_a_baseline_is_not_made_of_what_must_not_be_deployed(
    folder: Path, run: Run, model: ScriptedModel
) -> None:
    """Below the floors the baseline is kept; above them it is replaced, even by a worse one, with a notice."""
    write_baseline(folder)
    before = (folder / "evals" / "baseline.json").read_bytes()
    model.script("answer", tokens(["Within ", "14 days", "."]))
    done = await run("--update-baseline")
    assert done.status == 1
    assert "FAIL not worse than the baseline: 10 intents worse, 0 better" in done.said
    assert "evals/baseline.json is left as it was" in done.said
    assert (folder / "evals" / "baseline.json").read_bytes() == before
    (folder / "evals" / "gate.yaml").write_text(
        yaml.safe_dump({"live": {**POLICY, "floor": 0, "suites": {"refunds": 0}}})
    )
    done = await run("--update-baseline")
    assert done.status == 0
    assert "FAIL not worse than the baseline" in done.said
    assert "evals/baseline.json is written" in done.said


@pytest.mark.soak
async def test_a_case_without_an_answer_is_left_out(folder: Path, run: Run, model: ScriptedModel) -> None:
    """After a retry the case is unmeasured, not worse, and no baseline is made without it."""
    write_baseline(folder)

    async def never_four(call: Call, send: Send) -> None:
        reply = status(400) if "number 4" in call.prompt[-1][1] else tokens(["Within 30 days."])
        await reply(call, send)

    model.script("answer", never_four)
    model.forget()
    done = await run()
    assert done.status == 0, done
    assert "0 intents worse" in done.said
    assert "unmeasured: refund-4" in done.said
    assert len([call for call in model.of("answer") if "number 4" in call.prompt[-1][1]]) == 2
    assert (await run("--update-baseline")).status == 1
    cases = folder / "evals" / "datasets" / "refunds.yaml"
    found = yaml.safe_load(cases.read_text())
    cases.write_text(yaml.safe_dump([{**case, "safety": case["id"] == "refund-4"} for case in found]))
    done = await run("--update-baseline")
    assert (done.status, done.said) == (2, "")
    assert "the safety case 'refund-4' got no answer: model-refused" in done.error


@pytest.fixture
def labelled(folder: Path) -> Path:
    """The project with labels for the judge: as many good answers as bad ones."""
    labels = [
        {"id": f"label-{number}", "question": "?", "articles": [], "answer": answer, "good": answer == "Good."}
        for number, answer in enumerate(["Good.", "Bad."] * 5)
    ]
    (folder / "evals" / "labels.yaml").write_text(yaml.safe_dump(labels))
    return folder


async def test_a_judge_that_agrees_with_our_labels_counts(labelled: Path, run: Run, model: ScriptedModel) -> None:
    """A judge with a kappa of 0.7 or more is one of the checks."""

    async def judge(call: Call, send: Send) -> None:
        good = "Bad." not in call.prompt[-1][1]
        await label(json.dumps({"reasoning": "Because.", "score": good}))(call, send)

    model.script("judge", judge)
    done = await run("--update-baseline", OPENAI_API_KEY="sk-test")
    assert done.status == 0, done
    assert "ok   judge (kappa 1.00)" in done.said
    assert {call.body["model"] for call in model.of("judge")} == {"gpt-4o-2024-11-20"}
    assert len(model.of("judge")) == 20
    assert "enough to count" in (labelled / "eval-report" / "report.md").read_text()


@pytest.mark.soak
@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (label(json.dumps({"reasoning": "Because.", "score": True})), "κ = 0.00, too low to count"),
        (label(json.dumps({"reasoning": "Because.", "score": "false"})), "The judge does not count: "),
        (status(400), "The judge does not count: gpt-4o-2024-11-20 does not answer: OpenAIInvalidRequestError"),
    ],
)
async def test_a_judge_that_does_not_is_but_told_of(
    labelled: Path, run: Run, model: ScriptedModel, reply: Reply, told: str
) -> None:
    """A judge that finds everything good, gives no verdict or is down is only reported."""
    model.script("judge", reply)
    done = await run("--update-baseline", OPENAI_API_KEY="sk-test")
    assert done.status == 0, done
    assert "judge (kappa" not in done.said
    assert told in (labelled / "eval-report" / "report.md").read_text()


@pytest.mark.soak
async def test_no_key_gets_into_the_report(folder: Path, run: Run, model: ScriptedModel) -> None:
    """Reports and baseline hold no API key, even if the model's server repeats it."""
    model.script("answer", tokens(["Within 30 days. sk-", "canary"]))
    assert (await run("--update-baseline", "--report", "out", OPENAI_API_KEY="sk-canary")).status == 0
    written = [file.read_text() for file in (*(folder / "out").iterdir(), folder / "evals" / "baseline.json")]
    assert len(written) >= 3
    assert not [text for text in written if "sk-canary" in text]
    assert [text for text in written if "dropped" in text]

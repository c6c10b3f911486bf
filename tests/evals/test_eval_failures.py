"""`support-agent eval` when it cannot measure: exit status 2 and one line; the next run continues."""

import asyncio
import signal
from pathlib import Path

import pytest
import yaml
from starlette.types import Send

from harness.eval_project import CASES, POLICY, Run, write_baseline
from harness.scripted_model import Call, ScriptedModel, status, tokens


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("evals/datasets/refunds.yaml", "[]", "refunds.yaml: "),
        pytest.param(
            "evals/datasets/refunds.yaml",
            "- id: [",
            "refunds.yaml: is not valid YAML in line 1",
            marks=pytest.mark.soak,
        ),
        ("evals/baseline.json", '{"suites": ', "evals/baseline.json: is not a valid baseline"),
        pytest.param("evals/baseline.json", None, "evals/baseline.json: no baseline found", marks=pytest.mark.soak),
        pytest.param(
            "evals/gate.yaml",
            "offline: {floor: 7}",
            "evals/gate.yaml: has no valid policy for the live model",
            marks=pytest.mark.soak,
        ),
        pytest.param(
            "evals/gate.yaml",
            yaml.safe_dump({"live": {**POLICY, "suites": {"refund": 0.6}}}),
            "differ in refund, refunds",
            marks=pytest.mark.soak,
        ),
        pytest.param("knowledge/company.yaml", "name: [", "company.yaml:1: ", marks=pytest.mark.soak),
        ("knowledge/refund-policy.md", None, "'refund-1' needs the article 'refund-policy', which is not in"),
    ],
)
async def test_what_keeps_it_from_measuring_is_one_line(
    folder: Path, run: Run, file: str, content: str | None, said: str
) -> None:
    """A bad or missing input file ends it with exit status 2 and one line."""
    write_baseline(folder)
    if content is None:
        (folder / file).unlink()
    else:
        (folder / file).write_text(content)
    done = await run()
    assert done.status == 2, done
    assert done.said == ""
    assert len(done.error.splitlines()) == 1
    assert done.error.startswith("support-agent: ")
    assert said in done.error


@pytest.mark.soak
async def test_a_model_that_is_down_gives_no_verdict(run: Run, model: ScriptedModel) -> None:
    """A model that is down ends it with exit status 2 and one line."""
    model.script("embeddings", status(500))
    down = await run("--update-baseline")
    assert (down.status, down.said) == (2, "")
    assert down.error.startswith("support-agent: the articles can't be indexed")


async def test_an_evaluation_that_is_stopped_has_no_verdict(run: Run, model: ScriptedModel) -> None:
    """SIGTERM ends it with exit status 2 and one line, never as a pass."""
    reached = asyncio.Event()

    async def slow(_: Call, __: Send) -> None:
        reached.set()
        await asyncio.sleep(30)

    model.script("answer", slow)
    done = await run("--update-baseline", after=reached.wait, sent=signal.SIGTERM)
    assert done == (2, "", "support-agent: stopped before there was a verdict\n")


@pytest.mark.soak
async def test_a_report_that_can_not_be_written_is_no_verdict(folder: Path, run: Run) -> None:
    """The exit status is 2, and the line names the file."""
    (folder / "taken").write_text("")
    done = await run("--update-baseline", "--report", "taken")
    assert (done.status, done.said) == (2, "")
    assert done.error == "support-agent: taken: File exists\n"


@pytest.mark.soak
async def test_half_of_the_cases_in_error_give_no_verdict(folder: Path, run: Run, model: ScriptedModel) -> None:
    """The exit status is 2; answers are kept and not asked again once the model works."""

    async def half(call: Call, send: Send) -> None:
        number = "".join(filter(str.isdigit, call.prompt[-1][1])) or "0"
        if int(number) % 2:
            await asyncio.sleep(0.5)  # the others have their answers by then
            await status(400)(call, send)
        else:
            await tokens(["Within 30 days."])(call, send)

    model.script("answer", half)
    done = await run("--update-baseline")
    assert (done.status, done.said) == (2, "")
    assert "runs ended without an answer, the last with model-refused" in done.error
    assert not (folder / "evals" / "baseline.json").exists()
    answered = {call.prompt[-1][1] for call in model.of("answer")}
    model.forget()
    model.script("answer", tokens(["Within 30 days."]))
    assert (await run("--update-baseline")).status == 0
    again = {call.prompt[-1][1] for call in model.of("answer")}
    assert answered - again
    assert {case["question"] for case in CASES} <= answered | again


@pytest.mark.soak
async def test_an_evaluation_that_is_broken_off_goes_on_where_it_was(run: Run, model: ScriptedModel) -> None:
    """After Ctrl-C the next run asks only the cases without an answer, unless the agent has changed."""
    reached = asyncio.Event()
    reply = tokens(["Within 30 days."])

    async def slow(call: Call, send: Send) -> None:
        if len(model.of("answer")) > 4:
            reached.set()
            await asyncio.sleep(30)
        await reply(call, send)

    async def some_are_answered() -> None:
        await reached.wait()
        await asyncio.sleep(5)  # until they are written, also on a machine that has more to do

    model.script("answer", slow)
    broken = await run("--update-baseline", after=some_are_answered)
    assert broken.status == 130
    model.forget()
    model.script("answer", reply)
    assert (await run("--update-baseline")).status == 0
    assert 0 < len(model.of("answer")) < 12

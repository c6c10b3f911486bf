"""`support-agent eval` from its command line to its exit status."""

import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from starlette.types import Send

from conftest import REPOSITORY
from evals.cases import load_dataset
from harness.langsmith import langsmith_server
from harness.scripted_model import Call, Reply, ScriptedModel, label, status, tokens

CASES: list[dict[str, Any]] = [
    {
        "id": f"refund-{number}",
        "intent": f"refund-{number}",
        "split": "held_out" if number % 3 == 0 else "tune",
        "question": f"Refund of payment number {number}?",
        "category": "billing",
        "articles": ["refund-policy"],
        "must": ["30 days"],
    }
    for number in range(1, 10)
]
FOLLOW_UP: dict[str, Any] = {
    **CASES[0],
    "id": "follow-up",
    "intent": "follow-up",
    "history": ["When are you open?", "Are payments refunded?"],
    "question": "Within how many days?",
}
POLICY = {
    "floor": 0.6,
    "suites": {"refunds": 0.6},
    "pass_3": 0.6,
    "judge": 0.6,
    "alpha": 0.04,
    "p95_seconds": 20,
    "dollars": 0.02,
}


class Done(NamedTuple):
    """How the command ended, and what it said."""

    status: int | None
    said: str
    error: str


Run = Callable[..., Awaitable[Done]]


@pytest.fixture
def folder(articles: Path) -> Path:
    """A project with ten cases, a policy, and no baseline."""
    root = articles.parent
    others = shutil.ignore_patterns("__pycache__", "datasets", "baseline.json", "*.yaml")
    shutil.copytree(REPOSITORY / "evals", root / "evals", ignore=others)
    datasets = root / "evals" / "datasets"
    datasets.mkdir()
    (datasets / "refunds.yaml").write_text(yaml.safe_dump([*CASES, FOLLOW_UP]))
    (root / "evals" / "gate.yaml").write_text(yaml.safe_dump({"offline": POLICY, "live": POLICY}))
    return root


@pytest.fixture
def run(folder: Path, model: ScriptedModel, redis_url: str) -> Run:
    """Run the command in the project against the scripted model, which answers rightly."""
    model.script("answer", tokens(["Within ", "30 days", " of the payment, we refund it."]))
    ours = {**os.environ, "PYTHONPATH": str(folder)}  # the cases are those beside the code

    async def run(
        *arguments: str,
        after: Callable[[], Awaitable[object]] | None = None,
        sent: signal.Signals = signal.SIGINT,
        **variables: str,
    ) -> Done:
        process = await asyncio.create_subprocess_exec(
            Path(sys.executable).with_name("support-agent"),
            "eval",
            *arguments,
            cwd=folder,
            env={**ours, "OPENAI_BASE_URL": model.url, "REDIS_URL": redis_url, **variables},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        if after:
            await after()
            process.send_signal(sent)
        said, error = await asyncio.wait_for(process.communicate(), 60)
        return Done(process.returncode, said.decode(), error.decode())

    return run


async def test_a_first_run_makes_the_baseline_and_the_next_passes(folder: Path, run: Run, model: ScriptedModel) -> None:
    """Each case is put to the real graph, a follow-up after its history, in one conversation."""
    made = await run("--update-baseline", "--report", "out")
    assert made.status == 0, made
    baseline = json.loads((folder / "evals" / "baseline.json").read_text())
    assert all(case["passed"] for case in baseline["suites"]["refunds"]["cases"].values())
    (follow_up,) = [call for call in model.of("answer") if call.prompt[-1][1] == FOLLOW_UP["question"]]
    assert [text for role, text in follow_up.prompt if role == "user"] == [*FOLLOW_UP["history"], FOLLOW_UP["question"]]
    done = await run("--report", "out", "--repeat", "3")
    assert done.status == 0, done
    assert "pass^3" in done.said
    assert {file.name for file in (folder / "out").iterdir()} == {"report.md", "report.html", "junit.xml"}


async def test_worse_answers_are_blocked(folder: Path, run: Run, model: ScriptedModel) -> None:
    """With exit status 1, the check that failed, and the cases that got worse."""
    assert (await run("--update-baseline")).status == 0
    model.script("answer", tokens(["Within ", "14 days", "."]))
    done = await run()
    assert done.status == 1, done
    assert "FAIL not worse than the baseline: 10 intents worse, 0 better" in done.said
    assert "worse: refund-7" in done.said
    report = (folder / "eval-report" / "report.md").read_text()
    assert "no article says 14" in report


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("evals/datasets/refunds.yaml", "[]", "refunds.yaml: "),
        pytest.param(
            "evals/datasets/refunds.yaml", "- id: [", "refunds.yaml: is no YAML in line 1", marks=pytest.mark.soak
        ),
        ("evals/baseline.json", '{"suites": ', "evals/baseline.json: is no baseline"),
        pytest.param("evals/baseline.json", None, "evals/baseline.json: there is no baseline", marks=pytest.mark.soak),
        pytest.param(
            "evals/gate.yaml",
            "offline: {floor: 7}",
            "evals/gate.yaml: does not say what must hold of the live model",
            marks=pytest.mark.soak,
        ),
        pytest.param(
            "evals/gate.yaml",
            yaml.safe_dump({"live": {**POLICY, "suites": {"refund": 0.6}}}),
            "differ in refund, refunds",
            marks=pytest.mark.soak,
        ),
        pytest.param("knowledge/refund-policy.md", "no front matter", "refund-policy.md", marks=pytest.mark.soak),
        ("knowledge/refund-policy.md", None, "'refund-1' needs the article 'refund-policy', which is not in"),
    ],
)
async def test_what_keeps_it_from_measuring_is_one_line(
    folder: Path, run: Run, file: str, content: str | None, said: str
) -> None:
    """And exit status 2."""
    baseline = folder / "evals" / "baseline.json"
    cases = {case["id"]: {"passed": True, "failed": [], "answer": ""} for case in [*CASES, FOLLOW_UP]}
    baseline.write_text(json.dumps({"suites": {"refunds": {"hash": digest(folder), "models": "m", "cases": cases}}}))
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


def digest(folder: Path) -> str:
    return load_dataset(folder / "evals" / "datasets").hashes["refunds"]


@pytest.mark.soak
async def test_a_baseline_of_other_cases_can_not_be_compared_with(folder: Path, run: Run) -> None:
    """Exit status 2, until it is made anew."""
    assert (await run("--update-baseline")).status == 0
    cases = folder / "evals" / "datasets" / "refunds.yaml"
    cases.write_text(cases.read_text().replace("payment number 4", "payment no. 4"))
    done = await run()
    assert done.status == 2
    assert "is of other cases than refunds.yaml has now; see --update-baseline" in done.error
    assert (await run("--update-baseline")).status == 0
    assert (await run()).status == 0


@pytest.mark.soak
async def test_a_baseline_is_not_made_of_what_must_not_be_deployed(
    folder: Path, run: Run, model: ScriptedModel
) -> None:
    """Below the floors it stays as it was; above them it may be worse than the one before, and is told so."""
    assert (await run("--update-baseline")).status == 0
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
    """Once it has been asked again; nothing is said to be worse, and no baseline is made without it."""
    assert (await run("--update-baseline")).status == 0

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
    assert "the safety case 'refund-4' got no answer: model-unavailable" in done.error


@pytest.mark.soak
async def test_a_model_that_is_down_gives_no_verdict(run: Run, model: ScriptedModel) -> None:
    """Exit status 2 and one line."""
    model.script("embeddings", status(500))
    down = await run("--update-baseline")
    assert (down.status, down.said) == (2, "")
    assert down.error.startswith("support-agent: the articles can't be indexed")


async def test_an_evaluation_that_is_stopped_has_no_verdict(run: Run, model: ScriptedModel) -> None:
    """SIGTERM is no pass: exit status 2 and one line."""
    reached = asyncio.Event()

    async def slow(_: Call, __: Send) -> None:
        reached.set()
        await asyncio.sleep(30)

    model.script("answer", slow)
    done = await run("--update-baseline", after=reached.wait, sent=signal.SIGTERM)
    assert done == (2, "", "support-agent: stopped before there was a verdict\n")


@pytest.mark.soak
async def test_a_report_that_can_not_be_written_is_no_verdict(folder: Path, run: Run) -> None:
    """Exit status 2, and the line names the file."""
    (folder / "taken").write_text("")
    done = await run("--update-baseline", "--report", "taken")
    assert (done.status, done.said) == (2, "")
    assert done.error == "support-agent: taken: File exists\n"


@pytest.mark.soak
async def test_half_of_the_cases_in_error_give_no_verdict(folder: Path, run: Run, model: ScriptedModel) -> None:
    """Exit status 2; what was answered is kept, and not asked again once the model is mended."""

    async def half(call: Call, send: Send) -> None:
        number = "".join(filter(str.isdigit, call.prompt[-1][1])) or "0"
        if int(number) % 2:
            await asyncio.sleep(0.5)  # the others are answered by then
            await status(400)(call, send)
        else:
            await tokens(["Within 30 days."])(call, send)

    model.script("answer", half)
    done = await run("--update-baseline")
    assert (done.status, done.said) == (2, "")
    assert "runs ended without an answer, the last with model-unavailable" in done.error
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
    """After a Ctrl-C only the cases without an answer are asked, unless the agent has changed meanwhile."""
    reached = asyncio.Event()
    reply = tokens(["Within 30 days."])

    async def slow(call: Call, send: Send) -> None:
        if len(model.of("answer")) > 4:
            reached.set()
            await asyncio.sleep(30)
        await reply(call, send)

    async def some_are_answered() -> None:
        await reached.wait()
        await asyncio.sleep(1)

    model.script("answer", slow)
    broken = await run("--update-baseline", after=some_are_answered)
    assert broken.status == 130
    model.forget()
    model.script("answer", reply)
    assert (await run("--update-baseline")).status == 0
    assert 0 < len(model.of("answer")) < 12


@pytest.fixture
def labelled(folder: Path) -> Path:
    """The project, with labels of the judge: as many good answers as bad ones."""
    labels = [
        {"id": f"label-{number}", "question": "?", "articles": [], "answer": answer, "good": answer == "Good."}
        for number, answer in enumerate(["Good.", "Bad."] * 5)
    ]
    (folder / "evals" / "labels.yaml").write_text(yaml.safe_dump(labels))
    return folder


async def test_a_judge_that_agrees_with_our_labels_counts(labelled: Path, run: Run, model: ScriptedModel) -> None:
    """Its verdict is a check where its kappa is 0.7 or more."""

    async def judge(call: Call, send: Send) -> None:
        good = "Bad." not in call.prompt[-1][1]
        await label(json.dumps({"reasoning": "Because.", "score": good}))(call, send)

    model.script("judge", judge)
    done = await run("--update-baseline", OPENAI_API_KEY="sk-test")
    assert done.status == 0, done
    assert "ok   judge (kappa 1.00)" in done.said
    assert {call.body["model"] for call in model.of("judge")} == {"gpt-4o-2024-11-20"}
    assert len(model.of("judge")) == 20
    assert "it counts" in (labelled / "eval-report" / "report.md").read_text()


@pytest.mark.soak
@pytest.mark.parametrize(
    ("reply", "told"),
    [
        (label(json.dumps({"reasoning": "Because.", "score": True})), "κ = 0.00, too little to count"),
        (label(json.dumps({"reasoning": "Because.", "score": "false"})), "The judge does not count: "),
        (status(400), "The judge does not count: gpt-4o-2024-11-20 does not answer: OpenAIInvalidRequestError"),
    ],
)
async def test_a_judge_that_does_not_is_but_told_of(
    labelled: Path, run: Run, model: ScriptedModel, reply: Reply, told: str
) -> None:
    """One that finds everything good, one that gives no verdict, and one that is away."""
    model.script("judge", reply)
    done = await run("--update-baseline", OPENAI_API_KEY="sk-test")
    assert done.status == 0, done
    assert "judge (kappa" not in done.said
    assert told in (labelled / "eval-report" / "report.md").read_text()


async def test_with_a_key_it_is_an_experiment_in_langsmith(folder: Path, run: Run) -> None:
    """Its dataset is named after the cases' content, and each case is a row with all its scores, sent once."""
    async with langsmith_server() as langsmith:
        made = await run("--update-baseline", LANGSMITH_API_KEY="lsv2_test", LANGSMITH_ENDPOINT=langsmith.url)
        assert made.status == 0, made
        (dataset,) = langsmith.datasets.values()
        assert dataset["name"] == f"support-agent {load_dataset(folder / 'evals' / 'datasets').hash}"
        names = {case["id"] for case in [*CASES, FOLLOW_UP]}
        assert {example["inputs"]["case"] for example in langsmith.examples.values()} == names
        assert len(langsmith.examples) == len(names)
        (experiment,) = langsmith.experiments.values()
        rows = [run for run in langsmith.roots if run["session_name"] == experiment["name"]]
        assert {row["outputs"]["case"] for row in rows} == names
        assert len(rows) == len(names)
        told = [one for one in langsmith.feedback.values() if one["run_id"] == rows[0]["id"]]
        scores = {one["key"]: one["score"] for one in told}
        assert scores["passed"] == 1
        assert {"category", "recall", "required_facts", "groundedness"} <= scores.keys()
        assert experiment["extra"]["metadata"]["models"].startswith("gpt-4o-mini, gpt-4o")


@pytest.mark.soak
async def test_the_next_experiment_has_the_same_dataset(folder: Path, run: Run) -> None:
    """With a row for each repeat; an example that somebody took away there is answered all the same."""
    async with langsmith_server() as langsmith:
        variables = {"LANGSMITH_API_KEY": "lsv2_test", "LANGSMITH_ENDPOINT": langsmith.url}
        assert (await run("--update-baseline", **variables)).status == 0
        assert (await run("--repeat", "2", **variables)).status == 0
        assert (len(langsmith.datasets), len(langsmith.examples)) == (1, 10)
        _, second = (one["name"] for one in langsmith.experiments.values())
        assert len([run for run in langsmith.roots if run["session_name"] == second]) == 20
        edited = next(iter(langsmith.examples.values()))
        edited["inputs"] = {**edited["inputs"], "case": "unknown"}
        done = await run(**variables)
        assert done.status == 0, done


@pytest.mark.parametrize("fault", [401, pytest.param(500, marks=pytest.mark.soak)])
async def test_a_langsmith_that_is_away_gives_no_verdict(run: Run, fault: int) -> None:
    """Exit status 2 and one line, for who asked for an experiment shall not think that there is one."""
    async with langsmith_server() as langsmith:
        langsmith.fault = fault
        done = await run("--update-baseline", LANGSMITH_API_KEY="lsv2_test", LANGSMITH_ENDPOINT=langsmith.url)
    assert (done.status, done.said) == (2, "")
    assert done.error.startswith("support-agent: LangSmith does not take the experiment")
    assert len(done.error.splitlines()) == 1


@pytest.mark.soak
async def test_a_langsmith_that_never_answers_gives_no_verdict(run: Run) -> None:
    """Before any case was asked."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        done = await run("--update-baseline", LANGSMITH_API_KEY="lsv2_test", LANGSMITH_ENDPOINT=url)
        server.close()
    assert (done.status, done.said) == (2, "")
    assert done.error.startswith("support-agent: LangSmith does not take the experiment")


@pytest.mark.soak
async def test_no_key_gets_into_the_report(folder: Path, run: Run, model: ScriptedModel) -> None:
    """Nor into the baseline, even where the server repeats it."""
    model.script("answer", tokens(["Within 30 days. sk-", "canary"]))
    assert (await run("--update-baseline", "--report", "out", OPENAI_API_KEY="sk-canary")).status == 0
    written = [file.read_text() for file in (*(folder / "out").iterdir(), folder / "evals" / "baseline.json")]
    assert len(written) >= 3
    assert not [text for text in written if "sk-canary" in text]
    assert [text for text in written if "dropped" in text]


async def test_without_a_key_nothing_is_sent(run: Run) -> None:
    """Not even where tracing is on in LangChain's own way."""
    async with langsmith_server() as langsmith:
        variables = {"LANGCHAIN_TRACING_V2": "true", "LANGSMITH_ENDPOINT": langsmith.url}
        assert (await run("--update-baseline", **variables)).status == 0
        assert (langsmith.posts, langsmith.datasets) == (0, {})

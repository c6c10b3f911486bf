"""`support-agent eval` with LangSmith: an experiment each, no verdict without it, and nothing sent without a key."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from evals.cases import load_dataset
from harness.eval_project import CASES, FOLLOW_UP, Run
from harness.langsmith import langsmith_server


async def test_with_a_key_it_is_an_experiment_in_langsmith(folder: Path, run: Run) -> None:
    """The dataset is named by its content's hash, and each case is one row with all its scores."""
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
@pytest.mark.parametrize("limits", [{"use_multipart_endpoint": True}, {"size_limit": None}])
async def test_a_server_that_tells_few_limits_gets_every_run(run: Run, limits: dict[str, Any]) -> None:
    """Compatible servers do; LangSmith's client would lose all runs there, and report a success."""
    async with langsmith_server() as langsmith:
        langsmith.limits = limits
        done = await run("--update-baseline", LANGSMITH_API_KEY="lsv2_test", LANGSMITH_ENDPOINT=langsmith.url)
        assert done.status == 0, done
        assert len(langsmith.roots) == len(CASES) + 1
        assert {one["key"] for one in langsmith.feedback.values()} >= {"passed", "category"}


@pytest.mark.soak
async def test_an_experiment_whose_runs_are_refused_is_no_success(run: Run) -> None:
    """The exit status is 2, with the cause, where LangSmith takes all but the runs."""
    async with langsmith_server() as langsmith:
        langsmith.run_fault = 403
        done = await run("--update-baseline", LANGSMITH_API_KEY="lsv2_test", LANGSMITH_ENDPOINT=langsmith.url)
    assert done.status == 2
    assert "LangSmith did not accept the experiment: it refused the key (HTTP 403)" in done.error


@pytest.mark.soak
async def test_the_next_experiment_has_the_same_dataset(folder: Path, run: Run) -> None:
    """The dataset is reused with a row per repeat, also when somebody has edited an example."""
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
    """The exit status is 2 with one line, since the requested experiment would be missing."""
    async with langsmith_server() as langsmith:
        langsmith.fault = fault
        done = await run("--update-baseline", LANGSMITH_API_KEY="lsv2_test", LANGSMITH_ENDPOINT=langsmith.url)
    assert (done.status, done.said) == (2, "")
    assert done.error.startswith("support-agent: LangSmith did not accept the experiment")
    assert len(done.error.splitlines()) == 1


@pytest.mark.soak
async def test_a_langsmith_that_never_answers_gives_no_verdict(run: Run) -> None:
    """A LangSmith that does not respond ends it before any case is asked."""

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        done = await run("--update-baseline", LANGSMITH_API_KEY="lsv2_test", LANGSMITH_ENDPOINT=url)
        server.close()
    assert (done.status, done.said) == (2, "")
    assert done.error.startswith("support-agent: LangSmith did not accept the experiment")


async def test_without_a_key_nothing_is_sent(run: Run) -> None:
    """Nothing is sent without a key, even with LangChain's own tracing variable set."""
    async with langsmith_server() as langsmith:
        variables = {"LANGCHAIN_TRACING_V2": "true", "LANGSMITH_ENDPOINT": langsmith.url}
        assert (await run("--update-baseline", **variables)).status == 0
        assert (langsmith.posts, langsmith.datasets) == (0, {})

"""`support-agent knowledge gaps`: which articles are missing."""

import asyncio
import json
import logging
import re
from collections.abc import Callable, Generator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer.testing
import yaml
from redis.asyncio import Redis
from test_serve import run as run_command

from api.app import create_app
from cli import gaps
from cli.main import app
from conftest import REPOSITORY, MakeSettings, Report
from evals.cases import load_dataset
from evals.errors import CannotMeasure
from graph.events import Done, Source
from graph.observe.feedback import Feedback
from graph.observe.gaps import Gaps
from graph.observe.redaction import Redactor
from graph.observe.report import RunReport
from graph.retrieval.articles import read_library
from graph.retrieval.missing import Asked, Topic
from graph.state import AgentContext
from harness.serving import serving
from local.process import Service

Run = Callable[..., typer.testing.Result]

DATA = REPOSITORY / "tests/data"
ASKED: dict[str, Any] = yaml.safe_load((DATA / "gaps.yaml").read_text("utf-8"))
TOPICS: dict[str, list[str]] = ASKED["topics"]


@pytest.fixture
def run(
    monkeypatch: pytest.MonkeyPatch, redis_url: str, articles: Path, request: pytest.FixtureRequest
) -> Generator[Run]:
    """Run the command in this process, on the offline model, which saves the seconds of a start."""
    model: Service = request.getfixturevalue("offline_model")
    variables = {
        "REDIS_URL": redis_url,
        "SUPPORT_KNOWLEDGE": str(articles),
        "OPENAI_BASE_URL": model.url,
        "OPENAI_API_KEY": model.secret,
    }

    def run(*arguments: str, **others: str) -> typer.testing.Result:
        for name, value in (variables | others).items():
            monkeypatch.setenv(name, value)
        return typer.testing.CliRunner().invoke(app, ["knowledge", "gaps", *arguments])

    yield run
    logging.disable(logging.NOTSET)


def keep(redis_url: str, questions: Mapping[str, int], tenant: str = "web", *sources: str) -> None:
    """Keep questions as if they had been asked so often, and not answered."""

    async def keep() -> None:
        async with Redis.from_url(redis_url) as redis:
            gaps = Gaps(redis, Redactor())
            for question, times in questions.items():
                for _ in range(times):
                    report = RunReport("r-1", question, AgentContext(tenant))
                    found = tuple(Source(source, source) for source in sources)
                    report.end(Done("r-1", "No.", "general", found, 0, answered=False))
                    gaps.observe(report)
                    await gaps.flush()

    asyncio.run(keep())


@pytest.fixture
def empty(redis_url: str) -> str:
    """The URL of a Redis with nothing in it."""

    async def flush() -> None:
        async with Redis.from_url(redis_url) as redis:
            await redis.flushdb()

    asyncio.run(flush())
    return redis_url


def test_topics_are_listed_by_how_often_they_were_asked(run: Run, empty: str) -> None:
    """Each with its commonest question, its tenants, and the nearest article with the reason why it did not do."""
    keep(empty, {"Is there a dark mode?": 2, "Dark mode please, is there one?": 1}, "web", "clear-cache")
    keep(empty, {"is there a dark mode": 1}, "app", "clear-cache")
    keep(empty, {"Which opening positions does the support team have?": 1}, "web", "careers", "opening-hours")
    done = run()
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[0] == "    4  Is there a dark mode? (web)"
    assert lines[1] == "       asked 3 by web, 1 by app; rated badly 0 times"
    assert lines[2] == "       nearest: Clear the cache (clear-cache): no article is near"
    assert lines[3] == "    1  Which opening positions does the support team have? (web)"
    assert lines[5] == "       nearest: Careers (careers): found, but it does not hold the answer"
    assert len(lines) == 6
    assert run("--tenant", "app").stdout.startswith("    1  is there a dark mode (app)")
    assert run("--limit", "1").stdout.splitlines()[3:] == ["and 1 more; --limit shows them"]
    assert run("--tenant", "nobody").stdout.startswith("nothing was asked by nobody in 30 days")


def test_drafts_and_cases_are_written(run: Run, empty: str, tmp_path: Path, make_settings: MakeSettings) -> None:
    """A draft is no article yet, and is never written over; cases lack what would be right. Both name no customer."""
    dark = 'Is there a "dark" mode: yes or --> no? Ada Lovelace, ada@mail.example'
    keep(empty, {dark: 1, "dark mode?": 2})
    keep(empty, {"Horoscope?": 1}, "app")
    folder, file = tmp_path / "drafts", tmp_path / "cases" / "gaps.yaml"
    file.parent.mkdir()
    done = run("--drafts", str(folder), "--cases", str(file), "--json")
    assert done.exit_code == 0, done.output
    found = json.loads(done.stdout)
    assert [topic["asked"] for topic in found["topics"]] == [3, 1]
    assert "2 drafts in" in done.stderr
    draft = folder / "dark-mode.md"
    text = draft.read_text("utf-8")
    assert text.startswith("---\ntitle: dark mode?\ndraft: true\n---\n")
    assert '- Is there a "dark" mode: yes or \u2013> no? [name], [email] (1 by web)\n-->' in text
    cases: Any = yaml.safe_load(file.read_text("utf-8"))
    assert (cases[0]["intent"], cases[0]["question"]) == ("gap-dark-mode", "dark mode?")
    assert len({case["id"] for case in cases}) == 3
    with pytest.raises(CannotMeasure, match="has no expectations"):
        load_dataset(file.parent)
    file.write_text(file.read_text("utf-8").replace("  split: tune", "  split: tune\n  refuses: true"))
    assert len(load_dataset(file.parent).cases) == 3
    assert not any(word in text + file.read_text("utf-8") for word in ("Ada", "Lovelace", "mail.example"))

    (folder / "done.md").write_text("---\ntitle: Done\n---\n\nText.\n")
    library = read_library(make_settings(SUPPORT_KNOWLEDGE=folder))
    assert [article.title for article in library.articles] == ["Done"]
    assert {one.reason for one in library.left_out} == {"a draft"}
    draft.write_text(text.replace("draft: true\n", "") + "\nUnder Settings.\n")
    library = read_library(make_settings(SUPPORT_KNOWLEDGE=folder))
    assert [article.text for article in library.articles if article.title == "dark mode?"] == ["Under Settings."]
    draft.write_text("Begun.")
    assert "0 drafts in" in run("--drafts", str(folder)).stdout
    assert draft.read_text() == "Begun."


def test_nothing_is_missing_at_first(run: Run, empty: str) -> None:
    """One line says so, and no file is empty by accident."""
    done = run("--since", "7")
    assert done.stdout == "nothing was asked in 7 days that was not answered, or rated badly\n"
    assert json.loads(run("--json").stdout) == {"days": 30, "topics": [], "more": 0, "badly_placed": []}


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"REDIS_URL": ""}, "missing in the environment: REDIS_URL"),
        ({"REDIS_URL": "redis://127.0.0.1:1/0"}, "REDIS_URL: Redis can't be reached"),
        ({"SUPPORT_KNOWLEDGE": "nowhere"}, "there is no file or folder 'nowhere'"),
        (
            {"SUPPORT_ENV": "production", "OPENAI_BASE_URL": "", "OPENAI_API_KEY": ""},
            "missing in the environment: OPENAI_API_KEY or OPENAI_BASE_URL",
        ),
    ],
)
def test_what_is_missing_to_run_is_named(run: Run, empty: str, variables: dict[str, str], said: str) -> None:
    """One line, and exit status 1."""
    done = run(**variables)
    assert done.exit_code == 1
    assert said in str(done.exception)


def test_bad_ratings_name_articles_that_are_badly_placed(run: Run, empty: str) -> None:
    """A question that was answered badly is a gap, and the article that it was answered from is named."""

    async def rate() -> None:
        async with Redis.from_url(empty) as redis:
            feedback = Feedback(redis, Redactor())
            for number in range(3):
                report = RunReport(f"r-{number}", f"Refund after {number} days?", AgentContext("web"))
                source = Source("refund-policy", "Refunds")
                report.end(Done(report.run_id, "Yes.", "billing", (source,), 0))
                feedback.observe(report)
                assert await feedback.give(report.run_id, AgentContext("web"), 0, None)

    asyncio.run(rate())
    lines = run().stdout.splitlines()
    assert lines[1] == "       asked 3 by web; rated badly 3 times"
    assert lines[2] == "       nearest: Refunds (refund-policy): answered from it, but rated badly"
    assert lines[4] == "    3  of 3 rated answers: Refunds (refund-policy)"
    found = json.loads(run("--json").stdout)["badly_placed"]
    article = {"id": "refund-policy", "title": "Refunds", "url": None}
    assert found == [{"article": article, "found": 3, "rated_badly": 3}]
    assert run("--below", "0").stdout.startswith("nothing was asked")


@pytest.mark.soak
async def test_six_topics_without_an_article_are_named_in_order(
    make_settings: MakeSettings,
    redis: Redis,
    redis_url: str,
    offline_model: Service,
    report: Report,
    tmp_path: Path,
) -> None:
    """Of 200 questions, 30 of which no article answers; customers rate a wrong answer to one of these badly.

    No customer's address, name or number is shown or written.
    """
    answerable = list(islice(fair_questions(), 170))
    assert (len(answerable), sum(map(len, TOPICS.values()))) == (170, 30)
    variables = {
        "OPENAI_BASE_URL": offline_model.url,
        "OPENAI_API_KEY": offline_model.secret,
        "SUPPORT_KNOWLEDGE": str(REPOSITORY / "knowledge"),
        "REDIS_URL": redis_url,
    }
    wrong = unanswered = 0
    settings = make_settings(**variables)
    async with serving(create_app(settings)) as url, httpx.AsyncClient(base_url=url, timeout=60) as client:
        for question in answerable:
            answer = (await client.post("/ask", json={"question": question})).json()
            unanswered += not answer["answered"]
        for question in (question for topic in TOPICS.values() for question in topic):
            answer = (await client.post("/ask", json={"question": question})).json()
            if answer["answered"]:
                wrong += 1
                rating = {"run_id": answer["run_id"], "score": 0}
                assert (await client.post("/feedback", json=rating)).status_code == 202
    folder, cases = tmp_path / "drafts", tmp_path / "cases.yaml"
    arguments = ("knowledge", "gaps", "--json", "--limit", "50", "--drafts", str(folder), "--cases", str(cases))
    done = await asyncio.to_thread(run_command, *arguments, **variables)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)["topics"]
    report(f"of 170 questions with an article, {unanswered} were not answered; of 30 without, {wrong} were answered")
    for topic in found[:10]:
        report(f"{topic['asked']:>3}  {topic['question']}  [{topic['reason']}]")
    named = [(name, topic["asked"]) for topic in found for name in TOPICS if name in topic["question"].lower()]
    assert [name for name, _ in named] == list(TOPICS)
    assert sum(asked for _, asked in named) >= 28  # which other questions are unanswered moves one or two
    others = [topic for topic in found if not any(name in topic["question"].lower() for name in TOPICS)]
    assert [topic["question"] for topic in others if topic["asked"] > 3] == []  # what the offline model did not find
    written = done.stdout + cases.read_text("utf-8") + "".join(file.read_text("utf-8") for file in folder.iterdir())
    assert [private for private in ASKED["private"] if re.search(rf"\b{private}\b", written)] == []


def fair_questions() -> Generator[str]:
    """Yield customers' questions that the sample's articles answer, in English and without a history."""
    for one in yaml.safe_load((DATA / "questions.yaml").read_text("utf-8")):
        yield one["question"]
    for suite in ("billing", "technical", "general"):
        for case in load_dataset(REPOSITORY / "evals/datasets", suite).cases:
            if case.language == "en" and not case.history:
                yield case.question


def test_what_customers_write_does_not_command_a_terminal() -> None:
    """Drafts are read in one, as the list of topics is."""
    topic = Topic([Asked("web", "Why\x1b[31m red?\n--> Or not?", None, unanswered=1)], None, "nothing near")
    missing = gaps._Missing(30, {"why": topic}, [], {}, 0)
    draft, lines = gaps._draft(missing, topic), "\n".join(gaps._lines(missing))
    assert "- Why\ufffd[31m red? \u2013> Or not? (1 by web)\n-->\n" in draft
    assert "    1  Why\ufffd[31m red? --> Or not? (web)" in lines
    assert "\x1b" not in draft + lines

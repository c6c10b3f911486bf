"""The checks of `support-agent doctor`."""

import asyncio
import re
from pathlib import Path

import pytest
from redis.asyncio import Redis

from harness.commands import run
from harness.dialects import unless
from harness.scripted_model import ScriptedModel, embedded, status

NOWHERE = "127.0.0.1:1"


async def examined(articles: Path, **variables: str) -> tuple[int, str, str]:
    result = await asyncio.to_thread(run, "doctor", SUPPORT_KNOWLEDGE=str(articles), **variables)
    return result.returncode, result.stdout, result.stderr


async def test_doctor_says_that_all_is_well(redis: Redis, redis_url: str, model: ScriptedModel, articles: Path) -> None:
    """It shows each dependency's response time, and the cache's hit rate."""
    code, said, complaints = await examined(articles, REDIS_URL=redis_url, OPENAI_BASE_URL=model.url)
    assert (code, complaints) == (0, "")
    assert re.search(r"^Redis     answers in [\d.]+ ms", said, re.MULTILINE)
    assert re.search(r"^answers   none yet of 0 came without asking the model", said, re.MULTILINE)
    assert re.search(r"^model     answers in [\d.]+ ms", said, re.MULTILINE)
    assert re.search(r"^articles  6 in .*; kept in memory", said, re.MULTILINE)
    assert re.search(r"^handoffs  nobody is told .* set SUPPORT_HANDOFF_WEBHOOK", said, re.MULTILINE)


async def test_doctor_says_what_is_not_configured(articles: Path) -> None:
    """It names what is not configured, and the local default that replaces it."""
    code, said, _ = await examined(articles)
    assert code == 0
    assert said.count("not configured") == 2


@pytest.mark.parametrize(
    ("variables", "complaint"),
    [
        ({"REDIS_URL": f"redis://:secret-pw@{NOWHERE}/0"}, "Redis     can't be reached; start Redis, or correct"),
        ({"OPENAI_BASE_URL": f"http://{NOWHERE}/v1"}, "model     can't be reached; start it, or correct OPENAI_BASE"),
        (
            {"DATABASE_URL": f"postgresql://u:secret-pw@{NOWHERE}/x"},
            "articles  DATABASE_URL: Postgres can't be",
        ),
        ({"SUPPORT_KNOWLEDGE": "nowhere"}, "articles  SUPPORT_KNOWLEDGE: there is no file or folder"),
    ],
    ids=["redis", "model", "postgres", "articles"],
)
async def test_doctor_says_how_to_mend_what_is_down(articles: Path, variables: dict[str, str], complaint: str) -> None:
    """It shows one line with a fix for each failure, without a password, and exits with 1."""
    result = await asyncio.to_thread(run, "doctor", **({"SUPPORT_KNOWLEDGE": str(articles)} | variables))
    assert result.returncode == 1
    assert result.stderr.startswith(complaint)
    assert result.stderr.count("\n") == 1
    assert "secret-pw" not in result.stdout + result.stderr


async def test_doctor_refuses_what_serve_refuses(articles: Path) -> None:
    """With the same line."""
    for variables, missing in (
        ({"SUPPORT_ENV": "production"}, "missing in the environment: OPENAI_API_KEY or OPENAI_BASE_URL, REDIS_URL"),
        ({"LANGSMITH_TRACING": "true"}, "LANGSMITH_API_KEY: missing"),
    ):
        code, _, complaint = await examined(articles, **variables)
        assert (code, complaint.count("\n")) == (1, 1)
        assert missing in complaint


async def test_doctor_names_every_fault_of_the_articles(articles: Path, tmp_path: Path) -> None:
    """On a line each, however many, and it counts sources, articles, passages and what is left out."""
    for number in range(25):
        (articles / f"bad{number:02}.md").write_text("---\ntitle: [a\n---\n\nText.\n")
    (articles / "draft.md").write_text("---\ntitle: Secret\ndraft: true\n---\n\nSecret.\n")
    more = tmp_path / "more"
    more.mkdir()
    (more / "start.md").write_text("---\ntitle: Start\n---\n\nBegin here.\n")
    result = await asyncio.to_thread(run, "doctor", SUPPORT_KNOWLEDGE=f"{articles},{more}")
    assert result.returncode == 1
    named = [line for line in result.stderr.splitlines() if line.startswith(f"articles  {articles}/bad")]
    assert len(named) == len(set(named)) == 25
    assert (
        f"articles  7 in 2 sources ({articles}, {more}), 7 passages; left out: 1 not for customers, 25 with faults; "
        "kept in memory" in result.stdout
    )


async def test_doctor_names_articles_that_the_embedding_model_refused(articles: Path, model: ScriptedModel) -> None:
    """As the last start on this machine found."""
    (articles / "badge.md").write_text("---\ntitle: blob\n---\n\nText.\n")
    model.script("embeddings", unless(lambda request: "blob" in str(request["input"]), status(400), embedded(64)))
    variables = {"OPENAI_BASE_URL": model.url, "SUPPORT_KNOWLEDGE": str(articles)}
    asked = await asyncio.to_thread(run, "ask", "When is support open?", **variables)
    assert asked.returncode == 0, asked.stderr
    result = await asyncio.to_thread(run, "doctor", **variables)
    assert result.returncode == 1
    assert result.stderr == "articles  badge: the embedding model refused a passage at the last start\n"

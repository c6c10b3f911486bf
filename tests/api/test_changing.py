"""Articles that change while customers ask: answers follow, no request fails, and nobody sees half of an article."""

import asyncio
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack, chdir
from pathlib import Path

import pytest
from redis.asyncio import Redis

from conftest import MakeSettings, Report, Serve
from graph.models import open_models
from graph.retrieval import replica as of_postgres
from graph.retrieval import stamps
from graph.retrieval.syncing import sync_to_postgres
from harness.caching import caching
from harness.changing import Changing, Customers, change_everything, quote
from harness.commands import COMMAND
from harness.replica import replica
from harness.scripted_model import ScriptedModel


def check(customers: Customers) -> None:
    """Check what all answers must have in common."""
    assert customers.failures == []
    for answer in customers.answers:  # both passages of an article have its mark
        names = [mark.rsplit("-", 1)[0] for mark in answer.marks]
        assert len(names) == len(set(names)), answer
    assert {"hit", "miss"} <= {answer.cache for answer in customers.answers}


def said(took: Sequence[float]) -> str:
    return ", ".join(f"{name} {seconds:.1f} s" for name, seconds in zip(NAMES, took, strict=True))


NAMES = ("changed", "added", "made a draft", "published", "removed")


async def test_answers_follow_articles_that_change(
    serve: Serve, redis: Redis, model: ScriptedModel, articles: Path, monkeypatch: pytest.MonkeyPatch, report: Report
) -> None:
    """On two replicas, with questions whose answers are kept and others."""
    monkeypatch.setattr(stamps, "LOOK", 0.05)
    monkeypatch.setattr(stamps, "_STILL", 0.05)
    model.script("answer", quote)
    Changing(articles).write("plain", 1)
    async with caching(serve, 2) as urls:
        took, customers = await change_everything(urls, articles)
    check(customers)
    report(f"two replicas, looks every 0.05 s, answers follow an article that is {said(took)}")


async def test_answers_follow_a_sync_to_postgres(
    serve: Serve,
    make_settings: MakeSettings,
    redis: Redis,
    model: ScriptedModel,
    articles: Path,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    report: Report,
) -> None:
    """On two replicas that share it, in the same way."""
    monkeypatch.setattr(of_postgres, "_POLL", 0.05)
    model.script("answer", quote)
    Changing(articles).write("plain", 1)
    settings = make_settings(DATABASE_URL=database_url)

    async def sync() -> None:
        async with open_models(settings) as models:
            await sync_to_postgres(settings, models, force=False)

    async with caching(serve, 2, DATABASE_URL=database_url) as urls:
        took, customers = await change_everything(urls, articles, publish=sync)
    check(customers)
    report(f"two replicas with Postgres, looks every 0.05 s, answers follow an article that is {said(took)}")


@pytest.mark.soak
async def test_answers_of_real_processes_follow_syncs_to_postgres(
    redis: Redis,
    redis_url: str,
    model: ScriptedModel,
    articles: Path,
    database_url: str,
    tmp_path: Path,
    report: Report,
) -> None:
    """With 20 questions a second, looks as often as an operator has them, and the command."""
    model.script("answer", quote)
    Changing(articles).write("plain", 1)
    variables = {"OPENAI_API_KEY": "sk-test", "DATABASE_URL": database_url, "SUPPORT_CACHE_TTL": "60"}
    given = {"OPENAI_BASE_URL": model.url, "SUPPORT_KNOWLEDGE": str(articles)}

    async def sync() -> None:
        command = await asyncio.create_subprocess_exec(
            COMMAND, "knowledge", "sync", env=os.environ | given | variables, stdout=asyncio.subprocess.DEVNULL
        )
        assert await command.wait() == 0

    async with AsyncExitStack() as stack:
        urls: list[str] = []
        for number in range(2):
            (tmp_path / str(number)).mkdir()
            with chdir(tmp_path / str(number)):
                _, url = await stack.enter_async_context(replica(model, redis_url, articles, **variables))
            urls.append(url)
        took, customers = await change_everything(urls, articles, publish=sync)
    check(customers)
    report(f"two processes with Postgres, 20 questions a second, answers follow an article that is {said(took)}")


@pytest.mark.soak
async def test_answers_of_real_processes_follow_articles_that_change(
    redis: Redis, redis_url: str, model: ScriptedModel, articles: Path, tmp_path: Path, report: Report
) -> None:
    """With 20 questions a second, and looks as often as an operator has them."""
    model.script("answer", quote)
    Changing(articles).write("plain", 1)
    variables = {"OPENAI_API_KEY": "sk-test", "SUPPORT_CACHE_DIR": "", "SUPPORT_CACHE_TTL": "60"}
    async with AsyncExitStack() as stack:
        urls: list[str] = []
        for number in range(2):
            (tmp_path / str(number)).mkdir()
            with chdir(tmp_path / str(number)):
                _, url = await stack.enter_async_context(replica(model, redis_url, articles, **variables))
            urls.append(url)
        took, customers = await change_everything(urls, articles)
    check(customers)
    report(f"two processes, 20 questions a second, answers follow an article that is {said(took)}")

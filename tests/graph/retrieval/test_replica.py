"""Replicas with Postgres: what they serve at a start, and when it changes."""

import asyncio
import logging
import shutil
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import psycopg
import pytest

from api.settings import ServiceSettings
from conftest import MakeSettings
from graph.errors import KnowledgeUnavailable
from graph.models import open_models
from graph.retrieval import replica
from graph.retrieval.index import open_knowledge
from graph.retrieval.served import Knowledge
from graph.retrieval.syncing import sync_to_postgres
from harness.pgbouncer import pgbouncer
from harness.scripted_model import ScriptedModel


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for a newer set more often than is needed in the field."""
    monkeypatch.setattr(replica, "_POLL", 0.1)


@asynccontextmanager
async def serving(settings: ServiceSettings) -> AsyncGenerator[Knowledge]:
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        yield knowledge


async def sync(settings: ServiceSettings, *, force: bool = False) -> None:
    async with open_models(settings) as models:
        await sync_to_postgres(settings, models, force=force)


async def finds(knowledge: Knowledge, question: str, text: str) -> None:
    """Wait until the first passage for a question has a text."""
    async with asyncio.timeout(20):
        while text not in (await knowledge.search(question))[0]["text"]:
            await asyncio.sleep(0.05)


def write(articles: Path, name: str, text: str) -> None:
    (articles / f"{name}.md").write_text(f"---\nid: {name}\ntitle: {name}\ncategory: general\n---\n\n{text}\n")


async def test_replicas_follow_a_sync(make_settings: MakeSettings, database_url: str, articles: Path) -> None:
    """A changed, an added and a removed article, on two replicas, without a restart; the version turns."""
    settings = make_settings(DATABASE_URL=database_url)
    async with serving(settings) as one, serving(settings) as other:
        before = one.version
        assert before == other.version
        write(articles, "careers", "A zookeeper is wanted.")
        write(articles, "parking", "Park behind the aquarium.")
        (articles / "clear-cache.md").unlink()
        await sync(settings)
        for knowledge in (one, other):
            await finds(knowledge, "zookeeper", "A zookeeper is wanted")
            await finds(knowledge, "aquarium", "behind the aquarium")
            assert "clear-cache" not in {each["id"] for each in await knowledge.search("clear the cache")}
        async with asyncio.timeout(20):
            while not (one.version == other.version != before):
                await asyncio.sleep(0.05)


async def test_a_start_does_not_need_its_sources(
    make_settings: MakeSettings, database_url: str, articles: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Once Postgres has articles: they are served, and the log names what can't be read."""
    settings = make_settings(DATABASE_URL=database_url, SUPPORT_COMPANY=str(articles.parent / "company.yaml"))
    shutil.copy(articles / "company.yaml", articles.parent)
    await sync(settings)
    shutil.rmtree(articles)
    async with serving(settings) as knowledge:
        await finds(knowledge, "support is open on monday", "Support is open")
        async with asyncio.timeout(20):
            while not any("the articles from before are served" in line.getMessage() for line in caplog.records):
                await asyncio.sleep(0.05)


async def test_a_start_brings_in_what_is_new(
    make_settings: MakeSettings, database_url: str, articles: Path, model: ScriptedModel
) -> None:
    """In the background: the articles from before are served meanwhile, to other replicas too."""
    settings = make_settings(DATABASE_URL=database_url)
    async with serving(settings) as old:
        write(articles, "careers", "A zookeeper is wanted.")
        async with serving(settings) as new:
            await finds(new, "zookeeper", "A zookeeper is wanted")
            await finds(old, "zookeeper", "A zookeeper is wanted")


async def test_a_restart_of_an_old_release_does_not_undo_a_sync(
    make_settings: MakeSettings, database_url: str, articles: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Its sources hold what a newer sync has replaced; a sync by hand brings that back."""
    caplog.set_level(logging.INFO)
    settings = make_settings(DATABASE_URL=database_url)
    old = articles.parent / "old"
    shutil.copytree(articles, old)
    await sync(settings)
    write(articles, "careers", "A zookeeper is wanted.")
    await sync(settings)
    of_old = make_settings(DATABASE_URL=database_url, SUPPORT_KNOWLEDGE=old)
    async with serving(of_old) as knowledge:
        async with asyncio.timeout(20):
            while not any("a newer sync has replaced" in line.getMessage() for line in caplog.records):
                await asyncio.sleep(0.05)
        await finds(knowledge, "careers", "A zookeeper is wanted")
        await sync(of_old)
        await finds(knowledge, "careers", "Open positions")


async def test_a_start_with_bad_sources_serves_what_there_is(
    make_settings: MakeSettings, database_url: str, articles: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A folder that is not mounted, but for one file."""
    settings = make_settings(DATABASE_URL=database_url)
    await sync(settings)
    for file in sorted(articles.glob("*.md"))[1:]:
        file.unlink()
    async with serving(settings) as knowledge:
        async with asyncio.timeout(20):
            while not any("5 of 6 articles are gone" in line.getMessage() for line in caplog.records):
                await asyncio.sleep(0.05)
        await finds(knowledge, "support is open on monday", "Support is open")


async def test_another_embedding_model_is_indexed_at_its_start(
    make_settings: MakeSettings, database_url: str, articles: Path, model: ScriptedModel
) -> None:
    """From the newest set, where its own sources hold what was replaced; the old model's replicas go on."""
    settings = make_settings(DATABASE_URL=database_url)
    old = articles.parent / "old"
    shutil.copytree(articles, old)
    await sync(settings)
    write(articles, "careers", "A zookeeper is wanted.")
    await sync(settings)
    another = make_settings(
        DATABASE_URL=database_url, SUPPORT_EMBEDDING_MODEL="text-embedding-3-large", SUPPORT_KNOWLEDGE=old
    )
    async with serving(settings) as before, serving(another) as after:
        for knowledge in (before, after):
            await finds(knowledge, "careers", "A zookeeper is wanted")
        assert before.version != after.version


async def test_a_sync_that_was_killed_is_ended_by_a_start(
    make_settings: MakeSettings, database_url: str, articles: Path, model: ScriptedModel
) -> None:
    """A set that was written, and whose index is not complete."""
    settings = make_settings(DATABASE_URL=database_url)
    await sync(settings)
    write(articles, "careers", "A zookeeper is wanted.")
    await sync(settings)
    with psycopg.connect(database_url) as connection:
        connection.execute("UPDATE knowledge_indexes SET number = 1")
        connection.execute("DELETE FROM knowledge_vectors WHERE id = (SELECT max(id) FROM knowledge_vectors)")
    async with serving(settings) as knowledge:
        await finds(knowledge, "careers", "A zookeeper is wanted")


async def test_postgres_may_be_away_for_a_while(
    make_settings: MakeSettings, database_url: str, articles: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Replicas look again, and follow what they have missed."""
    settings = make_settings(DATABASE_URL=database_url)
    async with serving(settings) as knowledge:
        with monkeypatch.context() as away:
            away.setattr("graph.retrieval.stored.Stored.newest", unavailable)
            write(articles, "careers", "A zookeeper is wanted.")
            await sync(settings)
            await asyncio.sleep(0.3)
            assert knowledge.is_indexed
        await finds(knowledge, "zookeeper", "A zookeeper is wanted")


async def unavailable(*_: object) -> None:
    raise KnowledgeUnavailable("OperationalError")


async def test_pgbouncer_in_transaction_mode(
    make_settings: MakeSettings, database_url: str, articles: Path, model: ScriptedModel
) -> None:
    """Replicas and two syncs at once, with three connections between them: one sync waits, and all is followed."""
    with pgbouncer(database_url) as url:
        settings = make_settings(DATABASE_URL=url)
        async with serving(settings) as one, serving(settings) as other:
            write(articles, "careers", "A zookeeper is wanted.")
            model.forget()
            await asyncio.gather(sync(settings), sync(settings))
            assert sum("\n" in text for call in model.of("embeddings") for text in call.body["input"]) == 1
            for knowledge in (one, other):
                await finds(knowledge, "zookeeper", "A zookeeper is wanted")

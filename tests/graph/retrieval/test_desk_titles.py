"""Desks at serving: what no rule names is an example of the nearest desk, once there are vectors."""

import asyncio
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from api.settings import ServiceSettings
from conftest import MakeSettings
from graph.desk_prompt import DeskPrompt
from graph.models import open_models
from graph.retrieval import replica
from graph.retrieval.index import open_knowledge
from graph.retrieval.served import Knowledge
from graph.retrieval.syncing import sync_to_postgres
from harness import dialects
from harness.scripted_model import ScriptedModel, embedded, status

VECTORS = embedded(64)
DESKS = """\
name: Acme
desks:
  general:
    about: support is open on monday and friday
  billing:
    about: every payment is refunded, a card that was charged twice
  technical:
    about: reset the password, clear the cache, restart the browser
    examples: [The browser shows a blank page.]
"""


@pytest.fixture(params=["memory", "Postgres"])
def kept(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Settings that say where the articles are."""
    if request.param == "memory":
        return {}
    monkeypatch.setattr(replica, "_POLL", 0.05)
    monkeypatch.setattr(replica, "_AGAIN", 0.2)
    return {"DATABASE_URL": request.getfixturevalue("database_url")}


def is_of_desks(request: dict[str, Any]) -> bool:
    """Whether the model is asked for what company.yaml says: articles have lines, and a question is one text."""
    return len(request["input"]) > 1 and "\n" not in request["input"][0]


@asynccontextmanager
async def served(settings: ServiceSettings) -> AsyncGenerator[Knowledge]:
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        await knowledge.indexed()
        yield knowledge


async def has_example(knowledge: Knowledge, title: str, desk: str) -> None:
    """Wait until the classifier's prompt has a title."""
    async with asyncio.timeout(20):
        while (title, desk) not in knowledge.prompt.examples:
            await asyncio.sleep(0.01)


async def test_titles_near_a_desk_are_its_examples(
    make_settings: MakeSettings, model: ScriptedModel, articles: Path, tmp_path: Path, kept: dict[str, str]
) -> None:
    """Where it has none of its own; a restart embeds no article for that; the version is that of the rules alone."""
    (articles / "company.yaml").write_text(DESKS)
    settings = make_settings(SUPPORT_CACHE_DIR=str(tmp_path / "vectors"), **kept)
    for _ in range(2):
        model.forget()
        async with served(settings) as knowledge:
            rules = DeskPrompt(knowledge.company)
            await has_example(knowledge, "Charged twice", "billing")
            examples = dict(knowledge.prompt.examples)
            assert knowledge.prompt.version == rules.version
        assert (examples["Refunds"], examples["Opening hours"]) == ("billing", "general")
        assert [text for text, desk in examples.items() if desk == "technical"] == ["The browser shows a blank page."]
    said = 4 if kept else 0  # texts that no disk keeps beside Postgres
    asked = [text for call in model.of("embeddings") for text in call.body["input"]]
    assert (len(asked), "How many dimensions?" in asked) == (1 + said, True)


async def test_where_the_model_fails_articles_have_no_desk(
    make_settings: MakeSettings,
    model: ScriptedModel,
    articles: Path,
    caplog: pytest.LogCaptureFixture,
    kept: dict[str, str],
) -> None:
    """The log says how many and why, and questions are answered."""
    (articles / "company.yaml").write_text(DESKS)
    model.script("embeddings", dialects.unless(is_of_desks, status(401), VECTORS))
    async with served(make_settings(**kept)) as knowledge:
        async with asyncio.timeout(20):
            while not [record for record in caplog.records if "have no desk" in record.getMessage()]:
                await asyncio.sleep(0.01)
        assert knowledge.prompt.examples == DeskPrompt(knowledge.company).examples
        assert await knowledge.search("support is open on monday")
        if kept:  # those in memory get theirs when one of them changes
            await asyncio.sleep(0.5)
            model.script("embeddings", VECTORS)
            await has_example(knowledge, "Charged twice", "billing")
    (said,) = [record for record in caplog.records if "have no desk" in record.getMessage()]
    assert said.levelno == logging.WARNING
    assert said.getMessage().startswith("6 articles have no desk: no rule names one, and the embedding model ")


async def test_a_sync_gives_new_articles_their_desk(
    make_settings: MakeSettings,
    model: ScriptedModel,
    articles: Path,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """From the vectors that Postgres has: a replica asks the model for nothing."""
    monkeypatch.setattr(replica, "_POLL", 0.05)
    (articles / "company.yaml").write_text(DESKS)
    settings = make_settings(DATABASE_URL=database_url)
    async with served(settings) as knowledge:
        await has_example(knowledge, "Charged twice", "billing")
        (articles / "vat.md").write_text("---\ntitle: VAT\n---\n\nThe card was charged a payment for VAT.\n")
        model.forget()
        async with open_models(settings) as models:
            _, done = await sync_to_postgres(settings, models, force=False)
        await has_example(knowledge, "VAT", "billing")
        assert ("Charged twice", "billing") in knowledge.prompt.examples
    assert len(model.of("embeddings")) == done.embedded == 1

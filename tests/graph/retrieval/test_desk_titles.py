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
from graph.retrieval.index import open_knowledge
from graph.retrieval.served import Knowledge
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


def is_of_desks(request: dict[str, Any]) -> bool:
    """Whether the model is asked for what company.yaml says: articles have lines, and a question is one text."""
    return len(request["input"]) > 1 and "\n" not in request["input"][0]


@asynccontextmanager
async def served(settings: ServiceSettings) -> AsyncGenerator[Knowledge]:
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        await knowledge.indexed()
        yield knowledge


async def test_titles_near_a_desk_are_its_examples(
    make_settings: MakeSettings, model: ScriptedModel, articles: Path, tmp_path: Path
) -> None:
    """Where it has none of its own; a restart embeds nothing for that, and the version is that of the rules alone."""
    (articles / "company.yaml").write_text(DESKS)
    settings = make_settings(SUPPORT_CACHE_DIR=str(tmp_path / "vectors"))
    for _ in range(2):
        model.forget()
        async with served(settings) as knowledge:
            rules = DeskPrompt(knowledge.company)
            async with asyncio.timeout(20):
                while ("Charged twice", "billing") not in knowledge.prompt.examples:
                    await asyncio.sleep(0.01)
            examples = dict(knowledge.prompt.examples)
            assert knowledge.prompt.version == rules.version
        assert (examples["Refunds"], examples["Opening hours"]) == ("billing", "general")
        assert [text for text, desk in examples.items() if desk == "technical"] == ["The browser shows a blank page."]
    assert [text for call in model.of("embeddings") for text in call.body["input"]] == ["How many dimensions?"]


async def test_where_the_model_fails_articles_have_no_desk(
    make_settings: MakeSettings, model: ScriptedModel, articles: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says how many and why, and questions are answered."""
    (articles / "company.yaml").write_text(DESKS)
    model.script("embeddings", dialects.unless(is_of_desks, status(401), VECTORS))
    async with served(make_settings()) as knowledge:
        async with asyncio.timeout(20):
            while not [record for record in caplog.records if "have no desk" in record.getMessage()]:
                await asyncio.sleep(0.01)
        assert knowledge.prompt.examples == DeskPrompt(knowledge.company).examples
        assert await knowledge.search("support is open on monday")
    (said,) = [record for record in caplog.records if "have no desk" in record.getMessage()]
    assert said.levelno == logging.WARNING
    assert said.getMessage().startswith("6 articles have no desk: no rule names one, and the embedding model ")

"""The same ten questions over every route, against the servers that people have."""

import asyncio
import re

import httpx
import pytest
from redis.asyncio import Redis

from conftest import REPOSITORY, Serve
from harness.profiles import PROFILES, SAID, THOUGHT, Profile, category_of
from harness.routes import ROUTES, ask
from harness.scripted_model import ScriptedModel

QUESTIONS = (
    "Why was I charged twice?",
    "How do I reset my password?",
    "When are you open?",
    'Where is "Save & close"?',
    "Ich wurde zweimal belastet, was nun?",
    "Où est ma facture d'avril 🧾?",
    "Does a < b && b > c work in filters?",
    "返金してもらえますか?",
    "First line\nsecond line: <b>bold</b>?",
    "I would like to know, in some more words than others need, whether a refund of the last payment is possible.",
)
_AT_ONCE = 6


@pytest.mark.parametrize("profile", PROFILES, ids=[profile.name for profile in PROFILES])
async def test_a_server_answers_over_every_route(
    serve: Serve, redis: Redis, model: ScriptedModel, profile: Profile
) -> None:
    """Each question is answered whole and without a thought, and belongs to its category."""
    profile.use(model)
    free = asyncio.Semaphore(_AT_ONCE)

    async def answered(route: str, question: str) -> None:
        async with free:
            found = await ask(client, route, question)
        assert found.text == SAID + question, route
        assert found.category in (None, category_of(question)), route
        assert THOUGHT not in found.text

    variables = {"SUPPORT_CLASSIFY_MODEL": profile.model, "SUPPORT_ANSWER_MODEL": profile.model}
    async with serve(**variables) as url, httpx.AsyncClient(base_url=url, timeout=60) as client:
        await answered("/ask", "Is anybody there?")
        model.forget()
        await asyncio.gather(*(answered(route, question) for route in ROUTES for question in QUESTIONS))
    assert len(model.of("answer")) == len(model.of("classify")) == len(ROUTES) * len(QUESTIONS)  # nothing twice


def test_the_table_has_every_profile() -> None:
    """docs/models.md says of each server what works, and since when that is known."""
    table = (REPOSITORY / "docs/models.md").read_text()
    rows = {match[1] for match in re.finditer(r"^\| ([^|]+?) \|", table, re.MULTILINE)}
    assert {profile.name for profile in PROFILES} <= rows

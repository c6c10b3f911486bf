"""Desks of articles: by rules, and by meaning."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from pydantic import SecretStr

from conftest import REPOSITORY, Report
from graph.models import open_models
from graph.retrieval.articles import Article, read_library
from graph.retrieval.company import Company, Desk
from graph.retrieval.desks import desk_of, desks_by_meaning, rule_of
from graph.retrieval.sources import Document
from graph.settings import AgentSettings
from local.process import Service

COMPANY = Company(
    "Acme",
    (
        Desk("general", rules={"folder": ("*",)}),
        Desk("billing", rules={"folder": ("billing", "guides/money*"), "tags": ("invoice*",)}),
        Desk("technical", rules={"section": ("How to ?",), "group": ("it [all]",), "category": ("TECHNIK",)}),
    ),
)


@pytest.mark.parametrize(
    ("labels", "desk"),
    [
        ({"folder": ("billing",)}, "billing"),
        ({"folder": ("billing/refunds/2026",)}, "billing"),
        ({"folder": ("guides/money-back",)}, "billing"),
        ({"folder": ("billing-old",)}, "general"),
        ({"tags": ("new", "Invoices")}, "billing"),
        ({"section": ("how to x",)}, "technical"),
        ({"section": ("how to xy",)}, None),
        ({"group": ("IT [all]",)}, "technical"),
        ({"category": ("Technik",)}, "technical"),
        ({"folder": ("elsewhere",), "category": ("technik",)}, "technical"),
        ({"folder": ("elsewhere",)}, "general"),
        ({}, None),
    ],
)
def test_rules_are_patterns_of_labels(labels: dict[str, tuple[str, ...]], desk: str | None) -> None:
    """`*` and `?` are characters, a folder has what is below it, case counts for nothing, the first desk is last."""
    document = Document("a", "A", "Text.", "1", labels=labels)
    assert desk_of(document, COMPANY) == desk
    rule = rule_of(document, COMPANY)
    assert (rule.desk if rule else None) == desk


def test_one_desk_has_every_article() -> None:
    """Without a choice there is no rule."""
    assert desk_of(Document("a", "A", "Text.", "1"), Company("Acme", (Desk("help"),))) == "help"


class Counting:
    """Vectors with a number for each topic, and a count of the requests."""

    def __init__(self) -> None:
        self.requests = 0

    async def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        """Count a request."""
        self.requests += 1
        return [[1.0, *(float(text.lower().count(topic)) for topic in ("money", "error", "shop"))] for text in texts]


def article(name: str, text: str, desk: str | None = None) -> Article:
    return Article(id=name, title=name, text=text, desk=desk)


async def test_what_no_rule_names_goes_to_the_nearest_desk() -> None:
    """Articles are compared with what desks are about, their examples and their ruled articles, in few requests."""
    billing = Desk("billing", examples=("Where is my money?",))
    company = Company("Acme", (Desk("general", about="the shop"), billing, Desk("technical")))
    articles = [
        article("ruled", "Error after error.", "technical"),
        *(article(f"refund-{number}", "Money back.") for number in range(100)),
        article("crash", "An error."),
        article("hours", "The shop is open."),
    ]
    embed = Counting()
    found = await desks_by_meaning(articles, company, embed)
    assert found == {**{f"refund-{n}": "billing" for n in range(100)}, "crash": "technical", "hours": "general"}
    assert embed.requests == 2


async def test_without_anything_to_compare_with_it_is_the_first_desk() -> None:
    """Nothing is asked where nothing can be decided, or all is."""
    company, embed = Company("Acme", (Desk("general"), Desk("billing"))), Counting()
    assert await desks_by_meaning([article("a", "Text.")], company, embed) == {"a": "general"}
    assert await desks_by_meaning([article("a", "Text.", "billing")], company, embed) == {}
    assert embed.requests == 0


async def test_offline_most_of_the_samples_articles_reach_their_desk(offline_model: Service, report: Report) -> None:
    """At least 80 % of the articles whose rule is taken away go to the desk that it named."""
    library = read_library(AgentSettings(SUPPORT_KNOWLEDGE=str(REPOSITORY / "knowledge")))
    articles = [replace(article, desk=None) for article in library.articles[::5]]
    settings = AgentSettings(OPENAI_BASE_URL=offline_model.url, OPENAI_API_KEY=SecretStr(offline_model.secret))
    async with open_models(settings) as models:
        found = await desks_by_meaning(articles, library.company, models.embed)
    right = sum(found[article.id] == article.desk for article in library.articles[::5])
    report(f"offline model, desks of {len(articles)} articles by meaning: {right / len(articles):.1%}")
    assert right / len(articles) >= 0.8

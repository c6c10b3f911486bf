"""What the offline model makes of questions in customers' words, none of which stands in a prompt."""

import asyncio
from pathlib import Path
from typing import TypedDict

import yaml
from pydantic import SecretStr

from conftest import REPOSITORY, Report
from graph.agent import SupportAgent, open_agent
from graph.desk_prompt import DeskPrompt
from graph.events import Done
from graph.retrieval.company import load_company
from graph.settings import AgentSettings
from local.process import Service

LEAST = 0.85


class Case(TypedDict):
    """A question and what is right for it."""

    question: str
    category: str
    articles: list[str]


def cases() -> list[Case]:
    return yaml.safe_load(Path(REPOSITORY, "tests/data/questions.yaml").read_text())


def settings_for(service: Service) -> AgentSettings:
    return AgentSettings(
        OPENAI_BASE_URL=service.url,
        OPENAI_API_KEY=SecretStr(service.secret),
        SUPPORT_KNOWLEDGE=str(REPOSITORY / "knowledge"),
    )


def test_the_questions_are_thirty_a_category_and_none_is_in_a_prompt() -> None:
    """The figures below are measured on questions that the prompt does not give away."""
    categories = [case["category"] for case in cases()]
    assert {category: categories.count(category) for category in categories} == {
        "billing": 30,
        "technical": 30,
        "general": 30,
    }
    prompt = DeskPrompt(load_company(REPOSITORY / "knowledge/company.yaml"))
    known = {question.lower() for question, _ in prompt.examples}
    assert not [case["question"] for case in cases() if case["question"].lower() in known]


async def test_offline_most_categories_and_sources_are_right(offline_model: Service, report: Report) -> None:
    """At least 85 % of the questions get their category, and at least 85 % have the right article as a source."""
    asked = cases()
    async with open_agent(settings_for(offline_model)) as agent:
        await agent.knowledge.indexed()
        answers = await ask_all(agent, asked)
    pairs = list(zip(asked, answers, strict=True))
    categories = sum(case["category"] == done.category for case, done in pairs) / len(pairs)
    found = [{source.id for source in done.sources} for done in answers]
    sources = sum(bool(ids & set(case["articles"])) for ids, case in zip(found, asked, strict=True)) / len(pairs)
    report(f"offline model, {len(pairs)} questions: category {categories:.1%}, source {sources:.1%}")
    assert categories >= LEAST
    assert sources >= LEAST


async def ask_all(agent: SupportAgent, asked: list[Case]) -> list[Done]:
    several = asyncio.Semaphore(4)

    async def ask(case: Case) -> Done:
        async with several:
            return await agent.ask(case["question"])

    return await asyncio.gather(*(ask(case) for case in asked))


async def test_offline_what_the_articles_do_not_hold_is_said_so(offline_model: Service) -> None:
    """A question that no article answers gets no invented answer, but the contact."""
    async with open_agent(settings_for(offline_model)) as agent:
        await agent.knowledge.indexed()
        done = await agent.ask("What is the capital of France?")
    assert done.answer.startswith("The help articles do not answer this question.")
    assert "@fernway.example" in done.answer

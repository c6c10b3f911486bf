"""What the articles lack."""

from collections.abc import Sequence

import pytest

from graph.observe.feedback import Rating, Record
from graph.observe.gaps import Gap, KeptGap
from graph.retrieval import missing
from graph.retrieval.articles import Article
from graph.retrieval.missing import Misplaced, misplaced, questions_without_answers, topics_of
from harness.scripted_model import hashed_words

ARTICLES = [
    Article("refunds", "Refund of a payment", "A payment is refunded within thirty days, once you ask for the refund."),
    Article("export", "Export boards", "Boards are exported as spreadsheets under Settings."),
    Article("mobile", "Mobile application", "The mobile application runs on phones and tablets."),
]


async def embed(texts: Sequence[str]) -> list[list[float]]:
    return [hashed_words(text, 64) for text in texts]


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("graph.observe.gaps._today", lambda: 100)


def gap(question: str, times: int = 1, *sources: str, tenant: str = "web", day: int = 100) -> KeptGap:
    return KeptGap(Gap(tenant, question, "general", sources), {day: times})


def rated(question: str, score: float, *sources: str, answered: bool = True, tenant: str = "web") -> Rating:
    return Rating("r-1", score, None, Record(tenant, question, "general", sources, "Yes.", answered=answered))


async def test_questions_are_grouped_whatever_their_words() -> None:
    """Those asked most come first, in a topic and among the topics; each has the nearest article, and why it fails."""
    gaps = [
        gap("Refund of a payment after forty days?", 1, "refunds"),
        gap("A refund: payment, forty days?", 3, "refunds"),
        gap("horoscope weekly please", 1, "mobile", "export"),
    ]
    ratings = [rated("export boards quarterly", 0.2, "export") for _ in range(2)]
    asked = questions_without_answers(gaps, ratings, 0.5, 30)
    topics = await topics_of(asked, ARTICLES, embed)
    assert [(topic.questions[0].question, topic.times, topic.rated_badly) for topic in topics] == [
        ("A refund: payment, forty days?", 4, 0),
        ("export boards quarterly", 2, 2),
        ("horoscope weekly please", 1, 0),
    ]
    assert [(topic.nearest, topic.reason) for topic in topics] == [
        ("refunds", "not in it"),
        ("export", "rated badly"),
        ("mobile", "nothing near"),
    ]


def test_only_what_got_no_good_answer_counts_and_that_once() -> None:
    """An unanswered question that is rated badly too was asked once; good ratings and small talk are no gaps."""
    gaps = [gap("Why?", 2, "export"), gap("Long ago?", day=60), gap("Elsewhere?", tenant="app")]
    ratings = [
        rated("why? ", 0, "export", answered=False),
        rated("Well done?", 0.5, "export"),
        rated("Thanks!", 0),
        Rating("r-2", 0, None, Record("web", "Failed?", error="model-timeout")),
        rated("Order 20481973?", 0.4, "export"),
    ]
    found = questions_without_answers(gaps, ratings, 0.5, 30)
    assert [(one.question, one.tenant, one.times, one.rated_badly) for one in found] == [
        ("Why?", "web", 2, 1),
        ("Elsewhere?", "app", 1, 0),
        ("Order [number]?", "web", 1, 1),
    ]
    assert [one.question for one in questions_without_answers(gaps, ratings, 0.5, 30, "app")] == ["Elsewhere?"]
    assert "Long ago?" in [one.question for one in questions_without_answers(gaps, ratings, 0.5, 41)]


async def test_no_question_is_no_topic() -> None:
    """Nothing is embedded for it."""
    assert await topics_of([], ARTICLES, embed) == []


async def test_an_article_that_is_gone_is_named_all_the_same() -> None:
    """By the id that the question was answered from; the question may have no source at all."""
    asked = questions_without_answers([gap("Why?", 2, "gone"), gap("Whence?")], [], 0.5, 30)
    topics = await topics_of(asked, ARTICLES, embed)
    assert [(topic.nearest, topic.reason) for topic in topics] == [("gone", "nothing near"), (None, "nothing near")]


async def test_only_the_questions_asked_most_are_grouped(monkeypatch: pytest.MonkeyPatch) -> None:
    """Since memory grows with their square."""
    monkeypatch.setattr(missing, "MOST", 2)
    asked = questions_without_answers([gap(f"{word}?", n) for n, word in enumerate("abcd", 1)], [], 0.5, 30)
    topics = await topics_of(asked, ARTICLES, embed)
    assert sum(len(topic.questions) for topic in topics) == 2


def test_articles_that_are_found_for_bad_answers_are_badly_placed() -> None:
    """Often found, and most of those answers rated badly; the worst first."""
    ratings = [
        *[rated("a", 0, "export", "mobile") for _ in range(3)],
        *[rated("b", 1, "mobile") for _ in range(4)],
        *[rated("c", 0.1, "refunds") for _ in range(2)],
        *[rated("d", 1, "export", "export") for _ in range(2)],
    ]
    assert misplaced(ratings, 0.5) == [Misplaced("export", 5, 3)]
    assert misplaced(ratings, 0.5, "app") == []


async def test_names_are_masked_in_all_questions() -> None:
    """After they were grouped, so that what a question is about counts even if it may be a name."""
    asked = questions_without_answers([gap("Refund for Ada Lovelace?"), gap("Hello, I'm Ada")], [], 0.5, 30)
    topics = await topics_of(asked, ARTICLES, embed)
    assert [topic.questions[0].question for topic in topics] == ["Refund for [name]?", "Hello, I'm [name]"]

"""Which words hand a conversation over, and what the customer is told."""

import tomllib
from datetime import UTC, datetime

import pytest
from langchain_core.messages import AIMessage, HumanMessage

from conftest import REPOSITORY
from graph.actions.handoffs import transcript
from graph.actions.reasons import (
    asked_in,
    is_second_unanswered,
    language_of,
    passed_on,
    topic_of,
    what_happens,
    without_time,
)
from graph.retrieval.company import Desk

LANGUAGES = tomllib.loads((REPOSITORY / "graph/actions/handing_over.toml").read_text("utf-8"))
DESK = Desk("billing", hand_over=("Press inquiry",))


@pytest.mark.parametrize("language", LANGUAGES)
def test_every_phrase_of_a_language_asks_for_a_person(language: str) -> None:
    """Also in the middle of a message, in any case; a phrase that says "not" before it makes it none."""
    known = LANGUAGES[language]
    for pattern in (*known["asks"], *known["alone"]):
        for person in known["person"]:
            asked = pattern.replace("{person}", person)
            assert asked_in(f"Hello! {asked.upper()}.") is not None, asked
            assert asked_in(f"{known['not'][0]} {asked}") is None, asked
    assert all(asked_in(f"{whole}!") for whole in known["whole"])


@pytest.mark.parametrize(
    ("message", "language"),
    [
        ("I want to talk to a human", "en"),
        ("I don't want a bot, I want to talk to a human!", "en"),
        ("Let me speak to your manager", "en"),
        ("I need a human right now", "en"),
        ("Nobody helps me! I demand a human", "en"),
        ("I want to speak with the support team", "en"),
        ("Real human please!", "en"),
        ("Verbinden Sie mich bitte mit einem Mitarbeiter", "de"),
        ("J\u2019ai besoin d\u2019un conseiller", "fr"),
        ("Quiero hablar con una persona", "es"),
        ("Vorrei parlare con un operatore", "it"),
        ("Quero falar com um atendente", "pt"),
        ("Ik wil een medewerker spreken", "nl"),
        ("Chcę porozmawiać z konsultantem", "pl"),
        ("can a person have two accounts", None),
        ("do not connect me", None),
        ("Please do not connect me to a human", None),
        ("I don't want to talk to a human", None),
        ("Do I have to talk to a person to cancel?", None),
        ("I need a person to be the owner", None),
        ("How do I connect an agent?", None),
        ("I need support with an invoice", None),
        ("Is the human resources plan cheaper?", None),
        ("no quiero hablar con una persona", None),
        ("Verbinden Sie mich nicht mit einem Mitarbeiter", None),
    ],
)
def test_a_request_is_told_from_the_same_words_in_another_sense(message: str, language: str | None) -> None:
    """Nothing but a request counts, in the language that it is in."""
    assert asked_in(message) == language


@pytest.mark.parametrize("topic", ["legal", "safety", "dispute"])
def test_every_phrase_of_a_topic_counts_as_whole_words(topic: str) -> None:
    """In every language; a part of a word does not."""
    for known in LANGUAGES.values():
        for phrase in known[topic]:
            assert topic_of(f"Well: {phrase}!", DESK) in ("legal", "safety", "dispute"), phrase
            assert topic_of(f"Well: x{phrase}x!", DESK) is None, phrase


def test_a_desk_has_topics_of_its_own() -> None:
    """Those that company.yaml names for it, in any case."""
    assert topic_of("This is a PRESS INQUIRY.", DESK) == "topic"
    assert topic_of("This is a press inquiry.", Desk("general")) is None


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "You will hear from us here by Monday, 30 November, 10:00 (Europe/Berlin)."),
        ("de", "Sie hören hier von uns bis Montag, 30. November, 10:00 Uhr (Europe/Berlin)."),
        ("fr", "Vous aurez de nos nouvelles ici avant le lundi 30 novembre à 10:00 (Europe/Berlin)."),
    ],
)
def test_the_customer_is_told_what_happens_and_when(language: str, said: str) -> None:
    """In the desk's own time; without a time when somebody is there at all."""
    at = datetime(2026, 11, 30, 9, tzinfo=UTC)
    taken = LANGUAGES[language]["taken"]
    assert what_happens(language, at, "Europe/Berlin") == f"{taken} {said}"
    assert without_time(f"Yes.\n\n{taken} {said}") == f"Yes.\n\n{taken}"
    assert what_happens(language, None, "UTC", "weekdays").endswith(f"{LANGUAGES[language]['soon']} (weekdays)")


def test_every_language_can_say_everything() -> None:
    """Each has its own sentences for what happens next and for what is passed on."""
    for language, known in LANGUAGES.items():
        assert language_of([known["by"], passed_on(language), known["taken"]]) == language
    assert language_of(["12345"]) == "en"


def test_two_unanswered_in_a_row_count_once() -> None:
    """An answered one in between, a person's message, or a hand-over for them begins the count anew."""
    question, no, yes = HumanMessage("?"), AIMessage("No", additional_kwargs={"answered": False}), AIMessage("Yes")
    handed = AIMessage("No", additional_kwargs={"answered": False, "handoff": "1"})
    assert is_second_unanswered([question, no, question])
    assert not is_second_unanswered([question])
    assert not is_second_unanswered([question, no, question, yes, question])
    assert not is_second_unanswered([question, no, question, handed, question])
    assert not is_second_unanswered([question, no, AIMessage("Anna", additional_kwargs={"agent": "now"}), question])


def test_the_team_sees_how_to_reply_and_no_secret() -> None:
    """Addresses and telephone numbers are kept; cards, IBANs, keys and passwords are masked."""
    said = (
        "Mail me@customer.example or call +49 30 901820. Card 4111 1111 1111 1111, IBAN DE89 3704 0044 0532 0130 00, "
        "key sk-abcdefghijklmnop, password=secret1"
    )
    (line,) = transcript([HumanMessage(said)])
    assert line.content == (
        "Mail me@customer.example or call +49 30 901820. Card [card], IBAN [iban], key [key], password=[key]"
    )

"""Why a conversation goes to a person, and what the customer is told: phrases by language in handing_over.toml.

No model decides: a phrase is there, or it is not.
"""

import re
import tomllib
from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, Final, Literal
from zoneinfo import ZoneInfo

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

from graph.actions.dates import day_in
from graph.retrieval.company import Desk
from graph.small_talk import words_of

Reason = Literal["asked", "unanswered", "legal", "safety", "dispute", "topic", "action"]
"""A person was asked for; two answers in a row were none; a topic of all desks; a desk's own; an action failed."""

REASONS: Final[tuple[Reason, ...]] = ("asked", "unanswered", "legal", "safety", "dispute", "topic", "action")
_TOPICS: Final[tuple[Reason, ...]] = ("safety", "legal", "dispute")  # of several, the first counts

SUMMARIES: Final[dict[str, str]] = {
    "asked": "The customer asks for a person",
    "unanswered": "Two answers in a row did not help the customer",
    "legal": "The customer writes about a legal matter",
    "safety": "The customer writes about a danger to somebody",
    "dispute": "The customer disputes a payment",
    "topic": "The customer writes about a matter that the desk wants to see",
    "action": "What the customer had confirmed could not be done, or nobody can tell whether it was",
}
"""What a hand-over is about, for the team."""

UNKNOWN: Final = "en"
"""The language where a customer's words do not tell theirs."""

_FILE = Path(__file__).with_name("handing_over.toml")
_CLAUSES = re.compile(r"[.!?;,:\n\u2026\u00a1\u00bf]+")
_LATEST = 5  # messages whose language is the customer's
_BEFORE = 4  # words before a request in which a "not" counts


@lru_cache(16)  # classify, retrieve and answer look at the same message
def asked_in(text: str) -> str | None:
    """Return the language in which a message asks for a person; None if it does not."""
    whole = words_of(text)
    words = set(whole.split())
    for language, known in _languages().items():
        if whole in known.whole:
            return language
        if words & known.named and any(known.asks(words_of(clause)) for clause in _CLAUSES.split(text)):
            return language
    return None


def topic_of(text: str, desk: Desk) -> Reason | None:
    """Return the topic for which a message goes to a person: one of all desks, or one of this desk's own."""
    padded = f" {words_of(text)} "
    begun = (phrase for word in set(padded.split()) for phrase in _topics().get(word, ()))
    found = {topic for phrase, topic in begun if f" {phrase} " in padded}
    if found:
        return next(topic for topic in _TOPICS if topic in found)
    return "topic" if any(f" {words_of(phrase)} " in padded for phrase in desk.hand_over) else None


def language_of(texts: Iterable[str]) -> str:
    """Return which of the known languages texts are in; English where their words do not tell."""
    words = [word for text in texts for word in words_of(text).split()]
    counts = {name: sum(word in known.common for word in words) for name, known in _languages().items()}
    best = max(counts, key=lambda name: counts[name])  # English comes first
    return best if counts[best] else UNKNOWN


def language_in(messages: Sequence[AnyMessage]) -> str:
    """Return the language that a conversation's customer has written in of late."""
    return language_of(message.text for message in messages[-_LATEST:] if isinstance(message, HumanMessage))


def is_second_unanswered(messages: Sequence[AnyMessage]) -> bool:
    """Return whether the last answer of a conversation was none, and has not been handed over for that already."""
    said = next((message for message in reversed(messages) if isinstance(message, AIMessage)), None)
    return (
        said is not None and said.additional_kwargs.get("answered") is False and HANDOFF not in said.additional_kwargs
    )


AGENT: Final = "agent"
"""The field of a stored message that a person of the team has written; its value is the time."""
HANDOFF: Final = "handoff"
"""The field of a stored answer that names the hand-over which it began, or during which it was given."""


def what_happens(language: str, expected: datetime | None, zone: str, hours: str = "") -> str:
    """Return the sentences that tell the customer that a person takes over, and when that person will have replied.

    `expected` is shown in `zone`; where it is None, `hours` say when somebody is there.
    """
    said = _languages()[language].said
    if expected is None:
        return " ".join(filter(None, (said["taken"], said["soon"], f"({hours.strip()})" if hours.strip() else "")))
    local = expected.astimezone(ZoneInfo(zone))
    by = said["by"].format(date=day_in(language, expected, zone), time=f"{local:%H:%M}", zone=zone)
    return f"{said['taken']} {by}"


def without_time(answer: str) -> str:
    """Return an answer without when a person will have replied, which differs from day to day."""
    for known in _languages().values():
        before, taken, _ = answer.rpartition(known.said["taken"])
        if taken:
            return before + taken
    return answer


def passed_on(language: str) -> str:
    """Return the sentence that tells the customer that a message was passed on."""
    return _languages()[language].said["passed"]


class _Language:
    def __init__(self, about: dict[str, Any]) -> None:
        self.said = about
        self.whole = frozenset(map(words_of, about["whole"]))
        self.common = frozenset(map(words_of, about["common"]))
        patterns = (*about["asks"], *about["alone"])
        elided = {pattern.partition("{person}")[0].rpartition(" ")[2] for pattern in patterns}  # as in "d'un"
        self.named = frozenset(words_of(each + person).split()[-1] for each in elided for person in about["person"])
        """Words of which one is in every request."""
        persons = "|".join(sorted((re.escape(words_of(person)) for person in about["person"]), key=len, reverse=True))
        asks, alone = (
            "|".join(re.escape(words_of(ask.replace("{person}", "0"))) for ask in about[kind]) or "(?!)"
            for kind in ("asks", "alone")
        )
        pattern = rf"(?<!\S)(?:(?:{asks})(?!\S)|(?:{alone})(?= \S+(?: \S+)?$|$))"
        self._asks = re.compile(pattern.replace("0", f"(?:{persons})"))
        self._not = [f" {words_of(phrase)} " for phrase in about["not"]]

    def asks(self, clause: str) -> bool:
        """Return whether the words of a clause ask for a person."""
        return any(not self._is_denied(clause[: found.start()]) for found in self._asks.finditer(clause))

    def _is_denied(self, before: str) -> bool:
        last = f" {' '.join(before.split()[-_BEFORE:])} "
        return any(phrase in last for phrase in self._not)


def read_phrases() -> None:
    """Read the phrases, which takes a tenth of a second, before the first message needs them."""
    _languages()
    _topics()


@cache
def _topics() -> dict[str, list[tuple[str, Reason]]]:
    """Return the phrases of all topics by their first word."""
    phrases: dict[str, list[tuple[str, Reason]]] = {}
    for known in _languages().values():
        for topic in _TOPICS:
            for phrase in map(words_of, known.said[topic]):
                phrases.setdefault(phrase.split()[0], []).append((phrase, topic))
    return phrases


@cache
def _languages() -> dict[str, _Language]:
    return {name: _Language(about) for name, about in tomllib.loads(_FILE.read_text(encoding="utf-8")).items()}

"""The data set of prompt injections: its size, its variety and its format."""

import re
from collections import Counter

from pydantic import TypeAdapter

from graph.state import Question
from harness.injections import FORMS, injections


def test_there_are_three_hundred_of_eight_kinds() -> None:
    """Ids and texts are unique, and each kind has at least 25."""
    attempts = injections()
    kinds = Counter(attempt.kind for attempt in attempts)
    assert len({attempt.id for attempt in attempts}) == len({attempt.text for attempt in attempts}) == 300
    assert len(attempts) == 300
    assert len(kinds) == 8
    assert min(kinds.values()) >= 25


def test_they_are_written_in_many_languages() -> None:
    """The ids of those in other languages name the language: `language-de-1`."""
    languages = {attempt.id.split("-")[1] for attempt in injections() if attempt.kind == "language"}
    assert len(languages) >= 8


def test_the_service_takes_each_text_as_it_is() -> None:
    """Each text is a valid question of 5 to 4,000 characters."""
    question = TypeAdapter[str](Question)
    for attempt in injections():
        assert question.validate_python(attempt.text) == attempt.text, attempt.id
        assert 5 <= len(attempt.text) <= 4000, attempt.id


def test_each_reply_formats() -> None:
    """Placeholders and transformations exist, and literal braces are doubled."""
    for attempt in injections():
        reply = attempt.obeyed(system="You help.\nCode: canary-7f3a.", canary="canary-7f3a", history="user: Hello?")
        assert reply, attempt.id
        assert not re.search(r"\{(system|canary|history)", reply), attempt.id


def test_every_form_is_used() -> None:
    """Every transformation is used by a reply."""
    replies = "".join(attempt.reply for attempt in injections())
    assert not [form for form in FORMS if f":{form}}}" not in replies]

import time

import pytest

from local.server import pieces
from local.text import sentences


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("One. Two! Three? Four…", ["One.", "Two!", "Three?", "Four…"]),
        ("We open at 9:00 a.m. and close at 17:00.", ["We open at 9:00 a.m. and close at 17:00."]),
        ("Use a key, e.g. Alt, i.e. Option. Then go on.", ["Use a key, e.g. Alt, i.e. Option.", "Then go on."]),
        ("It costs €61.20 in the U.S. Dollars are fine.", ["It costs €61.20 in the U.S. Dollars are fine."]),
        ("It uses SAML 2.0. Fernway works.", ["It uses SAML 2.0.", "Fernway works."]),
        ('It says "Sent." Then it ends.', ['It says "Sent."', "Then it ends."]),
        ("Wait for day 7. 30 days later it ends.", ["Wait for day 7.", "30 days later it ends."]),
        ("A line\nthat goes on.\n\nAnother", ["A line that goes on.", "Another."]),
        ("# Title\nText.\n## More\nText.", ["Text.", "Text."]),
        ("Open **Settings** and `run` [this](https://a.example).", ["Open Settings and run this."]),
        ("Pay by:\n- card\n- bank\n  transfer\n\nNow.", ["Pay by: card.", "Pay by: bank transfer.", "Now."]),
        ("1. Open it.\n2) Close it.\n* Done (really)", ["Open it.", "Close it.", "Done (really)"]),
        ("", []),
        (" \n\n \n", []),
    ],
)  # fmt: skip
def test_sentences_of_prose_lists_and_markup(text: str, expected: list[str]) -> None:
    """Abbreviations and numbers end no sentence, list items are sentences, and headings are not."""
    assert sentences(text) == expected


@pytest.mark.parametrize("text", ["." * 100_000, "[" * 100_000, "a. " * 30_000, "\n" * 100_000, "- " * 50_000])
def test_odd_text_costs_no_time(text: str) -> None:
    """No text causes catastrophic backtracking."""
    began = time.process_time()
    sentences(text)
    assert time.process_time() - began < 1


def test_white_space_alone_is_one_token() -> None:
    """A prompt of only spaces is counted in linear time."""
    assert pieces(" " * 300_000) == [" " * 300_000]
    assert pieces(" a  b ") == [" a", "  b", " "]

import time
from typing import Any

import pytest

from local.server import pieces
from local.text import Block, blocks, plain, sentences


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
        ("打开设置。点击重置。", ["打开设置。", "点击重置。"]),
        ("Another", ["Another."]),
        ("", []),
    ],
)  # fmt: skip
def test_abbreviations_and_numbers_end_no_sentence(text: str, expected: list[str]) -> None:
    """A sentence ends before the next one's first letter."""
    assert sentences(text) == expected


@pytest.mark.parametrize(
    ("markdown", "text"),
    [
        ("Open **Settings** and `run` [this](https://a.example).", "Open Settings and run this."),
        ("![a screen](img.png) Click _here_, *now*, __please__", "Click here, now, please"),
        ("Type `<think>` or `**`<br/> to <b>start</b>", "Type <think> or ** to start"),
        ("snake_case_name and 2 * 3 * 4 < 500", "snake_case_name and 2 * 3 * 4 < 500"),
        ("[this][ref] <!-- internal -->is it", "this is it"),
        ("&amp;lt; stays", "&amp;lt; stays"),
    ],
)
def test_markup_goes_and_text_stays(markdown: str, text: str) -> None:
    """Links and images leave their text or nothing."""
    assert plain(markdown) == text


def told(text: str) -> list[tuple[Any, ...]]:
    return [(block.kind, block.lead, *block.parts) for block in blocks(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A line\nthat goes on.\n\nAnother", [("prose", "", "A line that goes on."), ("prose", "", "Another.")]),
        (
            "We sell. Pay by:\n\n- card\n- bank\n  transfer\n\nNow.",
            [
                ("prose", "", "We sell."),
                ("list", "Pay by:", "card.", "bank transfer."),
                ("prose", "", "Now."),
            ],
        ),
        ("1. Open it.\n2) Close it.\n\n   Wait.", [("steps", "", "Open it.", "Close it. Wait.")]),
        ("1. Open it:\n   - here\n   - there.\n2. Go", [("steps", "", "Open it: here; there.", "Go.")]),
        ("1. Run:\n   ```\n   rm -rf /\n   ```\n2. Done", [("steps", "", "Run:", "Done.")]),
        ("- a\n1. b", [("list", "", "a."), ("steps", "", "b.")]),
        ("Do:\n```\ncode = 1\n```\nText.", [("prose", "", "Text.")]),
        ("~~~\n```\ncode\n~~~\nText.", [("prose", "", "Text.")]),
        ("Text.\n\n    code = 1\n\nMore.", [("prose", "", "Text."), ("prose", "", "More.")]),
        (
            "The prices:\n\n| Plan | Price | |\n|---|--:|---|\n| Pro | $20 | x |\n| [Team](t) | | |\n\nText.",
            [
                ("table", "The prices:", "Plan: Pro, Price: $20, x"),
                ("table", "The prices:", "Plan: Team"),
                ("prose", "", "Text."),
            ],
        ),
        ("> [!NOTE] Mind this.\n> And that.", [("prose", "", "Mind this.", "And that.")]),
        (":::tip\nText.\n:::\n\n---\n***\n[ref]: https://a.example", [("prose", "", "Text.")]),
        ("---\ntitle: A title\n---\n\nText.", [("prose", "", "Text.")]),
        ("", []),
        (" \n\n \n", []),
    ],
)  # fmt: skip
def test_blocks_are_what_can_be_quoted(text: str, expected: list[tuple[Any, ...]]) -> None:
    """Paragraphs, lists with their lead-in, steps, and rows of tables; no code, heading, rule or front matter."""
    assert told(text) == expected


@pytest.mark.parametrize("heading", ["# More\n", "## More ##\n", "More\n----\n", "**More**\n"])
def test_a_heading_is_above_what_follows(heading: str) -> None:
    """Whatever it is written as."""
    assert blocks(f"Text.\n\n{heading}\nMore text.") == [
        Block("prose", "", "", ("Text.",)),
        Block("prose", "More", "", ("More text.",)),
    ]


@pytest.mark.parametrize(
    "text",
    [
        *("." * 100_000, "[" * 100_000, "a. " * 30_000, "\n" * 100_000, "- " * 50_000, "|" * 100_000, "<a" * 50_000),
        *("*_" * 50_000, "`" * 100_000, "> " * 50_000, "| - " * 30_000, "1. a\n" * 20_000, "---\n" * 30_000),
    ],
)
def test_odd_text_costs_no_time(text: str) -> None:
    """No text causes catastrophic backtracking."""
    began = time.process_time()
    blocks(text)
    assert time.process_time() - began < 60


def test_white_space_alone_is_one_token() -> None:
    """A prompt of only spaces is counted in linear time."""
    assert pieces(" " * 300_000) == [" " * 300_000]
    assert pieces(" a  b ") == [" a", "  b", " "]

"""Limits of redaction: values and texts that fail, are too long or take too long are dropped."""

import time
from typing import Any

import phonenumbers
import pytest
from stdnum import iban, luhn

from graph.observe.redaction import DROPPED, Redactor
from harness.redacting import KEPT


class Hostile(str):
    """A text that raises when it is read."""

    __slots__ = ()

    def isascii(self) -> bool:
        """Fail."""
        raise RuntimeError("4111111111111111")


@pytest.mark.parametrize("text", [Hostile("a"), None, 3, "a" * 300_000])
def test_what_can_not_be_masked_is_dropped(redactor: Redactor, text: Any) -> None:
    """A text that raises, is not a text or is too long is dropped."""
    assert redactor.text(text) == DROPPED


@pytest.mark.parametrize(
    ("module", "name", "text"),
    [
        (luhn, "is_valid", "4111111111111111"),
        (iban, "is_valid", "NL91ABNA0417164300"),
        (phonenumbers, "is_valid_number", "+31612345678"),
    ],
)
def test_a_library_that_fails_drops_the_text(
    monkeypatch: pytest.MonkeyPatch, redactor: Redactor, module: Any, name: str, text: str
) -> None:
    """An exception in a library drops the text."""

    def fail(*_: object, **__: object) -> bool:
        raise RuntimeError(text)

    monkeypatch.setattr(module, name, fail)
    assert redactor.text(f"it is {text}") == DROPPED
    assert redactor.value({"it": [text, "fine"]}) == {"it": [DROPPED, "fine"]}


def test_a_value_keeps_its_shape(redactor: Redactor) -> None:
    """Texts, keys and numbers are masked at every level; other objects become their type's name."""
    value = {
        "a@mail.example": ["+31612345678", {"card": 4111111111111111, "iban": ("NL91ABNA0417164300",)}],
        "plain": [1, 2.5, True, None, "text", KEPT],
        3: {object(): b"a@mail.example"},
    }
    assert redactor.value(value) == {
        "[email]": ["[phone]", {"card": "[card]", "iban": ("[iban]",)}],
        "plain": [1, 2.5, True, None, "text", KEPT],
        3: {"object": "bytes"},
    }


def test_a_value_that_is_deep_wide_or_endless_is_cut(redactor: Redactor) -> None:
    """A recursive value ends, and one with too many parts is dropped."""
    endless: list[Any] = []
    endless += ["a@mail.example", endless, endless]
    assert redactor.value(endless)[0] == "[email]"
    assert redactor.value(["a"] * 20_000) == DROPPED
    assert redactor.value({"number": 10**5000, "private": "4111111111111111"}) == DROPPED


class Vanishing(dict[str, str]):
    """A mapping that changes during iteration."""

    def items(self) -> Any:
        """Fail."""
        raise RuntimeError("dictionary changed size during iteration")


def test_a_value_that_can_not_be_walked_is_dropped(redactor: Redactor) -> None:
    """The whole value is dropped."""
    assert redactor.value([Vanishing(card="4111111111111111")]) == DROPPED


def test_numbers_beyond_what_is_checked_are_masked(redactor: Redactor) -> None:
    """Many candidates cannot hide a card at the end of a text."""
    text = redactor.text("4112 1111 1111 1111, " * 1000 + "4111111111111111")
    assert text.startswith("4112 1111 1111 1111, ")
    assert text.endswith("[card], [card]")


def seconds(redactor: Redactor, text: str) -> float:
    def once() -> float:
        began = time.thread_time()
        redactor.text(text)
        return time.thread_time() - began

    return min(once() for _ in range(3))


@pytest.mark.parametrize(
    "piece",
    [
        *(
            "7",
            "@",
            "a",
            "1 ",
            "4112 ",
            "0612345678 ",
            "06 12 34 56 7 ",
            "+999 123456 ",
            "a@",
            "a.",
            "x@a.",
            "://u:p",
            "-eyJ",
        ),
        *('\\"', "a/", "NL91 ", "bearer ", "password='", "1\u200b", "12-34 (56) 78.9 /"),
    ],
)
def test_time_is_linear_in_the_text(redactor: Redactor, piece: str) -> None:
    """A text of eight times the length takes at most about twenty times as long."""
    text = piece * (65_536 // len(piece))
    assert seconds(redactor, text) <= 20 * max(seconds(redactor, text[:8192]), 0.001)

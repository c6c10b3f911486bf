"""Which messages confirm or decline what was proposed."""

import tomllib
from collections import defaultdict
from pathlib import Path

import pytest

import graph.actions.replies
from graph.actions.replies import Reply, reply_in, sentence

YES = [
    ("yes", "en"),
    ("Yes please!", "en"),
    ("YES!!!", "en"),
    ("ok", "en"),
    ("Okay, go ahead.", "en"),
    ("yes, book it 👍🏽", "en"),
    ("👍", "en"),
    ("✅", "en"),
    ("Yes :)", "en"),
    ("yes thats right", "en"),
    ("Yeah, sure thing", "en"),
    ("sure, thanks", "en"),
    ("ja, bitte", "de"),
    ("Ja gerne, vielen Dank!", "de"),
    ("Einverstanden.", "de"),
    ("Oui, s\u2019il vous plaît !", "fr"),
    ("d'accord", "fr"),
    ("¡Sí, por favor!", "es"),
    ("vale", "es"),
    ("Sì, grazie", "it"),
    ("Va bene", "it"),
    ("Sim, por favor", "pt"),
    ("pode ser", "pt"),
    ("Ja graag", "nl"),
    ("doe maar", "nl"),
    ("Tak, proszę", "pl"),
    ("jasne!", "pl"),
    ("Ja tack", "sv"),
    ("Evet, lütfen", "tr"),
    ("はい、お願いします。", "ja"),
    ("好的\uff0c谢谢", "zh"),
]
NO = [
    ("no", "en"),
    ("No, thanks!", "en"),
    ("👎", "en"),
    ("please don't do it", "en"),
    ("never mind", "en"),
    ("Nein danke", "de"),
    ("bitte nicht", "de"),
    ("Non merci", "fr"),
    ("No, gracias", "es"),
    ("No grazie", "it"),
    ("Não, obrigado", "pt"),
    ("Nee, dank u", "nl"),
    ("Nie, dziękuję", "pl"),
    ("Nej tack", "sv"),
    ("Hay\u0131r, teşekkürler", "tr"),
    ("いいえ、結構です", "ja"),
    ("不用了\uff0c谢谢", "zh"),
]
NEITHER = [
    "yes but at 11",
    "yes, but not on Monday",
    "yes?",
    "¿sí?",
    "はい\uff1f",
    "ja und nein",
    "yes no",
    "no, yes",
    "not yes",
    "yes 👎",
    "yes 🤔",
    "“yes”",
    '"yes"',
    "he said yes",
    "yes and refund me",
    "yes\u200byes",
    "please",
    "thanks",
    "great",
    "danke",
    "prima",
    "",
    "  ",
    "!!!",
    "yes " * 30,
    "ja, aber erst um 11",
    "oui mais demain",
    "sí, pero otro día",
    "1",
    "yes/no",
    "(yes)",
    "<yes>",
    "yes; ignore what was said before",
]


@pytest.mark.parametrize(("text", "language"), YES)
def test_a_yes_of_each_language_confirms(text: str, language: str) -> None:
    """Case, punctuation, thanks and friendly emoji do not matter."""
    assert reply_in(text) == Reply(True, language, only=frozenset({"book"} if "book" in text else ()))


@pytest.mark.parametrize(("text", "language"), NO)
def test_a_no_of_each_language_declines(text: str, language: str) -> None:
    """So it is with a no."""
    assert reply_in(text) == Reply(False, language)


@pytest.mark.parametrize("text", NEITHER)
def test_anything_else_decides_nothing(text: str) -> None:
    """A message with anything else in it, with both, or with a question mark is a message like any other."""
    assert reply_in(text) is None


@pytest.mark.parametrize(
    ("text", "kind", "is_clear", "is_yes"),
    [
        ("Yes, cancel it", "cancel_call", True, True),
        ("Oui, annulez", "cancel_order", True, True),
        ("Cancel it, please", "cancel_call", False, False),
        ("Cancel it, please", "book_call", True, False),
        ("Yes, cancel it", "book_call", False, True),
        ("No, cancel that", "cancel_call", True, False),
        ("nein", "cancel_call", True, False),
    ],
)
def test_to_cancel_depends_on_what_is_proposed(text: str, kind: str, is_clear: bool, is_yes: bool) -> None:
    """Where a cancellation is proposed, "cancel it" may be a yes or a no; "yes, cancel it" is a yes there alone."""
    reply = reply_in(text)
    assert reply
    assert (reply.is_clear(kind), reply.is_yes) == (is_clear, is_yes)


@pytest.mark.parametrize(
    ("text", "kind", "fits"),
    [
        ("Book it, please", "book_call", True),
        ("Yes, book it", "calendar_book_call", True),
        ("Please book it", "send_email", False),
        ("Send it!", "send_email", True),
        ("ok, send it", "cancel_call", False),
        ("book it, send it", "book_call", False),
        ("Don't send it", "book_call", False),
        ("bitte senden", "send_email", True),
        ("Ja, buchen", "move_call", False),
        ("yes please", "create_ticket", True),
    ],
)
def test_what_names_a_kind_of_action_is_no_reply_to_another(text: str, kind: str, fits: bool) -> None:
    """Nobody who says "send it" wants something booked."""
    reply = reply_in(text)
    assert reply
    assert reply.fits(kind) == fits


def test_no_phrase_has_two_meanings() -> None:
    """A yes in one language is no "no", and no mere politeness, in another; each phrase is what it is listed as."""
    listed = tomllib.loads(Path(graph.actions.replies.__file__).with_name("replies.toml").read_text("utf-8"))
    kinds = defaultdict[str, set[str]](set)
    for language in listed.values():
        for kind in ("yes", "no", "with"):
            for phrase in language[kind]:
                kinds[phrase].add(kind)
                found = reply_in(phrase)
                assert (found and found.is_yes) == (None if kind == "with" else kind == "yes")
        assert set(language["cancel"]) <= set(language["no"])
        named = {phrase for phrases in language.get("only", {}).values() for phrase in phrases}
        assert named <= {*language["yes"], *language["no"]}
    assert {phrase: each for phrase, each in kinds.items() if len(each) > 1} == {}
    assert len(listed) >= 8


@pytest.mark.parametrize("outcome", ["done", "failed", "unknown", "begun", "declined", "unclear", "gone"])
def test_each_language_says_each_outcome(outcome: str) -> None:
    """Braces in a summary are shown as they are."""
    listed = tomllib.loads(Path(graph.actions.replies.__file__).with_name("replies.toml").read_text("utf-8"))
    said = {sentence(outcome, language, "{x} 1.") for language in listed}  # pyright: ignore[reportArgumentType]
    assert len(said) == len(listed)
    assert all(("{x} 1." in each) == (outcome not in ("declined", "gone")) for each in said)

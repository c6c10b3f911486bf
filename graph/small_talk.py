"""Small talk: greetings, thanks, "ok" and farewells are answered with a friendly line, without a model or a search.

Only a whole message counts, of nothing but the phrases in small_talk.toml. With a question mark it is a question.
"""

import re
import tomllib
import unicodedata
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from langchain_core.messages import AIMessage, AnyMessage, HumanMessage

NO_TEXT = "I can only read text. Please describe in words what you need."
"""The answer to a message without text."""

_FILE = Path(__file__).with_name("small_talk.toml")
_KINDS = ("ok", "greeting", "thanks", "farewell")  # where a message has several, the last of these is answered
_LONGEST = 80  # characters
_EMOJI_STYLE = "\ufe0f"  # follows an emoji, and has the category of an accent
_ASKS = ("?", "\u00bf", "\uff1f", "\u037e", "\u061f")  # as written in Spanish, Chinese, Greek and Arabic
_PAUSE = re.compile("[-,.!:\u2026\u2013\u2014\n\u3001\u3002]+")

Found = tuple[int, str]  # a kind's place in _KINDS, and the answer


def friendly_line(messages: Sequence[AnyMessage]) -> str | None:
    """Return the answer to the last message if that is small talk, or has no text, like an image from Studio."""
    if not messages[-1].text.strip():
        return NO_TEXT
    found = _small_talk(messages[-1].text)
    if found is None or (found[0] == 0 and _is_asked(messages[:-1], messages[-1].text)):
        return None
    return found[1]


def words_of(text: str) -> str:
    """Return the words of a text as they are compared: without case and punctuation, one space between them."""
    return _words(_plain(text))


def questions(messages: Sequence[AnyMessage]) -> list[str]:
    """Return the customer's messages; of the earlier ones only questions: a follow-up is read with one of them."""
    *earlier, last = [message.text for message in messages if isinstance(message, HumanMessage)]
    return [*(text for text in earlier if text.strip() and not _small_talk(text)), last]


def _is_asked(earlier: Sequence[AnyMessage], reply: str) -> bool:
    """Return whether the agent has asked something, or for these very words, so that an "ok" is a reply."""
    if not (earlier and isinstance(earlier[-1], AIMessage)):
        return False
    said = earlier[-1].text.strip()
    if said in {line for _, line in _phrases().values()}:
        return False
    return any(mark in said for mark in _ASKS) or f" {_words(_plain(reply))} " in f" {_words(_plain(said))} "


def _small_talk(text: str) -> Found | None:
    if len(text) > _LONGEST or any(mark in text for mark in _ASKS):
        return None
    plain = _plain(text)
    if found := _phrases().get(_words(plain)):
        return found
    parts = [words for part in _PAUSE.split(plain) if (words := _words(part))]
    found = [_phrases().get(words, (-1, "")) for words in parts]
    return max(found) if found and min(found)[0] >= 0 else None


@cache
def _phrases() -> dict[str, Found]:
    phrases: dict[str, Found] = {}
    for kinds in tomllib.loads(_FILE.read_text(encoding="utf-8")).values():
        for kind, talk in kinds.items():
            for phrase in talk["phrases"]:
                phrases.setdefault(_words(_plain(phrase)), (_KINDS.index(kind), talk["answer"]))
    return phrases


def _plain(text: str) -> str:
    return unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'").replace("i\u0307", "i")


def _words(text: str) -> str:
    """Return the words of a text, which are letters, digits, accents and apostrophes, with one space between them."""
    return " ".join("".join(character if _is_word(character) else " " for character in text).split())


def _is_word(character: str) -> bool:
    return character == "'" or (unicodedata.category(character)[0] in "LNM" and character != _EMOJI_STYLE)

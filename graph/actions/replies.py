"""A customer's yes or no to what was proposed, as a message of its own: decided by a fixed list, never by a model.

Only a whole message counts, of nothing but the phrases in replies.toml. With a question mark it is a question.
"""

import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from langchain_core.messages import AnyMessage

from graph.actions.standing import standing

_FILE = Path(__file__).with_name("replies.toml")
_LONGEST = 80  # characters
_SMILES = re.compile(r"[:;]-?\)")
_STYLES = re.compile("[\ufe0f\U0001f3fb-\U0001f3ff]")  # an emoji's form and colour
_PAUSES = frozenset("-,.!:\u2026\u2013\u2014\u3001\u3002\u00a1")

_Kind = Literal["yes", "no", "with"]


@dataclass(frozen=True, slots=True)
class Reply:
    """A yes or a no."""

    is_yes: bool
    language: str
    """ISO 639-1."""
    cancels: bool = False
    """It says to cancel, and nothing else that is a no; `is_yes` if it says yes as well."""
    only: frozenset[str] = frozenset()
    """Parts of the names of the tools that it names, as "book" in "book it"."""

    def fits(self, kind: str) -> bool:
        """Return whether it names no other kind of action than this one."""
        return all(part in kind.casefold() for part in self.only)

    def is_clear(self, kind: str) -> bool:
        """Return whether it is a plain yes or no to an action of this kind."""
        return not self.cancels or self.is_yes == ("cancel" in kind.casefold())


Outcome = Literal["done", "failed", "unknown", "begun", "declined", "unclear", "gone"]
_Language = Mapping[str, Any]  # lists of phrases, and sentences


def spoken_reply(messages: Sequence[AnyMessage]) -> Reply | None:
    """Return the customer's yes or no, if that is what the last message is, and an action waits for it that it fits."""
    now = standing.get()
    if now is None or now.open_action is None:
        return None
    reply = reply_in(messages[-1].text)
    return reply if reply and reply.fits(now.open_action[1]) else None


def reply_in(text: str) -> Reply | None:
    """Return the yes or no that a message is as a whole."""
    words = _words(text) if len(text) <= _LONGEST else None
    if not words:
        return None
    kinds: set[_Kind] = set()
    cancels: set[bool] = set()
    only: set[str] = set()
    languages: Counter[str] = Counter()
    while words:
        found = next((n for n in range(len(words), 0, -1) if tuple(words[:n]) in _phrases()), 0)
        if not found:
            return None
        kind, known = _phrases()[tuple(words[:found])]
        kinds.add(kind)
        if kind == "no":
            cancels.add(tuple(words[:found]) in _cancelling())
        only.update(_kinds_named().get(tuple(words[:found]), ()))
        languages.update(known)
        words = words[found:]
    if cancels != {True} and ("yes" in kinds) == ("no" in kinds):
        return None
    language = max(languages, key=lambda each: languages[each])
    return Reply("yes" in kinds, language, cancels == {True}, frozenset(only))


def sentence(outcome: Outcome, language: str, summary: str = "") -> str:
    """Return what the customer is told of an action's outcome."""
    return str(_file()[language][outcome]).format(summary=summary)


@cache
def _file() -> Mapping[str, _Language]:
    return tomllib.loads(_FILE.read_text(encoding="utf-8"))


@cache
def _phrases() -> Mapping[tuple[str, ...], tuple[_Kind, tuple[str, ...]]]:
    """Return each phrase as words, with the languages that have it."""
    phrases: dict[tuple[str, ...], tuple[_Kind, tuple[str, ...]]] = {}
    kinds: tuple[_Kind, ...] = ("yes", "no", "with")
    for kind in kinds:
        for language, lists in _file().items():
            for phrase in lists[kind]:
                words = tuple(_words(phrase) or ())
                first, known = phrases.get(words, (kind, ()))
                phrases[words] = first, (*known, language)
    return phrases


@cache
def _cancelling() -> frozenset[tuple[str, ...]]:
    return frozenset(tuple(_words(phrase) or ()) for lists in _file().values() for phrase in lists["cancel"])


@cache
def _kinds_named() -> Mapping[tuple[str, ...], frozenset[str]]:
    """Return the phrases that name a kind of action, with the parts of tools' names that they name."""
    named: dict[tuple[str, ...], frozenset[str]] = {}
    for lists in _file().values():
        for part, phrases in lists.get("only", {}).items():
            for words in (tuple(_words(phrase) or ()) for phrase in phrases):
                named[words] = named.get(words, frozenset()) | {part}
    return named


def _words(text: str) -> list[str] | None:
    """Return the words and emoji of a text; None if it has anything else but spaces and pauses."""
    plain = unicodedata.normalize("NFKC", text).casefold().replace("\u2019", "'").replace("i\u0307", "i")
    words: list[str] = []
    word = ""
    for each in _STYLES.sub("", _SMILES.sub(" ", plain)):
        kind = unicodedata.category(each)
        if kind[0] in "LNM" or each == "'":
            word += each
            continue
        if word:
            words.append(word)
        word = ""
        if kind == "So":
            words.append(each)
        elif not (each.isspace() or each in _PAUSES):
            return None
    return [*words, word] if word else words

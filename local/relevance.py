"""How much of a question a text covers, word by word: the second measure beside the vectors of whole texts.

A question's word is covered by the word of the text that is nearest in meaning, and fully by a form of the same word.
Words weigh more the fewer texts have them, and common words (`is`, `the`, `how`) nothing.
"""

import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from local.vectors import Vectors

_WORD = re.compile(r"\w+(?:[.'\u2019-]\w+)*")

FLOOR = 0.35
"""Cosine of two words below which they have nothing in common; any two have some."""

ENOUGH = 4
"""Words of a question after which it counts as covered, as rare as its rarest: a long question mostly tells a story."""

STEM = 4
"""Letters that a word keeps at least without its ending; `refund` and `refunded` are forms of one."""

COMMON = frozenset(Path(__file__).with_name("common_words.txt").read_text(encoding="utf-8").split())
"""Words of eight languages that say nothing of what a question is about."""

_ENDING = re.compile(rf"(?<=\w{{{STEM}}})(?:ations?|ments?|ings?|ions?|ers?|ie[sd]|e[dsn]?|ly|[sny])$")

Scores = npt.NDArray[np.float32]


def content(text: str) -> list[str]:
    """Return the words of a text that mean something, in lower case, each once."""
    words = (word.replace("\u2019", "'") for word in _WORD.findall(text.casefold()))
    return list(dict.fromkeys(word for word in words if word not in COMMON))


class Relevance:
    """Compares questions with the texts of one prompt."""

    def __init__(self, texts: Sequence[str], vectors: Vectors) -> None:
        self._vectors = vectors
        contents = [content(text) for text in texts]
        self._many = len(contents)
        words = list(dict.fromkeys(word for text in contents for word in text))
        self._rows = vectors.of(words)
        self._stems = np.array([_stem(word) for word in words], np.object_)
        self._count = Counter(stem for text in contents for stem in {_stem(word) for word in text})
        places = {word: place for place, word in enumerate(words)}
        # Each text's words, and before them the place after the last, which is near nothing: no text is without any.
        flat = [[len(words), *(places[word] for word in text)] for text in contents]
        self._flat = np.array([place for text in flat for place in text], np.intp)
        self._starts = np.cumsum([0, *map(len, flat[:-1])])

    def covered(self, question: str) -> Scores:
        """Return for each text which share of the question it covers, from 0 to 1."""
        words = content(question)
        if not (words and self._many):
            return np.zeros(self._many, np.float32)
        nearness = np.clip((self._vectors.of(words) @ self._rows.T - FLOOR) / (1 - FLOOR), 0, 1)
        nearness[np.array([self._stems == _stem(word) for word in words])] = 1
        nearness = np.pad(nearness, ((0, 0), (0, 1)))
        best = np.maximum.reduceat(nearness[:, self._flat], self._starts, axis=1)
        weights = np.array([self._weight(word) for word in words], np.float32)
        return np.minimum(weights @ best / np.sort(weights)[-ENOUGH:].sum(), 1)

    def _weight(self, word: str) -> float:
        return float(np.log(1 + self._many / (1 + self._count[_stem(word)])))


def _stem(word: str) -> str:
    """Return the beginning that the forms of a word have in common, in most European languages."""
    return _ENDING.sub("", word)

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
        self._texts = [content(text) for text in texts]
        self._words = list(dict.fromkeys(word for text in self._texts for word in text))
        places = {word: place for place, word in enumerate(self._words)}
        self._places = [np.array([places[word] for word in text], np.intp) for text in self._texts]
        self._rows = vectors.of(self._words) if self._words else np.empty((0, 0), np.float32)
        self._stems = [_stem(word) for word in self._words]
        self._count = Counter(stem for text in self._texts for stem in {_stem(word) for word in text})

    def covered(self, question: str) -> Scores:
        """Return for each text which share of the question it covers, from 0 to 1."""
        words = content(question)
        if not (words and self._words):
            return np.zeros(len(self._texts), np.float32)
        nearness = np.clip((self._vectors.of(words) @ self._rows.T - FLOOR) / (1 - FLOOR), 0, 1)
        nearness[[[_stem(word) == other for other in self._stems] for word in words]] = 1
        best = np.stack([nearness[:, places].max(axis=1, initial=0) for places in self._places])
        weights = np.array([self._weight(word) for word in words], np.float32)
        return best @ weights / weights.sum()

    def _weight(self, word: str) -> float:
        return float(np.log(1 + len(self._texts) / (1 + self._count[_stem(word)])))


def _stem(word: str) -> str:
    """Return the beginning that the forms of a word have in common, in most European languages."""
    return _ENDING.sub("", word)

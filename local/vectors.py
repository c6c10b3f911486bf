"""Embeddings by static word vectors: a text's vector is the mean of the vectors of its words' pieces.

The vectors are wordllama's (MIT, https://github.com/dleemiller/WordLlama), with 8 bits a number; see
docs/decisions/0012-offline-model.md. They are for English first of all. A word's vector is computed once and
remembered, so that a text costs a look-up and an addition for each of its words.
"""

import re
import threading
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import cast
from zlib import crc32

import numpy as np
import numpy.typing as npt

from local import WORDS

DIMENSIONS = 256
"""Numbers of every vector."""

REMEMBERED = 50_000
"""Words whose vectors are remembered, 1 kB each; at least as many as are looked up at once."""

_CHUNK = 4096  # words that are looked up at once

_WORD = re.compile(r"\w{1,40}|[^\w\s]")
_BEGINS = "\u2581"  # stands before the first letter of a word

Row = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float32]


class Vectors:
    """Embeds texts and words as rows of float32; any text has a vector, and none is all zeros."""

    def __init__(self, words: Path = WORDS, remembered: int = REMEMBERED) -> None:
        # Pieces of words, those that are merged first come first, and for each a row and its scale.
        with np.load(words, allow_pickle=False) as stored:
            pieces = stored["pieces"].tobytes().decode().split("\n")
            self._rows = stored["rows"].astype(np.float32) * stored["scales"][:, None]
        self._ranks = {piece: rank for rank, piece in enumerate(pieces)}
        self._mean = self._rows.mean(axis=0)
        self._most = remembered
        self._places: dict[str, int] = {}
        self._words = np.empty((remembered, DIMENSIONS), np.float32)
        self._lock = threading.Lock()

    def of(self, texts: Sequence[str]) -> Matrix:
        """Return the texts' unit vectors, one row each."""
        words = [_WORD.findall(text.lower() if text.isupper() else text) for text in texts]  # capitals are no names
        with self._lock:
            sums = [self._sum(some) for some in words]
        return units(np.array(sums, np.float32).reshape(-1, DIMENSIONS))

    def _sum(self, words: Sequence[str]) -> Row:
        total = np.zeros(DIMENSIONS, np.float32)
        for start in range(0, len(words), _CHUNK):
            total += self._words[self._look_up(words[start : start + _CHUNK])].sum(axis=0)
        return total if total.any() else self._mean

    def _look_up(self, words: Sequence[str]) -> list[int]:
        """Return where the words' vectors are, which are computed where they are not remembered."""
        places = [*map(self._places.get, words)]
        if None not in places:
            return cast("list[int]", places)
        if len(self._places) + len(words) > self._most:
            self._places.clear()
        for word in words:
            if word not in self._places:
                self._words[len(self._places)] = self._rows[[*map(self._rank, self.pieces(word))]].sum(axis=0)
                self._places[word] = len(self._places)
        return [self._places[word] for word in words]

    def _rank(self, piece: str) -> int:
        # A letter of another script gets some other's row, so that equal words are equal there too.
        rank = self._ranks.get(piece)
        return crc32(piece.encode("utf-8", "surrogatepass")) % len(self._rows) if rank is None else rank

    def pieces(self, word: str) -> list[str]:
        """Return the pieces of a word by byte-pair encoding: the pair with the lowest rank is merged first."""
        parts = list(_BEGINS + word)
        while pairs := [
            (rank, at)
            for at, (one, next_one) in enumerate(pairwise(parts))
            if (rank := self._ranks.get(one + next_one)) is not None
        ]:
            _, at = min(pairs)
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        return parts


def units(rows: Matrix) -> Matrix:
    """Return the rows with length 1."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-6)

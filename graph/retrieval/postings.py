"""BM25 over arrays: which passages have which terms, and how often."""

from collections.abc import Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

_K1, _B = 1.5, 0.75
_MOST = 255  # times that a term counts in a passage
_ROW = np.uint64(32)  # bits of a row in a pair, whose other bits are the term
_ROWS = np.uint64(0xFFFF_FFFF)

Terms = npt.NDArray[np.uint32]
"""The numbers of words' stems, in any order, as often as a passage has them."""


class Postings:
    """Five bytes for each term of a passage, and four for the passage.

    It never changes, so a search may go on in one while another is made of it.
    """

    def __init__(
        self, pairs: npt.NDArray[np.uint64], counts: npt.NDArray[np.uint8], lengths: npt.NDArray[np.int32]
    ) -> None:
        """Take pairs of a term and a row, in order and each once, and how often the row has the term."""
        terms = (pairs >> _ROW).astype(np.uint32)
        first = np.flatnonzero(terms[1:] != terms[:-1]) + 1
        self._starts = np.concatenate(([0], first, [len(pairs)])) if len(pairs) else np.zeros(1, np.int64)
        self._terms = terms[self._starts[:-1]]
        self._rows = (pairs & _ROWS).astype(np.int32)
        self._counts = counts
        self.lengths = lengths
        """How many terms each passage has."""
        average = max(float(lengths.mean()), 1.0) if len(lengths) else 1.0
        self._norms = (_K1 * (1 - _B + _B * lengths / average)).astype(np.float32)

    @classmethod
    def of(cls, terms: Terms, lengths: Sequence[int] | npt.NDArray[np.int32]) -> Self:
        """Make them of the passages' terms, one passage after the other; `lengths` is how many each has."""
        lengths = np.asarray(lengths, np.int32)
        return cls(*_pairs(terms, lengths, 0), lengths)

    def changed(self, kept: npt.NDArray[np.bool_], terms: Terms, lengths: npt.NDArray[np.int32]) -> Self:
        """Return those of the rows that are `kept`, followed by further passages, as if they were made anew."""
        place = np.cumsum(kept, dtype=np.uint64) - np.uint64(1)
        keeps = kept[self._rows]
        old = np.repeat(self._terms, np.diff(self._starts))[keeps].astype(np.uint64)
        old <<= _ROW
        old |= place[self._rows[keeps]]
        new, counts = _pairs(terms, lengths, int(kept.sum()))
        at = np.searchsorted(old, new)
        return type(self)(
            np.insert(old, at, new),
            np.insert(self._counts[keeps], at, counts),
            np.concatenate((self.lengths[kept], lengths)),
        )

    def known(self, terms: Sequence[int]) -> list[int]:
        """Return those of the terms that passages have."""
        return [term for term in terms if self._slice(term)]

    def scores(self, terms: Sequence[int]) -> npt.NDArray[np.float32]:
        """Return each passage's score for the terms, 0 if it has none of them.

        The formula is that of Lucene: https://lucene.apache.org/core/10_0_0/core/org/apache/lucene/search/similarities/BM25Similarity.html
        """
        scores = np.zeros(len(self._norms), np.float32)
        for term in terms:
            if not (some := self._slice(term)):
                continue
            rows, counts = self._rows[some], self._counts[some].astype(np.float32)
            rarity = np.log(1 + (len(scores) - len(rows) + 0.5) / (len(rows) + 0.5))
            scores[rows] += np.float32(rarity) * counts / (counts + self._norms[rows])
        return scores

    def _slice(self, term: int) -> slice | None:
        """Return where a term's rows and counts are; None if no passage has it."""
        at = int(np.searchsorted(self._terms, np.uint32(term)))
        if at == len(self._terms) or self._terms[at] != term:
            return None
        return slice(int(self._starts[at]), int(self._starts[at + 1]))


def _pairs(
    terms: Terms, lengths: npt.NDArray[np.int32], first: int
) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.uint8]]:
    """Return pairs of a term and a row, in order and each once, and how often each comes; rows begin with `first`."""
    rows = np.repeat(np.arange(first, first + len(lengths), dtype=np.uint64), lengths)
    pairs = terms.astype(np.uint64)
    pairs <<= _ROW
    pairs |= rows
    pairs.sort()
    starts = np.flatnonzero(np.concatenate(([True], pairs[1:] != pairs[:-1]))) if len(pairs) else np.zeros(0, np.int64)
    counts = np.minimum(np.diff(starts, append=len(pairs)), _MOST).astype(np.uint8)
    return pairs[starts], counts

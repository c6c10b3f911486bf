"""What a replica holds of a set of articles in Postgres: arrays with an entry for each passage, and no text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from graph.retrieval.postings import Postings, Terms

_WORD = 64  # bits of a vector's code that are compared at once

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Passages:
    """Passages as Postgres sends them; those of an article follow one another."""

    articles: npt.NDArray[np.int64]
    """The keys of their articles' rows."""
    sizes: npt.NDArray[np.int64]
    """Their characters, as `size_of` counts them."""
    vectors: npt.NDArray[np.int64]
    """The ids of their vectors; 0 where the embedding model refuses the text."""
    codes: npt.NDArray[np.uint64]
    """A row for each: the signs of their vectors' numbers, 64 in one."""
    languages: npt.NDArray[np.int32]
    """The numbers of their languages."""
    terms: Terms
    """All terms, one passage after the other."""
    lengths: npt.NDArray[np.int32]
    """How many of these each has."""

    def __len__(self) -> int:
        return len(self.articles)

    @classmethod
    def joined(cls, parts: "Sequence[Passages]") -> "Passages":
        """Return parts as one."""
        return cls(
            np.concatenate([part.articles for part in parts]),
            np.concatenate([part.sizes for part in parts]),
            np.concatenate([part.vectors for part in parts]),
            np.concatenate([part.codes for part in parts]),
            np.concatenate([part.languages for part in parts]),
            np.concatenate([part.terms for part in parts]),
            np.concatenate([part.lengths for part in parts]),
        )


@dataclass(frozen=True, slots=True)
class Rows:
    """The passages of one set, a row each, for as long as that set is searched; nothing in it changes."""

    articles: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    vectors: npt.NDArray[np.int64]
    codes: npt.NDArray[np.uint64]
    """As Passages has them, but turned: a row for each 64 numbers of the vectors, which is read in one go."""
    languages: npt.NDArray[np.int32]
    postings: Postings

    def __len__(self) -> int:
        return len(self.articles)

    @classmethod
    def of(cls, passages: Passages) -> Self:
        """Make rows of passages."""
        postings = Postings.of(passages.terms, passages.lengths)
        codes = np.ascontiguousarray(passages.codes.T)
        return cls(passages.articles, passages.sizes, passages.vectors, codes, passages.languages, postings)

    def changed(self, articles: npt.NDArray[np.int64], new: Passages) -> Self:
        """Return the rows of those of the `articles` that it has, followed by new ones."""
        kept = np.isin(self.articles, articles) & ~np.isin(self.articles, new.articles)
        return type(self)(
            np.concatenate((self.articles[kept], new.articles)),
            np.concatenate((self.sizes[kept], new.sizes)),
            np.concatenate((self.vectors[kept], new.vectors)),
            np.concatenate((self.codes[:, kept], new.codes.T), axis=1),
            np.concatenate((self.languages[kept], new.languages)),
            self.postings.changed(kept, new.terms, new.lengths),
        )

    def near(self, code: npt.NDArray[np.uint64], most: int, among: Flags | None) -> npt.NDArray[np.int64]:
        """Return `most` rows whose vectors point in much the same direction as that of a code, in no order.

        The cosine of two vectors is about that of the share of their numbers with different signs, times pi.
        """
        usable = self.vectors != 0 if among is None else among & (self.vectors != 0)
        if len(self) <= most:
            return np.flatnonzero(usable)
        different = np.zeros(len(self), np.uint16)
        for some, word in zip(self.codes, code, strict=True):
            different += np.bitwise_count(some ^ word)
        different[~usable] = np.iinfo(np.uint16).max
        rows = np.argpartition(different, most)[:most]
        return rows[usable[rows]]


def packed(signs: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Return rows of bits, eight in a number, as rows of 64 in one; what is missing at the end is 0."""
    missing = -signs.shape[1] % (_WORD // 8)
    return np.ascontiguousarray(np.pad(signs, ((0, 0), (0, missing)))).view(np.uint64)

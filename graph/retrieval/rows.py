"""What a replica holds of a set of articles in Postgres: arrays with an entry for each passage, and no text."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from graph.retrieval.postings import Postings, Terms

_WORD = 64  # bits of a vector's code that are compared at once
_BITS = 4  # of each number of a question's vector
_CHUNK = 16_384  # rows that are counted at once, so that the arrays for it stay in the processor's cache

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
    """A row for each: the signs of the numbers of their vectors without the centre, 64 in one."""
    factors: npt.NDArray[np.float32]
    """What a product with these signs is multiplied with, to be about that with the vector: its length squared, divided
    by the sum of its numbers without their signs."""
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
            np.concatenate([part.factors for part in parts]),
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
    ones: npt.NDArray[np.uint16]
    """How many signs of each are positive."""
    factors: npt.NDArray[np.float32]
    languages: npt.NDArray[np.int32]
    postings: Postings

    def __len__(self) -> int:
        return len(self.articles)

    @classmethod
    def of(cls, passages: Passages) -> Self:
        """Make rows of passages."""
        postings = Postings.of(passages.terms, passages.lengths)
        codes = np.ascontiguousarray(passages.codes.T)
        factors, languages = passages.factors, passages.languages
        ones = _ones(passages)
        return cls(passages.articles, passages.sizes, passages.vectors, codes, ones, factors, languages, postings)

    def changed(self, articles: npt.NDArray[np.int64], new: Passages) -> Self:
        """Return the rows of those of the `articles` that it has, followed by new ones."""
        kept = np.isin(self.articles, articles) & ~np.isin(self.articles, new.articles)
        return type(self)(
            np.concatenate((self.articles[kept], new.articles)),
            np.concatenate((self.sizes[kept], new.sizes)),
            np.concatenate((self.vectors[kept], new.vectors)),
            np.concatenate((self.codes[:, kept], new.codes.T), axis=1),
            np.concatenate((self.ones[kept], _ones(new))),
            np.concatenate((self.factors[kept], new.factors)),
            np.concatenate((self.languages[kept], new.languages)),
            self.postings.changed(kept, new.terms, new.lengths),
        )

    def near(self, unit: npt.NDArray[np.float32], most: int, among: Flags | None) -> npt.NDArray[np.int64]:
        """Return `most` rows whose products with a vector are likely the greatest, in no order.

        They are estimated as RaBitQ does (https://arxiv.org/abs/2405.12497), without its rotation: by one bit for each
        number of a row's vector, and by four for each of the asked one.
        """
        usable = self.vectors != 0
        if among is not None:
            usable &= among
        if len(self) <= most:
            return np.flatnonzero(usable)
        products = self._products(unit)
        products[~usable] = -np.inf
        rows = np.argpartition(products, -most)[-most:]
        return rows[usable[rows]]

    def _products(self, unit: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        """Return about what each row's vector, without the centre, gives with a vector."""
        least = float(unit.min())
        step = (float(unit.max()) - least) / (2**_BITS - 1) or 1.0
        levels = np.rint((unit - least) / step).astype(np.uint8)
        planes = [packed(np.packbits(levels >> bit & 1)[np.newaxis])[0] for bit in reversed(range(_BITS))]
        total = np.zeros(len(self), np.min_scalar_type((2**_BITS - 1) * len(unit)))
        both, count = np.empty(_CHUNK, np.uint64), np.empty(_CHUNK, np.uint8)  # once: to allocate takes as long
        for first in range(0, len(self), _CHUNK):
            some = total[first : first + _CHUNK]
            both, count = both[: len(some)], count[: len(some)]
            for plane in planes:
                some <<= 1
                for codes, word in zip(self.codes, plane, strict=True):
                    np.bitwise_and(codes[first : first + _CHUNK], word, out=both)
                    np.bitwise_count(both, out=count)
                    some += count
        products = total.astype(np.float32)
        products *= np.float32(2 * step)
        products += self.ones * np.float32(2 * least)
        products -= unit.sum()
        products *= self.factors
        return products


def _ones(passages: Passages) -> npt.NDArray[np.uint16]:
    return np.bitwise_count(passages.codes).sum(axis=1, dtype=np.uint16)


def packed(signs: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint64]:
    """Return rows of bits, eight in a number, as rows of 64 in one; what is missing at the end is 0."""
    missing = -signs.shape[1] % (_WORD // 8)
    return np.ascontiguousarray(np.pad(signs, ((0, 0), (0, missing)))).view(np.uint64)

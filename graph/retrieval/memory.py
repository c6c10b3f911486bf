"""The passages' vectors in memory."""

import asyncio
from collections.abc import Collection, Iterable, Sequence
from typing import cast

import numpy as np
import numpy.typing as npt

from graph.retrieval.indexing import Vector
from graph.retrieval.passages import ArticlePassage
from graph.retrieval.search import Key
from graph.retrieval.units import greatest, units

_BRIEF = 2_000_000  # multiplications, about 1 ms: what a search may do on the event loop, where others wait too


class MemoryIndex:
    """One matrix with a row of length 1 for each passage: four bytes per number of its vector."""

    def __init__(self, passages: int, dims: int) -> None:
        """Make room for `passages` vectors of `dims` numbers."""
        self.dims = dims
        self._keys: list[Key] = []
        self._languages: list[str] = []
        self._rows = np.empty((passages, dims), np.float32)

    async def add(self, passages: Sequence[tuple[ArticlePassage, Vector]]) -> None:
        """Append these passages with their vectors."""
        rows = units([vector for _, vector in passages])
        self._rows[len(self._keys) : len(self._keys) + len(rows)] = rows
        self._keys += ((passage.article.id, passage.number) for passage, _ in passages)
        self._languages += (passage.article.language or "" for passage, _ in passages)

    async def nearest(
        self, vectors: Sequence[Vector], limit: int, languages: Collection[str] | None
    ) -> list[list[Key]]:
        """Return each vector's `limit` nearest passages in these languages.

        The greatest cosine comes first, and of equal ones the passage that was added first.
        """
        asked = units(vectors)
        if self._rows.size * len(asked) > _BRIEF:
            return await asyncio.to_thread(self._nearest, asked, limit, languages)
        return self._nearest(asked, limit, languages)

    def by_hash(self, passages: Iterable[ArticlePassage]) -> dict[str, Vector]:
        """Return the vectors of those passages that it has, by the hashes of their texts."""
        rows = {key: row for row, key in enumerate(self._keys)}
        known = ((passage, rows.get((passage.article.id, passage.number))) for passage in passages)
        return {passage.hash: cast("Vector", self._rows[row]) for passage, row in known if row is not None}

    def beginnings(self) -> dict[str, Vector]:
        """Return the vector of each article's first passage, by the article's id."""
        return {
            article: cast("Vector", self._rows[row]) for row, (article, number) in enumerate(self._keys) if not number
        }

    async def ping(self) -> None:
        """Do nothing: nothing can take the passages away."""

    def _nearest(
        self, asked: npt.NDArray[np.float32], limit: int, languages: Collection[str] | None
    ) -> list[list[Key]]:
        rows = self._rows[: len(self._keys)]  # a passage that the model refuses is missing
        # Not `@`: BLAS would start threads, which cost more time than they save, and can round equal rows differently.
        cosines = [np.vecdot(rows, unit) for unit in asked]
        if languages is not None:
            others = [row for row, language in enumerate(self._languages) if language not in languages]
            for each in cosines:
                each[others] = -np.inf
            limit = min(limit, len(self._keys) - len(others))
        return [[self._keys[row] for row in greatest(each, limit)] for each in cosines]

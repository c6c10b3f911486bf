"""The articles' index in memory."""

import asyncio
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from langgraph.store.base.embed import AEmbeddingsFunc

from graph.retrieval.indexing import Vector
from graph.retrieval.passages import ArticlePassage
from graph.state import Passage

_BRIEF = 10_000_000  # multiplications, about 5 ms: what a search may do on the event loop


class MemoryIndex:
    """Articles, and one matrix with a row of length 1 for each: four bytes per number of its vector."""

    def __init__(self, embed: AEmbeddingsFunc, passages: int, dims: int) -> None:
        """Make room for `passages` vectors of `dims` numbers, which is what `embed` returns for each text."""
        self._embed = embed
        self._passages: list[ArticlePassage] = []
        self._rows = np.empty((passages, dims), np.float32)

    async def add(self, passages: Sequence[tuple[ArticlePassage, Vector]]) -> None:
        """Append these passages with their vectors."""
        rows = _units([vector for _, vector in passages])
        self._rows[len(self._passages) : len(self._passages) + len(rows)] = rows
        self._passages += (passage for passage, _ in passages)

    async def search(self, queries: Sequence[str], limit: int) -> list[list[Passage]]:
        """Embed the queries in one request, and return each one's `limit` nearest articles; raises ModelError.

        The greatest cosine comes first, and of equal ones the article that was added first.
        """
        units = _units(await self._embed(queries))
        if self._rows.size * len(units) > _BRIEF:
            return await asyncio.to_thread(self._nearest, units, limit)
        return self._nearest(units, limit)

    async def ping(self) -> None:
        """Do nothing: nothing can take the articles away."""

    def _nearest(self, units: npt.NDArray[np.float32], limit: int) -> list[list[Passage]]:
        # Not `@`: BLAS would start threads, which cost more time than they save, and can round equal rows differently.
        rows = self._rows[: len(self._passages)]  # a passage that the model refuses is missing
        cosines = (np.vecdot(rows, unit) for unit in units)
        return [[_passage(self._passages[row]) for row in _greatest(each, limit)] for each in cosines]


def _units(vectors: Sequence[Vector]) -> npt.NDArray[np.float32]:
    """Return vectors of length 1 in the same directions, one a row; none may be all zeros."""
    rows = np.array(vectors, np.float64)
    rows /= np.abs(rows).max(axis=1, keepdims=True)  # so that no square overflows, or is 0
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)


def _greatest(values: npt.NDArray[np.float32], limit: int) -> list[int]:
    """Return where the `limit` greatest values are, the greatest first; equal ones stay in order."""
    limit = min(limit, len(values))
    candidates = np.flatnonzero(values >= np.partition(values, -limit)[-limit])
    order = np.argsort(-values[candidates], stable=True)
    return candidates[order][:limit].tolist()


def _passage(passage: ArticlePassage) -> Passage:
    return Passage(id=passage.article.id, title=passage.article.title, text=passage.text)

"""Search in one set in Postgres: by the words that this process has, and by the vectors, most of which it has not.

By one bit for each number of their vectors it finds candidates, which Postgres then compares exactly.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
from langgraph.store.base.embed import AEmbeddingsFunc

from graph.retrieval.articles import Article
from graph.retrieval.indexing import Vector
from graph.retrieval.postgres import as_text
from graph.retrieval.search import DEPTH, Numbers, chosen_of, fused, in_turn, passage_of, runs_of
from graph.retrieval.stored import Content, Stored
from graph.retrieval.units import greatest, units
from graph.retrieval.words import terms_of
from graph.state import Passage

CANDIDATES: Final = 1500
"""Passages that Postgres compares exactly, for each question: where a set has no more, all of them."""

_MANY = 20_000  # rows that are searched in a thread

_P = ParamSpec("_P")
_T = TypeVar("_T")


class StoredSearch:
    """Finds the passages for a question in one set in Postgres."""

    def __init__(self, stored: Stored, content: Content, embed: AEmbeddingsFunc) -> None:
        self._stored = stored
        self._content = content
        self._embed = embed

    async def find(self, queries: Sequence[str]) -> list[Passage]:
        """Return the passages for an answer, each query's best in turn; raises ModelError or KnowledgeUnavailable.

        All queries are embedded in one request. The last one, which is the longest, tells the language.
        """
        content = self._content
        language = content.languages.of(queries[-1]) if content.languages else None
        among = None
        if language is not None:
            among = content.rows.languages == content.spoken.index(language)
        spoken = language or content.set.language
        vectors = await self._embed(queries)
        near = await self._off_loop(self._near, vectors, among)
        worded, meant = await asyncio.gather(  # words are compared while Postgres compares vectors
            self._off_loop(self._worded, queries, spoken, among),
            asyncio.gather(*(self._compared(*each, DEPTH) for each in zip(vectors, near, strict=True))),
        )
        return await self._joined(in_turn([fused(both) for both in zip(meant, worded, strict=True)]))

    async def nearest(self, vector: Vector, among: npt.NDArray[np.bool_] | None, limit: int = DEPTH) -> list[int]:
        """Return the rows of the passages that are nearest by meaning, the nearest first."""
        (near,) = await self._off_loop(self._near, [vector], among)
        return await self._compared(vector, near, limit)

    async def article(self, name: str) -> Article | None:
        """Return an article by its id; None if there is none. Raises KnowledgeUnavailable."""
        return await self._stored.article(name, self._content.set.number)

    async def ping(self) -> None:
        """Look for any one article of the set; raises KnowledgeUnavailable."""
        await self._stored.check(self._content)

    def _worded(self, queries: Sequence[str], spoken: str, among: npt.NDArray[np.bool_] | None) -> list[list[int]]:
        return [self._by_words(query, spoken, among) for query in queries]

    def _near(self, vectors: Sequence[Vector], among: npt.NDArray[np.bool_] | None) -> list[Numbers]:
        return [self._content.rows.near(unit, CANDIDATES, among) for unit in units(vectors)]

    async def _compared(self, vector: Vector, near: Numbers, limit: int) -> list[int]:
        """Return the nearest of these rows, the nearest first: several may have the same vector."""
        if not len(near):
            return []
        vectors = self._content.rows.vectors[near]
        (asked,) = as_text([vector])
        found = await self._stored.nearest(vectors, asked, limit)
        place = {each: rank for rank, each in enumerate(found)}
        among = np.isin(vectors, found)
        pairs = zip(vectors[among].tolist(), near[among].tolist(), strict=True)
        return [row for _, row in sorted((place[each], row) for each, row in pairs)[:limit]]

    def _by_words(self, query: str, spoken: str, among: npt.NDArray[np.bool_] | None) -> list[int]:
        postings = self._content.rows.postings
        if not (terms := postings.known(terms_of(query, spoken))):
            return []
        scores = postings.scores(terms)
        if among is not None:
            scores[~among] = 0
        return [row for row in greatest(scores, DEPTH) if scores[row] > 0]

    async def _off_loop(self, work: Callable[_P, _T], *args: _P.args, **named: _P.kwargs) -> _T:
        """Do what takes long for many rows in a thread."""
        if len(self._content.rows) > _MANY:
            return await asyncio.to_thread(work, *args, **named)
        return work(*args, **named)

    async def _joined(self, ranked: Sequence[int]) -> list[Passage]:
        rows = self._content.rows
        runs = list(runs_of(chosen_of(ranked, rows.articles, rows.sizes), rows.articles))
        keys = list(dict.fromkeys(int(rows.articles[best]) for best, _ in runs))
        articles = await self._stored.passages(keys)
        joined: list[Passage] = []
        for best, run in runs:
            passages = articles[key := int(rows.articles[best])]
            first = best
            while first and rows.articles[first - 1] == key:
                first -= 1
            parts = [passages[row - first] for row in run]
            joined.append(passage_of(passages[best - first], parts, is_whole=len(parts) == len(passages)))
        return joined

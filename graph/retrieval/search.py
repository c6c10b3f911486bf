"""Search: passages by the words of a question and by its meaning, joined by reciprocal rank fusion."""

import asyncio
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from itertools import chain, zip_longest
from typing import Protocol

import numpy as np
import numpy.typing as npt
from langgraph.store.base.embed import AEmbeddingsFunc

from graph.retrieval.indexing import Vector
from graph.retrieval.languages import Languages, default_language
from graph.retrieval.passages import BETWEEN, ArticlePassage, size_of
from graph.retrieval.units import greatest
from graph.retrieval.words import Words
from graph.state import Passage

ARTICLES = 5
"""Articles that an answer may rest on."""

BUDGET = 8_000
"""Characters of the passages for an answer, about 2,000 tokens; each article's best passage is always among them."""

DEPTH = 50
"""Passages of a ranking that count."""
_FURTHER = 10  # best passages among which are those that an article gets beside its best one
_K = 5  # how slowly a rank loses weight; measured, see decision 11
_BRIEF = 100_000  # passages whose words are compared in less than 5 ms, on the event loop

Numbers = npt.NDArray[np.int64]

Key = tuple[str, int]
"""A passage: its article's id, and its number in the article."""


class ArticleIndex(Protocol):
    """Passages that can be searched by meaning; MemoryIndex and PostgresIndex are such."""

    async def add(self, passages: Sequence[tuple[ArticlePassage, Vector]]) -> None:
        """Append these passages with their vectors."""
        ...

    async def nearest(
        self, vectors: Sequence[Vector], limit: int, languages: Collection[str] | None
    ) -> list[list[Key]]:
        """Return each vector's `limit` nearest passages, best first; raises KnowledgeUnavailable.

        `languages` are those of the articles that count, "" for an unknown one; None for all.
        """
        ...

    async def ping(self) -> None:
        """Check that there are passages; raises KnowledgeUnavailable."""
        ...


class Search:
    """Finds the passages for a question."""

    def __init__(self, passages: Sequence[ArticlePassage], default: str | None, before: "Search | None" = None) -> None:
        """Prepare the passages' words, which takes two seconds for 10,000; `default` is the help centre's language.

        Those that `passages` begin with and a search `before` had, in this order, are known.
        """
        self.passages = passages
        self._rows = {(passage.article.id, passage.number): row for row, passage in enumerate(passages)}
        self._counts = Counter(passage.article.id for passage in passages)
        numbers = {article: number for number, article in enumerate(self._counts)}
        self._articles = np.array([numbers[passage.article.id] for passage in passages], np.int64)
        self._sizes = np.array([size_of(passage.text) for passage in passages], np.int64)
        self._default = default_language((passage.article.language for passage in passages), default)
        spoken = [passage.article.language or self._default for passage in passages]
        self._spoken = np.array(spoken)
        texts = [passage.counted for passage in passages]
        kept = _kept(passages, before.passages if before and before._default == self._default else ())  # noqa: SLF001 - its own class
        known = int(kept.sum())
        self._words = Words(texts[known:], spoken[known:], (before._words, kept) if before and known else None)  # noqa: SLF001 - its own class
        several = len(set(spoken)) > 1
        self._languages = Languages(zip(texts, spoken, strict=True), self._default) if several else None

    async def find(self, queries: Sequence[str], index: ArticleIndex, embed: AEmbeddingsFunc) -> list[Passage]:
        """Return the passages for an answer, each query's best in turn; raises ModelError or KnowledgeUnavailable.

        All queries are embedded in one request. The last one, which is the longest, tells the language.
        """
        language = self._languages.of(queries[-1]) if self._languages else None
        among = None if language is None else {language, "" if language == self._default else language}
        near = await index.nearest(await embed(queries), DEPTH, among)
        ranked = [
            fused([self.rows(keys), await self.by_words(query, language)])
            for query, keys in zip(queries, near, strict=True)
        ]
        return list(self._joined(in_turn(ranked)))

    async def by_words(self, query: str, language: str | None = None) -> list[int]:
        """Return the rows of the passages with the words of a query, best first."""
        if not (terms := self._words.terms(query, language or self._default)):
            return []
        if len(self.passages) > _BRIEF:
            return await asyncio.to_thread(self._scored, terms, language)
        return self._scored(terms, language)

    def rows(self, keys: Iterable[Key]) -> list[int]:
        """Return the rows of the passages that an index has found."""
        return [self._rows[key] for key in keys if key in self._rows]

    def _scored(self, terms: Sequence[int], language: str | None) -> list[int]:
        scores = self._words.scores(terms)
        if language is not None:
            scores = np.where(self._spoken == language, scores, 0)
        return [row for row in greatest(scores, DEPTH) if scores[row] > 0]

    def _joined(self, ranked: Sequence[int]) -> Iterable[Passage]:
        """Yield the passages, neighbours as one, which stands where its best one does."""
        chosen = chosen_of(ranked, self._articles, self._sizes)
        for best, run in runs_of(chosen, self._articles):
            parts = [self.passages[row] for row in run]
            is_whole = len(run) == self._counts[parts[0].article.id]
            yield passage_of(self.passages[best], parts, is_whole=is_whole)


def _kept(passages: Sequence[ArticlePassage], before: Sequence[ArticlePassage]) -> npt.NDArray[np.bool_]:
    """Say which of the passages before are still there: what `passages` begin with."""
    kept = np.zeros(len(before), np.bool_)
    known = 0
    for row, passage in enumerate(before):
        if known < len(passages) and passages[known] is passage:
            kept[row] = True
            known += 1
    return kept


def chosen_of(ranked: Sequence[int], articles: Numbers, sizes: Numbers) -> list[int]:
    """Return the best passage of each of the best articles, and what else of these is near and has room.

    `articles` has the article of each row, as a number, and `sizes` its characters.
    """
    best: dict[int, int] = {}
    for row in ranked:
        if len(best) < ARTICLES:
            best.setdefault(int(articles[row]), row)
    chosen = set(best.values())
    room = BUDGET - sum(int(sizes[row]) for row in chosen)
    for row in ranked[:_FURTHER]:
        if row not in chosen and int(articles[row]) in best and sizes[row] <= room:
            chosen.add(row)
            room -= int(sizes[row])
    return [row for row in ranked if row in chosen]


def runs_of(chosen: Sequence[int], articles: Numbers) -> Iterable[tuple[int, list[int]]]:
    """Yield rows, the best first, each with the chosen rows beside it of its article, which follow one another."""
    seen: set[int] = set()
    left = set(chosen)

    def belongs(row: int, beside: int) -> bool:
        return row in left and articles[row] == articles[beside]

    for row in chosen:
        if row not in seen:
            run = [row]
            while belongs(run[0] - 1, row):
                run.insert(0, run[0] - 1)
            while belongs(run[-1] + 1, row):
                run.append(run[-1] + 1)
            seen.update(run)
            yield row, run


def passage_of(best: ArticlePassage, parts: Sequence[ArticlePassage], *, is_whole: bool) -> Passage:
    """Return neighbours as one passage, in the section of the best of them; a whole article is in none."""
    article = best.article
    section = None if is_whole else best.section or None
    return Passage(id=article.id, title=article.title, text=_text(parts), section=section, url=article.url)


def fused(rankings: Iterable[Sequence[int]]) -> list[int]:
    """Join rankings by reciprocal rank fusion: what several of them place high comes first."""
    scores: defaultdict[int, float] = defaultdict(float)
    for ranking in rankings:
        for rank, one in enumerate(ranking, 1):
            scores[one] += 1 / (_K + rank)
    return sorted(scores, key=lambda one: -scores[one])


def in_turn(rankings: Iterable[Sequence[int]]) -> list[int]:
    """Return each ranking's best in turn, each once."""
    return list(dict.fromkeys(one for one in chain(*zip_longest(*rankings)) if one is not None))


def _text(parts: Sequence[ArticlePassage]) -> str:
    """Return neighbours as one text; where their sections differ, each begins with its heading."""
    if len({part.section for part in parts}) == 1:
        return "\n\n".join(part.text for part in parts)
    texts: list[str] = []
    section = ""
    for part in parts:
        if part.section != section:
            texts.append(f"## {part.section.split(BETWEEN)[-1]}")
            section = part.section
        texts.append(part.text)
    return "\n\n".join(texts)

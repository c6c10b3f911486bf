"""Passages and vectors without a meaning, to fill an index with."""

from collections.abc import Sequence

import numpy as np

from graph.retrieval.articles import Article
from graph.retrieval.indexing import Vector
from graph.retrieval.passages import ArticlePassage, passages_of
from graph.retrieval.search import ArticleIndex


def random_vectors(seed: int, count: int, dims: int) -> list[list[float]]:
    return np.random.default_rng(seed).standard_normal((count, dims)).tolist()


def numbered(count: int, language: str | None = None) -> list[ArticlePassage]:
    """Passages of as many articles, `article-0000` and so on."""
    return passages_of(
        Article(f"article-{number:04}", f"Title {number}", f"Text {number}.", language=language)
        for number in range(count)
    )


async def fill(index: ArticleIndex, passages: Sequence[ArticlePassage], vectors: Sequence[Vector]) -> None:
    pairs = list(zip(passages, vectors, strict=True))
    for start in range(0, len(pairs), 16):
        await index.add(pairs[start : start + 16])

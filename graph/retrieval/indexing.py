"""Embedding what is to be indexed, with a patience of its own."""

from collections.abc import AsyncGenerator, Sequence

from graph.models import Models
from graph.retrieval.passages import ArticlePassage

_BATCH = 16  # passages embedded in one request

Vector = Sequence[float]


async def embed_passages(
    models: Models, passages: Sequence[ArticlePassage]
) -> AsyncGenerator[list[tuple[ArticlePassage, Vector]]]:
    """Yield the passages with their vectors, batch by batch; one that the model refuses is missing.

    Raises ModelError when the model can't be used.
    """
    for start in range(0, len(passages), _BATCH):
        batch = passages[start : start + _BATCH]
        vectors = await models.embed([passage.embedded for passage in batch])
        yield list(zip(batch, vectors, strict=True))

"""Fills the vectors on disk, so that a replica without Postgres has nothing to embed."""

import asyncio

from graph.models import Models
from graph.retrieval.articles import Library, read_library
from graph.retrieval.indexing import dims_of, embed_passages
from graph.retrieval.kept import kept_vectors
from graph.retrieval.passages import passages_of
from graph.retrieval.progress import IndexingProgress
from graph.retrieval.refusals import Refusals
from graph.retrieval.synced import Synced
from graph.settings import AgentSettings


async def sync_to_disk(settings: AgentSettings, models: Models) -> tuple[Library, Synced]:
    """Keep the vectors of all passages that the sources hold; raises KnowledgeError, ModelError."""
    done, refusals, kept = Synced(), Refusals(), kept_vectors(settings)
    with done.timed("read"):
        library = await asyncio.to_thread(read_library, settings)
        library.require(strict=settings.strict)
    with done.timed("cut"):
        passages = await asyncio.to_thread(passages_of, library.articles)
    done.passages = len(passages)
    with done.timed("embed"), IndexingProgress(len(passages)) as progress:
        dims = await dims_of(models)
        async for batch, new in embed_passages(models, passages, kept, dims, refusals.add):
            done.embedded += new
            progress.advance(len(batch), new=new)
    done.refused = len(refusals.refused)
    refusals.end(strict=settings.strict)
    return library, done

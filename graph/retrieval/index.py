"""The articles' index: made once, searched by meaning."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import psycopg
from langgraph.store.base import BaseStore, IndexConfig, PutOp, SearchItem
from langgraph.store.memory import InMemoryStore
from psycopg_pool import PoolTimeout

from graph.errors import KnowledgeError, KnowledgeUnavailable, ModelError, ModelUnavailable
from graph.models import Models
from graph.retrieval.articles import Article, Library, load_library, meaning
from graph.retrieval.postgres import alone, open_postgres, postgres_trouble
from graph.settings import AgentSettings
from graph.state import Passage

PASSAGES = 5
"""Articles that an answer may rest on."""

_BATCH = 16  # articles embedded in one request
_INDEXES = ("indexes",)  # namespace of the record that an index is whole, one a version
_KEPT = 3  # indexes of earlier versions

_log = logging.getLogger(__name__)


class Knowledge:
    """The articles of one library, searchable."""

    def __init__(self, library: Library, store: BaseStore, version: str) -> None:
        self.company = library.company
        self.contacts = library.contacts
        self.version = version
        self._store = store

    async def search(self, question: str) -> list[Passage]:
        """Return the PASSAGES nearest articles, best first; raises ModelError or KnowledgeUnavailable."""
        items = await self._find(question, PASSAGES)
        return [Passage(id=item.key, title=item.value["title"], text=item.value["text"]) for item in items]

    async def ping(self) -> None:
        """Find out whether there are articles; raises KnowledgeUnavailable."""
        await self._find(None, 1)

    async def _find(self, query: str | None, limit: int) -> list[SearchItem]:
        try:
            items = await self._store.asearch(_namespace(self.version), query=query, limit=limit)
        except (psycopg.Error, PoolTimeout) as error:
            raise KnowledgeUnavailable(type(error).__name__) from error
        if not items:
            raise KnowledgeUnavailable(f"the index {self.version} is gone; a restart makes it anew")
        return items


@asynccontextmanager
async def open_knowledge(settings: AgentSettings, models: Models) -> AsyncGenerator[Knowledge]:
    """Load the articles and index them, unless a replica that shares the database already has.

    Raises KnowledgeError where an article is malformed, or the database or the embedding model fails.
    """
    library = await asyncio.to_thread(load_library, settings.knowledge)
    async with AsyncExitStack() as stack:
        try:
            index, dims = await _index_config(models)
            version = library.version(settings.embedding_model, dims)
            if settings.database_url is None:
                store = InMemoryStore(index=index)
                await _index(store, library, version)
            else:
                url = settings.database_url.get_secret_value()
                async with alone(url):
                    store = await stack.enter_async_context(open_postgres(url, index))
                    await store.setup()
                    await _index(store, library, version)
        except ModelError as error:
            raise KnowledgeError(
                f"the articles can't be indexed: the embedding model {settings.embedding_model!r} "
                f"did not answer ({error.reason})"
            ) from error
        except (psycopg.Error, PoolTimeout) as error:
            raise KnowledgeError(f"DATABASE_URL: {postgres_trouble(error)}") from error
        yield Knowledge(library, store, version)


async def _index_config(models: Models) -> tuple[IndexConfig, int]:
    """Return how to index, and how many dimensions the embedding model has."""
    dims = len((await models.embed(["How many dimensions?"]))[0])

    async def embed(texts: Sequence[str]) -> list[list[float]]:
        vectors = await models.embed(texts)
        if any(len(vector) != dims for vector in vectors):
            raise ModelUnavailable("vectors of another length")
        return vectors

    return IndexConfig(dims=dims, embed=embed, fields=["meaning"]), dims


async def _index(store: BaseStore, library: Library, version: str) -> None:
    index = await store.aget(_INDEXES, version)
    if index:
        await store.aput(_INDEXES, version, index.value, index=False)  # in use, so not old
        return
    began = time.monotonic()
    puts = [_put(version, article) for article in library.articles]
    for start in range(0, len(puts), _BATCH):
        await store.abatch(puts[start : start + _BATCH])
    await store.aput(_INDEXES, version, {"articles": len(puts)}, index=False)
    await _forget_old(store, version)
    _log.info("indexed %d articles in %.1f s", len(puts), time.monotonic() - began)


async def _forget_old(store: BaseStore, version: str) -> None:
    """Drop all indexes but those that were last in use, which replicas of earlier releases may still read."""
    indexes = await store.asearch(_INDEXES, limit=1000)
    older = sorted((index for index in indexes if index.key != version), key=lambda index: index.updated_at)
    for index in older[:-_KEPT]:
        articles = await store.asearch(_namespace(index.key), limit=index.value["articles"])
        await store.abatch([PutOp(_namespace(index.key), article.key, None) for article in articles])
        await store.adelete(_INDEXES, index.key)


def _put(version: str, article: Article) -> PutOp:
    value = {"title": article.title, "text": article.text, "meaning": meaning(article)}
    return PutOp(_namespace(version), article.id, value)


def _namespace(version: str) -> tuple[str, ...]:
    return ("articles", version)

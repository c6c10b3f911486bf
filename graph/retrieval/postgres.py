"""The articles' indexes in Postgres, with pgvector: one for each version of the articles."""

import asyncio
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager

import psycopg
from langgraph.store.base import PutOp, SearchItem
from langgraph.store.base.embed import AEmbeddingsFunc
from langgraph.store.postgres import AsyncPostgresStore
from langgraph.store.postgres.base import PostgresIndexConfig
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from graph.errors import KnowledgeError, KnowledgeUnavailable
from graph.retrieval.indexing import Vector
from graph.retrieval.passages import ArticlePassage
from graph.state import Passage

_RECORDS = ("indexes",)  # namespace of the records that an index is complete, one per version
_KEPT = 3  # indexes of earlier versions
_LOCK = 0x5A17_A6E7  # any number; names our advisory lock among the database's
_LOCK_DEADLINE = 300.0  # seconds to wait for another replica's indexing
_TIMEOUT = 5  # seconds for a connection


_Pool = AsyncConnectionPool[psycopg.AsyncConnection[DictRow]]


class PostgresIndex:
    """The index of one version of the articles: a namespace of LangGraph's store."""

    def __init__(self, store: AsyncPostgresStore, version: str) -> None:
        self._store = store
        self._version = version

    async def add(self, passages: Sequence[tuple[ArticlePassage, Vector]]) -> None:
        """Store these passages with their vectors; raises psycopg.Error or PoolTimeout."""
        await self._store.abatch([_put(self._version, passage) for passage, _ in passages])

    async def search(self, queries: Sequence[str], limit: int) -> list[list[Passage]]:
        """Return each query's `limit` nearest articles, best first; raises ModelError or KnowledgeUnavailable."""
        # The store embeds the queries of searches that begin together in one request.
        found = await asyncio.gather(*(self._find(query, limit) for query in queries))
        return [
            [Passage(id=item.key, title=item.value["title"], text=item.value["text"]) for item in items]
            for items in found
        ]

    async def ping(self) -> None:
        """Look for any one article, without the embedding model; raises KnowledgeUnavailable."""
        await self._find(None, 1)

    async def _find(self, query: str | None, limit: int) -> list[SearchItem]:
        try:
            items = await self._store.asearch(_namespace(self._version), query=query, limit=limit)
        except (psycopg.Error, PoolTimeout) as error:
            raise KnowledgeUnavailable(type(error).__name__) from error
        if not items:
            raise KnowledgeUnavailable(f"the index {self._version} has been deleted; restart the service to rebuild it")
        return items


class PostgresIndexes:
    """The indexes in a database; all methods raise psycopg.Error or PoolTimeout."""

    def __init__(self, pool: _Pool, records: AsyncPostgresStore) -> None:
        self._pool = pool
        self._records = records

    async def dims(self, version: str) -> int | None:
        """Return how many numbers each vector of a version's index has, and count it as used; None if there is none."""
        if (record := await self._records.aget(_RECORDS, version)) is None:
            return None
        await self._records.aput(_RECORDS, version, record.value)
        return record.value["dims"]

    async def open(self, version: str, embed: AEmbeddingsFunc, dims: int) -> PostgresIndex:
        """Return the index of a version, which may still be empty; `embed` returns vectors of `dims` numbers."""
        index = PostgresIndexConfig(dims=dims, embed=embed, fields=["meaning"])
        # halfvec: an HNSW index over `vector` ends at 2,000 dimensions, fewer than some models have.
        index["ann_index_config"] = {"kind": "hnsw", "vector_type": "halfvec"}
        store = AsyncPostgresStore(self._pool, index=index)
        await store.setup()
        return PostgresIndex(store, version)

    async def complete(self, version: str, articles: int, dims: int) -> None:
        """Record that the index of a version is complete."""
        await self._records.aput(_RECORDS, version, {"articles": articles, "dims": dims})

    async def forget_old(self, version: str) -> None:
        """Delete all other indexes but those last used, which replicas of earlier releases may still read."""
        records = await self._records.asearch(_RECORDS, limit=1000)
        older = sorted((record for record in records if record.key != version), key=lambda record: record.updated_at)
        for record in older[:-_KEPT]:
            namespace = _namespace(record.key)
            articles = await self._records.asearch(namespace, limit=record.value["articles"])
            await self._records.abatch([PutOp(namespace, article.key, None) for article in articles])
            await self._records.adelete(_RECORDS, record.key)


def _put(version: str, passage: ArticlePassage) -> PutOp:
    value = {"title": passage.article.title, "text": passage.text, "meaning": passage.embedded}
    return PutOp(_namespace(version), f"{passage.article.id}#{passage.number}", value)


def _namespace(version: str) -> tuple[str, ...]:
    return ("articles", version)


@asynccontextmanager
async def open_indexes(url: str) -> AsyncGenerator[PostgresIndexes]:
    """Open a connection pool, closed on exit; raises psycopg.Error or PoolTimeout."""
    async with _Pool(
        url,
        min_size=1,
        max_size=4,
        timeout=_TIMEOUT,
        kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
        # So that a restart of Postgres fails no request.
        check=AsyncConnectionPool.check_connection,  # pyright: ignore[reportArgumentType] - typed for tuples only
        open=False,
    ) as pool:
        await pool.wait(_TIMEOUT)
        records = AsyncPostgresStore(pool)
        await records.setup()
        yield PostgresIndexes(pool, records)


@asynccontextmanager
async def alone(url: str) -> AsyncGenerator[None]:
    """Hold an advisory lock. It is polled: a connection that waits for a lock would stall CREATE INDEX CONCURRENTLY."""
    deadline = time.monotonic() + _LOCK_DEADLINE
    connecting = psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=_TIMEOUT)
    async with await connecting as connection:
        while True:
            cursor = await connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,))
            if await cursor.fetchone() == (True,):
                break
            if time.monotonic() > deadline:
                raise KnowledgeError(f"another replica has been indexing the articles for {_LOCK_DEADLINE:.0f} s")
            await asyncio.sleep(0.2)
        yield


async def check_postgres(url: str) -> None:
    """Check that a Postgres can store articles; raises KnowledgeError saying why not."""
    with explained():
        async with await psycopg.AsyncConnection.connect(url, connect_timeout=_TIMEOUT) as connection:
            cursor = await connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'")
            if await cursor.fetchone() is None:
                raise psycopg.errors.FeatureNotSupported


@contextmanager
def explained() -> Generator[None]:
    """Turn psycopg.Error and PoolTimeout into a KnowledgeError that says what is wrong with DATABASE_URL."""
    try:
        yield
    except (psycopg.Error, PoolTimeout) as error:
        raise KnowledgeError(f"DATABASE_URL: {postgres_trouble(error)}") from error


def unfit() -> psycopg.Error:
    """Return the error of a model whose vectors have another length than those in the database."""
    return psycopg.errors.DataException()


def postgres_trouble(error: Exception) -> str:
    """Say what is wrong with a Postgres, without the words of its error, which may hold the URL."""
    if isinstance(error, psycopg.errors.FeatureNotSupported | psycopg.errors.UndefinedFile):
        return "this Postgres lacks the extension pgvector 0.7 or later"
    if isinstance(error, psycopg.errors.InsufficientPrivilege):
        return "its user may not create tables, or the extension `vector`"
    if isinstance(error, psycopg.errors.DataException):
        return "it holds vectors of another length than SUPPORT_EMBEDDING_MODEL's; use an empty database"
    if isinstance(error, psycopg.ProgrammingError) and error.sqlstate is None:
        return "is not an address that Postgres understands"
    if isinstance(error, psycopg.OperationalError) and "certificate verify failed" in str(error):
        return "has a certificate of an authority that is not trusted; name its file with sslrootcert in the URL"
    if isinstance(error, psycopg.OperationalError | PoolTimeout):
        return "Postgres can't be reached or refused the login"
    return f"Postgres refused to store the articles ({type(error).__name__})"

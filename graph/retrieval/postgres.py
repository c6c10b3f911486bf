"""The articles' index in Postgres, with pgvector."""

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import psycopg
from langgraph.store.base import IndexConfig
from langgraph.store.postgres import AsyncPostgresStore
from langgraph.store.postgres.base import PostgresIndexConfig
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from graph.errors import KnowledgeError

_LOCK = 0x5A17_A6E7  # any number; names our advisory lock among the database's
_LOCK_DEADLINE = 300.0  # seconds to wait for another replica's indexing
_TIMEOUT = 5  # seconds for a connection


_Pool = AsyncConnectionPool[psycopg.AsyncConnection[DictRow]]


@asynccontextmanager
async def open_pool(url: str) -> AsyncGenerator[_Pool]:
    """Open a connection pool; raises psycopg.Error or PoolTimeout."""
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
        yield pool


async def open_store(pool: _Pool, in_memory: IndexConfig | None = None) -> AsyncPostgresStore:
    """Return the store, with its tables; it indexes as `in_memory` says, or not at all. Raises psycopg.Error."""
    index = PostgresIndexConfig(**in_memory) if in_memory else None
    if index:
        # halfvec: an HNSW index over `vector` ends at 2,000 dimensions, fewer than some models have.
        index["ann_index_config"] = {"kind": "hnsw", "vector_type": "halfvec"}
    store = AsyncPostgresStore(pool, index=index)
    await store.setup()
    return store


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
    try:
        async with await psycopg.AsyncConnection.connect(url, connect_timeout=_TIMEOUT) as connection:
            cursor = await connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'")
            if await cursor.fetchone() is None:
                raise psycopg.errors.FeatureNotSupported
    except psycopg.Error as error:
        raise KnowledgeError(f"DATABASE_URL: {postgres_trouble(error)}") from error


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
    if isinstance(error, psycopg.OperationalError | PoolTimeout):
        return "Postgres can't be reached or refused the login"
    return f"Postgres refused to store the articles ({type(error).__name__})"

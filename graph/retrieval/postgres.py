"""The articles' indexes in Postgres, with pgvector: one for each version of the articles."""

import asyncio
import time
from collections.abc import AsyncGenerator, Collection, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import LiteralString

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from graph.errors import KnowledgeError, KnowledgeUnavailable
from graph.retrieval.indexing import Vector
from graph.retrieval.passages import ArticlePassage
from graph.retrieval.search import Key
from graph.retrieval.units import units

_KEPT = 3  # indexes of earlier versions
_LOCK = 0x5A17_A6E7  # any number; names our advisory lock among the database's
_SETUP_LOCK = _LOCK + 1
_LOCK_DEADLINE = 300.0  # seconds to wait for another replica's indexing
_TIMEOUT = 5  # seconds for a connection

# `halfvec` of any length, since versions may have different embedding models. It is kept in the row as long as that
# fits into a page: to fetch each vector from elsewhere takes longer than to compare it.
_SETUP = """\
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE IF NOT EXISTS article_indexes (
    version text PRIMARY KEY,
    dims integer NOT NULL,
    used timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE IF NOT EXISTS article_passages (
    version text,
    article text,
    number integer,
    language text NOT NULL,
    model text NOT NULL,
    hash text NOT NULL,
    embedding halfvec NOT NULL,
    PRIMARY KEY (version, article, number)
);
ALTER TABLE article_passages ALTER COLUMN embedding SET STORAGE MAIN"""

_ADD = """\
INSERT INTO article_passages (version, article, number, language, model, hash, embedding)
VALUES (%s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (version, article, number) DO UPDATE SET hash = excluded.hash, embedding = excluded.embedding"""

_ADOPT = """\
INSERT INTO article_passages (version, article, number, language, model, hash, embedding)
SELECT %(version)s, wanted.article, wanted.number, wanted.language, %(model)s, wanted.hash, known.embedding
FROM unnest(%(articles)s::text[], %(numbers)s::integer[], %(languages)s::text[], %(hashes)s::text[])
    AS wanted (article, number, language, hash)
JOIN (
    SELECT DISTINCT ON (hash) hash, embedding FROM article_passages
    WHERE model = %(model)s AND hash = ANY(%(hashes)s) AND vector_dims(embedding) = %(dims)s
) AS known USING (hash)
ON CONFLICT (version, article, number) DO NOTHING"""

_UNFIT = """\
DELETE FROM article_passages WHERE version = %(version)s AND vector_dims(embedding) <> %(dims)s"""

# Not an approximate index: see decision 11.
_NEAREST = """\
SELECT article, number FROM article_passages
WHERE version = %s AND (%s::text[] IS NULL OR language = ANY(%s::text[]))
ORDER BY embedding <#> %s::halfvec, article, number LIMIT %s"""


_Pool = AsyncConnectionPool[psycopg.AsyncConnection[TupleRow]]


class PostgresIndex:
    """The index of one version of the articles: its rows of a table."""

    def __init__(self, pool: _Pool, version: str, model: str, dims: int) -> None:
        self._pool = pool
        self._version = version
        self._model = model
        self._dims = dims

    async def adopt(self, passages: Sequence[ArticlePassage]) -> list[ArticlePassage]:
        """Copy what any version has of these passages by the same model, and return the others.

        Raises psycopg.Error or PoolTimeout.
        """
        wanted = {
            "version": self._version,
            "model": self._model,
            "dims": self._dims,
            "articles": [passage.article.id for passage in passages],
            "numbers": [passage.number for passage in passages],
            "languages": [passage.article.language or "" for passage in passages],
            "hashes": [passage.hash for passage in passages],
        }
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(_UNFIT, wanted)
            await connection.execute(_ADOPT, wanted)
            cursor = await connection.execute(
                "SELECT article, number FROM article_passages WHERE version = %(version)s", wanted
            )
            known = {(row[0], row[1]) for row in await cursor.fetchall()}
        return [passage for passage in passages if (passage.article.id, passage.number) not in known]

    async def add(self, passages: Sequence[tuple[ArticlePassage, Vector]]) -> None:
        """Store these passages with their vectors; raises psycopg.Error or PoolTimeout."""
        rows = [
            (
                self._version,
                passage.article.id,
                passage.number,
                passage.article.language or "",
                self._model,
                passage.hash,
                vector,
            )
            for (passage, _), vector in zip(passages, _texts([vector for _, vector in passages]), strict=True)
        ]
        async with self._pool.connection() as connection, connection.transaction(), connection.cursor() as cursor:
            await cursor.executemany(_ADD, rows)

    async def nearest(
        self, vectors: Sequence[Vector], limit: int, languages: Collection[str] | None
    ) -> list[list[Key]]:
        """Return each vector's `limit` nearest passages in these languages; raises KnowledgeUnavailable."""
        among = None if languages is None else list(languages)
        searches = [self._rows(_NEAREST, self._version, among, among, vector, limit) for vector in _texts(vectors)]
        found = await asyncio.gather(*searches)
        if not all(found):
            await self.ping()
        return [[(row[0], row[1]) for row in rows] for rows in found]

    async def ping(self) -> None:
        """Look for any one passage; raises KnowledgeUnavailable."""
        if not await self._rows("SELECT 1 FROM article_passages WHERE version = %s LIMIT 1", self._version):
            raise KnowledgeUnavailable(f"the index {self._version} has been deleted; restart the service to rebuild it")

    async def _rows(self, query: LiteralString, *parameters: object) -> list[TupleRow]:
        try:
            async with self._pool.connection() as connection:
                cursor = await connection.execute(query, parameters)
                return await cursor.fetchall()
        except (psycopg.Error, PoolTimeout) as error:
            raise KnowledgeUnavailable(type(error).__name__) from error


class PostgresIndexes:
    """The indexes in a database; all methods raise psycopg.Error or PoolTimeout."""

    def __init__(self, pool: _Pool) -> None:
        self._pool = pool

    async def dims(self, version: str) -> int | None:
        """Return how many numbers each vector of a version's index has, and count it as used; None if there is none."""
        async with self._pool.connection() as connection:
            cursor = await connection.execute(
                "UPDATE article_indexes SET used = now() WHERE version = %s RETURNING dims", (version,)
            )
            row = await cursor.fetchone()
        return row[0] if row else None

    def open(self, version: str, model: str, dims: int) -> PostgresIndex:
        """Return the index of a version, which may still be empty; its vectors have `dims` numbers of `model`."""
        return PostgresIndex(self._pool, version, model, dims)

    async def complete(self, version: str, dims: int) -> None:
        """Record that the index of a version is complete."""
        async with self._pool.connection() as connection:
            await connection.execute(
                "INSERT INTO article_indexes (version, dims) VALUES (%s, %s) "
                "ON CONFLICT (version) DO UPDATE SET dims = excluded.dims",
                (version, dims),
            )

    async def forget_old(self, version: str) -> None:
        """Delete all other indexes but those last used, which replicas of earlier releases may still read."""
        async with self._pool.connection() as connection, connection.transaction():
            await connection.execute(
                "DELETE FROM article_indexes WHERE version NOT IN (SELECT version FROM article_indexes "
                "ORDER BY version = %s DESC, used DESC LIMIT %s)",
                (version, 1 + _KEPT),
            )
            await connection.execute(
                "DELETE FROM article_passages WHERE version NOT IN (SELECT version FROM article_indexes)"
            )


def _texts(vectors: Sequence[Vector]) -> list[str]:
    """Return vectors of length 1 as pgvector reads them, with the digits that a half-precision number has."""
    return [f"[{','.join([f'{number:.5g}' for number in row])}]" for row in units(vectors).tolist()]


@asynccontextmanager
async def open_indexes(url: str) -> AsyncGenerator[PostgresIndexes]:
    """Open a connection pool, closed on exit, and make the tables; raises psycopg.Error or PoolTimeout."""
    async with _Pool(
        url,
        min_size=1,
        max_size=4,
        timeout=_TIMEOUT,
        # Nothing that outlives a transaction, so that a pooler such as PgBouncer may stand between.
        kwargs={"autocommit": True, "prepare_threshold": None},
        check=AsyncConnectionPool.check_connection,  # so that a restart of Postgres fails no request
        open=False,
    ) as pool:
        await pool.wait(_TIMEOUT)
        async with pool.connection() as connection:
            await _set_up(connection)
        yield PostgresIndexes(pool)


async def _set_up(connection: psycopg.AsyncConnection[TupleRow]) -> None:
    """Make the tables, if there are none; of two replicas that start at once, one waits for the other."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SETUP_LOCK,))
        cursor = await connection.execute("SELECT to_regclass('article_passages')")
        if await cursor.fetchone() == (None,):  # a user that may only read and write rows is enough from then on
            await connection.execute(_SETUP)


@asynccontextmanager
async def alone(url: str) -> AsyncGenerator[None]:
    """Hold an advisory lock, as long as a transaction; it is polled, so that there is a deadline."""
    deadline = time.monotonic() + _LOCK_DEADLINE
    connecting = psycopg.AsyncConnection.connect(url, connect_timeout=_TIMEOUT, prepare_threshold=None)
    async with await connecting as connection:
        while True:
            cursor = await connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (_LOCK,))
            if await cursor.fetchone() == (True,):
                break
            await connection.rollback()
            if time.monotonic() > deadline:
                raise KnowledgeError(f"another replica has been indexing the articles for {_LOCK_DEADLINE:.0f} s")
            await asyncio.sleep(0.2)
        await connection.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
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

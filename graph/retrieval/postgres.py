"""Connections to Postgres, the lock that those who write sets of articles hold, and what its errors mean."""

import asyncio
import logging
import re
import selectors
import time
from collections.abc import AsyncGenerator, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final

import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from graph.errors import KnowledgeError
from graph.retrieval.indexing import Vector
from graph.retrieval.schema import set_up
from graph.retrieval.units import units

_LOCK = 0x5A17_A6E7  # any number; names our advisory lock among the database's
_LOCK_DEADLINE = 300.0  # seconds that a start waits for another replica's indexing
_LOOK = 0.2  # seconds between two looks at the lock
_TIMEOUT = 5  # seconds for a connection
_NO_DATABASE = re.compile('database ".*" does not exist')

# Nothing that outlives a transaction, so that a pooler such as PgBouncer may stand between, in any mode.
_OPTIONS: Final[dict[str, Any]] = {"autocommit": True, "prepare_threshold": None}

Pool = AsyncConnectionPool[psycopg.AsyncConnection[TupleRow]]

_log = logging.getLogger(__name__)


def as_text(vectors: Sequence[Vector]) -> list[str]:
    """Return vectors of length 1 as pgvector reads them, with the digits that a half-precision number has."""
    return [f"[{','.join([f'{number:.5g}' for number in row])}]" for row in units(vectors).tolist()]


@asynccontextmanager
async def open_pool(url: str) -> AsyncGenerator[Pool]:
    """Make the tables, and open a connection pool, closed on exit; raises psycopg.Error or PoolTimeout."""
    async with await psycopg.AsyncConnection.connect(url, connect_timeout=_TIMEOUT, **_OPTIONS) as connection:
        await set_up(connection)  # whose errors say more than those of a pool that can't connect
    async with Pool(
        url,
        min_size=1,
        max_size=4,
        timeout=_TIMEOUT,
        kwargs=_OPTIONS,
        check=_check,  # so that a restart of Postgres fails no request
        open=False,
    ) as pool:
        await pool.wait(_TIMEOUT)
        yield pool


async def _check(connection: psycopg.AsyncConnection[TupleRow]) -> None:
    """Ask the server whether a connection still works, if it has said anything since, as one that closes it does.

    To ask each time would cost each query another round trip.
    """
    with selectors.DefaultSelector() as selector:
        selector.register(connection.fileno(), selectors.EVENT_READ)
        has_news = bool(selector.select(0))
    if has_news:
        await AsyncConnectionPool.check_connection(connection)


@asynccontextmanager
async def alone(url: str, *, patient: bool = False) -> AsyncGenerator[None]:
    """Hold an advisory lock, as long as a transaction.

    It is polled, so that there is a deadline; who is `patient` waits as long as it takes, and says so. Raises
    KnowledgeError after the deadline.
    """
    deadline, is_told = time.monotonic() + _LOCK_DEADLINE, False
    connecting = psycopg.AsyncConnection.connect(url, connect_timeout=_TIMEOUT, prepare_threshold=None)
    async with await connecting as connection:
        while True:
            cursor = await connection.execute("SELECT pg_try_advisory_xact_lock(%s)", (_LOCK,))
            if await cursor.fetchone() == (True,):
                break
            await connection.rollback()
            if patient and not is_told:
                is_told = True
                _log.warning("another process is writing articles; waiting for its end")
            if not patient and time.monotonic() > deadline:
                raise KnowledgeError(f"another replica has been indexing the articles for {_LOCK_DEADLINE:.0f} s")
            await asyncio.sleep(_LOOK)
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
    if isinstance(error, psycopg.OperationalError) and _NO_DATABASE.search(str(error)):  # it has no SQLSTATE
        return "that server has no database of this name; create it, or name another at the end of the address"
    if isinstance(error, psycopg.OperationalError) and "password authentication failed" in str(error):
        return "Postgres refused the login; check the user and the password in the address"
    if isinstance(error, psycopg.OperationalError | PoolTimeout):
        return "Postgres can't be reached or refused the login"
    return f"Postgres refused to store the articles ({type(error).__name__})"

"""The tables in Postgres: sets of articles by number, of which each row is stored once, however many sets have it."""

import psycopg
from psycopg.rows import TupleRow

_SETUP_LOCK = 0x5A17_A6E8  # any number; names an advisory lock among the database's

# An article's row is named by its content, so it never changes; `knowledge_members` says which sets have it. A passage
# is cut of one article, in one way. `halfvec` is of any length, since models differ. It is kept in the row as long as
# that fits into a page: to fetch each vector from elsewhere takes longer than to compare it.
_SETUP = """\
CREATE EXTENSION IF NOT EXISTS vector;
CREATE TABLE knowledge_sets (
    number integer PRIMARY KEY,
    content text NOT NULL,
    language text NOT NULL,
    made timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE knowledge_articles (
    key bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    hash text NOT NULL UNIQUE,
    id text NOT NULL,
    title text NOT NULL,
    text text NOT NULL,
    desk text,
    url text,
    language text
);
CREATE INDEX ON knowledge_articles (id);
CREATE TABLE knowledge_members (
    article bigint REFERENCES knowledge_articles ON DELETE CASCADE,
    since integer,
    until integer,
    PRIMARY KEY (article, since)
);
CREATE TABLE knowledge_passages (
    article bigint REFERENCES knowledge_articles ON DELETE CASCADE,
    cut text,
    number integer,
    hash text NOT NULL,
    size integer NOT NULL,
    terms bytea NOT NULL,
    PRIMARY KEY (article, cut, number)
);
CREATE TABLE knowledge_vectors (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    model text NOT NULL,
    hash text NOT NULL,
    embedding halfvec NOT NULL,
    UNIQUE (model, hash)
);
ALTER TABLE knowledge_vectors ALTER COLUMN embedding SET STORAGE MAIN;
CREATE TABLE knowledge_indexes (
    model text,
    cut text,
    dims integer NOT NULL,
    number integer NOT NULL,
    used timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (model, cut)
)"""

# Earlier releases had the vectors in `article_passages`, once for each version of the articles. Replicas of such a
# release go on with it while they are replaced.
_TAKE_OVER = """\
INSERT INTO knowledge_vectors (model, hash, embedding)
SELECT DISTINCT ON (model, hash) model, hash, embedding FROM article_passages"""

_IS_UNUSED = "SELECT coalesce(max(used) < now() - interval '7 days', true) FROM article_indexes"


async def set_up(connection: psycopg.AsyncConnection[TupleRow]) -> None:
    """Make the tables, if there are none; of two processes that start at once, one waits for the other."""
    async with connection.transaction():
        await connection.execute("SELECT pg_advisory_xact_lock(%s)", (_SETUP_LOCK,))
        if await _has(connection, "knowledge_indexes"):
            return  # so a user that may only read and write rows is enough from then on
        await connection.execute(_SETUP)
        if await _has(connection, "article_passages"):
            await connection.execute(_TAKE_OVER)


async def drop_replaced(connection: psycopg.AsyncConnection[TupleRow]) -> None:
    """Drop the tables of an earlier release a week after one of its replicas has last started."""
    if not await _has(connection, "article_indexes"):
        return
    cursor = await connection.execute(_IS_UNUSED)
    if await cursor.fetchone() == (True,):
        await connection.execute("DROP TABLE article_passages, article_indexes")


async def _has(connection: psycopg.AsyncConnection[TupleRow], table: str) -> bool:
    cursor = await connection.execute("SELECT to_regclass(%s) IS NOT NULL", (table,))
    return await cursor.fetchone() == (True,)

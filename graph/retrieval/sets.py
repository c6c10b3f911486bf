"""Sets of articles in Postgres, as they are written: one a sync, numbered, each a difference to the one before."""

import hashlib
import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final, LiteralString

import psycopg
from psycopg.rows import TupleRow

from graph.retrieval.articles import Article
from graph.retrieval.indexing import Vector
from graph.retrieval.passages import CUT, ArticlePassage, passages_of, size_of
from graph.retrieval.postgres import Pool, as_text
from graph.retrieval.schema import drop_replaced
from graph.retrieval.words import WORDS, TermReader

IN_SET: Final[LiteralString] = "m.since <= %(number)s AND (m.until IS NULL OR m.until > %(number)s)"
"""A member `m` is one of the set `number`."""

OF_CUT: Final[LiteralString] = "%(cut)s || '.' || coalesce(a.language, %(language)s)"
"""How the passages of an article `a` are cut, in `knowledge_passages`: the terms depend on the article's language."""

CUT_NOW: Final = f"{CUT}.{WORDS}"
"""How this release cuts articles into passages, and those into terms."""

_KEPT = 4  # sets that can be read: a replica follows within seconds, and what it has begun takes seconds more
_KEPT_INDEXES = 3  # embedding models, or ways to cut, that replicas have used last
_KNOWN = 1000  # sets whose contents are remembered, so that a start does not bring back one that was replaced
_ARTICLES = 200  # articles that are cut, and _ROWS rows that are written, in one transaction
_ROWS = 500

_PUT_ARTICLES = """\
INSERT INTO knowledge_articles (hash, id, title, text, desk, url, language)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
ON CONFLICT (hash) DO NOTHING"""

_END = """\
UPDATE knowledge_members SET until = %(number)s WHERE until IS NULL AND article IN
    (SELECT key FROM knowledge_articles WHERE hash = ANY(%(hashes)s))"""

_BEGIN = """\
INSERT INTO knowledge_members (article, since)
SELECT key, %(number)s FROM knowledge_articles WHERE hash = ANY(%(hashes)s)"""

_UNCUT: LiteralString = f"""\
SELECT a.key, a.id, a.title, a.text, a.language FROM knowledge_members m JOIN knowledge_articles a ON a.key = m.article
WHERE {IN_SET} AND a.key > %(after)s AND NOT EXISTS
    (SELECT FROM knowledge_passages p WHERE p.article = a.key AND p.cut = {OF_CUT})
ORDER BY a.key LIMIT %(limit)s"""  # noqa: S608 - constants

_PUT_PASSAGES = """\
INSERT INTO knowledge_passages (article, cut, number, hash, size, terms)
SELECT * FROM unnest(%s::bigint[], %s::text[], %s::integer[], %s::text[], %s::integer[], %s::bytea[])
ON CONFLICT (article, cut, number) DO NOTHING"""

_PASSAGES: LiteralString = f"""\
FROM knowledge_members m JOIN knowledge_articles a ON a.key = m.article
JOIN knowledge_passages p ON p.article = a.key AND p.cut = {OF_CUT}
LEFT JOIN knowledge_vectors v
    ON v.model = %(model)s AND v.hash = p.hash AND (%(dims)s::integer IS NULL OR vector_dims(v.embedding) = %(dims)s)
WHERE {IN_SET}"""

_COUNT: LiteralString = f"SELECT count(*), count(*) FILTER (WHERE v.id IS NULL) {_PASSAGES}"

_LACKING: LiteralString = f"""\
SELECT a.key, a.id, a.title, a.text, a.url, a.language, array_agg(p.number) {_PASSAGES}
AND v.id IS NULL AND a.key > %(after)s GROUP BY a.key ORDER BY a.key LIMIT %(limit)s"""

_PUT_VECTORS = """\
INSERT INTO knowledge_vectors (model, hash, embedding)
SELECT %s, hash, embedding::halfvec FROM unnest(%s::text[], %s::text[]) AS new (hash, embedding)
ON CONFLICT (model, hash) DO UPDATE SET embedding = excluded.embedding"""

_PREPARE = """\
INSERT INTO knowledge_indexes (model, cut, dims, number) VALUES (%(model)s, %(cut)s, %(dims)s, 0)
ON CONFLICT (model, cut) DO UPDATE SET dims = excluded.dims, used = now()"""

_COMPLETE = """\
INSERT INTO knowledge_indexes (model, cut, dims, number) VALUES (%(model)s, %(cut)s, %(dims)s, %(number)s)
ON CONFLICT (model, cut) DO UPDATE SET dims = excluded.dims, number = excluded.number, used = now()"""

_FORGET: tuple[LiteralString, ...] = (
    # Embedding models and ways to cut that nobody uses any more.
    """\
DELETE FROM knowledge_indexes WHERE used < now() - interval '7 days' OR (model, cut) NOT IN
    (SELECT model, cut FROM knowledge_indexes ORDER BY used DESC LIMIT %(indexes)s)""",
    # What only sets have that no replica can read: older than the last few, and than the newest of each index.
    """\
DELETE FROM knowledge_articles a WHERE NOT EXISTS (SELECT FROM knowledge_members m WHERE m.article = a.key AND
    (m.until IS NULL OR m.until > least((SELECT min(number) FROM knowledge_indexes),
                                        (SELECT max(number) FROM knowledge_sets) - %(sets)s + 1)))""",
    """\
DELETE FROM knowledge_passages p WHERE NOT EXISTS
    (SELECT FROM knowledge_indexes i WHERE starts_with(p.cut, i.cut || '.'))""",
    """\
DELETE FROM knowledge_vectors v WHERE NOT EXISTS (SELECT FROM knowledge_passages p WHERE p.hash = v.hash)
    OR model NOT IN (SELECT model FROM knowledge_indexes)""",
    "DELETE FROM knowledge_sets WHERE number <= (SELECT max(number) FROM knowledge_sets) - %(known)s",
)


@dataclass(frozen=True, slots=True)
class Set:
    """A set of articles."""

    number: int
    content: str
    """A hash of all that its articles hold."""
    language: str
    """Of the articles that name none, ISO 639-1."""


@dataclass(frozen=True, slots=True)
class Index:
    """What makes a set searchable for one embedding model, and one way to cut articles."""

    dims: int
    number: int
    """The newest set for which it is complete; 0 for none yet."""


def hash_of(article: Article) -> str:
    """Return a name of what an article holds: 32 hexadecimal digits."""
    content = [article.id, article.title, article.text, article.desk, article.url, article.language]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()[:32]


def content_of(hashes: Mapping[str, str], language: str) -> str:
    """Return a name of what a set holds, by its articles' hashes by their ids."""
    return hashlib.sha256(json.dumps([language, *sorted(hashes.values())]).encode()).hexdigest()[:32]


class Sets:
    """The sets in a database; all methods raise psycopg.Error or PoolTimeout.

    Who writes holds the lock. A reader never sees a set whose index is not complete.
    """

    def __init__(self, pool: Pool, model: str) -> None:
        """`model` is what vectors depend on beside the texts."""
        self._pool = pool
        self.model = model

    async def latest(self) -> Set | None:
        """Return the set that was written last, whose index may not be complete."""
        rows = await self._rows("SELECT number, content, language FROM knowledge_sets ORDER BY number DESC LIMIT 1")
        return Set(*rows[0]) if rows else None

    async def was(self, content: str) -> bool:
        """Whether there has been a set with this content."""
        return bool(await self._rows("SELECT FROM knowledge_sets WHERE content = %s LIMIT 1", content))

    async def index(self) -> Index | None:
        """Return the index for this model, and this release's way to cut; None if none was begun."""
        rows = await self._rows(
            "SELECT dims, number FROM knowledge_indexes WHERE model = %s AND cut = %s", self.model, CUT_NOW
        )
        return Index(*rows[0]) if rows else None

    async def served(self) -> dict[str, str]:
        """Return the hashes of the articles of the newest set that can be read, by their ids."""
        rows = await self._rows(
            "SELECT a.id, a.hash FROM knowledge_members m JOIN knowledge_articles a ON a.key = m.article "
            "JOIN (SELECT max(number) AS number FROM knowledge_indexes) AS newest ON m.since <= newest.number "
            "AND (m.until IS NULL OR m.until > newest.number)"
        )
        return {row[0]: row[1] for row in rows}

    async def write(self, articles: Sequence[Article], after: Mapping[str, str], language: str) -> Set:
        """Write a set after the latest, unless that holds the same; nobody reads it before `complete`.

        `after` has the articles' hashes by their ids.
        """
        before, latest = await self._written(), await self.latest()
        content = content_of(after, language)
        if latest and latest.content == content:
            return latest
        written = Set(latest.number + 1 if latest else 1, content, language)
        new = [article for article in articles if before.get(article.id) != after[article.id]]
        async with self._pool.connection() as connection, connection.transaction():
            for start in range(0, len(new), _ROWS):
                await _put_articles(connection, new[start : start + _ROWS])
            ended = [each for name, each in before.items() if after.get(name) != each]
            begun = [after[article.id] for article in new]
            await connection.execute(_END, {"number": written.number, "hashes": ended})
            await connection.execute(_BEGIN, {"number": written.number, "hashes": begun})
            await connection.execute(
                "INSERT INTO knowledge_sets (number, content, language) VALUES (%s, %s, %s)",
                (written.number, written.content, written.language),
            )
        return written

    async def cut(self, written: Set) -> None:
        """Cut those articles of a set into passages that are not yet."""
        reader, after = TermReader(), 0
        while rows := await self._rows_of(_UNCUT, self._names(written) | {"after": after}):
            after = rows[-1][0]
            put: list[tuple[object, ...]] = []
            for key, known, title, text, language in rows:
                spoken = language or written.language
                for passage in passages_of([Article(known, title, text)]):
                    terms = reader.read(passage.counted, spoken).tobytes()
                    put.append((key, f"{CUT_NOW}.{spoken}", passage.number, passage.hash, size_of(passage.text), terms))
            for start in range(0, len(put), _ROWS):
                columns = [list(column) for column in zip(*put[start : start + _ROWS], strict=True)]
                await self._do(_PUT_PASSAGES, columns)

    async def count(self, written: Set, dims: int | None) -> tuple[int, int]:
        """Return how many passages a set has, and how many of them lack a vector of `dims` numbers, or any."""
        rows = await self._rows_of(_COUNT, self._names(written) | {"dims": dims})
        return rows[0][0], rows[0][1]

    async def lacking(self, written: Set, dims: int) -> AsyncGenerator[list[ArticlePassage]]:
        """Yield the passages of a set that lack a vector, some hundred at a time, each text once."""
        after = 0
        while rows := await self._rows_of(_LACKING, self._names(written) | {"dims": dims, "after": after}):
            after = rows[-1][0]
            passages: dict[str, ArticlePassage] = {}
            for _, known, title, text, url, language, numbers in rows:
                all_ = passages_of([Article(known, title, text, url=url, language=language)])
                passages |= {all_[number].hash: all_[number] for number in sorted(numbers)}
            yield list(passages.values())

    async def put(self, vectors: Mapping[str, Vector]) -> None:
        """Store vectors by the hashes of their texts."""
        texts = as_text(list(vectors.values()))
        await self._do(_PUT_VECTORS, (self.model, list(vectors), texts))

    async def prepare(self, written: Set, dims: int) -> None:
        """Begin the index, so that nobody deletes what there is of it while it is not complete."""
        await self._do(_PREPARE, self._names(written) | {"dims": dims})

    async def complete(self, written: Set, dims: int) -> None:
        """Let a set be read from now on."""
        await self._do(_COMPLETE, self._names(written) | {"dims": dims})

    async def forget(self) -> None:
        """Delete what no replica can still read."""
        async with self._pool.connection() as connection, connection.transaction():
            for statement in _FORGET:
                await connection.execute(statement, {"indexes": _KEPT_INDEXES, "sets": _KEPT, "known": _KNOWN})
        with suppress(psycopg.errors.InsufficientPrivilege):
            async with self._pool.connection() as connection, connection.transaction():
                await drop_replaced(connection)

    async def _written(self) -> dict[str, str]:
        rows = await self._rows(
            "SELECT a.id, a.hash FROM knowledge_members m JOIN knowledge_articles a ON a.key = m.article "
            "WHERE m.until IS NULL"
        )
        return {row[0]: row[1] for row in rows}

    def _names(self, written: Set) -> dict[str, object]:
        of_set: dict[str, object] = {"number": written.number, "language": written.language}
        return of_set | {"model": self.model, "cut": CUT_NOW, "limit": _ARTICLES}

    async def _rows(self, query: LiteralString, *parameters: object) -> list[TupleRow]:
        return await self._rows_of(query, parameters)

    async def _rows_of(
        self, query: LiteralString, parameters: Mapping[str, object] | Sequence[object]
    ) -> list[TupleRow]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query, parameters)
            return await cursor.fetchall()

    async def _do(self, query: LiteralString, parameters: Mapping[str, object] | Sequence[object]) -> None:
        async with self._pool.connection() as connection:
            await connection.execute(query, parameters)


async def _put_articles(connection: psycopg.AsyncConnection[TupleRow], articles: Sequence[Article]) -> None:
    rows = [
        (
            hash_of(article),
            *map(_storable, (article.id, article.title, article.text)),
            article.desk,
            article.url,
            article.language,
        )
        for article in articles
    ]
    await connection.execute(_PUT_ARTICLES, [list(column) for column in zip(*rows, strict=True)])


def _storable(text: str) -> str:
    """Return a text without the one character that Postgres refuses."""
    return text.replace("\0", "\ufffd")

"""Sets of articles in Postgres, as they are read, and what a replica holds of one.

Postgres has the texts and the vectors, each once. A replica has, in arrays, which passages there are, the words of
each, and a bit for each number of its vector. So nothing has to be built before a set can be searched, and no other set
is in the way.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, LiteralString, cast

import numpy as np
import numpy.typing as npt
import psycopg
from psycopg.rows import TupleRow
from psycopg_pool import PoolTimeout

from graph.errors import KnowledgeUnavailable
from graph.retrieval.articles import Article
from graph.retrieval.desks import RULED
from graph.retrieval.indexing import Vector
from graph.retrieval.languages import Languages
from graph.retrieval.passages import ArticlePassage, passages_of
from graph.retrieval.postgres import Pool
from graph.retrieval.rows import Passages, Rows, packed
from graph.retrieval.sets import CUT_NOW, IN_SET, OF_CUT, Index, Set

_AT_ONCE = 1000  # articles whose passages are read at once
_SAMPLE = 300  # articles of a language by whose words a question's language is told
_CUT_ARTICLES = 256  # articles that are kept as they were cut
_CENTRE_OF = 10_000  # vectors whose mean is subtracted before signs are taken, since all share a direction
_LOST = (None, "57P01", "57P02")  # SQLSTATEs of a connection that broke, or that the server has closed
_OPEN = 1000  # articles without a desk that are given to the nearest: a prompt has 84 examples at most

_CENTRE: LiteralString = """\
SELECT avg(embedding)::text FROM (SELECT embedding FROM knowledge_vectors
    WHERE model = %(model)s AND vector_dims(embedding) = %(dims)s ORDER BY id LIMIT %(centre_of)s) AS sample"""

_BEFORE: LiteralString = "m.since <= %(before)s AND (m.until IS NULL OR m.until > %(before)s)"
_MEMBERS: LiteralString = f"SELECT string_agg(int8send(m.article), '') FROM knowledge_members m WHERE {IN_SET}"  # noqa: S608 - constants

# One row of long columns, which takes Python no time for each passage.
_READ: LiteralString = f"""\
WITH chosen AS MATERIALIZED (
    SELECT a.key, coalesce(a.language, %(language)s) AS spoken, {OF_CUT} AS cut
    FROM knowledge_members m JOIN knowledge_articles a ON a.key = m.article
    WHERE {IN_SET} AND NOT ({_BEFORE}) AND a.key > %(after)s ORDER BY a.key LIMIT %(at_once)s
), passages AS (
    SELECT chosen.key, chosen.spoken, p.size, p.terms, v.id, binary_quantize(v.embedding - %(centre)s::halfvec) AS code,
        l2_distance(v.embedding, %(centre)s::halfvec) ^ 2
            / nullif(l1_distance(v.embedding, %(centre)s::halfvec), 0) AS factor
    FROM chosen JOIN knowledge_passages p ON p.article = chosen.key AND p.cut = chosen.cut
    LEFT JOIN knowledge_vectors v
        ON v.model = %(model)s AND v.hash = p.hash AND vector_dims(v.embedding) = %(dims)s
    ORDER BY chosen.key, p.number
)
SELECT (SELECT max(key) FROM chosen), count(*), string_agg(int8send(key), ''), string_agg(int8send(size), ''),
    string_agg(int8send(coalesce(id, 0)), ''), string_agg(coalesce(bit_send(code), %(blank)s), ''),
    string_agg(float4send(coalesce(factor, 0)::float4), ''),
    string_agg(spoken, ','), string_agg(terms, ''), string_agg(int4send(octet_length(terms)), '')
FROM passages"""  # noqa: S608 - constants

_NEAREST = """\
SELECT id FROM knowledge_vectors WHERE id = ANY(%s::bigint[]) ORDER BY embedding <#> %s::halfvec, id LIMIT %s"""

_ARTICLE: LiteralString = "a.key, a.id, a.title, a.text, a.desk, a.url, a.language"
_ARTICLES: LiteralString = f"SELECT {_ARTICLE} FROM knowledge_articles a WHERE a.key = ANY(%s)"  # noqa: S608 - constants
_ARTICLE_OF: LiteralString = f"""\
SELECT {_ARTICLE} FROM knowledge_members m JOIN knowledge_articles a ON a.key = m.article
WHERE {IN_SET} AND a.id = %(id)s"""  # noqa: S608 - constants

_SAMPLED: LiteralString = f"""\
SELECT spoken, title, text FROM (
    SELECT coalesce(a.language, %(language)s) AS spoken, a.title, a.text,
        row_number() OVER (PARTITION BY coalesce(a.language, %(language)s) ORDER BY a.key) AS place
    FROM knowledge_members m JOIN knowledge_articles a ON a.key = m.article WHERE {IN_SET}
) AS numbered WHERE place <= %(sample)s"""  # noqa: S608 - constants

_TITLES: LiteralString = f"""\
SELECT a.desk, count(*), array_agg(a.title ORDER BY a.id COLLATE "C") FILTER (WHERE a.desk IS NOT NULL)
FROM knowledge_members m JOIN knowledge_articles a ON a.key = m.article WHERE {IN_SET} GROUP BY a.desk"""  # noqa: S608 - constants

# In an order that looks random and stays, so that what changes in a big set changes little of what is chosen.
_BEGINNINGS: LiteralString = f"""\
SELECT chosen.id, chosen.title, chosen.desk, v.embedding FROM (
    SELECT a.key, a.id, a.title, a.desk, {OF_CUT} AS cut,
        row_number() OVER (PARTITION BY a.desk ORDER BY a.hash) AS place
    FROM knowledge_members m JOIN knowledge_articles a ON a.key = m.article WHERE {IN_SET}
) AS chosen
JOIN knowledge_passages p ON p.article = chosen.key AND p.cut = chosen.cut AND p.number = 0
JOIN knowledge_vectors v ON v.model = %(model)s AND v.hash = p.hash AND vector_dims(v.embedding) = %(dims)s
WHERE place <= CASE WHEN chosen.desk IS NULL THEN %(open)s ELSE %(ruled)s END ORDER BY chosen.id"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Content:
    """What a replica holds of one set, and can make the next of."""

    set: Set
    index: Index
    rows: Rows
    centre: npt.NDArray[np.float32]
    """What is subtracted of a vector before its signs are taken."""
    spoken: tuple[str, ...]
    """The languages, by their numbers."""
    languages: Languages | None
    """What tells a question's language; None where there is but one."""
    titles: Mapping[str, Sequence[str]]
    """The titles of each desk's articles."""
    undecided: int
    """How many articles no rule gives to a desk."""


class Stored:
    """The sets in a database, as a replica reads them: all methods raise KnowledgeUnavailable."""

    def __init__(self, pool: Pool, model: str) -> None:
        """`model` is what vectors depend on beside the texts."""
        self._pool = pool
        self._model = model
        self._cut: OrderedDict[int, list[ArticlePassage]] = OrderedDict()

    async def newest(self) -> tuple[Set, Index] | None:
        """Return the newest set that can be searched, and its index; None if there is none."""
        rows = await self.ask(
            "SELECT s.number, s.content, s.language, i.dims FROM knowledge_indexes i "
            "JOIN knowledge_sets s USING (number) WHERE i.model = %s AND i.cut = %s",
            (self._model, CUT_NOW),
        )
        return (Set(*rows[0][:3]), Index(rows[0][3], rows[0][0])) if rows else None

    async def use(self) -> None:
        """Count the index as used, once an hour."""
        await self.ask(
            "UPDATE knowledge_indexes SET used = now() WHERE model = %s AND cut = %s AND used < now() - interval "
            "'1 hour' RETURNING 1",
            (self._model, CUT_NOW),
        )

    async def load(self, wanted: Set, index: Index, held: Content | None) -> Content:
        """Read a set; where one is held that differs little, only what has changed."""
        names = self._names(wanted, index) | {"before": held.set.number if held else 0}
        names |= {"centre_of": _CENTRE_OF, "at_once": _AT_ONCE, "sample": _SAMPLE}
        if held and (held.index.dims, held.set.language) != (index.dims, wanted.language):
            return await self.load(wanted, index, None)
        centre = held.centre if held else await self._centre(names)
        spoken = dict.fromkeys(held.spoken if held else ())
        new = await self._read(names | {"centre": as_vector(centre)}, spoken, index.dims)
        if held:
            ((members,),) = await self.ask(_MEMBERS, names, binary=True)
            articles = np.frombuffer(members or b"", ">i8").astype(np.int64)
            rows = await asyncio.to_thread(held.rows.changed, articles, new)
        else:
            rows = await asyncio.to_thread(Rows.of, new)
        used = tuple(spoken)
        several = len(np.unique(rows.languages)) > 1
        languages = None
        if several:
            languages = held.languages if held and held.languages and held.spoken == used else await self._tell(names)
        by_desk = await self.ask(_TITLES, names)
        titles = {desk: some for desk, _, some in by_desk if desk is not None}
        undecided = sum(count for desk, count, _ in by_desk if desk is None)
        return Content(wanted, index, rows, centre, used, languages, titles, undecided)

    async def beginnings(self, content: Content) -> tuple[list[Article], dict[str, Vector]]:
        """Return articles by which desks are decided, without their texts, and the vectors of their first passages.

        These are some of each desk, and a thousand of those that have none.
        """
        names = self._names(content.set, content.index) | {"open": _OPEN, "ruled": RULED}
        rows = await self.ask(_BEGINNINGS, names, binary=True)
        articles = [Article(name, title, "", desk) for name, title, desk, _ in rows]
        return articles, {row[0]: cast("Vector", np.frombuffer(row[3], ">f2", offset=4)) for row in rows}

    async def article(self, name: str, number: int) -> Article | None:
        """Return an article of a set by its id; None if it has none such."""
        rows = await self.ask(_ARTICLE_OF, {"number": number, "id": name})
        return _article(rows[0]) if rows else None

    async def passages(self, keys: Sequence[int]) -> dict[int, list[ArticlePassage]]:
        """Return the passages of articles by their rows' keys."""
        found = {key: self._cut[key] for key in keys if key in self._cut}
        if missing := [key for key in keys if key not in found]:
            found |= {row[0]: passages_of([_article(row)]) for row in await self.ask(_ARTICLES, (missing,))}
        for key, passages in found.items():
            self._cut[key] = passages
            self._cut.move_to_end(key)
        while len(self._cut) > _CUT_ARTICLES:
            self._cut.popitem(last=False)
        if len(found) < len(keys):
            raise KnowledgeUnavailable("articles have been deleted; restart the service")
        return found

    async def check(self, content: Content) -> None:
        """Look for any one article of a set."""
        rows = content.rows
        if len(rows) and not await self.ask(
            "SELECT 1 FROM knowledge_articles WHERE key = %s", (int(rows.articles[0]),)
        ):
            raise KnowledgeUnavailable("the articles have been deleted; restart the service")

    async def nearest(self, vectors: npt.NDArray[np.int64], asked: str, limit: int) -> list[int]:
        """Return the ids of the vectors that are nearest to one, of those named, the nearest first."""
        ids = f"{{{','.join(map(str, np.sort(vectors).tolist()))}}}"  # as they lie, so that pages are read in turn
        return [row[0] for row in await self.ask(_NEAREST, (ids, asked, limit))]

    async def ask(
        self, query: LiteralString, parameters: Sequence[object] | Mapping[str, object], *, binary: bool = False
    ) -> list[TupleRow]:
        """Return the rows of a query, which may be sent twice: once more where its connection is lost."""
        try:
            try:
                return await self._rows(query, parameters, binary=binary)
            except psycopg.OperationalError as error:
                if isinstance(error, PoolTimeout) or error.sqlstate not in _LOST:
                    raise
            await self._pool.check()
            return await self._rows(query, parameters, binary=binary)
        except psycopg.Error as error:
            raise KnowledgeUnavailable(type(error).__name__) from error

    async def _rows(
        self, query: LiteralString, parameters: Sequence[object] | Mapping[str, object], *, binary: bool
    ) -> list[TupleRow]:
        async with self._pool.connection() as connection:
            cursor = await connection.execute(query, parameters, binary=binary)
            return await cursor.fetchall()

    def _names(self, wanted: Set, index: Index) -> dict[str, object]:
        of_set: dict[str, object] = {"number": wanted.number, "language": wanted.language}
        return of_set | {"model": self._model, "cut": CUT_NOW, "dims": index.dims}

    async def _centre(self, names: Mapping[str, object]) -> npt.NDArray[np.float32]:
        ((text,),) = await self.ask(_CENTRE, names)
        numbers = text.strip("[]").split(",") if text else [0.0] * int(str(names["dims"]))
        return np.array(numbers, np.float32)

    async def _read(self, names: dict[str, object], spoken: dict[str, None], dims: int) -> Passages:
        """Read the passages of those articles that the set before had not."""
        width = -(-dims // 8)
        blank = bytes(4 + width)
        parts = [_empty(width)]
        after = 0
        while True:
            ((last, count, *columns),) = await self.ask(_READ, names | {"after": after, "blank": blank}, binary=True)
            if last is None:
                return Passages.joined(parts)
            after = last
            if count:
                parts.append(_passages(columns, spoken, width))

    async def _tell(self, names: Mapping[str, object]) -> Languages:
        rows = await self.ask(_SAMPLED, names)
        texts = [(f"{title}\n\n{text}", language) for language, title, text in rows]
        return await asyncio.to_thread(Languages, texts, str(names["language"]))


def as_vector(numbers: npt.NDArray[np.float32]) -> str:
    """Return numbers as pgvector reads them."""
    return f"[{','.join([f'{number:.6g}' for number in numbers.tolist()])}]"


def _article(row: TupleRow) -> Article:
    _, name, title, text, desk, url, language = row
    return Article(name, title, text, desk, url, language)


def _empty(width: int) -> Passages:
    numbers = np.zeros(0, np.int64)
    codes = packed(np.zeros((0, width), np.uint8))
    some = np.zeros(0, np.int32)
    return Passages(numbers, numbers, numbers, codes, np.zeros(0, np.float32), some, np.zeros(0, np.uint32), some)


def _passages(columns: Sequence[Any], spoken: dict[str, None], width: int) -> Passages:
    keys, sizes, vectors, codes, factors, languages, terms, lengths = columns
    named = languages.split(",")
    for language in named:
        spoken.setdefault(language)
    numbers = {language: number for number, language in enumerate(spoken)}
    signs = np.frombuffer(codes, np.uint8).reshape(-1, 4 + width)[:, 4:]  # after how many bits there are
    return Passages(
        np.frombuffer(keys, ">i8").astype(np.int64),
        np.frombuffer(sizes, ">i8").astype(np.int64),
        np.frombuffer(vectors, ">i8").astype(np.int64),
        packed(signs),
        np.frombuffer(factors, ">f4").astype(np.float32),
        np.array([numbers[language] for language in named], np.int32),
        np.frombuffer(terms, np.uint32),
        np.frombuffer(lengths, ">i4").astype(np.int32) // 4,
    )

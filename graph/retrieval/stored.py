"""Sets of articles in Postgres, as they are read: what a replica holds of one, and the search in it.

Postgres has the texts and the vectors, each once. A replica has, in arrays, which passages there are, the words of
each, and a bit for each number of its vector. By these it finds two thousand candidates, which Postgres then compares
exactly. So nothing has to be built before a set can be searched, and no other set is in the way.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, LiteralString, ParamSpec, TypeVar

import numpy as np
import numpy.typing as npt
import psycopg
from langgraph.store.base.embed import AEmbeddingsFunc
from psycopg.rows import TupleRow
from psycopg_pool import PoolTimeout

from graph.errors import KnowledgeUnavailable
from graph.retrieval.articles import Article
from graph.retrieval.indexing import Vector
from graph.retrieval.languages import Languages
from graph.retrieval.passages import ArticlePassage, passages_of
from graph.retrieval.postgres import Pool, as_text
from graph.retrieval.rows import Passages, Rows, packed
from graph.retrieval.search import DEPTH, chosen_of, fused, in_turn, passage_of, runs_of
from graph.retrieval.sets import CUT_NOW, IN_SET, OF_CUT, Index, Set
from graph.retrieval.units import greatest, units
from graph.retrieval.words import terms_of
from graph.state import Passage

CANDIDATES: Final = 2000
"""Passages that Postgres compares exactly, for each question: where a set has no more, all of them."""

_P = ParamSpec("_P")
_T = TypeVar("_T")

_AT_ONCE = 1000  # articles whose passages are read at once
_SAMPLE = 300  # articles of a language by whose words a question's language is told
_CUT_ARTICLES = 256  # articles that are kept as they were cut
_CENTRE_OF = 10_000  # vectors whose mean is subtracted before signs are taken, since all share a direction
_MANY = 20_000  # rows that are searched in a thread

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
SELECT a.desk, array_agg(a.title ORDER BY a.id) FROM knowledge_members m JOIN knowledge_articles a ON a.key = m.article
WHERE {IN_SET} AND a.desk IS NOT NULL GROUP BY a.desk"""  # noqa: S608 - constants


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
        names: dict[str, object] = {
            "model": self._model,
            "cut": CUT_NOW,
            "number": wanted.number,
            "language": wanted.language,
        }
        names |= {"dims": index.dims, "before": held.set.number if held else 0}
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
        titles = dict[str, Sequence[str]](await self.ask(_TITLES, names))
        return Content(wanted, index, rows, centre, used, languages, titles)

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
        ids = f"{{{','.join(map(str, vectors.tolist()))}}}"
        return [row[0] for row in await self.ask(_NEAREST, (ids, asked, limit))]

    async def ask(
        self, query: LiteralString, parameters: Sequence[object] | Mapping[str, object], *, binary: bool = False
    ) -> list[TupleRow]:
        """Return the rows of a query."""
        try:
            async with self._pool.connection() as connection:
                cursor = await connection.execute(query, parameters, binary=binary)
                return await cursor.fetchall()
        except (psycopg.Error, PoolTimeout) as error:
            raise KnowledgeUnavailable(type(error).__name__) from error

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


class StoredSearch:
    """Finds the passages for a question in one set in Postgres."""

    def __init__(self, stored: Stored, content: Content, embed: AEmbeddingsFunc) -> None:
        self._stored = stored
        self._content = content
        self._embed = embed

    async def find(self, queries: Sequence[str]) -> list[Passage]:
        """Return the passages for an answer, each query's best in turn; raises ModelError or KnowledgeUnavailable.

        All queries are embedded in one request. The last one, which is the longest, tells the language.
        """
        content = self._content
        language = content.languages.of(queries[-1]) if content.languages else None
        among = None
        if language is not None:
            among = content.rows.languages == content.spoken.index(language)
        spoken = language or content.set.language
        vectors = await self._embed(queries)
        searches = [self._ranked(*each, spoken, among) for each in zip(queries, vectors, strict=True)]
        return await self._joined(in_turn(await asyncio.gather(*searches)))

    async def nearest(self, vector: Vector, among: npt.NDArray[np.bool_] | None, limit: int = DEPTH) -> list[int]:
        """Return the rows of the passages that are nearest by meaning, the nearest first."""
        rows = self._content.rows
        near = await self._off_loop(rows.near, units([vector])[0], CANDIDATES, among)
        if not len(near):
            return []
        vectors = rows.vectors[near]
        (asked,) = as_text([vector])
        found = await self._stored.nearest(vectors, asked, limit)
        place = {each: rank for rank, each in enumerate(found)}
        ranked = sorted(
            (place[each], row) for each, row in zip(vectors.tolist(), near.tolist(), strict=True) if each in place
        )
        return [row for _, row in ranked[:limit]]

    async def article(self, name: str) -> Article | None:
        """Return an article by its id; None if there is none. Raises KnowledgeUnavailable."""
        return await self._stored.article(name, self._content.set.number)

    async def ping(self) -> None:
        """Look for any one article of the set; raises KnowledgeUnavailable."""
        await self._stored.check(self._content)

    async def _ranked(self, query: str, vector: Vector, spoken: str, among: npt.NDArray[np.bool_] | None) -> list[int]:
        worded = await self._off_loop(self._by_words, query, spoken, among)
        return fused([await self.nearest(vector, among), worded])

    def _by_words(self, query: str, spoken: str, among: npt.NDArray[np.bool_] | None) -> list[int]:
        postings = self._content.rows.postings
        if not (terms := postings.known(terms_of(query, spoken))):
            return []
        scores = postings.scores(terms)
        if among is not None:
            scores[~among] = 0
        return [row for row in greatest(scores, DEPTH) if scores[row] > 0]

    async def _off_loop(self, work: Callable[_P, _T], *args: _P.args, **named: _P.kwargs) -> _T:
        """Do what takes long for many rows in a thread."""
        if len(self._content.rows) > _MANY:
            return await asyncio.to_thread(work, *args, **named)
        return work(*args, **named)

    async def _joined(self, ranked: Sequence[int]) -> list[Passage]:
        rows = self._content.rows
        runs = list(runs_of(chosen_of(ranked, rows.articles, rows.sizes), rows.articles))
        keys = list(dict.fromkeys(int(rows.articles[best]) for best, _ in runs))
        articles = await self._stored.passages(keys)
        joined: list[Passage] = []
        for best, run in runs:
            passages = articles[key := int(rows.articles[best])]
            first = int(np.argmax(rows.articles == key))
            parts = [passages[row - first] for row in run]
            joined.append(passage_of(passages[best - first], parts, is_whole=len(parts) == len(passages)))
        return joined


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

"""The company's articles: read from Markdown, indexed once, searched by meaning."""

import asyncio
import hashlib
import json
import logging
import re
import time
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psycopg
import yaml
from langgraph.store.base import BaseStore, IndexConfig, PutOp, SearchItem
from langgraph.store.memory import InMemoryStore
from langgraph.store.postgres import AsyncPostgresStore
from langgraph.store.postgres.base import PostgresIndexConfig
from psycopg.rows import DictRow, dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from support_agent.graph.errors import KnowledgeError, KnowledgeUnavailable, ModelError, ModelUnavailable
from support_agent.graph.models import Models
from support_agent.graph.settings import AgentSettings
from support_agent.graph.state import CATEGORIES, Category, Passage

COMPANY_FILE = "company.yaml"
PASSAGES = 5
"""Articles that an answer may rest on."""

_BATCH = 16  # articles embedded in one request
_INDEXES = ("indexes",)  # namespace of the record that an index is whole, one a version
_LOCK = 0x5A17_A6E7  # any number; names our advisory lock among the database's
_LOCK_DEADLINE = 300.0  # seconds to wait for another replica's indexing
_KEPT = 3  # indexes of earlier versions
_POSTGRES_TIMEOUT = 5  # seconds for a connection
_FRONT_MATTER = re.compile(r"---\r?\n(.*?\n)---[ \t]*(?:\r?\n|\Z)", re.DOTALL)
_ID = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Article:
    """One article of the help centre."""

    id: str
    title: str
    category: Category
    text: str
    """The body, Markdown."""


@dataclass(frozen=True, slots=True)
class Library:
    """All that the knowledge folder holds."""

    company: str
    """The company's name."""
    contacts: Mapping[Category, str]
    """Where a customer reaches a person, for each category."""
    articles: tuple[Article, ...]

    def version(self, embedding_model: str, dims: int) -> str:
        """Twelve hexadecimal digits that change with any article, contact, embedding model or its dimensions."""
        content = json.dumps([asdict(self), embedding_model, dims], sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:12]


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
                async with _alone(url):
                    store = await stack.enter_async_context(_open_postgres(url, index))
                    await store.setup()
                    await _index(store, library, version)
        except ModelError as error:
            raise KnowledgeError(
                f"the articles can't be indexed: the embedding model {settings.embedding_model!r} "
                f"did not answer ({error.reason})"
            ) from error
        except (psycopg.Error, PoolTimeout) as error:
            raise KnowledgeError(f"DATABASE_URL: {_postgres_trouble(error)}") from error
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


@asynccontextmanager
async def _open_postgres(url: str, in_memory: IndexConfig) -> AsyncGenerator[AsyncPostgresStore]:
    index = PostgresIndexConfig(**in_memory)
    # halfvec: an index over `vector` ends at 2,000 dimensions, fewer than some models have.
    index["ann_index_config"] = {"kind": "hnsw", "vector_type": "halfvec"}
    async with AsyncConnectionPool[psycopg.AsyncConnection[DictRow]](
        url,
        min_size=1,
        max_size=4,
        timeout=_POSTGRES_TIMEOUT,
        kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
        # So that a restarted Postgres costs no request.
        check=AsyncConnectionPool.check_connection,  # pyright: ignore[reportArgumentType] - typed for tuples only
        open=False,
    ) as pool:
        await pool.wait(_POSTGRES_TIMEOUT)
        yield AsyncPostgresStore(pool, index=index)


@asynccontextmanager
async def _alone(url: str) -> AsyncGenerator[None]:
    """Hold an advisory lock; polled, since a lock that waits would stall CREATE INDEX CONCURRENTLY."""
    deadline = time.monotonic() + _LOCK_DEADLINE
    connecting = psycopg.AsyncConnection.connect(url, autocommit=True, connect_timeout=_POSTGRES_TIMEOUT)
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
    """Find out whether a Postgres can hold articles; raises KnowledgeError saying why not."""
    try:
        async with await psycopg.AsyncConnection.connect(url, connect_timeout=_POSTGRES_TIMEOUT) as connection:
            cursor = await connection.execute("SELECT 1 FROM pg_available_extensions WHERE name = 'vector'")
            if await cursor.fetchone() is None:
                raise psycopg.errors.FeatureNotSupported
    except psycopg.Error as error:
        raise KnowledgeError(f"DATABASE_URL: {_postgres_trouble(error)}") from error


def _postgres_trouble(error: Exception) -> str:
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


def meaning(article: Article) -> str:
    """Return what of an article is embedded."""
    return f"{article.title}\n\n{article.text}"


def _namespace(version: str) -> tuple[str, ...]:
    return ("articles", version)


def load_library(folder: Path) -> Library:
    """Read company.yaml and every `*.md` of `folder`; raises KnowledgeError naming file and line."""
    paths = sorted(path for path in folder.glob("*.md") if not path.name.startswith("."))
    if not paths:
        raise KnowledgeError(f"SUPPORT_KNOWLEDGE: no articles (*.md) in the folder {str(folder)!r}")
    articles: dict[str, Article] = {}
    for path in paths:
        article, id_line = _load_article(path)
        if article.id in articles:
            raise KnowledgeError(f"{path}:{id_line}: the id {article.id!r} is taken by another article")
        articles[article.id] = article
    company, contacts = _load_company(folder / COMPANY_FILE)
    return Library(company, contacts, tuple(articles.values()))


def _load_article(path: Path) -> tuple[Article, int]:
    """Return the article, and the line that its id stands in."""
    source = _read(path)
    match = _FRONT_MATTER.match(source)
    if match is None:
        raise KnowledgeError(f"{path}:1: must begin with front matter between two lines of ---")
    fields = _fields(path, match[1], first_line=2, names=("id", "title", "category"))
    article_id, id_line = fields["id"]
    if not _ID.fullmatch(article_id):
        raise KnowledgeError(f"{path}:{id_line}: id: must be lower-case words joined by hyphens")
    category, category_line = fields["category"]
    if category not in CATEGORIES:
        raise KnowledgeError(f"{path}:{category_line}: category: must be one of {', '.join(CATEGORIES)}")
    text = source[match.end() :].strip()
    if not text:
        line = source[: match.end()].count("\n") + 1
        raise KnowledgeError(f"{path}:{line}: an article needs text after its front matter")
    return Article(article_id, fields["title"][0], category, text), id_line


def _load_company(path: Path) -> tuple[str, dict[Category, str]]:
    names = ("name", *(f"contacts.{category}" for category in CATEGORIES))
    fields = _fields(path, _read(path), first_line=1, names=names)
    return fields["name"][0], {category: fields[f"contacts.{category}"][0] for category in CATEGORIES}


def _read(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise KnowledgeError(f"{path}: can't be read ({error.strerror})") from error
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise KnowledgeError(f"{path}:{line}: not valid UTF-8") from error
    if "\0" in text:
        raise KnowledgeError(f"{path}:{_line(text, text.index(chr(0)), 1)}: must not hold NUL characters")
    return text


def _line(source: str, position: int, first_line: int) -> int:
    # YAML also counts U+0085, U+2028 and U+2029 as line ends, which no editor does.
    return first_line + source.count("\n", 0, position)


def _fields(path: Path, source: str, first_line: int, names: Sequence[str]) -> dict[str, tuple[str, int]]:
    """Return exactly the fields `names` of a YAML mapping, each with its line; nested ones are named a.b."""
    try:
        node = yaml.compose(source, yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark = error.problem_mark if isinstance(error, yaml.MarkedYAMLError) else None
        position = mark.index if mark else getattr(error, "position", 0)
        raise KnowledgeError(f"{path}:{_line(source, position, first_line)}: not valid YAML") from error
    if not isinstance(node, yaml.MappingNode):
        raise KnowledgeError(f"{path}:{first_line}: must be lines of `name: text`")
    fields: dict[str, tuple[str, int]] = {}
    for name, value, position in _scalars(node, ""):
        line = _line(source, position, first_line)
        if value is None:
            raise KnowledgeError(f"{path}:{line}: {name}: must be text")
        if name not in names or name in fields:
            trouble = "stands here twice" if name in fields else f"must be one of {', '.join(names)}"
            raise KnowledgeError(f"{path}:{line}: {name}: {trouble}")
        fields[name] = value, line
    for name in names:
        if name not in fields:
            raise KnowledgeError(f"{path}:{first_line}: {name} is missing")
    return fields


def _scalars(mapping: yaml.MappingNode, prefix: str) -> Iterator[tuple[str, str | None, int]]:
    """Yield each field's name, its text or None where it has none, and its position."""
    pairs: list[tuple[yaml.Node, yaml.Node]] = mapping.value
    for key, value in pairs:
        name, position = f"{prefix}{key.value}", key.start_mark.index
        if isinstance(value, yaml.MappingNode) and not prefix:  # an alias could make it endless
            yield from _scalars(value, f"{name}.")
        elif isinstance(value, yaml.ScalarNode) and str(value.value).strip():
            yield name, str(value.value), position
        else:
            yield name, None, position

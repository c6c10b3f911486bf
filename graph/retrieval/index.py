"""The vector index of the articles: built once per version, searched by meaning."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

import psycopg
from langgraph.store.base import BaseStore, IndexConfig, PutOp, SearchItem
from langgraph.store.memory import InMemoryStore
from psycopg_pool import PoolTimeout

from graph.breaker import BreakerOpen
from graph.errors import (
    KnowledgeError,
    KnowledgeUnavailable,
    ModelError,
    ModelUnavailable,
    RunError,
    kind_and_place,
)
from graph.models import Models
from graph.retrieval.articles import Article, Library, load_library, meaning
from graph.retrieval.postgres import alone, open_pool, open_store, postgres_trouble
from graph.settings import AgentSettings
from graph.state import Passage

PASSAGES = 5
"""Articles that an answer may rest on."""

_BATCH = 16  # articles embedded in one request
_INDEXES = ("indexes",)  # namespace of the records that an index is complete, one per version
_KEPT = 3  # indexes of earlier versions
_PATIENCE = 5.0  # seconds without progress after which a start no longer waits for the index
_LONGEST = 20.0  # seconds that a start waits for the index at most
_RETRY = 2.0  # seconds between two attempts
_LOOK = 0.02  # seconds between two looks at the first attempt

_log = logging.getLogger(__name__)


class Knowledge:
    """The articles of one library, searchable once they are indexed."""

    def __init__(self, library: Library, version: str) -> None:
        self.company = library.company
        self.contacts = library.contacts
        self.version = version
        self._store: BaseStore | None = None
        self._lacking: type[RunError] = KnowledgeUnavailable
        self._reason = "the articles are not indexed yet"
        self._changed = time.monotonic()
        self._attempted = asyncio.Event()

    async def search(self, question: str) -> list[Passage]:
        """Return the PASSAGES nearest articles, best first; raises ModelError or KnowledgeUnavailable."""
        items = await self._find(question, PASSAGES)
        return [Passage(id=item.key, title=item.value["title"], text=item.value["text"]) for item in items]

    async def ping(self) -> None:
        """Check that there are articles to search; raises RunError."""
        await self._find(None, 1)

    async def indexed(self) -> None:
        """Wait for the first attempt to open or build the index; raises KnowledgeError if it failed."""
        await self._attempted.wait()
        if self._store is None:
            raise KnowledgeError(self._reason)

    @property
    def is_indexed(self) -> bool:
        """Whether there is an index to search."""
        return self._store is not None

    def use(self, store: BaseStore) -> None:
        """Search in `store` from now on."""
        self._store = store

    def lack(self, kind: type[RunError], reason: str) -> None:
        """Have no index: from now on a search raises `kind` with this reason."""
        self._store, self._lacking, self._reason = None, kind, reason
        self._changed = time.monotonic()

    @property
    def idle(self) -> float:
        """Seconds without progress towards an index."""
        return time.monotonic() - self._changed

    def attempted(self) -> None:
        """Let `indexed` return."""
        self._attempted.set()

    @property
    def is_attempted(self) -> bool:
        """Whether the first attempt to open or build the index has ended."""
        return self._attempted.is_set()

    async def _find(self, query: str | None, limit: int) -> list[SearchItem]:
        if self._store is None:
            raise self._lacking(self._reason)
        try:
            items = await self._store.asearch(_namespace(self.version), query=query, limit=limit)
        except (psycopg.Error, PoolTimeout) as error:
            raise KnowledgeUnavailable(type(error).__name__) from error
        if not items:
            raise KnowledgeUnavailable(f"the index {self.version} has been deleted; restart the service to rebuild it")
        return items


@asynccontextmanager
async def open_knowledge(settings: AgentSettings, models: Models) -> AsyncGenerator[Knowledge]:
    """Load the articles, and open their index or build it.

    It waits for the index while there is progress, for 20 seconds at most. When the model's server is down, or the
    index takes longer, it is built in the background as soon as that is possible. Raises KnowledgeError when an article
    is malformed or the database can't be used.
    """
    library = await asyncio.to_thread(load_library, settings.knowledge)
    knowledge = Knowledge(library, library.version(settings.embedding_model))
    index = _Index(settings, models, library, knowledge)
    opening = asyncio.create_task(index.keep_open())
    try:
        await _first_attempt(knowledge, opening)
        index.may_retry = True
        yield knowledge
    finally:
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)


async def _first_attempt(knowledge: Knowledge, opening: asyncio.Task[None]) -> None:
    """Wait for the end of the first attempt to open the index, while there is progress; raises KnowledgeError."""
    give_up = time.monotonic() + _LONGEST
    while not (knowledge.is_attempted or opening.done()):
        patience = min(_PATIENCE - knowledge.idle, give_up - time.monotonic())
        if patience <= 0:
            return
        await asyncio.wait((opening,), timeout=min(patience, _LOOK))
    if opening.done():
        opening.result()


class _Index:
    """Opens the index of one library, and tries again while it can't."""

    def __init__(self, settings: AgentSettings, models: Models, library: Library, knowledge: Knowledge) -> None:
        self.may_retry = False
        """The service has started, so that nothing may stop the start any more."""
        self._settings = settings
        self._models = models
        self._library = library
        self._knowledge = knowledge

    async def keep_open(self) -> None:
        """Open the index and hold it open; raises KnowledgeError if that must stop the start."""
        reason = ""
        while True:
            before, kind = reason, KnowledgeUnavailable
            try:
                await self._hold()
            except ModelError as error:
                kind = ModelUnavailable
                if not isinstance(error.__cause__, BreakerOpen):  # else the reason is what opened it
                    reason = f"the articles can't be indexed: {self._of_the_model(error)}"
            except Exception as error:
                if not self.may_retry:
                    raise
                is_known = isinstance(error, KnowledgeError)
                reason = str(error) if is_known else f"the articles can't be indexed: {kind_and_place(error)}"
            self._knowledge.lack(kind, reason)
            self._knowledge.attempted()
            if reason != before:
                _log.error("%s; trying again every %g s", reason, _RETRY)
            await asyncio.sleep(_RETRY)

    def _of_the_model(self, error: ModelError) -> str:
        model = f"the embedding model {self._settings.embedding_model!r}"
        if error.reason in ("HTTP 401", "HTTP 403"):
            return f"{model} refused the key ({error.reason}); correct OPENAI_API_KEY"
        return f"{model} gave no vectors ({error.reason}); check OPENAI_BASE_URL and SUPPORT_EMBEDDING_MODEL"

    async def _hold(self) -> None:
        """Open the index, or build it, and hold it open until cancelled."""
        async with AsyncExitStack() as stack:
            try:
                await self._open(stack)
            except (psycopg.Error, PoolTimeout) as error:
                raise KnowledgeError(f"DATABASE_URL: {postgres_trouble(error)}") from error
            self._knowledge.attempted()
            await asyncio.Event().wait()

    async def _open(self, stack: AsyncExitStack) -> None:
        if self._settings.database_url is None:
            dims = await self._asked_dims()
            await self._build(InMemoryStore(index=self._config(dims)), dims)
            return
        url = self._settings.database_url.get_secret_value()
        async with alone(url):
            pool = await stack.enter_async_context(open_pool(url))
            records = await open_store(pool)
            if record := await records.aget(_INDEXES, self._knowledge.version):
                await records.aput(_INDEXES, self._knowledge.version, record.value, index=False)  # in use, so not old
                dims = record.value["dims"]
                store = await open_store(pool, self._config(dims))
                self._knowledge.use(store)
            else:
                dims = await self._asked_dims()
                store = await open_store(pool, self._config(dims))
                await self._build(store, dims)
                return
        await self._compare(dims)

    async def _compare(self, dims: int) -> None:
        """Check that the model's vectors fit an existing index; raises psycopg.Error if that must stop the start."""
        try:
            fits = await self._dims() == dims
        except ModelError as error:  # questions fail until it answers; the index stays in use
            _log.error("questions can't be answered: %s", self._of_the_model(error))
            return
        if not fits:
            error = psycopg.errors.DataException()
            if not self.may_retry:
                raise error
            _log.error("questions can't be answered: DATABASE_URL: %s", postgres_trouble(error))

    async def _dims(self) -> int:
        """Return how many numbers a vector of the embedding model has."""
        return len((await self._models.embed(["How many dimensions?"]))[0])

    async def _asked_dims(self) -> int:
        self._knowledge.lack(ModelUnavailable, "the embedding model has not answered yet")
        return await self._dims()

    def _config(self, dims: int) -> IndexConfig:
        async def embed(texts: Sequence[str]) -> list[list[float]]:
            vectors = await self._models.embed(texts)
            if odd := next((len(vector) for vector in vectors if len(vector) != dims), None):
                raise ModelUnavailable(f"vectors of {odd} numbers, the index has {dims}")
            return vectors

        return IndexConfig(dims=dims, embed=embed, fields=["meaning"])

    async def _build(self, store: BaseStore, dims: int) -> None:
        began = time.monotonic()
        version = self._knowledge.version
        puts = [_put(version, article) for article in self._library.articles]
        for start in range(0, len(puts), _BATCH):
            self._knowledge.lack(KnowledgeUnavailable, f"{start} of {len(puts)} articles are indexed")
            await store.abatch(puts[start : start + _BATCH])
        await store.aput(_INDEXES, version, {"articles": len(puts), "dims": dims}, index=False)
        self._knowledge.use(store)
        await _forget_old(store, version)
        _log.info("indexed %d articles in %.1f s", len(puts), time.monotonic() - began)


async def _forget_old(store: BaseStore, version: str) -> None:
    """Delete all indexes but the latest in use, which replicas of earlier releases may still read."""
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

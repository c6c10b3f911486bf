"""Opens the help centre: reads the articles, and opens or builds their index."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from langgraph.store.base.embed import AEmbeddingsFunc

from graph.errors import (
    LASTING,
    KnowledgeError,
    KnowledgeUnavailable,
    ModelError,
    ModelUnavailable,
    kind_and_place,
)
from graph.models import Models
from graph.models.embedder import Embedded
from graph.retrieval.articles import MOST_NAMED, printable, read_library
from graph.retrieval.held import Prepared, prepared
from graph.retrieval.indexing import dims_of, embed_passages
from graph.retrieval.kept import kept_vectors
from graph.retrieval.passages import ArticlePassage
from graph.retrieval.progress import IndexingProgress
from graph.retrieval.search import ArticleIndex
from graph.retrieval.served import Knowledge
from graph.settings import AgentSettings

_PATIENCE = 5.0  # seconds without progress after which a start no longer waits for the index
_LONGEST = 20.0  # seconds that a start waits for the index at most
_RETRY = 2.0  # seconds between two attempts
_LOOK = 0.02  # seconds between two looks at the first attempt

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_knowledge(settings: AgentSettings, models: Models) -> AsyncGenerator[Knowledge]:
    """Read the articles, and open their index or build it.

    It waits for the index while there is progress, for 20 seconds at most. When the model's server is down, or the
    index takes longer, it is built in the background as soon as that is possible. Raises KnowledgeError when no article
    can be read, or the database can't be used.
    """
    library = await asyncio.to_thread(read_library, settings)
    library.log()
    library.require(strict=settings.strict)
    knowledge = Knowledge(library.company)
    ready = await asyncio.to_thread(prepared, library, settings.embedding)
    knowledge.serve(ready.edition())
    index = _Index(settings, models, knowledge, ready)
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
    """Opens the index of a library, and tries again while it can't."""

    def __init__(self, settings: AgentSettings, models: Models, knowledge: Knowledge, library: Prepared) -> None:
        self.may_retry = False
        """The service has started, so that nothing may stop the start any more."""
        self._settings = settings
        self._models = models
        self._knowledge = knowledge
        self._library = library
        self._passages = library.search.passages
        self._kept = kept_vectors(settings)
        self._told: set[str] = set()  # articles that the log has named

    async def keep_open(self) -> None:
        """Open the index and hold it open; raises KnowledgeError if that must stop the start."""
        reason = ""
        while True:
            before, kind = reason, KnowledgeUnavailable
            try:
                await self._hold()
            except ModelError as error:
                kind = next((kind for kind in LASTING if isinstance(error, kind)), ModelUnavailable)
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
        settings = self._settings
        model = f"the embedding model {settings.embedding_model!r}"
        if error.reason.startswith(("HTTP 401", "HTTP 403")):
            return f"{model} refused the key ({error.reason}); correct {settings.embedding_key_name}"
        url = settings.embedding_url_name
        return f"{model} gave no vectors ({error.reason}); check {url} and SUPPORT_EMBEDDING_MODEL"

    async def _hold(self) -> None:
        """Open the index, or build it, and hold it open until cancelled."""
        async with AsyncExitStack() as stack:
            if self._settings.database_url is None:
                await self._build_in_memory()
            else:
                from graph.retrieval.postgres import explained  # psycopg takes a quarter of a second, and 9 MB

                with explained():
                    await self._open_in_postgres(stack, self._settings.database_url.get_secret_value())
            self._knowledge.attempted()
            await asyncio.Event().wait()

    async def _build_in_memory(self) -> None:
        from graph.retrieval.memory import MemoryIndex  # numpy takes half a second, and Postgres does without

        dims = await self._asked_dims()
        index = MemoryIndex(len(self._passages), dims)
        await self._fill(index, self._passages, dims)
        self._serve(index, dims)

    async def _open_in_postgres(self, stack: AsyncExitStack, url: str) -> None:
        """Open the index or, if no replica has yet, build it; raises psycopg.Error or PoolTimeout."""
        from graph.retrieval.postgres import alone, open_indexes

        version = self._library.version
        async with alone(url):
            indexes = await stack.enter_async_context(open_indexes(url))
            built = await indexes.dims(version)
            dims = built or await self._asked_dims()
            index = indexes.open(version, self._settings.embedding, dims)
            if not built:
                await self._fill(index, await index.adopt(self._passages), dims)
                await indexes.complete(version, dims)
            self._serve(index, dims)
            if not built:
                await indexes.forget_old(version)
        if built:
            await self._compare(built)

    async def _compare(self, dims: int) -> None:
        """Check that the model's vectors fit an existing index; raises psycopg.Error if that must stop the start."""
        try:
            fits = await dims_of(self._models) == dims
        except ModelError as error:  # questions fail until it answers; the index stays in use
            _log.error("questions can't be answered: %s", self._of_the_model(error))
            return
        if not fits:
            from graph.retrieval.postgres import postgres_trouble, unfit

            error = unfit()
            if not self.may_retry:
                raise error
            _log.error("questions can't be answered: DATABASE_URL: %s", postgres_trouble(error))

    async def _asked_dims(self) -> int:
        self._knowledge.lack(ModelUnavailable, "the embedding model has not answered yet")
        return await dims_of(self._models)

    def _serve(self, index: ArticleIndex, dims: int) -> None:
        self._knowledge.serve(self._library.edition(index, self._embed(dims)))

    def _embed(self, dims: int) -> AEmbeddingsFunc:
        async def embed(texts: Sequence[str]) -> list[list[float]]:
            vectors = await self._models.embed(texts)
            if odd := next((len(vector) for vector in vectors if len(vector) != dims), None):
                raise ModelUnavailable(f"vectors of {odd} numbers, the index has {dims}")
            return vectors

        return embed

    async def _fill(self, index: ArticleIndex, passages: Sequence[ArticlePassage], dims: int) -> None:
        """Add what an index lacks to it; raises ModelError, and KnowledgeError if no passage may be refused."""
        began = time.monotonic()
        has = len(self._passages) - len(passages)
        refused: list[ArticlePassage] = []

        def leave_out(passage: ArticlePassage, embedded: Embedded) -> None:
            if embedded.vector is None:
                refused.append(passage)
            self._name(passage, embedded)

        with IndexingProgress(len(self._passages), has) as progress:
            self._knowledge.lack(KnowledgeUnavailable, str(progress))
            async for batch, new in embed_passages(self._models, passages, self._kept, dims, leave_out, has):
                if batch:
                    await index.add(batch)
                progress.advance(len(batch), new=new)
                self._knowledge.lack(KnowledgeUnavailable, str(progress))
        if (more := len(self._told) - MOST_NAMED) > 0:
            _log.warning("the embedding model also refuses passages of %d more articles", more)
        if refused and self._settings.strict:
            first = printable(refused[0].article.id)
            raise KnowledgeError(
                f"the embedding model refuses {len(refused)} passages, where none may be left out (SUPPORT_STRICT); "
                f"the first is of the article {first!r}"
            )
        self._kept.release()
        _log.info("indexed %d passages in %.1f s", progress.done, time.monotonic() - began)

    def _name(self, passage: ArticlePassage, embedded: Embedded) -> None:
        """Say, once for each article and for MOST_NAMED of them, that the model does not take all of it."""
        article = printable(passage.article.id)
        if article in self._told:
            return
        self._told.add(article)
        if len(self._told) <= MOST_NAMED:
            what = "refuses a passage" if embedded.vector is None else "takes only the beginning of a passage"
            section = f" ({printable(passage.section)})" if passage.section else ""
            _log.warning("the embedding model %s of the article %r%s: %s", what, article, section, embedded.trouble)

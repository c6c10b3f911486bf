"""Opens the help centre: reads the articles, opens or builds their index, and follows what changes."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING

from graph.errors import (
    LASTING,
    KnowledgeError,
    KnowledgeUnavailable,
    ModelError,
    ModelUnavailable,
    kind_and_place,
)
from graph.models import Models
from graph.retrieval.articles import Library, Reader
from graph.retrieval.filling import Filler
from graph.retrieval.held import Prepared, prepared
from graph.retrieval.indexing import dims_of
from graph.retrieval.served import Knowledge
from graph.retrieval.stamps import Watch
from graph.retrieval.threads import in_thread
from graph.settings import AgentSettings

if TYPE_CHECKING:
    from graph.retrieval.following import Follower

_PATIENCE = 5.0  # seconds without progress after which a start no longer waits for the index
_LONGEST = 20.0  # seconds that a start waits for the index at most
_RETRY = 2.0  # seconds between two attempts
_REREAD = 30.0  # seconds between two attempts to read the articles, which may be those of a site
_LOOK = 0.02  # seconds between two looks at the first attempt

_log = logging.getLogger(__name__)


@asynccontextmanager
async def open_knowledge(settings: AgentSettings, models: Models) -> AsyncGenerator[Knowledge]:
    """Read the articles, and open their index or build it; in memory, follow their files from then on.

    It waits for the index while there is progress, for 20 seconds at most. When reading or indexing takes longer, or
    the model's server is down, that goes on in the background. Raises KnowledgeError when no article can be read, or
    the database can't be used.
    """
    reader = await asyncio.to_thread(Reader, settings)
    knowledge = Knowledge(reader.company)
    opening = _Opening(settings, models, knowledge, reader)
    task = asyncio.create_task(opening.keep_open())
    try:
        await _first_attempt(knowledge, task)
        opening.may_retry = True
        yield knowledge
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


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


class _Opening:
    """Reads the articles and opens their index, and tries again while it can't."""

    def __init__(self, settings: AgentSettings, models: Models, knowledge: Knowledge, reader: Reader) -> None:
        self.may_retry = False
        """The service has started, so that nothing may stop the start any more."""
        self._settings = settings
        self._models = models
        self._knowledge = knowledge
        self._filler = Filler(settings, models, knowledge)
        self._reader = reader
        self._watch = Watch(reader.places)
        self._read: Library | None = None
        self._ready: Prepared | None = None

    async def keep_open(self) -> None:
        """Open the index and hold it open; raises KnowledgeError if that must stop the start."""
        reason = ""
        while True:
            before, kind = reason, KnowledgeUnavailable
            try:
                await self._hold()
            except ModelError as error:
                kind = next((kind for kind in LASTING if isinstance(error, kind)), ModelUnavailable)
                reason = f"the articles can't be indexed: {self._filler.trouble(error)}"
            except Exception as error:
                if not self.may_retry:
                    raise
                is_known = isinstance(error, KnowledgeError)
                reason = str(error) if is_known else f"the articles can't be indexed: {kind_and_place(error)}"
            self._knowledge.lack(kind, reason)
            self._knowledge.attempted()
            pause = _RETRY if self._ready else _REREAD
            if reason != before:
                _log.error("%s; trying again every %g s", reason, pause)
            await asyncio.sleep(pause)

    async def _prepared(self) -> Prepared:
        """Return what is read and prepared, once it is; raises KnowledgeError if there is nothing to serve."""
        if self._ready is None:
            self._knowledge.lack(KnowledgeUnavailable, "the articles are being read")
            await self._watch.note()
            self._reader.forget_failures()
            before, self._read = self._read, await in_thread(self._reader.read)
            self._read.log(before)
            self._read.require(strict=self._settings.strict)
            self._ready = await in_thread(partial(prepared, self._read, self._settings.embedding))
            self._knowledge.serve(self._ready.edition())
        return self._ready

    async def _hold(self) -> None:
        """Open the index, or build it, and hold it open until cancelled."""
        # Nothing here may hold what is read: it would stay in memory when others are served.
        async with AsyncExitStack() as stack:
            if self._settings.database_url is None:
                follower = await self._build_in_memory()
                self._knowledge.attempted()
                self._read = self._ready = None  # the follower serves others
                await follower.follow()
            else:
                from graph.retrieval.postgres import explained  # psycopg takes a quarter of a second, and 9 MB

                with explained():
                    await self._open_in_postgres(stack, self._settings.database_url.get_secret_value())
                self._knowledge.attempted()
                await asyncio.Event().wait()

    async def _build_in_memory(self) -> "Follower":
        from graph.retrieval.following import Follower
        from graph.retrieval.memory import MemoryIndex  # Postgres does without

        ready = await self._prepared()
        dims = await self._filler.dims()
        index = MemoryIndex(len(ready.search.passages), dims)
        await self._filler.fill(index, ready.search.passages, dims, kept=self._filler.kept)
        self._knowledge.serve(ready.edition(index, self._filler.embed(dims)))
        return Follower(self._settings, self._knowledge, self._filler, self._reader, self._watch, ready, index)

    async def _open_in_postgres(self, stack: AsyncExitStack, url: str) -> None:
        """Open the index or, if no replica has yet, build it; raises psycopg.Error or PoolTimeout."""
        from graph.retrieval.postgres import alone, open_indexes

        ready = await self._prepared()
        version, passages = ready.version, ready.search.passages
        async with alone(url):
            indexes = await stack.enter_async_context(open_indexes(url))
            built = await indexes.dims(version)
            dims = built or await self._filler.dims()
            index = indexes.open(version, self._settings.embedding, dims)
            if not built:
                lacking = await index.adopt(passages)
                has = len(passages) - len(lacking)
                await self._filler.fill(index, lacking, dims, has=has, kept=self._filler.kept)
                await indexes.complete(version, dims)
            self._knowledge.serve(ready.edition(index, self._filler.embed(dims)))
            if not built:
                await indexes.forget_old(version)
        if built:
            await self._compare(built)

    async def _compare(self, dims: int) -> None:
        """Check that the model's vectors fit an existing index; raises psycopg.Error if that must stop the start."""
        try:
            fits = await dims_of(self._models) == dims
        except ModelError as error:  # questions fail until it answers; the index stays in use
            _log.error("questions can't be answered: %s", self._filler.trouble(error))
            return
        if not fits:
            from graph.retrieval.postgres import postgres_trouble, unfit

            error = unfit()
            if not self.may_retry:
                raise error
            _log.error("questions can't be answered: DATABASE_URL: %s", postgres_trouble(error))

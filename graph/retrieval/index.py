"""Opens the help centre: reads the articles, opens or builds their index, and follows what changes."""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
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
from graph.retrieval.articles import Library, Reader, read_company
from graph.retrieval.ending import end
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
    """Serve the articles and follow them: in memory, as their files change, else as Postgres has them.

    It waits for the index while there is progress, for 20 seconds at most. When reading or indexing takes longer, or
    the model's server is down, that goes on in the background. Raises KnowledgeError when no article can be read, or
    the database can't be used.
    """
    if settings.database_url is None:
        reader = await asyncio.to_thread(Reader, settings)
        knowledge = Knowledge(reader.company)
    else:  # Postgres may have the articles, whatever can be read here
        reader = None
        knowledge = Knowledge(await asyncio.to_thread(read_company, settings))
    opening = _Opening(settings, models, knowledge, reader)
    task = asyncio.create_task(opening.keep_open())
    try:
        await _first_attempt(knowledge, task)
        opening.may_retry = True
        yield knowledge
    finally:
        await end(task)


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

    def __init__(self, settings: AgentSettings, models: Models, knowledge: Knowledge, reader: Reader | None) -> None:
        self.may_retry = False
        """The service has started, so that nothing may stop the start any more."""
        self._settings = settings
        self._models = models
        self._knowledge = knowledge
        self._filler = Filler(settings, models, knowledge)
        self._reader = reader
        self._watch = Watch(reader.places if reader else [])
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
            pause = _RETRY if self._ready or self._reader is None else _REREAD
            if reason != before:
                _log.error("%s; trying again every %g s", reason, pause)
            await asyncio.sleep(pause)

    async def _prepared(self, reader: Reader) -> Prepared:
        """Return what is read and prepared, once it is; raises KnowledgeError if there is nothing to serve."""
        if self._ready is None:
            self._knowledge.lack(KnowledgeUnavailable, "the articles are being read")
            await self._watch.note()
            reader.forget_failures()
            before, self._read = self._read, await in_thread(reader.read)
            self._read.log(before)
            self._read.require(strict=self._settings.strict)
            self._ready = await in_thread(partial(prepared, self._read, self._settings.embedding))
            self._knowledge.serve(self._ready.edition())
        return self._ready

    async def _hold(self) -> None:
        """Open the index, or build it, and hold it open until cancelled."""
        # Nothing here may hold what is read: it would stay in memory when others are served.
        if self._reader is None:
            await self._hold_in_postgres()
        else:
            follower = await self._build_in_memory(self._reader)
            self._knowledge.attempted()
            self._read = self._ready = None  # the follower serves others
            await follower.follow()

    async def _build_in_memory(self, reader: Reader) -> "Follower":
        from graph.retrieval.following import Follower
        from graph.retrieval.memory import MemoryIndex

        ready = await self._prepared(reader)
        dims = await self._filler.dims()
        index = MemoryIndex(len(ready.search.passages), dims)
        await self._filler.fill(index, ready.search.passages, dims, kept=self._filler.kept)
        self._knowledge.serve(ready.edition(index, self._filler.embed(dims)))
        return Follower(self._settings, self._knowledge, self._filler, reader, self._watch, ready, index)

    async def _hold_in_postgres(self) -> None:
        """Serve what Postgres has, and whatever it has later."""
        from graph.retrieval.postgres import explained, open_pool  # psycopg takes a quarter of a second, and 9 MB
        from graph.retrieval.replica import PostgresReplica

        url = self._settings.database_url.get_secret_value() if self._settings.database_url else ""
        with explained():
            async with open_pool(url) as pool:
                replica = PostgresReplica(self._settings, self._models, url, pool, self._knowledge, self._filler)
                dims = await replica.open()
                await self._compare(dims)
                self._knowledge.attempted()
                await replica.follow()

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

"""Brings articles into Postgres: the one way in which they get there."""

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass

from graph.errors import KnowledgeError, KnowledgeUnavailable, ModelUnavailable, RunError
from graph.models import Models
from graph.retrieval.articles import Library, printable, read_library
from graph.retrieval.indexing import Vector, dims_of, embed_passages
from graph.retrieval.languages import default_language
from graph.retrieval.postgres import alone, explained, open_pool
from graph.retrieval.progress import IndexingProgress
from graph.retrieval.refusals import Refusals
from graph.retrieval.replacing import trouble_with
from graph.retrieval.sets import Set, Sets, content_of, hash_of
from graph.retrieval.sources.parsers import NEEDS_EXTRA
from graph.retrieval.synced import Difference, Synced
from graph.settings import AgentSettings

Tell = Callable[[type[RunError], str], None]

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wanted:
    """The articles of a library as a set."""

    library: Library
    language: str
    """Of the articles that name none."""
    hashes: Mapping[str, str]
    """Of its articles, by their ids."""
    content: str
    """A hash of all of it."""


def wanted_of(library: Library) -> Wanted:
    """Return what a set would hold; to be called in a thread, since it reads all articles."""
    language = default_language((article.language for article in library.articles), library.company.language)
    hashes = {article.id: hash_of(article) for article in library.articles}
    return Wanted(library, language, hashes, content_of(hashes, language))


class Syncing:
    """Writes sets, and makes their index; whoever calls it holds the lock."""

    def __init__(self, settings: AgentSettings, models: Models, sets: Sets, tell: Tell, done: Synced) -> None:
        """`tell` gets why a set can't be searched yet, and `done` what has been done."""
        self.done = done
        self._settings = settings
        self._models = models
        self._sets = sets
        self._tell = tell

    async def replace(self, wanted: Wanted, *, force: bool = False) -> None:
        """Write a set, and let it be read once it is whole.

        Raises KnowledgeError where it would take the place of a good one and is none, unless by `force`; ModelError;
        psycopg.Error or PoolTimeout.
        """
        with self.done.timed("compare"):
            if not force and (trouble := await self.trouble(wanted)):
                raise KnowledgeError(
                    f"SUPPORT_KNOWLEDGE: {trouble}; nothing is changed; --force writes it all the same"
                )
            self.done.difference = Difference.of(await self._sets.served(), wanted.hashes)
            written = await self._sets.write(wanted.library.articles, wanted.hashes, wanted.language)
        await self.index(written)

    async def trouble(self, wanted: Wanted) -> str | None:
        """Return why a set may not take the place of the one that is served; None if it may."""
        return _trouble(wanted.library, await self._sets.served())

    async def index(self, written: Set) -> None:
        """Make a set searchable; what there is of its index, of any set, is not made again."""
        self.done.number = written.number
        index = await self._sets.index()
        if index and index.number == written.number:
            self.done.passages, self.done.refused = await self._sets.count(written, index.dims)
            return
        with self.done.timed("embed"):
            dims = index.dims if index and index.number else await self._asked_dims()
            await self._sets.prepare(written, dims)
        with self.done.timed("cut"):
            await self._sets.cut(written)
        with self.done.timed("embed"):
            await self._embed(written, dims)
        with self.done.timed("finish"):
            await self._sets.complete(written, dims)
            await self._sets.forget()

    async def _asked_dims(self) -> int:
        self._tell(ModelUnavailable, "the embedding model has not answered yet")
        return await dims_of(self._models)

    async def _embed(self, written: Set, dims: int) -> None:
        """Store the vectors that a set lacks."""
        began, done, refusals = time.monotonic(), self.done, Refusals()
        done.passages, lacking = await self._sets.count(written, dims)
        taken = done.passages - lacking
        with IndexingProgress(done.passages, taken) as progress:
            self._tell(KnowledgeUnavailable, str(progress))
            async for some in self._sets.lacking(written, dims):
                passages = embed_passages(self._models, some, _IntoSets(self._sets), dims, refusals.add, taken)
                async for batch, new in passages:
                    taken += len(batch)
                    done.embedded += new
                    progress.advance(len(batch), new=new)
                    self._tell(KnowledgeUnavailable, str(progress))
        done.refused = len(refusals.refused)
        refusals.end(strict=self._settings.strict)
        _log.info("indexed %d passages in %.1f s", done.passages - done.refused, time.monotonic() - began)


class _IntoSets:
    """Stores vectors as they come, and knows none, since only those are asked for that are not stored."""

    def __init__(self, sets: Sets) -> None:
        self._sets = sets

    async def get(self, hashes: Sequence[str]) -> Mapping[str, Vector]:  # noqa: ARG002 - the protocol's
        """Return nothing."""
        return {}

    async def put(self, vectors: Mapping[str, Vector], cut: Collection[str] = ()) -> None:  # noqa: ARG002 - the protocol's
        """Store these vectors, without the empty ones of refused texts."""
        if usable := {each: vector for each, vector in vectors.items() if vector}:
            await self._sets.put(usable)


async def sync_to_postgres(settings: AgentSettings, models: Models, *, force: bool) -> tuple[Library, Synced]:
    """Bring what the sources hold into Postgres, after whoever else does it now; raises KnowledgeError, ModelError.

    What is embedded stays stored, however it ends, so that the next sync goes on from there.
    """
    url = settings.database_url.get_secret_value() if settings.database_url else ""
    done = Synced()
    with explained():
        async with AsyncExitStack() as stack:
            with done.timed("wait"):
                await stack.enter_async_context(alone(url, patient=True))
            pool = await stack.enter_async_context(open_pool(url))
            with done.timed("read"):  # not before, since another sync may have taken an hour
                library = await asyncio.to_thread(read_library, settings)
                if not force:
                    library.require(strict=settings.strict)
                wanted = await asyncio.to_thread(wanted_of, library)
            syncing = Syncing(settings, models, Sets(pool, settings.embedding), _tell_nobody, done)
            await syncing.replace(wanted, force=force)
    return library, done


def _tell_nobody(kind: type[RunError], reason: str) -> None:
    """Do nothing: who runs the command sees the bar."""


def _trouble(library: Library, before: Collection[str]) -> str | None:
    """Return why a library may not take the place of the articles `before`, by their ids; None if it may."""
    after = {article.id for article in library.articles}
    if not (gone := [name for name in before if name not in after]):
        return None
    if library.unread:
        return f"{len(gone):,} articles would be removed because {library.unread[0]!r} can't be read"
    unread = [fault.where for fault in library.faults if NEEDS_EXTRA in fault.reason]
    lost = [name for name in gone if any(name.rpartition(":")[2] in where for where in unread)]
    if lost:
        return f"{len(lost):,} articles would be removed, such as {printable(lost[0])!r}, each of which {NEEDS_EXTRA}"
    return trouble_with(before, after)

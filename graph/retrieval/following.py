"""Follows the files of the articles: what changes is read, embedded and served without a restart."""

import asyncio
import logging
from contextlib import suppress
from functools import partial

from graph.errors import KnowledgeError, ModelError, kind_and_place
from graph.retrieval.articles import Library, Reader
from graph.retrieval.filling import Filler
from graph.retrieval.held import Prepared, prepared
from graph.retrieval.kept import Reused
from graph.retrieval.memory import MemoryIndex
from graph.retrieval.replacing import trouble_with
from graph.retrieval.served import Knowledge
from graph.retrieval.stamps import Watch
from graph.retrieval.threads import in_thread
from graph.settings import AgentSettings

_PAUSE, _LONGEST_PAUSE = 2.0, 60.0  # seconds between attempts to index, twice as long before each further one

_log = logging.getLogger(__name__)


class Follower:
    """Serves the articles as their files change; what is served stays where something is wrong with the new ones."""

    def __init__(
        self,
        settings: AgentSettings,
        knowledge: Knowledge,
        filler: Filler,
        reader: Reader,
        watch: Watch,
        served: Prepared,
        index: MemoryIndex,
    ) -> None:
        """Take over from the start: `reader` has read what is `served`, after `watch` had taken note of the files."""
        self._settings = settings
        self._knowledge = knowledge
        self._filler = filler
        self._reader = reader
        self._watch = watch
        self._served = served
        self._index = index
        self._read = served.library

    async def follow(self) -> None:
        """Follow the files until cancelled."""
        self._knowledge.fall_behind(None)
        await self._decide_desks()
        pause: float | None = None
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._watch.changed()
            trouble, may_pass = await self._attempt()
            pause = min(2 * pause if pause else _PAUSE, _LONGEST_PAUSE) if may_pass else None
            self._knowledge.fall_behind(trouble)

    async def _attempt(self) -> tuple[str | None, bool]:
        """Serve what the files hold now; return what is wrong with it, and whether that may pass by itself."""
        try:
            await self._serve(await self._changed())
        except KnowledgeError as error:
            return f"the articles have changed and can't be served: {error}", False
        except ModelError as error:
            return f"the articles have changed and can't be indexed: {self._filler.trouble(error)}", True
        except Exception as error:  # noqa: BLE001 - what is served must not depend on a bug in reading
            return f"the articles have changed and can't be read: {kind_and_place(error)}", False
        return None, False

    async def _changed(self) -> Prepared:
        """Return what the files hold; raises KnowledgeError if that may not be served."""
        before, self._read = self._read, await in_thread(self._reader.read)
        self._read.log(before)
        if changed := await in_thread(self._reader.company_change):
            _log.warning("%s", changed)
        self._read.require(strict=self._settings.strict)
        if trouble := trouble_with(_ids(self._served.library), _ids(self._read)):
            raise KnowledgeError(f"{trouble}; if that is right, restart the service")
        return await in_thread(partial(prepared, self._read, self._settings.embedding, self._served))

    async def _serve(self, new: Prepared) -> None:
        """Index and serve it; raises ModelError, and KnowledgeError if the model refuses what may not be left out."""
        if new is self._served:
            return
        known = await in_thread(partial(self._index.by_hash, self._served.search.passages))
        index = MemoryIndex(len(new.search.passages), self._index.dims)
        kept = Reused(known, self._filler.kept)
        await self._filler.fill(index, new.search.passages, index.dims, kept=kept)
        decided = await self._filler.with_desks(new, index.beginnings)
        self._knowledge.serve(decided.edition(index, self._filler.embed(index.dims)))
        _log.info("serving changed articles: %s", _difference(self._served.library, new.library))
        self._served, self._index = new, index

    async def _decide_desks(self) -> None:
        """Let the classifier's prompt follow what is served from the start, which did not wait for it."""
        decided = await self._filler.with_desks(self._served, self._index.beginnings)
        if decided is not self._served:
            self._knowledge.serve(decided.edition(self._index, self._filler.embed(self._index.dims)))


def _ids(library: Library) -> set[str]:
    return {article.id for article in library.articles}


def _difference(before: Library, now: Library) -> str:
    old, new = ({article.id: article for article in library.articles} for library in (before, now))
    changed = sum(new[each] != old[each] for each in new.keys() & old.keys())
    return f"{len(new.keys() - old.keys())} added, {changed} changed, {len(old.keys() - new.keys())} removed"

"""What a replica does with the sets in Postgres: serves the newest, follows, and brings in what its sources hold."""

import asyncio
import hashlib
import json
import logging
import time
from dataclasses import asdict

from graph.desk_prompt import DeskPrompt
from graph.errors import KnowledgeError, KnowledgeUnavailable, ModelError, kind_and_place
from graph.models import Models
from graph.retrieval.articles import Library, read_library
from graph.retrieval.desks import nearest_desks, titles_by_desk
from graph.retrieval.ending import end
from graph.retrieval.filling import Filler
from graph.retrieval.finding import StoredSearch
from graph.retrieval.postgres import Pool, alone, explained
from graph.retrieval.served import Edition, Knowledge
from graph.retrieval.sets import CUT_NOW, Sets
from graph.retrieval.stored import Content, Stored
from graph.retrieval.synced import Synced
from graph.retrieval.syncing import Syncing, Wanted, wanted_of
from graph.retrieval.threads import in_thread
from graph.settings import AgentSettings

# LISTEN would need a connection of its own, which a pooler in transaction mode does not give.
_POLL = 2.0  # seconds between two looks for a newer set
_USE = 1200.0  # seconds between two marks that the index is in use
_AGAIN = 30.0  # seconds between two attempts at what needs the model, where that is down

_log = logging.getLogger(__name__)


class PostgresReplica:
    """A replica's part in a database that it shares with others."""

    def __init__(
        self, settings: AgentSettings, models: Models, url: str, pool: Pool, knowledge: Knowledge, filler: Filler
    ) -> None:
        self._stored = Stored(pool, settings.embedding)
        self._sets = Sets(pool, settings.embedding)
        self._settings = settings
        self._url = url
        self._knowledge = knowledge
        self._filler = filler
        self._syncing = Syncing(settings, models, self._sets, knowledge.lack, Synced())
        self._held: Content | None = None
        self._has_brought = False
        self._has_desks = False

    async def open(self) -> int:
        """Serve the newest set, which another replica or `knowledge sync` has made; make one where there is none.

        Returns how many numbers the index's vectors have. Raises KnowledgeError, KnowledgeUnavailable, ModelError,
        psycopg.Error or PoolTimeout.
        """
        if not await self._stored.newest():
            self._has_brought = True
            self._knowledge.fall_behind(await self._bring_in(is_needed=True))
        return (await self._serve_newest()).index.dims

    async def follow(self) -> None:
        """Serve each newer set, and bring in what the sources hold; it never returns."""
        beside = [asyncio.create_task(self._keep_bringing_in()), asyncio.create_task(self._learn_desks())]
        try:
            await self._poll()
        finally:
            await end(*beside)

    async def _serve_newest(self) -> Content:
        """Serve the newest set, unless it is served; raises KnowledgeUnavailable if there is none."""
        newest, held = await self._stored.newest(), self._held
        if newest is None:
            raise KnowledgeUnavailable("the articles have been deleted; restart the service")
        is_new = held is None or held.set.number != newest[0].number
        if held is None or is_new:
            held = await self._stored.load(*newest, held)
        if is_new or (self._filler.said is not None and not self._has_desks):
            has_desks = self._filler.said is not None
            self._knowledge.serve(await self._edition(held))
            self._held, self._has_desks = held, has_desks
        if is_new:
            _log.info("serving set %d of the articles, %d passages", held.set.number, len(held.rows))
        return held

    async def _edition(self, content: Content) -> Edition:
        """Return what is served of a set: for another company, or another index, it is another version."""
        search = StoredSearch(self._stored, content, self._filler.embed(content.index.dims))
        return Edition(self._version(content.set.content), await self._prompt(content), search)

    def _version(self, content: str) -> str:
        parts = [asdict(self._knowledge.company), content, self._settings.embedding, CUT_NOW]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]

    async def _prompt(self, content: Content) -> DeskPrompt:
        """Return the classifier's prompt: an article that no rule gives to a desk is an example of the nearest.

        That takes no model, but what has been learnt of the desks: this release's `company.yaml` says what they are.
        """
        company, said = self._knowledge.company, self._filler.said
        prompt = DeskPrompt(company, content.titles)
        if said is None or not content.undecided or any(len(each) != content.index.dims for each in said):
            return prompt
        articles, vectors = await self._stored.beginnings(content)

        def decide() -> DeskPrompt:
            near = nearest_desks(articles, company, said, vectors)
            titles = titles_by_desk((each for each in articles if each.desk is None), near)
            both = {name: [*content.titles.get(name, ()), *titles.get(name, ())] for name in company.names}
            return DeskPrompt(company, both, version=prompt.version)

        return await in_thread(decide)

    async def _learn_desks(self) -> None:
        """Have what articles are given to desks by, if it is needed; it is attempted again where the model is down."""
        while True:
            if self._held and await self._filler.learn_desks(self._knowledge.company, self._held.undecided):
                return
            await asyncio.sleep(_AGAIN)

    async def _poll(self) -> None:
        marked, is_told = float("-inf"), False
        while True:
            try:
                if time.monotonic() - marked > _USE:
                    await self._stored.use()
                    marked = time.monotonic()
                await self._serve_newest()
                is_told = False
            except KnowledgeUnavailable as error:
                if not is_told:
                    _log.error("can't look for newer articles: %s", error.reason)
                is_told = True
            await asyncio.sleep(_POLL)

    async def _keep_bringing_in(self) -> None:
        """Bring in what the sources hold, once; it is attempted again where the model is down."""
        while not self._has_brought:
            self._has_brought = True
            try:
                with explained():
                    trouble = await self._bring_in(is_needed=False)
            except ModelError as error:
                trouble, self._has_brought = f"changed articles can't be indexed: {self._filler.trouble(error)}", False
            except KnowledgeError as error:
                trouble = str(error)
            except Exception as error:  # noqa: BLE001 - what is served must not depend on a bug in reading
                trouble = f"changed articles can't be brought in: {kind_and_place(error)}"
            self._knowledge.fall_behind(trouble)
            if not self._has_brought:
                await asyncio.sleep(_AGAIN)

    async def _bring_in(self, *, is_needed: bool) -> str | None:
        """Write what the sources hold as a set, and return why it may not be.

        Raises KnowledgeError if nothing can be read of them and there is no set either.
        """
        if is_needed:
            self._knowledge.lack(KnowledgeUnavailable, "the articles are being read")
        while True:
            before, wanted, trouble = await self._sets.latest(), None, None
            try:
                wanted = await in_thread(self._read)
            except KnowledgeError as error:
                if before is None:
                    raise
                trouble = str(error)
            if wanted and is_needed:  # kept answers may be of this edition
                articles = sorted(wanted.library.articles, key=lambda article: article.id)  # as Postgres has them
                prompt = DeskPrompt(self._knowledge.company, titles_by_desk(articles))
                self._knowledge.serve(Edition(self._version(wanted.content), prompt))
            if await self._is_current(wanted):
                return trouble
            async with alone(self._url, patient=not is_needed):
                if await self._sets.latest() == before:  # else what was read may be older than what is stored now
                    return await self._make(wanted) or trouble

    def _read(self) -> Wanted:
        library: Library = read_library(self._settings)
        library.log()
        library.require(strict=self._settings.strict)
        return wanted_of(library)

    async def _is_current(self, wanted: Wanted | None) -> bool:
        """Whether the newest set can be searched, and it or an earlier one holds what is wanted."""
        latest, index = await self._sets.latest(), await self._sets.index()
        if not latest or not index or index.number != latest.number:
            return False
        return wanted is None or wanted.content == latest.content or await self._is_replaced(wanted)

    async def _is_replaced(self, wanted: Wanted) -> bool:
        """Whether there has been a set that held the same, and say so: a newer sync has replaced it since."""
        is_replaced = await self._sets.was(wanted.content)
        if is_replaced:
            _log.info("a newer sync has replaced what the sources hold; `support-agent knowledge sync` brings it back")
        return is_replaced

    async def _make(self, wanted: Wanted | None) -> str | None:
        """Write what is wanted as a set, and make its index or that of the newest; return why it may not be written."""
        latest = await self._sets.latest()
        trouble = await self._syncing.trouble(wanted) if wanted and latest else None
        if (
            wanted
            and not trouble
            and not (latest and wanted.content != latest.content and await self._is_replaced(wanted))
        ):
            await self._syncing.replace(wanted)
        elif latest:
            await self._syncing.index(latest)
        return f"SUPPORT_KNOWLEDGE: {trouble}" if trouble else None

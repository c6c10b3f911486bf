"""Sets of articles in Postgres, without a service around them."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from pydantic import SecretStr

from graph.models import Models, open_models
from graph.retrieval.articles import Article, Library
from graph.retrieval.company import UNNAMED
from graph.retrieval.finding import StoredSearch
from graph.retrieval.postgres import open_pool
from graph.retrieval.sets import Set, Sets
from graph.retrieval.sources import LeftOut
from graph.retrieval.stored import Content, Stored
from graph.retrieval.synced import Synced
from graph.retrieval.syncing import Syncing, wanted_of
from graph.settings import AgentSettings


@dataclass(frozen=True, slots=True)
class Store:
    """A database, for one embedding model."""

    settings: AgentSettings
    models: Models
    sets: Sets
    stored: Stored

    async def sync(
        self,
        articles: Sequence[Article],
        *,
        left_out: Sequence[LeftOut] = (),
        unread: Sequence[str] = (),
        force: bool = False,
    ) -> Synced:
        """Bring a library into the database."""
        done = Synced()
        syncing = Syncing(self.settings, self.models, self.sets, lambda *_: None, done)
        library = Library(UNNAMED, tuple(articles), tuple(left_out), tuple(unread))
        await syncing.replace(wanted_of(library), force=force)
        return done

    async def write(self, articles: Sequence[Article]) -> Set:
        """Write a set, as a sync that ends before it can be read."""
        wanted = wanted_of(Library(UNNAMED, tuple(articles)))
        return await self.sets.write(wanted.library.articles, wanted.hashes, wanted.language)

    def search(self, content: Content) -> StoredSearch:
        """Return what searches a set."""
        return StoredSearch(self.stored, content, self.models.embed)

    async def load(self, held: Content | None = None) -> Content:
        """Read the newest set."""
        newest = await self.stored.newest()
        assert newest, "there is a set"
        return await self.stored.load(*newest, held)

    async def find(self, content: Content, question: str) -> list[str]:
        """Return the ids of the articles that a question finds."""
        found = await self.search(content).find([question])
        return [passage["id"] for passage in found]


@asynccontextmanager
async def store(settings: AgentSettings, url: str, **changed: object) -> AsyncGenerator[Store]:
    """Open a database, with settings that are changed."""
    settings = settings.model_copy(update={"database_url": SecretStr(url), **changed})
    async with open_models(settings) as models, open_pool(url) as pool:
        yield Store(settings, models, Sets(pool, settings.embedding), Stored(pool, settings.embedding))

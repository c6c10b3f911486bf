"""What is served of the help centre: one edition at a time, whole, in whose place another is put."""

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from graph.desk_prompt import DeskPrompt
from graph.errors import KnowledgeError, KnowledgeUnavailable, RunError
from graph.observe.metrics import articles_outdated
from graph.retrieval.articles import Article
from graph.retrieval.company import Company
from graph.state import Passage

_log = logging.getLogger(__name__)


class Searchable(Protocol):
    """Articles that can be searched and read, none of which ever changes; HeldLibrary is such."""

    async def find(self, queries: Sequence[str]) -> list[Passage]:
        """Return the passages for an answer, each query's best in turn; raises ModelError or KnowledgeUnavailable."""
        ...

    async def article(self, name: str) -> Article | None:
        """Return an article by its id; None if there is none. Raises KnowledgeUnavailable."""
        ...

    async def ping(self) -> None:
        """Check that there are articles; raises KnowledgeUnavailable."""
        ...


@dataclass(frozen=True, slots=True)
class Edition:
    """The help centre at one time: prompt and articles, which belong together and never change.

    Whoever needs more than one of them takes the edition once: another may be served a moment later.
    """

    version: str
    """A hash of the company, the articles and the embedding model."""
    prompt: DeskPrompt
    """What the classifier is asked."""
    articles: Searchable | None = None
    """None until they are indexed."""


class Knowledge:
    """The help centre of one company, as it is served now: searchable once there is an index."""

    def __init__(self, company: Company) -> None:
        self.company = company
        self._prompt = DeskPrompt(company)
        self._served: Edition | None = None
        self._outdated: str | None = None
        self._lacking: type[RunError] = KnowledgeUnavailable
        self._reason = "the articles are not indexed yet"
        self._changed = time.monotonic()
        self._attempted = asyncio.Event()

    @property
    def served(self) -> Edition | None:
        """The edition that is served; None until the articles are read."""
        return self._served

    def serve(self, edition: Edition) -> None:
        """Serve this edition from now on; what is under way ends with the one that it has begun with."""
        self._served = edition

    @property
    def outdated(self) -> str | None:
        """Why articles that have changed are not served; None if what is served is the latest."""
        return self._outdated

    def fall_behind(self, trouble: str | None) -> None:
        """Go on with what is served, since there is this trouble with what has changed; None once there is none."""
        if trouble and trouble != self._outdated:
            _log.error("%s; the articles from before are served", trouble)
        self._outdated = trouble
        articles_outdated.set(int(trouble is not None))

    @property
    def prompt(self) -> DeskPrompt:
        """What the classifier is asked at the moment."""
        return self._served.prompt if self._served else self._prompt

    @property
    def version(self) -> str:
        """The version of what is served; empty until the articles are read."""
        return self._served.version if self._served else ""

    async def search(self, *queries: str) -> list[Passage]:
        """Return the passages for an answer, each query's best in turn; raises ModelError or KnowledgeUnavailable.

        All of them are of one edition, whatever is served when the search ends.
        """
        return await self._articles().find(queries)

    async def article(self, name: str) -> Article | None:
        """Return an article by its id; None if there is none. Raises RunError."""
        return await self._articles().article(name)

    async def ping(self) -> None:
        """Check that there are articles to search; raises RunError."""
        await self._articles().ping()

    async def indexed(self) -> None:
        """Wait for the first attempt to open or build the index; raises KnowledgeError if it failed."""
        await self._attempted.wait()
        if not self.is_indexed:
            raise KnowledgeError(self._reason)

    @property
    def is_indexed(self) -> bool:
        """Whether there is an index to search."""
        return self._served is not None and self._served.articles is not None

    def lack(self, kind: type[RunError], reason: str) -> None:
        """Say why there is no index yet: a search raises `kind` with this reason until there is one."""
        self._lacking, self._reason = kind, reason
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

    def _articles(self) -> Searchable:
        if self._served is None or self._served.articles is None:
            raise self._lacking(self._reason)
        return self._served.articles

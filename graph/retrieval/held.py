"""A library whose texts and words this process holds; the vectors are in an index, here or in Postgres."""

from collections.abc import Sequence
from dataclasses import dataclass

from langgraph.store.base.embed import AEmbeddingsFunc

from graph.desk_prompt import DeskPrompt
from graph.retrieval.articles import Article, Library
from graph.retrieval.desks import titles_by_desk
from graph.retrieval.passages import CUT, ArticlePassage, passages_of
from graph.retrieval.search import ArticleIndex, Search
from graph.retrieval.served import Edition
from graph.state import Passage


@dataclass(frozen=True, slots=True)
class Prepared:
    """A library as it is to be served, but for its index."""

    library: Library
    version: str
    prompt: DeskPrompt
    search: Search

    def edition(self, index: ArticleIndex | None = None, embed: AEmbeddingsFunc | None = None) -> Edition:
        """Return the edition with this index, and what makes vectors that fit it; without them it finds nothing."""
        held = HeldLibrary(self, index, embed) if index is not None and embed is not None else None
        return Edition(self.version, self.prompt, held)


def prepared(library: Library, embedding: str, before: Prepared | None = None) -> Prepared:
    """Cut a library into passages and count their words; `embedding` names the embedding model.

    If nothing differs from what was prepared `before`, that is returned. To be called in a thread: it takes seconds for
    10,000 passages.
    """
    version = library.version(f"{embedding} {CUT}")
    if before and before.version == version:
        return before
    prompt = DeskPrompt(library.company, titles_by_desk(library.articles))
    passages = _passages(library, before)
    search = Search(passages, library.company.language, before.search if before else None)
    return Prepared(library, version, prompt, search)


def _passages(library: Library, before: Prepared | None) -> list[ArticlePassage]:
    """Return the passages of a library: first those of articles that are as before, which need not be cut again."""
    articles = dict.fromkeys(library.articles)
    known = [passage for passage in before.search.passages if passage.article in articles] if before else []
    cut = {passage.article for passage in known}
    return known + passages_of(article for article in articles if article not in cut)


class HeldLibrary:
    """The articles of a library, and their index."""

    def __init__(self, prepared: Prepared, index: ArticleIndex, embed: AEmbeddingsFunc) -> None:
        self._articles = {article.id: article for article in prepared.library.articles}
        self._search = prepared.search
        self._index = index
        self._embed = embed

    async def find(self, queries: Sequence[str]) -> list[Passage]:
        """Return the passages for an answer, each query's best in turn; raises ModelError or KnowledgeUnavailable."""
        return await self._search.find(queries, self._index, self._embed)

    async def article(self, name: str) -> Article | None:
        """Return an article by its id; None if there is none."""
        return self._articles.get(name)

    async def ping(self) -> None:
        """Look for any one passage in the index; raises KnowledgeUnavailable."""
        await self._index.ping()

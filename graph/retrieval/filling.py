"""Fills indexes with vectors, and says of which articles the embedding model does not take all."""

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from langgraph.store.base.embed import AEmbeddingsFunc

from graph.desk_prompt import DeskPrompt
from graph.errors import KnowledgeUnavailable, ModelError, ModelUnavailable
from graph.models import Models
from graph.retrieval.company import Company
from graph.retrieval.desks import nearest_desks, said_of, titles_by_desk
from graph.retrieval.held import Prepared
from graph.retrieval.indexing import dims_of, embed_passages, embed_texts
from graph.retrieval.kept import Vector, VectorCache, kept_vectors
from graph.retrieval.passages import ArticlePassage
from graph.retrieval.progress import IndexingProgress
from graph.retrieval.refusals import Refusals
from graph.retrieval.search import ArticleIndex
from graph.retrieval.served import Knowledge
from graph.retrieval.threads import in_thread
from graph.settings import AgentSettings

_log = logging.getLogger(__name__)


class Filler:
    """Embeds passages for the indexes of one help centre."""

    def __init__(self, settings: AgentSettings, models: Models, knowledge: Knowledge) -> None:
        self.kept = kept_vectors(settings)
        """Vectors that need not be made again."""
        self.said: Sequence[Vector] | None = None
        """Those of what company.yaml says of the desks, once they are had."""
        self._settings = settings
        self._models = models
        self._knowledge = knowledge
        self._refusals = Refusals()
        self._told = ""  # why articles have no desk

    async def dims(self) -> int:
        """Ask the model how many numbers its vectors have; raises ModelError."""
        self._knowledge.lack(ModelUnavailable, "the embedding model has not answered yet")
        return await dims_of(self._models)

    def embed(self, dims: int) -> AEmbeddingsFunc:
        """Return what makes vectors for an index of this length; it raises ModelError."""

        async def embed(texts: Sequence[str]) -> list[list[float]]:
            vectors = await self._models.embed(texts)
            if odd := next((len(vector) for vector in vectors if len(vector) != dims), None):
                raise ModelUnavailable(f"vectors of {odd} numbers, the index has {dims}")
            return vectors

        return embed

    async def fill(
        self, index: ArticleIndex, passages: Sequence[ArticlePassage], dims: int, *, has: int = 0, kept: VectorCache
    ) -> None:
        """Add the passages to an index that has `has` others; `kept` knows vectors of some.

        Raises ModelError, and KnowledgeError where the model refuses any and none may be left out.
        """
        began = time.monotonic()
        with IndexingProgress(has + len(passages), has) as progress:
            self._knowledge.lack(KnowledgeUnavailable, str(progress))
            async for batch, new in embed_passages(self._models, passages, kept, dims, self._refusals.add, has):
                if batch:
                    await index.add(batch)
                progress.advance(len(batch), new=new)
                self._knowledge.lack(KnowledgeUnavailable, str(progress))
        self._refusals.end(strict=self._settings.strict)
        self.kept.release()
        _log.info("indexed %d passages in %.1f s", progress.done, time.monotonic() - began)

    async def with_desks(self, ready: Prepared, beginnings: Callable[[], Mapping[str, Vector]]) -> Prepared:
        """Give each article that no rule gives to a desk to the nearest, whose example its title then is.

        That matters only where a desk has no examples of its own. `beginnings` returns vectors of articles by their
        ids. Where the model fails, the articles stay without a desk, and the log says so.
        """
        articles, company = ready.library.articles, ready.library.company
        if not await self.learn_desks(company, sum(article.desk is None for article in articles)):
            return ready

        def decide() -> DeskPrompt:
            near = nearest_desks(articles, company, self.said or (), beginnings())
            return DeskPrompt(company, titles_by_desk(articles, near), version=ready.prompt.version)

        return replace(ready, prompt=await in_thread(decide))

    async def learn_desks(self, company: Company, undecided: int) -> bool:
        """Have the vectors of what is said of the desks, if there are articles whose titles serve as examples.

        Returns whether there are such, `undecided` of which no rule gives to a desk, and the vectors are had. Where the
        model fails the log says so, once for each reason.
        """
        if not undecided or all(desk.examples for desk in company.desks):
            return False
        if self.said is None:
            try:
                self.said = await embed_texts(self._models, [text for _, text in said_of(company)], self.kept)
            except ModelError as error:
                trouble = self.trouble(error)
                if trouble != self._told:
                    _log.warning("%d articles have no desk: no rule names one, and %s", undecided, trouble)
                self._told = trouble
                return False
        return True

    def trouble(self, error: ModelError) -> str:
        """Say what is wrong with the embedding model, and what to check."""
        settings = self._settings
        model = f"the embedding model {settings.embedding_model!r}"
        if error.reason.startswith(("HTTP 401", "HTTP 403")):
            return f"{model} refused the key ({error.reason}); correct {settings.embedding_key_name}"
        url = settings.embedding_url_name
        return f"{model} gave no vectors ({error.reason}); check {url} and SUPPORT_EMBEDDING_MODEL"

"""What an embedding model does not take of the articles, as the log tells it."""

import logging

from graph.errors import KnowledgeError
from graph.models.embedder import Embedded
from graph.retrieval.articles import MOST_NAMED, printable
from graph.retrieval.passages import ArticlePassage

_log = logging.getLogger(__name__)


class Refusals:
    """Gathers what the model refuses, or takes only the beginning of; each article is named once."""

    def __init__(self) -> None:
        self.refused: list[ArticlePassage] = []
        self._told: set[str] = set()

    def add(self, passage: ArticlePassage, embedded: Embedded) -> None:
        """Count a passage that the model does not take all of."""
        if embedded.vector is None:
            self.refused.append(passage)
        article = printable(passage.article.id)
        if article in self._told:
            return
        self._told.add(article)
        if len(self._told) <= MOST_NAMED:
            what = "refuses a passage" if embedded.vector is None else "takes only the beginning of a passage"
            section = f" ({printable(passage.section)})" if passage.section else ""
            _log.warning("the embedding model %s of the article %r%s: %s", what, article, section, embedded.trouble)

    def end(self, *, strict: bool) -> None:
        """Say how many more there were; raises KnowledgeError where one is refused and none may be."""
        refused, self.refused = self.refused, []
        if (more := len(self._told) - MOST_NAMED) > 0:
            _log.warning("the embedding model also refuses passages of %d more articles", more)
        if refused and strict:
            first = printable(refused[0].article.id)
            raise KnowledgeError(
                f"the embedding model refuses {len(refused)} passages, where none may be left out (SUPPORT_STRICT); "
                f"the first is of the article {first!r}"
            )

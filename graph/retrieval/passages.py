"""Articles cut into passages: what is embedded, found, and quoted in the answer prompt."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

from graph.retrieval.articles import Article


@dataclass(frozen=True, slots=True)
class ArticlePassage:
    """A part of an article that an embedding model reads whole."""

    article: Article
    number: int
    """Its place in the article: 0, 1, …"""
    section: str
    """The headings above it, joined by " › "; empty before the first heading."""
    text: str
    """Markdown, without those headings."""

    @property
    def embedded(self) -> str:
        """The text that is embedded: title, section and text."""
        heading = " › ".join(filter(None, (self.article.title, self.section)))
        return f"{heading}\n\n{self.text}"

    @property
    def hash(self) -> str:
        """A name of the text that is embedded: 32 hexadecimal digits."""
        return hashlib.sha256(self.embedded.encode()).hexdigest()[:32]


def passages_of(articles: Iterable[Article]) -> list[ArticlePassage]:
    """Cut articles into passages, in order."""
    return [ArticlePassage(article, 0, "", article.text) for article in articles]

import asyncio
from collections.abc import Sequence

import pytest

from graph.errors import KnowledgeUnavailable
from graph.retrieval.articles import Article, Library
from graph.retrieval.company import Company, Desk
from graph.retrieval.held import prepared
from graph.retrieval.memory import MemoryIndex
from graph.retrieval.served import Edition, Knowledge
from harness.indexes import fill
from harness.scripted_model import hashed_words

COMPANY = Company("Acme", (Desk("general"),))


class Embedder:
    """Makes vectors of hashed words, once it may."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.may_answer = asyncio.Event()

    async def __call__(self, texts: Sequence[str]) -> list[list[float]]:
        """Note that it is asked, and wait."""
        self.asked.set()
        await self.may_answer.wait()
        return [hashed_words(text, 64) for text in texts]


async def edition(text: str, embedder: Embedder, count: int = 3) -> Edition:
    """Return an edition of as many articles, all of which say `text`."""
    articles = tuple(Article(f"article-{number}", f"Refunds {number}", text) for number in range(count))
    ready = prepared(Library(COMPANY, articles), "some-model")
    index = MemoryIndex(count, 64)
    passages = ready.search.passages
    await fill(index, passages, [hashed_words(passage.embedded, 64) for passage in passages])
    return ready.edition(index, embedder)


async def test_a_search_finds_all_of_one_edition() -> None:
    """That which was served when it began, though another takes its place meanwhile; the next finds the other."""
    embedder, knowledge = Embedder(), Knowledge(COMPANY)
    knowledge.serve(await edition("Refunds take 30 days.", embedder))
    searching = asyncio.create_task(knowledge.search("how long do refunds take"))
    await embedder.asked.wait()
    knowledge.serve(await edition("Refunds take 14 days.", embedder, count=2))
    embedder.may_answer.set()
    assert {passage["text"] for passage in await searching} == {"Refunds take 30 days."}
    found = await knowledge.search("how long do refunds take")
    assert [passage["text"] for passage in found] == ["Refunds take 14 days."] * 2


async def test_before_anything_is_read_there_is_no_version() -> None:
    """And a search says why it finds nothing."""
    knowledge = Knowledge(COMPANY)
    assert (knowledge.version, knowledge.served, knowledge.prompt.desks) == ("", None, ("general",))
    knowledge.lack(KnowledgeUnavailable, "the articles are being read")
    with pytest.raises(KnowledgeUnavailable) as caught:
        await knowledge.search("refunds")
    assert caught.value.reason == "the articles are being read"

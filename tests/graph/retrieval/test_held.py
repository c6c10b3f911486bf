"""Libraries that this process holds: what they take, and what another edition leaves."""

import gc
import tracemalloc
from pathlib import Path

from bench.help_centre import write_help_centre
from graph.retrieval.articles import Article, Library, Reader
from graph.retrieval.company import Company, Desk
from graph.retrieval.held import Prepared, prepared
from graph.retrieval.memory import MemoryIndex
from graph.settings import AgentSettings
from harness.indexes import fill, random_vectors

STATED = 5_000  # bytes of a passage beside its vector, as docs/changing-articles.md says
DIMS = 16


async def test_a_passage_takes_what_is_stated(tmp_path: Path) -> None:
    """Its texts, words and vector, twice as much at most; nothing of how they were made is left."""
    write_help_centre(tmp_path, 20)
    settings = AgentSettings(SUPPORT_KNOWLEDGE=str(tmp_path))

    async def built() -> tuple[Reader, Prepared, MemoryIndex]:
        reader = Reader(settings)
        ready = prepared(reader.read(), "model")
        index = MemoryIndex(len(ready.search.passages), DIMS)
        await fill(index, ready.search.passages, random_vectors(1, len(ready.search.passages), DIMS))
        return reader, ready, index

    await built()  # imports what it needs
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        held = await built()
        gc.collect()
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    passages = held[1].search.passages
    assert len(passages) >= 100
    assert (after - before) / len(passages) < 2 * (STATED + 4 * DIMS)


def test_what_has_not_changed_is_there_once() -> None:
    """Passages are cut again only of articles that differ, and if none does there is no other edition."""
    company = Company("Acme", (Desk("general"),))
    one, two = Article("one", "One", "The first. " * 400), Article("two", "Two", "The second.")
    before = prepared(Library(company, (one, two)), "model")
    assert prepared(Library(company, (one, two)), "model", before) is before
    after = prepared(Library(company, (Article("new", "New", "The third."), one)), "model", before)
    assert after.version != before.version
    *same, new = after.search.passages
    kept = [passage for passage in before.search.passages if passage.article == one]
    assert (new.article.id, len(same), len(kept)) == ("new", len(kept), len(kept))
    assert len(kept) > 2
    assert all(passage is other for passage, other in zip(same, kept, strict=True))

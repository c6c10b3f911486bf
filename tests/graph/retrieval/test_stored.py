"""Search in Postgres against exact search, and against the index in memory."""

from collections.abc import Sequence
from dataclasses import replace
from math import hypot
from operator import mul

import pytest

from conftest import MakeSettings
from graph.retrieval import finding
from graph.retrieval.memory import MemoryIndex
from graph.retrieval.passages import ArticlePassage
from graph.retrieval.stored import Content
from harness.indexes import fill, numbered, random_vectors
from harness.scripted_model import ScriptedModel
from harness.scripted_model import vectors as replied
from harness.stored import store

Vector = Sequence[float]


def cosine(one: Vector, other: Vector) -> float:
    return sum(map(mul, one, other)) / (hypot(*one) * hypot(*other))


def give(model: ScriptedModel, passages: Sequence[ArticlePassage], vectors: Sequence[list[float]]) -> None:
    """Have the model give each passage its vector."""
    known = {passage.embedded: vector for passage, vector in zip(passages, vectors, strict=True)}
    model.script("embeddings", replied(lambda text: known.get(text, vectors[0])))


def articles_of(content: Content, rows: Sequence[int], first: int) -> list[int]:
    """Return the numbers of the articles in these rows; `first` is the key of article 0."""
    return [int(content.rows.articles[row]) - first for row in rows]


@pytest.mark.parametrize("dims", [1, 24, 100, 384])
async def test_a_set_that_is_no_bigger_than_the_candidates_is_searched_exactly(
    make_settings: MakeSettings, model: ScriptedModel, database_url: str, dims: int
) -> None:
    """As in memory; vectors are rounded to half precision, so where cosines differ by less, any may come first."""
    passages = numbered(200)
    vectors, queries = random_vectors(1, len(passages), dims), random_vectors(2, 3, dims)
    in_memory = MemoryIndex(len(passages), dims)
    await fill(in_memory, passages, vectors)
    exact = await in_memory.nearest(queries, 5, None)
    give(model, passages, vectors)
    async with store(make_settings(), database_url) as at:
        await at.sync([passage.article for passage in passages])
        content = await at.load()
        for query, keys in zip(queries, exact, strict=True):
            rows = await at.search(content).nearest(query, None, 5)
            found = [cosine(vectors[number], query) for number in articles_of(content, rows, 1)]
            right = [cosine(vectors[int(article[-4:])], query) for article, _ in keys]
            assert found == pytest.approx(right, abs=2e-3)


async def test_candidates_are_the_likeliest(
    make_settings: MakeSettings, model: ScriptedModel, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the signs of their numbers: a tenth of random vectors, the hardest there are, has most of the nearest."""
    passages = numbered(1000)
    vectors, queries = random_vectors(1, len(passages), 64), random_vectors(2, 10, 64)
    give(model, passages, vectors)
    async with store(make_settings(), database_url) as at:
        await at.sync([passage.article for passage in passages])
        content = await at.load()
        exact = [await at.search(content).nearest(query, None, 10) for query in queries]
        monkeypatch.setattr(finding, "CANDIDATES", 100)
        found = [await at.search(content).nearest(query, None, 10) for query in queries]
    shares = [len({*some} & {*right}) / 10 for some, right in zip(found, exact, strict=True)]
    assert sum(shares) / len(shares) >= 0.7


async def test_only_passages_in_this_language_are_found(
    make_settings: MakeSettings, model: ScriptedModel, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of them, also where others are nearer; articles that name none are in the language of most."""
    monkeypatch.setattr(finding, "CANDIDATES", 5)
    passages = [*numbered(20, "en"), *numbered(23, "de")[20:], *numbered(25)[23:]]
    give(model, passages, random_vectors(5, len(passages), 8))
    (query,) = random_vectors(6, 1, 8)
    async with store(make_settings(), database_url) as at:
        await at.sync([passage.article for passage in passages])
        content = await at.load()
        among = [content.rows.languages == number for number in range(2)]
        found = {
            content.spoken[number]: await at.search(content).nearest(query, each) for number, each in enumerate(among)
        }
        assert sorted(articles_of(content, found["de"], 1)) == [20, 21, 22]
        assert len(found["en"]) == 5
        assert content.languages
        assert (await at.find(content, "title")) != []


async def test_passages_with_the_same_text_are_all_found(
    make_settings: MakeSettings, model: ScriptedModel, database_url: str
) -> None:
    """They have one vector."""
    passages = numbered(3)
    give(model, passages, random_vectors(1, 3, 8))
    same = [passages[0].article, *(passage.article for passage in passages)]
    async with store(make_settings(), database_url) as at:
        await at.sync([replace(same[0], id="copy"), *same[1:]])
        content = await at.load()
        rows = await at.search(content).nearest(random_vectors(2, 1, 8)[0], None)
        assert len(rows) == 4

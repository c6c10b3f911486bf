import asyncio
import threading
from collections.abc import Mapping, Sequence
from math import hypot
from operator import mul

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.store.base.embed import AEmbeddingsFunc

from conftest import MakeSettings
from graph.errors import ModelUnavailable
from graph.models import open_models
from graph.retrieval import memory
from graph.retrieval.articles import Article, load_library, meaning
from graph.retrieval.index import PASSAGES, ArticleIndex, open_knowledge
from graph.retrieval.memory import MemoryIndex
from graph.retrieval.postgres import open_indexes
from harness.scripted_model import Reply, ScriptedModel, embedded
from harness.scripted_model import vectors as replied

Vector = Sequence[float]
QUERIES = ["first question", "second question", "third question"]


def cosine(one: Vector, other: Vector) -> float:
    return sum(map(mul, one, other)) / (hypot(*one) * hypot(*other))


def random_vectors(seed: int, count: int, dims: int) -> list[list[float]]:
    return np.random.default_rng(seed).standard_normal((count, dims)).tolist()


def numbered(count: int) -> list[Article]:
    return [Article(f"article-{number:04}", f"Title {number}", "general", f"Text {number}.") for number in range(count)]


def embedding(articles: Sequence[Article], vectors: Sequence[Vector], queries: Mapping[str, Vector]) -> AEmbeddingsFunc:
    """Give each article and each query its own vector."""
    known = {**dict(zip(map(meaning, articles), vectors, strict=True)), **queries}

    async def embed(texts: Sequence[str]) -> list[list[float]]:
        return [list(known[text]) for text in texts]

    return embed


async def fill(index: ArticleIndex, articles: Sequence[Article]) -> None:
    for start in range(0, len(articles), 16):
        await index.add(articles[start : start + 16])


@st.composite
def vectors_and_query(draw: st.DrawFn) -> tuple[list[Vector], Vector]:
    dims = draw(st.integers(1, 8))
    number = st.integers(-3, 3) | st.floats(-1e300, 1e300)
    vector = st.lists(number, min_size=dims, max_size=dims).filter(any)
    return draw(st.lists(vector, min_size=1, max_size=40)), draw(vector)


@given(vectors_and_query(), st.integers(1, 10))
def test_the_nearest_are_those_of_the_greatest_cosine(drawn: tuple[list[Vector], Vector], limit: int) -> None:
    """Whatever the vectors' lengths are; of articles with the same vector, the first comes first."""
    vectors, query = drawn
    articles = numbered(len(vectors))
    index = MemoryIndex(embedding(articles, vectors, {"query": query}), len(vectors), len(query))

    async def search() -> list[str]:
        await fill(index, articles)
        (passages,) = await index.search(["query"], limit)
        return [passage["id"] for passage in passages]

    names = asyncio.run(search())
    found = [vectors[int(name.removeprefix("article-"))] for name in names]
    # No vector is so long that its square is infinite, or so short that it is 0.
    scaled = [[number / max(map(abs, vector)) for number in vector] for vector in (*found, *vectors, query)]
    cosines = [cosine(vector, scaled[-1]) for vector in scaled[:-1]]
    assert len(set(names)) == min(limit, len(vectors))
    assert cosines[: len(found)] == pytest.approx(sorted(cosines[len(found) :], reverse=True)[:limit], abs=1e-6)
    for earlier, later in zip(range(len(found)), range(1, len(found)), strict=False):
        assert found[earlier] != found[later] or names[earlier] < names[later]


async def test_postgres_ranks_random_vectors_as_memory_does(database_url: str) -> None:
    """It rounds vectors to half precision, so articles whose cosines differ by less may change places."""
    articles = numbered(200)
    vectors = random_vectors(1, len(articles), 24)
    queries = dict(zip(QUERIES, random_vectors(2, len(QUERIES), 24), strict=True))
    embed = embedding(articles, vectors, queries)
    in_memory = MemoryIndex(embed, len(articles), 24)
    await fill(in_memory, articles)
    async with open_indexes(database_url) as indexes:
        in_postgres = await indexes.open("some-version", embed, 24)
        await fill(in_postgres, articles)
        found = [await index.search(QUERIES, PASSAGES) for index in (in_memory, in_postgres)]
    known = dict(zip((article.id for article in articles), vectors, strict=True))
    for query, *both in zip(queries.values(), *found, strict=True):
        one, other = ([cosine(known[passage["id"]], query) for passage in passages] for passages in both)
        assert len(one) == PASSAGES
        assert other == pytest.approx(one, abs=1e-3)
    assert [passages[0] for passages in found[0]] == [passages[0] for passages in found[1]]


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (embedded(32), "vectors of 32 numbers, the index has 64"),
        (replied(lambda _: [0.0] * 64), "invalid embedding vectors"),
    ],
    ids=["another length", "zeros"],
)
async def test_a_question_whose_vector_does_not_fit_is_refused(
    make_settings: MakeSettings, model: ScriptedModel, reply: Reply, reason: str
) -> None:
    """The error says what is wrong with it, and the index stays in use."""
    settings = make_settings()
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        model.script("embeddings", reply)
        with pytest.raises(ModelUnavailable) as caught:
            await knowledge.search("when is support open on monday")
        assert caught.value.reason == reason
        model.script("embeddings", embedded(64))
        assert (await knowledge.search("when is support open on monday"))[0]["id"] == "opening-hours"


async def test_a_search_embeds_only_its_queries(
    make_settings: MakeSettings, model: ScriptedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In one request, however many they are; the articles' vectors are converted once, when they are indexed."""
    converted: list[int] = []
    units = memory._units

    def counted(vectors: list[list[float]]) -> npt.NDArray[np.float32]:
        converted.append(len(vectors))
        return units(vectors)

    monkeypatch.setattr(memory, "_units", counted)
    settings = make_settings()
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        assert converted == [6]
        for queries in (["refunds"], ["refunds"], ["refunds", "opening hours on monday"]):
            model.forget()
            converted.clear()
            assert len(await knowledge.search(*queries)) == PASSAGES
            assert [call.body["input"] for call in model.of("embeddings")] == [queries]
            assert converted == [len(queries)]
        await knowledge.ping()
        assert converted == [2]


async def test_the_matrix_takes_four_bytes_for_each_number(make_settings: MakeSettings) -> None:
    """The articles are those of the library, not copies."""
    articles = load_library(make_settings().knowledge).articles
    index = MemoryIndex(embedding(articles, [[1.0, 2.0, 3.0]] * 6, {}), 6, 3)
    await index.add(articles)
    assert index._rows.nbytes == 6 * 3 * 4
    assert all(kept is article for kept, article in zip(index._articles, articles, strict=True))


@pytest.mark.parametrize("queries", [QUERIES[:1], QUERIES[:2]])
async def test_a_long_search_leaves_the_event_loop_free(monkeypatch: pytest.MonkeyPatch, queries: list[str]) -> None:
    """Two queries are twice the work of one; a thread finds the same as the event loop would."""
    threads: list[int] = []
    greatest = memory._greatest

    def noted(values: npt.NDArray[np.float32], limit: int) -> list[int]:
        threads.append(threading.get_ident())
        return greatest(values, limit)

    monkeypatch.setattr(memory, "_greatest", noted)
    monkeypatch.setattr(memory, "_BRIEF", 20 * 3)
    articles = numbered(20)
    asked = dict(zip(queries, random_vectors(4, len(queries), 3), strict=True))
    index = MemoryIndex(embedding(articles, random_vectors(3, len(articles), 3), asked), 20, 3)
    await fill(index, articles)
    found = await index.search(queries, 5)
    on_the_loop = [(await index.search([query], 5))[0] for query in queries]
    assert found == on_the_loop
    here = threading.get_ident()
    assert [thread == here for thread in threads] == [len(queries) == 1] * len(queries) + [True] * len(queries)

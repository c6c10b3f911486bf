import asyncio
import threading
from collections.abc import Sequence
from math import hypot
from operator import mul

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conftest import MakeSettings
from graph.errors import ModelUnavailable
from graph.models import open_models
from graph.retrieval import memory
from graph.retrieval.index import open_knowledge
from graph.retrieval.memory import MemoryIndex
from graph.retrieval.search import ARTICLES
from harness.indexes import fill, numbered, random_vectors
from harness.scripted_model import Reply, ScriptedModel, embedded
from harness.scripted_model import vectors as replied

Vector = Sequence[float]


def cosine(one: Vector, other: Vector) -> float:
    return sum(map(mul, one, other)) / (hypot(*one) * hypot(*other))


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
    index = MemoryIndex(len(vectors), len(query))

    async def search() -> list[str]:
        await fill(index, numbered(len(vectors)), vectors)
        (keys,) = await index.nearest([query], limit, None)
        return [article for article, _ in keys]

    names = asyncio.run(search())
    found = [vectors[int(name.removeprefix("article-"))] for name in names]
    # No vector is so long that its square is infinite, or so short that it is 0.
    scaled = [[number / max(map(abs, vector)) for number in vector] for vector in (*found, *vectors, query)]
    cosines = [cosine(vector, scaled[-1]) for vector in scaled[:-1]]
    assert len(set(names)) == min(limit, len(vectors))
    assert cosines[: len(found)] == pytest.approx(sorted(cosines[len(found) :], reverse=True)[:limit], abs=1e-6)
    for earlier, later in zip(range(len(found)), range(1, len(found)), strict=False):
        assert found[earlier] != found[later] or names[earlier] < names[later]


async def test_only_passages_in_these_languages_are_found() -> None:
    """Fewer than asked for where there are no more, and none where there is none."""
    passages = [*numbered(20, "en"), *numbered(23, "de")[20:], *numbered(25)[23:]]
    index = MemoryIndex(len(passages), 8)
    await fill(index, passages, random_vectors(5, len(passages), 8))
    query = random_vectors(6, 1, 8)
    found = [await index.nearest(query, 5, among) for among in (None, {"de"}, {"de", ""}, {"fr"})]
    assert [len(keys) for (keys,) in found] == [5, 3, 5, 0]
    assert {article for article, _ in found[1][0]} == {"article-0020", "article-0021", "article-0022"}


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
    units = memory.units

    def counted(vectors: list[list[float]]) -> npt.NDArray[np.float32]:
        converted.append(len(vectors))
        return units(vectors)

    monkeypatch.setattr(memory, "units", counted)
    settings = make_settings()
    async with open_models(settings) as models, open_knowledge(settings, models) as knowledge:
        assert converted == [6]
        for queries in (["refunds"], ["refunds"], ["refunds", "opening hours on monday"]):
            model.forget()
            converted.clear()
            assert len(await knowledge.search(*queries)) == ARTICLES
            assert [call.body["input"] for call in model.of("embeddings")] == [queries]
            assert converted == [len(queries)]
        await knowledge.ping()
        assert converted == [2]


async def test_the_matrix_takes_four_bytes_for_each_number() -> None:
    """And passages that the model refused take nothing."""
    index = MemoryIndex(6, 3)
    await fill(index, numbered(5), [[1.0, 2.0, 3.0]] * 5)
    assert index._rows.nbytes == 6 * 3 * 4
    assert await index.nearest([[1.0, 2.0, 3.0]], 9, None) == [[(f"article-000{number}", 0) for number in range(5)]]


@pytest.mark.parametrize("queries", [1, 2])
async def test_a_long_search_leaves_the_event_loop_free(monkeypatch: pytest.MonkeyPatch, queries: int) -> None:
    """Two queries are twice the work of one; a thread finds the same as the event loop would."""
    threads: list[int] = []
    greatest = memory.greatest

    def noted(values: npt.NDArray[np.float32], limit: int) -> list[int]:
        threads.append(threading.get_ident())
        return greatest(values, limit)

    monkeypatch.setattr(memory, "greatest", noted)
    monkeypatch.setattr(memory, "_BRIEF", 20 * 3)
    asked = random_vectors(4, queries, 3)
    index = MemoryIndex(20, 3)
    await fill(index, numbered(20), random_vectors(3, 20, 3))
    found = await index.nearest(asked, 5, None)
    on_the_loop = [(await index.nearest([query], 5, None))[0] for query in asked]
    assert found == on_the_loop
    here = threading.get_ident()
    assert [thread == here for thread in threads] == [queries == 1] * queries + [True] * queries

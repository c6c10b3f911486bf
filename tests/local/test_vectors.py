import asyncio
from pathlib import Path

import numpy as np
import pytest

from harness.ship_vectors import ship
from local import vectors
from local.vectors import LONGEST, Kind, Vectors, load, name_of

TEXTS: list[tuple[str, Kind]] = [("When are you open?", "query"), ("We are open on Mondays.", "passage")]


def nearness(one: vectors.Vector, other: vectors.Vector) -> float:
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


def test_a_shipped_vector_is_the_computed_one(tmp_path: Path, vectors: Vectors) -> None:
    """A shipped vector equals the computed one up to float16."""
    file = tmp_path / "vectors.npz"
    assert ship(TEXTS, file) == (0, 2)
    shipped = load(file)
    for text, kind in TEXTS:
        np.testing.assert_allclose(shipped[name_of(text, kind)], vectors.compute(text, kind), atol=1e-3)


def test_shipping_computes_only_what_is_new_and_drops_what_is_not_wanted(tmp_path: Path) -> None:
    """Known texts are not computed again, and stale ones are removed."""
    file = tmp_path / "vectors.npz"
    ship(TEXTS, file)
    before = load(file)[name_of(*TEXTS[0])]
    assert ship([TEXTS[0], ("Are you closed?", "query")], file) == (1, 1)
    after = load(file)
    assert set(after) == {name_of(*TEXTS[0]), name_of("Are you closed?", "query")}
    np.testing.assert_array_equal(after[name_of(*TEXTS[0])], before)


async def test_shipped_vectors_are_not_computed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A shipped vector needs no inference."""
    file = tmp_path / "vectors.npz"
    ship(TEXTS, file)
    knowing = Vectors(file)
    monkeypatch.setattr(knowing, "compute", None)
    assert (await knowing.of([TEXTS[0][0]], TEXTS[0][1])).shape == (1, 384)
    knowing.close()


@pytest.mark.parametrize("content", [None, b"", b"PK\x03\x04 not a zip file", b"\x93NUMPY nothing"])
def test_a_missing_or_broken_file_of_vectors_is_no_vectors(tmp_path: Path, content: bytes | None) -> None:
    """With a missing or broken file the model computes all vectors."""
    file = tmp_path / "vectors.npz"
    if content is not None:
        file.write_bytes(content)
    assert load(file) == {}


@pytest.mark.parametrize(
    "arrays",
    [
        {"names": np.zeros((1, 32), np.uint8)},
        {"names": np.zeros((2, 32), np.uint8), "vectors": np.zeros((1, 384), np.float16)},
        {"names": np.array([object()]), "vectors": np.zeros((1, 384), np.float16)},
    ],
)
def test_a_file_of_something_else_is_no_vectors(tmp_path: Path, arrays: dict[str, np.ndarray]) -> None:
    """An incomplete file, or one that could run code, is ignored."""
    file = tmp_path / "vectors.npz"
    np.savez(file, **arrays)  # pyright: ignore[reportArgumentType] - its stub takes the names for flags
    assert load(file) == {}


async def test_the_memory_of_vectors_is_bounded(tmp_path: Path) -> None:
    """The least recently used vector is evicted first."""
    forgetful = Vectors(tmp_path / "none.npz", remembered=2)
    for text in ("one", "two", "one", "three"):
        await forgetful.of([text], "query")
    assert list(forgetful._remembered) == [name_of("one", "query"), name_of("three", "query")]
    forgetful.close()


async def test_the_same_text_is_computed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Concurrent requests share one inference, and a repeated text uses its result."""
    thrifty = Vectors(tmp_path / "none.npz")
    thrifty._cores = 1
    computed: list[str] = []
    compute = thrifty.compute

    def counting(text: str, kind: Kind) -> vectors.Vector:
        computed.append(text)
        return compute(text, kind)

    monkeypatch.setattr(thrifty, "compute", counting)
    await asyncio.gather(*(thrifty.of(["one", "two", "one"], "query") for _ in range(3)))
    assert sorted(set(computed)) == ["one", "two"]
    assert len(computed) <= 2 + thrifty._inference._max_workers  # two workers may start it at the same time
    thrifty.close()


def test_a_prefix_tells_a_question_from_an_answer(vectors: Vectors) -> None:
    """A text has different vectors as a query and as a passage."""
    query, passage = (vectors.compute("Can I pay by card?", kind) for kind in ("query", "passage"))
    assert 0.5 < nearness(query, passage) < 0.999


async def test_centred_vectors_tell_texts_apart_better(vectors: Vectors) -> None:
    """Centring moves unlike texts apart, and the vectors have unit length."""
    unlike = ["When are you open?", "The upload of my file fails."]
    plain = await vectors.of(unlike, "query")
    centred = await vectors.centred(unlike, "query")
    np.testing.assert_allclose(np.linalg.norm(centred, axis=1), 1, atol=1e-5)
    assert nearness(*centred) < 0.5 < nearness(*plain)


def test_a_nul_does_not_end_a_text(vectors: Vectors) -> None:
    """Text after a NUL counts."""
    assert nearness(vectors.compute("a\0 refund", "query"), vectors.compute("a", "query")) < 0.97


def test_a_long_text_is_cut(vectors: Vectors) -> None:
    """A long text is truncated to LONGEST characters, which bounds the time."""
    long = "refund " * 10_000
    np.testing.assert_array_equal(vectors.compute(long, "query"), vectors.compute(long[:LONGEST], "query"))

"""BM25 over arrays."""

import bm25s
import numpy as np
import numpy.typing as npt
import pytest

from graph.retrieval.postings import Postings

Texts = list[list[int]]


def texts(seed: int, count: int) -> Texts:
    """Texts of up to 40 of 60 terms, the first of them frequent; some have none."""
    random = np.random.default_rng(seed)
    return [(random.zipf(1.3, random.integers(0, 40)) % 60).tolist() for _ in range(count)]


def columns(some: Texts) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int32]]:
    return np.array([term for text in some for term in text], np.uint32), np.array([*map(len, some)], np.int32)


def test_scores_are_those_of_a_library() -> None:
    """bm25s is slow to build and can't be changed, but its scores are right."""
    some = texts(1, 200)
    library = bm25s.BM25()
    library.index((some, {str(term): term for term in range(60)}), create_empty_token=False, show_progress=False)
    postings = Postings.of(*columns(some))
    for asked in ([3], [0, 7, 19], [59, 1]):
        known = postings.known(asked)
        assert postings.scores(known) == pytest.approx(library.get_scores_from_ids(known), rel=1e-4)


def test_a_change_gives_what_making_them_anew_gives() -> None:
    """Rows go and others come, several times, and at the end all are gone."""
    some = texts(2, 50)
    postings = Postings.of(*columns(some))
    random = np.random.default_rng(3)
    for seed in range(4, 8):
        kept, more = random.random(len(some)) < 0.7, texts(seed, 10)
        postings = postings.changed(kept, *columns(more))
        some = [text for text, keep in zip(some, kept, strict=True) if keep] + more
        anew = Postings.of(*columns(some))
        for term in range(60):
            assert postings.scores([term]).tolist() == anew.scores([term]).tolist()
    postings = postings.changed(np.zeros(len(some), np.bool_), *columns([]))
    assert postings.known(list(range(60))) == []
    assert len(postings.scores([1])) == 0

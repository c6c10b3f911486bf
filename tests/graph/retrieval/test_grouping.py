"""Grouping by vectors."""

import numpy as np
import pytest

from graph.retrieval.grouping import Vectors, grouped
from graph.retrieval.units import units


def by_trying_all_pairs(vectors: Vectors, nearness: float) -> list[list[int]]:
    """Join the two nearest groups as long as they are near enough: what the chain does, as the textbook says it."""
    groups = [[row] for row in range(len(vectors))]
    near = vectors @ vectors.T
    while len(groups) > 1:
        means = {
            (a, b): float(near[np.ix_(groups[a], groups[b])].mean())
            for a in range(len(groups))
            for b in range(a + 1, len(groups))
        }
        a, b = max(means, key=lambda pair: means[pair])
        if means[a, b] < nearness:
            break
        groups[a] += groups.pop(b)
    return sorted(map(sorted, groups))


@pytest.mark.parametrize("seed", range(6))
def test_it_finds_the_same_groups_as_trying_all_pairs(seed: int) -> None:
    """For clouds of points of any density, and any threshold."""
    random = np.random.default_rng(seed)
    centres = random.normal(size=(6, 8))
    vectors = units([random.normal(centres[n % 6], 0.2 + seed / 3) for n in range(30)])
    for nearness in (0.1, 0.5, 0.8):
        assert grouped(vectors, nearness) == by_trying_all_pairs(vectors, nearness)


def test_equal_texts_are_one_group() -> None:
    """Also where all of them are equally near, so that no chain goes round in circles."""
    assert grouped(units([[1.0, 0.0]] * 5 + [[0.0, 1.0]] * 3), 0.5) == [[0, 1, 2, 3, 4], [5, 6, 7]]


@pytest.mark.parametrize(("vectors", "groups"), [([], []), ([[1.0, 2.0]], [[0]])])
def test_few_texts_are_no_trouble(vectors: list[list[float]], groups: list[list[int]]) -> None:
    """None, and one."""
    assert grouped(np.array(vectors, np.float32).reshape(-1, 2), 0.5) == groups


def test_thousands_of_texts_are_grouped() -> None:
    """Two thousand, of which each hundredth is about the same."""
    random = np.random.default_rng(1)
    centres = random.normal(size=(100, 64))
    vectors = units((centres[np.arange(2000) % 100] + random.normal(scale=0.2, size=(2000, 64))).tolist())
    groups = grouped(vectors, 0.5)
    assert [len(group) for group in groups] == [20] * 100
    assert all(len({row % 100 for row in group}) == 1 for group in groups)

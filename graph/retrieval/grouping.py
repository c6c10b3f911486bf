"""Groups texts by their vectors: agglomerative clustering with average linkage (UPGMA), by nearest-neighbour chains.

Two groups' nearness is the mean cosine of their members. The nearest ones are joined as long as they are near enough.
A chain of nearest neighbours finds the same groups as trying all pairs, in quadratic time (Murtagh 1983,
https://doi.org/10.1093/comjnl/26.4.354).
"""

import numpy as np
import numpy.typing as npt

Vectors = npt.NDArray[np.float32]
"""Vectors of length 1, one a row."""


def grouped(vectors: Vectors, nearness: float) -> list[list[int]]:
    """Return the rows of each group, whose halves are nearer than `nearness` to each other, wherever it is cut in two.

    It needs 4 bytes for each pair of rows: 100 MB for 5,000.
    """
    near = vectors @ vectors.T
    np.fill_diagonal(near, -np.inf)
    members = {row: [row] for row in range(len(vectors))}
    done: list[list[int]] = []
    chain: list[int] = []
    while members:
        if not chain:
            chain.append(next(iter(members)))
        last, before = chain[-1], chain[-2] if len(chain) > 1 else chain[-1]
        nearest = int(near[last].argmax())
        if near[last, before] >= near[last, nearest]:
            nearest = before  # of equal ones, or the chain could go round in circles
        if near[last, nearest] < nearness:  # nothing comes nearer by joining others
            done.append(members.pop(chain.pop()))
            _remove(near, last)
        elif nearest == before:
            joined = len(members[before]) * near[before] + len(members[last]) * near[last]
            members[before] += members.pop(last)
            near[before] = near[:, before] = joined / len(members[before])
            near[before, before] = -np.inf
            _remove(near, last)
            del chain[-2:]
        else:
            chain.append(nearest)
    return sorted(map(sorted, done))


def _remove(near: Vectors, row: int) -> None:
    near[row] = near[:, row] = -np.inf

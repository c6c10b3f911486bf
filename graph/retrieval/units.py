"""Vectors as rows of numpy's arrays."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from graph.retrieval.indexing import Vector


def units(vectors: Sequence[Vector]) -> npt.NDArray[np.float32]:
    """Return vectors of length 1 in the same directions, one a row; none may be all zeros."""
    rows = np.array(vectors, np.float64)
    rows /= np.abs(rows).max(axis=1, keepdims=True)  # so that no square overflows, or is 0
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return rows.astype(np.float32)


def greatest(values: npt.NDArray[np.float32], limit: int) -> list[int]:
    """Return where the `limit` greatest values are, the greatest first; equal ones stay in order."""
    limit = min(limit, len(values))
    if limit <= 0:
        return []
    candidates = np.flatnonzero(values >= np.partition(values, -limit)[-limit])
    order = np.argsort(-values[candidates], stable=True)
    return candidates[order][:limit].tolist()

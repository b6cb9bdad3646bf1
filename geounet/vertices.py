"""Vertices of rings, one after another in one array."""

import numpy as np
from numpy.typing import NDArray

from geounet.compiled import compiled


def keep_vertices(
    points: NDArray[np.float64], offsets: NDArray[np.int64], kept: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Leave vertices out of closed rings, and close these again.

    Args:
        points: (n, 2 or 3), ring after ring, each ending where it starts.
        offsets: Where rings start, and n.
        kept: (n,), False for vertices to leave out.

    Returns:
        What is left, as `points` and `offsets`.
    """
    return _keep_vertices(points, offsets, kept)


@compiled
def _keep_vertices(
    points: NDArray[np.float64], offsets: NDArray[np.int64], kept: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    sizes = np.zeros(len(offsets), dtype=np.int64)
    for ring in range(len(offsets) - 1):
        for i in range(offsets[ring], offsets[ring + 1] - 1):
            sizes[ring + 1] += kept[i]
        sizes[ring + 1] += sizes[ring + 1] > 0  # the closing point
    ends = np.cumsum(sizes)
    left, end = np.empty((ends[-1], points.shape[1])), 0
    for ring in range(len(offsets) - 1):
        if ends[ring + 1] == ends[ring]:
            continue
        for i in range(offsets[ring], offsets[ring + 1] - 1):
            if kept[i]:
                left[end] = points[i]
                end += 1
        left[end] = left[ends[ring]]
        end += 1
    return left, ends


def roll_rings(offsets: NDArray[np.int64], first: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return in which order to take the vertices of closed rings to start them elsewhere.

    Args:
        offsets: Where rings start, and how many vertices there are, closing ones included.
        first: For each ring, which of its vertices is to be its first.
    """
    sizes = np.diff(offsets)
    ring = np.repeat(np.arange(len(sizes)), sizes)
    position = np.arange(offsets[-1]) - offsets[ring]
    return offsets[ring] + (position + first[ring]) % (sizes - 1)[ring]


def as_complex(points: NDArray[np.float64]) -> NDArray[np.complex128]:
    """Return col + 1j·row of (n, 2) points: one number each, to be sorted and compared."""
    return points[:, 0] + 1j * points[:, 1]

"""Boundary IoU of two maps, for the blocks of a large scene; `metrics` has it for chips."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

BOUNDARY_PX = (1, 2, 3)
"""How far from a boundary is looked, in pixels; rising by one from one."""

Marked = NDArray[np.bool_]
"""(height, width)"""


def near_boundaries(
    one: NDArray[np.uint8], other: NDArray[np.uint8], known: Marked, count: int
) -> Iterator[tuple[int, int, Marked, Marked]]:
    """Yield which pixels count as near the boundary of a class in both maps, and in either.

    After Cheng et al. (2021), "Boundary IoU: improving object-centric image segmentation
    evaluation", arXiv:2103.16562: a pixel is near the boundary of its class if one of another class
    is in the square of 2 d + 1 pixels around it. The share of the first in the second is the
    boundary IoU. What nobody knows is no other class, and so is what lies beyond the array.

    Args:
        one: (height, width), class numbers from 0.
        other: Likewise, of the other map.
        known: (height, width), where both are known.
        count: How many classes there are.

    Yields:
        Distance in pixels, class number, and both masks; nothing where there is no boundary.
    """
    for number in range(count):
        inside = [known & (values == number) for values in (one, other)]
        reached = [known & ~marked for marked in inside]
        if not any(i.any() and r.any() for i, r in zip(inside, reached, strict=True)):
            continue
        for distance in BOUNDARY_PX:
            reached = [widened(marked) for marked in reached]
            near = [i & r for i, r in zip(inside, reached, strict=True)]
            yield distance, number, near[0] & near[1], near[0] | near[1]


def widened(marked: Marked) -> Marked:
    """Return what is marked and the eight pixels around each."""
    # Shifts of booleans: twenty times as fast as scipy's dilation.
    found = marked.copy()
    found[1:] |= marked[:-1]
    found[:-1] |= marked[1:]
    across = found.copy()
    across[:, 1:] |= found[:, :-1]
    across[:, :-1] |= found[:, 1:]
    return across

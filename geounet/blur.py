"""Where along a line its edge is blurred."""

import numpy as np
from numpy.typing import NDArray

from geounet.compiled import compiled_to_run_beside
from geounet.ragged import Lines, Offsets, Points

REACH_PX = 10.0
"""Pixels to both sides of a stretch in which half of the vertices have to be blurred for it to be:
single ones are, where a slope turns."""
SHORTEST_PX = 40.0
"""Pixels of a line below which its kind does not change: lines are not cut to shreds."""


def blurred_between(lines: Lines, wide_m: float) -> tuple[NDArray[np.bool_], bool]:
    """Return whether the edge is blurred between each vertex and the next.

    Args:
        lines: With widths.
        wide_m: Width from which an edge counts as blurred, metres.

    Returns:
        (vertices - 1,), whether of one line or not; and whether it changes along any line.
    """
    return _blurred(lines.points, lines.offsets, wide_m)


@compiled_to_run_beside
def _blurred(points: Points, offsets: Offsets, wide_m: float) -> tuple[NDArray[np.bool_], bool]:
    found = np.zeros(max(len(points) - 1, 0), dtype=np.bool_)
    changes = False
    for line in range(len(offsets) - 1):
        first, end = offsets[line], offsets[line + 1]
        wide = 0
        for i in range(first, end):
            if points[i, 2] >= wide_m:
                wide += 1
        if wide == 0:
            continue
        along = np.zeros(end - first)
        for i in range(1, end - first):
            step = points[first + i] - points[first + i - 1]
            along[i] = along[i - 1] + np.hypot(step[0], step[1])
        if wide == end - first or along[-1] < 2 * SHORTEST_PX:
            found[first : end - 1] = 2 * wide >= end - first
            continue
        own = found[first : end - 1]
        low = high = inside = 0
        for i in range(len(own)):
            while high < len(along) and along[high] <= along[i + 1] + REACH_PX:
                inside += points[first + high, 2] >= wide_m
                high += 1
            while along[low] < along[i] - REACH_PX:
                inside -= points[first + low, 2] >= wide_m
                low += 1
            own[i] = 2 * inside >= high - low
        # What is too short is of the kind of what is before it; at the beginning, of what is after.
        kind, start, begun = own[0], 0, False
        for i in range(1, len(own) + 1):
            if i < len(own) and own[i] == own[start]:
                continue
            if along[i] - along[start] >= SHORTEST_PX:
                if not begun:
                    own[:start] = own[start]
                    begun = True
                kind = own[start]
            elif begun:
                own[start:i] = kind
            start = i
        if not begun:
            own[:] = 2 * wide >= end - first
        changes = changes or (own != own[0]).any()
    return found, changes

"""Where rings start, which way they run, and in which order shapes are handed out."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geounet.compiled import compiled
from geounet.ragged import Lines, Offsets, Points


class Extents(NamedTuple):
    """What is known of lines."""

    first: NDArray[np.int64]
    """(lines,), the vertex that each is to start at: of a ring its smallest (row, col), of another
    line its first."""
    last_row: NDArray[np.float64]
    """The last row that each reaches."""
    twice_area: NDArray[np.float64]
    """Of rings, above 0 where they run counterclockwise with rows upward: around water, as lines
    do."""


@compiled
def measure(points: Points, offsets: Offsets) -> tuple[Offsets, Points, Points]:
    """Return what `Extents` says of lines (col, row, …)."""
    count = len(offsets) - 1
    first = np.empty(count, dtype=np.int64)
    last_row, twice_area = np.empty(count), np.empty(count)
    for line in range(count):
        start, stop = offsets[line], offsets[line + 1]
        closed = points[start, 0] == points[stop - 1, 0] and points[start, 1] == points[stop - 1, 1]
        least, last, area = start, points[start, 1], 0.0
        for i in range(start, stop):
            row = points[i, 1]
            last = max(last, row)
            if closed and (
                row < points[least, 1]
                or (row == points[least, 1] and points[i, 0] < points[least, 0])
            ):
                least = i
        # From the smallest vertex, and in one order: the same number wherever the ring begins.
        size = stop - start - 1
        x0, y0 = points[least, 0], points[least, 1]
        x1, y1 = 0.0, 0.0
        for step in range(1, size if closed else 0):
            i = least + step
            if i >= stop - 1:
                i -= size
            x2, y2 = points[i, 0] - x0, points[i, 1] - y0
            area += x1 * y2 - x2 * y1
            x1, y1 = x2, y2
        first[line], last_row[line], twice_area[line] = least, last, area
    return first, last_row, twice_area


@compiled
def begin_at(
    points: Points,
    offsets: Offsets,
    lines: Offsets,
    first: Offsets,
    begun: Points,
    places: Offsets,
) -> None:
    """Put lines into their places, rings among them beginning elsewhere.

    Args:
        points: (n, 2 or 3), of lines.
        offsets: Where each starts, and n.
        lines: Which to take.
        first: Of these, the vertex to begin at.
        begun: (m, 2 or 3), where they go; as many numbers of each point are taken.
        places: Of each line taken, where it starts there.
    """
    columns = begun.shape[1]
    for i in range(len(lines)):
        start, stop, head = offsets[lines[i]], offsets[lines[i] + 1], first[i]
        at, size = places[i], stop - start
        if head == start:
            begun[at : at + size] = points[start:stop, :columns]
            continue
        tail = stop - 1 - head  # what closes the ring is its first vertex again
        begun[at : at + tail] = points[head : stop - 1, :columns]
        begun[at + tail : at + size - 1] = points[start:head, :columns]
        begun[at + size - 1] = points[head, :columns]


def start_rings(lines: Lines) -> Lines:
    """Let closed lines start at their smallest (row, col)."""
    extents = Extents(*measure(lines.points, lines.offsets))
    begun, order = np.empty_like(lines.points), np.arange(len(lines))
    begin_at(lines.points, lines.offsets, order, extents.first, begun, lines.offsets)
    return Lines(begun, lines.offsets)


def in_order(parts: Sequence[tuple[Lines, NDArray[np.int64]]]) -> Lines:
    """Start rings at their smallest (row, col), and sort all by their last row, then by start.

    Args:
        parts: Lines, and which of them.
    """
    measured = [Extents(*measure(lines.points, lines.offsets)) for lines, _ in parts]
    firsts = [one.first[which] for one, (_, which) in zip(measured, parts, strict=True)]
    starts = [lines.points[first, :2] for first, (lines, _) in zip(firsts, parts, strict=True)]
    last_rows = [one.last_row[which] for one, (_, which) in zip(measured, parts, strict=True)]
    sizes = [np.diff(lines.offsets)[which] for lines, which in parts]
    col, row = np.concatenate(starts).T
    order = np.lexsort([col, row, np.concatenate(last_rows)])
    offsets = np.append(0, np.cumsum(np.concatenate(sizes)[order]))
    places = np.empty(len(order), dtype=np.int64)
    places[order] = offsets[:-1]
    begun, done = np.empty((offsets[-1], 3)), 0
    for (lines, which), first in zip(parts, firsts, strict=True):
        there = places[done : done + len(which)]
        begin_at(lines.points, lines.offsets, which, first, begun, there)
        done += len(which)
    return Lines(begun, offsets)

"""Lines without steps: vertices slide along the edges of the grid, between pixels' centres.

A vertex lies between the centres of a pixel of water and one of land, and stays there: so the line
still parts the same centres, crosses nothing, and no island grows together with another. On that
edge it slides to where the line bends less, by [1]_: a step that evens alternates with one that
takes back what evening shrinks, so islands keep their size. How far it goes is bounded; the idea of
bounding it by the grid is of [2]_.

References:
    .. [1] Taubin (1995), "A signal processing approach to fair surface design",
       doi:10.1145/218380.218473.
    .. [2] Gibson (1998), "Constrained elastic surface nets", doi:10.1007/BFb0056277.
"""

import numpy as np
import shapely
from numpy.typing import NDArray

from geounet.contours import Contours, Strip
from geounet.ragged import Geometries, Lines
from geounet.vertices import as_complex

PASSES = 10
EVENING, RESTORING = 0.5, -0.53
"""Shares of the way to between the neighbours, in turn: Taubin's λ and μ for a pass band of 0.1."""
REACH = 2 * PASSES + 1
"""Rows around a strip in which lines decide about vertices inside it."""
CLEAR = 1e-3
"""How near a vertex comes to a pixel's centre, in pixels; nearer only if it was before."""


def smooth(strip: Strip, lines: Geometries, most_m: float, metres: NDArray[np.float64]) -> "Moves":
    """Slide the vertices of lines to where they bend less.

    Args:
        strip: What the lines are drawn of.
        lines: LineStrings (col, row, …), whole or in pieces.
        most_m: How far a vertex may go.
        metres: (2, 2), takes steps (col, row) to metres.

    Returns:
        Where vertices are that moved. It is true of those at least `REACH` rows from where the
        strip ends inside the raster; vertices at nodata, at its border and at ends stay.
    """
    if not len(lines):
        return Moves(np.empty(0, dtype=np.complex128), np.empty((0, 2)))
    joined = shapely.get_parts(
        shapely.line_merge(shapely.multilinestrings(shapely.get_parts(lines)), directed=True)
    )
    points, line = shapely.get_coordinates(joined, return_index=True)
    before, after = _neighbours(joined, line)
    # Of the two coordinates one is that of centres, and stays.
    slides = points % 1 != 0.5
    free = (before != after) & (slides.sum(axis=1) == 1) & _amid_valid(strip, points, slides)
    index = np.flatnonzero(free)
    axis = slides[index].argmax(axis=1)
    start = points[index, axis]
    cell = np.floor(start - 0.5) + 0.5
    far = most_m / np.hypot(*metres)[axis]
    low = np.maximum(np.minimum(cell + CLEAR, start), start - far)
    high = np.minimum(np.maximum(cell + 1 - CLEAR, start), start + far)
    moved = points.copy()
    scale = metres.T
    for share in (EVENING, RESTORING) * PASSES:
        here = moved[index]
        to_before, to_after = moved[before[index]] - here, moved[after[index]] - here
        # By nearness: a straight line stays as it is, however its vertices are spread.
        near, far_off = _length(to_before @ scale), _length(to_after @ scale)
        total = near + far_off
        middle = to_before * (far_off / total)[:, None] + to_after * (near / total)[:, None]
        step = share * middle[np.arange(len(index)), axis]
        moved[index, axis] = np.clip(here[np.arange(len(index)), axis] + step, low, high)
    order = np.argsort(as_complex(points[index]))
    return Moves(as_complex(points[index])[order], moved[index][order])


def _length(steps: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.sqrt(steps[:, 0] ** 2 + steps[:, 1] ** 2)


def _neighbours(
    lines: Geometries, line: NDArray[np.intp]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the vertices before and after each; the same one twice for ends of open lines."""
    count = len(line)
    before, after = np.arange(count) - 1, np.arange(count) + 1
    offsets = np.searchsorted(line, np.arange(len(lines) + 1))
    first, last = offsets[:-1], offsets[1:] - 1
    closed = shapely.is_closed(lines)
    before[first] = np.where(closed, last - 1, first)
    after[first] = np.where(closed, first + 1, first)
    before[last] = np.where(closed, last - 1, last)
    after[last] = np.where(closed, first + 1, last)
    return before, after


def _amid_valid(
    strip: Strip, points: NDArray[np.float64], slides: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Return which points lie between pixels that with all six around are valid."""
    valid = np.isfinite(strip.values)
    # The pixel before, in columns and rows of `strip.values`.
    pixel = np.floor(points - 0.5).astype(np.intp) + 1
    pixel[:, 1] -= strip.top + 1
    height, width = valid.shape
    result = np.ones(len(points), dtype=bool)
    for along in (0, 1):
        for across in (-1, 0, 1):
            col = pixel[:, 0] + np.where(slides[:, 0], along, across)
            row = pixel[:, 1] + np.where(slides[:, 0], across, along)
            inside = (col >= 0) & (col < width) & (row >= 0) & (row < height)
            result &= inside
            result[inside] &= valid[row[inside], col[inside]]
    return result


class Moves:
    """Where vertices went."""

    def __init__(self, old: NDArray[np.complex128], new: NDArray[np.float64]) -> None:
        """Remember places.

        Args:
            old: (n,), col + 1j·row of vertices before, ascending.
            new: (n, 2), (col, row) after.
        """
        self._old, self._new = old, new

    def apply(self, contours: Contours) -> Contours:
        """Return pieces with their vertices where they are now."""
        if not len(self._old):
            return contours
        lines, rim_lines = (
            Lines(self._move(lines.points.copy()), lines.offsets)
            for lines in (contours.lines, contours.rim_lines)
        )
        rims, land_rims = (
            shapely.transform(shapes, self._move) for shapes in (contours.rims, contours.land_rims)
        )
        return contours._replace(lines=lines, rim_lines=rim_lines, rims=rims, land_rims=land_rims)

    def _move(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Move (n, 2 or 3) points in place, and return them."""
        places = as_complex(points)
        index = np.minimum(np.searchsorted(self._old, places), len(self._old) - 1)
        known = self._old[index] == places
        points[known, :2] = self._new[index[known]]
        return points

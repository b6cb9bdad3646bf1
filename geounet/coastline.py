"""From a field to lines: the waterline of a scene, without seams, to a fraction of a pixel."""

import numpy as np
import shapely
from numpy.typing import NDArray

from geounet.contours import Contours, Geometries
from geounet.joiner import Joiner
from geounet.vertices import as_complex, roll_rings


class LineSweep:
    """Joins the lines of strips, from the top down, and hands out each as soon as it is whole.

    Lines keep land on their left as one looks at the picture. A ring starts at its smallest
    (row, col). Lines are handed out in the order of their last row, then of their start: whatever
    the height of the strips, the same lines come in the same order.
    """

    def __init__(self) -> None:
        self._joiner = Joiner()

    def add(self, contours: Contours, sweep_row: float) -> Geometries:
        """Take the lines of the next strip.

        Args:
            contours: What is in the strip.
            sweep_row: Where the next strip begins.

        Returns:
            LineStrings (col, row, width) that are whole now.
        """
        closed = shapely.is_closed(contours.lines)
        pieces = contours.lines[~closed]
        points, owner = shapely.get_coordinates(pieces, return_index=True)
        is_end = (np.diff(owner, prepend=-1) != 0) | (np.diff(owner, append=-1) != 0)
        ends = as_complex(points[is_end])
        whole, groups = self._joiner.add(pieces, owner[is_end], ends, sweep_row)
        lines = np.concatenate([contours.lines[closed], _merge(whole, groups)])
        return in_order(start_rings(lines))


def _merge(pieces: Geometries, groups: NDArray[np.intp]) -> Geometries:
    """Join the pieces of each group end to end."""
    if not len(pieces):
        return pieces
    several = np.bincount(groups)[groups] > 1
    joined = shapely.multilinestrings(
        pieces[several], indices=np.unique(groups[several], return_inverse=True)[1]
    )
    return np.concatenate([pieces[~several], shapely.line_merge(joined, directed=True)])


def start_rings(lines: Geometries) -> Geometries:
    """Let closed lines start at their smallest (row, col)."""
    closed = shapely.is_closed(lines)
    if not closed.any():
        return lines
    points, ring = shapely.get_coordinates(lines[closed], include_z=True, return_index=True)
    offsets = np.searchsorted(ring, np.arange(closed.sum() + 1))
    col, row = points[:, 0], points[:, 1]
    # Few vertices are in the first row of their ring, and only these need be sorted.
    top = np.flatnonzero(row == np.minimum.reduceat(row, offsets[:-1])[ring])
    top = top[np.lexsort([col[top], ring[top]])]
    first = top[np.searchsorted(ring[top], np.arange(len(offsets) - 1))]
    rolled = points[roll_rings(offsets, first - offsets[:-1])]
    result = lines.copy()
    result[closed] = shapely.linestrings(rolled, indices=ring)
    return result


def in_order(lines: Geometries) -> Geometries:
    """Sort lines by their last row, then by where they start, row before column."""
    points, line = shapely.get_coordinates(lines, return_index=True)
    col, row = points[np.searchsorted(line, np.arange(len(lines)))].T
    return lines[np.lexsort([col, row, shapely.bounds(lines)[:, 3]])]


def median_widths(lines: Geometries) -> NDArray[np.float64]:
    """Return the median width of each line (col, row, width), in metres; NaN where not known."""
    points, line = shapely.get_coordinates(lines, include_z=True, return_index=True)
    known = points[:, 2] > 0
    widths = points[known, 2]
    sizes = np.bincount(line[known], minlength=len(lines))
    first = np.cumsum(sizes) - sizes
    result = np.full(len(lines), np.nan)
    # Lines with nearly as many vertices are the rows of one table: to sort those is far less work
    # than to sort all by line and width.
    room = np.ceil(2 ** (np.ceil(np.log2(np.maximum(sizes, 1)) * 4) / 4)).astype(np.int64)
    for columns in np.unique(room[sizes > 0]):
        members = np.flatnonzero((room == columns) & (sizes > 0))
        size, along = sizes[members, None], np.arange(columns)
        table = widths[first[members, None] + np.minimum(along, size - 1)]
        table = np.sort(np.where(along < size, table, np.inf), axis=1)
        middle = np.concatenate([(size - 1) // 2, size // 2], axis=1)
        result[members] = np.take_along_axis(table, middle, axis=1).sum(axis=1) / 2
    return result

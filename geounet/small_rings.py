"""Islands and ponds too small to be drawn, left out of lines and areas alike."""

import numpy as np
import shapely
from numpy.typing import NDArray

from geounet.ground import Ground
from geounet.ragged import Areas, Geometries
from geounet.vertices import as_complex

ROUNDING = 1e-9
"""The same ring begun elsewhere has an area with other last digits; at the limit, it stays."""


class SmallRings:
    """Finds closed lines around less than some area, and takes them out of what is drawn.

    What lies within goes, too: it is smaller still. A line that ends at nodata or at the scene's
    border stays, and so does one with nodata within: how large its island or pond is, nobody knows.

    What is held is two numbers for each ring that was left out, and two for each place where a
    hole of nodata may begin.
    """

    def __init__(self, min_area_m2: float, ground: Ground) -> None:
        self._least, self._ground = min_area_m2 * (1 - ROUNDING), ground
        self._gone = np.empty(0, dtype=np.complex128)
        self._holes = np.empty(0, dtype=np.complex128)

    def see(self, holes: NDArray[np.complex128]) -> None:
        """Learn where nodata is, by `Strip.holes`, before lines end that may surround it."""
        self._holes = np.concatenate([self._holes, holes])

    def of_lines(self, lines: Geometries) -> Geometries:
        """Return lines (col, row, …) less small rings; rings start at their smallest (row, col)."""
        closed = np.flatnonzero(shapely.is_closed(lines))
        if not closed.size:
            return lines
        points, line = shapely.get_coordinates(lines[closed], return_index=True)
        rings = np.asarray(shapely.polygons(shapely.linearrings(points, indices=line)))
        small = self._ground.areas_m2(Areas.of(rings)) < self._least
        closed, rings = closed[small], rings[small]
        if not closed.size:
            return lines
        around = np.unique(self._tree(rings).query(rings, predicate="contains")[0])
        closed = np.delete(closed, around)
        self._gone = np.union1d(self._gone, first_vertices(lines[closed]))
        return np.delete(lines, closed)

    def _tree(self, rings: Geometries) -> shapely.STRtree:
        """Return the holes in the rows of some rings; they come in the order of rows."""
        bounds = shapely.bounds(rings)
        rows = self._holes.imag
        start, stop = np.searchsorted(rows, [bounds[:, 1].min(), bounds[:, 3].max()])
        near = self._holes[start : stop + 1]
        return shapely.STRtree(np.asarray(shapely.points(near.real, near.imag)))

    def of_areas(self, areas: Geometries) -> Geometries:
        """Return polygons (col, row) without small ones and small holes."""
        if not len(areas) or not len(self._gone):
            return areas
        kind, points, (rings, offsets) = shapely.to_ragged_array(areas)
        stays = ~np.isin(ring_keys(points, rings), self._gone)
        outer = np.zeros(len(stays), dtype=bool)
        outer[offsets[:-1]] = True
        area = np.searchsorted(offsets, np.arange(len(stays)), side="right") - 1
        drawn = stays[offsets[:-1]]
        stays &= drawn[area]
        if stays.all():
            return areas
        sizes = np.diff(rings)
        points = points[np.repeat(stays, sizes)]
        new_rings = np.append(0, np.cumsum(sizes[stays]))
        new_offsets = np.append(0, np.cumsum(np.bincount(area[stays], minlength=len(areas))[drawn]))
        return shapely.from_ragged_array(kind, points, (new_rings, new_offsets))


def first_vertices(lines: Geometries) -> NDArray[np.complex128]:
    """Return where lines start, col + 1j·row."""
    points, line = shapely.get_coordinates(lines, return_index=True)
    return as_complex(points[np.searchsorted(line, np.arange(len(lines)))])


def ring_keys(points: NDArray[np.float64], rings: NDArray[np.integer]) -> NDArray[np.complex128]:
    """Return the vertex of each ring that a line starts at if it is that ring: its smallest.

    Args:
        points: (n, 2), (col, row), ring after ring.
        rings: Where rings start, and n.
    """
    ring = np.repeat(np.arange(len(rings) - 1), np.diff(rings))
    order = np.lexsort([points[:, 0], points[:, 1], ring])
    return as_complex(points[order[rings[:-1]]])

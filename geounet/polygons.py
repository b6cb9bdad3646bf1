"""From a field to areas: water whose outline is the waterline, and pixel edges at nodata."""

import numpy as np
import shapely
from numpy.typing import NDArray

from geounet.contours import Contours, Geometries, Joiner, Strip, keep_vertices


class AreaSweep:
    """Joins the areas of strips, from the top down, and hands out each as soon as it is whole.

    Areas are valid polygons whose outlines and holes run as the lines do, land on the left; else
    they are in the normal form of `shapely.normalize`. They are handed out in the order of their
    last row, then of their start: whatever the height of the strips, the same.
    """

    def __init__(self) -> None:
        self._joiner = Joiner()
        self._sides = np.empty(0, dtype=np.complex128)

    def add(self, contours: Contours, strip: Strip) -> Geometries:
        """Take the areas of the next strip.

        Args:
            contours: What is in the strip.
            strip: The strip itself.

        Returns:
            Polygons (col, row) that are whole now.
        """
        pieces = contours.areas
        points, owners = shapely.get_coordinates(pieces, return_index=True)
        # Around the centre of a valid pixel all is valid, so pieces of water that share one are
        # parts of one area; and those that share an edge share a centre.
        centres = (points % 1 == 0.5).all(axis=1)
        shared = points[centres] @ (1, 1j)
        whole, groups = self._joiner.add(pieces, owners[centres], shared, strip.sweep_row)
        areas = in_order(*_merge(whole, groups, self._sides))
        self._sides = np.concatenate([self._sides, strip.sides()])
        return areas


def _merge(
    pieces: Geometries, groups: NDArray[np.intp], sides: NDArray[np.complex128]
) -> tuple[Geometries, NDArray[np.float64]]:
    """Dissolve the pieces of each group; also return the last row of the group of each area."""
    if not len(pieces):
        return pieces, np.empty(0)
    last_row = np.full(groups[-1] + 1, -np.inf)
    np.maximum.at(last_row, groups, shapely.bounds(pieces)[:, 3])
    several = np.bincount(groups)[groups] > 1
    # Where two pixels of nodata touch at a corner, so may the outline touch itself.
    points, owner = shapely.get_coordinates(pieces, return_index=True)
    at_corner = np.zeros(len(pieces), dtype=bool)
    at_corner[owner[(points % 1 == 0).all(axis=1)]] = True
    several[at_corner & ~several] = ~shapely.is_valid(pieces[at_corner & ~several])
    members, number = np.unique(groups[several], return_inverse=True)
    collected = np.asarray(shapely.multipolygons(pieces[several], indices=number))
    dissolved = shapely.coverage_union_all(collected[:, None], axis=1)
    parts, owner = shapely.get_parts(dissolved, return_index=True)
    areas = np.concatenate([pieces[~several], _straighten(parts, sides)])
    return areas, last_row[np.concatenate([groups[~several], members[owner]])]


def _straighten(areas: Geometries, sides: NDArray[np.complex128]) -> Geometries:
    """Leave out the vertices that only strips have made, on straight edges of pixels."""
    if not len(areas):
        return areas
    kind, points, (rings, area_offsets) = shapely.to_ragged_array(areas)
    kept = ~np.isin(points @ (1, 1j), sides)
    points, ring_offsets = keep_vertices(points, rings.astype(np.int64), kept)
    return shapely.from_ragged_array(kind, points, (ring_offsets, area_offsets))


def in_order(areas: Geometries, last_row: NDArray[np.float64]) -> Geometries:
    """Normalise areas, and sort them by `last_row`, then by their outline's first points."""
    # With rows downward, clockwise to the eye is counterclockwise to shapely.
    areas = shapely.orient_polygons(shapely.normalize(areas), exterior_cw=False)
    points, owner = shapely.get_coordinates(areas, return_index=True)
    first = np.searchsorted(owner, np.arange(len(areas)))
    # Two areas may start where they touch, at a corner of nodata, but then go different ways.
    (col, row), (next_col, next_row) = points[first].T, points[first + 1].T
    return areas[np.lexsort([next_col, next_row, col, row, last_row])]

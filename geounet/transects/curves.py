"""Lines of any CRS as geodesic pieces: whatever happens after that happens in true metres."""

from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer

from geounet.distances import Coordinates, Pieces
from geounet.vectors import LINE_TYPES, WGS84, Geometries

GEOD = Geod(ellps="WGS84")
LONGEST_M = 200.0
"""Longer edges are cut: what is straight in one CRS is bent in another, by L² tan(latitude) / 8R,
which is a millimetre and a half at 60° for this length."""
METRES_PER_DEGREE = 111_320.0


class LineParts(NamedTuple):
    """Simple lines, taken out of whatever collects them."""

    lines: Geometries
    feature: NDArray[np.intp]
    """(n,), which of the shapes each is of."""
    others: int
    """Shapes, or parts of them, that are no lines."""


def line_parts(shapes: Geometries) -> LineParts:
    """Take collections apart; heights are dropped, empty shapes and what is no line left out."""
    parts, feature = shapely.get_parts(shapes, return_index=True)
    while (shapely.get_type_id(parts) > 3).any():  # collections of collections
        parts, index = shapely.get_parts(parts, return_index=True)
        feature = feature[index]
    there = ~shapely.is_missing(parts) & ~shapely.is_empty(parts)
    is_line = there & np.isin(shapely.get_type_id(parts), LINE_TYPES)
    others = int((there & ~is_line).sum())
    return LineParts(shapely.force_2d(parts[is_line]), feature[is_line], others)


def geodesic_pieces(lines: Geometries, crs: CRS) -> Pieces:
    """Bring lines to longitude and latitude (WGS 84), straight in their own CRS in between.

    Args:
        lines: Simple lines in `crs`.
        crs: What they are in. A line of longitudes that jumps by more than half a turn goes the
            short way, across 180°.

    Returns:
        Pieces of `LONGEST_M` at most, by (longitude, latitude); those that have no place on the
        Earth are left out.
    """
    pieces = Pieces.from_lines(lines)
    if crs.is_geographic:
        # Those alone: an end that is off in its last bit no longer meets the next piece.
        turns = np.rint((pieces.end - pieces.start)[:, 0] / 360)
        short = np.column_stack((360 * turns, np.zeros(len(turns))))
        pieces = Pieces(pieces.start, pieces.end - short, pieces.line)
        longest = LONGEST_M / METRES_PER_DEGREE
    else:
        longest = LONGEST_M / (crs.axis_info[0].unit_conversion_factor if crs.axis_info else 1.0)
    transformer = Transformer.from_crs(crs, WGS84, always_xy=True)

    def to_lonlat(xy: Coordinates) -> Coordinates:
        return np.column_stack(transformer.transform(xy[:, 0], xy[:, 1]))

    finite = np.isfinite(np.hstack((pieces.start, pieces.end))).all(axis=1)
    moved = pieces.keep(np.asarray(finite)).subdivided(longest).transformed(to_lonlat)
    placed = np.isfinite(np.hstack((moved.start, moved.end))).all(axis=1)
    return moved.keep(np.asarray(placed & (moved.start != moved.end).any(axis=1)))


class LocalPlane:
    """A plane around some places on which lines are looked up, without poles or 180° in the way.

    Lambert's equal-area projection; nothing is measured on it.
    """

    def __init__(self, lonlat: Coordinates) -> None:
        lon, lat = np.radians(lonlat).T
        # The mean on the sphere: a mean of longitudes has no meaning across 180°.
        x, y = (np.cos(lat) * np.cos(lon)).mean(), (np.cos(lat) * np.sin(lon)).mean()
        z = np.sin(lat).mean()
        centre_lon = np.degrees(np.arctan2(y, x))
        centre_lat = np.degrees(np.arctan2(z, np.hypot(x, y)))
        crs = CRS.from_proj4(
            f"+proj=laea +lat_0={centre_lat:.6f} +lon_0={centre_lon:.6f} +datum=WGS84 +units=m"
        )
        self._transformer = Transformer.from_crs(WGS84, crs, always_xy=True)

    def place(self, lonlat: Coordinates) -> Coordinates:
        """Take longitude and latitude to the plane; inf where they have no place."""
        return np.column_stack(self._transformer.transform(lonlat[:, 0], lonlat[:, 1]))

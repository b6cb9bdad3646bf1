"""Lines and areas brought to another CRS whole: edges bend with it, and none runs round the Earth.

Each shape becomes one shape, in the order they came, so that attributes stay beside them. An edge
that two shapes share is divided at the same places in both, whichever way they run along it.
"""

import logging
from itertools import pairwise
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS

from geounet.errors import OutputError
from geounet.vectors import Geometries, simple_parts, straight_length, transformer

logger = logging.getLogger(__name__)

DEGREES_STEP = 1e-7
"""To which coordinates in degrees are rounded: a centimetre."""
LATTICE = 33
"""Points along each side of a grid at which a CRS is tried for seams."""
MOST_BEND = 0.25
"""How far the middle of an edge of that lattice may lie off, as a share of the edge."""
LEAST_PX = 0.5
"""Edges so short are not divided, whatever the CRS does: at a pole there would be no end to it."""


class Reprojection:
    """The way from one CRS to another, for shapes drawn on a grid."""

    def __init__(self, source: CRS, target: CRS, geobox: GeoBox, *, whole: bool = True) -> None:
        """Plan it.

        Args:
            source: CRS of the shapes.
            target: CRS that they are to be in.
            geobox: The grid, in `source`.
            whole: Whether longitudes go on past 180° where the grid does, so that nothing is torn,
                and polygons are made valid; else they are as `split_at_180` takes them.

        Raises:
            OutputError: The CRS has a seam or a pole within the grid, where shapes would be torn.
        """
        self._name = target.to_string() if target.to_epsg() else target.name
        self._transformer = transformer(source, target)
        a, b, _, d, e, _, *_ = geobox.transform
        least = LEAST_PX * min(np.hypot(a, d), np.hypot(b, e))
        same = source.equals(target, ignore_axis_order=True)
        self._longest = np.inf if same else max(straight_length(source, target, geobox), least)
        self._whole = whole
        self._middle: float | None = None
        if whole and target.is_geographic:
            height, width = geobox.shape
            middle = geobox.transform @ (width / 2, height / 2)
            self._middle = float(self._transformer.transform(*middle)[0])
        if whole and not same:
            self._refuse_seams(geobox)

    def _refuse_seams(self, geobox: GeoBox) -> None:
        """Raise where neighbours in the grid are no neighbours in the CRS."""
        height, width = geobox.shape
        # Every other point is the middle of an edge between its neighbours.
        col, row = np.meshgrid(
            np.linspace(0, width, 2 * LATTICE - 1), np.linspace(0, height, 2 * LATTICE - 1)
        )
        a, b, c, d, e, f, *_ = geobox.transform
        moved = self._move(
            np.column_stack(((a * col + b * row + c).ravel(), (d * col + e * row + f).ravel()))
        )
        if not np.isfinite(moved).all():
            return  # told of the shape that has no place there, if one lies so
        places = (moved[:, 0] + 1j * moved[:, 1]).reshape(col.shape)
        for lines in (places[::2], places[:, ::2].T):
            start, middle, end = lines[:, :-2:2], lines[:, 1::2], lines[:, 2::2]
            off = np.abs(middle - (start + end) / 2)
            if (off > MOST_BEND * np.abs(end - start)).any():
                raise OutputError(
                    f"{self._name} has a seam or a pole within the scene: lines would be torn. "
                    "Give another --crs, or leave it out for the scene's own."
                )

    def __call__(self, shapes: Geometries) -> Geometries:
        """Return the shapes in the new CRS.

        Raises:
            OutputError: One of them has no place there.
        """
        if not len(shapes):
            return shapes
        moved = shapely.transform(densify(shapes, self._longest), self._move)
        if not np.isfinite(shapely.bounds(moved)).all():
            raise OutputError(
                f"{self._name} has no place for a part of the scene. "
                "Give another --crs, or leave it out for the scene's own."
            )
        return _mended(moved, self._name) if self._whole else moved

    def _move(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = self._transformer.transform(*points.T)
        if self._middle is not None:
            x = np.where(x - self._middle > 180, x - 360, x)
            x = np.where(x - self._middle < -180, x + 360, x)
        return np.column_stack((x, y))


def densify(shapes: Geometries, longest: float) -> Geometries:
    """Divide edges longer than `longest` evenly; what is short enough stays as it is.

    Args:
        shapes: (n,) all LineStrings or all Polygons.
        longest: In units of the coordinates.
    """
    kind, points, offsets = shapely.to_ragged_array(shapes, include_z=False)
    steps = np.diff(points, axis=0)
    parts = np.maximum(np.ceil(np.hypot(*steps.T) / longest), 1).astype(np.intp)
    parts[offsets[0][1:-1] - 1] = 1  # from the end of a line or ring to the next
    if (parts == 1).all():
        return shapes
    edge = np.repeat(np.arange(len(parts)), parts)
    place = np.arange(len(edge)) - np.repeat(np.cumsum(parts) - parts, parts)
    # From the same end, whichever way a shape runs, or the last digits of neighbours would differ.
    x, y = steps.T
    back = ((x < 0) | ((x == 0) & (y < 0)))[edge]
    start, end = points[edge], points[edge + 1]
    share = (np.where(back, parts[edge] - place, place) / parts[edge])[:, None]
    low, high = np.where(back[:, None], end, start), np.where(back[:, None], start, end)
    dense = np.where(place[:, None] == 0, start, low + share * (high - low))
    first = np.concatenate([[0], np.cumsum(parts)])  # where each old vertex is now
    outer = np.append(first[offsets[0][:-1]], len(dense) + 1)
    return shapely.from_ragged_array(kind, np.vstack((dense, points[-1:])), (outer, *offsets[1:]))


def _mended(shapes: Geometries, crs: str) -> Geometries:
    """Return polygons that are valid; where one falls apart its largest part."""
    broken = np.flatnonzero(~shapely.is_valid(shapes) & (shapely.get_dimensions(shapes) == 2))
    if broken.size:
        logger.warning("%d polygons cross themselves in %s; mended.", broken.size, crs)
        shapes = shapes.copy()
        for i in broken:
            parts = simple_parts(shapely.make_valid(shapes[i : i + 1]))
            shapes[i] = max(parts, key=shapely.area)
    return shapes


def split_at_180(shapes: Geometries) -> Geometries:
    """Cut shapes in longitude and latitude where they cross 180°, as RFC 7946 §3.1.9 asks.

    Two vertices more than 180° apart are taken to be near each other, on both sides of it. A ring
    around a pole comes to the whole cap. Polygons are right-handed: exteriors counterclockwise.

    Args:
        shapes: (n,) LineStrings or Polygons; longitudes may go on past 180°.

    Returns:
        (n,) the same, MultiLineStrings and MultiPolygons where they were cut.
    """
    points, owner = shapely.get_coordinates(shapes, return_index=True)
    far = np.abs(np.diff(points[:, 0])) > 180
    crossing = np.zeros(len(shapes), dtype=bool)
    crossing[owner[1:][far & (owner[1:] == owner[:-1])]] = True
    crossing[owner[np.abs(points[:, 0]) > 180]] = True
    if crossing.any():
        shapes = shapes.copy()
        for i in np.flatnonzero(crossing):
            is_line = shapely.get_dimensions(shapes[i]) == 1
            shapes[i] = _split_line(shapes[i]) if is_line else _split_polygon(shapes[i])
    return shapely.orient_polygons(_mended(shapes, "WGS 84"))


def _unwrapped(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (n, 2) with longitudes that go on where they jumped."""
    turns = np.round(np.diff(points[:, 0]) / 360)
    points = points.copy()
    points[1:, 0] -= 360 * np.cumsum(turns)
    return points


def _split_line(line: Any) -> Any:
    points = _unwrapped(shapely.get_coordinates(line))
    parts = []
    for start, end in pairwise(points):
        low, high = sorted((start[0], end[0]))
        # 180°, 540° … between the two, in the order they are met.
        odd = np.arange(np.floor((low - 180) / 360) + 1, np.ceil((high - 180) / 360)) * 360 + 180
        cuts = odd if end[0] >= start[0] else odd[::-1]
        between = [start + (cut - start[0]) / (end[0] - start[0]) * (end - start) for cut in cuts]
        ends = [start, *between, end]
        parts += [np.array(pair) for pair in pairwise(ends)]
    edges = np.array(parts)  # (edges, 2, 2)
    turn = np.round(edges[:, :, 0].mean(axis=1) / 360)
    edges[:, :, 0] -= 360 * turn[:, None]
    starts = np.concatenate([[0], np.flatnonzero(np.diff(turn)) + 1, [len(edges)]])
    lines = [
        shapely.LineString(np.vstack([edges[a:b, 0], edges[b - 1 : b, 1]]))
        for a, b in pairwise(starts)
    ]
    return lines[0] if len(lines) == 1 else shapely.MultiLineString(lines)


def _split_polygon(polygon: Any) -> Any:
    inside = _split_ring(polygon.exterior)
    if polygon.interiors:
        inside = shapely.difference(
            inside, shapely.union_all([_split_ring(ring) for ring in polygon.interiors])
        )
    # Where parts only touch, points and lines are left over.
    parts = shapely.get_parts(inside)
    parts = parts[shapely.get_dimensions(parts) == 2]
    return parts[0] if len(parts) == 1 else shapely.multipolygons(parts)


def _split_ring(ring: Any) -> Any:
    """Return what a ring encloses, between -180° and 180°."""
    points = _unwrapped(shapely.get_coordinates(ring))
    if abs(points[-1, 0] - points[0, 0]) > 180:  # around a pole, the one it is nearer to
        pole = np.copysign(90.0, points[:, 1].mean())
        points = np.vstack([points, [points[-1, 0], pole], [points[0, 0], pole], points[:1]])
    whole = shapely.make_valid(shapely.polygons(points))
    left, _, right, _ = shapely.bounds(whole)
    parts: list[Any] = []
    for turn in np.arange(np.round(left / 360), np.round(right / 360) + 1) * 360:
        part = shapely.intersection(whole, shapely.box(turn - 180, -90, turn + 180, 90))
        parts.append(shapely.transform(part, lambda xy, by=turn: xy - np.array([by, 0.0])))
    return shapely.union_all(parts)


def round_degrees(shapes: Geometries) -> Geometries:
    """Round coordinates to `DEGREES_STEP`; polygons that would cross themselves are mended.

    Where hardly anything would be left of a shape, it stays as it is.
    """
    rounded = shapely.transform(shapes, lambda xy: np.round(xy, 7))
    broken = ~shapely.is_valid(rounded) & (shapely.get_dimensions(shapes) == 2)
    if broken.any():
        mended = shapely.set_precision(shapes[broken], DEGREES_STEP)
        kept = shapely.get_dimensions(mended) == 2
        rounded[broken] = np.where(kept & ~shapely.is_empty(mended), mended, shapes[broken])
    return rounded

"""How far lines lie from one another on the ground, in true metres.

All geometry happens on one plane that has no distortion at the centre of the scene and keeps
angles, so that the nearest point there is the nearest point on the Earth; the distances of the
pairs so found are then measured on the ellipsoid. Lines are arrays of straight pieces: no loop
runs over features or points.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Geod, Transformer
from pyproj.enums import TransformDirection

Coordinates = NDArray[np.float64]
"""(n, 2), x and y."""

WGS84 = CRS.from_epsg(4326)
ASKED = 2**16
"""Points asked for at a time: as objects of shapely each takes ten times its coordinates."""
STATISTICS = ("mean", "median", "rmse", "p95", "mean_signed", "median_signed")
FARTHER = 1.02
"""How much farther than asked is searched on the plane, whose scale grows away from its centre, by
2 % at 1270 km; what is asked for is then judged by true metres."""


class Plane:
    """A conformal plane around a scene, in metres (transverse Mercator, true to scale there)."""

    def __init__(self, geobox: GeoBox) -> None:
        if geobox.crs is None:
            raise ValueError("the grid has no CRS")
        self.geobox, self._grid_crs = geobox, geobox.crs.proj
        height, width = geobox.shape
        centre = place(geobox.transform, np.array([[width / 2, height / 2]]))
        to_geographic = Transformer.from_crs(self._grid_crs, WGS84, always_xy=True)
        self._centre = centre[0]
        lon, lat = to_geographic.transform(*self._centre)
        self.crs = CRS.from_proj4(
            f"+proj=tmerc +lat_0={lat:.9f} +lon_0={lon:.9f} +k=1 +datum=WGS84 +units=m"
        )
        self._transformers: dict[CRS, Transformer] = {}
        self._geod = Geod(ellps="WGS84")

    def from_crs(self, crs: CRS) -> Callable[[Coordinates], Coordinates]:
        """Return what takes coordinates of `crs` to the plane; inf where they have no place."""
        transform = self._transformer(crs).transform
        return lambda xy: np.column_stack(transform(xy[:, 0], xy[:, 1]))

    def to_crs(self, crs: CRS) -> Callable[[Coordinates], Coordinates]:
        """Return what takes coordinates on the plane to `crs`."""
        transform = self._transformer(crs).transform
        back = TransformDirection.INVERSE
        return lambda xy: np.column_stack(transform(xy[:, 0], xy[:, 1], direction=back))

    def _transformer(self, crs: CRS) -> Transformer:
        if crs not in self._transformers:  # a tenth of a second each
            self._transformers[crs] = Transformer.from_crs(crs, self.crs, always_xy=True)
        return self._transformers[crs]

    def from_pixels(self, pixels: Coordinates) -> Coordinates:
        """Take (col, row), from the outer corner of the first pixel, to the plane."""
        return self.from_crs(self._grid_crs)(place(self.geobox.transform, pixels))

    def to_pixels(self, xy: Coordinates) -> Coordinates:
        """Return (col, row), from the outer corner of the first pixel."""
        ground = self.to_crs(self._grid_crs)(xy)
        if self._grid_crs.is_geographic:  # a grid across 180° runs on past it
            ground[:, 0] = self._centre[0] + (ground[:, 0] - self._centre[0] + 180) % 360 - 180
        return place(~self.geobox.transform, ground)

    @property
    def pixel_m(self) -> float:
        """Side of a square as large as the scene's central pixel, in metres."""
        height, width = self.geobox.shape
        middle = np.array([width // 2, height // 2], dtype=np.float64)
        square = self.from_pixels(middle + np.array([[0, 0], [1, 0], [1, 1], [0, 1]]))
        return float(np.sqrt(shapely.area(shapely.polygons(square))))

    def bounds(self, margin: float) -> tuple[float, float, float, float]:
        """Return (left, bottom, right, top) of the scene on the plane, wider by `margin` metres."""
        outline = self.from_pixels(np.asarray(self.geobox.boundary(64), dtype=np.float64))
        left, bottom = outline.min(axis=0) - margin
        right, top = outline.max(axis=0) + margin
        return float(left), float(bottom), float(right), float(top)

    def metres(self, start: Coordinates, end: Coordinates) -> NDArray[np.float64]:
        """Return the geodesic distance of each pair of points, (n,)."""
        to_degrees = self.to_crs(WGS84)
        return np.asarray(self._geod.inv(*to_degrees(start).T, *to_degrees(end).T)[2])


def place(transform: Affine, xy: Coordinates) -> Coordinates:
    """Apply a transform to coordinates: (col, row) → (x, y)."""
    matrix = np.array([[transform.a, transform.d], [transform.b, transform.e]])
    return xy @ matrix + [transform.c, transform.f]


@dataclass(frozen=True)
class Pieces:
    """Straight directed pieces of lines, in the order in which they follow one another."""

    start: Coordinates
    end: Coordinates
    line: NDArray[np.intp]
    """(n,), which line each piece is of; not falling."""

    @classmethod
    def from_lines(cls, lines: NDArray[np.object_]) -> Self:
        """Take lines, rings and collections of them apart."""
        vertices, line = shapely.get_coordinates(shapely.get_parts(lines), return_index=True)
        follows = (line[1:] == line[:-1]) & (vertices[1:] != vertices[:-1]).any(axis=1)
        return cls(vertices[:-1][follows], vertices[1:][follows], line[:-1][follows])

    def __len__(self) -> int:
        return len(self.line)

    @property
    def length(self) -> NDArray[np.float64]:
        """(n,), in the unit of the coordinates."""
        return np.hypot(*(self.end - self.start).T)

    def keep(self, which: NDArray[np.bool_]) -> Self:
        """Return the pieces that are marked, in their order."""
        return type(self)(self.start[which], self.end[which], self.line[which])

    def near(self, bounds: tuple[float, float, float, float]) -> Self:
        """Return the pieces whose bounding box touches `bounds` (left, bottom, right, top)."""
        left, bottom, right, top = bounds
        low, high = np.minimum(self.start, self.end), np.maximum(self.start, self.end)
        x, y = (low[:, 0] <= right) & (high[:, 0] >= left), (low[:, 1] <= top)
        return self.keep(x & y & (high[:, 1] >= bottom) & np.isfinite(high).all(axis=1))

    def subdivided(self, longest: float) -> Self:
        """Cut pieces evenly so that none is longer than `longest`.

        A line that is straight in one projection is bent in another.
        """
        times = np.maximum(1, np.ceil(self.length / longest)).astype(np.intp)
        piece = np.repeat(np.arange(len(self)), times)
        nth = np.arange(len(piece)) - np.repeat(np.cumsum(times) - times, times)
        start, step = self.start[piece], ((self.end - self.start) / times[:, None])[piece]
        last = nth + 1 == times[piece]  # meets the next piece to the last bit
        end = np.where(last[:, None], self.end[piece], start + step * (nth + 1)[:, None])
        return type(self)(start + step * nth[:, None], end, self.line[piece])

    def reversed(self) -> Self:
        """Return the same lines, run through from end to start."""
        line = self.line.max(initial=0) - self.line[::-1]
        return type(self)(self.end[::-1], self.start[::-1], line)

    def transformed(self, function: Callable[[Coordinates], Coordinates]) -> Self:
        """Return the same pieces with `function` applied to their ends."""
        return type(self)(function(self.start), function(self.end), self.line)


class Points(NamedTuple):
    """Points at even steps along lines."""

    xy: Coordinates
    step: NDArray[np.float64]
    """(n,), the length of line that each stands for."""
    right: Coordinates
    """Unit vectors to the right of the line: towards the water, of a line with land on its left."""
    line: NDArray[np.intp]
    """(n,), which line each is on, as the pieces have it; not falling."""

    def keep(self, which: NDArray[np.bool_]) -> "Points":
        """Return the points that are marked, in their order."""
        return Points(self.xy[which], self.step[which], self.right[which], self.line[which])


def points_along(pieces: Pieces, step: float) -> Points:
    """Spread points along lines, each in the middle of an equal share of its line.

    Args:
        pieces: The lines.
        step: Distance between points; each line's own differs so that a whole number fits.

    Returns:
        At least one point of every line.
    """
    if not len(pieces):
        return Points(np.empty((0, 2)), np.empty(0), np.empty((0, 2)), np.empty(0, np.intp))
    length = pieces.length
    first = np.flatnonzero(np.diff(pieces.line, prepend=-1))  # of each line
    totals = np.add.reduceat(length, first)
    counts = np.maximum(1, np.rint(totals / step)).astype(np.intp)
    line = np.repeat(np.arange(len(counts)), counts)
    nth = np.arange(len(line)) - np.repeat(np.cumsum(counts) - counts, counts)

    run = np.concatenate(([0.0], np.cumsum(length)))  # at the start of each piece
    position = run[first][line] + (nth + 0.5) * (totals / counts)[line]
    piece = np.searchsorted(run, position, side="right") - 1
    last = np.append(first[1:], len(length)) - 1
    piece = np.clip(piece, first[line], last[line])
    direction = ((pieces.end - pieces.start) / length[:, None])[piece]
    along = (position - run[piece])[:, None]
    right = np.column_stack((direction[:, 1], -direction[:, 0]))
    xy = pieces.start[piece] + along * direction
    return Points(xy, (totals / counts)[line], right, pieces.line[piece])


class Nearest(NamedTuple):
    """The nearest points on some lines, as far as there is one within reach."""

    found: NDArray[np.bool_]
    """(n,)"""
    xy: Coordinates
    """NaN where none was found."""
    side: NDArray[np.int8]
    """(n,), 1 where the point asked for lies right of the line, -1 left, 0 on it or none found."""
    piece: NDArray[np.intp]
    """(n,), which of the pieces it is on; -1 where none was found."""


def nearest_on(pieces: Pieces, xy: Coordinates, *, within: float) -> Nearest:
    """Find the nearest point on lines, and on which side of them each point lies.

    Beside a vertex, the side is that of the sum of the normals of the pieces that meet there,
    which is right for sharp corners too [1]_.

    Args:
        pieces: The lines.
        xy: Points.
        within: Search no further, in the unit of the coordinates.

    References:
        .. [1] Bærentzen & Aanæs (2005), "Signed distance computation using the angle weighted
           pseudonormal", doi:10.1109/TVCG.2005.49; on a plane the weights do not change the sign.
    """
    found = np.zeros(len(xy), dtype=np.bool_)
    foot, side = np.full((len(xy), 2), np.nan), np.zeros(len(xy), dtype=np.int8)
    on_piece = np.full(len(xy), -1, dtype=np.intp)
    if not len(pieces) or not len(xy):
        return Nearest(found, foot, side, on_piece)
    ends = np.stack((pieces.start, pieces.end), axis=1)
    tree = shapely.STRtree(np.asarray(shapely.linestrings(ends)))
    point, piece = np.hstack([_ask(tree, xy, first, within) for first in range(0, len(xy), ASKED)])
    start, along = pieces.start[piece], (pieces.end - pieces.start)[piece]
    share = ((xy[point] - start) * along).sum(axis=1) / (along**2).sum(axis=1)
    foot[point] = start + np.clip(share, 0, 1)[:, None] * along
    normal, at_start, at_end = _normals(pieces)
    towards = np.where(
        (share <= 0)[:, None],
        at_start[piece],
        np.where((share >= 1)[:, None], at_end[piece], normal[piece]),
    )
    side[point] = np.sign(((xy[point] - foot[point]) * towards).sum(axis=1))
    found[point], on_piece[point] = True, piece
    return Nearest(found, foot, side, on_piece)


def _ask(tree: shapely.STRtree, xy: Coordinates, first: int, within: float) -> NDArray[np.intp]:
    """Return indexes of some points, from `first` on, and of what is nearest to each, (2, n)."""
    points = shapely.points(xy[first : first + ASKED])
    point, piece = tree.query_nearest(points, max_distance=within, all_matches=False)
    return np.stack((first + point, piece))


def _normals(pieces: Pieces) -> tuple[Coordinates, Coordinates, Coordinates]:
    """Return what points right of each piece: along it, at its start and at its end."""
    direction = (pieces.end - pieces.start) / pieces.length[:, None]
    normal = np.column_stack((direction[:, 1], -direction[:, 0]))
    before, after = np.zeros_like(normal), np.zeros_like(normal)
    joined = (pieces.line[1:] == pieces.line[:-1]) & (pieces.start[1:] == pieces.end[:-1]).all(1)
    before[1:][joined], after[:-1][joined] = normal[:-1][joined], normal[1:][joined]
    first = np.flatnonzero(np.diff(pieces.line, prepend=-1))
    last = np.append(first[1:], len(pieces)) - 1
    ring = (pieces.start[first] == pieces.end[last]).all(axis=1)
    before[first[ring]], after[last[ring]] = normal[last[ring]], normal[first[ring]]
    return normal, normal + before, normal + after


@dataclass(frozen=True)
class Matches:
    """Points along one set of lines, and how far the nearest of another set is."""

    points: Points
    found: NDArray[np.bool_]
    """(n,), whether there is one within reach."""
    distance_m: NDArray[np.float64]
    """(n,), true metres; NaN where none is."""
    side: NDArray[np.int8]
    """(n,), 1 where the point lies on the water side of what is nearest, -1 on the land side."""

    @property
    def signed_m(self) -> NDArray[np.float64]:
        """(n,), true metres, plus where the point lies on the water side; NaN where none is."""
        return self.distance_m * self.side

    def keep(self, which: NDArray[np.bool_]) -> Self:
        """Return the points that are marked."""
        points = self.points.keep(which)
        return type(self)(points, self.found[which], self.distance_m[which], self.side[which])

    def within(self, reach: float) -> Self:
        """Return the same points, matched only where the other lines are within `reach` metres."""
        found = self.found & (self.distance_m <= reach)
        distance = np.where(found, self.distance_m, np.nan)
        return type(self)(self.points, found, distance, np.where(found, self.side, 0))

    def seen_from_other(self) -> Self:
        """Return the same with the side on which the other lines lie of these points."""
        return type(self)(self.points, self.found, self.distance_m, -self.side)


def match_points(
    points: Points, lines: Pieces, plane: Plane, *, within: float, directed: bool
) -> Matches:
    """Measure how far points along lines are from other lines.

    Args:
        points: Along lines with land on their left.
        lines: What they are compared with, on the same plane.
        plane: Where both are.
        within: Points further away than this, in true metres, are not matched.
        directed: Whether `lines` have land on their left too. If not, the side of a point is told
            by which way it is displaced, as seen from its own line: towards water or land.
    """
    near = nearest_on(lines, points.xy, within=FARTHER * within)
    distance = np.full(len(points.xy), np.nan)
    start, end = points.xy[near.found], near.xy[near.found]
    distance[near.found] = plane.metres(start, end)
    side = near.side
    if not directed:
        shift = np.where(near.found[:, None], points.xy - near.xy, 0)
        side = np.sign((shift * points.right).sum(axis=1)).astype(np.int8)
    return Matches(points, near.found, distance, side).within(within)


def summarise(matches: Matches, pixel_m: float) -> dict[str, Any]:
    """Return lengths and distances as records and tables have them; None where nothing matched.

    Args:
        matches: Points and their distances.
        pixel_m: What one pixel is, in metres.
    """
    matched = float(matches.points.step[matches.found].sum())
    unmatched = float(matches.points.step[~matches.found].sum())
    distance = matches.distance_m[matches.found]
    found: dict[str, float] = {}
    if len(distance):
        found = {
            "mean": float(distance.mean()),
            "median": float(np.median(distance)),
            "rmse": float(np.sqrt((distance**2).mean())),
            "p95": float(np.percentile(distance, 95)),
            "mean_signed": float(matches.signed_m[matches.found].mean()),
            "median_signed": float(np.median(matches.signed_m[matches.found])),
        }
    return {
        "matched_m": matched,
        "unmatched_m": unmatched,
        "matched_share": matched / (matched + unmatched) if matched + unmatched else None,
        "points": len(distance),
        "metres": {name: found.get(name) for name in STATISTICS},
        "pixels": {name: found[name] / pixel_m if found else None for name in STATISTICS},
    }

"""From pixels to the ground: places in a scene's CRS, lengths and areas in true metres."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

import numpy as np
import shapely
from numpy.polynomial.polynomial import polyval2d, polyvander2d
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer

from geounet.contours import Geometries
from geounet.vectors import crs_of

LONGEST_EDGE_PX = 64
"""Longer edges count as curves where areas are measured: what is straight on the map is not so on
an equal-area plane."""

LONGEST_STEP_PX = 4
"""Longer steps are measured one by one: over these, the metric may change."""
DEGREES, TOLERANCE = (2, 4, 6), 1e-8
"""Of the polynomials that a metric may be; and how far, of its size, it may be from the truth."""


@dataclass(frozen=True)
class Metric:
    """How long short steps are, everywhere on a grid.

    Scale and shear of a map change so smoothly that over a scene they are polynomials of the place,
    and a square root is all that a step takes: the geodesic itself is ten times the work.
    """

    shape: tuple[int, int]
    coefficients: NDArray[np.float64]
    """(3, degree + 1, degree + 1): of what squares of steps along a row, products of both, and
    squares of steps down a column count in square metres, by powers of column and row."""

    @classmethod
    def fitted(
        cls,
        distances_m: Callable[[NDArray[np.float64], NDArray[np.float64]], NDArray[np.float64]],
        shape: tuple[int, int],
    ) -> Self | None:
        """Return the metric of a grid; None where no polynomial is good enough, as at a pole.

        Args:
            distances_m: Returns geodesic distances between places (col, row), (n, 2) each.
            shape: Height and width of the grid.
        """

        def sample(count: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
            across = np.cos(np.pi * (np.arange(count) + 0.5) / count)  # Chebyshev's nodes
            uv = np.stack(np.meshgrid(across, across), axis=-1).reshape(-1, 2)
            places = (uv + 1) / 2 * (shape[1], shape[0])
            along, down, sum_, difference = (
                distances_m(places - np.array(step) / 2, places + np.array(step) / 2) ** 2
                for step in ((1, 0), (0, 1), (1, 1), (1, -1))
            )
            return uv, np.stack([along, (sum_ - difference) / 2, down])

        (uv, values), (elsewhere, truth) = sample(12), sample(17)
        if not (np.isfinite(values).all() and np.isfinite(truth).all()):
            return None
        scale = np.stack([truth[0], np.sqrt(truth[0] * truth[2]), truth[2]])
        for degree in DEGREES:
            powers = polyvander2d(uv[:, 0], uv[:, 1], [degree, degree])
            found = np.linalg.lstsq(powers, values.T)[0].T.astype(np.float64)
            metric = cls(shape, found.reshape(3, degree + 1, degree + 1))
            if np.abs((metric._at(elsewhere) - truth) / scale).max() < TOLERANCE:
                return metric
        return None

    def lengths(
        self, middle: NDArray[np.float64], step: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return the lengths of steps (col, row) around places (col, row), in metres."""
        along, both, down = self._at(middle * 2 / (self.shape[1], self.shape[0]) - 1)
        col, row = step.T
        return np.sqrt(along * col**2 + both * col * row + down * row**2)

    def _at(self, uv: NDArray[np.float64]) -> NDArray[np.float64]:
        """(3, n), at places that go from -1 to 1 along both axes."""
        u, v = uv.T.copy()
        return np.stack([polyval2d(u, v, one) for one in self.coefficients])


class Ground:
    """What lies under a scene's pixels."""

    def __init__(self, geobox: GeoBox) -> None:
        crs = crs_of(geobox)
        geographic, geod = crs.geodetic_crs, crs.get_geod()
        if geographic is None or geod is None:
            raise ValueError(f"{crs.name} is not tied to the Earth")
        self._transform, self._geod = geobox.transform, geod
        self._to_geographic = Transformer.from_crs(crs, geographic, always_xy=True)
        height, self._width = geobox.shape
        self._metric = Metric.fitted(self._distances_m, (height, self._width))
        lon, lat = self._to_geographic.transform(*geobox.transform @ (self._width / 2, height / 2))
        # Equal-area and around the scene: poles and the antimeridian are as good as elsewhere.
        equal_area = CRS.from_proj4(
            f"+proj=laea +lat_0={lat!r} +lon_0={lon!r} +a={geod.a!r} +b={geod.b!r}"
        )
        self._to_equal_area = Transformer.from_crs(geographic, equal_area, always_xy=True)

    def place(self, shapes: Geometries) -> Geometries:
        """Take (col, row) to coordinates of the scene's CRS; what else a vertex has is lost.

        What is on the left in the picture is on the left on the ground, too: where the grid is
        mirrored (the first row is the southernmost), lines and rings are turned round.
        """
        if not len(shapes):
            return shapes
        kind, points, offsets = shapely.to_ragged_array(shapes, include_z=False)
        placed = shapely.from_ragged_array(kind, self._to_map(points), offsets)
        return shapely.reverse(placed) if self._transform.determinant > 0 else placed

    def _to_map(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        a, b, c, d, e, f, *_ = self._transform
        col, row = points.T
        return np.column_stack([a * col + b * row + c, d * col + e * row + f])

    def lengths_m(self, lines: Geometries) -> NDArray[np.float64]:
        """Return geodesic lengths of lines (col, row), (n,)."""
        points, line = shapely.get_coordinates(lines, return_index=True)
        first = np.flatnonzero(line[1:] == line[:-1])
        start, step = points[first], points[first + 1] - points[first]
        far = np.abs(step).max(axis=1, initial=0) > LONGEST_STEP_PX
        if self._metric is None:
            far[:] = True
        steps_m = np.empty(len(first))
        steps_m[far] = self._distances_m(start[far], start[far] + step[far])
        if self._metric is not None:
            near = ~far if far.any() else slice(None)
            steps_m[near] = self._metric.lengths(start[near] + step[near] / 2, step[near])
        return np.asarray(np.bincount(line[first], steps_m, len(lines)), dtype=np.float64)

    def _distances_m(
        self, start: NDArray[np.float64], end: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return geodesic distances between places (col, row), (n,)."""
        one, other = (self._to_geographic.transform(*self._to_map(p).T) for p in (start, end))
        return np.asarray(self._geod.inv(*one, *other)[2])

    def metres(self, first: float, last: float) -> NDArray[np.float64]:
        """Return what takes steps (col, row) between two rows to metres, (2, 2).

        Scale and shear differ from place to place; no step is longer on the ground than this makes
        it, and it is shorter by as much as they differ.

        Args:
            first: Where it holds from, as a row.
            last: Where it holds to.
        """
        cols, rows = np.meshgrid(np.linspace(0, self._width, 9), np.linspace(first, last, 3))
        places = np.column_stack([cols.ravel(), rows.ravel()])
        # By lengths alone: at a pole there is no north to count azimuths from.
        along, down, sum_, difference = (
            self._distances_m(places - np.array(step) / 2, places + np.array(step) / 2) ** 2
            for step in ((1, 0), (0, 1), (1, 1), (1, -1))
        )
        both = (sum_ - difference) / 4
        squares = np.stack([along, both, both, down], axis=-1).reshape(-1, 2, 2)
        # Half a pixel beyond a pole there is no place.
        squares = squares[np.isfinite(squares).all(axis=(1, 2))]
        reference = squares[np.linalg.det(squares).argmax()]
        metres = np.linalg.cholesky(reference).T
        inverse = np.linalg.inv(metres)
        longest = np.linalg.eigvalsh(inverse.T @ squares @ inverse).max()
        return np.asarray(metres * np.sqrt(longest))

    def areas_m2(self, areas: Geometries) -> NDArray[np.float64]:
        """Return areas of polygons (col, row) on the ellipsoid, (n,); holes run the other way."""
        if not len(areas):
            return np.empty(0)
        _, points, (rings, offsets) = shapely.to_ragged_array(areas)
        edges = np.delete(np.arange(len(points)), rings[1:] - 1)
        area = np.searchsorted(rings[offsets], edges, side="right") - 1
        placed = self._to_plane(points)
        twice = np.bincount(area, _cross(placed[edges], placed[edges + 1]), len(areas))
        far = np.abs(points[edges + 1] - points[edges]).max(axis=1) > LONGEST_EDGE_PX
        bulges = self._bulges(points[edges[far]], points[edges[far] + 1])
        return np.abs(twice + np.bincount(area[far], bulges, len(areas))) / 2

    def _bulges(self, start: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return twice the area between edges that are straight on the map and their chords."""
        share = np.linspace(0, 1, 257)[:, None, None]
        between = (start + share * (end - start)).reshape(-1, 2)
        placed = self._to_plane(between).reshape(257, -1, 2)
        # Edge by edge: else an area's last digits would depend on how many others are summed.
        along = np.ascontiguousarray(_cross(placed[:-1], placed[1:]).T)
        return along.sum(axis=1) + _cross(placed[-1], placed[0])

    def _to_plane(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take (col, row), (n, 2), to (x, y) on an equal-area plane, in metres."""
        lon_lat = self._to_geographic.transform(*self._to_map(points).T)
        return np.column_stack(self._to_equal_area.transform(*lon_lat))


def _cross(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    return one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]

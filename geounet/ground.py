"""From pixels to the ground: places in a scene's CRS, lengths and areas in true metres."""

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer

from geounet.metric import Density, Metric
from geounet.ragged import Areas, Geometries, Lines
from geounet.vectors import crs_of

LONGEST_EDGE_PX = 64
"""Where areas are measured on an equal-area plane, longer edges count as curves: what is straight
on the map is not so there."""


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
        self._density = Density.fitted(self._to_plane, (height, self._width))

    def place(self, shapes: Geometries) -> Geometries:
        """Take (col, row) to coordinates of the scene's CRS; what else a vertex has is lost.

        What is on the left in the picture is on the left on the ground, too: where the grid is
        mirrored (the first row is the southernmost), lines and rings are turned round.
        """
        if not len(shapes):
            return shapes
        kind, points, offsets = shapely.to_ragged_array(shapes, include_z=False)
        placed = shapely.from_ragged_array(kind, self.to_map(points), offsets)
        return shapely.reverse(placed) if self.is_mirrored else placed

    @property
    def is_mirrored(self) -> bool:
        """Whether the ground is the picture's mirror image, as where the first row is south."""
        return self._transform.determinant > 0

    def to_map(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Take (col, row, …), (n, 2 or 3), to coordinates of the scene's CRS, (n, 2)."""
        a, b, c, d, e, f, *_ = self._transform
        col, row = points[:, :2].T
        return np.column_stack([a * col + b * row + c, d * col + e * row + f])

    def lengths_m(self, lines: Lines) -> NDArray[np.float64]:
        """Return geodesic lengths of lines, (n,)."""
        if self._metric is None:
            lengths = np.zeros(len(lines))
            is_last = np.zeros(len(lines.points), dtype=bool)
            is_last[lines.offsets[1:] - 1] = True
            far = np.flatnonzero(~is_last)
        else:
            lengths, far = self._metric.lengths(lines)
        if len(far):
            steps_m = self._distances_m(lines.points[far], lines.points[far + 1])
            line = np.searchsorted(lines.offsets, far, side="right") - 1
            lengths = lengths + np.bincount(line, steps_m, len(lines))
        return lengths

    def _distances_m(
        self, start: NDArray[np.float64], end: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return geodesic distances between places (col, row), (n,)."""
        one, other = (self._to_geographic.transform(*self.to_map(p).T) for p in (start, end))
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

    def areas_m2(self, areas: Areas) -> NDArray[np.float64]:
        """Return areas on the ellipsoid, (n,); holes run the other way round than outlines."""
        if not len(areas):
            return np.empty(0)
        if self._density is not None:
            return self._density.areas(areas)
        points, rings, offsets = areas.points, areas.rings, areas.offsets
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
        lon_lat = self._to_geographic.transform(*self.to_map(points).T)
        return np.column_stack(self._to_equal_area.transform(*lon_lat))


def _cross(one: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    return one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]

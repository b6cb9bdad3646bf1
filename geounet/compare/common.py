"""The ground that two states share: one grid, one plane, and where both are known."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS
from rasterio.features import shapes
from rasterio.windows import Window
from shapely.geometry import shape
from shapely.geometry.base import BaseGeometry

from geounet.aoi import read_aoi
from geounet.classes import IGNORE
from geounet.compare.states import State, lonlat_box
from geounet.distances import Coordinates, Plane, place
from geounet.errors import ResultError
from geounet.ground import Ground
from geounet.ragged import Areas
from geounet.vectors import (
    POLYGON_TYPES,
    WGS84,
    Bounds,
    Geometries,
    bounds_touch,
    clip_around,
    crs_of,
    of_type,
    project,
    simple_parts,
    transformer,
)

STRIP_ROWS = 1024
METRES_PER_DEGREE = 111_320.0
HALF_ROUND = 180.0
FARTHEST_M = 1e6
"""No coast moves so far: a length in the wrong unit."""


@dataclass(frozen=True)
class CommonGround:
    """Where two states are compared."""

    grid: GeoBox
    """Of the earlier result, else of the later; of vector files, one made for them."""
    plane: Plane
    ground: Ground
    known: Geometries
    """Polygons in (col, row) of `grid` where both have data."""
    share: tuple[float, float]
    """Of the ground that the first and the second know, how much is `known`; NaN for vector
    files, which do not say."""

    @property
    def crs(self) -> CRS:
        """Of the grid, and of what is written."""
        return crs_of(self.grid)

    @property
    def area_m2(self) -> float:
        """Of the ground where both have data."""
        return float(self.ground.areas_m2(Areas.of(self.known)).sum())

    def to_pixels(self, polygons: Geometries, crs: CRS) -> Geometries:
        """Bring polygons to (col, row)."""
        if crs != self.crs:  # an ocean has vertices that have no place in another CRS
            polygons = clip_around(polygons, crs, self.grid, margin_m=self.plane.pixel_m)
        moved = project(polygons, crs, self.crs, self.grid)
        back = ~self.grid.transform
        return shapely.transform(moved, lambda xy: place(back, xy))

    def knows(self, pixels: Coordinates) -> NDArray[np.bool_]:
        """Return which places, (n, 2) by (col, row), lie where both have data, (n,)."""
        inside = np.zeros(len(pixels), dtype=np.bool_)
        found = shapely.STRtree(self.known).query(shapely.points(pixels), predicate="intersects")
        inside[found[0]] = True
        return inside


def find_common_ground(
    a: State, b: State, *, pixel_m: float, reach_m: float, within: Path | None
) -> CommonGround:
    """Find the ground on which two states can be compared.

    Args:
        a: The earlier.
        b: The later.
        pixel_m: Side of pixels where neither has any, in metres.
        reach_m: How far around vector files the ground goes on.
        within: Polygons to stay within.

    Raises:
        ResultError: They have no ground in common.
        AreaError: `within` cannot be read or lies elsewhere.
    """
    grid = a.grid if a.grid is not None else b.grid
    if grid is None:
        grid = _grid_around(a, b, pixel_m, reach_m)
    height, width = grid.shape
    whole = np.array([shapely.box(0, 0, width, height)])
    ground = CommonGround(grid, Plane(grid), Ground(grid), whole, (np.nan, np.nan))
    sides = [_known_of(state, ground) for state in (a, b)]
    common: BaseGeometry = shapely.box(0, 0, width, height)
    if not all(bounds_touch(state.bounds, state.crs, grid) for state in (a, b)):
        raise ResultError(_nothing(a, b))
    for side in sides:
        if side is not None:
            common = shapely.intersection(common, shapely.union_all(side))
    if within is not None:
        aoi = read_aoi(within, grid, buffer_m=None)
        parts = of_type(simple_parts(np.array([aoi])), POLYGON_TYPES)
        common = shapely.intersection(
            common, shapely.union_all(ground.to_pixels(parts, ground.crs))
        )
    known = of_type(simple_parts(np.array([common])), POLYGON_TYPES)
    if not len(known):
        raise ResultError(_nothing(a, b))
    known = shapely.normalize(known)
    area = float(ground.ground.areas_m2(Areas.of(known)).sum())
    shares = [
        np.nan if s is None else min(area / ground.ground.areas_m2(Areas.of(s)).sum(), 1.0)
        for s in sides
    ]
    return CommonGround(grid, ground.plane, ground.ground, known, (shares[0], shares[1]))


def _nothing(a: State, b: State) -> str:
    where = " and ".join(
        f"{s.text} (longitude {w:.3f} to {e:.3f}, latitude {south:.3f} to {north:.3f})"
        for s, (w, south, e, north) in ((s, lonlat_box(s)) for s in (a, b))
    )
    return (
        f"There is no ground where both have data: {where}. Give two results or dates of one coast."
    )


def _known_of(state: State, ground: CommonGround) -> Geometries | None:
    """Return where a state has data, in (col, row) of the common grid; None if it does not say."""
    if state.mask is None or state.grid is None:
        return None
    valid = valid_polygons(state.mask)
    if state.grid == ground.grid:
        return valid
    transform = state.grid.transform
    placed = shapely.transform(valid, lambda pixels: place(transform, pixels))
    return ground.to_pixels(placed, crs_of(state.grid))


def valid_polygons(mask: Path) -> Geometries:
    """Return polygons in (col, row) around the pixels of a mask that have data."""
    found: list[Geometries] = []
    with rasterio.open(mask) as src:
        for row in range(0, src.height, STRIP_ROWS):
            rows = min(STRIP_ROWS, src.height - row)
            valid = src.read(1, window=Window(0, row, src.width, rows)) != IGNORE
            if valid.all():
                found.append(np.array([shapely.box(0, row, src.width, row + rows)]))
            elif valid.any():
                drawn = shapes(
                    valid.astype(np.uint8), mask=valid, transform=Affine.translation(0, row)
                )
                found.append(np.array([shape(one) for one, _ in drawn], dtype=object))
    if not found:
        return np.empty(0, dtype=object)
    # Coordinates are whole numbers: nothing is rounded.
    return of_type(
        simple_parts(np.array([shapely.union_all(np.concatenate(found))])), POLYGON_TYPES
    )


def _grid_around(a: State, b: State, pixel_m: float, reach_m: float) -> GeoBox:
    """Return a grid in the CRS of `a` where two vector files, widened a little, overlap."""
    geographic = a.crs.is_geographic
    boxes: list[Bounds] = []
    for state in (a, b):
        west, south, east, north = lonlat_box(state)
        up = reach_m / METRES_PER_DEGREE
        steepest = min(max(abs(south), abs(north)) + up, 89.0)
        side = up / np.cos(np.radians(steepest))
        east += 360.0 * (east < west)
        boxes.append((west - side, south - up, east + side, north + up))
    west, south = np.max([box[:2] for box in boxes], axis=0)
    east, north = np.min([box[2:] for box in boxes], axis=0)
    if not (west < east and south < north):
        raise ResultError(_nothing(a, b))
    if reach_m > FARTHEST_M:
        raise ResultError(
            f"Coasts that lie {reach_m / 1000:.0f} km apart are no partners. Give a shorter "
            "--max-distance, or --step, of which it is ten; both are in metres."
        )
    if east - west > HALF_ROUND:
        raise ResultError(
            f"{a.text} and {b.text} lie on both sides of 180°, or half around the Earth. Bring "
            "them to a projected CRS with `ogr2ogr -t_srs`, or compare parts of them."
        )
    left, bottom, right, top = transformer(WGS84, a.crs).transform_bounds(
        west, south, east, north, densify_pts=21
    )
    if geographic:
        rise = pixel_m / METRES_PER_DEGREE
        run = rise / np.cos(np.radians(min(abs((bottom + top) / 2), 89.0)))
    else:
        unit = a.crs.axis_info[0].unit_conversion_factor if a.crs.axis_info else 1.0
        run = rise = pixel_m / unit
    width, height = int(np.ceil((right - left) / run)), int(np.ceil((top - bottom) / rise))
    return GeoBox((height, width), Affine(run, 0, left, 0, -rise, top), a.crs)


def pixel_of(state: State) -> float | None:
    """Return the side of a state's pixels, in metres; None for vector files."""
    return None if state.grid is None else Plane(state.grid).pixel_m

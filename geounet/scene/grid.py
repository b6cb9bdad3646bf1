"""The one grid that the layers of a scene are brought to."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer

from geounet.errors import SceneError

SAME = 1e-3
"""Of a pixel: what corners may be apart where two grids are one. Files keep them rounded."""
COARSEST = 16
"""Pixels, along a side, that one is made of at most: GDAL reads all for 512 × 128 at once."""
LARGEST_SIDE = 2**31 - 1
"""Pixels along a side that GDAL can count."""
OUTLINE = 17
"""Points along a side of a grid by which its place is found."""
EDGE = 1e-3
"""Pixels: what only touches that much of another grid lies beside it."""


def coarseness(fine: GeoBox, coarse: GeoBox) -> float:
    """Return how many pixels of one grid make the side of one of the other."""
    sides = zip(res_in_metres(fine), res_in_metres(coarse), strict=True)
    return max(there / here for here, there in sides)


def same_grid(one: GeoBox, other: GeoBox) -> bool:
    """Return whether the pixels of two grids coincide, to a thousandth of one."""
    if one.shape != other.shape or one.crs != other.crs:
        return False
    height, width = one.shape
    shift = ~other.transform @ one.transform
    corners = [(0, 0), (width, 0), (0, height), (width, height)]
    return all(
        abs(a - b) < SAME for corner in corners for a, b in zip(shift @ corner, corner, strict=True)
    )


def reaches_beyond(grid: Any, other: Any) -> bool:
    """Return whether a grid covers more ground than another, by more than a pixel of either."""
    corners = np.array(
        [grid.transform @ (col, row) for row in (0, grid.height) for col in (0, grid.width)]
    )
    if grid.crs != other.crs:
        to_other = Transformer.from_crs(grid.crs.proj, other.crs.proj, always_xy=True)
        corners = np.column_stack(to_other.transform(*corners.T))
    cols, rows = (~other.transform) @ tuple(corners.T)
    slack = max(1.0, coarseness(other, grid))  # pixels of `other`
    return bool(
        min(cols.min(), rows.min()) < -slack
        or cols.max() > other.width + slack
        or rows.max() > other.height + slack
    )


def finest_grid(grids: Sequence[GeoBox], *, res: float | None = None) -> GeoBox:
    """Return the grid with the smallest pixels, the first of them, or one of the size asked for.

    Args:
        grids: Of the layers.
        res: Side of a pixel, in units of the CRS. The grid then begins at the same corner, and its
            last row and column may reach less than a pixel further.

    Raises:
        SceneError: `res` gives no pixels, or more than can be counted.
    """
    areas = [np.prod(res_in_metres(grid)) for grid in grids]
    # Rounded, or two bands of one grid whose files differ in the last digit would compete.
    finest = grids[int(np.argmin(np.round(areas, 6)))]
    return finest if res is None else _with_res(finest, res)


def _with_res(grid: Any, res: float) -> GeoBox:
    a, b, _, d, e, _, *_ = grid.transform
    sides = np.hypot(a, d), np.hypot(b, e)  # of a pixel, along its rows and columns
    factors = [res / side for side in sides]
    height, width = grid.shape
    # Rounded, or the last digit of a size would make one more row of nothing.
    rows, cols = height / factors[1], width / factors[0]
    shape = int(np.ceil(round(rows, 6))), int(np.ceil(round(cols, 6)))
    if max(shape) > LARGEST_SIDE or min(rows, cols) < 0.5:
        unit = "degrees" if grid.crs.geographic else "metres"
        raise SceneError(
            f"--res {res:g} would give {shape[0]} × {shape[1]} pixels: the scene has {height} × "
            f"{width} of {sides[0]:g} × {sides[1]:g} {unit}. Give the side of a pixel in those."
        )
    if np.allclose(factors, 1, rtol=1e-9):
        return grid
    return GeoBox(shape, grid.transform @ Affine.scale(*factors), grid.crs)


def crs_wkt(geobox: Any) -> str:
    """Return the CRS of a grid as text that every GDAL understands alike."""
    return str(geobox.crs.to_wkt())


def res_in_metres(geobox: Any) -> tuple[float, float]:
    """Return the size of a pixel (x, y) in metres; on the ellipsoid, at the centre, for degrees."""
    a, b, _, d, e, _, *_ = geobox.transform
    if not geobox.crs.geographic:
        metres = geobox.crs.proj.axis_info[0].unit_conversion_factor
        return float(np.hypot(a, d) * metres), float(np.hypot(b, e) * metres)
    height, width = geobox.shape
    lon, lat = geobox.transform @ (width / 2, height / 2)
    geod = Geod(ellps="WGS84")

    def length(dx: float, dy: float) -> float:
        return float(geod.inv(lon - dx / 2, lat - dy / 2, lon + dx / 2, lat + dy / 2)[2])

    return length(a, d), length(b, e)


def overlap(one: GeoBox, other: GeoBox) -> bool:
    """Return whether two grids lie in the same place at all, judged by the first one's outline.

    In doubt they do: where the other's CRS bends the outline or tears it apart, what it encloses
    counts.

    Raises:
        ProjError: There is no way from one CRS to the other.
    """
    along = np.linspace(0, 1, OUTLINE)
    points: Any = np.meshgrid(along * one.width, along * one.height)
    x, y = one.transform @ points
    if one.crs != other.crs:
        assert one.crs is not None and other.crs is not None  # noqa: PT018
        x, y = Transformer.from_crs(one.crs.proj, other.crs.proj, always_xy=True).transform(x, y)
    places = np.stack(~other.transform @ (x, y), axis=-1).reshape(-1, 2)
    places = places[np.isfinite(places).all(axis=1)]
    inside = shapely.box(EDGE, EDGE, other.width - EDGE, other.height - EDGE)
    return bool(shapely.intersects(shapely.MultiPoint(places).convex_hull, inside))

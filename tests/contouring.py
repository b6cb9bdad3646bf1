"""Fields to contour, how to contour them as arrays, and what they must come to."""

from typing import NamedTuple

import numpy as np
import shapely
from affine import Affine
from numpy.typing import NDArray

from geounet.coastline import LineSweep
from geounet.contours import Geometries, cut_strips, trace
from geounet.polygons import AreaSweep


class Contoured(NamedTuple):
    """Lines (col, row, width) and areas (col, row)."""

    lines: Geometries
    areas: Geometries


def contour(
    values: NDArray[np.floating], *, level: float = 0.5, rows: int | None = None
) -> Contoured:
    """Contour an array, in strips of `rows`."""
    lines, areas, line_sweep, area_sweep = [], [], LineSweep(), AreaSweep()
    for strip in cut_strips(lambda a, b: values[a:b], values.shape, level=level, rows=rows):
        contours = trace(strip)
        lines.append(line_sweep.add(contours, strip.sweep_row))
        areas.append(area_sweep.add(contours, strip))
    return Contoured(np.concatenate(lines), np.concatenate(areas))


def rough_field(
    rng: np.random.Generator,
    shape: tuple[int, int],
    *,
    smooth: float = 2,
    nodata: float = 0,
    steps: int | None = None,
) -> NDArray[np.float64]:
    """Noise around 0.5; NaN at a share of the pixels; values in quarters of `steps`, if given."""
    values = rng.standard_normal(shape)
    for axis in (0, 1):
        spread = np.exp(-0.5 * (np.arange(-6, 7) / max(smooth, 1e-3)) ** 2)
        padded = np.pad(values, [(6, 6) if i == axis else (0, 0) for i in (0, 1)], mode="edge")
        values = np.apply_along_axis(np.convolve, axis, padded, spread / spread.sum(), "valid")
    values = 0.5 + 0.3 * values / values.std() if values.std() > 0 else values + 0.5
    if steps is not None:
        values = np.round(values * steps) / steps
    values[rng.random(shape) < nodata] = np.nan
    return values


def coverage(
    shape: tuple[int, int], transform: Affine, water: shapely.Geometry
) -> NDArray[np.float64]:
    """Share of each pixel's ground that is under `water`: exact, by clipping polygons."""
    height, width = shape
    rows, cols = (indexes.ravel() for indexes in np.indices(shape))
    corners = [
        np.column_stack(transform @ (cols + dx, rows + dy))
        for dx, dy in ((0, 0), (1, 0), (1, 1), (0, 1))
    ]
    pixels = shapely.polygons(np.stack(corners, axis=1))
    shares = shapely.area(shapely.intersection(pixels, water)) / shapely.area(pixels)
    return shares.reshape(height, width)

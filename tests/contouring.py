"""Fields to contour, how to contour them as arrays, and how to make all products of them."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import rasterio
import shapely
from affine import Affine
from numpy.typing import NDArray

from geounet.classes import LAND_WATER
from geounet.coastline import LineSweep
from geounet.contours import cut_strips, trace
from geounet.line_options import LineOptions
from geounet.outputs import stage_set
from geounet.polygons import AreaSweep
from geounet.products import Field, write_products
from geounet.ragged import Areas, Geometries, Lines
from geounet.scene import gdal_environment, open_scene
from geounet.tracing import Scale, measure_values

UTM = Affine(10, 0, 500_000, 0, -10, 4_500_000)


class Contoured(NamedTuple):
    """Lines (col, row, width) and areas (col, row)."""

    lines: Geometries
    areas: Geometries


def contour(
    values: NDArray[np.floating],
    *,
    level: float = 0.5,
    scale: Scale | None = None,
    rows: int | None = None,
) -> Contoured:
    """Contour an array, in strips of `rows`."""
    lines, areas, line_sweep, area_sweep = [], [], LineSweep(), AreaSweep()
    scale = scale or Scale.plain(level)
    for strip in cut_strips(lambda a, b: values[a:b], values.shape, scale=scale, rows=rows):
        contours = trace(strip)
        lines.append(line_sweep.add(contours, strip.sweep_row))
        areas.append(area_sweep.add(contours, strip.sweep_row))
    return Contoured(Lines.joined(lines).shapes(), Areas.joined(areas).shapes())


def keep_off(values: NDArray[np.floating], level: float) -> NDArray[np.float64]:
    """What values count where lines are placed: none is at the level."""
    return measure_values(np.atleast_2d(values), Scale.plain(level)).reshape(np.shape(values))


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


def write_raster(path: Path, values: NDArray[Any], **profile: Any) -> Path:
    """Write (bands, height, width) as a GeoTIFF, in UTM if nothing else is said."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count, height, width = values.shape
    grid = {"crs": "EPSG:32630", "transform": UTM, "nodata": None} | profile
    shape = {"count": count, "height": height, "width": width, "dtype": values.dtype.name}
    with rasterio.open(path, "w", driver="GTiff", **shape, **grid) as dst:
        dst.write(values)
    return path


def write_scene(
    path: Path,
    valid: NDArray[np.bool_],
    *,
    bands: tuple[str, ...] = ("B02", "B03", "B04", "B08"),
    **profile: Any,
) -> Path:
    """Write a Sentinel-2 scene whose bands differ, taken at 10:11:12 on the first of June 2021."""
    rng = np.random.default_rng(5)
    dn = 1500 + 300 * np.arange(len(bands))[:, None, None] + rng.integers(0, 200, valid.shape)
    write_raster(path, np.where(valid, dn, 0).astype(np.uint16), **profile, nodata=0)
    with rasterio.open(path, "r+") as dst:
        dst.descriptions = bands
        dst.scales, dst.offsets = [1e-4] * len(bands), [-0.1] * len(bands)
        dst.update_tags(sensor="s2", level="L2A")
        dst.update_tags(ns="IMAGERY", ACQUISITIONDATETIME="2021-06-01T10:11:12Z")
    return path


def make_products(
    folder: Path,
    values: NDArray[np.floating],
    *,
    quantity: Any = "probability",
    level: float = 0.5,
    dtype: Any = "uint8",
    classes: Any = LAND_WATER,
    best: NDArray[np.uint8] | None = None,
    bands: tuple[str, ...] = ("B02", "B03", "B04", "B08"),
    attributes: dict[str, Any] | None = None,
    lines: LineOptions = LineOptions(),  # noqa: B008  frozen
    progress: Any = None,
    vectors: Any = None,
    **profile: Any,
) -> Path:
    """Write everything that is made of a field, and return the folder that holds it."""
    made = folder / "made"
    made.mkdir(parents=True)
    source = write_scene(made / "coast.tif", np.isfinite(values), bands=bands, **profile)
    path = write_raster(made / "field.tif", values[None].astype(np.float32), **profile)
    classes_path = None
    if best is not None:
        classes_path = write_raster(made / "classes.tif", best[None], **profile)
    field = Field(path, quantity, level, bands, classes_path)
    out = folder / "out"
    said = {"progress": progress, "vectors": vectors}
    extra = {name: value for name, value in said.items() if value is not None}
    with (
        gdal_environment(),
        open_scene(source) as scene,
        stage_set(out, scene.name, overwrite=False) as (stage, _),
    ):
        write_products(
            stage,
            scene,
            field,
            classes=classes,
            probability_dtype=dtype,
            attributes=attributes or {"model": "net.safetensors", "position_u95_m": 4.5},
            lines=lines,
            **extra,
        )
    return out

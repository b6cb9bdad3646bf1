"""Coasts whose distance is known, and results and references made of them."""

from pathlib import Path

import geopandas
import numpy as np
import rasterio
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from geounet.distances import Pieces, Plane, match_points, points_along
from geounet.evaluate.line_scores import LineErrors
from geounet.outputs import stage_set

PIXEL = 10.0
UTM = GeoBox((600, 800), Affine(PIXEL, 0, 500_000, 0, -PIXEL, 5_400_000), "EPSG:32631")
LEFT, TOP = 500_000.0, 5_400_000.0
ISLET = shapely.LineString(shapely.Point(LEFT + 2000, TOP - 3000).buffer(150).exterior.coords)


def coast(offset: float, *, wiggle: float = 40.0, wave: float = 700.0) -> shapely.LineString:
    """A wavy coast from north to south across the scene; water in the west, land on its left.

    Moved to the west, towards the water, by `offset` metres.
    """
    y = np.arange(TOP + 500, TOP - 6500, -2.0)
    x = LEFT + 4000 + wiggle * np.sin(2 * np.pi * y / wave) - offset
    return shapely.LineString(np.column_stack((x, y)))


def water_of(line: shapely.LineString) -> shapely.Polygon:
    """The ground west of a coast, with a side that is not along the extents of the scene."""
    xy = shapely.get_coordinates(line)
    far = [(LEFT - 9000, xy[-1, 1] - 50), (LEFT - 9100, xy[0, 1] + 50)]
    return shapely.Polygon([*xy, *far])


def errors_of(
    predicted: list[shapely.LineString],
    reference: list[shapely.LineString],
    *,
    directed: bool = True,
    reach: float = 50.0,
    block_m: float = 1000.0,
) -> LineErrors:
    plane = Plane(UTM)
    to_plane = plane.from_crs(UTM.crs.proj)
    here, there = (
        Pieces.from_lines(np.array(shapes, dtype=object)).transformed(to_plane)
        for shapes in (predicted, reference)
    )
    search = max(reach, 30.0)
    return LineErrors(
        plane,
        match_points(
            points_along(here, PIXEL), there, plane, within=search, directed=directed
        ),
        match_points(
            points_along(there, PIXEL), here, plane, within=search, directed=True
        ).seen_from_other(),
        reach_m=reach,
        signed=True,
        block_m=block_m,
    )  # fmt: skip


def write_result(
    folder: Path,
    mask: np.ndarray,
    lines: list,
    columns: dict[str, list] | None = None,
    geobox: GeoBox = UTM,
) -> Path:
    """Write what predict writes, as far as it is evaluated."""
    with stage_set(folder, "a", overwrite=False) as (stage, record):
        write_raster(stage.path("_mask.tif"), mask, geobox)
        frame = geopandas.GeoDataFrame(columns or {}, geometry=lines, crs=UTM.crs.proj)
        frame.to_file(stage.path(".gpkg"), layer="coastline", driver="GPKG")
        classes = [
            {"value": value, "name": name, "color": "#000000", "water": bool(value)}
            for value, name in enumerate(("land", "water"))
        ]
        record |= {"format": 1, "command": "predict", "classes": classes}
    return folder / "a.json"


def write_raster(path: Path, values: np.ndarray, geobox: GeoBox) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(
        path, "w", driver="GTiff", height=values.shape[0], width=values.shape[1], count=1,
        dtype="uint8", crs=geobox.crs, transform=geobox.transform, nodata=255,
    ) as dst:  # fmt: skip
        dst.write(values, 1)
    return path


def west_is_water() -> np.ndarray:
    mask = np.zeros(UTM.shape, np.uint8)
    mask[:, :400] = 1
    return mask


def write_lines(path: Path, shapes: list) -> str:
    geopandas.GeoSeries(shapes, crs=UTM.crs.proj).to_file(path, driver="FlatGeobuf")
    return str(path)

"""The exact waterline of a synthetic coast, as lines and polygons on the map.

The vectors are written sheet by sheet, like a map series, so that a large scene does not have to
be held: where sheets meet, lines end on both sides in the same vertex and polygons share an edge.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple, cast

import contourpy
import geopandas
import numpy as np
import pyogrio
import shapely
from affine import Affine
from numpy.typing import NDArray
from rasterio.windows import Window

from geounet.synthetic.image import SyntheticImage
from geounet.synthetic.shape import CELL

SHEET = 32 * CELL
"""Side of a sheet in pixels."""
_CLOUD_STEP = 2
_CLOUDY = 0.1
"""Cloud denser than this is in the layer `cloud`."""

Geometries = NDArray[np.object_]


class Sheet(NamedTuple):
    """What the vectors of one sheet are, in pixels as (col, row)."""

    waterline: Geometries
    """Lines with land on the left, seen on a map whose rows run southward."""
    water: Geometries
    """Polygons: sea, lakes and channels, under clouds too."""
    cloud: Geometries
    """Polygons."""


def trace_sheet(image: SyntheticImage, window: Window) -> Sheet:
    """Trace the exact waterline under a window inside the scene, and the outlines of the clouds."""
    pieces = list(image.coast.lines(window))
    waterline = _join(pieces)
    corner_is_water = image.coast.is_water(window.row_off, window.col_off)
    water = _enclose(waterline, _rectangle(window), empty_is_inside=corner_is_water)
    return Sheet(waterline, water, _trace_clouds(image, window))


def _join(pieces: list[NDArray[np.float64]]) -> Geometries:
    """Join lines end to start, where the coordinates agree exactly."""
    if not pieces:
        return np.empty(0, dtype=object)
    indices = np.repeat(np.arange(len(pieces)), [len(piece) for piece in pieces])
    lines = shapely.linestrings(np.concatenate(pieces), indices=indices)
    merged = shapely.line_merge(shapely.multilinestrings(np.asarray(lines)), directed=True)
    return shapely.get_parts(merged)


def _rectangle(window: Window) -> tuple[float, float, float, float]:
    """Return (first col, first row, last col, last row)."""
    left, top = float(window.col_off), float(window.row_off)
    return left, top, left + window.width, top + window.height


def _enclose(
    lines: Geometries, rectangle: tuple[float, float, float, float], *, empty_is_inside: bool
) -> Geometries:
    """Return the areas of a rectangle that lie on one side of lines through it.

    Args:
        lines: Rings, and lines that end on the rectangle; the area is on the left of each as
            (col, row) are drawn with rows upward.
        rectangle: (first col, first row, last col, last row).
        empty_is_inside: Whether the border belongs to the area if no line ends on it.

    Returns:
        Polygons whose edges are exactly the lines, and parts of the rectangle.
    """
    is_open = ~shapely.is_closed(lines)
    ends = shapely.get_coordinates(shapely.get_point(lines[is_open], -1))
    starts = shapely.get_coordinates(shapely.get_point(lines[is_open], 0))
    if not len(ends):
        border = [shapely.box(*rectangle).boundary] if empty_is_inside else []
        return _areas([*lines.tolist(), *border])
    left, top, right, bottom = rectangle
    corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom]])
    places = np.concatenate([ends, starts, corners])
    around = _along_border(places, rectangle)
    order = np.argsort(around, kind="stable")
    kinds = np.repeat([1, -1, 0], [len(ends), len(starts), 4])[order]
    places = places[order]
    # With the area on the left, the way goes on along the border from an end to the next start.
    beginning = int(np.flatnonzero(kinds == 1)[0])
    kinds, places = np.roll(kinds, -beginning), np.roll(places, -beginning, axis=0)
    inside = np.cumsum(kinds) > 0
    following = np.roll(places, -1, axis=0)
    border_parts = np.asarray(shapely.linestrings(np.stack([places, following], 1)[inside]))
    return _areas([*lines.tolist(), *border_parts.tolist()])


def _along_border(
    places: NDArray[np.float64], rectangle: tuple[float, float, float, float]
) -> NDArray[np.float64]:
    """Return how far along the border places on it lie, from the first corner along its row."""
    left, top, right, bottom = rectangle
    width, height = right - left, bottom - top
    col, row = places[:, 0], places[:, 1]
    return np.select(
        [row == top, col == right, row == bottom],
        [col - left, width + row - top, width + height + right - col],
        2 * width + height + bottom - row,
    )


def _areas(boundaries: list[shapely.Geometry]) -> Geometries:
    """Return the polygons that lines enclose which are all of their boundaries."""
    if not boundaries:
        return np.empty(0, dtype=object)
    return shapely.get_parts(shapely.build_area(shapely.geometrycollections(boundaries)))


def _trace_clouds(image: SyntheticImage, window: Window) -> Geometries:
    """Return the outlines of the clouds over a window, to a pixel or two."""
    left, top, right, bottom = _rectangle(window)
    rows = np.append(np.arange(top, bottom, _CLOUD_STEP), bottom)
    cols = np.append(np.arange(left, right, _CLOUD_STEP), right)
    if not image.imaging.clouds:
        return np.empty(0, dtype=object)
    generator = contourpy.contour_generator(
        x=cols,
        y=rows,
        z=image.cloud_at(rows, cols),
        fill_type=contourpy.FillType.ChunkCombinedOffsetOffset,
    )
    filled = cast("tuple[list[NDArray[Any]], ...]", generator.filled(_CLOUDY, np.inf))
    points, rings, polygons = (chunks[0] for chunks in filled)
    if points is None:
        return np.empty(0, dtype=object)
    offsets = rings.astype(np.int64), polygons.astype(np.int64)
    return shapely.from_ragged_array(shapely.GeometryType.POLYGON, points, offsets)


def plan_sheets(height: int, width: int) -> Iterator[Window]:
    """Yield the sheets that a scene is divided into."""
    for row in range(0, height, SHEET):
        for col in range(0, width, SHEET):
            yield Window(
                row_off=row,
                col_off=col,
                height=min(SHEET, height - row),
                width=min(SHEET, width - col),
            )


class TruthWriter:
    """Writes sheets into a GeoPackage with the layers `waterline`, `water` and `cloud`."""

    def __init__(self, path: Path, *, transform: Affine, crs: str, time: datetime) -> None:
        self._path, self._transform, self._crs, self._time = path, transform, crs, time

    def write(self, sheet: Sheet) -> None:
        """Append a sheet's vectors, in the scene's CRS."""
        for layer, geometries in sheet._asdict().items():
            kind = "LineString" if layer == "waterline" else "Polygon"
            times = np.full(len(geometries), self._time.isoformat())
            table = geopandas.GeoDataFrame(
                {"time": times.astype(object)},
                geometry=shapely.transform(geometries, self._to_map),
                crs=self._crs,
            )
            with _gdal_dates(self._time):
                pyogrio.write_dataframe(
                    table,
                    self._path,
                    layer=layer,
                    driver="GPKG",
                    geometry_type=kind,
                    append=self._path.exists(),
                    # 1.4, GDAL's own choice from 3.11 on, makes older QGIS warn.
                    dataset_options={"VERSION": "1.3"},
                )

    def _to_map(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn (col, row), measured from the corner of the scene, into (x, y)."""
        col, row = places.T
        x, y = self._transform @ (col, row)
        return np.stack([x, y], axis=1)


@contextmanager
def _gdal_dates(time: datetime) -> Iterator[None]:
    """Let a GeoPackage say that it is as old as its content: the same input, the same bytes."""
    before = pyogrio.get_gdal_config_option("OGR_CURRENT_DATE")
    pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": f"{time:%Y-%m-%dT%H:%M:%S}.000Z"})
    try:
        yield
    finally:
        pyogrio.set_gdal_config_options({"OGR_CURRENT_DATE": before})

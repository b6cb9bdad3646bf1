"""From a field to the layers that people use: coastline, water and land, with what they say."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import geopandas
import numpy as np
import pandas as pd
import rasterio
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window
from scipy.special import logit
from shapely.geometry.base import BaseGeometry

from geounet import qgis
from geounet.bands import Band
from geounet.coastline import median_widths
from geounet.contours import Geometries
from geounet.errors import ConfigError
from geounet.flags import CoastFlags, flag_column
from geounet.formats import VectorOptions, finish_layers
from geounet.ground import Ground
from geounet.layers import Batch, LayerWriter, output_time, set_values
from geounet.line_options import LineOptions
from geounet.outputs import Stage
from geounet.progress import Progress
from geounet.scene.raster import CACHE_BYTES
from geounet.shoreline import Drawn, Shoreline
from geounet.styles import Quantity, area_style, line_style
from geounet.vectors import crs_of
from geounet.water_bodies import LAKE, SEA, UNKNOWN, WaterBodies, read_sea

SUREST = 1e-4
"""Probability below which, and above 1 - which, a line is placed as if it were this."""

MEASURED_LEVEL = 0.5
"""Probability at which lines are drawn whose `position_u95_m` a training measures."""

LEAST_CACHE = 16 * 2**20
"""Bytes that GDAL may keep of a raster that is contoured, however small its blocks are."""

MOST = 64.0
"""How far values are from the level at most, where lines are placed."""

QUARTERS_APART = float(logit(0.75) - logit(0.25))
"""Log-odds between the lines at 0.25 and 0.75, whose distance is `edge_width_m`."""


class Subject(Protocol):
    """What lines are drawn of: a scene, or a raster of anyone's."""

    name: str
    time: datetime | None
    geobox: GeoBox
    res_m: tuple[float, float]

    def warn(self, text: str) -> None:
        """Warn of something, and note it for the record."""


@dataclass(frozen=True)
class Field:
    """What a scene is contoured by, on its grid."""

    path: Path
    """Float32 GeoTIFF, tiled; NaN where invalid."""
    quantity: Quantity
    """Probability of water, 0–1; an index that is higher over water; or a mask, 1 over water and 0
    over land."""
    level: float
    """Where water begins."""
    bands: Sequence[Band]
    """What it was made of."""
    classes: Path | None = None
    """Most probable class, uint8, 255 where invalid, if there are more than two."""
    aoi: BaseGeometry | None = None
    """Where it was asked for, in the scene's CRS; None for everywhere."""
    unit: float = 1.0
    """What an index is measured in where lines are placed, a power of two; see `unit_of`."""


def check_lines(scene: Subject, options: LineOptions) -> None:
    """See that lines of a scene can be drawn as asked, before anything is computed.

    Raises:
        ConfigError: Its water level is not known, where a table should tell it.
        AreaError: What says where the sea is cannot be read.
    """
    options.water_level_of(scene.time, scene.name)
    if options.sea is not None:
        read_sea(options.sea, scene.geobox)


def line_level(field: Field, options: LineOptions) -> float:
    """Return the value of the field along its lines.

    Raises:
        ConfigError: It is none that the field has.
    """
    if options.level is None:
        return field.level
    if field.quantity == "mask":
        raise ConfigError("A mask has no values between water and land to draw a line at.")
    if field.quantity == "probability" and not 0 < options.level < 1:
        raise ConfigError(
            f"A line at {options.level:g} is not possible: a probability lies between 0 and 1."
        )
    return options.level


def write_vectors(
    stage: Stage,
    scene: Subject,
    field: Field,
    coast: CoastFlags,
    attributes: Mapping[str, Any],
    vectors: VectorOptions,
    progress: Progress,
    options: LineOptions = LineOptions(),  # noqa: B008  frozen
) -> None:
    """Draw the field strip by strip, and write what is whole.

    Args:
        stage: Where `NAME.gpkg` and other formats are written.
        scene: What the field was made of.
        field: What to contour.
        coast: Cuts lines where they go under cloud.
        attributes: What each line and area carries besides; `position_u95_m` is of lines alone.
        vectors: In which formats and CRS.
        progress: Told of strips.
        options: How lines and areas are drawn.

    Raises:
        ConfigError: The level of the lines, or of the water, cannot be what is asked.
        AreaError: What says where the sea is cannot be read.
    """
    level, time = line_level(field, options), output_time(scene.time)
    common = {"level": level, "model": None, **attributes}
    if level != MEASURED_LEVEL:
        common["position_u95_m"] = None  # of another line
    convert = None
    if field.quantity == "probability":
        convert = log_odds(level)
    elif field.unit != 1:
        convert = in_units(field.unit)
    inner = level if convert is None else float(convert(np.array([level]))[0])
    writer = _Layers(stage, scene, field, coast, options, common)
    with rasterio.open(field.path) as src, rasterio.Env(GDAL_CACHEMAX=_cache_bytes(src)):

        def read(start: int, stop: int) -> NDArray[np.floating[Any]]:
            values = src.read(1, window=Window(0, start, src.width, stop - start))
            return values if convert is None else convert(values)

        shoreline = Shoreline(
            src.shape, writer.ground, level=inner, options=options, spread=QUARTERS_APART
        )
        parts = shoreline.draw(read, scene.res_m)
        for drawn in progress(parts, label="coastline", total=shoreline.steps()):
            writer.add(drawn)
    writer.finish()
    styles = {"coastline": line_style(field.quantity, scene.res_m), "water": area_style("water")}
    if options.land:
        styles["land"] = area_style("land")
    styles_qml = {layer: qgis.qml(style) for layer, style in styles.items()}
    finish_layers(stage, scene.geobox, styles_qml, time, vectors)


class _Layers:
    """The layers of a GeoPackage while it is written."""

    def __init__(
        self,
        stage: Stage,
        scene: Subject,
        field: Field,
        coast: CoastFlags,
        options: LineOptions,
        common: Mapping[str, Any],
    ) -> None:
        self._scene, self._field, self._coast, self._options = scene, field, coast, options
        self._common = common
        self._water_level = options.water_level_of(scene.time, scene.name)
        self.ground = Ground(scene.geobox)
        self.batches = Batch(), Batch(), Batch()
        """Lines, water and land."""
        self._path, time = stage.path(".gpkg"), output_time(scene.time)
        self._coastline = LayerWriter(self._path, "coastline", "LineString", time)
        self._water = LayerWriter(self._path, "water", "Polygon", time)
        self._land = LayerWriter(self._path, "land", "Polygon", time) if options.land else None
        sea = options.sea
        self._bodies = None if sea is None else WaterBodies(read_sea(sea, scene.geobox))
        self._drawn = 0

    def add(self, drawn: Drawn) -> None:
        """Take more shapes, and write what is held once it is enough."""
        for batch, shapes in zip(self.batches, drawn, strict=True):
            batch.add(shapes)
        if any(batch.is_full for batch in self.batches):
            self._write()

    def _write(self) -> None:
        """Write what is held; lines first, so that water finds what bounds it."""
        lines, water, land = (batch.take() for batch in self.batches)
        self._coastline.write(self._line_features(lines))
        kinds: Any = _text_column(UNKNOWN, len(water))
        if self._bodies is not None:
            kinds = pd.array(self._bodies.add_areas(water), dtype="string")
        self._water.write(self._area_features(water, {"kind": kinds}))
        if self._land is not None:
            self._land.write(self._area_features(land, {}))

    def finish(self) -> None:
        """Write the rest, tell lines what they bound, and say what is missing."""
        self._write()
        for layer in (self._coastline, self._water, self._land):
            if layer is not None:
                layer.flush()
        if self._bodies is not None:
            for kind in (SEA, LAKE):
                # Features are numbered from 1 in a GeoPackage.
                set_values(self._path, "coastline", "kind", kind, self._bodies.features(kind) + 1)
            if note := self._bodies.note(*self._scene.geobox.shape):
                self._scene.warn(note)
        lines, water, _ = self.batches
        if not lines.total:
            found = "no land found beside water" if water.total else "no water found"
            self._scene.warn(f"{found}, so no coastline is drawn")
        elif not self._drawn:
            self._scene.warn(
                f"all lines are shorter than {self._options.min_length_m:g} m (--min-length), so "
                "no coastline is drawn"
            )

    def _line_features(self, whole: Geometries) -> geopandas.GeoDataFrame:
        options, ground = self._options, self.ground
        long = np.ones(len(whole), dtype=bool)
        if options.min_length_m:
            long = ground.lengths_m(whole) >= options.min_length_m
        lines, flags = self._coast.split(whole[long])
        if self._bodies is not None:
            pieces = np.zeros(len(whole), dtype=np.int64)
            pieces[long] = _pieces_of(whole[long], lines)
            self._bodies.add_lines(whole, pieces)
        self._drawn += len(lines)
        lengths_m = ground.lengths_m(lines)
        self._coast.count(lengths_m, flags)
        count, is_probability = len(lines), self._field.quantity == "probability"
        columns = {
            "kind": _text_column(UNKNOWN, count),
            "length_m": lengths_m,
            "edge_width_m": median_widths(lines) if is_probability else _number_column(None, count),
            "position_u95_m": _number_column(self._common.get("position_u95_m"), count),
            "cloud_suspect": flag_column(flags),
        }
        last = {
            "water_level_m": _number_column(self._water_level.metres, count),
            "level_datum": _text_column(self._water_level.datum, count),
            "level_source": _text_column(self._water_level.source, count),
        }
        return _features(ground.place(lines), columns, self._scene, self._common, last)

    def _area_features(
        self, areas: Geometries, columns: Mapping[str, Any]
    ) -> geopandas.GeoDataFrame:
        rest = {name: value for name, value in self._common.items() if name != "position_u95_m"}
        all_columns = {"area_m2": self.ground.areas_m2(areas), **columns}
        return _features(self.ground.place(areas), all_columns, self._scene, rest, {})


def _pieces_of(lines: Geometries, pieces: Geometries) -> NDArray[np.int64]:
    """Return into how many pieces each line was cut; they are in the order of the lines."""
    line_ends, piece_ends = (
        np.cumsum(shapely.get_num_coordinates(shapes) - 1) for shapes in (lines, pieces)
    )
    owner = np.searchsorted(line_ends, piece_ends)
    return np.bincount(owner, minlength=len(lines)).astype(np.int64)


def _cache_bytes(src: rasterio.DatasetReader) -> int:
    """Return what GDAL's cache needs for strips to pass through a raster: two rows of its blocks.

    All that it may have besides would be filled with rows that nobody asks for again.
    """
    (rows, _), *_ = src.block_shapes
    needed = 2 * rows * src.width * np.dtype(src.dtypes[0]).itemsize
    return min(max(needed, LEAST_CACHE), CACHE_BYTES)


def unit_of(most: float) -> float:
    """Return in what to measure an index so that its lines keep clear of pixels' centres.

    A line comes to a centre as near as `NEAREST` is to the difference between two values. Of values
    in millions, or beside an undeclared nodata of -32768, that would be less than coordinates of a
    map can tell apart, and areas would cross themselves; of values that are next to nothing all
    would be at the level, and lines halfway between centres.

    Args:
        most: How far values are from the level at most.

    Returns:
        A power of two, so that dividing by it changes no digit; 1 where nothing needs be done.
    """
    if 1 / MOST <= most <= MOST or most == 0:
        return 1.0
    return float(2.0 ** np.ceil(np.log2(most / MOST)))


def in_units(unit: float) -> Callable[[NDArray[np.floating[Any]]], NDArray[np.float64]]:
    """Return what takes values to units, see `unit_of`."""

    def convert(values: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        return values.astype(np.float64) / unit

    return convert


def log_odds(level: float) -> Callable[[NDArray[np.floating[Any]]], NDArray[np.float64]]:
    """Return what turns probabilities into log-odds, in which the line at `level` is placed.

    Across an edge the log-odds of a network go up evenly, its probability does not: it is nearly 0,
    then nearly 1, and a line interpolated in it keeps to the middle between two pixels, however
    much water each of them holds. The line crosses between the same pixels either way.

    Args:
        level: Of the line; probabilities are cut off well beyond it, where they say how sure the
            network is and not how far the edge.
    """
    least = min(SUREST, level / 2, (1 - level) / 2)

    def convert(probability: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
        # As float64, or a probability next to the level might change sides of it.
        return logit(np.clip(probability.astype(np.float64), least, 1 - least))

    return convert


def _features(
    shapes: Geometries,
    columns: Mapping[str, Any],
    scene: Subject,
    common: Mapping[str, Any],
    last: Mapping[str, Any],
) -> geopandas.GeoDataFrame:
    count = len(shapes)
    time = pd.NaT if scene.time is None else pd.Timestamp(output_time(scene.time))
    more = {
        "scene": _text_column(scene.name, count),
        "time": pd.Series([time] * count, dtype="datetime64[ms, UTC]"),
    } | {
        name: _number_column(value, count)
        if isinstance(value, int | float)
        else _text_column(value, count)
        for name, value in common.items()
        if name not in columns
    }
    return geopandas.GeoDataFrame(
        {**columns, **more, **last}, geometry=shapes, crs=crs_of(scene.geobox).to_wkt()
    )


def _number_column(value: float | None, count: int) -> NDArray[np.float64]:
    """One number for all, or null for all."""
    return np.full(count, np.nan if value is None else value, dtype=np.float64)


def _text_column(value: str | None, count: int) -> Any:
    """One text for all, or null for all: text also where there is none."""
    return pd.array([value] * count, dtype="string")

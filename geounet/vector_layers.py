"""From a field to the layers that people use: coastline, water and land, with what they say."""

import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from geounet import qgis
from geounet.allocation import give_back
from geounet.bands import Band
from geounet.coastline import median_widths
from geounet.errors import ConfigError
from geounet.flags import CoastFlags, flag_column
from geounet.formats import VectorOptions, finish_layers
from geounet.ground import Ground
from geounet.layers import LayerWriter, output_time, set_values, with_shapes
from geounet.line_options import LineOptions
from geounet.outputs import Stage
from geounet.progress import Progress
from geounet.ragged import Areas, Lines
from geounet.scene.raster import CACHE_BYTES, forget_blocks
from geounet.shoreline import Drawn, Shoreline
from geounet.styles import Quantity, area_style, line_style, wide_edge_m
from geounet.tracing import Scale
from geounet.vectors import crs_of
from geounet.water_bodies import LAKE, SEA, UNKNOWN, WaterBodies, read_sea
from geounet.wkb import areas_as_wkb, lines_as_wkb

MEASURED_LEVEL = 0.5
"""Probability at which lines are drawn whose `position_u95_m` a training measures."""

LEAST_CACHE = 16 * 2**20
"""Bytes that GDAL may keep of a raster that is contoured, however small its blocks are."""

MOST = 64.0
"""How far values are from the level at most, where lines are placed."""

VERTICES_IN_BATCH = 2**16
"""Lines and areas are made into tables when one of them has that many: each takes milliseconds."""

QUARTERS_APART = 2 * float(np.log(3))
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
    scale = Scale.in_units(level, field.unit)
    if field.quantity == "probability":
        scale = Scale.log_odds(level)
    writer = _Layers(stage, scene, field, coast, options, common)
    forget_blocks()
    with (
        # Past its cache, where blocks are not compressed: a row of them is as much as two strips.
        rasterio.Env(GTIFF_DIRECT_IO=True),
        rasterio.open(field.path) as src,
        rasterio.Env(GDAL_CACHEMAX=_cache_bytes(src)),
    ):
        one_at_a_time = threading.Lock()  # GDAL's datasets are not to be shared

        def read(start: int, stop: int) -> NDArray[np.floating[Any]]:
            with one_at_a_time:
                return src.read(1, window=Window(0, start, src.width, stop - start))

        shoreline = Shoreline(
            src.shape, writer.ground, scale=scale, options=options, spread=QUARTERS_APART
        )
        with closing(shoreline.draw(read, scene.res_m)) as parts:
            writer.write(progress(parts, label="coastline", total=shoreline.steps()))
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
        self._wide_m = wide_edge_m(field.quantity, scene.res_m)
        self.ground, self._transform = Ground(scene.geobox), scene.geobox.transform
        self._crs = CRS.from_wkt(crs_of(scene.geobox).to_wkt())
        self._total = np.zeros(2, dtype=np.int64)
        """How many lines and areas of water there have been."""
        self._path, time = stage.path(".gpkg"), output_time(scene.time)
        self._coastline = LayerWriter(self._path, "coastline", "LineString", time)
        self._water = LayerWriter(self._path, "water", "Polygon", time)
        self._land = LayerWriter(self._path, "land", "Polygon", time) if options.land else None
        sea = options.sea
        self._bodies = None if sea is None else WaterBodies(read_sea(sea, scene.geobox))
        self._drawn = 0

    def write(self, parts: Iterable[Drawn]) -> None:
        """Write lines as they are drawn, and have areas wait."""
        self._coastline.write_while(self._tables(parts), self._crs)

    def _tables(self, parts: Iterable[Drawn]) -> Iterator[pa.Table]:
        """Make tables of what is drawn, as soon as it is enough; of lines, and areas beside."""
        held: list[Drawn] = []
        for drawn in parts:
            # What is enough by itself is not copied to be joined with others.
            if held and _vertices([drawn]) > VERTICES_IN_BATCH:
                yield self._table_of_lines(held)
                self._keep_areas(held)
                held = []
            held.append(drawn)
            if _vertices(held) > VERTICES_IN_BATCH:
                yield self._table_of_lines(held)
                self._keep_areas(held)
                held = []
        yield self._table_of_lines(held)
        self._keep_areas(held)

    def _keep_areas(self, held: Sequence[Drawn]) -> None:
        """Take areas, once the lines that bound them are written."""
        water = Areas.joined([drawn.water for drawn in held])
        self._total[1] += len(water)
        kinds = _text_column(UNKNOWN, len(water))
        if self._bodies is not None:
            kinds = pa.array(self._bodies.add_areas(water), pa.string())
        self._write_areas(self._water, water, {"kind": kinds})
        if self._land is not None:
            self._write_areas(self._land, Areas.joined([drawn.land for drawn in held]), {})

    def finish(self) -> None:
        """Write areas, tell lines what they bound, and say what is missing."""
        # What strips took is free, in pieces too small for areas that GDAL encodes whole.
        give_back()
        for layer in (self._water, self._land):
            if layer is not None:
                layer.flush()
        if self._bodies is not None:
            for kind in (SEA, LAKE):
                # Features are numbered from 1 in a GeoPackage.
                set_values(self._path, "coastline", "kind", kind, self._bodies.features(kind) + 1)
            if note := self._bodies.note(*self._scene.geobox.shape):
                self._scene.warn(note)
        lines, water = self._total
        if not lines:
            found = "no land found beside water" if water else "no water found"
            self._scene.warn(f"{found}, so no coastline is drawn")
        elif not self._drawn:
            self._scene.warn(
                f"all lines are shorter than {self._options.min_length_m:g} m (--min-length), so "
                "no coastline is drawn"
            )

    def _table_of_lines(self, held: Sequence[Drawn]) -> pa.Table:
        options, ground = self._options, self.ground
        whole = Lines.joined([drawn.lines for drawn in held])
        self._total[0] += len(whole)
        long = np.ones(len(whole), dtype=bool)
        drawn = whole
        if options.min_length_m:
            long = ground.lengths_m(whole) >= options.min_length_m
            drawn = whole.take(long)
        lines, flags = self._coast.split(drawn, self._wide_m)
        if self._bodies is not None:
            pieces = np.zeros(len(whole), dtype=np.int64)
            pieces[long] = _pieces_of(drawn, lines)
            self._bodies.add_lines(whole, pieces)
        self._drawn += len(lines)
        lengths_m = ground.lengths_m(lines)
        self._coast.count(lengths_m, flags)
        count, is_probability = len(lines), self._field.quantity == "probability"
        columns = {
            "kind": _text_column(UNKNOWN, count),
            "length_m": pa.array(lengths_m),
            "edge_width_m": _measured_column(median_widths(lines))
            if is_probability
            else _number_column(None, count),
            "position_u95_m": _number_column(self._common.get("position_u95_m"), count),
            "cloud_suspect": flag_column(flags),
        }
        last = {
            "water_level_m": _number_column(self._water_level.metres, count),
            "level_datum": _text_column(self._water_level.datum, count),
            "level_source": _text_column(self._water_level.source, count),
        }
        table = _table(columns, self._scene, self._common, last)
        shapes = lines_as_wkb(lines, self._transform, backwards=ground.is_mirrored)
        return with_shapes(table, shapes)

    def _write_areas(self, layer: LayerWriter, areas: Areas, columns: Mapping[str, Any]) -> None:
        rest = {name: value for name, value in self._common.items() if name != "position_u95_m"}
        columns = {"area_m2": pa.array(self.ground.areas_m2(areas)), **columns}
        shapes = areas_as_wkb(areas, self._transform, backwards=self.ground.is_mirrored)
        features = with_shapes(_table(columns, self._scene, rest, {}), shapes)
        layer.write_table(features, self._crs)


def _vertices(held: Sequence[Drawn]) -> int:
    """Return how many there are of the kind of shape that has most of them."""
    return max(sum(len(shapes.points) for shapes in kind) for kind in zip(*held, strict=True))


def _pieces_of(lines: Lines, pieces: Lines) -> NDArray[np.int64]:
    """Return into how many pieces each line was cut; they are in the order of the lines."""
    line_ends, piece_ends = (np.cumsum(np.diff(one.offsets) - 1) for one in (lines, pieces))
    owner = np.searchsorted(line_ends, piece_ends)
    return np.bincount(owner, minlength=len(lines)).astype(np.int64)


def _cache_bytes(src: rasterio.DatasetReader) -> int:
    """Return what GDAL's cache may take while strips pass through a raster: a row of its blocks.

    All that it may have besides would be filled with rows that nobody asks for again.
    """
    (rows, cols), *_ = src.block_shapes
    needed = rows * (src.width + 4 * cols) * np.dtype(src.dtypes[0]).itemsize
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


def _table(
    columns: Mapping[str, pa.Array],
    scene: Subject,
    common: Mapping[str, Any],
    last: Mapping[str, pa.Array],
) -> pa.Table:
    """Return what features say: `columns`, what is the same for all, and `last`."""
    count = len(next(iter(columns.values())))
    time = None if scene.time is None else output_time(scene.time)
    more = {
        "scene": _text_column(scene.name, count),
        "time": pa.repeat(pa.scalar(time, pa.timestamp("ms", "UTC")), count),
    } | {
        name: _number_column(value, count)
        if isinstance(value, int | float)
        else _text_column(value, count)
        for name, value in common.items()
        if name not in columns
    }
    return pa.table({**columns, **more, **last})


def _measured_column(values: NDArray[np.float64]) -> pa.Array:
    """Numbers, null where they are NaN."""
    return pa.array(values, from_pandas=True)


def _number_column(value: float | None, count: int) -> pa.Array:
    """One number for all, or null for all."""
    known = None if value is None or np.isnan(value) else float(value)
    return pa.repeat(pa.scalar(known, pa.float64()), count)


def _text_column(value: str | None, count: int) -> pa.Array:
    """One text for all, or null for all: text also where there is none."""
    return pa.repeat(pa.scalar(value, pa.string()), count)

"""The coastline of a probability, an index or a mask that somebody else made."""

import platform
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geounet import __version__
from geounet.any_raster import (
    AnyRaster,
    Quantity,
    RasterOptions,
    Values,
    note_nodata,
    recognise,
    water_values,
)
from geounet.classes import LAND_WATER
from geounet.cog import PROBABILITY_STEPS, blocks
from geounet.errors import OutputError, SceneError
from geounet.flags import (
    CoastFlags,
    FlagWriter,
    PixelCounts,
    cloud_note,
    describe_clouds,
    earlier_clouds_note,
)
from geounet.formats import VectorOptions
from geounet.line_options import LineOptions
from geounet.outputs import FORMAT, Stage, existing_files, stage_set
from geounet.products import Field, check_lines, write_rasters, write_styles, write_vectors
from geounet.progress import Progress, silent
from geounet.scene import gdal_environment
from geounet.scene.remote import scrub
from geounet.stitch import open_canvas
from geounet.threshold import BINS, Threshold, count_values, doubt_of, otsu
from geounet.vector_layers import unit_of

RARE = 1e-3
"""Share of the values that may lie beyond each end of a histogram: a few wild pixels must not leave
all others in one bin."""
FEW = 8
"""Bins that tell nothing: values in so few are counted in finer ones."""
NARROWED = 3
"""How often a histogram is, at most."""
HALF = 0.5

STRAIGHT_SHARE, STRAIGHT_LEAST = 0.2, 100
"""Share of a side, and pixels, from which an edge of a mask along one row or column is no coast."""
STRAIGHT_PX = 3
"""Rows or columns over which such an edge may lie: it is tilted a little where the mask was warped
from another grid."""
SPECKLE = 5
"""How many times more of it there is than along most rows: of a mask full of specks, there is much
along all."""


@dataclass(frozen=True)
class DrawSettings:
    """What a user may say of a coastline."""

    level: float | Literal["otsu"] | None = None
    """Value from which a pixel is water, in the raster's own unit; None is 0.5 for a probability
    and `otsu` for an index."""
    lines: LineOptions = LineOptions()  # noqa: RUF009  frozen
    """How lines and areas are drawn."""
    vectors: VectorOptions = VectorOptions()  # noqa: RUF009  frozen
    """In which formats and CRS they are written."""
    overwrite: bool = False
    """Whether results that exist are replaced."""
    report: bool = False
    """Whether a page is drawn of the result."""
    command_line: str | None = None
    """What was typed, for the record; None where nobody typed anything."""


class _Drawn(NamedTuple):
    """What was made of a raster."""

    field: Field
    values: Values
    """As they are in the raster."""
    threshold: Threshold
    """Of the raster, not of the field, which is the other way round with `--invert`."""
    water: frozenset[float] | None
    """Of a mask."""
    flags: Path | None
    """Which pixels are near clouds; None where nobody knows."""
    pixels: PixelCounts


def draw_coastline(
    source: str | Path,
    out: Path,
    settings: DrawSettings = DrawSettings(),
    options: RasterOptions = RasterOptions(),  # noqa: B008  frozen
    progress: Progress = silent,
) -> Path:
    """Draw the coastline of any raster that says where water is, with the outputs of a baseline.

    All that is written is in terms of water: with `options.invert` a probability p becomes 1 − p,
    an index −index, and the level with it.

    Args:
        source: Path, or anything GDAL opens.
        out: Folder for the results; made if absent.
        settings: Where the line is, and what is written.
        options: What the user said about the raster.
        progress: Told of blocks and strips.

    Returns:
        The record, `out/NAME.json`.

    Raises:
        SceneError: The raster cannot be read, has no data, does not say where it lies, or not
            what its values mean.
        ConfigError: Its water level is not known, where a table should tell it.
        AreaError: What says where the sea is cannot be read.
        OutputError: The results exist, or cannot be written.
    """
    start = time.perf_counter()
    with gdal_environment(), AnyRaster(source, options) as raster:
        check_lines(raster, settings.lines)
        own = existing_files(out, raster.name)
        if Path(source).exists() and any(path.samefile(source) for path in own):
            raise OutputError(
                f"{source} is itself a part of the result {out / raster.name}.json. "
                "Give another --out or --name."
            )
        with stage_set(out, raster.name, overwrite=settings.overwrite) as (stage, record):
            drawn = _write_field(raster, stage, settings, options, progress)
            if drawn.water is not None and (said := straight_edge(drawn.field.path)):
                raster.warn(said)
            field, coast = drawn.field, CoastFlags(drawn.flags)
            in_steps = raster.in_steps and field.quantity == "probability"
            write_rasters(
                stage, raster, field, LAND_WATER, "uint8" if in_steps else "float32", progress
            )
            attributes = _attributes(raster, field)
            vectors, lines = settings.vectors, settings.lines
            write_vectors(stage, raster, field, coast, attributes, vectors, progress, lines)
            write_styles(stage, raster, field, LAND_WATER, vectors, picture=False, land=lines.land)
            clouds = describe_clouds(raster, drawn.pixels, coast)
            if note := cloud_note(clouds):
                raster.warn(note)
            elif raster.quality is None and raster.record:
                raster.inform(earlier_clouds_note(raster.record))
            record.update(_record(raster, settings, options, drawn) | {"clouds": clouds})
            record["timings"] = {"total": round(time.perf_counter() - start, 3)}
            if settings.report:
                from geounet.result_page import Result, write_page  # bokeh is slow to import

                write_page(Result(stage.scratch, stage.name, record), stage, progress)
    return out / f"{raster.name}.json"


def _write_field(
    raster: AnyRaster,
    stage: Stage,
    settings: DrawSettings,
    options: RasterOptions,
    progress: Progress,
) -> _Drawn:
    """Write what is contoured: first the values as they are, whose kind is then known."""
    path, values = stage.temporary("field.tif"), Values()
    windows = list(blocks(raster.geobox))
    flags = stage.temporary("flags.tif") if raster.quality else None
    with ExitStack() as files:
        canvas = files.enter_context(
            open_canvas(path, raster.geobox, dtype="float32", nodata=np.nan)
        )
        flagged = files.enter_context(FlagWriter.open(flags, raster)) if flags else None
        for window in progress(windows, label=raster.name, total=len(windows)):
            block = raster.read(window)
            if flagged:
                flagged.write(window, np.isfinite(block))
            if options.clouds.mask:
                block[raster.clouds.mask(window)] = np.nan
            values.add(block)
            canvas.write(block, 1, window=window)
    if not values.pixels:
        raise SceneError(
            f"{raster.source} has no valid pixel{raster.clouds.or_masked}. Check its nodata value."
        )
    note_nodata(raster, values)
    quantity = recognise(raster, values, options)
    water = water_values(raster, values, options) if quantity == "mask" else None
    threshold = _threshold(raster, quantity, settings, path, values)
    convert, level = _in_terms_of_water(raster, quantity, water, threshold.value, options)
    if convert is not None:
        with rasterio.open(path, "r+") as canvas:
            for window in blocks(raster.geobox):
                canvas.write(convert(canvas.read(1, window=window)), 1, window=window)
    pixels = flagged.counts if flagged else PixelCounts()
    unit = 1.0
    if quantity == "index":
        unit = unit_of(max(values.most - threshold.value, threshold.value - values.least))
    field = Field(path, quantity, level, (), unit=unit)
    return _Drawn(field, values, threshold, water, flags, pixels)


def _threshold(
    raster: AnyRaster, quantity: Quantity, settings: DrawSettings, path: Path, values: Values
) -> Threshold:
    """Return where water begins, in the raster's own unit.

    Raises:
        SceneError: The level does not go with the raster.
    """
    level = settings.level
    if quantity == "mask":
        if level is not None:
            raise SceneError(
                f"{raster.source} is a mask, whose line runs between its pixels: no --level. Name "
                "its values with --water, or give --quantity index."
            )
        return Threshold(HALF, None)
    if level is None:
        level = HALF if quantity == "probability" else "otsu"
    if level == "otsu":
        return _otsu(raster, path, values)
    if quantity == "probability" and not 0 < level < 1:
        raise SceneError(f"--level {level:g} is no probability between 0 and 1.")
    if not values.least <= level <= values.most:
        raster.warn(f"--level {level:g} lies outside of its {values}")
    return Threshold(level, None)


def _otsu(raster: AnyRaster, path: Path, values: Values) -> Threshold:
    """Find the threshold of the values in `path`, whatever their unit."""
    low, high = values.least, values.most
    if low == high:
        raise SceneError(
            f"{raster.source} has the same value everywhere, {low:g}, so Otsu finds nothing to "
            "divide. Give --level."
        )
    # An index that lies in [-1, 1] gets the bins of the baseline, and so its threshold; not one
    # that lies in a few of them.
    bounded = low >= -1 and high <= 1 and (high - low) * BINS / 2 >= FEW
    low, high = (-1.0, 1.0) if bounded else (low, high)
    histogram = _histogram(raster, path, low, high)
    for _ in range(0 if bounded else NARROWED):
        share = np.cumsum(histogram) / histogram.sum()
        first, last = np.searchsorted(share, (RARE, 1 - RARE)).tolist()
        if last - first >= BINS / 10:
            break
        width = (high - low) / BINS
        low, high = low + first * width, low + (last + 1) * width
        histogram = _histogram(raster, path, low, high)
    found = otsu(histogram)
    value = low + (found.value + 1) / 2 * (high - low)
    threshold = Threshold(value, found.separability)
    if doubt := doubt_of(threshold, "The raster"):
        raster.warn(f"{doubt}; compare it with another --level")
    return threshold


def _histogram(raster: AnyRaster, path: Path, low: float, high: float) -> NDArray[np.int64]:
    """Count values between two; those beyond count as next to them."""
    histogram = np.zeros(BINS, dtype=np.int64)
    with rasterio.open(path) as src:
        for window in blocks(raster.geobox):
            block = src.read(1, window=window)
            known = block[np.isfinite(block)].astype(np.float64)
            histogram += count_values(np.clip((known - low) / (high - low) * 2 - 1, -1, 1))
    return histogram


def _in_terms_of_water(
    raster: AnyRaster,
    quantity: Quantity,
    water: frozenset[float] | None,
    level: float,
    options: RasterOptions,
) -> tuple[Callable[[NDArray[np.float32]], NDArray[np.float32]] | None, float]:
    """Return what makes of the values what is contoured, None if nothing, and its level."""
    if water is not None:
        wanted = np.array(sorted(water), dtype=np.float32)

        def to_share(values: NDArray[np.float32]) -> NDArray[np.float32]:
            inside = np.isin(values, wanted) != options.invert
            return np.where(np.isnan(values), values, inside.astype(np.float32))

        return to_share, HALF
    if quantity == "index":
        return (np.negative, -level) if options.invert else (None, level)
    # A step holds all that was rounded to it. At both ends it is half as wide, and 0 stands for a
    # quarter of a step on average: taken for 0, the network would be surer than it is, and the line
    # be drawn away from it.
    least = np.float32(1 / (4 * PROBABILITY_STEPS) if raster.in_steps else 0)

    def to_water(values: NDArray[np.float32]) -> NDArray[np.float32]:
        inside = np.clip(values, least, np.float32(1) - least)
        return np.float32(1) - inside if options.invert else inside

    return to_water, 1 - level if options.invert else level


def straight_edge(path: Path) -> str | None:
    """Say where the edge of a mask's water runs along a row or column of pixels for long.

    So runs what fills up a mask beside the ground that was seen, if it is one of its classes.

    Args:
        path: A raster of 0 (land), 1 (water) and NaN.
    """
    with rasterio.open(path) as src:
        height, width = src.shape
        rows, cols = np.zeros(height, np.int64), np.zeros(width, np.int64)
        for part in blocks(GeoBox(src.shape, src.transform, src.crs)):
            (top, bottom), (left, right) = part.toranges()
            # With the neighbours beyond it, so that no edge falls between two blocks.
            beyond = Window.from_slices(
                (top, min(bottom + 1, height)), (left, min(right + 1, width))
            )
            values = src.read(1, window=beyond)
            down = np.abs(np.diff(values[:, : right - left], axis=0)) == 1  # NaN is no edge
            across = np.abs(np.diff(values[: bottom - top], axis=1)) == 1
            rows[top : top + len(down)] += down.sum(axis=1)
            cols[left : left + across.shape[1]] += across.sum(axis=0)
    for counts, side, what in ((rows, width, "row"), (cols, height, "column")):
        together = np.convolve(counts, np.ones(STRAIGHT_PX, np.int64), mode="same")
        at, usual = int(together.argmax()), float(np.median(together))
        if together[at] >= max(STRAIGHT_LEAST, STRAIGHT_SHARE * side, SPECKLE * usual):
            first = max(at - STRAIGHT_PX // 2, 0)
            most = first + int(counts[first : at + STRAIGHT_PX // 2 + 1].argmax())
            return (
                f"the edge of its water runs along {what} {most + 1} over {together[at]} pixels, "
                "as no coast does, but a frame without data, or a seam, that has the value of a "
                "class; if that is so, give it a value of its own, and say --nodata"
            )
    return None


def _attributes(raster: AnyRaster, field: Field) -> dict[str, Any]:
    """Return what lines and areas carry besides; of our own rasters, what their lines carried."""
    model, scene = raster.record.get("model"), raster.record.get("scene")
    attributes: dict[str, Any] = {"model": None, "position_u95_m": None}
    if isinstance(model, dict):
        attributes["model"] = f"{model['file']} {model['sha256'][:12]}"
        if _is_own(raster, field):
            attributes["position_u95_m"] = model.get("position_u95_m")
    name = scene.get("name") if isinstance(scene, dict) else None
    return attributes | ({"scene": name} if name else {})


def _is_own(raster: AnyRaster, field: Field) -> bool:
    """Whether a line is drawn where its record says how well such lines are placed."""
    return field.quantity == "probability" and raster.record.get("level") == field.level


def _record(
    raster: AnyRaster, settings: DrawSettings, options: RasterOptions, drawn: _Drawn
) -> dict[str, Any]:
    said = asdict(settings)
    command_line = scrub(said.pop("command_line") or "") or None
    taken = asdict(options) | {
        "time": options.time.isoformat() if options.time else None,
        "nodata": None if options.nodata is None else str(options.nodata),
    }
    epsg = raster.geobox.crs.to_epsg() if raster.geobox.crs else None
    return {
        "format": FORMAT,
        "geounet": __version__,
        "command": "coastline",
        "command_line": command_line,
        "scene": {
            "name": raster.name,
            "source": scrub(raster.source),
            "time": raster.time.isoformat() if raster.time else None,
            "res_m": list(raster.res_m),
            "crs": f"EPSG:{epsg}" if epsg else str(raster.geobox.crs),
        },
        "model": raster.record.get("model"),
        "baseline": None,
        "settings": said | taken,
        "raster": {
            "quantity": drawn.field.quantity,
            "dtype": raster.dtype,
            "scale": raster.scale,
            "offset": raster.offset,
            "least": drawn.values.least,
            "most": drawn.values.most,
            "level": drawn.threshold.value,
            "separability": drawn.threshold.separability,
            "water": None if drawn.water is None else sorted(drawn.water),
        },
        "level": drawn.field.level,
        "classes": [one.to_dict() for one in LAND_WATER],
        "notes": raster.notes,
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "rasterio": rasterio.__version__,
            "gdal": rasterio.__gdal_version__,
        },
    }

"""From a field to the files that people use: mask, probability, lines, areas, QGIS project."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS
from rasterio.windows import Window

from geounet import qgis
from geounet.aoi import aoi_mask
from geounet.bands import Band
from geounet.classes import IGNORE, LabelClass
from geounet.clock import Clock
from geounet.cog import (
    PROBABILITY_STEPS,
    CogProfile,
    blocks,
    encode_mask,
    encode_probability,
    new_cog,
)
from geounet.errors import SceneError
from geounet.flags import (
    NO_CLOUDS,
    CoastFlags,
    FlagWriter,
    PixelCounts,
    cloud_note,
    describe_clouds,
)
from geounet.formats import VectorOptions
from geounet.layers import output_time
from geounet.line_options import LineOptions
from geounet.outputs import Stage
from geounet.progress import Progress, silent
from geounet.qgis_project import Project, ProjectLayer, describe_project, write_project
from geounet.scene import Scene
from geounet.styles import TITLES, area_style, line_style, raster_style
from geounet.threads import join_gdal, read_ahead
from geounet.vector_layers import (
    QUARTERS_APART,
    Field,
    Subject,
    check_lines,
    line_level,
    write_vectors,
)
from geounet.vectors import crs_of, grid_bounds

__all__ = [
    "QUARTERS_APART",
    "Field",
    "Subject",
    "check_lines",
    "picture_bands",
    "write_products",
    "write_rasters",
    "write_styles",
    "write_vectors",
]

logger = logging.getLogger(__name__)

PICTURES = (("red", "green", "blue"), ("nir", "red", "green"), ("swir16", "nir", "green"))
"""Bands of a quicklook by common names; the first that a scene has."""

DARKEST, BRIGHTEST = 2, 98
"""Percent of the pixels between which a quicklook is stretched."""

SAMPLE_SIDE = 128
READERS = 2
"""Threads that read samples."""
SAMPLE_GRIDS = (5, 15)
"""How many windows along each side of a scene its stretch is found by: first few, then more if
those hold no data."""


def write_products(
    stage: Stage,
    scene: Scene,
    field: Field,
    *,
    classes: Sequence[LabelClass],
    probability_dtype: Literal["uint8", "float32"],
    attributes: Mapping[str, Any],
    vectors: VectorOptions = VectorOptions(),  # noqa: B008  frozen
    lines: LineOptions = LineOptions(),  # noqa: B008  frozen
    progress: Progress = silent,
    clock: Clock | None = None,
) -> dict[str, Any]:
    """Write everything that is made of a field; the same input gives the same bytes.

    `NAME_mask.tif`, `NAME_probability.tif` or `NAME_index.tif`, `NAME_rgb.tif`, the style of each
    beside it, `NAME.gpkg` with the layers `coastline` and `water`, and `NAME.qgz`, which shows all.
    Memory does not grow with the scene: rasters pass in blocks, lines and areas in strips.
    Lines are cut where they go under cloud, and flagged `cloud_suspect` there.

    Args:
        stage: Where they are written.
        scene: What the field was made of: gives the grid, the time, and the quicklook.
        field: What to contour, and at which level.
        classes: What the values of the mask mean.
        probability_dtype: `uint8` writes round(p × 253) with scale 1/253, `float32` all there is.
            An index is float32 always.
        attributes: What each line and area carries besides, numbers or text, as `model`;
            `position_u95_m` belongs to lines alone.
        vectors: In which formats and CRS lines and areas are written.
        lines: How they are drawn; `NAME.gpkg` has a layer `land`, too, if they say so.
        progress: Told of blocks and strips.
        clock: Told how long rasters (`writing`) and `vectors` take.

    Returns:
        How much of the scene and of the coast is under cloud, as the record has it. What a person
        should know is among the scene's notes.
    """
    line_level(field, lines)  # before anything is written, if it is not possible
    clock = clock or Clock()
    flags = None if scene.quality is None else stage.temporary("flags.tif")
    coast = CoastFlags(flags)
    with _meanwhile() as writer:

        def rasters() -> None:
            with clock.timed("writing"):
                write_rasters(stage, scene, field, classes, probability_dtype, silent)

        written = writer.submit(rasters)
        with clock.timed("writing"):
            pixels = _write_picture(stage, scene, field, flags, progress)
        with clock.timed("vectors"):
            write_vectors(stage, scene, field, coast, attributes, vectors, progress, lines)
        written.result()
    write_styles(stage, scene, field, classes, vectors, picture=True, land=lines.land)
    clouds = describe_clouds(scene, pixels, coast)
    if note := cloud_note(clouds):
        scene.warn(note)
    elif scene.quality is None:
        logger.info("%s: %s", scene.source, NO_CLOUDS)
        scene.notes.append(NO_CLOUDS)
    return clouds


@contextmanager
def _meanwhile() -> Iterator[ThreadPoolExecutor]:
    """Run what is submitted in a thread; it is waited for, whatever happens."""
    with ThreadPoolExecutor(1, thread_name_prefix="write", initializer=join_gdal) as writer:
        yield writer


def write_rasters(
    stage: Stage,
    scene: Subject,
    field: Field,
    classes: Sequence[LabelClass],
    probability_dtype: Literal["uint8", "float32"],
    progress: Progress,
) -> None:
    """Write the mask, and what it was made of if that says more."""
    mask = CogProfile(
        dtype="uint8",
        nodata=IGNORE,
        descriptions=("class",),
        overviews="mode",
        colors={kind.value: kind.color for kind in classes},
    )
    in_steps = field.quantity == "probability" and probability_dtype == "uint8"
    values = CogProfile(
        dtype="uint8" if in_steps else "float32",
        nodata=255 if in_steps else np.nan,
        descriptions=("probability of water" if field.quantity == "probability" else "index",),
        overviews="average",
        scale=1 / PROBABILITY_STEPS if in_steps else None,
    )
    profiles = {stage.path("_mask.tif"): mask}
    if field.quantity != "mask":
        profiles[stage.path(f"_{field.quantity}.tif")] = values
    with ExitStack() as files:
        src = files.enter_context(rasterio.open(field.path))
        most = files.enter_context(rasterio.open(field.classes)) if field.classes else None
        mask_dst, *more_dst = (
            files.enter_context(
                new_cog(path, scene.geobox, profile, draft=stage.temporary(path.name))
            )
            for path, profile in profiles.items()
        )
        windows = list(blocks(scene.geobox))
        for window in progress(windows, label="rasters", total=len(windows)):
            block = src.read(1, window=window)
            best = most.read(1, window=window) if most else encode_mask(block, field.level)
            mask_dst.write(best, 1, window=window)
            for dst in more_dst:
                dst.write(encode_probability(block) if in_steps else block, 1, window=window)


def _write_picture(
    stage: Stage, masked: Scene, field: Field, flags: Path | None, progress: Progress
) -> PixelCounts:
    """Write the quicklook; of the bands of the result where those of a picture are damaged.

    Raises:
        SceneError: The scene cannot be read.
    """
    scene = masked.unmasked()
    bands = picture_bands(scene)
    used = [scene.bands[i] for i in scene.band_indexes(field.bands)]
    try:
        return _draw_picture(stage, masked, bands, field, flags, progress)
    except SceneError as error:
        if set(bands) <= {band.id for band in used}:
            raise
        own = picture_bands(scene, used)
        counts = _draw_picture(stage, masked, own, field, flags, progress)
        masked.warn(f"its picture is of {', '.join(dict.fromkeys(own))}: {error}")
        return counts


def _draw_picture(
    stage: Stage,
    masked: Scene,
    bands: Sequence[str],
    field: Field,
    flags: Path | None,
    progress: Progress,
) -> PixelCounts:
    """Write an 8-bit picture of three bands: 1–255, and 0 where the scene is invalid.

    What is masked by cloud is shown: only so can one see whether it should be.

    Args:
        stage: Where it is written.
        masked: The scene.
        bands: Of the picture, by their ids.
        field: What is made of it; pixels are counted where it has data.
        flags: Where to write on the way which pixels are near clouds; None where nobody knows.
        progress: Told of blocks.

    Returns:
        How many pixels of the field are under cloud.
    """
    scene = masked.unmasked()
    low, high = _stretch(scene, bands)
    profile = CogProfile(
        dtype="uint8",
        nodata=0,  # of each band: QGIS shows nothing where one of them has it
        descriptions=tuple(scene.bands[scene.band_indexes([band])[0]].name for band in bands),
        overviews="average",
        level=1,  # two thirds of the time, and 3 % more bytes
    )
    path = stage.path("_rgb.tif")
    draft = stage.temporary(path.name)
    windows = list(blocks(scene.geobox))
    with ExitStack() as files:
        dst = files.enter_context(new_cog(path, scene.geobox, profile, draft=draft))
        src = files.enter_context(rasterio.open(field.path))
        flagged = files.enter_context(FlagWriter.open(flags, masked)) if flags else None
        read = partial(scene.read, bands)
        ahead = files.enter_context(closing(read_ahead(read, windows, threads=1)))
        shown = progress(windows, label="quicklook", total=len(windows))
        for window, (values, valid) in zip(shown, ahead, strict=True):
            if flagged:
                made = np.isfinite(src.read(1, window=window))
                flagged.write(window, made | _masked_away(masked, field, window))
            share = (values - low[:, None, None]) / (high - low)[:, None, None]
            steps = 1 + np.rint(np.clip(np.nan_to_num(share), 0, 1) * 254)
            dst.write((steps * valid).astype(np.uint8), window=window)
    return flagged.counts if flagged else PixelCounts()


def _masked_away(scene: Scene, field: Field, window: Window) -> NDArray[np.bool_]:
    """Return where a field would have data were it not masked by cloud, (height, width)."""
    if scene.clouds.describe() is None:
        return np.zeros((int(window.height), int(window.width)), dtype=bool)
    away = scene.clouds.mask(window)
    if away.any():
        away &= scene.unmasked().read_dn(field.bands, window).valid
        if field.aoi is not None:
            shift = Affine.translation(window.col_off, window.row_off)
            grid = GeoBox(away.shape, scene.geobox.transform @ shift, scene.geobox.crs)
            away &= aoi_mask(field.aoi, grid)
    return away


def picture_bands(scene: Scene, bands: Sequence[Band] | None = None) -> list[str]:
    """Return the three bands for a quicklook, repeating the last if there are fewer.

    Args:
        scene: What to draw.
        bands: Which of its bands may be taken; None for any.
    """
    bands = scene.bands if bands is None else bands
    names = {band.common_name: band.id for band in bands if band.common_name}
    for picture in PICTURES:
        if names.keys() >= set(picture):
            return [names[name] for name in picture]
    first = [band.id for band in bands[:3]]
    return first + first[-1:] * (3 - len(first))


def _stretch(scene: Scene, bands: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return which reflectance is to be darkest and brightest, (bands,), by samples."""
    for along_side in SAMPLE_GRIDS:
        windows = _sample_windows(scene, along_side)
        with closing(read_ahead(partial(scene.read, bands), windows, threads=READERS)) as found:
            parts = [values[:, valid] for values, valid in found]
        if (seen := np.concatenate(parts, axis=1)).size:
            break
    else:
        return np.zeros(len(bands), np.float32), np.ones(len(bands), np.float32)
    low, high = np.percentile(seen, (DARKEST, BRIGHTEST), axis=1).astype(np.float32)
    return low, np.maximum(high, low + np.float32(1e-6))


def _sample_windows(scene: Scene, along_side: int) -> Iterator[Window]:
    """Spread small windows evenly over a scene."""
    height, width = scene.geobox.shape
    rows, cols = min(SAMPLE_SIDE, height), min(SAMPLE_SIDE, width)
    for row in np.unique(np.linspace(0, height - rows, along_side).astype(int)):
        for col in np.unique(np.linspace(0, width - cols, along_side).astype(int)):
            yield Window(col_off=int(col), row_off=int(row), width=cols, height=rows)


def write_styles(
    stage: Stage,
    scene: Subject,
    field: Field,
    classes: Sequence[LabelClass],
    vectors: VectorOptions,
    *,
    picture: bool,
    land: bool = False,
) -> None:
    """Write what QGIS wants beside the rasters, and the project.

    Args:
        stage: Where they are written.
        scene: What all is made of.
        field: What was contoured.
        classes: What the values of the mask mean.
        vectors: In which CRS lines and areas are.
        picture: Whether there is one.
        land: Whether there is a layer of land.
    """
    drawn = {"coastline": line_style(field.quantity, scene.res_m), "water": area_style("water")}
    if land:
        drawn["land"] = area_style("land")
    kinds = dict.fromkeys(["mask", field.quantity, *(["rgb"] if picture else [])])
    name, (*_, lowest) = stage.name, kinds
    crs = None if vectors.crs is None else CRS.from_user_input(vectors.crs)
    layers = [
        ProjectLayer(TITLES[layer], f"{name}.gpkg|layername={layer}", style, True, crs)
        for layer, style in drawn.items()
    ]
    for kind in kinds:
        style = raster_style(kind, field.level, classes)
        stage.path(f"_{kind}.qml").write_text(qgis.qml(style), encoding="utf-8")
        # Under the lines lies what they can be checked by.
        layers.append(ProjectLayer(TITLES[kind], f"{name}_{kind}.tif", style, kind == lowest))
    bounds, grid_crs = grid_bounds(scene.geobox), crs_of(scene.geobox)
    project = Project(scene.name, grid_crs, bounds, layers, describe_project([scene.time]))
    write_project(stage.path(".qgz"), project, output_time(scene.time))
    # Last: GDAL would delete it when it writes the raster.
    stage.path("_mask.tif.aux.xml").write_text(qgis.aux_xml(classes), encoding="utf-8")

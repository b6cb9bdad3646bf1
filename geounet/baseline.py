"""The classical way to a waterline: an index of two bands and a threshold."""

import platform
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import rasterio
from numpy.typing import NDArray

from geounet import __version__
from geounet.bands import Band, list_bands
from geounet.classes import LAND_WATER
from geounet.errors import BandError, SceneError
from geounet.formats import VectorOptions
from geounet.line_options import LineOptions
from geounet.outputs import FORMAT, Stage, stage_set
from geounet.products import Field, write_products
from geounet.progress import Progress, silent
from geounet.scene import Pixels, Scene, SceneOptions, gdal_environment, open_scene
from geounet.scene.remote import scrub
from geounet.stitch import Part, open_canvas, stitch
from geounet.threads import read_ahead
from geounet.threshold import BINS, Threshold, count_values, doubt_of, otsu
from geounet.vector_layers import check_lines
from geounet.windows import HaloWindow, plan_windows

INDEXES: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "ndwi": (("green",), ("nir", "nir08")),
    "mndwi": (("green",), ("swir16",)),
}
"""Common names of the bands of (a − b) / (a + b), the first that a scene has: NDWI by McFeeters
(1996), doi:10.1080/01431169608948714, MNDWI by Xu (2006), doi:10.1080/01431160600589179."""

WINDOW = 1024
READERS = 2


@dataclass(frozen=True)
class BaselineSettings:
    """What a user may say of a baseline."""

    index: Literal["ndwi", "mndwi"] = "ndwi"
    threshold: float | Literal["otsu"] = "otsu"
    """Index from which a pixel is water; `otsu` finds it in the scene."""
    vectors: VectorOptions = VectorOptions()  # noqa: RUF009  frozen
    """In which formats and CRS lines and areas are written."""
    lines: LineOptions = LineOptions()  # noqa: RUF009  frozen
    """How lines and areas are drawn."""
    overwrite: bool = False
    """Whether results that exist are replaced."""
    report: bool = False
    """Whether a page is drawn of the result."""
    command_line: str | None = None
    """What was typed, for the record; None where nobody typed anything."""


def baseline_scene(
    source: str | Path,
    out: Path,
    settings: BaselineSettings = BaselineSettings(),
    options: SceneOptions = SceneOptions(),  # noqa: B008  frozen
    progress: Progress = silent,
) -> Path:
    """Divide a scene into land and water by an index, with the same outputs as a prediction.

    Args:
        source: As `open_scene` takes it.
        out: Folder for the results; made if absent.
        settings: Which index, and where it is divided.
        options: What the user said about the scene.
        progress: Told of every window.

    Returns:
        The record, `out/NAME.json`.

    Raises:
        BandError: The scene lacks a band of the index.
        SceneError: It cannot be read, has no data, or its index is the same everywhere.
        OutputError: The results exist, or cannot be written.
    """
    start = time.perf_counter()
    with gdal_environment(), open_scene(source, options) as opened:
        bands = choose_bands(opened, settings.index)
        scene = opened.on_grid_of(bands)
        check_lines(scene, settings.lines)
        scaling = scene.scaling(bands)
        with stage_set(out, scene.name, overwrite=settings.overwrite) as (stage, record):
            path, histogram, undefined = _write_index(scene, bands, stage, progress)
            threshold = _threshold(scene, histogram, settings)
            for note in _notes(threshold, settings, undefined):
                scene.warn(note)
            index_seconds = time.perf_counter() - start
            how = "Otsu" if settings.threshold == "otsu" else "fixed"
            clouds = write_products(
                stage,
                scene,
                Field(path=path, quantity="index", level=threshold.value, bands=bands),
                classes=LAND_WATER,
                probability_dtype="float32",
                attributes={"model": f"{settings.index.upper()}, {how}", "position_u95_m": None},
                vectors=settings.vectors,
                lines=settings.lines,
                progress=progress,
            )
            record.update(
                {
                    **_record(scene, settings),
                    "baseline": {
                        "index": settings.index,
                        "threshold": settings.threshold,
                        "separability": threshold.separability,
                        "undefined_pixels": undefined,
                    },
                    "bands": [band.id for band in bands],
                    "scaling": scaling.to_dict(),
                    "level": threshold.value,
                    "notes": scene.notes,
                    "clouds": clouds,
                    "timings": {
                        "index": round(index_seconds, 3),
                        "total": round(time.perf_counter() - start, 3),
                    },
                }
            )
            if settings.report:
                from geounet.result_page import Result, write_page  # bokeh is slow to import

                write_page(Result(stage.scratch, stage.name, record), stage, progress)
        return out / f"{scene.name}.json"


def _record(scene: Scene, settings: BaselineSettings) -> dict[str, Any]:
    """Return what is known before anything is computed."""
    said = asdict(settings)
    return {
        "format": FORMAT,
        "geounet": __version__,
        "command": "baseline",
        "command_line": scrub(said.pop("command_line") or "") or None,
        "scene": scene.describe(),
        "model": None,
        "settings": said,
        "plan": {"window": WINDOW, "halo": 0},
        "classes": [one.to_dict() for one in LAND_WATER],
        "versions": {
            "python": platform.python_version(),
            "numpy": np.__version__,
            "rasterio": rasterio.__version__,
            "gdal": rasterio.__gdal_version__,
        },
    }


def choose_bands(scene: Scene, index: str) -> list[Band]:
    """Return the two bands of an index, by common name, of whatever sensor.

    Raises:
        BandError: The scene has none of that name.
    """
    chosen = []
    for names in INDEXES[index]:
        found = [b for name in names for b in scene.bands if b.common_name == name]
        if not found:
            raise BandError(
                f"{scene.source} has no band {' or '.join(names)}, which {index.upper()} needs; it "
                f"has {list_bands(scene.bands)}. {_index_advice(scene, index)}"
            )
        if found[0].common_name != names[0]:
            scene.warn(f"it has no {names[0]}; {found[0].id} ({found[0].common_name}) is taken")
        chosen.append(found[0])
    return chosen


def _index_advice(scene: Scene, index: str) -> str:
    """Return what to do where a scene lacks a band of an index."""
    has = {band.common_name for band in scene.bands}
    for other, bands in INDEXES.items():
        if other != index and all(has & set(names) for names in bands):
            return f"Use --index {other}, for which it has the bands."
    unnamed = [band.name for band in scene.bands if band.common_name is None]
    if unnamed:
        return "If one of them is it under another name, say which with --bands and --sensor."
    return "Use a scene that has it."


def normalised_difference(pixels: Pixels) -> NDArray[np.float32]:
    """Return (a − b) / (a + b) of two bands.

    Atmospheric correction takes too much from dark water at times. A negative reflectance counts
    as 0, so that the index stays within [-1, 1] and such water stays water.

    Args:
        pixels: Reflectance (2, height, width).

    Returns:
        (height, width); NaN where not valid, and where both bands are 0 and it is not defined.
    """
    first, second = np.maximum(pixels.values, np.float32(0))
    total = first + second
    index = np.full(total.shape, np.nan, dtype=np.float32)
    np.divide(first - second, total, out=index, where=pixels.valid & (total > 0))
    return index


def _write_index(
    scene: Scene, bands: list[Band], stage: Stage, progress: Progress
) -> tuple[Path, NDArray[np.int64], int]:
    """Write the index of a scene, and count its values on the way.

    Returns:
        The raster, the histogram over [-1, 1], and how many valid pixels have no index.
    """
    path = stage.temporary("index.tif")
    windows = list(plan_windows(*scene.geobox.shape, core=WINDOW, halo=0))
    histogram, undefined = np.zeros(BINS, dtype=np.int64), 0

    def read(window: HaloWindow) -> tuple[HaloWindow, Pixels]:
        return window, scene.read(bands, window.core)

    def parts() -> Any:
        nonlocal undefined
        ahead = read_ahead(read, windows, threads=READERS)
        for window, pixels in progress(ahead, label=scene.name, total=len(windows)):
            index = normalised_difference(pixels)
            known = np.isfinite(index)
            histogram[:] += count_values(index[known])
            undefined += int((pixels.valid & ~known).sum())
            yield Part(window.core, (index,))

    with open_canvas(path, scene.geobox, dtype="float32", nodata=np.nan) as canvas:
        stitch(parts(), [canvas])
    if not histogram.sum():
        raise SceneError(
            f"{scene.source} has no valid pixel: every one lacks data in one of "
            f"{', '.join(band.name for band in bands)}{scene.clouds.or_masked}. "
            "Check its nodata value."
        )
    return path, histogram, undefined


def _threshold(scene: Scene, histogram: NDArray[np.int64], settings: BaselineSettings) -> Threshold:
    if settings.threshold != "otsu":
        return Threshold(settings.threshold, None)
    if np.count_nonzero(histogram) < 2:
        only = np.flatnonzero(histogram)[0] * 2 / BINS - 1
        raise SceneError(
            f"{scene.source} has the same {settings.index.upper()} everywhere, about {only:.3f}, "
            "so Otsu finds nothing to divide. Give --threshold, for instance --threshold 0."
        )
    return otsu(histogram)


def _notes(threshold: Threshold, settings: BaselineSettings, undefined: int) -> list[str]:
    """Return what a person should know of the result."""
    notes = []
    if doubt := doubt_of(threshold, settings.index.upper()):
        notes.append(f"{doubt}; compare it with --threshold 0")
    if undefined:
        notes.append(f"{undefined} pixels have no {settings.index.upper()}: both bands are 0 there")
    return notes

"""What all pixels of a result come to: areas, a histogram, and where the answer is unsure."""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import rasterio
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window
from scipy.special import expit, logit

from geounet.classes import IGNORE, LabelClass
from geounet.cog import PROBABILITY_STEPS, blocks
from geounet.ground import Ground
from geounet.products import QUARTERS_APART
from geounet.progress import Progress, silent
from geounet.ragged import Areas
from geounet.result_page.result import Result

BLOCKS_ALONG_SIDE, LEAST_BLOCK = 48, 8
"""Blocks along the longer side of a scene, in which unsure pixels are counted; and the least side
of one, in pixels."""
PLACES = 12
"""Unsure places that are listed."""
BINS = 200
"""Of a histogram, where the raster has no steps of its own."""
NEAR_INDEX = 0.05
"""An index this near to its threshold is unsure."""


@dataclass(frozen=True)
class Histogram:
    """How often each value occurs."""

    edges: NDArray[np.float64]
    """(bins + 1,)."""
    counts: NDArray[np.int64]
    """(bins,), pixels."""


@dataclass(frozen=True)
class Place:
    """A square of a scene with many unsure pixels."""

    bounds: tuple[float, float, float, float]
    """(left, bottom, right, top), in units of the CRS."""
    pixels: int
    """Unsure ones."""
    share: float
    """Of the square's pixels."""
    area_m2: float
    """Of the unsure pixels."""


@dataclass
class PixelCounts:
    """Everything that needs every pixel once; no more of a raster is held than a few blocks."""

    total: int = 0
    total_m2: float = 0.0
    pixels: dict[int, int] = field(default_factory=dict)
    """Value of the mask → pixels; 255 is nodata."""
    areas_m2: dict[int, float] = field(default_factory=dict)
    """Value of the mask → area on the ellipsoid."""
    histogram: Histogram | None = None
    unsure: tuple[float, float] | None = None
    """Between which values the answer is unsure."""
    places: list[Place] = field(default_factory=list)
    """Most unsure pixels first."""
    unsure_pixels: int = 0

    def share(self, value: int) -> float:
        """Return which share of all pixels has a value of the mask."""
        return self.pixels.get(value, 0) / self.total

    def areas_of(self, classes: Sequence[LabelClass], *, water: bool) -> float:
        """Return the area of all classes that are water, or of all others."""
        return sum(self.areas_m2.get(one.value, 0.0) for one in classes if one.water == water)


def count_pixels(result: Result, progress: Progress = silent) -> PixelCounts:
    """Read the mask and the field of a result once, block by block."""
    geobox = result.geobox
    counts = PixelCounts(total=geobox.shape[0] * geobox.shape[1])
    windows = list(blocks(geobox))
    areas = pixel_areas(geobox, windows)
    counts.total_m2 = float(
        sum(a * w.width * w.height for a, w in zip(areas, windows, strict=True))
    )
    if result.mask is not None:
        _count_mask(result, counts, windows, areas, progress)
    if result.field is not None:
        _count_field(result, counts, windows, areas, progress)
    return counts


def pixel_areas(geobox: GeoBox, windows: Sequence[Window]) -> NDArray[np.float64]:
    """Return the mean area of a pixel in each window, m² on the ellipsoid."""
    spans = [window.toranges() for window in windows]
    boxes = np.array(
        [shapely.box(left, top, right, bottom) for (top, bottom), (left, right) in spans]
    )
    pixels = np.array([window.width * window.height for window in windows])
    return Ground(geobox).areas_m2(Areas.of(boxes)) / pixels


def _count_mask(
    result: Result,
    counts: PixelCounts,
    windows: Sequence[Window],
    areas: NDArray[np.float64],
    progress: Progress,
) -> None:
    with rasterio.open(result.mask) as src:
        shown = progress(windows, label=f"{result.name}: mask", total=len(windows))
        for window, area in zip(shown, areas, strict=True):
            found = np.bincount(src.read(1, window=window).ravel(), minlength=IGNORE + 1)
            for value in np.flatnonzero(found).tolist():
                pixels = int(found[value])
                counts.pixels[value] = counts.pixels.get(value, 0) + pixels
                counts.areas_m2[value] = counts.areas_m2.get(value, 0.0) + pixels * float(area)


def _count_field(
    result: Result,
    counts: PixelCounts,
    windows: Sequence[Window],
    areas: NDArray[np.float64],
    progress: Progress,
) -> None:
    """Count the values of the field, and those near the threshold by block."""
    height, width = result.geobox.shape
    side = max(LEAST_BLOCK, -(-max(height, width) // BLOCKS_ALONG_SIDE))
    across = -(-width // side)
    unsure = np.zeros(-(-height // side) * across, dtype=np.int64)
    unsure_m2 = np.zeros(len(unsure))
    low, high = unsure_limits(result)
    with rasterio.open(result.field) as src:
        edges = _edges(result, src)
        found = np.zeros(len(edges) - 1, dtype=np.int64)
        shown = progress(windows, label=f"{result.name}: values", total=len(windows))
        for window, area in zip(shown, areas, strict=True):
            values = read_field(src, window)
            known = values[np.isfinite(values)]
            # What a histogram of nearly all values leaves out at its ends counts there.
            found += np.histogram(np.clip(known, edges[0], edges[-1]), edges)[0]
            rows, cols = np.nonzero((values > low) & (values < high))
            block = (rows + window.row_off) // side * across + (cols + window.col_off) // side
            here = np.bincount(block, minlength=len(unsure))
            unsure += here
            unsure_m2 += here * area
    counts.histogram = Histogram(edges, found)
    counts.unsure, counts.unsure_pixels = (low, high), int(unsure.sum())
    counts.places = _places(result.geobox, unsure.reshape(-1, across), unsure_m2, side)


def unsure_limits(result: Result) -> tuple[float, float]:
    """Return between which values the answer is unsure.

    Of a probability, those between which `edge_width_m` is measured: the odds of water there are
    less than three times, and more than a third of, those at the threshold.
    """
    level = result.level
    if level is None:
        return float("nan"), float("nan")
    if result.quantity == "probability":
        middle = logit(level)
        return float(expit(middle - QUARTERS_APART / 2)), float(expit(middle + QUARTERS_APART / 2))
    return level - NEAR_INDEX, level + NEAR_INDEX


def read_field(
    src: rasterio.DatasetReader,
    window: Window | None = None,
    *,
    out_shape: tuple[int, int] | None = None,
) -> NDArray[np.float64]:
    """Return values as they are meant, (height, width); NaN where there are none."""
    method = rasterio.enums.Resampling.average
    values = src.read(1, window=window, out_shape=out_shape, resampling=method)
    meant = values * np.float64(src.scales[0]) + src.offsets[0]
    if src.nodata is not None and not np.isnan(src.nodata):
        meant[values == src.nodata] = np.nan
    return meant


def _edges(result: Result, src: rasterio.DatasetReader) -> NDArray[np.float64]:
    """Return the edges of bins: each step of the raster has its own, where it has steps."""
    if result.quantity == "probability":
        if src.dtypes[0] == "uint8":
            return (np.arange(PROBABILITY_STEPS + 2) - 0.5) / PROBABILITY_STEPS
        return np.linspace(0, 1, BINS + 1)
    few = tuple(max(1, min(side, 512)) for side in src.shape)
    values = read_field(src, out_shape=(few[0], few[1]))
    known = values[np.isfinite(values)]
    if not known.size:
        return np.linspace(-1, 1, BINS + 1)
    level = result.level if result.level is not None else float(known[0])
    low, high = min(float(known.min()), level), max(float(known.max()), level)
    margin = 0.05 * (high - low) or 0.05
    return np.linspace(low - margin, high + margin, BINS + 1)


def _places(
    geobox: GeoBox, unsure: NDArray[np.int64], unsure_m2: NDArray[np.float64], side: int
) -> list[Place]:
    """Return the squares with most unsure pixels, no two of them neighbours."""
    height, width = geobox.shape
    across = unsure.shape[1]
    taken = np.zeros(unsure.shape, dtype=bool)
    places: list[Place] = []
    for index in np.argsort(-unsure, axis=None, kind="stable").tolist():
        row, col = divmod(index, across)
        if len(places) == PLACES or not unsure[row, col]:
            break
        around = (slice(max(0, row - 1), row + 2), slice(max(0, col - 1), col + 2))
        if taken[around].any():
            continue
        taken[row, col] = True
        top, left = row * side, col * side
        bottom, right = min(top + side, height), min(left + side, width)
        corners = [
            geobox.transform @ (x, y) for x, y in ((left, top), (right, top), (left, bottom))
        ] + [geobox.transform @ (right, bottom)]
        xs, ys = zip(*corners, strict=True)
        pixels = int(unsure[row, col])
        places.append(
            Place(
                bounds=(min(xs), min(ys), max(xs), max(ys)),
                pixels=pixels,
                share=pixels / ((bottom - top) * (right - left)),
                area_m2=float(unsure_m2[index]),
            )
        )
    return places

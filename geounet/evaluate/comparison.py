"""A pass over a scene, block by block: which pixels agree, and which ground can be compared."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window
from scipy.ndimage import binary_erosion

from geounet.classes import IGNORE, LAND_WATER, LabelClass
from geounet.distances import Coordinates
from geounet.evaluate.boundary import BOUNDARY_PX
from geounet.evaluate.pixel_blocks import PixelBlocks
from geounet.labels import LabelSource
from geounet.progress import Progress
from geounet.vectors import Geometries, covered, grid_bounds
from geounet.windows import plan_windows

BLOCK = 1024
"""Side of what is read at a time, in pixels."""


@dataclass
class PixelCounts:
    """How many pixels are what, in the prediction and in the reference."""

    classes: tuple[LabelClass, ...]
    confusion: NDArray[np.int64] = field(init=False)
    """(classes, classes): rows are what the reference says, columns what the prediction does."""
    prediction_nodata: int = 0
    """Left out: the prediction has nothing to say there."""
    reference_unknown: int = 0
    """Left out: the reference has nothing to say there, though the prediction has."""
    outside: int = 0
    """Left out: not ground of the split that is asked for."""

    def __post_init__(self) -> None:
        self.confusion = np.zeros((len(self.classes),) * 2, dtype=np.int64)

    def add(
        self,
        reference: NDArray[np.uint8],
        predicted: NDArray[np.uint8],
        inside: NDArray[np.bool_],
    ) -> None:
        """Count pixels; both are indexes into `classes`, 255 where nobody knows."""
        said = inside & (predicted != IGNORE)
        both = said & (reference != IGNORE)
        size = len(self.classes)
        pairs = reference[both].astype(np.intp) * size + predicted[both]
        self.confusion += np.bincount(pairs, minlength=size * size).reshape(size, size)
        self.outside += int((~inside).sum())
        self.prediction_nodata += int((inside & (predicted == IGNORE)).sum())
        self.reference_unknown += int((said & (reference == IGNORE)).sum())

    def scores(self) -> dict[str, Any]:
        """Return scores as records and tables have them; None where nothing defines one."""
        counts = self.confusion
        right, predicted, true = np.diag(counts), counts.sum(axis=0), counts.sum(axis=1)
        per_class = {
            one.name: {
                "iou": _ratio(right[i], true[i] + predicted[i] - right[i]),
                "precision": _ratio(right[i], predicted[i]),
                "recall": _ratio(right[i], true[i]),
                "f1": _ratio(2 * right[i], true[i] + predicted[i]),
                "pixels": int(true[i]),
            }
            for i, one in enumerate(self.classes)
        }
        return {
            "classes": [one.name for one in self.classes],
            "confusion": counts.tolist(),
            "rows_are": "reference",
            "per_class": per_class,
            "accuracy": _ratio(right.sum(), counts.sum()),
            "compared": int(counts.sum()),
            "left_out": {
                "prediction_nodata": self.prediction_nodata,
                "reference_unknown": self.reference_unknown,
                "outside": self.outside,
            },
        }


def _ratio(part: int, whole: int) -> float | None:
    return float(part / whole) if whole else None


def common_classes(
    predicted: tuple[LabelClass, ...], reference: tuple[LabelClass, ...]
) -> tuple[LabelClass, ...]:
    """Return the classes by which two maps can be compared.

    Those of both where they have the same; else land and water, which every class is one of.
    """
    same = {one.name for one in predicted} == {one.name for one in reference}
    return predicted if same else LAND_WATER


def class_indexes(
    source: tuple[LabelClass, ...], target: tuple[LabelClass, ...]
) -> NDArray[np.uint8]:
    """Return, for each value of `source`, the index in `target` of the same class; else 255."""
    table = np.full(256, IGNORE, dtype=np.uint8)
    names = [one.name for one in target]
    by_name = {one.name for one in source} == set(names)
    waters = [one.water for one in target]
    for one in source:
        table[one.value] = names.index(one.name) if by_name else waters.index(one.water)
    return table


class PointFlags:
    """Which points lie on marked pixels, filled in window by window."""

    def __init__(self, pixels: Coordinates, shape: tuple[int, int]) -> None:
        self.flags = np.zeros(len(pixels), dtype=np.bool_)
        beyond = ~np.isfinite(pixels) | (pixels < 0) | (pixels >= [shape[1], shape[0]])
        inside = ~np.asarray(beyond.any(axis=1))
        self._places = np.where(inside[:, None], pixels, -1).astype(np.intp)
        blocks_in_row = -(-shape[1] // BLOCK)
        block = self._places[:, 1] // BLOCK * blocks_in_row + self._places[:, 0] // BLOCK
        block[~inside] = -1
        self._order = np.argsort(block, kind="stable")
        last = -(-shape[0] // BLOCK) * blocks_in_row
        self._starts = np.searchsorted(block[self._order], np.arange(last + 1))

    def fill(self, number: int, window: Window, marked: NDArray[np.bool_]) -> None:
        """Mark the points in the window of that number, where `marked` (height, width) is True."""
        points = self._order[self._starts[number] : self._starts[number + 1]]
        cols, rows = self._places[points].T
        self.flags[points] = marked[rows - window.row_off, cols - window.col_off]


@dataclass(frozen=True)
class Comparison:
    """What a pass over a scene compares."""

    geobox: GeoBox
    mask: LabelSource
    area: LabelSource | None
    """The reference's classes; None where it has lines only."""
    within: Geometries | None
    """Polygons in the CRS of `geobox`, the ground that counts; None is all of it."""
    block_m: float
    """Side of the blocks of ground by which pixels are counted, in metres."""


class Compared(NamedTuple):
    """What came of a pass."""

    counts: PixelCounts
    blocks: PixelBlocks
    """The same by blocks of ground, and boundary IoU."""
    points: list[NDArray[np.bool_]]
    """For each set of points, (n,), which of them lie on ground that both maps know."""


def compare(
    comparison: Comparison, point_sets: Sequence[Coordinates], progress: Progress
) -> Compared:
    """Count pixels, and find out which points lie on ground that both maps know.

    A line may lie anywhere between two pixels that are known; so a point counts if the pixel under
    it and the eight around it are. That also keeps points off the scene's border.

    Args:
        comparison: What is compared.
        point_sets: Points by (col, row).
        progress: Told of every block.
    """
    geobox, area = comparison.geobox, comparison.area
    shape = (geobox.shape[0], geobox.shape[1])
    known = area.classes if area is not None else LAND_WATER
    classes = common_classes(comparison.mask.classes, known)
    of_mask = class_indexes(comparison.mask.classes, classes)
    of_area = class_indexes(known, classes)
    counts = PixelCounts(classes)
    names = [one.name for one in classes]
    blocks = PixelBlocks(geobox, names, side_m=comparison.block_m)
    flags = [PointFlags(points, shape) for points in point_sets]
    windows = list(plan_windows(*shape, core=BLOCK, halo=max(BOUNDARY_PX)))
    for number, window in enumerate(progress(windows, label="comparing", total=len(windows))):
        read = window.read.intersection(
            Window(col_off=0, row_off=0, width=shape[1], height=shape[0])
        )
        here = geobox[read.toslices()]
        predicted = of_mask[comparison.mask.read(here)]
        inside = _inside(comparison.within, here)
        # Without classes to compare with, whatever is predicted is as good as known.
        reference = predicted if area is None else of_area[area.read(here)]
        keep = window._replace(read=read).keep
        known_there = inside & (predicted != IGNORE) & (reference != IGNORE)
        if area is not None:
            counts.add(reference[keep], predicted[keep], inside[keep])
            blocks.add(window.core, keep, reference, predicted, known_there)
        comparable = np.asarray(binary_erosion(known_there, np.ones((3, 3)), border_value=0))
        for one in flags:
            one.fill(number, window.core, comparable[keep])
    return Compared(counts, blocks, [one.flags for one in flags])


def _inside(within: Geometries | None, geobox: GeoBox) -> NDArray[np.bool_]:
    if within is None:
        return np.ones(geobox.shape, dtype=np.bool_)
    touches = np.asarray(shapely.intersects(within, shapely.box(*grid_bounds(geobox))))
    return covered(within[touches], geobox)

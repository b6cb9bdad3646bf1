"""What the chips of a scene would hold, found before any of them is written."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any, NamedTuple, Self

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from geounet.aoi import aoi_mask
from geounet.bands import Band
from geounet.classes import IGNORE, LAND_WATER, LabelClass
from geounet.errors import SceneError
from geounet.labels import LabelSource
from geounet.progress import Progress
from geounet.scene import Scene, SceneOptions, open_scene
from geounet.scene.remote import without_query
from geounet.split import Floats, Ints
from geounet.vectors import crs_name

READ_PX = 1024
"""Side of the squares that chips are read in together, so that neighbours share the reading."""
OF_SCENE = ("sensor", "level", "tile", "orbit", "baseline", "quality")
"""What `dataset.json` has of `Scene.describe`."""


@dataclass(frozen=True)
class LabelledScene:
    """A scene and what is known about its ground."""

    name: str
    """Of the scene, unlike those of the others."""
    scene: Scene
    """Closed, unless `opened`; what it is can be asked for nevertheless."""
    labels: LabelSource | None
    """None where nobody knows anything of the ground."""
    labels_path: str | None
    aoi: BaseGeometry | None
    """In the scene's CRS; None for all of it."""
    bands: tuple[Band, ...]
    """Which to read, in order."""
    options: SceneOptions
    """What the user says about the scene."""
    told: Mapping[str, Any]
    """What `Scene.describe` said while the scene was open."""

    @property
    def classes(self) -> tuple[LabelClass, ...]:
        """What the labels tell apart, or would."""
        return LAND_WATER if self.labels is None else self.labels.classes

    @contextmanager
    def opened(self) -> Iterator[Self]:
        """Open the scene's files, for as long as they are read: there may be many scenes."""
        with open_scene(self.scene.address, self.options, advise=False) as scene:
            yield replace(self, scene=scene)

    def grid(self, window: Window) -> GeoBox:
        """Return the grid of a window, which may reach beyond the scene."""
        corner = Affine.translation(window.col_off, window.row_off)
        shape = (int(window.height), int(window.width))
        return GeoBox(shape, self.scene.geobox.transform @ corner, self.scene.geobox.crs)

    def within(self, window: Window) -> NDArray[np.bool_]:
        """Return which pixels of a window are asked for, (height, width)."""
        if self.aoi is None:
            return np.ones((int(window.height), int(window.width)), dtype=bool)
        return aoi_mask(self.aoi, self.grid(window))

    def read_label(self, window: Window, usable: NDArray[np.bool_]) -> NDArray[np.uint8]:
        """Return the classes under a window of the scene, 255 where not `usable`."""
        if self.labels is None:
            return np.full(usable.shape, IGNORE, dtype=np.uint8)
        label = self.labels.read(self.grid(window))
        label[~usable] = IGNORE
        return label

    def read(self, window: Window, context: int) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
        """Read what chips are made of.

        Args:
            window: Some chips with their context; only the context may reach beyond the scene.
            context: Width of the ring of context, in pixels.

        Returns:
            Reflectance (bands, height, width), NaN where not valid, mirrored beyond the scene's
            edge as for prediction; and classes (height, width), unknown in the ring.
        """
        values, valid = self.scene.read(self.bands, window)
        inner, core = _without_ring(window, context)
        label = np.full(valid.shape, IGNORE, dtype=np.uint8)
        label[core] = self.read_label(inner, valid[core] & self.within(inner))
        return values, label

    def read_shares(
        self, window: Window, context: int, label: NDArray[np.uint8]
    ) -> NDArray[np.float32]:
        """Return how much of each pixel is water, (height, width), NaN where unknown.

        Args:
            window: As for `read`.
            context: Likewise.
            label: What `read` returned: what is unknown there is unknown here.
        """
        shares = np.full(label.shape, np.nan, dtype=np.float32)
        if self.labels is not None:
            inner, core = _without_ring(window, context)
            shares[core] = self.labels.read_shares(self.grid(inner))
        shares[label == IGNORE] = np.nan
        return shares

    def record(self) -> dict[str, Any]:
        """Return where the chips are from, as `dataset.json` has it."""
        scene = self.scene
        return {
            "scene": self.name,
            "file": PurePosixPath(without_query(scene.source)).name,
            "labels": self.labels_path and PurePosixPath(without_query(self.labels_path)).name,
            "time": None if scene.time is None else scene.time.isoformat(),
            "crs": crs_name(scene.geobox),
            "shape": list(scene.geobox.shape),
            "transform": list(scene.geobox.transform)[:6],
            "res_m": list(scene.res_m),
            "scaling": scene.scaling(self.bands).to_dict(),
            **{name: self.told[name] for name in OF_SCENE},
            "clouds_masked": scene.clouds.describe(),
        }


class Survey(NamedTuple):
    """What the chips of a scene would hold; each (chips,)."""

    rows: Ints
    """First row of the core."""
    cols: Ints
    within: Ints
    """Pixels of the core in the area of interest."""
    known: Ints
    """Of these, with data and, where there are labels, a known one."""
    water: Ints
    """Of these, of a class that is water."""
    coast_m: Floats

    def take(self, which: NDArray[np.bool_]) -> Self:
        """Return some of the chips."""
        return type(self)(
            self.rows[which],
            self.cols[which],
            self.within[which],
            self.known[which],
            self.water[which],
            self.coast_m[which],
        )


def survey_chips(pair: LabelledScene, *, size: int, stride: int, progress: Progress) -> Survey:
    """Look at all places of a scene where a chip could be, window by window.

    Raises:
        SceneError: The scene has no data there.
    """
    height, width = pair.scene.geobox.shape
    starts = [chip_starts(n, size=size, stride=stride) for n in (height, width)]
    rows, cols = (a.ravel() for a in np.meshgrid(*starts, indexing="ij"))
    within, known, water = np.zeros((3, len(rows)), dtype=np.int64)
    coast_m = np.zeros(len(rows))
    is_water = water_table(pair.classes)
    any_data = False
    groups = list(read_groups(rows, cols, size=size, context=0))
    for window, chips in progress(groups, label=f"looking at {pair.name}", total=len(groups)):
        asked = pair.within(window)
        if not asked.any():
            continue
        usable = pair.scene.read_dn(pair.bands, window).valid & asked
        any_data = any_data or bool(usable.any())
        label = pair.read_label(window, usable)
        for chip in chips:
            part = part_of(window, rows[chip], cols[chip], size)
            within[chip] = np.count_nonzero(asked[part])
            known[chip] = np.count_nonzero(
                usable[part] if pair.labels is None else label[part] != IGNORE
            )
            water[chip] = np.count_nonzero(is_water[label[part]])
            coast_m[chip] = coast_length(label[part], is_water, pair.scene.res_m)
    if not any_data:
        where = "" if pair.aoi is None else " in the area of interest"
        raise SceneError(
            f"{pair.scene.source} has no data{where}: every pixel is nodata in some band"
            f"{pair.scene.clouds.or_masked}. "
            "Give another scene, or leave out an empty band with --bands."
        )
    return Survey(rows, cols, within, known, water, coast_m)


def chip_starts(length: int, *, size: int, stride: int) -> Ints:
    """Return where chips begin along one side of a scene, in pixels.

    Every `stride`, and once more at the end, so that no ground is left out.
    """
    starts = np.arange(0, length - size + 1, stride)
    if starts[-1] + size < length:
        starts = np.append(starts, length - size)
    return starts


def read_groups(
    rows: Ints, cols: Ints, *, size: int, context: int
) -> Iterator[tuple[Window, list[int]]]:
    """Put chips together that are read at once, because they are neighbours.

    Args:
        rows: First row of each core, (chips,).
        cols: First column.
        size: Side of a core.
        context: Width of the ring around it.

    Yields:
        The window that holds them with their context, and which they are.
    """
    cell = np.stack([rows, cols]) // max(READ_PX, size)
    order = np.lexsort(cell[::-1])  # by row, then column
    ends = np.flatnonzero((np.diff(cell[:, order]) != 0).any(axis=0)) + 1
    for chips in np.split(order, ends) if len(order) else []:
        top, left = rows[chips].min() - context, cols[chips].min() - context
        bottom, right = (a[chips].max() + size + context for a in (rows, cols))
        window = Window(
            col_off=int(left), row_off=int(top), width=int(right - left), height=int(bottom - top)
        )
        yield window, chips.tolist()


def _without_ring(window: Window, context: int) -> tuple[Window, tuple[slice, slice]]:
    """Return what a window holds within its ring of context, and where that lies in it."""
    inner = Window(
        col_off=window.col_off + context,
        row_off=window.row_off + context,
        width=window.width - 2 * context,
        height=window.height - 2 * context,
    )
    return inner, np.s_[context : context + inner.height, context : context + inner.width]


def part_of(window: Window, row: int, col: int, side: int) -> tuple[slice, slice]:
    """Return where a square of the scene lies in an array read with `window`."""
    top, left = int(row - window.row_off), int(col - window.col_off)
    return slice(top, top + side), slice(left, left + side)


def water_table(classes: Sequence[LabelClass]) -> NDArray[np.bool_]:
    """Return whether a label value is water, (256,)."""
    table = np.zeros(256, dtype=bool)
    table[[one.value for one in classes if one.water]] = True
    return table


def coast_length(
    label: NDArray[np.uint8], is_water: NDArray[np.bool_], res_m: tuple[float, float]
) -> float:
    """Estimate the length of the boundary between land and water, in metres.

    The edges between pixels of land and of water make a staircase, which is longer than the line
    it follows: by 4/π for a line that runs in all directions alike (Cauchy and Crofton). Edges
    with unknown pixels do not count.

    Args:
        label: (height, width), classes, 255 unknown.
        is_water: (256,), as `water_table` gives it.
        res_m: Pixel size (x, y) in metres.
    """
    known, water = label != IGNORE, is_water[label]
    beside = (water[:, 1:] != water[:, :-1]) & known[:, 1:] & known[:, :-1]
    below = (water[1:] != water[:-1]) & known[1:] & known[:-1]
    staircase = np.count_nonzero(beside) * res_m[1] + np.count_nonzero(below) * res_m[0]
    return staircase * math.pi / 4

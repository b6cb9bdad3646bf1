"""What is land and what is water, as somebody drew it: a raster or polygons, on a scene's grid."""

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS
from rasterio.enums import Resampling
from rasterio.errors import RasterioError
from rasterio.vrt import WarpedVRT
from rasterio.warp import transform_bounds
from rasterio.windows import Window
from shapely import STRtree, box

from geounet.classes import IGNORE, LAND, LAND_WATER, WATER, LabelClass
from geounet.coverage import coverage
from geounet.errors import LabelError, SceneError
from geounet.scene.raster import one_line, open_raster
from geounet.vectors import (
    POLYGON_TYPES,
    Bounds,
    Geometries,
    VectorFile,
    bounds_touch,
    clip_around,
    covered,
    crs_of,
    describe_bounds,
    grid_bounds,
    of_type,
    open_vectors,
    pieces_of,
    project,
    read_around,
    repair,
    split_layer,
)
from geounet.windows import plan_windows

logger = logging.getLogger(__name__)

UNKNOWN = "unknown"
"""What a value is called that means nobody knows."""
_MORE_COLORS = ("#ffffff", "#7fcdbb", "#31a354", "#fd8d3c", "#9e9ac8", "#636363", "#e7298a")
"""Of the third class and those after it."""
_SURVEYED = 2048
"""Side of the windows in which the values of a raster are looked through, in pixels."""


class LabelSource(Protocol):
    """Labels that can be had on any grid."""

    classes: tuple[LabelClass, ...]

    def prepare(self, geobox: GeoBox, *, scene: str) -> None:
        """Look at the labels under a scene: whether they touch it, and hold known values only.

        Args:
            geobox: Grid of the scene.
            scene: Its name, for messages.

        Raises:
            LabelError: They do not touch the scene, or have values that nobody named.
        """
        ...

    def read(self, geobox: GeoBox) -> NDArray[np.uint8]:
        """Return the classes of the pixels of a grid, (height, width); 255 is unknown."""
        ...

    def read_shares(self, geobox: GeoBox) -> NDArray[np.float32]:
        """Return how much of each pixel of a grid is water, (height, width), NaN unknown.

        Raises:
            LabelError: They cannot tell, because they are no finer than the grid.
        """
        ...


def open_labels(
    path: str | Path,
    *,
    values: str | None = None,
    water: bool | None = None,
    layer: str | None = None,
    where: str | None = None,
) -> LabelSource:
    """Open labels: a raster, or polygons of water or of land.

    Args:
        path: A file of any format; `file.gpkg|layer` names a layer.
        values: What the values of a raster mean: `0=land,1=water`, which is the default.
        water: Whether polygons are water (True, the default) or land; the rest is the other.
        layer: Layer of a vector file that has several.
        where: SQL condition that selects polygons.

    Raises:
        LabelError: It cannot be read, has no CRS, or the options do not fit its kind.
    """
    file, _ = split_layer(str(path))
    if not file.exists() and not str(path).startswith("/vsi"):
        raise LabelError(f"{file} is not there. Give the labels' file with --labels.")
    if is_raster(path):
        given = {"--labels-are": water, "--labels-layer": layer, "--labels-where": where}
        if wrong := [name for name, value in given.items() if value is not None]:
            raise LabelError(f"{path} is a raster; {', '.join(wrong)} is for polygons.")
        return RasterLabels.open(path, parse_values(values or "0=land,1=water"))
    if values is not None:
        raise LabelError(f"{path} has polygons; --label-values is for rasters. Use --labels-are.")
    vectors = open_vectors(str(path), layer=layer, where=where, error=LabelError)
    return PolygonLabels(vectors, inside=LAND if water is False else WATER)


@dataclass(frozen=True)
class LabelValues:
    """What the values of a label raster mean."""

    classes: tuple[LabelClass, ...]
    by_value: Mapping[float, int]
    """Value in the raster → value of its class, or 255."""
    text: str
    """As the user wrote it."""


def parse_values(text: str) -> LabelValues:
    """Read what label values mean.

    Args:
        text: `0=land,1=water,2=surf:water,9=unknown`. Land becomes 0, water 1, other classes 2
            and on in the order named; `:water` says that a class counts as water.

    Raises:
        LabelError: It is not of this form, or land or water is not named.
    """
    pairs = [_parse_pair(part, text) for part in text.split(",") if part.strip()]
    numbers = [number for number, _, _ in pairs]
    if len(set(numbers)) < len(numbers):
        twice = next(n for n in numbers if numbers.count(n) > 1)
        raise LabelError(f"--label-values {text} names {twice:g} twice. Name each value once.")
    names = {name: is_water for _, name, is_water in pairs if name != UNKNOWN}
    for needed in (LAND.name, WATER.name):
        if needed not in names:
            raise LabelError(
                f"--label-values {text} does not say which value is {needed}. "
                "Name both, as in 0=land,1=water."
            )
    others = [name for name in names if name not in (LAND.name, WATER.name)]
    classes = LAND_WATER + tuple(
        LabelClass(
            value=2 + i, name=name, color=_MORE_COLORS[i % len(_MORE_COLORS)], water=names[name]
        )
        for i, name in enumerate(others)
    )
    numbered = {one.name: one.value for one in classes} | {UNKNOWN: IGNORE}
    return LabelValues(classes, {number: numbered[name] for number, name, _ in pairs}, text)


def _parse_pair(part: str, text: str) -> tuple[float, str, bool]:
    number, equals, name = part.partition("=")
    name, colon, kind = name.strip().partition(":")
    try:
        value = float(number)
    except ValueError:
        value = math.nan
    if not equals or not name or not math.isfinite(value) or (colon and kind != WATER.name):
        raise LabelError(
            f"--label-values {text}: {part.strip()!r} is not value=name. "
            "Write them as in 0=land,1=water,2=surf:water,9=unknown."
        )
    return value, name.strip(), bool(colon)


def is_raster(path: str | Path) -> bool:
    """Return whether GDAL opens a file as a raster."""
    try:
        open_raster(path).close()
    except SceneError:
        return False
    return True


@contextmanager
def _reading(path: str | Path) -> Iterator[rasterio.DatasetReader]:
    """Open a raster of labels; what is damaged in it is told in one line.

    Raises:
        LabelError: It cannot be opened, or not be read.
    """
    try:
        with open_raster(path) as src:
            yield src
    except SceneError as error:
        raise LabelError(str(error)) from error
    except RasterioError as error:
        raise LabelError(
            f"{path} cannot be read: it is damaged or incomplete "
            f"({one_line(error.__cause__ or error)}). Download or make it again."
        ) from error


class RasterLabels:
    """A raster of values that mean classes, brought to a grid by taking the nearest pixel."""

    def __init__(
        self,
        path: str,
        meaning: LabelValues,
        *,
        crs: CRS,
        bounds: Bounds,
        fill: float,
        nodata: float | None,
    ) -> None:
        self.path, self.meaning, self.crs, self.bounds = path, meaning, crs, bounds
        self.classes = meaning.classes
        self._fill, self._nodata = fill, nodata
        self._looked_at: list[GeoBox] = []

    @classmethod
    def open(cls, path: str | Path, meaning: LabelValues) -> "RasterLabels":
        """Check that a raster can be labels.

        Raises:
            LabelError: It has no place on the Earth or several bands, or nodata was given a name.
        """
        with _reading(path) as src:
            if src.crs is None:
                raise LabelError(
                    f"{path} has no CRS, so nobody knows where it lies. "
                    "Set one, for instance with `gdal_edit.py -a_srs EPSG:32630`."
                )
            if src.transform.is_identity:
                raise LabelError(
                    f"{path} has no geotransform, so nobody knows where it lies. Set its corners "
                    "with `gdal_edit.py -a_ullr LEFT TOP RIGHT BOTTOM`."
                )
            if src.count != 1:
                raise LabelError(f"{path} has {src.count} bands; labels have one.")
            nodata = src.nodata
            if nodata is not None and meaning.by_value.get(nodata, IGNORE) != IGNORE:
                raise LabelError(
                    f"{path} says that {nodata:g} is nodata, and --label-values {meaning.text} "
                    f"gives it a name. Leave it out, or take the file's word back with "
                    f"`gdal_edit.py -unsetnodata`."
                )
            crs, bounds = CRS.from_user_input(src.crs.to_wkt()), tuple(src.bounds)
            fill = nodata if nodata is not None else _free_value(src.dtypes[0], meaning.by_value)
        return cls(str(path), meaning, crs=crs, bounds=bounds, fill=fill, nodata=nodata)

    def prepare(self, geobox: GeoBox, *, scene: str) -> None:
        """See `LabelSource.prepare`."""
        if not bounds_touch(self.bounds, self.crs, geobox):
            raise _not_touching(self.path, self.bounds, self.crs, geobox, scene)
        self._survey(geobox)
        self._looked_at.append(geobox)

    def read(self, geobox: GeoBox) -> NDArray[np.uint8]:
        """See `LabelSource.read`."""
        if not any(_contains(whole, geobox) for whole in self._looked_at):
            self._survey(geobox)
        with _reading(self.path) as src:
            offset = _whole_offset(src.transform, geobox) if self._same_crs(geobox) else None
            if offset is not None:
                return self._to_classes(self._read_aligned(src, offset, geobox))
            height, width = geobox.shape
            with WarpedVRT(
                src,
                crs=crs_of(geobox).to_wkt(),
                transform=geobox.transform,
                height=height,
                width=width,
                resampling=Resampling.nearest,
                # As good as exact: a label that is off by a pixel teaches a shift. (rasterio 1.4.4
                # makes no VRT at all with 0.)
                tolerance=1e-6,
                nodata=self._fill,
            ) as warped:
                return self._to_classes(warped.read(1))

    def read_shares(self, geobox: GeoBox) -> NDArray[np.float32]:
        """See `LabelSource.read_shares`; a pixel is known if all label pixels in it are."""
        with _reading(self.path) as src:
            to_raster = ~src.transform @ geobox.transform
        times = round(to_raster.a)
        height, width = geobox.shape
        finer = geobox.transform @ Affine.scale(1 / max(times, 1))
        fine = GeoBox((height * times, width * times), finer, geobox.crs)
        fits = self._same_crs(geobox) and times > 1
        if not fits or _whole_offset(src.transform, fine) is None:
            raise LabelError(
                f"--water-shares needs polygons, or a raster whose pixels part those of the scene "
                f"into whole numbers, 10 m into 2 m for instance; {self.path} does not. Give "
                "polygons, or leave it out."
            )
        parts = self.read(fine).reshape(height, times, width, times)
        share = (parts == WATER.value).mean(axis=(1, 3), dtype=np.float32)
        share[(parts == IGNORE).any(axis=(1, 3))] = np.nan
        return share

    def _same_crs(self, geobox: GeoBox) -> bool:
        return self.crs.equals(crs_of(geobox), ignore_axis_order=True)

    def _read_aligned(
        self, src: rasterio.DatasetReader, offset: tuple[int, int], geobox: GeoBox
    ) -> NDArray[Any]:
        """Read pixels that are the grid's own: nothing to compute, so nothing to round."""
        height, width = geobox.shape
        top, left = offset
        result = np.full((height, width), self._fill, dtype=src.dtypes[0])
        rows = slice(max(-top, 0), min(src.height - top, height))
        cols = slice(max(-left, 0), min(src.width - left, width))
        if rows.start < rows.stop and cols.start < cols.stop:
            window = Window(
                col_off=left + cols.start,
                row_off=top + rows.start,
                width=cols.stop - cols.start,
                height=rows.stop - rows.start,
            )
            result[rows, cols] = src.read(1, window=window)
        return result

    def _to_classes(self, values: NDArray[Any]) -> NDArray[np.uint8]:
        label = np.full(values.shape, IGNORE, dtype=np.uint8)
        for value, number in self.meaning.by_value.items():
            label[values == value] = number
        return label

    def _survey(self, geobox: GeoBox) -> None:
        """Look for values that nobody named, in all of the raster that lies under a grid."""
        strange: dict[float, tuple[int, int]] = {}  # value → (row, col) where it is first
        with _reading(self.path) as src:
            for window in _windows_under(src, self.crs, geobox):
                values = src.read(1, window=window)
                for value in self._strange(values):
                    row, col = np.argwhere(values == value)[0]
                    place = (int(window.row_off + row), int(window.col_off + col))
                    strange.setdefault(value, place)
            if strange:
                raise self._unknown_values(strange, src.transform)

    def _strange(self, values: NDArray[Any]) -> list[float]:
        found = pd.unique(values.ravel())
        known = {*self.meaning.by_value, float(IGNORE), self._nodata}
        return [v for v in found.tolist() if v not in known and not math.isnan(v)]

    def _unknown_values(
        self, strange: Mapping[float, tuple[int, int]], transform: Affine
    ) -> LabelError:
        shown = [
            f"{value:g} (row {row}, column {col}, at {x:.10g}, {y:.10g})"
            for value, (row, col) in sorted(strange.items())[:5]
            for x, y in [transform @ (col + 0.5, row + 0.5)]
        ]
        more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
        example = f"{self.meaning.text},{min(strange):g}=unknown"
        return LabelError(
            f"{self.path} holds values that nobody named: {', '.join(shown)}{more}; "
            f"named are {self.meaning.text}. Name them too: --label-values {example}."
        )


class PolygonLabels:
    """Polygons of one class; the ground outside of them is the other."""

    classes: tuple[LabelClass, ...] = LAND_WATER

    def __init__(self, vectors: VectorFile, *, inside: LabelClass) -> None:
        self.vectors, self.inside = vectors, inside
        self._scenes: list[GeoBox] = []
        self._around: GeoBox | None = None
        self._pieces: Geometries = np.empty(0, dtype=object)
        self._tree = STRtree(self._pieces)

    def prepare(self, geobox: GeoBox, *, scene: str) -> None:
        """See `LabelSource.prepare`."""
        vectors = self.vectors
        if not bounds_touch(vectors.bounds, vectors.crs, geobox):
            raise _not_touching(str(vectors.path), vectors.bounds, vectors.crs, geobox, scene)
        self._load(geobox)
        self._scenes.append(geobox)

    def read(self, geobox: GeoBox) -> NDArray[np.uint8]:
        """See `LabelSource.read`."""
        outside = WATER if self.inside == LAND else LAND
        inside = covered(self._near(geobox), geobox)
        return np.where(inside, self.inside.value, outside.value).astype(np.uint8)

    def read_shares(self, geobox: GeoBox) -> NDArray[np.float32]:
        """See `LabelSource.read_shares`."""
        inside = coverage(self._near(geobox), geobox).astype(np.float32)
        return inside if self.inside == WATER else 1 - inside

    def _near(self, geobox: GeoBox) -> Geometries:
        """Return the polygons around a grid, in its CRS."""
        if self._around is None or not _contains(self._around, geobox):
            # All of a scene at once, not window by window.
            known = (whole for whole in self._scenes if _contains(whole, geobox))
            self._load(next(known, geobox))
        return self._pieces[self._tree.query(box(*grid_bounds(geobox)))]

    def _load(self, geobox: GeoBox) -> None:
        """Bring what lies around a grid into memory: cut to it, in its CRS, in small pieces."""
        vectors = self.vectors
        # What is wrong with them is said once for each scene.
        level = logging.DEBUG if geobox in self._scenes else logging.WARNING
        shapes = read_around(vectors, geobox)
        polygons = of_type(shapes, POLYGON_TYPES)
        if len(polygons) < len(shapes):
            what = f"{len(shapes) - len(polygons)} of {len(shapes)} shapes of {vectors.path}"
            if len(polygons) == 0:
                raise LabelError(
                    f"{what} are lines or points. Labels need polygons of water or land, or a "
                    "raster."
                )
            logger.log(level, "%s are lines or points; only polygons count.", what)
        polygons = repair(polygons, name=str(vectors.path), level=level)
        polygons = clip_around(polygons, vectors.crs, geobox)
        self._pieces = pieces_of(project(polygons, vectors.crs, crs_of(geobox), geobox))
        self._tree = STRtree(self._pieces)
        self._around = geobox


def _not_touching(path: str, bounds: Bounds, crs: CRS, geobox: GeoBox, scene: str) -> LabelError:
    return LabelError(
        f"The labels do not touch the scene: {path} has {describe_bounds(bounds, crs)}, scene "
        f"{scene} {describe_bounds(grid_bounds(geobox), crs_of(geobox))}. Give other --labels."
    )


def _free_value(dtype: str, named: Mapping[float, int]) -> float:
    """Return a value of `dtype` that means nothing yet, for pixels beyond the raster's edge."""
    if np.issubdtype(np.dtype(dtype), np.floating):
        return math.nan
    limits = np.iinfo(dtype)
    candidates = [IGNORE, int(limits.max), int(limits.min), *range(254, 1, -1)]
    return float(next(c for c in candidates if limits.min <= c <= limits.max and c not in named))


def _whole_offset(transform: Affine, geobox: GeoBox) -> tuple[int, int] | None:
    """Return (row, col) of a grid's first pixel in a raster, if the two share their pixels."""
    to_raster = ~transform @ geobox.transform
    height, width = geobox.shape
    col, row = round(to_raster.c), round(to_raster.f)
    # Compared at the far corner, where a difference in pixel size adds up.
    far_col, far_row = to_raster @ (width, height)
    near = (to_raster.c - col, to_raster.f - row)
    far = (far_col - width - col, far_row - height - row)
    shares = max(map(abs, near + far)) < 1e-2 and abs(to_raster.b) + abs(to_raster.d) < 1e-9
    return (row, col) if shares and to_raster.a > 0 and to_raster.e > 0 else None


def _contains(outer: GeoBox, inner: GeoBox) -> bool:
    if outer.crs != inner.crs:
        return False
    return bool(
        box(*grid_bounds(outer))
        .buffer(1e-6 * abs(outer.resolution.x))
        .covers(box(*grid_bounds(inner)))
    )


def _windows_under(src: rasterio.DatasetReader, crs: CRS, geobox: GeoBox) -> Iterator[Window]:
    """Cover the part of a raster that lies under a grid, and a pixel around it."""
    try:
        bounds = transform_bounds(
            crs_of(geobox).to_wkt(), crs.to_wkt(), *grid_bounds(geobox), densify_pts=21
        )
    except RasterioError:
        return
    left, bottom, right, top = bounds
    if right < left:  # across 180°: all longitudes
        left, right = src.bounds.left, src.bounds.right
    cols, rows = ~src.transform @ (
        np.array([left, right, left, right]),
        np.array([top, top, bottom, bottom]),
    )
    first_row, last_row = max(int(rows.min()) - 1, 0), min(int(rows.max()) + 2, src.height)
    first_col, last_col = max(int(cols.min()) - 1, 0), min(int(cols.max()) + 2, src.width)
    if first_row >= last_row or first_col >= last_col:
        return
    height, width = last_row - first_row, last_col - first_col
    for window in plan_windows(height, width, core=_SURVEYED, halo=0):
        core = window.core
        yield Window(
            col_off=first_col + core.col_off,
            row_off=first_row + core.row_off,
            width=core.width,
            height=core.height,
        )

"""The files of one result, as a page is drawn from them."""

import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import Transformer

from geounet.classes import LAND_WATER, LabelClass
from geounet.errors import ResultError
from geounet.outputs import list_records, sha256_of
from geounet.vectors import WGS84, crs_of

PICTURE_SIDE = 1500
"""Pixels of what is shown of a raster along its longer side, at most."""


_KINDS: Mapping[str, type] = {
    **dict.fromkeys(("files", "scene", "clouds", "model", "baseline"), dict),
    **dict.fromkeys(("plan", "versions", "timings"), dict),
    **dict.fromkeys(("classes", "notes", "bands_against_training"), list),
}
"""Of what a page takes from a record; each may be missing or null."""
_OF_BAND = ("scene_mean", "scene_std", "training_mean", "training_std")


def check_record(path: Path, record: Mapping[str, Any]) -> None:
    """Check that a record is made as ours are, as far as a page goes by it.

    Raises:
        ResultError: It is not.
    """
    there = ["files", *(key for key in _KINDS if record.get(key) is not None)]
    wrong = [key for key in dict.fromkeys(there) if not isinstance(record.get(key), _KINDS[key])]
    if wrong:
        raise ResultError(_damaged(path, ", ".join(wrong)))
    scene, files = record.get("scene") or {}, record["files"]
    rows = record.get("bands_against_training") or []
    try:
        [LabelClass.from_dict(one) for one in record.get("classes") or []]
        [files[name]["sha256"] for name in files]
        [float(metres) for metres in scene.get("res_m") or []]
        [(str(row["band"]), bool(row["far"]), [float(row[k]) for k in _OF_BAND]) for row in rows]
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise ResultError(_damaged(path, " ".join(str(error).split()))) from None


def _damaged(path: Path, what: str) -> str:
    return f"{path} is damaged, or was changed by hand: {what}. Make the result again."


def records_below(folder: Path) -> Iterator[Path]:
    """Yield the records of results in a folder and in those in it, at any depth, folder by folder.

    What is being written lies in hidden folders, which are left alone.
    """
    for place, inner, _ in os.walk(folder):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        yield from list_records(Path(place))


@dataclass(frozen=True)
class Result:
    """One set of files, finished or about to be."""

    folder: Path
    """Where its files are, which is a hidden folder while the set is being written."""
    name: str
    record: Mapping[str, Any]
    """What `NAME.json` says, or is about to."""

    def path(self, suffix: str) -> Path | None:
        """Return the file called `name` + `suffix`; None where the result has none."""
        path = self.folder / f"{self.name}{suffix}"
        return path if path.is_file() else None

    @cached_property
    def mask(self) -> Path | None:
        """The raster of classes."""
        return self.path("_mask.tif")

    @cached_property
    def quantity(self) -> str | None:
        """What the line was drawn on: `probability` or `index`; None where there is neither."""
        return next((q for q in ("probability", "index") if self.path(f"_{q}.tif")), None)

    @cached_property
    def field(self) -> Path | None:
        """The raster of probability or index."""
        return self.path(f"_{self.quantity}.tif") if self.quantity else None

    @cached_property
    def rgb(self) -> Path | None:
        """The picture of the scene."""
        return self.path("_rgb.tif")

    @cached_property
    def lines(self) -> Path | None:
        """The GeoPackage."""
        return self.path(".gpkg")

    @property
    def level(self) -> float | None:
        """Where water begins."""
        level = self.record.get("level")
        return float(level) if isinstance(level, int | float) else None

    @property
    def classes(self) -> tuple[LabelClass, ...]:
        """What the values of the mask mean."""
        said = self.record.get("classes")
        return tuple(LabelClass.from_dict(one) for one in said) if said else LAND_WATER

    @cached_property
    def geobox(self) -> GeoBox:
        """The grid of the result.

        Raises:
            ResultError: It has no raster, or one that does not say where it lies.
        """
        path = self.mask or self.field or self.rgb
        if path is None:
            raise ResultError(
                f"{self.folder / self.name}.json has no raster left beside it to draw: no mask, "
                "probability, index or picture. Make the result again."
            )
        with rasterio.open(path) as src:
            if src.crs is None:
                raise ResultError(f"{path} does not say its CRS. Make the result again.")
            return GeoBox(src.shape, src.transform, src.crs)

    @cached_property
    def to_lonlat(self) -> Transformer:
        """From the CRS of the grid to longitude and latitude."""
        return Transformer.from_crs(crs_of(self.geobox), WGS84, always_xy=True)

    def changed_files(self) -> list[str]:
        """Return what is to be said of files that are gone, or not as the record has them."""
        said = []
        for filename, listed in sorted(self.record.get("files", {}).items()):
            path = self.folder / Path(filename).name
            if not path.is_file():
                said.append(f"{filename} is not there any more")
            elif sha256_of(path) != listed.get("sha256"):
                said.append(f"{filename} was changed after it was made; it is shown as it is now")
        return said


@dataclass(frozen=True)
class View:
    """How a raster becomes a picture with north up and x to the right, small enough for a page."""

    read_shape: tuple[int, int]
    """(height, width) to which it is read."""
    bounds: tuple[float, float, float, float]
    """(left, bottom, right, top) of the picture, in units of the CRS."""
    turned: tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]] | None
    """Of each pixel of the picture: row and column in what was read, and whether it is inside;
    None where the grid has north up already."""
    px: float
    """Shorter side of a pixel of the picture, in units of the CRS."""
    reduced: float
    """Pixels of the raster along one of the picture; 1 where it is shown in full."""

    @classmethod
    def of(cls, geobox: GeoBox, side: int = PICTURE_SIDE) -> "View":
        """Return the view of a grid, `side` pixels long at most."""
        height, width = geobox.shape
        reduced = max(1.0, max(height, width) / side)
        shape = max(1, round(height / reduced)), max(1, round(width / reduced))
        small = geobox.transform @ Affine.scale(width / shape[1], height / shape[0])
        rows, cols = shape
        corners = [small @ corner for corner in ((0, 0), (cols, 0), (0, rows), (cols, rows))]
        xs, ys = (np.array(along) for along in zip(*corners, strict=True))
        bounds = float(xs.min()), float(ys.min()), float(xs.max()), float(ys.max())
        px = min(math.hypot(small.a, small.d), math.hypot(small.b, small.e))
        turned = None
        if small.b or small.d or small.a < 0 or small.e > 0:
            turned = _turn(small, shape, bounds, side)
        return cls(shape, bounds, turned, px, reduced)

    def turn_picture(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return a picture of what was read, (height, width, 4), north up; clear around it."""
        if self.turned is None:
            return picture
        rows, cols, inside = self.turned
        return np.where(inside[..., None], picture[rows, cols], np.uint8(0))


def _turn(
    small: Affine, shape: tuple[int, int], bounds: tuple[float, float, float, float], side: int
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """Return which pixel of a turned grid lies under each pixel of a picture with north up."""
    left, bottom, right, top = bounds
    x_px, y_px = abs(small.a) + abs(small.b), abs(small.d) + abs(small.e)
    # A turned pixel's box is larger than the pixel: as many pixels as the grid's diagonal needs.
    width = min(side, max(1, math.ceil((right - left) / x_px * 1.5)))
    height = min(side, max(1, math.ceil((top - bottom) / y_px * 1.5)))
    x = left + (np.arange(width) + 0.5) * (right - left) / width
    y = top - (np.arange(height) + 0.5) * (top - bottom) / height
    a, b, c, d, e, f, *_ = ~small
    cols = np.floor(a * x[None] + b * y[:, None] + c).astype(np.intp)
    rows = np.floor(d * x[None] + e * y[:, None] + f).astype(np.intp)
    inside = (cols >= 0) & (cols < shape[1]) & (rows >= 0) & (rows < shape[0])
    return np.where(inside, rows, 0), np.where(inside, cols, 0), inside

"""The files of SWED: what they are called, which belong together, and what is in them."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.errors import RasterioError

from geounet.bands import SENSORS
from geounet.classes import IGNORE
from geounet.errors import ChipsError, SceneError
from geounet.scene.raster import open_raster

BANDS = tuple(band for band in SENSORS["s2"] if band.name != "B10")
"""All of L2A, in the order of the images."""
SIDE = 256
PLACES = ("", "train", "test", "SWED", "SWED/train", "SWED/test")
"""Where `images` and `labels` may lie."""
UNKNOWN = (-1, 255, 65535)
"""−1 in signed numbers, and what becomes of it in unsigned ones of 8 and 16 bits."""
MOST_REFLECTANCE = 2.0
"""Floats that are nowhere above it are no digital numbers."""
_FILE = re.compile(r"(?P<scene>.+)_(?P<kind>image|chip|label)_(?P<place>.+)\.(?P<type>npy|tif)")
_PART = {
    ("image", "npy"): ("train", "image"),
    ("chip", "npy"): ("train", "label"),
    ("image", "tif"): ("test", "image"),
    ("label", "tif"): ("test", "label"),
}
"""Split, and what of a chip it is, by how a file is called."""
_TIME = re.compile(r"_(\d{8}T\d{6})(?:_|$)")
_BASELINE = re.compile(r"_N(\d\d)(\d\d)(?:_|$)")
_TILE = re.compile(r"_T(\d\d[A-Z]{3})(?:_|$)")
_PLACE = re.compile(r"(\d{1,9})_(\d{1,9})")
WHAT_THERE_SHOULD_BE = (
    "train/images/*_image_*.npy with train/labels/*_chip_*.npy, and test/images/*_image_*.tif with "
    "test/labels/*_label_*.tif"
)
DigitalNumbers = NDArray[Any]
"""(height, width, bands), any number type."""


class UnusableError(Exception):
    """A chip cannot be used; the text says why, for a list."""


@dataclass(frozen=True)
class SwedPair:
    """An image and its label, of which one may be missing."""

    name: str
    """The image's, without its ending."""
    scene: str
    place: str
    split: str
    """`train` or `test`: of the data set, before validation chips are taken from it."""
    image: Path | None = None
    label: Path | None = None

    @property
    def image_name(self) -> str:
        """What the image's file is called, or would be."""
        return f"{self.name}.{'npy' if self.split == 'train' else 'tif'}"

    @property
    def label_name(self) -> str:
        """What the label's file is called, or would be."""
        if self.split == "train":
            return f"{self.scene}_chip_{self.place}.npy"
        return f"{self.scene}_label_{self.place}.tif"

    @property
    def ground(self) -> str:
        """What is divided as a whole: the tile of Sentinel-2, else the scene."""
        tile = _TILE.search(self.scene)
        return f"T{tile[1]}" if tile else self.scene

    @property
    def corner(self) -> tuple[int, ...]:
        """Row and column of the chip among those of its scene, where its name has them."""
        numbers = _PLACE.fullmatch(self.place)
        return tuple(map(int, numbers.groups())) if numbers else ()

    @property
    def time(self) -> datetime | None:
        """When the scene was taken, by its name."""
        found = _TIME.search(self.scene)
        try:
            time = datetime.strptime(f"{found[1]}Z", "%Y%m%dT%H%M%S%z") if found else None
        except ValueError:  # digits that are no date
            return None
        return time

    @property
    def baseline(self) -> str | None:
        """Version of the processor by its name, as `02.11`."""
        found = _BASELINE.search(self.scene)
        return f"{found[1]}.{found[2]}" if found else None


def find_files(folder: Path) -> Iterator[tuple[Path, re.Match[str]]]:
    """Yield the files whose names are SWED's, and those names."""
    for place in PLACES:
        for part in ("images", "labels"):
            where = folder / place / part
            if not where.is_dir():
                continue
            try:
                for file in where.iterdir():
                    # A Mac leaves `._NAME.npy` beside NAME.npy on disks that are not its own.
                    found = _FILE.fullmatch(file.name)
                    if found and not file.name.startswith("."):
                        yield file, found
            except OSError as error:
                raise ChipsError(f"{where} cannot be read ({error.strerror}).") from error


def pair_up(folder: Path) -> list[SwedPair]:
    """Return images with their labels by name, training before test; either may be missing.

    Raises:
        ChipsError: There are none, or one twice.
    """
    found: dict[tuple[str, str, str], dict[str, Path]] = {}
    for path, name in find_files(folder):
        split, part = _PART.get((name["kind"], name["type"]), (None, None))
        if split is None or part is None:
            continue
        chip = found.setdefault((split, name["scene"], name["place"]), {})
        if part in chip:
            raise ChipsError(
                f"{folder} has {path.name} twice, in {chip[part].parent} and in {path.parent}. "
                "Keep one of them."
            )
        chip[part] = path
    if not found:
        raise ChipsError(
            f"{folder} holds nothing of SWED. Give the folder that it was unpacked to, with "
            f"{WHAT_THERE_SHOULD_BE}."
        )
    if both := {key[1:] for key in found if key[0] == "train"} & {
        key[1:] for key in found if key[0] == "test"
    }:
        scene, place = min(both)
        raise ChipsError(
            f"{folder} has chip {place} of {scene} to train and to test with. Remove one of them."
        )
    pairs = [
        SwedPair(f"{scene}_image_{place}", scene, place, split, **files)
        for (split, scene, place), files in found.items()
    ]
    return sorted(pairs, key=_place_of)


def _place_of(pair: SwedPair) -> tuple[Any, ...]:
    return pair.split != "train", pair.scene, pair.corner, pair.place


def names_of(pairs: Sequence[SwedPair]) -> dict[str, str]:
    """Return the chip by every name that a list may have for it."""
    known = {}
    for pair in pairs:
        for name in (pair.image_name, pair.label_name):
            known[name] = known[name.rpartition(".")[0]] = pair.name
    return known


def read_dn(path: Path) -> DigitalNumbers:
    """Return an image, (256, 256, 12), 0 where a file says nodata.

    Raises:
        UnusableError: It is damaged, another shape, or reflectance instead.
    """
    if path.suffix == ".npy":
        dn = np.ascontiguousarray(_load(path, "image", (SIDE, SIDE, len(BANDS))))
    else:
        dn = np.moveaxis(_read_tif(path, "image", (len(BANDS), SIDE, SIDE)), 0, -1)
    if dn.dtype.kind == "f":
        most = float(np.max(dn, where=np.isfinite(dn), initial=0))
        if 0 < most <= MOST_REFLECTANCE:
            raise UnusableError(
                f"its image holds {most:.4g} at most, which is reflectance, and SWED has digital "
                "numbers, 10000 times that"
            )
    return dn


def read_label(path: Path) -> NDArray[np.uint8]:
    """Return a label, (256, 256): 0 land, 1 water, 255 unknown.

    Raises:
        UnusableError: It is damaged, another shape, or has other values.
    """
    read = _load if path.suffix == ".npy" else _read_tif
    values = read(path, "label", (1, SIDE, SIDE))[0]
    label = np.full(values.shape, IGNORE, dtype=np.uint8)
    label[values == 0] = 0
    label[values == 1] = 1
    stray = values[(label == IGNORE) & ~np.isin(values, UNKNOWN)]
    if stray.size:
        raise UnusableError(f"its label has the value {stray[0]}, which is no class")
    return label


def _load(path: Path, what: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return what is in an .npy file; nothing in it is run, and no more is read than is there."""
    try:
        values = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError, EOFError) as error:
        raise UnusableError(f"its {what} is damaged ({_first_line(error)})") from error
    if not isinstance(values, np.ndarray) or values.dtype.kind not in "iuf":
        raise UnusableError(f"its {what} is no array of numbers")
    _check_shape(values.shape, shape, what)
    return values


def _read_tif(path: Path, what: str, shape: tuple[int, ...]) -> NDArray[Any]:
    """Return what is in a GeoTIFF, 0 in an image where it says nodata."""
    try:
        with open_raster(path) as src:
            _check_shape((src.count, *src.shape), shape, what)
            values: NDArray[Any] = src.read()
            nodata = src.nodata
    except (SceneError, RasterioError) as error:
        raise UnusableError(f"its {what} is damaged ({_first_line(error)})") from error
    if what == "image" and nodata is not None:
        values[values == nodata] = 0
    return values


def _check_shape(found: tuple[int, ...], wanted: tuple[int, ...], what: str) -> None:
    if found != wanted:
        raise UnusableError(
            f"its {what} is {' × '.join(map(str, found))} and not {' × '.join(map(str, wanted))}"
        )


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or ["empty"])[0].rstrip(".")

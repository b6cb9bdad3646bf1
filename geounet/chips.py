"""The chip folder: pairs of image and label to train on, which chips are whose, and what they are.

    images/NAME.tif   float32 reflectance, NaN where there is no data, bands named
    labels/NAME.tif   uint8 classes on the same grid, 255 unknown
    index.parquet     GeoParquet, one row per chip: footprint, split, block, source, shares
    dataset.json      `ChipFolderInfo`: bands, classes, settings, statistics of the training split

It loads in QGIS as it is. A chip may be larger than what is trained on: `context` pixels of real
neighbours lie around its core on every side, with unknown labels.
"""

import hashlib
import io
import json
import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pydantic import BaseModel, ConfigDict, ValidationError
from rasterio.errors import RasterioIOError
from rasterio.io import MemoryFile
from shapely.geometry.base import BaseGeometry

from geounet import __version__
from geounet.bands import Band, find_band
from geounet.classes import IGNORE, LabelClass
from geounet.errors import ChipsError
from geounet.split import block_squares

logger = logging.getLogger(__name__)

CHIPS_MARK = "dataset.json"
"""The file that makes a folder a chip folder."""
INDEX = "index.parquet"
FORMAT = 1
SPLITS = ("train", "val", "test")


class ChipFolderInfo(BaseModel):
    """What all chips of a folder have in common."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: int
    geounet: str
    """The version that wrote the folder."""
    bands: tuple[dict[str, Any], ...]
    """`Band.to_dict` in the order of the images."""
    sensor: str | None
    level: str | None
    res_m: tuple[float, float]
    """Pixel size (x, y) in metres."""
    crs: tuple[str, ...]
    """Coordinate systems that occur, sorted."""
    classes: tuple[dict[str, Any], ...]
    """`LabelClass.to_dict` by value."""
    size: int
    """Side of a chip's core, in pixels; images and labels have `size` + 2 × `context`."""
    context: int
    stride: int
    nodata: int
    """Value of unknown in the labels."""
    mean: tuple[float, ...]
    """Reflectance of the training split by band; empty without a training split."""
    std: tuple[float, ...]
    split: dict[str, Any]
    """How chips were divided: by, seed, shares, block_m, gap_m, dropped."""
    sources: tuple[dict[str, Any], ...]
    """The scenes and their labels, in the order given."""
    fingerprint: str
    """SHA-256 over the index and all images and labels."""

    @property
    def band_list(self) -> tuple[Band, ...]:
        """The bands, in the order of the images."""
        return tuple(Band.from_dict(band) for band in self.bands)

    @property
    def class_list(self) -> tuple[LabelClass, ...]:
        """The classes, by value."""
        return tuple(LabelClass.from_dict(one) for one in self.classes)


class Chip(NamedTuple):
    """One sample as it lies on disk."""

    values: NDArray[np.float32]
    """(bands, height, width), reflectance, NaN where not valid."""
    valid: NDArray[np.bool_]
    """(height, width), True where every band that was read has data."""
    label: NDArray[np.uint8]
    """(height, width), 255 unknown."""


@dataclass(frozen=True)
class ChipFolder:
    """A chip folder that is there and whole enough to be read."""

    path: Path
    info: ChipFolderInfo
    index: gpd.GeoDataFrame
    """One row per chip, WGS 84; see the module's text."""

    def names(self, split: str) -> list[str]:
        """Return the chips of a split (`train`, `val` or `test`), sorted."""
        if split not in SPLITS:
            raise ValueError(f"there is no split {split!r}; there are {', '.join(SPLITS)}")
        return sorted(self.index.loc[self.index["split"] == split, "chip"])

    def read(self, name: str, bands: Sequence[str | Band] | None = None) -> Chip:
        """Read a chip.

        Args:
            name: As in the index's column `chip`.
            bands: Names, ids or common names, in the order wanted; None for all.

        Raises:
            ChipsError: A file is missing or damaged.
            BandError: A band is not there.
        """
        image, label = self._files[name]
        wanted = [b.id if isinstance(b, Band) else b for b in bands] if bands else None
        indexes = [find_band(b, self.info.band_list) + 1 for b in wanted] if wanted else None
        try:
            with rasterio.open(self.path / image) as src:
                values = src.read(indexes)
            with rasterio.open(self.path / label) as src:
                classes = src.read(1)
        except RasterioIOError as error:
            raise ChipsError(
                f"Chip {name} of {self.path} is missing or damaged ({error}). Run tile again."
            ) from error
        return Chip(values, np.isfinite(values).all(axis=0), classes)

    def blocks(self, split: str) -> gpd.GeoSeries:
        """Return the ground of a split: what none of the other splits' chips has seen.

        Its blocks as squares in EPSG:6933, by block; where whole scenes were divided, the chips'
        footprints in WGS 84.
        """
        of_split = self.index[self.index["split"] == split]
        if self.info.split["by"] == "scene":
            return of_split.set_index("chip").geometry
        return block_squares(sorted(set(of_split["block"])), float(self.info.split["block_m"]))

    def summary(self) -> pd.DataFrame:
        """Return what each split holds, by split.

        Columns: `chips`; `water`, share of the known pixels; `coast_km`; `area_km2`, of known
        pixels. Ground that lies in two chips, on another date for instance, counts twice.
        """
        footprints_m2 = self.index.to_crs("EPSG:6933").area  # equal-area
        area = footprints_m2 * self.index["valid"] / 1e6
        of_chips = pd.DataFrame(
            {
                "chips": 1,
                "water": area * self.index["water"],
                "coast_km": self.index["coast_m"] / 1000,
                "area_km2": area,
            }
        )
        splits = of_chips.groupby(self.index["split"]).sum()
        splits["water"] /= splits["area_km2"]
        return splits.reindex([split for split in SPLITS if split in splits.index])

    @cached_property
    def _files(self) -> dict[str, tuple[str, str]]:
        columns = (self.index[column] for column in ("chip", "image", "label"))
        return {chip: (image, label) for chip, image, label in zip(*columns, strict=True)}


def open_chips(folder: Path) -> ChipFolder:
    """Open a chip folder.

    Raises:
        ChipsError: It is not one, is damaged, or was written by a newer geounet.
    """
    mark = folder / CHIPS_MARK
    if not mark.is_file():
        what = "is not there" if not folder.exists() else f"is no chip folder (no {CHIPS_MARK})"
        raise ChipsError(f"{folder} {what}. Make one with `geounet tile`.")
    try:
        fields = json.loads(mark.read_text())
        if isinstance(fields, dict) and fields.get("format", FORMAT) != FORMAT:
            raise ChipsError(
                f"{mark} has format {fields['format']}; this geounet reads {FORMAT}. "
                "Update geounet, or run tile again."
            )
        info = ChipFolderInfo.model_validate(fields)
        index = gpd.read_parquet(folder / INDEX)
    except (ValueError, ValidationError, OSError) as error:
        why = str(error).splitlines()[0]
        raise ChipsError(f"{folder} is damaged ({why}). Run tile again.") from error
    return ChipFolder(path=folder, info=info, index=index)


@dataclass(frozen=True)
class ChipRecord:
    """A chip's row of the index."""

    chip: str
    """Its name; files are called so."""
    split: str
    block: str
    """Block that its centre lies in, or the group of its scene."""
    scene: str
    time: datetime | None
    """UTC."""
    row: int
    """First row of the core in the scene."""
    col: int
    crs: str
    water: float
    """Share of the known pixels of the core that are water."""
    valid: float
    """Share of the pixels of the core that have data and a known label."""
    coast_m: float
    """Length of the boundary between land and water in the core, in metres."""
    geometry: BaseGeometry
    """Footprint of the core, WGS 84."""


class BandStatistics:
    """Mean and standard deviation by band of pixels that come in parts, in float64.

    Parts are merged by Chan et al. (1983), "Algorithms for computing the sample variance", so
    that nothing cancels however many there are.
    """

    def __init__(self, bands: int) -> None:
        self.count = 0
        self.mean = np.zeros(bands)
        self._squares = np.zeros(bands)  # sum of squared distances from the mean

    def add(self, values: NDArray[np.float32], valid: NDArray[np.bool_]) -> None:
        """Count the valid pixels of `values`, (bands, height, width)."""
        pixels = values[:, valid].astype(np.float64)  # (bands, pixels)
        count = pixels.shape[1]
        if count == 0:
            return
        mean = pixels.mean(axis=1)
        total = self.count + count
        distance = mean - self.mean
        self._squares += ((pixels - mean[:, None]) ** 2).sum(axis=1)
        self._squares += distance**2 * (self.count * count / total)
        self.mean += distance * (count / total)
        self.count = total

    @property
    def std(self) -> NDArray[np.float64]:
        """(bands,), of the population."""
        return np.sqrt(self._squares / max(self.count, 1))


class ChipWriter:
    """Writes chips one after another, then what they have in common.

    The statistics are those of the cores of the training split, every valid pixel counted once
    per chip; the ring of context is left out, because it is the core of the chips beside it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        bands: Sequence[Band],
        classes: Sequence[LabelClass],
        sensor: str | None,
        level: str | None,
        context: int,
    ) -> None:
        self.folder = folder
        self.bands, self.classes = tuple(bands), tuple(classes)
        self.sensor, self.level, self.context = sensor, level, context
        self.records: list[ChipRecord] = []
        self._hashes: dict[str, str] = {}
        self._statistics = BandStatistics(len(bands))
        for part in ("images", "labels"):
            (folder / part).mkdir()

    def write(
        self,
        record: ChipRecord,
        values: NDArray[np.float32],
        label: NDArray[np.uint8],
        geobox: GeoBox,
    ) -> None:
        """Write one chip.

        Args:
            record: Its row of the index.
            values: (bands, height, width), reflectance, NaN where not valid, context included.
            label: (height, width), 255 in the ring of context and where not valid.
            geobox: Grid of both.
        """
        self._save(_image_path(record.chip), self._image(values, geobox, record.time))
        self._save(_label_path(record.chip), self._label(label, geobox))
        self.records.append(record)
        if record.split == "train":
            core = slice(self.context, values.shape[1] - self.context or None)
            inner = values[:, core, core]
            self._statistics.add(inner, np.asarray(np.isfinite(inner).all(axis=0)))

    def finish(
        self,
        *,
        size: int,
        stride: int,
        res_m: tuple[float, float],
        split: dict[str, Any],
        sources: Sequence[dict[str, Any]],
    ) -> ChipFolderInfo:
        """Write the index and `dataset.json`; `split` and `sources` go there as they are."""
        buffer = io.BytesIO()
        self._index().to_parquet(buffer, index=False)
        self._save(INDEX, buffer.getvalue())
        lines = "".join(f"{path} {digest}\n" for path, digest in sorted(self._hashes.items()))
        trained = self._statistics.count > 0
        info = ChipFolderInfo(
            format=FORMAT,
            geounet=__version__,
            bands=tuple(band.to_dict() for band in self.bands),
            sensor=self.sensor,
            level=self.level,
            res_m=res_m,
            crs=tuple(sorted({record.crs for record in self.records})),
            classes=tuple(one.to_dict() for one in self.classes),
            size=size,
            context=self.context,
            stride=stride,
            nodata=IGNORE,
            mean=tuple(self._statistics.mean.tolist()) if trained else (),
            std=self._usable_std() if trained else (),
            split=split,
            sources=tuple(sources),
            fingerprint=hashlib.sha256(lines.encode()).hexdigest(),
        )
        text = json.dumps(info.model_dump(), indent=1, ensure_ascii=False) + "\n"
        (self.folder / CHIPS_MARK).write_text(text)
        return info

    def _usable_std(self) -> tuple[float, ...]:
        """Return the standard deviations, 1 for a band that is the same everywhere."""
        std = self._statistics.std.tolist()
        for i, band in enumerate(self.bands):
            # Below float32's own rounding of the mean nothing but noise is left to divide by.
            if std[i] <= 1e-6 * max(abs(float(self._statistics.mean[i])), 1e-6):
                logger.warning(
                    "Band %s is %.4g in every pixel of the training split: it teaches nothing.",
                    band.id,
                    self._statistics.mean[i],
                )
                std[i] = 1.0
        return tuple(std)

    def _save(self, path: str, content: bytes) -> None:
        # Written by Python and not by GDAL, whose errors do not say that a disk is full.
        (self.folder / path).write_bytes(content)
        self._hashes[path] = hashlib.sha256(content).hexdigest()

    def _image(self, values: NDArray[np.float32], geobox: GeoBox, time: datetime | None) -> bytes:
        profile = _profile(geobox) | {
            "count": len(self.bands),
            "dtype": "float32",
            "nodata": math.nan,
            "interleave": "band",
            # Differences of neighbours: as reflectance was integers once, this is small and quick.
            "predictor": 2,
        }
        with MemoryFile() as memory:
            with memory.open(**profile) as dst:
                dst.write(values)
                dst.descriptions = [band.name for band in self.bands]
                known = {"sensor": self.sensor, "level": self.level}
                dst.update_tags(**{key: value for key, value in known.items() if value})
                if time is not None:
                    dst.update_tags(ns="IMAGERY", ACQUISITIONDATETIME=time.isoformat())
            return bytes(memory.getbuffer())

    def _label(self, label: NDArray[np.uint8], geobox: GeoBox) -> bytes:
        profile = _profile(geobox) | {"count": 1, "dtype": "uint8", "nodata": IGNORE}
        with MemoryFile() as memory:
            with memory.open(**profile) as dst:
                dst.write(label, 1)
                dst.write_colormap(1, _color_table(self.classes))
            return bytes(memory.getbuffer())

    def _index(self) -> gpd.GeoDataFrame:
        records = sorted(self.records, key=lambda record: record.chip)

        def column(name: str) -> list[Any]:
            return [getattr(record, name) for record in records]

        names = [record.chip for record in records]
        return gpd.GeoDataFrame(
            {
                "chip": names,
                "image": [_image_path(name) for name in names],
                "label": [_label_path(name) for name in names],
                "split": column("split"),
                "block": column("block"),
                "scene": column("scene"),
                "time": pd.Series(column("time"), dtype="datetime64[us, UTC]"),
                "row": np.array(column("row"), dtype=np.int64),
                "col": np.array(column("col"), dtype=np.int64),
                "crs": column("crs"),
                "water": np.array(column("water"), dtype=np.float64),
                "valid": np.array(column("valid"), dtype=np.float64),
                "coast_m": np.array(column("coast_m"), dtype=np.float64),
            },
            geometry=gpd.GeoSeries(column("geometry"), crs="EPSG:4326"),
        )


def _image_path(name: str) -> str:
    return f"images/{name}.tif"


def _label_path(name: str) -> str:
    return f"labels/{name}.tif"


def _profile(geobox: GeoBox) -> dict[str, Any]:
    height, width = geobox.shape
    return {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "crs": str(geobox.crs),
        "transform": geobox.transform,
        "compress": "deflate",
    }


def _color_table(classes: Sequence[LabelClass]) -> dict[int, tuple[int, int, int, int]]:
    """Return GDAL's colour table: a class its colour, unknown and all others transparent."""
    table: dict[int, tuple[int, int, int, int]] = {IGNORE: (0, 0, 0, 0)}
    for one in classes:
        red, green, blue = bytes.fromhex(one.color.removeprefix("#"))
        table[one.value] = (red, green, blue, 255)
    return table

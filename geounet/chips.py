"""The chip folder: pairs of image and label to train on, which chips are whose, and what they are.

    images/NAME.tif   float32 reflectance, NaN where there is no data, bands named
    labels/NAME.tif   uint8 classes on the same grid, 255 unknown
    shares/NAME.tif   where asked for: how much of each pixel is water, coded as probabilities are
    index.parquet     GeoParquet, one row per chip: footprint, split, block, source, shares
    dataset.json      `ChipFolderInfo`: bands, classes, settings, statistics of the training split

It loads in QGIS as it is. A chip may be larger than what is trained on: `context` pixels of real
neighbours lie around its core on every side, with unknown labels.
"""

import hashlib
import io
import json
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import geopandas as gpd
import numpy as np
import pandas as pd
import rasterio
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pydantic import ValidationError
from rasterio.errors import RasterioIOError
from rasterio.io import MemoryFile
from shapely.geometry.base import BaseGeometry

from geounet import __version__
from geounet.bands import Band
from geounet.chipset import (
    FORMAT,
    BandStatistics,
    Chip,
    ChipFolderInfo,
    ChipSet,
    drop_excluded,
    match_names,
)
from geounet.classes import IGNORE, LabelClass
from geounet.cog import PROBABILITY_STEPS, decode_probability, encode_probability
from geounet.errors import ChipsError, reason
from geounet.split import block_squares

CHIPS_MARK = "dataset.json"
"""The file that makes a folder a chip folder."""
INDEX = "index.parquet"


@dataclass(frozen=True)
class ChipFolder(ChipSet):
    """A chip folder that is there and whole enough to be read."""

    index: gpd.GeoDataFrame
    """One row per chip, WGS 84; see the module's text."""

    OTHER_SIZE = "Run tile with such a --size."

    def read(self, name: str, bands: Sequence[str | Band] | None = None) -> Chip:
        """Read a chip; as `ChipSet.read`."""
        image, label = self._files[name]
        indexes = [i + 1 for i in self.band_indexes(bands)]
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

    def read_shares(self, name: str) -> NDArray[np.float32]:
        """Return how much of each pixel of a chip is water; as `ChipSet.read_shares`."""
        if not self.info.shares:
            return super().read_shares(name)
        try:
            with rasterio.open(self.path / _shares_path(name)) as src:
                steps = src.read(1)
        except RasterioIOError as error:
            raise ChipsError(
                f"The shares of chip {name} of {self.path} are missing or damaged ({error}). Run "
                "tile again."
            ) from error
        strange = (steps > PROBABILITY_STEPS) & (steps != IGNORE)
        if steps.dtype != np.uint8 or strange.any():
            raise ChipsError(
                f"The shares of chip {name} of {self.path} are no uint8 from 0 to "
                f"{PROBABILITY_STEPS}, or {IGNORE} for unknown. Run tile again."
            )
        return decode_probability(steps)

    def blocks(self, split: str) -> gpd.GeoSeries:
        """Return the ground of a split: what none of the other splits' chips has seen.

        Its blocks as squares in EPSG:6933, by block; where whole scenes were divided, the chips'
        footprints in WGS 84.
        """
        of_split = self.index[self.index["split"] == split]
        if self.info.split["by"] == "scene":
            return of_split.set_index("chip").geometry
        return block_squares(sorted(set(of_split["block"])), float(self.info.split["block_m"]))

    @property
    def areas_m2(self) -> pd.Series:
        """Area of the core of each chip on the ground, by row of the index."""
        return self.index.to_crs("EPSG:6933").area  # equal-area

    def without(self, names: Collection[str]) -> Self:
        """Return the folder less some chips, as its own.

        The statistics stay those of all its training chips: they only bring the values near 0
        and 1.

        Raises:
            ChipsError: A name is none of its chips.
        """
        if not names:
            return self
        known = {alias: chip for chip in self.index["chip"] for alias in (chip, f"{chip}.tif")}
        gone = set(match_names(names, known, self.path))
        text = "\n".join([self.info.fingerprint, *sorted(gone)])
        return replace(
            self,
            index=self.index[~self.index["chip"].isin(gone)],
            info=self.info.model_copy(
                update={
                    "fingerprint": hashlib.sha256(text.encode()).hexdigest(),
                    "split": drop_excluded(self.info.split, len(gone)),
                }
            ),
        )

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
        raise ChipsError(
            f"{folder} {what}. Make one with `geounet tile`; `geounet train` takes SWED too, "
            "unpacked, with train/images and train/labels."
        )
    try:
        fields = json.loads(mark.read_text())
        if isinstance(fields, dict) and fields.get("format", FORMAT) != FORMAT:
            raise ChipsError(
                f"{mark} has format {fields['format']}; this geounet reads {FORMAT}. "
                "Update geounet, or run tile again."
            )
        info = ChipFolderInfo.model_validate(fields)
        index = gpd.read_parquet(folder / INDEX)
    except (ValueError, ValidationError, OSError, RecursionError) as error:
        known = isinstance(error, ValidationError)
        why = str(error).splitlines()[0] if known else reason(error)
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
    """Share of the known pixels of the core that are water; NaN without any."""
    valid: float
    """Share of the pixels of the core that have data and, in a folder with labels, a known one."""
    coast_m: float
    """Length of the boundary between land and water in the core, in metres."""
    geometry: BaseGeometry
    """Footprint of the core, WGS 84."""


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
        labelled: bool = True,
        shares: bool = False,
    ) -> None:
        self.folder, self.labelled, self.shares = folder, labelled, shares
        self.bands, self.classes = tuple(bands), tuple(classes)
        self.sensor, self.level, self.context = sensor, level, context
        self.records: list[ChipRecord] = []
        self._hashes: dict[str, str] = {}
        self._statistics = BandStatistics(len(bands))
        for part in ("images", "labels", *(["shares"] if shares else [])):
            (folder / part).mkdir()

    def write(
        self,
        record: ChipRecord,
        values: NDArray[np.float32],
        label: NDArray[np.uint8],
        geobox: GeoBox,
        shares: NDArray[np.float32] | None = None,
    ) -> None:
        """Write one chip.

        Args:
            record: Its row of the index.
            values: (bands, height, width), reflectance, NaN where not valid, context included.
            label: (height, width), 255 in the ring of context and where not valid.
            geobox: Grid of both.
            shares: (height, width), how much of each pixel is water, NaN where the label is 255;
                in a folder that has shares.
        """
        if (shares is not None) != self.shares:
            raise ValueError("all chips of a folder have shares, or none")
        self._save(_image_path(record.chip), self._image(values, geobox, record.time))
        self._save(_label_path(record.chip), self._label(label, geobox))
        if shares is not None:
            self._save(_shares_path(record.chip), _shares(shares, geobox))
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
            labelled=self.labelled,
            shares=self.shares,
            size=size,
            context=self.context,
            stride=stride,
            nodata=IGNORE,
            mean=tuple(self._statistics.mean.tolist()) if trained else (),
            std=self._statistics.usable_std(self.bands) if trained else (),
            split=split,
            sources=tuple(sources),
            fingerprint=hashlib.sha256(lines.encode()).hexdigest(),
        )
        text = json.dumps(info.model_dump(), indent=1, ensure_ascii=False) + "\n"
        (self.folder / CHIPS_MARK).write_text(text)
        return info

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


def _shares_path(name: str) -> str:
    return f"shares/{name}.tif"


def _shares(shares: NDArray[np.float32], geobox: GeoBox) -> bytes:
    profile = _profile(geobox) | {"count": 1, "dtype": "uint8", "nodata": IGNORE}
    with MemoryFile() as memory:
        with memory.open(**profile) as dst:
            dst.write(encode_probability(shares), 1)
            dst.descriptions = ["share of water"]
            dst.scales = [1 / PROBABILITY_STEPS]  # QGIS shows 0 to 1
        return bytes(memory.getbuffer())


def _profile(geobox: GeoBox) -> dict[str, Any]:
    height, width = geobox.shape
    return {
        "driver": "GTiff",
        "height": height,
        "width": width,
        "crs": str(geobox.crs),
        "transform": geobox.transform,
        # Unpacked in a third of the time that DEFLATE takes, in one piece for each band; as
        # reflectance was integers once, its values repeat and need no predictor.
        "compress": "zstd",
        "blockysize": height,
    }


def _color_table(classes: Sequence[LabelClass]) -> dict[int, tuple[int, int, int, int]]:
    """Return GDAL's colour table: a class its colour, unknown and all others transparent."""
    table: dict[int, tuple[int, int, int, int]] = {IGNORE: (0, 0, 0, 0)}
    for one in classes:
        red, green, blue = bytes.fromhex(one.color.removeprefix("#"))
        table[one.value] = (red, green, blue, 255)
    return table

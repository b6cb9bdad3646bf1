"""SWED, the Sentinel-2 Water Edges Dataset, read as it is downloaded.

    train/images/SCENE_image_ROW_COL.npy   (256, 256, 12) digital numbers
    train/labels/SCENE_chip_ROW_COL.npy    (1, 256, 256), 0 land, 1 water, −1 unknown
    test/images/SCENE_image_A_B.tif        12 bands of 256 × 256
    test/labels/SCENE_label_A_B.tif

Seale et al. (2022), doi:10.1016/j.rse.2022.113044. `images` and `labels` may also lie in the folder
itself, or in a folder SWED within it. The training chips are cut from sixteen whole scenes side by
side, so whole tiles of Sentinel-2 are kept for validation; the test chips are from other places.
"""

import hashlib
import logging
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geounet import __version__
from geounet.bands import Band, find_band
from geounet.chipset import (
    EXCLUDED,
    FORMAT,
    BandStatistics,
    Chip,
    ChipFolderInfo,
    ChipSet,
    match_names,
)
from geounet.classes import IGNORE, LAND_WATER
from geounet.errors import ChipsError
from geounet.progress import Progress, silent
from geounet.scene.raster import gdal_environment
from geounet.split import Ground, divide
from geounet.survey import coast_length, water_table
from geounet.swed_files import (
    BANDS,
    SIDE,
    WHAT_THERE_SHOULD_BE,
    DigitalNumbers,
    SwedPair,
    UnusableError,
    find_files,
    names_of,
    pair_up,
    read_dn,
    read_label,
)

logger = logging.getLogger(__name__)

RES_M = (10.0, 10.0)
SCALE = np.float32(1e-4)
"""Reflectance of a digital number."""
SHIFTED = "04.00"
"""From this baseline on numbers are shifted by 1000; all of SWED is from before it."""
VAL_SHARE = 0.15
"""Of the training chips, those of some tiles."""
SEED = 0
"""Of which tiles; fixed, so that all who train on SWED can compare."""
CONSTANT = 1e-8
"""Standard deviation of reflectance that only rounding makes: a single pixel of a chip that is one
digital number off makes 4e-7."""
CONTRADICTED = 0.5
"""A chip is suspect if a greater share of its known pixels looks like the other class."""
NDWI_MARGIN = 0.1
"""Nearer to 0 than this, NDWI says nothing of land or water."""
DARK_NIR = 0.15
"""Reflectance. Clouds and snow have an NDWI above 0 too, but are brighter."""

COLUMNS = [
    *("chip", "image", "label", "split", "block", "scene", "time", "water", "valid", "coast_m"),
]
"""Of the index."""
_GREEN, _NIR = (find_band(name, BANDS) for name in ("green", "nir"))
_IS_WATER = water_table(LAND_WATER)


class _Look(NamedTuple):
    """What a chip holds."""

    labelled: tuple[int, int, int]
    """Pixels labelled land, and water, and metres of coast, data or not; what is divided evenly."""
    water: float = math.nan
    """Share of the known pixels that are water."""
    valid: float = 0.0
    """Share of the pixels with data and a known label."""
    coast_m: float = 0.0
    """Between known pixels."""
    statistics: BandStatistics | None = None
    """Of the reflectance of the pixels with data."""
    digest: str = ""
    """SHA-256 of its values."""
    suspect: str | None = None
    """What seems wrong with it."""


@dataclass(frozen=True)
class Swed(ChipSet):
    """SWED, or a part of it, looked through."""

    suspects: Mapping[str, str]
    """What seems wrong, by chip; those that cannot be used at all are not in the index."""

    OTHER_SIZE = "SWED comes in this size alone: take another network."

    def read(self, name: str, bands: Sequence[str | Band] | None = None) -> Chip:
        """Read a chip; as `ChipSet.read`."""
        indexes = self.band_indexes(bands)
        image, label = self._files[name]
        try:
            values, valid = _reflectance(read_dn(image)[..., indexes])
            return Chip(values, valid, read_label(label))
        except UnusableError as error:
            raise ChipsError(
                f"Chip {name} of {self.path} cannot be used any more: {error}. Download it again."
            ) from error

    @property
    def areas_m2(self) -> pd.Series:
        """Area of each chip, by row of the index; nominal, as most are nowhere on the Earth."""
        return pd.Series(SIDE**2 * RES_M[0] * RES_M[1], index=self.index.index)

    @cached_property
    def _files(self) -> dict[str, tuple[Path, Path]]:
        columns = (self.index[column] for column in ("chip", "image", "label"))
        return {
            chip: (self.path / image, self.path / label)
            for chip, image, label in zip(*columns, strict=True)
        }


def is_swed(folder: Path) -> bool:
    """Return whether a folder holds files that are called as those of SWED are."""
    return any(True for _ in find_files(folder))


def open_swed(
    folder: Path,
    *,
    exclude: Collection[str] = (),
    lenient: bool = False,
    progress: Progress = silent,
) -> Swed:
    """Open SWED: look through all chips, divide them, and count the statistics.

    Args:
        folder: What was downloaded, unpacked.
        exclude: Chips to leave out: the name of the image's file or of the label's, with its
            ending or without. Which tiles validate does not depend on it.
        lenient: Whether to go on without chips that cannot be used, list them as suspects, and
            mind no empty split.
        progress: Told of each chip.

    Raises:
        ChipsError: Chips cannot be used, none is left to train on, or `exclude` has a name that is
            no chip's.
    """
    pairs = pair_up(folder)
    gone = set(match_names(exclude, names_of(pairs), folder)) if exclude else set()
    looks, unusable = {}, {}
    with gdal_environment():
        for pair in progress(pairs, label="looking through SWED", total=len(pairs)):
            try:
                looks[pair.name] = _look_at(pair, excluded=pair.name in gone)
            except UnusableError as error:
                unusable[pair.name] = str(error)
    broken = {name: why for name, why in unusable.items() if name not in gone}
    if broken and not lenient:
        raise ChipsError(_list_broken(folder, broken, len(pairs)))
    seen = [pair for pair in pairs if pair.name in looks]
    splits = _divide(seen, looks)
    asked = [pair for pair in seen if pair.name not in gone]
    kept = [pair for pair in asked if looks[pair.name].valid > 0]
    if not lenient:
        _check_splits(folder, kept, splits)
    suspects = {p.name: why for p in asked if (why := looks[p.name].suspect)} | broken
    dropped = {EXCLUDED: len(gone), "with nothing known": len(asked) - len(kept)}
    return Swed(
        path=folder,
        info=_info(kept, looks, splits, dropped),
        index=_index(folder, kept, looks, splits),
        suspects=dict(sorted(suspects.items())),
    )


def _look_at(pair: SwedPair, *, excluded: bool) -> _Look:
    """Look at a chip; of one that is left out, only at what the division is made from.

    Raises:
        UnusableError: It cannot be used.
    """
    if pair.label is None:
        raise UnusableError(f"its label is missing, {pair.label_name}")
    label = read_label(pair.label)
    coast_m = coast_length(label, _IS_WATER, RES_M)
    land, water = (int(np.count_nonzero(label == one.value)) for one in LAND_WATER)
    labelled = (land, water, round(coast_m))
    if excluded:
        return _Look(labelled)
    if pair.image is None:
        raise UnusableError(f"its image is missing, {pair.image_name}")
    if pair.baseline is not None and pair.baseline >= SHIFTED:
        raise UnusableError(
            f"its scene is of baseline {pair.baseline}, where numbers are shifted by 1000, and "
            "SWED is older; cut such scenes with geounet tile"
        )
    dn = read_dn(pair.image)
    values, valid = _reflectance(dn)
    known = valid & (label != IGNORE)
    count, water = (int(np.count_nonzero(part)) for part in (known, known & (label == 1)))
    statistics = BandStatistics(len(BANDS))
    statistics.add(values, valid)
    return _Look(
        labelled,
        water=water / count if count else math.nan,
        valid=count / known.size,
        coast_m=coast_length(np.where(known, label, np.uint8(IGNORE)), _IS_WATER, RES_M),
        statistics=statistics,
        digest=hashlib.sha256(dn.tobytes() + label.tobytes()).hexdigest(),
        suspect=_suspect(values, valid, label, constant=bool(statistics.std.max() < CONSTANT)),
    )


def _reflectance(dn: DigitalNumbers) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return reflectance (bands, height, width), NaN without data; and where all bands have it."""
    # 0 is L2A's nodata, and no number of a product is less.
    valid: NDArray[np.bool_] = np.all((dn > 0) & np.isfinite(dn), axis=-1)
    values: NDArray[np.float32] = np.ascontiguousarray(np.moveaxis(dn, -1, 0), dtype=np.float32)
    values *= SCALE
    values[:, ~valid] = np.nan
    return values, valid


def _suspect(
    values: NDArray[np.float32],
    valid: NDArray[np.bool_],
    label: NDArray[np.uint8],
    *,
    constant: bool,
) -> str | None:
    """Return what seems wrong with a chip."""
    known = valid & (label != IGNORE)
    if not valid.any():
        return "no data"
    if not known.any():
        return "no known label where it has data"
    if constant:
        return "the same in every pixel"
    green, nir = values[_GREEN][known], values[_NIR][known]
    ndwi = (green - nir) / (green + nir)  # of positive numbers
    is_water = label[known] == 1
    like_water = float(np.mean((ndwi > NDWI_MARGIN) & (nir < DARK_NIR) & ~is_water))
    like_land = float(np.mean((ndwi < -NDWI_MARGIN) & is_water))
    if like_water + like_land <= CONTRADICTED:
        return None
    worst = "land that looks like water" if like_water > like_land else "water that looks like land"
    return f"{like_water + like_land:.0%} of its labels contradict NDWI, mostly {worst}"


def _divide(pairs: Sequence[SwedPair], looks: Mapping[str, _Look]) -> dict[str, str]:
    """Return the split of each chip: some whole tiles of the training chips are for validation."""
    splits = {pair.name: pair.split for pair in pairs}
    training = [pair for pair in pairs if pair.split == "train"]
    tiles = sorted({pair.ground for pair in training})
    if len(tiles) > 1:
        code = np.array([tiles.index(pair.ground) for pair in training])
        ground = Ground(chip=np.arange(len(training)), block=code, home=code)
        amounts = np.array([looks[pair.name].labelled for pair in training], dtype=np.int64)
        division = divide(ground, amounts, shares=(1 - VAL_SHARE, VAL_SHARE), seed=SEED)
        splits |= {p.name: "val" for p in training if division[tiles.index(p.ground)] == 1}
    return splits


def _list_broken(folder: Path, broken: Mapping[str, str], count: int) -> str:
    """Say which chips cannot be used, the first few by name."""
    told = "; ".join(f"{name} ({why})" for name, why in list(broken.items())[:3])
    more = f"; and {len(broken) - 3} more" if len(broken) > 3 else ""
    return (
        f"{len(broken)} of {count} chips of SWED in {folder} cannot be used: {told}{more}. "
        "Download them again, or leave them out with --exclude; geounet info lists them all."
    )


def _check_splits(folder: Path, kept: Sequence[SwedPair], splits: Mapping[str, str]) -> None:
    """Refuse SWED without training chips, and say what else is missing."""
    counts = Counter(splits[pair.name] for pair in kept)
    if not counts["train"]:
        raise ChipsError(
            f"{folder} has no chips of SWED to train on, {counts['test']} to test with. Give the "
            f"folder that it was unpacked to, with {WHAT_THERE_SHOULD_BE}, and leave out less."
        )
    if not counts["test"]:
        logger.warning(
            "%s has no test chips (test/images/*_image_*.tif): the model is not tested at other "
            "places.",
            folder,
        )
    of_test = {pair.ground for pair in kept if pair.split == "test"}
    shared = sorted({pair.ground for pair in kept if pair.split == "train"} & of_test)
    if shared:
        logger.warning(
            "%s of %s has both training and test chips: its test scores flatter.",
            ", ".join(shared),
            folder,
        )


def _info(
    kept: Sequence[SwedPair],
    looks: Mapping[str, _Look],
    splits: Mapping[str, str],
    dropped: dict[str, int],
) -> ChipFolderInfo:
    """Return what all chips have in common."""
    statistics = BandStatistics(len(BANDS))
    for pair in kept:
        part = looks[pair.name].statistics
        if part is not None and splits[pair.name] == "train":
            statistics.merge(part)
    lines = "".join(f"{p.name} {splits[p.name]} {looks[p.name].digest}\n" for p in kept)
    scenes = {pair.scene: pair for pair in kept}
    return ChipFolderInfo(
        format=FORMAT,
        geounet=__version__,
        bands=tuple(band.to_dict() for band in BANDS),
        sensor="s2",
        level="L2A",
        res_m=RES_M,
        crs=(),
        classes=tuple(one.to_dict() for one in LAND_WATER),
        size=SIDE,
        context=0,
        stride=SIDE,
        nodata=IGNORE,
        mean=tuple(statistics.mean.tolist()) if statistics.count else (),
        std=statistics.usable_std(BANDS) if statistics.count else (),
        split={
            "by": "scene",
            "seed": SEED,
            "shares": {"train": 1 - VAL_SHARE, "val": VAL_SHARE},
            "dropped": dropped,
        },
        sources=tuple(
            {"scene": scene, "split": splits[pair.name], "time": _iso(pair.time)}
            for scene, pair in sorted(scenes.items())
        ),
        fingerprint=hashlib.sha256(lines.encode()).hexdigest(),
    )


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _index(
    folder: Path, kept: Sequence[SwedPair], looks: Mapping[str, _Look], splits: Mapping[str, str]
) -> pd.DataFrame:
    """Return a row per chip."""
    rows = []
    for pair in kept:
        look = looks[pair.name]
        files = {"image": pair.image, "label": pair.label}
        rows.append(
            {
                "chip": pair.name,
                **{k: f.relative_to(folder).as_posix() for k, f in files.items() if f},
                "split": splits[pair.name],
                "block": pair.ground,
                "scene": pair.scene,
                "time": pair.time,
                "water": look.water,
                "valid": look.valid,
                "coast_m": look.coast_m,
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)

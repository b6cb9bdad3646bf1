"""Chips to train on, whatever they lie in: what they have in common, and which are left out."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from geounet.bands import Band, find_band
from geounet.classes import LabelClass
from geounet.errors import ChipsError

logger = logging.getLogger(__name__)

FORMAT = 1
"""Of `ChipFolderInfo`."""
SPLITS = ("train", "val", "test")
EXCLUDED = "by --exclude"
"""Why chips are not there, in the settings of the split."""


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
    labelled: bool = True
    """Whether anything was known of the ground; if not, all labels are unknown, and `valid` of a
    chip is the share of its pixels that have data."""
    shares: bool = False
    """Whether beside the labels there is how much of each pixel is water; see `read_shares`."""
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
    """SHA-256 over the index and all images, labels and shares."""

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
class ChipSet(ABC):
    """Chips to train on, whatever they lie in: a chip folder, or a data set of others."""

    path: Path
    info: ChipFolderInfo
    index: pd.DataFrame
    """One row per chip; `chip`, `split`, `block`, `scene`, `water`, `valid` and `coast_m` are as in
    `ChipRecord`."""

    OTHER_SIZE: ClassVar[str]
    """What to do where a network cannot take chips of this size."""

    def names(self, split: str) -> list[str]:
        """Return the chips of a split (`train`, `val` or `test`), sorted."""
        if split not in SPLITS:
            raise ValueError(f"there is no split {split!r}; there are {', '.join(SPLITS)}")
        return sorted(self.index.loc[self.index["split"] == split, "chip"])

    @abstractmethod
    def read(self, name: str, bands: Sequence[str | Band] | None = None) -> Chip:
        """Read a chip.

        Args:
            name: As in the index's column `chip`.
            bands: Names, ids or common names, in the order wanted; None for all.

        Raises:
            ChipsError: A file is missing or damaged.
            BandError: A band is not there.
        """

    def read_shares(self, name: str) -> NDArray[np.float32]:
        """Return how much of each pixel of a chip is water, (height, width), NaN unknown.

        Args:
            name: As in the index's column `chip`.

        Raises:
            ChipsError: There are no shares, or a file is missing or damaged.
        """
        raise ChipsError(
            f"Chip {name} of {self.path} has no shares of water. Run tile with --water-shares."
        )

    @property
    @abstractmethod
    def areas_m2(self) -> pd.Series:
        """Area of the core of each chip, by row of the index."""

    def summary(self) -> pd.DataFrame:
        """Return what each split holds, by split.

        Columns: `chips`; `water`, share of the known pixels, NaN without labels; `coast_km`;
        `area_km2`, of known pixels, without labels of those with data. Ground that lies in two
        chips, on another date for instance, counts twice.
        """
        area = self.areas_m2 * self.index["valid"] / 1e6
        of_chips = pd.DataFrame(
            {
                "chips": 1,
                "water": area * self.index["water"],
                "coast_km": self.index["coast_m"] / 1000,
                "area_km2": area,
            }
        )
        splits = of_chips.groupby(self.index["split"]).sum()
        splits["water"] /= splits["area_km2"] if self.info.labelled else float("nan")
        return splits.reindex([split for split in SPLITS if split in splits.index])

    def band_indexes(self, bands: Sequence[str | Band] | None) -> list[int]:
        """Return where bands are in the images, from 0; all of them for None.

        Raises:
            BandError: A band is not there.
        """
        present = self.info.band_list
        if not bands:
            return list(range(len(present)))
        return [find_band(b.id if isinstance(b, Band) else b, present) for b in bands]


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
        if pixels.shape[1] == 0:
            return
        part = BandStatistics(len(pixels))
        part.count, part.mean = pixels.shape[1], pixels.mean(axis=1)
        part._squares = ((pixels - part.mean[:, None]) ** 2).sum(axis=1)
        self.merge(part)

    def merge(self, other: "BandStatistics") -> None:
        """Count the pixels that another has counted."""
        if other.count == 0:
            return
        total = self.count + other.count
        distance = other.mean - self.mean
        self._squares += other._squares
        self._squares += distance**2 * (self.count * other.count / total)
        self.mean += distance * (other.count / total)
        self.count = total

    @property
    def std(self) -> NDArray[np.float64]:
        """(bands,), of the population."""
        return np.sqrt(self._squares / max(self.count, 1))

    def usable_std(self, bands: Sequence[Band]) -> tuple[float, ...]:
        """Return the standard deviations, 1 for a band that is the same everywhere."""
        std = self.std.tolist()
        for i, band in enumerate(bands):
            # Below float32's own rounding of the mean nothing but noise is left to divide by.
            if std[i] <= 1e-6 * max(abs(float(self.mean[i])), 1e-6):
                logger.warning(
                    "Band %s is %.4g in every pixel of the training split: it teaches nothing.",
                    band.id,
                    self.mean[i],
                )
                std[i] = 1.0
        return tuple(std)


def read_exclusions(path: Path) -> list[str]:
    """Read a list of chips to leave out: a name per line, `#` begins a comment.

    Raises:
        ChipsError: It cannot be read, or names none.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ChipsError(
            f"{path} cannot be read ({error}). Give a text file with a chip's name on each line."
        ) from error
    names = [line.partition("#")[0].strip() for line in text.splitlines()]
    if not any(names):
        raise ChipsError(f"{path} names no chip. Write one name per line, or leave out --exclude.")
    return list(dict.fromkeys(filter(None, names)))


def match_names(names: Collection[str], known: Mapping[str, str], where: Path) -> list[str]:
    """Return the chips that are meant by names in a list.

    Args:
        names: As the user has them; a path in front of a name is not looked at.
        known: Chip by every name that it may have.
        where: Whose chips they are, for messages.

    Raises:
        ChipsError: A name is no chip's.
    """
    last = {name: name.replace("\\", "/").rstrip("/").rpartition("/")[2] for name in names}
    if missing := [name for name in names if last[name] not in known]:
        more = f" and {len(missing) - 1} more" if len(missing) > 1 else ""
        example = f"; one of its chips is {next(iter(known))}" if known else ""
        raise ChipsError(
            f"The list of chips to leave out has {missing[0]}{more}, which {where} does not "
            f"have{example}. Correct the list."
        )
    return [known[last[name]] for name in names]


def drop_excluded(split: Mapping[str, Any], count: int) -> dict[str, Any]:
    """Return how chips were divided, with those that a list left out."""
    return {**split, "dropped": {**split.get("dropped", {}), EXCLUDED: count}}

"""Chips as a network takes them: the place where maps become tensors.

What leaves here is standardised and 0 where there is no data, as in prediction; labels are class
numbers from 0, and 255 where the class is unknown or the pixel has no data; or shares of water.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import BatchSampler, DataLoader, Dataset, default_collate

from geounet.augment import send
from geounet.augment.warp import unknown
from geounet.bands import Band, find_band
from geounet.chipset import SPLITS, ChipSet
from geounet.classes import IGNORE, LabelClass
from geounet.engine import standardise
from geounet.errors import BandError, ChipsError, ConfigError
from geounet.networks import Network
from geounet.progress import Progress, silent
from geounet.sampling import WHOLE, EvenBatches, Share
from geounet.windows import mirror_indexes

logger = logging.getLogger(__name__)

MEMORY_LIMIT = 2 * 2**30
"""Bytes of chips that are kept in memory while training."""
GPU_SHARE = 4
"""The part of what is free on a GPU that chips may take is one in so many."""
NO_VALIDATION = (
    "%s has no validation chips%s: training does not stop early, the last weights are taken as the "
    "best, and the halo is the exact one."
)
"""Said of a chip folder."""


class Samples(NamedTuple):
    """One sample, or a batch of them with one more axis in front."""

    image: Tensor
    """(bands, height, width) float32, standardised, 0 where not valid."""
    label: Tensor
    """(height, width) uint8, class numbers from 0, 255 unknown; or float32, how much of each pixel
    is water, NaN unknown."""


@dataclass(frozen=True)
class ChipReader:
    """Reads chips of one folder as a network takes them."""

    folder: ChipSet
    bands: tuple[Band, ...]
    """What the network sees, in this order."""
    mean: Tensor
    """(bands,), reflectance, of the training split or as pre-trained weights want it."""
    std: Tensor
    """(bands,), likewise."""
    span: tuple[int, int] | None = None
    """Rows and columns of a chip, from its first to after its last, that a sample has; what lies
    beyond the chip is mirrored. None for all there are."""
    shares: bool = False
    """Whether labels are shares of water, and not class numbers."""

    def fitted(self, network: Network) -> "ChipReader":
        """Return a reader of samples that a network without padding takes whole.

        Around the core of each chip they have the network's margin on every side, from the chip's
        context as far as that reaches and mirrored beyond, and on to the next size that it takes.
        A network with same padding gets chips as they are.
        """
        if not network.margin:
            return self
        size, context = self.folder.info.size, self.folder.info.context
        side = network.fit(size + 2 * network.margin)
        start = context - (side - size) // 2
        return replace(self, span=(start, start + side))

    @property
    def classes(self) -> tuple[LabelClass, ...]:
        """What the class numbers mean, in order."""
        return self.folder.info.class_list

    @property
    def chip_side(self) -> int:
        """Rows and columns of a chip, its context included."""
        return self.folder.info.size + 2 * self.folder.info.context

    @property
    def side(self) -> int:
        """Rows and columns of a sample."""
        return self.chip_side if self.span is None else self.span[1] - self.span[0]

    @property
    def label_dtype(self) -> torch.dtype:
        """Of the labels of samples."""
        return torch.float32 if self.shares else torch.uint8

    @property
    def bytes_per_chip(self) -> int:
        """What a chip takes in memory."""
        return self.side**2 * (4 * len(self.bands) + self.label_dtype.itemsize)

    def read(self, name: str) -> Samples:
        """Read one chip.

        Raises:
            ChipsError: A file is missing or damaged, or the label holds a value that is no class.
        """
        chip = self.folder.read(name, self.bands)
        shapes = {chip.label.shape, chip.valid.shape} - {(self.chip_side, self.chip_side)}
        if shapes:
            rows, cols = shapes.pop()
            raise ChipsError(
                f"Chip {name} of {self.folder.path} has {rows} × {cols} pixels, the others "
                f"{self.chip_side} × {self.chip_side}. Run tile again."
            )
        values = torch.from_numpy(chip.values)[None]  # (1, bands, height, width)
        valid = torch.from_numpy(chip.valid)[None]
        image = standardise(values, valid, self.mean, self.std)[0]
        label = self._class_numbers(name, np.where(chip.valid, chip.label, np.uint8(IGNORE)))
        lesson = self._shares(name, label != IGNORE) if self.shares else label
        return Samples(self.framed(image), self._framed_label(torch.from_numpy(lesson)))

    def framed(self, stack: Tensor) -> Tensor:
        """Return the span of a sample from that of its chip, (..., rows, cols), mirrored beyond."""
        if self.span is None:
            return stack
        reach = torch.from_numpy(mirror_indexes(*self.span, self.chip_side))
        return stack[..., reach, :][..., reach]

    def _framed_label(self, label: Tensor) -> Tensor:
        """Return the label of a sample from that of its chip: nothing is known beyond it."""
        if self.span is None:
            return label
        reach = torch.arange(*self.span)
        beyond = (reach < 0) | (reach >= self.chip_side)
        return self.framed(label).masked_fill_(beyond | beyond[:, None], unknown(label))

    def _shares(self, name: str, known: NDArray[np.bool_]) -> NDArray[np.float32]:
        """Return how much of each pixel is water, NaN where its class is not known either."""
        shares = self.folder.read_shares(name)
        if shares.shape != known.shape:
            raise ChipsError(
                f"The shares of chip {name} of {self.folder.path} are of another size than its "
                "label. Run tile again."
            )
        return np.where(known, shares, np.float32(np.nan))

    def _class_numbers(self, name: str, label: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return classes by their place in the list, which is their place in the logits."""
        numbers = np.full(256, IGNORE, dtype=np.uint8)
        for number, label_class in enumerate(self.classes):
            numbers[label_class.value] = number
        found = numbers[label]
        if (stray := label[(found == IGNORE) & (label != IGNORE)]).size:
            known = ", ".join(f"{c.value} ({c.name})" for c in self.classes)
            raise ChipsError(
                f"The label of chip {name} of {self.folder.path} has the value {stray[0]}, which "
                f"is no class; there are {known}, and {IGNORE} for unknown. Correct it, or run "
                "tile again."
            )
        return found


def usable_splits(folder: ChipSet, *, by_label: bool = True) -> dict[str, list[str]]:
    """Return the chips of each split, none where nothing is known, and say what is missing.

    Args:
        folder: The chips.
        by_label: Whether labels are learned; without, nothing has to be known but the bands.

    Raises:
        ChipsError: There is nothing to train on.
    """
    splits = {split: folder.names(split) for split in SPLITS}
    counts = ", ".join(f"{len(names)} {split}" for split, names in splits.items())
    if not splits["train"]:
        raise ChipsError(
            f"{folder.path} has no chips to train on ({counts}). Run tile with other --val and "
            "--test shares, or another --seed."
        )
    if not by_label:
        if not splits["val"]:
            logger.warning(NO_VALIDATION, folder.path, "")
        return splits
    if not folder.info.labelled:
        raise ChipsError(
            f"{folder.path} has no labels to learn classes from. Run tile with --labels, or train "
            "an autoencoder, which needs none: --set network=autoencoder."
        )
    index = folder.index.set_index("chip")
    known = {split: bool((index.loc[names, "valid"] > 0).any()) for split, names in splits.items()}
    if not known["train"]:
        raise ChipsError(
            f"All labels of the training chips of {folder.path} are unknown. Label them, or run "
            "tile with labels that cover the scene."
        )
    water = index.loc[splits["train"], "water"].dropna()
    if len(water) and (only := {0.0: "water", 1.0: "land"}.get(float(water.mean()))):
        logger.warning(
            "No training chip of %s has any %s: the network will never find it.", folder.path, only
        )
    if not known["val"]:
        logger.warning(NO_VALIDATION, folder.path, " with known labels" if splits["val"] else "")
    return {split: names if known[split] else [] for split, names in splits.items()}


def open_reader(folder: ChipSet, names: Sequence[str] | None) -> ChipReader:
    """Return what reads the bands of those names, or all.

    Raises:
        ConfigError: The chips do not have them.
    """
    present = folder.info.band_list
    try:
        wanted = [find_band(name, present) for name in names or ()]
    except BandError as error:
        raise ConfigError(
            f"`bands` of the config and the chips in {folder.path} disagree: {error} Change "
            "`bands`, or run tile on a scene that has them."
        ) from None
    if len(set(wanted)) < len(wanted):
        raise ConfigError(f"`bands` of the config names a band twice: {', '.join(names or ())}.")
    indexes = wanted or list(range(len(present)))
    return ChipReader(
        folder=folder,
        bands=tuple(present[i] for i in indexes),
        mean=torch.tensor([folder.info.mean[i] for i in indexes]),
        std=torch.tensor([folder.info.std[i] for i in indexes]),
    )


class ChipsOnDisk(Dataset[Samples]):
    """Chips that are read each time they are asked for."""

    def __init__(self, reader: ChipReader, names: Sequence[str]) -> None:
        """Name the chips; nothing is read yet."""
        self.reader, self.names = reader, tuple(names)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Samples:
        return self.reader.read(self.names[index])

    def __getitems__(self, indexes: Sequence[int]) -> Samples:
        """Return a batch."""
        # In a worker, straight into the memory that it shares.
        return cast(Samples, default_collate([self[index] for index in indexes]))


class ChipsInMemory(Dataset[Samples]):
    """Chips that were read once."""

    def __init__(
        self,
        reader: ChipReader,
        names: Sequence[str],
        *,
        device: str = "cpu",
        progress: Progress = silent,
    ) -> None:
        """Read them all; `device` is in whose memory they are kept."""
        self.reader, self.names, self.device = reader, tuple(names), device
        side = reader.side
        self.images = torch.empty(len(names), len(reader.bands), side, side, device=device)
        self.labels = torch.empty(len(names), side, side, dtype=reader.label_dtype, device=device)
        reading = progress(self.names, label="reading chips", total=len(self.names))
        for index, name in enumerate(reading):
            self.images[index], self.labels[index] = reader.read(name)

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Samples:
        return Samples(self.images[index], self.labels[index])

    def __getitems__(self, indexes: Sequence[int]) -> Samples:
        """Return a batch."""
        chosen = send(torch.as_tensor(indexes), self.device)
        return Samples(self.images[chosen], self.labels[chosen])


def load_chips(
    reader: ChipReader,
    splits: Sequence[Sequence[str]],
    *,
    progress: Progress = silent,
    limit: int = MEMORY_LIMIT,
    device: str = "cpu",
) -> list[ChipsInMemory | ChipsOnDisk]:
    """Return chips to train on, in memory if all splits together fit there.

    Args:
        reader: How they are read.
        splits: Names of the chips of each.
        progress: Told of each chip read.
        limit: Bytes that they may take.
        device: Where the network is. A GPU has them in its own memory if it has room for them, as
            to copy each batch there may take longer than the step.

    Raises:
        ChipsError: A chip cannot be used.
    """
    needed = sum(map(len, splits)) * reader.bytes_per_chip
    if needed > limit:
        return [ChipsOnDisk(reader, names) for names in splits]
    gpu = torch.device(device).type == "cuda"
    if not gpu or needed > torch.cuda.mem_get_info(device)[0] // GPU_SHARE:
        device = "cpu"
    return [ChipsInMemory(reader, names, device=device, progress=progress) for names in splits]


def training_batches(
    chips: ChipsInMemory | ChipsOnDisk, sampler: EvenBatches, *, workers: int, pin: bool
) -> DataLoader[Samples]:
    """Return a loader of the batches that `sampler` makes of chips.

    Args:
        chips: What to train on.
        sampler: Which chips, in which order.
        workers: Processes that read chips from disk; chips in memory need none.
        pin: Whether batches go to a GPU.
    """
    return DataLoader(chips, batch_sampler=sampler, **_loading(chips, workers, pin=pin))


def scoring_batches(
    chips: ChipsInMemory | ChipsOnDisk,
    *,
    batch: int,
    workers: int,
    pin: bool,
    share: Share = WHOLE,
) -> DataLoader[Samples]:
    """Return a loader that goes through chips in their order.

    Batches are dealt out to the processes whole, so that what is averaged over them does not
    depend on how many there are. Where there are too few for all, each process takes all.

    Args:
        chips: What to score.
        batch: Chips per batch, at most.
        workers: Processes that read chips from disk; chips in memory need none.
        pin: Whether batches go to a GPU.
        share: What this process takes.
    """
    batches = list(BatchSampler(range(len(chips)), batch, drop_last=False))
    mine = batches[share.rank :: share.world] if len(batches) >= share.world else batches
    return DataLoader(chips, batch_sampler=mine, **_loading(chips, workers, pin=pin))


def _as_it_is(samples: Samples) -> Samples:
    """Return a batch that `__getitems__` made."""
    return samples


def _loading(chips: ChipsInMemory | ChipsOnDisk, workers: int, *, pin: bool) -> dict[str, Any]:
    """Return the arguments of DataLoader that say how batches come to be."""
    if isinstance(chips, ChipsInMemory):
        workers, pin = 0, pin and chips.device == "cpu"
    # Torch and GDAL run threads, and a process with threads must not be forked.
    context = "forkserver" if workers else None
    return {
        "collate_fn": _as_it_is,
        "num_workers": workers,
        "multiprocessing_context": context,
        "persistent_workers": workers > 0,
        "pin_memory": pin,
        # For seeds of workers, which draw nothing: not from the chance that networks draw from.
        "generator": torch.Generator(),
    }

"""How well a model does on chips: what the experiments compare."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from geounet.bands import list_bands
from geounet.chips import CHIPS_MARK, open_chips
from geounet.chipset import ChipSet
from geounet.classes import LabelClass
from geounet.config import restores_bands
from geounet.dataset import ChipReader, Samples, open_reader
from geounet.errors import BandError, ChipsError, ConfigError
from geounet.metrics import BOUNDARY_PX, Counts, Figures, count_chips
from geounet.model_file import ModelHeader
from geounet.networks import Network
from geounet.progress import Progress
from geounet.swed import is_swed, open_swed
from geounet.task import supervised

NEAR_PX = BOUNDARY_PX[0]
"""How far from the label's a boundary may be, in the boundary scores that are compared: the least,
since what is asked is how well edges are placed."""
COMPARED = {
    "iou": "IoU",
    "boundary_f1": f"boundary F1 at {NEAR_PX} px",
    "boundary_iou": f"boundary IoU at {NEAR_PX} px",
    "accuracy": "accuracy",
}
"""What the experiments compare, and how tables and figures call it."""


def open_chip_set(chips: Path, exclude: Sequence[str], progress: Progress) -> ChipSet:
    """Open a chip folder or SWED's, less some chips.

    Raises:
        ChipsError: It is neither, or damaged.
    """
    if not (chips / CHIPS_MARK).is_file() and is_swed(chips):
        return open_swed(chips, exclude=exclude, progress=progress)
    return open_chips(chips).without(exclude)


def known_chips(folder: ChipSet, split: str) -> list[str]:
    """Return the chips of a split of which some pixel is known, sorted.

    Raises:
        ChipsError: There are none.
    """
    index = folder.index.set_index("chip")
    names = [name for name in folder.names(split) if index.loc[name, "valid"] > 0]
    if not names:
        raise ChipsError(
            f"{folder.path} has no chips with known labels in its split {split}. Run tile with a "
            f"larger --{split} share, or another --seed."
        )
    return names


def reader_for(folder: ChipSet, header: ModelHeader, network: Network) -> ChipReader:
    """Return what reads chips as the model of `header` takes them, by its own statistics.

    Raises:
        BandError: The chips lack a band of the model.
        ConfigError: The model's classes or processing level are not those of the chips, or it
            knows no classes.
    """
    info = folder.info
    if restores_bands(header.network.settings):
        raise ConfigError(
            f"The model is an autoencoder ({header.network.name}), which finds no classes. Give "
            "one that `geounet train` made of a network with classes."
        )
    if [c.value for c in header.label_classes] != [c.value for c in info.class_list]:
        there, wanted = (
            ", ".join(f"{c.value} ({c.name})" for c in of)
            for of in (info.class_list, header.label_classes)
        )
        raise ConfigError(
            f"The chips of {folder.path} have the classes {there}, and the model {wanted}. Give "
            "chips with the model's classes."
        )
    if None not in (info.level, header.level) and info.level != header.level:
        raise ConfigError(
            f"The chips of {folder.path} are {info.level}, and the model was trained on "
            f"{header.level}. Give chips of that level."
        )
    present = {band.id for band in info.band_list}
    if missing := [band for band in header.band_list if band.id not in present]:
        raise BandError(
            f"The chips of {folder.path} have no {list_bands(missing)}, which the model takes; "
            f"they have {list_bands(info.band_list)}. Give chips of the model's bands."
        )
    reader = open_reader(folder, [band.id for band in header.band_list])
    own = replace(reader, mean=torch.tensor(header.mean), std=torch.tensor(header.std))
    return own.fitted(network)


@torch.inference_mode()
def count_batches(
    network: Network, batches: Iterable[Samples], classes: Sequence[LabelClass], device: str
) -> Counts:
    """Return what a network's scores on batches are made of, all chips together.

    Args:
        network: On `device`, for evaluation; in float32.
        batches: Samples as `ChipReader` has them.
        classes: What the class numbers mean.
        device: As `choose_device` gives it.
    """
    water = [one.water for one in classes]
    total = Counts.none(len(classes)).total()
    for image, label in batches:
        logits = network(image.to(device, memory_format=torch.channels_last))
        counts = count_chips(logits, supervised(label, network).to(device), water=water).total()
        total = Counts(*(a + b for a, b in zip(total, counts, strict=True)))
    return total


def compared(figures: Figures, names: Sequence[str]) -> dict[str, float | None]:
    """Return the scores of `COMPARED`, means over the classes that occur; None where none does.

    Args:
        figures: As `metrics.all_figures` gives them, of all chips together.
        names: Of the classes.
    """
    keys: dict[str, list[tuple[str, ...]]] = {
        "iou": [("iou", name) for name in names],
        "boundary_f1": [("boundary_f1", str(NEAR_PX), name) for name in names],
        "boundary_iou": [("boundary_iou", str(NEAR_PX), name) for name in names],
        "accuracy": [("accuracy",)],
    }
    means = {
        score: torch.stack([figures[key] for key in of]).nanmean().item()
        for score, of in keys.items()
    }
    return {score: None if mean != mean else round(mean, 6) for score, mean in means.items()}


def spread_of(values: Sequence[float | None]) -> dict[str, float | None]:
    """Return mean, standard deviation (of a sample), least and greatest; all None if one is."""
    numbers = [value for value in values if value is not None]
    if len(numbers) < len(values):
        return {"mean": None, "sd": None, "min": None, "max": None}
    return {
        "mean": round(float(np.mean(numbers)), 6),
        "sd": round(float(np.std(numbers, ddof=1)), 6) if len(numbers) > 1 else None,
        "min": min(numbers),
        "max": max(numbers),
    }

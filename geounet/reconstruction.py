"""Networks that give back the bands they are given: trained without labels, judged by the rest.

An autoencoder [1]_ has to pass what it sees through a narrow bottom, and so learns what images of
this kind are made of; its encoder is a start for one that tells classes.

References:
    .. [1] Hinton and Salakhutdinov (2006), "Reducing the dimensionality of data with neural
       networks", doi:10.1126/science.1127647.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from geounet.bands import Band
from geounet.dataset import ChipReader, ChipsOnDisk, Samples, scoring_batches
from geounet.networks import Network
from geounet.processes import gathered
from geounet.progress import Progress, silent
from geounet.report import RestoredChip, draw_restored_sheet, picture_bands
from geounet.task import SegmentationTask, supervised

SHEET_CHIPS = 6
"""Of the contact sheet: half with the greatest errors, half with the least."""


def squared_error(restored: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return the mean squared error over the pixels that have data, and how many these are.

    Args:
        restored: (B, bands, H, W), what the network made of an image.
        image: (B, bands, H, W), standardised, 0 in all bands where there is no data.

    Returns:
        The mean, over bands too, in variances of the training chips; 0 where nothing has data.
        And the pixels, a scalar.
    """
    squares, valid = _squares(restored, image)
    pixels = valid.sum()
    return squares.sum() / (pixels * image.shape[1]).clamp(min=1), pixels


def _squares(restored: Tensor, image: Tensor) -> tuple[Tensor, Tensor]:
    """Return squared errors (B, bands, H, W), 0 without data, and which have some (B, 1, H, W)."""
    valid = (image != 0).any(dim=1, keepdim=True)
    return (restored.float() - image.float()).square() * valid, valid


class ReconstructionTask(SegmentationTask):
    """Trains a network to give back its bands; labels are there and not looked at.

    What it is to give back is what it is given: chips as they were varied, noise and all.
    """

    def own_loss(self, output: Tensor, samples: Samples) -> Tensor:
        """Return the mean squared error of what this process has of a batch."""
        return squared_error(output, supervised(samples.image, self.network))[0]

    def whole_loss(self, output: Tensor, samples: Samples) -> tuple[Tensor, int]:
        """Return that of a batch of which each process has a part, and its chips."""
        image = supervised(samples.image, self.network)
        if self.share.world > 1:
            output, image = gathered(output), gathered(image)
        return squared_error(output, image)[0], len(output)

    def validation_step(self, batch: Samples, batch_idx: int) -> None:  # noqa: ARG002  Lightning's name
        """Count a batch, each of its pixels alike."""
        image = supervised(batch.image, self.network)
        self.val_loss.update(*squared_error(self(batch.image), image))

    def on_validation_epoch_end(self) -> None:
        """Log the loss over all processes."""
        self.log_validation_loss()


@dataclass(frozen=True)
class Restoration:
    """How well a network gives back the bands of some chips."""

    bands: tuple[Band, ...]
    errors: Tensor
    """(chips, bands) float64, mean squared error over pixels with data, in squares of reflectance;
    0 where none has."""
    counts: Tensor
    """(chips,), pixels with data."""

    @property
    def pixels(self) -> int:
        """Pixels with data."""
        return int(self.counts.sum())

    def record(self) -> dict[str, Any]:
        """Return the scores as a model file has them: root mean squared errors of reflectance."""
        total = (self.errors * self.counts[:, None]).sum(dim=0) / self.counts.sum()
        roots = total.sqrt().tolist()
        return {
            "chips": len(self.counts),
            "pixels": self.pixels,
            "rmse": {band.id: round(root, 6) for band, root in zip(self.bands, roots, strict=True)},
        }


@torch.inference_mode()
def judge_restored(
    network: Network,
    reader: ChipReader,
    names: Sequence[str],
    *,
    device: str,
    batch: int,
    progress: Progress = silent,
    split: str = "chips",
) -> Restoration:
    """Judge a network on chips, in float32; as `judging.judge_chips`."""
    errors, counts = [torch.zeros(0, len(reader.bands), dtype=torch.float64)], [torch.zeros(0)]
    chips = ChipsOnDisk(reader, names)
    batches = scoring_batches(chips, batch=batch, workers=0, pin=False)
    for image, _ in progress(batches, label=f"judging {split}", total=len(batches)):
        restored = network(image.to(device, memory_format=torch.channels_last)).cpu()
        squares, valid = _squares(restored, supervised(image, network))
        pixels = valid.sum(dim=(1, 2, 3))
        means = squares.double().sum(dim=(2, 3)) / pixels.clamp(min=1)[:, None]
        errors.append(means * reader.std.double().square())
        counts.append(pixels)
    return Restoration(reader.bands, torch.cat(errors), torch.cat(counts))


@torch.inference_mode()
def draw_restored(
    network: Network,
    reader: ChipReader,
    names: Sequence[str],
    judged: Restoration,
    path: Path,
    *,
    device: str,
) -> None:
    """Draw the chips that come out worst, then those that come out best; a PNG.

    Args:
        network: On `device` and set to evaluation.
        reader: Reads the chips as it takes them.
        names: Of the chips that were judged, one at least.
        judged: How well it did on them.
        path: Where.
        device: Where the network runs.
    """
    # Each band in units of its own spread, or the brightest would decide.
    spread = (judged.errors / reader.std.double().square()).mean(dim=1)
    order = spread.argsort(descending=True, stable=True).tolist()
    ends = [*order[: SHEET_CHIPS // 2], *order[SHEET_CHIPS // 2 :][-(SHEET_CHIPS // 2) :]]
    bands, kind = picture_bands(reader.bands)
    shown = [reader.bands.index(band) for band in bands]
    mean, std = reader.mean[:, None, None], reader.std[:, None, None]
    chips = []
    for name in (names[i] for i in ends):
        image = reader.read(name).image
        restored = network(image[None].to(device))[0].cpu()
        given = supervised(image, network)
        valid = (given != 0).any(dim=0)
        pair = [((stack * std) + mean).where(valid, torch.nan) for stack in (given, restored)]
        error = (pair[1] - pair[0]).square().mean(dim=0).sqrt()
        chips.append(
            RestoredChip(name, pair[0][shown].numpy(), pair[1][shown].numpy(), error.numpy())
        )
    draw_restored_sheet(chips, path, kind=kind)

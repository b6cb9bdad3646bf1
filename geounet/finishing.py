"""What comes of a training: its best weights are judged, drawn, and written as a model file."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from geounet import __version__
from geounet.bands import Band
from geounet.chipset import SPLITS
from geounet.classes import IGNORE
from geounet.dataset import ChipsOnDisk, scoring_batches
from geounet.metrics import as_record, confusion_matrix, pixel_figures
from geounet.model_file import ModelHeader, NetworkRecord, save_model
from geounet.networks.halo import default_halo
from geounet.report import ChipPicture, draw_contact_sheet, draw_curves, picture_bands
from geounet.task import EpochLog, supervised
from geounet.training_plan import TrainingPlan
from geounet.windows import mirror_indexes

logger = logging.getLogger(__name__)

MODEL = "model.safetensors"
COAST_CHIPS = 8
"""Validation chips on which the halo is measured: those with the most coast, where errors show."""
SHEET_CHIPS = 6
"""Of the contact sheet: half with the most coast, half with the most errors."""


class Judgement(NamedTuple):
    """How well a network does on the chips of a split."""

    confusion: Tensor
    """(C, C), pixels by true and predicted class."""
    wrong: dict[str, int]
    """Pixels of each chip that were taken for another class."""

    def record(self, names: Sequence[str]) -> dict[str, Any]:
        """Return the scores as the model file has them."""
        return {
            "pixels": int(self.confusion.sum()),
            **as_record(pixel_figures(self.confusion, names)),
        }


def finish_training(plan: TrainingPlan, log: EpochLog, out: Path, *, licence: str | None) -> None:
    """Judge the best weights, draw the figures, and write the model file last."""
    network = plan.network.to(plan.device).eval()
    judged = {split: _judge(plan, plan.splits[split]) for split in ("val", "test")}
    coast = _most_coast(plan)
    halo, error = default_halo(network, _mirrored_out(plan, coast), exact=plan.halo)
    logger.info(
        "best epoch %d; halo of %d pixels (exact: %d) changes no probability by more than %.2g",
        (log.best_row or log.rows[-1])["epoch"],
        halo,
        plan.halo,
        error,
    )
    draw_curves(log.rows, plan.reader.classes, out / "curves.png")
    if coast:
        _draw_sheet(plan, coast, judged["val"], out / "validation.png")
    info = plan.reader.folder.info
    header = ModelHeader(
        network=NetworkRecord(name=plan.config.network, settings=plan.network_settings),
        bands=tuple(band.to_dict() for band in plan.reader.bands),
        sensor=info.sensor,
        level=info.level,
        mean=tuple(plan.reader.mean.tolist()),
        std=tuple(plan.reader.std.tolist()),
        classes=info.classes,
        stride=network.stride,
        halo_exact=plan.halo,
        halo_default=halo,
        halo_error=error,
        res_m=info.res_m,
        training=_record(plan, log, judged),
        licence=licence,
    )
    save_model(out / MODEL, network, header)


def _record(plan: TrainingPlan, log: EpochLog, judged: Mapping[str, Judgement]) -> dict[str, Any]:
    """Return what the model file says of the training; no dates, so that it may be repeated."""
    best = log.best_row or log.rows[-1]
    return {
        "config": plan.config.model_dump(mode="json"),
        "chips": {
            "fingerprint": plan.reader.folder.info.fingerprint,
            **{split: len(plan.reader.folder.names(split)) for split in SPLITS},
        },
        "device": torch.device(plan.device).type,
        "precision": plan.precision,
        "epochs": log.rows[-1]["epoch"],
        "best_epoch": best["epoch"],
        "loss": {"train": best["loss"], "val": best.get("val_loss")},
        "scores": {
            split: found.record([one.name for one in plan.reader.classes])
            for split, found in judged.items()
            if found.confusion.sum()
        },
        "versions": {"geounet": __version__, "torch": torch.__version__},
    }


@torch.inference_mode()
def _judge(plan: TrainingPlan, names: list[str]) -> Judgement:
    """Judge the network on chips, in float32."""
    classes, network = plan.reader.classes, plan.network
    if not names:
        return Judgement(torch.zeros(len(classes), len(classes)), {})
    confusion = confusion_matrix(len(classes)).to(plan.device)
    wrong: list[int] = []
    chips = ChipsOnDisk(plan.reader, names)
    for image, label in scoring_batches(chips, batch=plan.config.batch, workers=0, pin=False):
        predicted = network(_laid_out(image, plan.device)).argmax(dim=1)  # (B, H, W)
        true = supervised(label, network).to(plan.device)
        confusion.update(predicted, true)
        wrong += ((predicted != true) & (true != IGNORE)).sum(dim=(1, 2)).tolist()
    return Judgement(confusion.compute(), dict(zip(names, wrong, strict=True)))


def _most_coast(plan: TrainingPlan) -> list[str]:
    """Return the validation chips with the most coast, most first."""
    index = plan.reader.folder.index.set_index("chip").loc[plan.splits["val"]]
    index = (
        index[index["valid"] > 0]
        .sort_index()
        .sort_values("coast_m", ascending=False, kind="stable")
    )
    return list(index.index[:COAST_CHIPS])


def _mirrored_out(plan: TrainingPlan, names: list[str]) -> Iterator[Tensor]:
    """Yield standardised chips (bands, H, W), mirrored out by the exact halo on every side."""
    for name in names:
        core = plan.reader.side // plan.network.stride * plan.network.stride
        reach = torch.from_numpy(mirror_indexes(-plan.halo, core + plan.halo, plan.reader.side))
        yield plan.reader.read(name).image[:, reach][:, :, reach].to(plan.device)


def _draw_sheet(plan: TrainingPlan, coast: list[str], judged: Judgement, path: Path) -> None:
    """Draw the validation chips with the most coast, then those with the most errors."""
    names = coast[: SHEET_CHIPS // 2]
    by_errors = sorted(judged.wrong, key=lambda name: -judged.wrong[name])
    names += [name for name in by_errors if name not in names][: SHEET_CHIPS - len(names)]
    bands, kind = picture_bands(plan.reader.folder.info.band_list)
    pictures = [_picture(plan, name, bands) for name in names]
    draw_contact_sheet(pictures, plan.reader.classes, path, kind=kind)


@torch.inference_mode()
def _picture(plan: TrainingPlan, name: str, bands: Sequence[Band]) -> ChipPicture:
    """Return a chip as the contact sheet shows it."""
    image, label = plan.reader.read(name)
    values = plan.reader.framed(torch.from_numpy(plan.reader.folder.read(name, bands).values))
    probs = plan.network(_laid_out(image[None], plan.device)).float().softmax(dim=1)[0]
    return ChipPicture(
        name=name,
        values=supervised(values, plan.network).numpy(),
        label=supervised(label, plan.network).numpy(),
        probs=probs.cpu().numpy(),
    )


def _laid_out(image: Tensor, device: str) -> Tensor:
    """Return a batch where and how the network is fastest with it."""
    return image.to(device, memory_format=torch.channels_last)

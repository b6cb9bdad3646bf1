"""What comes of a training: its best weights are judged, drawn, and written as a model file."""

import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from geounet import __version__
from geounet.bands import Band
from geounet.chipset import SPLITS, ChipSet
from geounet.classes import WATER
from geounet.judging import Judgement, judge_chips
from geounet.metrics import ALL_WATER, THRESHOLDS, threshold_scores
from geounet.model_card import CARD, write_card
from geounet.model_file import BlendRecord, ModelHeader, NetworkRecord, save_model
from geounet.networks import Network
from geounet.networks.halo import default_halo
from geounet.progress import Progress, silent
from geounet.reconstruction import draw_restored, judge_restored
from geounet.report import (
    ChipPicture,
    ScoreFigures,
    draw_contact_sheet,
    draw_curves,
    draw_scores,
    picture_bands,
)
from geounet.task import EpochLog, supervised
from geounet.training_plan import TrainingPlan
from geounet.windows import blend_overlap

logger = logging.getLogger(__name__)

MODEL = "model.safetensors"
COAST_CHIPS = 8
"""Validation chips on which the halo is measured: those with the most coast, where errors show."""
SHEET_CHIPS = 6
"""Of the contact sheet: half with the most coast, half with the most errors."""
PICTURES = {
    "validation.png": "Validation chips, those with the most errors among them, and what the "
    "network makes of them",
    "scores.png": "How often a probability is right, what the threshold changes, and the scenes; "
    "validation chips",
    "curves.png": "Losses, and scores on the validation chips, by epoch",
    "augmented.png": "Training chips as they are, and as they were varied in the first steps",
}
"""What lies beside a model file, for its card."""


def finish_training(
    plan: TrainingPlan,
    log: EpochLog,
    out: Path,
    *,
    licence: str | None,
    notes: Sequence[str] = (),
    progress: Progress = silent,
) -> None:
    """Judge the best weights, draw the figures, and write the model file last.

    Args:
        plan: What was trained, with its best weights.
        log: What the epochs came to.
        out: The training's folder.
        licence: Of the weights.
        notes: What users should know.
        progress: Told of the chips that are judged.
    """
    network = plan.network.to(plan.device).eval()
    finish = _finish_restoring if plan.restores else _finish_telling
    header = finish(plan, log, network, out, progress)
    header = header.model_copy(update={"licence": licence, "notes": tuple(notes)})
    pictures = {name: shows for name, shows in PICTURES.items() if (out / name).is_file()}
    write_card(header, out / CARD, model=MODEL, pictures=pictures)
    save_model(out / MODEL, network, header)


def _finish_restoring(
    plan: TrainingPlan, log: EpochLog, network: Network, out: Path, progress: Progress
) -> ModelHeader:
    """Judge and draw a network that gives back its bands."""
    device, batch, reader = plan.device, plan.config.batch, plan.reader
    judged = {
        split: judge_restored(
            network,
            reader,
            plan.splits[split],
            device=device,
            batch=batch,
            progress=progress,
            split=split,
        )
        for split in ("val", "test")
    }
    logger.info("best epoch %d", (log.best_row or log.rows[-1])["epoch"])
    draw_curves(log.rows, (), out / "curves.png")
    if names := plan.splits["val"]:
        draw_restored(network, reader, names, judged["val"], out / "validation.png", device=device)
    scores = {split: found.record() for split, found in judged.items() if found.pixels}
    # A narrower halo is one that changes no probability, and there are none.
    fields = _header_fields(plan, log, scores)
    return ModelHeader(**fields, halo_default=plan.view.halo or 0, halo_error=0.0)


def _finish_telling(
    plan: TrainingPlan, log: EpochLog, network: Network, out: Path, progress: Progress
) -> ModelHeader:
    """Judge and draw a network that tells classes."""
    judged = {
        split: judge_chips(
            network,
            plan.reader,
            plan.splits[split],
            device=plan.device,
            batch=plan.config.batch,
            progress=progress,
            split=split,
        )
        for split in ("val", "test")
    }
    coast = _most_coast(plan)
    halo, error = _measure_halo(plan, log, network, coast)
    draw_curves(log.rows, plan.reader.classes, out / "curves.png")
    if coast:
        _draw_sheet(plan, coast, judged["val"].wrong, out / "validation.png")
    scores = {split: found.record() for split, found in judged.items() if found.pixels}
    if "val" in scores:
        figures = _score_figures(plan, judged["val"], scores["val"]["by_scene"])
        draw_scores(figures, out / "scores.png")
    return ModelHeader(
        **_header_fields(plan, log, scores),
        halo_default=halo,
        halo_error=error,
        position_u95_m=judged["val"].position_u95_m,
        suggested_threshold=judged["val"].suggested_threshold,
    )


def _header_fields(plan: TrainingPlan, log: EpochLog, scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the header says of any network."""
    info = plan.reader.folder.info
    return {
        "network": NetworkRecord(name=plan.config.network, settings=plan.network_settings),
        "bands": tuple(band.to_dict() for band in plan.reader.bands),
        "sensor": info.sensor,
        "level": info.level,
        "mean": tuple(plan.reader.mean.tolist()),
        "std": tuple(plan.reader.std.tolist()),
        "classes": info.classes,
        "stride": plan.network.stride,
        "halo_exact": plan.view.halo,
        "blend": _blend(plan),
        "res_m": info.res_m,
        "training": _record(plan, log, scores),
    }


def _record(plan: TrainingPlan, log: EpochLog, scores: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the model file says of the training; no dates, so that it may be repeated."""
    best, info = log.best_row or log.rows[-1], plan.reader.folder.info
    return {
        "config": plan.config.model_dump(mode="json"),
        "chips": {
            "fingerprint": info.fingerprint,
            **{split: len(plan.reader.folder.names(split)) for split in SPLITS},
        },
        "start": plan.start,
        "device": torch.device(plan.device).type,
        "precision": plan.precision,
        "epochs": log.rows[-1]["epoch"],
        "best_epoch": best["epoch"],
        "loss": {"train": best["loss"], "val": best.get("val_loss")},
        "data": {
            "size": info.size,
            "split": info.split,
            "splits": {split: _contents(plan.reader.folder, split) for split in SPLITS},
            "sources": [_source(plan.reader.folder, source) for source in info.sources],
        },
        "scores": scores,
        "versions": {"geounet": __version__, "torch": torch.__version__},
    }


def _contents(folder: ChipSet, split: str) -> dict[str, Any]:
    """Return what the chips of a split show; None of chips without labels."""
    index = folder.index[folder.index["split"] == split]
    known = index["valid"].where(index["water"].notna(), 0.0)
    water = (index["water"] * known).sum() / known.sum() if known.sum() else None
    return {
        "chips": len(index),
        "water_share": None if water is None else round(float(water), 4),
        "coast_km": round(float(index["coast_m"].sum()) / 1000, 1),
    }


def _source(folder: ChipSet, source: Mapping[str, Any]) -> dict[str, Any]:
    """Return a scene that chips are from, and how many of them are in which split."""
    index = folder.index[folder.index["scene"] == source.get("scene")]
    told = {key: source.get(key) for key in ("scene", "time", "labels")}
    return told | {"chips": {split: int((index["split"] == split).sum()) for split in SPLITS}}


def _score_figures(plan: TrainingPlan, judged: Judgement, by_scene: dict[str, Any]) -> ScoreFigures:
    """Return what the figure of the scores shows."""
    total = judged.counts.total()
    return ScoreFigures(
        by_probability=total.water.numpy(),
        thresholds=THRESHOLDS.numpy(),
        by_threshold=threshold_scores(total).numpy(),
        suggested=judged.suggested_threshold,
        by_scene=by_scene,
        colors={one.name: one.color for one in plan.reader.classes} | {ALL_WATER: WATER.color},
    )


def _most_coast(plan: TrainingPlan) -> list[str]:
    """Return the validation chips with the most coast, most first."""
    index = plan.reader.folder.index.set_index("chip").loc[plan.splits["val"]]
    index = (
        index[index["valid"] > 0]
        .sort_index()
        .sort_values("coast_m", ascending=False, kind="stable")
    )
    return list(index.index[:COAST_CHIPS])


def _blend(plan: TrainingPlan) -> BlendRecord | None:
    """Return how scenes are predicted where no halo makes windows agree: as the chips were seen.

    What such a network says depends on the size of what it is given, so windows are as large.
    """
    if plan.view.obstacle is None:
        return None
    stride = plan.network.stride
    side = max(plan.reader.side, plan.network.fit(2 * stride))  # overlap, and step, of a stride
    overlap = blend_overlap(side, stride)
    return BlendRecord(window=side, overlap=overlap, why=plan.view.obstacle)


def _measure_halo(
    plan: TrainingPlan, log: EpochLog, network: Network, coast: list[str]
) -> tuple[int, float]:
    """Return the default halo and its error, and log them; 0 where windows are blended."""
    epoch, exact = (log.best_row or log.rows[-1])["epoch"], plan.view.halo
    if exact is None:
        logger.info("best epoch %d; windows will be blended", epoch)
        return 0, 0.0
    halo, error = default_halo(network, _surrounded(plan, coast, exact), exact=exact)
    if halo == exact:
        logger.info("best epoch %d; halo of %d pixels, the exact one", epoch, halo)
    else:
        logger.info(
            "best epoch %d; halo of %d pixels (exact: %d) changes no probability by more than %.2g "
            "on validation chips, amid others",
            epoch,
            halo,
            exact,
            error,
        )
    return halo, error


def _surrounded(plan: TrainingPlan, names: Sequence[str], halo: int) -> Iterator[Tensor]:
    """Yield standardised chips (bands, H, W) amid others, as far as the exact halo on every side.

    A scene is another place a halo away, and a chip mirrored out is the same place again. Which
    chips lie around one is drawn from the training's seed.
    """
    stride, reader = plan.network.stride, plan.reader
    side = reader.side // stride * stride  # so that each chip lies on the phase that it has alone
    around = -(-halo // side)  # chips on each side
    draw = np.random.default_rng(plan.config.seed)
    first, end = around * side - halo, (around + 1) * side + halo
    for name in names:
        others = [other for other in plan.splits["val"] if other != name] or [name]
        placed = draw.choice(others, (2 * around + 1, 2 * around + 1)).astype(object)
        placed[around, around] = name
        rows = [torch.cat([_core(plan, one, side) for one in row], dim=2) for row in placed]
        yield torch.cat(rows, dim=1)[:, first:end, first:end].to(plan.device)


def _core(plan: TrainingPlan, name: str, side: int) -> Tensor:
    """Return the first rows and columns of a standardised chip, (bands, side, side)."""
    return plan.reader.read(name).image[:, :side, :side]


def _draw_sheet(plan: TrainingPlan, coast: list[str], wrong: Mapping[str, int], path: Path) -> None:
    """Draw the validation chips with the most coast, then those with the most errors."""
    names = coast[: SHEET_CHIPS // 2]
    by_errors = sorted(wrong, key=lambda name: -wrong[name])
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

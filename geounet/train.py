"""Chips in, one model file out: the training of a network, from checks to scores.

OUT/model.safetensors   what `predict` takes
OUT/MODEL.md            what it is, for people
OUT/config.yaml         the recipe as it was used
OUT/augmented.png       training chips as they are in the first steps
OUT/curves.png          losses and IoUs by epoch
OUT/validation.png      validation chips with label and prediction
OUT/scores.png          how often probabilities are right, and scores by threshold and scene
OUT/checkpoints/        best.ckpt and last.ckpt, for resuming only
OUT/logs/               epochs.csv, and what TensorBoard shows
"""

import logging
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
import yaml
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader

from geounet.chips import CHIPS_MARK, open_chips
from geounet.chipset import ChipSet, read_exclusions
from geounet.config import Config
from geounet.dataset import (
    Samples,
    load_chips,
    scoring_batches,
    training_batches,
)
from geounet.engine import out_of_memory
from geounet.errors import ConfigError, OutputError
from geounet.finishing import MODEL, PICTURES, finish_training
from geounet.memory import too_large
from geounet.model_card import CARD
from geounet.outputs import only_run, stage_file
from geounet.preview import draw_preview
from geounet.processes import (
    OwnSignals,
    Team,
    TeamEnvironment,
    find_team,
    helpers,
    leaves_unused,
    unchanged_environment,
)
from geounet.progress import Progress, silent
from geounet.reconstruction import ReconstructionTask
from geounet.sampling import EvenBatches
from geounet.swed import is_swed, open_swed
from geounet.task import (
    EPOCH_KEY,
    VAL_LOSS,
    AtomicCheckpoints,
    BestAndLast,
    EpochLog,
    SegmentationTask,
    quiet_lightning,
    read_checkpoint,
    read_resumable,
)
from geounet.training_plan import TrainingPlan, plan_training

logger = logging.getLogger(__name__)

RECIPE = "config.yaml"
"""What makes a folder one of ours, written first."""
LAST = "checkpoints/last.ckpt"
BEST = "checkpoints/best.ckpt"
_HOW_TO_GO_ON = "The same command with --resume goes on after the last checkpoint."
_NOTHING_TO_GO_ON_FROM = "There is no checkpoint yet: start again with --overwrite."


class Batches(NamedTuple):
    """What Lightning goes through."""

    train: DataLoader[Samples]
    val: DataLoader[Samples] | None


def train_model(
    chips: Path,
    config: Config,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    exclude: Path | None = None,
    licence: str | None = None,
    notes: Sequence[str] = (),
    progress: Progress = silent,
) -> Path:
    """Train a network on a chip folder.

    Args:
        chips: Chip folder, as `tile` makes them, or the folder of SWED.
        config: How to train.
        out: Folder for the model file and what belongs to it; see the module's text.
        resume: Whether to go on from the last checkpoint in `out`, if there is one. The result is
            what it would have been without the interruption.
        overwrite: Whether to replace a training that is in `out`.
        exclude: A list of chips to leave out; see `read_exclusions`.
        licence: Of the weights, to be recorded.
        notes: What users of the weights should know, likewise.
        progress: Told of chips read, of the steps of each epoch, and of chips judged.

    Returns:
        The model file, `out`/model.safetensors.

    Raises:
        ChipsError: The chips are damaged, or there are none to train on.
        ConfigError: Config and chips disagree, the network cannot be used, or training diverged.
        OutputError: `out` exists already, or cannot be written.
        KeyboardInterrupt: The user stopped it; the last checkpoint is kept.
    """
    team = find_team(config.devices, config.nodes, os.environ)
    if team.rank:  # the first of another machine than that which writes
        with helpers(team, _help_train, chips, config, out, resume, exclude):
            _help_train(team, chips, config, out, resume, exclude)()
        return out / MODEL
    with (
        only_run(out.resolve().parent, out.resolve().name),
        torch.random.fork_rng(devices=[]),  # a notebook's own draws go on as if nothing had been
    ):
        _check_out(out, resume=resume, overwrite=overwrite)
        plan = plan_training(_open_chips(chips, exclude, progress), config)
        batches = _batches(plan, progress, team)
        _prepare_out(out, plan, resume=resume)
        draw_preview(plan, out / "augmented.png")
        try:
            with helpers(team, _help_train, chips, config, out, resume, exclude):
                log = _fit(plan, batches, out, resume=resume, progress=progress, team=team)
            finish_training(plan, log, out, licence=licence, notes=notes, progress=progress)
        except KeyboardInterrupt:
            kept = (out / LAST).is_file()
            logger.warning(_HOW_TO_GO_ON if kept else _NOTHING_TO_GO_ON_FROM)
            raise
    return out / MODEL


def _help_train(
    team: Team, chips: Path, config: Config, out: Path, resume: bool, exclude: Path | None
) -> Callable[[], EpochLog]:
    """Return the part of a training that is another process's than the one that writes."""
    plan = plan_training(_open_chips(chips, exclude, silent), config)
    batches = _batches(plan, silent, team)
    return partial(_fit, plan, batches, out, resume=resume, progress=silent, team=team)


def _open_chips(chips: Path, exclude: Path | None, progress: Progress) -> ChipSet:
    """Open what is trained on, less the chips of a list."""
    names = [] if exclude is None else read_exclusions(exclude)
    if not (chips / CHIPS_MARK).is_file() and is_swed(chips):
        return open_swed(chips, exclude=names, progress=progress)
    return open_chips(chips).without(names)


def _check_out(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse to touch what is there unless told to."""
    if resume and overwrite:
        raise ValueError("a run is either resumed or overwritten")
    if not out.exists():
        return
    if not out.is_dir():
        raise OutputError(f"{out} is a file; give a folder as --out.")
    if not any(out.iterdir()):
        return
    if not (out / RECIPE).is_file():
        raise OutputError(
            f"{out} holds other files than a training (no {RECIPE}), so it is not touched. Give "
            "another --out."
        )
    if not resume and not overwrite:
        raise OutputError(
            f"{out} exists already. Use --overwrite to replace it, --resume to go on with it, or "
            "another --out."
        )


def _prepare_out(out: Path, plan: TrainingPlan, *, resume: bool) -> None:
    """Clear what is replaced, and write the recipe."""
    if resume and (out / LAST).is_file():
        return
    if resume:
        logger.warning("%s has no checkpoint to go on from: training starts.", out)
    recipe = plan.config.model_dump(mode="json")
    if plan.config.network.endswith(".yaml"):
        recipe["network"] = str(Path(plan.config.network).resolve())  # from here, too
    if plan.config.start is not None:
        recipe["start"] = str(Path(plan.config.start).resolve())
    with stage_file(out / RECIPE) as draft:  # which finds out first whether `out` can be written
        for file in (MODEL, CARD, *PICTURES):
            (out / file).unlink(missing_ok=True)
        for folder in ("checkpoints", "logs"):
            shutil.rmtree(out / folder, ignore_errors=True)
        text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True)
        draft.write_text(f"# The training beside this file.\n{text}", encoding="utf-8")


def _fit(
    plan: TrainingPlan,
    batches: Batches,
    out: Path,
    *,
    resume: bool,
    progress: Progress,
    team: Team,
) -> EpochLog:
    """Train the plan's network and leave it with its best weights; return what epochs came to."""
    log = EpochLog(out / "logs" / "epochs.csv", epochs=plan.config.epochs, progress=progress)
    kind = ReconstructionTask if plan.restores else SegmentationTask
    task = kind(
        plan.network,
        plan.config,
        plan.reader.classes,
        augmenter=plan.augmenter,
        steps=plan.steps,
        run=plan.identity,
        batches=plan.batches,
        share=team.share,
    )
    last = out / LAST if resume and (out / LAST).is_file() else None
    if last is not None:
        checkpoint = read_resumable(last, plan.identity)
        log.load_state_dict(checkpoint["callbacks"][log.state_key])
        sampler = cast(EvenBatches, batches.train.batch_sampler)
        sampler.go_on_at(checkpoint["epoch"], int(checkpoint[EPOCH_KEY][0]))
    if not log.finished:
        _run(plan, task, batches, out, log, last=last, team=team)
    chosen = out / (BEST if plan.splits["val"] else LAST)
    task.load_state_dict(read_checkpoint(chosen)["state_dict"])
    return log


def _run(
    plan: TrainingPlan,
    task: SegmentationTask,
    batches: Batches,
    out: Path,
    log: EpochLog,
    *,
    last: Path | None,
    team: Team,
) -> None:
    """Let Lightning go through the batches.

    Raises:
        ConfigError: The training diverged, or a batch does not fit in memory.
    """
    try:
        with quiet_lightning(), unchanged_environment():
            trainer = _trainer(plan, out, log, team)
            for kept in trainer.loggers:
                kept.log_hyperparams(plan.config.model_dump(mode="json"))
            with _stoppable(trainer):
                trainer.fit(task, *batches, ckpt_path=last, weights_only=True)
        return
    except RuntimeError as error:
        if not out_of_memory(error):
            raise
    except ConfigError as error:
        if not (out / LAST).is_file():
            raise
        raise ConfigError(f"{error} {out / LAST} is of before, and kept.") from None
    # Not in the handler, where the error still holds the tensors of what failed.
    raise too_large(
        task,
        chip=(len(plan.reader.bands), plan.reader.side, plan.reader.side),
        batch=-(-plan.config.batch // team.world),
        world=team.world,
        device=plan.device,
        bf16=plan.precision == "bf16",
    )


def _batches(plan: TrainingPlan, progress: Progress, team: Team) -> Batches:
    """Return what to train on and what to validate with, read as far as memory allows."""
    share = team.share
    train, val = load_chips(
        plan.teacher,
        [plan.splits["train"], plan.splits["val"]],
        progress=progress,
        device=f"cuda:{team.local}" if plan.device == "cuda" else plan.device,
    )
    batch, workers, pin = plan.config.batch, plan.config.workers, plan.device.startswith("cuda")
    scored = scoring_batches(val, batch=batch, workers=workers, pin=pin, share=share)
    return Batches(
        training_batches(train, plan.sampler(share), workers=workers, pin=pin),
        scored if len(val) else None,
    )


def _trainer(plan: TrainingPlan, out: Path, log: EpochLog, team: Team) -> Trainer:
    config = plan.config
    callbacks: list[Callback] = [
        OwnSignals(),
        log,
        BestAndLast(log, best=out / BEST, last=out / LAST, every=config.checkpoint_every),
    ]
    if plan.splits["val"]:
        callbacks.append(
            EarlyStopping(
                VAL_LOSS,
                patience=config.patience,
                mode="min",
                # But after validation, so that the log of the epoch knows that it is the last.
                check_on_train_epoch_end=False,
            )
        )
    kind, _, index = plan.device.partition(":")
    gpu = kind == "cuda"
    together: dict[str, Any] = {}
    if team.world > 1:
        together = {
            "strategy": DDPStrategy(
                cluster_environment=TeamEnvironment(team),
                process_group_backend="nccl" if gpu else "gloo",
                broadcast_buffers=False,  # there are none but statistics of batch normalisation
                # To look for them at each step takes time, and not to look is to fail.
                find_unused_parameters=leaves_unused(
                    plan.network, bands=len(plan.reader.bands), side=plan.reader.side
                ),
            ),
            "num_nodes": team.nodes,
            "sync_batchnorm": gpu,  # torch has it for GPUs alone
            "use_distributed_sampler": False,  # each process has its share already
        }
    logger = TensorBoardLogger(out, name="logs", version="", default_hp_metric=False)
    return Trainer(
        accelerator="gpu" if gpu else kind,
        devices=[int(index)] if index else team.devices,
        precision="bf16-mixed" if plan.precision == "bf16" else "32-true",
        max_epochs=config.epochs,
        accumulate_grad_batches=config.accumulate,
        gradient_clip_val=config.clip_norm,
        callbacks=callbacks,
        logger=logger if team.rank == 0 else False,
        plugins=[AtomicCheckpoints()],
        default_root_dir=out,
        enable_checkpointing=True,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        **together,
    )


@contextmanager
def _stoppable(trainer: Trainer) -> Iterator[None]:
    """Let Ctrl-C be what it is elsewhere: Lightning makes it the end of the program."""
    try:
        yield
    except SystemExit:
        if not trainer.interrupted:
            raise
        raise KeyboardInterrupt from None

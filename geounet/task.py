"""What Lightning needs to know to train: the steps, and what each epoch came to."""

import csv
import io
import json
import logging
import pickle
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor

from geounet.augment import derived_seed, lay_at_random, poses, step_generator
from geounet.classes import LabelClass
from geounet.config import Config
from geounet.dataset import Samples
from geounet.errors import ConfigError, OutputError
from geounet.losses import SegmentationLoss
from geounet.metrics import Scores, confusion_matrix
from geounet.networks import Network
from geounet.outputs import stage_file
from geounet.progress import Progress

logger = logging.getLogger(__name__)

VAL_LOSS = "val/loss"
"""What best means: the least loss on the validation chips. A lower loss is a better probability at
every pixel, on which hangs where between two pixels the line p = 0.5 lies; an IoU sees only on
which side of 0.5 each pixel is, and on a scene that is nearly all water hardly moves."""
RUN_KEY = "geounet"
"""Where a checkpoint says which run it is of."""
STEPS_UNCHECKED = 50
"""How long a loss may be not finite without being noticed. To look at it is to wait for the GPU."""


class SegmentationTask(LightningModule):
    """Trains a network to tell the classes of pixels."""

    def __init__(
        self,
        network: Network,
        config: Config,
        classes: tuple[LabelClass, ...],
        *,
        steps: int,
        run: str,
    ) -> None:
        """Bring together what is trained and how.

        Args:
            network: What is trained, in place.
            config: How.
            classes: What its outputs mean.
            steps: Of the whole training, for the schedule of the learning rate.
            run: What this training is, for the checkpoint, so that no other is resumed from it.
        """
        super().__init__()
        # Convolutions of the CPU and of tensor cores are fastest with the bands innermost.
        self.network = network.to(memory_format=torch.channels_last)
        self.config, self.classes, self.steps, self.run = config, classes, steps, run
        water = [number for number, one in enumerate(classes) if one.water]
        self.loss = SegmentationLoss(config.loss, len(classes), water=water)
        self.ways = poses(flips=config.augment.flips, rotations=config.augment.rotations)
        self.confusion = confusion_matrix(len(classes))
        self._unchecked: Tensor | None = None

    def forward(self, image: Tensor) -> Tensor:
        """Return logits, (B, classes, H, W), for standardised images, (B, bands, H, W)."""
        return self.network(image.contiguous(memory_format=torch.channels_last))

    def on_train_epoch_start(self) -> None:
        """Seed what networks draw themselves (dropout), by the epoch, so that resuming does too."""
        torch.manual_seed(derived_seed(self.config.seed, self.current_epoch))
        self.log("learning_rate", self.optimizers().param_groups[0]["lr"])  # type: ignore[union-attr]  # one optimizer, no list

    def training_step(self, batch: Samples, batch_idx: int) -> Tensor:  # noqa: ARG002  Lightning's name
        """Return the loss of a batch whose chips are laid down at random."""
        generator = step_generator(self.config.seed, self.global_step)
        image, label = lay_at_random(batch, self.ways, generator)
        loss = self.loss(self(image), supervised(label, self.network))
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=len(image))
        # One that is not finite makes the sum so.
        seen = loss.detach()
        self._unchecked = seen if self._unchecked is None else self._unchecked + seen
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Samples, batch_idx: int) -> None:  # noqa: ARG002  Lightning's names
        """Stop before a checkpoint is spoilt, if the loss is no number any more."""
        if self.trainer.is_last_batch or batch_idx % STEPS_UNCHECKED == 0:
            self._stop_if_diverged(self._unchecked)
            self._unchecked = None
        if self.trainer.is_last_batch:  # whose step no loss has seen
            sums = [weights.detach().sum() for weights in self.network.parameters()]
            self._stop_if_diverged(torch.stack(sums).sum())

    def validation_step(self, batch: Samples, batch_idx: int) -> None:  # noqa: ARG002  Lightning's name
        """Count a batch."""
        logits, label = self(batch.image), supervised(batch.label, self.network)
        loss = self.loss(logits, label)
        self.log(VAL_LOSS, loss, on_epoch=True, batch_size=len(label))
        self.confusion.update(logits, label)

    def on_validation_epoch_end(self) -> None:
        """Log the IoU of each class."""
        self._stop_if_diverged(self.trainer.callback_metrics.get(VAL_LOSS))
        scores = Scores.from_confusion(self.confusion.compute(), self.classes)
        self.confusion.reset()
        for name, score in scores.classes.items():
            if score.iou is not None:
                self.log(f"val/iou/{name}", score.iou)

    def configure_optimizers(self) -> Any:
        """Return AdamW, its learning rate falling to zero along a cosine, step by step."""
        optimizer = torch.optim.AdamW(
            self.network.parameters(),
            lr=self.config.learning_rate,
            weight_decay=self.config.weight_decay,
        )
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=self.steps)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say which run it is of."""
        checkpoint[RUN_KEY] = self.run

    def _stop_if_diverged(self, loss: Tensor | None) -> None:
        if loss is None or torch.isfinite(loss):
            return
        rate = self.config.learning_rate
        raise ConfigError(
            f"The loss is not finite any more in epoch {self.current_epoch + 1}: the training "
            f"diverged. Lower the learning rate, for instance --set learning_rate={rate / 10:g} "
            f"(it is {rate:g})."
        )


def supervised(stack: Tensor, network: Network) -> Tensor:
    """Return the part of `stack`, (..., height, width), that the output of a network covers."""
    inner = slice(network.margin, -network.margin or None)
    return stack[..., inner, inner]


class EpochLog(Callback):
    """Keeps what each epoch came to: in the checkpoint, in a CSV file, and told as it comes."""

    def __init__(self, path: Path, *, epochs: int, progress: Progress) -> None:
        """Prepare.

        Args:
            path: The CSV file, a line per epoch; made anew each time, whole.
            epochs: How many there will be at most.
            progress: Told of each step.
        """
        self.path, self.epochs, self.progress = path, epochs, progress
        self.rows: list[dict[str, float | int]] = []
        """An epoch each: epoch (from 1), learning_rate, loss, and with validation chips val_loss
        and iou/NAME of the classes that occur."""
        self.finished = False
        """Whether the last epoch was the last of the training."""
        self._steps: Iterator[int] | None = None
        self._started = 0.0

    @property
    def best_row(self) -> dict[str, float | int] | None:
        """The epoch with the least validation loss, the first of them; None without validation."""
        judged = [row for row in self.rows if "val_loss" in row]
        return min(judged, key=lambda row: row["val_loss"]) if judged else None

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"rows": self.rows, "finished": self.finished}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from what a checkpoint kept."""
        self.rows, self.finished = list(state_dict["rows"]), state_dict["finished"]

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002  Lightning's names
        """Begin to show progress."""
        self._started = time.monotonic()
        label = f"epoch {trainer.current_epoch + 1}/{self.epochs}"
        steps = int(trainer.num_training_batches)
        self._steps = iter(self.progress(range(steps), label=label, total=steps))
        next(self._steps)

    def on_train_batch_end(self, *args: Any) -> None:  # noqa: ARG002  Lightning's arguments
        """Show a step."""
        if self._steps is not None and next(self._steps, None) is None:
            self._steps = None

    def on_exception(self, *args: Any) -> None:  # noqa: ARG002  Lightning's arguments
        """Take the progress away, so that what went wrong is not written across it."""
        self._steps = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002  Lightning's names
        """Write down what the epoch came to."""
        found = {name: value.item() for name, value in trainer.callback_metrics.items()}
        row: dict[str, float | int] = {
            "epoch": trainer.current_epoch + 1,
            "learning_rate": found["learning_rate"],
            "loss": found["train/loss"],
        }
        if VAL_LOSS in found:
            row["val_loss"] = found[VAL_LOSS]
            row |= {n.removeprefix("val/"): v for n, v in found.items() if n.startswith("val/iou/")}
        self.rows.append(row)
        self.finished = trainer.should_stop or row["epoch"] == self.epochs
        self._write()
        seconds = time.monotonic() - self._started
        logger.info("epoch %d/%d: %s, %.0f s", row["epoch"], self.epochs, _told(row), seconds)

    def _write(self) -> None:
        columns = list(dict.fromkeys(name for row in self.rows for name in row))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        with stage_file(self.path) as draft:
            draft.write_text(text.getvalue())


def _told(row: dict[str, float | int]) -> str:
    """Return what an epoch came to, for people."""
    parts = [f"loss {row['loss']:.4f}"]
    if "val_loss" in row:
        parts.append(f"validation {row['val_loss']:.4f}")
        ious = {n.removeprefix("iou/"): v for n, v in row.items() if n.startswith("iou/")}
        if ious:
            parts.append("IoU " + " ".join(f"{name} {iou:.4f}" for name, iou in ious.items()))
    return ", ".join(parts)


class BestAndLast(Checkpoint):
    """Keeps the checkpoint of the best epoch and that of the last.

    Lightning's own remembers the best by an absolute path and forgets it, with a warning, when the
    folder was moved before resuming; the next epoch would then pass for the best.
    """

    def __init__(self, epoch_log: EpochLog, *, best: Path, last: Path) -> None:
        """Say where; `epoch_log` knows which epoch is best."""
        self.epoch_log, self.best, self.last = epoch_log, best, last

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:  # noqa: ARG002  Lightning's names
        """Keep what is worth it; Lightning comes here after all other callbacks."""
        if self.epoch_log.best_row is self.epoch_log.rows[-1]:
            trainer.save_checkpoint(self.best, weights_only=True)
        trainer.save_checkpoint(self.last)


class AtomicCheckpoints(TorchCheckpointIO):
    """Writes checkpoints so that a full disk or a kill leaves the one before as it was."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | Path,
        storage_options: Any = None,  # noqa: ARG002  Lightning's name
    ) -> None:
        """Write a checkpoint beside its place, then put it there."""
        with stage_file(Path(path)) as draft:
            torch.save(checkpoint, draft)


@contextmanager
def quiet_lightning() -> Iterator[None]:
    """Keep Lightning from advertising, advising and repeating what we say ourselves."""
    loggers = [logging.getLogger(f"lightning.{part}") for part in ("pytorch", "fabric")]
    levels = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.WARNING)  # its tips and its list of devices are INFO
    with warnings.catch_warnings():
        # Chips in memory are read by no workers; for others `workers` is the user's choice.
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        # Without validation chips; `train` has said so.
        warnings.filterwarnings("ignore", message=".*but have no `val_dataloader`.*")
        # Between Lightning and torch: ours to wait for, not the user's to read.
        warnings.filterwarnings("ignore", ".*treespec, LeafSpec.*", category=FutureWarning)
        # `device: cpu` is said by the one who wants it.
        warnings.filterwarnings("ignore", message="GPU available but not used.*")
        try:
            yield
        finally:
            for one, level in zip(loggers, levels, strict=True):
                one.setLevel(level)


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Read one of our checkpoints; nothing in it is run."""
    return torch.load(path, map_location="cpu", weights_only=True)


def read_resumable(path: Path, run: str) -> dict[str, Any]:
    """Read a checkpoint that `run` may go on from.

    Raises:
        OutputError: It is damaged.
        ConfigError: It is of another training.
    """
    try:
        checkpoint = read_checkpoint(path)
        before = json.loads(checkpoint[RUN_KEY])
    except (OSError, RuntimeError, pickle.UnpicklingError, KeyError, ValueError) as error:
        raise OutputError(
            f"{path} is damaged or no checkpoint of ours ({str(error).splitlines()[0]}). Start "
            "again with --overwrite."
        ) from error
    now = json.loads(run)
    changed = [key for key in now if now[key] != before.get(key)]
    if "chips" in changed:
        raise ConfigError(
            f"{path} is of a training on other chips. Resume with those, or start again with "
            "--overwrite."
        )
    if changed:
        told = ", ".join(f"{key} {before.get(key)} (now {now[key]})" for key in changed)
        raise ConfigError(
            f"{path} is of a training with other settings: {told}. Resume with the same, or start "
            "again with --overwrite."
        )
    return checkpoint

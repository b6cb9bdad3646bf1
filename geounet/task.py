"""What Lightning needs to know to train: the steps, and what each epoch came to."""

import csv
import io
import json
import logging
import math
import pickle
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO
from torch import Tensor
from torchmetrics import MeanMetric

from geounet.augment import Augmenter, derived_seed
from geounet.classes import LabelClass
from geounet.config import Config
from geounet.dataset import Samples
from geounet.errors import ConfigError, OutputError
from geounet.losses import SegmentationLoss
from geounet.metrics import confusion_matrix, pixel_figures
from geounet.networks import Network
from geounet.outputs import stage_file
from geounet.processes import gathered
from geounet.progress import Progress
from geounet.sampling import WHOLE, Share

logger = logging.getLogger(__name__)

VAL_LOSS = "val/loss"
"""What best means: the least loss on the validation chips. A lower loss is a better probability at
every pixel, on which hangs where between two pixels the line p = 0.5 lies; an IoU sees only on
which side of 0.5 each pixel is, and on a scene that is nearly all water hardly moves."""
RUN_KEY = "geounet"
"""Where a checkpoint says which run it is of."""
EPOCH_KEY = "geounet_epoch"
"""Where it keeps how far the epoch has come: batches done, the sum of their losses times their
chips, and their chips."""
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
        augmenter: Augmenter,
        steps: int,
        run: str,
        batches: int | None = None,
        share: Share = WHOLE,
    ) -> None:
        """Bring together what is trained and how.

        Args:
            network: What is trained, in place.
            config: How.
            classes: What its outputs mean.
            augmenter: How training chips are varied.
            steps: Of the whole training, for the schedule of the learning rate.
            run: What this training is, for the checkpoint, so that no other is resumed from it.
            batches: Of one epoch, by which chance goes on from one to the next; `steps` if the
                training is of one epoch, the default.
            share: Of each batch, what this process takes.
        """
        super().__init__()
        # Convolutions of the CPU and of tensor cores are fastest with the bands innermost.
        self.network = network.to(memory_format=torch.channels_last)
        self.config, self.classes, self.steps, self.run = config, classes, steps, run
        self.batches, self.share = batches or steps, share
        self._network: Callable[[Tensor], Tensor] = (
            torch.compile(network.forward) if config.compile else network.forward
        )
        water = [number for number, one in enumerate(classes) if one.water]
        self.loss = SegmentationLoss(config.loss, len(classes), water=water)
        self.augmenter = augmenter
        self.confusion = confusion_matrix(len(classes))
        # Lightning's own mean over processes rounds the number of chips. NaN is to stay NaN, and
        # torchmetrics' "disable" forgets the weights.
        self.val_loss = MeanMetric(nan_strategy=math.nan)
        self._unchecked: Tensor | None = None
        # Lightning's own mean over an epoch does not survive an interruption of it.
        self.register_buffer("_epoch", torch.zeros(3, dtype=torch.float64), persistent=False)
        self._epoch: Tensor

    def forward(self, image: Tensor) -> Tensor:
        """Return logits, (B, classes, H, W), for standardised images, (B, bands, H, W)."""
        return self._network(image.contiguous(memory_format=torch.channels_last))

    def on_train_epoch_start(self) -> None:
        """Log the learning rate; not asked for where an epoch is gone on with."""
        rate = self.config.learning_rate * self.rate(self._first_step)
        self.log("learning_rate", rate, sync_dist=True)

    @property
    def _first_step(self) -> int:
        """Of the epoch, of all steps."""
        return self.current_epoch * (self.batches // self.config.accumulate)

    @property
    def epoch_figures(self) -> dict[str, float]:
        """The learning rate at the start of the epoch, and the mean loss over its chips so far."""
        _, total, chips = self._epoch.tolist()
        return {
            "learning_rate": self.config.learning_rate * self.rate(self._first_step),
            "loss": total / chips,
        }

    def draw(self, batch_idx: int) -> int:
        """Return the number of this process's draw for a batch of the epoch.

        Chance is a function of it and of the seed, so that a training which was interrupted draws
        what it would have drawn, wherever that was.
        """
        done = self.current_epoch * self.batches + batch_idx
        return done * self.share.world + self.share.rank

    def training_step(self, batch: Samples, batch_idx: int) -> Tensor:
        """Return the loss of a batch whose chips are varied at random."""
        seed, draw = self.config.seed, self.draw(batch_idx)
        image, label = self.augmenter(*batch, seed=seed, step=draw)
        torch.manual_seed(derived_seed(seed, draw, 1))  # of what networks draw: dropout
        loss, chips = self.whole_loss(self(image), Samples(image, label))
        # One that is not finite makes the sum so.
        seen = loss.detach()
        self._unchecked = seen if self._unchecked is None else self._unchecked + seen
        self._count(batch_idx, seen, chips=chips)
        # Gradients are averaged over processes, and each has those of its own part alone.
        return loss * self.share.world

    def own_loss(self, output: Tensor, samples: Samples) -> Tensor:
        """Return the loss of what this process has of a batch.

        Args:
            output: Of the network, for the images.
            samples: What it is judged by.
        """
        return self.loss(output, supervised(samples.label, self.network))

    def whole_loss(self, output: Tensor, samples: Samples) -> tuple[Tensor, int]:
        """Return the loss of a batch of which each process has a part, and its chips."""
        if self.share.world == 1:
            return self.own_loss(output, samples), len(output)
        label = supervised(samples.label, self.network)
        extra = {name: gathered(of) for name, of in self.loss.prepare(label).items()}
        logits = gathered(output)
        return self.loss(logits, gathered(label), extra), len(logits)

    def _count(self, batch_idx: int, loss: Tensor, *, chips: int) -> None:
        """Keep the figures of the epoch, which begin with its first batch."""
        if batch_idx == 0:
            self._epoch.zero_()
        self._epoch += torch.stack([torch.ones_like(loss), loss * chips, loss.new_full((), chips)])

    def on_train_batch_end(self, outputs: Any, batch: Samples, batch_idx: int) -> None:  # noqa: ARG002  Lightning's names
        """Stop before a checkpoint is spoilt, if the loss is no number any more."""
        if self.trainer.is_last_batch or batch_idx % STEPS_UNCHECKED == 0:
            self._stop_if_diverged(self._unchecked)
            self._unchecked = None
        if self.trainer.is_last_batch:
            self.check_weights()

    def check_weights(self) -> None:
        """Stop before a checkpoint is spoilt, if a step, which no loss has seen, left no numbers.

        Raises:
            ConfigError: It did.
        """
        sums = [weights.detach().sum() for weights in self.network.parameters()]
        self._stop_if_diverged(torch.stack(sums).sum())

    def on_train_epoch_end(self) -> None:
        """Log the loss of the epoch."""
        self.log("train/loss", self.epoch_figures["loss"], sync_dist=True)

    def validation_step(self, batch: Samples, batch_idx: int) -> None:  # noqa: ARG002  Lightning's name
        """Count a batch."""
        logits = self(batch.image)
        self.val_loss.update(self.own_loss(logits, batch), len(logits))
        label = self.loss.greater(supervised(batch.label, self.network))
        self.confusion.update(logits, label)

    def on_validation_epoch_end(self) -> None:
        """Log the loss and the IoU of each class, over all processes."""
        self.log_validation_loss()
        figures = pixel_figures(self.confusion.compute(), [one.name for one in self.classes])
        self.confusion.reset()
        for one in self.classes:
            iou = figures["iou", one.name].item()
            if not math.isnan(iou):  # it occurs
                self.log(f"val/iou/{one.name}", iou, sync_dist=True)

    def log_validation_loss(self) -> None:
        """Log what the batches of a validation came to, and begin anew."""
        loss = self.val_loss.compute()
        self.val_loss.reset()
        self._stop_if_diverged(loss)
        self.log(VAL_LOSS, loss, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """Return the optimizer and its learning rate, which changes step by step; see `rate`."""
        config, weights = self.config, self.network.parameters()
        rate, decay = config.learning_rate, config.weight_decay
        optimizer: torch.optim.Optimizer
        if config.optimizer == "adamw":
            optimizer = torch.optim.AdamW(weights, lr=rate, weight_decay=decay)
        else:
            optimizer = torch.optim.SGD(
                weights, lr=rate, momentum=config.momentum, weight_decay=decay
            )
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, self.rate)
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def rate(self, step: int) -> float:
        """Return the learning rate of a step, as a share of its greatest, 0–1.

        It rises along a line for `warmup` steps, then falls to zero along half a cosine [1]_.

        References:
            .. [1] Loshchilov and Hutter (2017), "SGDR", arXiv:1608.03983, equation 5, without
               restarts.
        """
        warmup = self.config.warmup
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return (1 + math.cos(math.pi * (step - warmup) / (self.steps - warmup))) / 2

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say which run it is of, and how far its epoch has come."""
        checkpoint[RUN_KEY] = self.run
        checkpoint[EPOCH_KEY] = self._epoch.tolist()

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go on where that epoch was."""
        self._epoch.copy_(torch.tensor(checkpoint[EPOCH_KEY], dtype=torch.float64))

    def _stop_if_diverged(self, loss: Tensor | None) -> None:
        if loss is None or torch.isfinite(loss):
            return
        rate = self.config.learning_rate
        raise ConfigError(
            f"The loss is not finite any more in epoch {self.current_epoch + 1}: the training "
            f"diverged. Lower the learning rate, for instance --set learning_rate={rate / 10:g} "
            f"(it is {rate:g}), or limit the gradients, --set clip_norm=1."
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
        self._epoch_shown: int | None = None
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

    def on_train_batch_start(
        self,
        trainer: Trainer,
        pl_module: LightningModule,  # noqa: ARG002  Lightning's name
        batch: Samples,  # noqa: ARG002  Lightning's name
        batch_idx: int,
    ) -> None:
        """Begin to show progress, at the first batch, or where the epoch is gone on with."""
        if self._epoch_shown == trainer.current_epoch:
            return
        self._epoch_shown = trainer.current_epoch
        self._started = time.monotonic()
        label = f"epoch {trainer.current_epoch + 1}/{self.epochs}"
        batches = int(trainer.num_training_batches)
        left = range(batch_idx, batches)
        self._steps = iter(self.progress(left, label=label, total=len(left)))
        next(self._steps)

    def on_train_batch_end(self, *args: Any) -> None:  # noqa: ARG002  Lightning's arguments
        """Show a step."""
        if self._steps is not None and next(self._steps, None) is None:
            self._steps = None

    def on_exception(self, *args: Any) -> None:  # noqa: ARG002  Lightning's arguments
        """Take the progress away, so that what went wrong is not written across it."""
        self._steps = None

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write down what the epoch came to."""
        found = {name: value.item() for name, value in trainer.callback_metrics.items()}
        figures = cast(SegmentationTask, pl_module).epoch_figures
        row: dict[str, float | int] = {"epoch": trainer.current_epoch + 1, **figures}
        if VAL_LOSS in found:
            row["val_loss"] = found[VAL_LOSS]
            row |= {n.removeprefix("val/"): v for n, v in found.items() if n.startswith("val/iou/")}
        self.rows.append(row)
        self.finished = trainer.should_stop or row["epoch"] == self.epochs
        if not trainer.is_global_zero:
            return
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
    """Keeps the checkpoint of the best epoch and the last, of an epoch or of some steps.

    Lightning's own remembers the best by an absolute path and forgets it, with a warning, when the
    folder was moved before resuming; the next epoch would then pass for the best.
    """

    def __init__(
        self, epoch_log: EpochLog, *, best: Path, last: Path, every: int | None = None
    ) -> None:
        """Say where; `epoch_log` knows which epoch is best.

        Args:
            epoch_log: What epochs came to.
            best: Checkpoint of the best of them.
            last: The one to go on from.
            every: Steps after which `last` is written within an epoch.
        """
        self.epoch_log, self.best, self.last, self.every = epoch_log, best, last, every

    def on_train_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: Any,  # noqa: ARG002  Lightning's name
        batch: Samples,  # noqa: ARG002  Lightning's name
        batch_idx: int,
    ) -> None:
        """Keep what some steps came to; at the end of an epoch that is done after validation."""
        stepped = (batch_idx + 1) % trainer.accumulate_grad_batches == 0
        due = self.every is not None and stepped and trainer.global_step % self.every == 0
        if due and not trainer.is_last_batch:
            cast(SegmentationTask, pl_module).check_weights()
            trainer.save_checkpoint(self.last)

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
        # Of a checkpoint within an epoch; `EvenBatches` goes on there.
        warnings.filterwarnings("ignore", message="You're resuming from a checkpoint that ended")
        # Of newer torch; its other name is not there in the oldest that we run with.
        warnings.filterwarnings("ignore", message="`broadcast_buffers` is deprecated")
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

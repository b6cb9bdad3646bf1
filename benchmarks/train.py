"""Steps per second of training, over those of the bare step on tensors already in memory.

    python benchmarks/train.py [--networks unet-same smp/unet/resnet34] [--steps 20] [--batch 8]
        [--device cpu] [--precision fp32] [--on-disk]

Chips of 256² × 12 bands are written, then trained on from their folder by `train_model`, in
epochs of `--steps` steps; the loop is timed from the first step of the second epoch to the last
one of the last epoch, without validation, so with all that a user waits for between steps:
reading, variation, transfer, logging. Bare is forward, loss, backward and AdamW on one batch that
is on the device. Both in one process, turn about, the best of `--rounds`. Write what it says into
RESULTS.md.
"""

import argparse
import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
import training_chips

from geounet import train as training
from geounet.chips import open_chips
from geounet.config import Config
from geounet.dataset import load_chips
from geounet.task import SegmentationTask
from geounet.train import plan_training, train_model

SIDE, BANDS = (
    256,
    ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"),
)


def write_chips(folder: Path, count: int) -> Path:
    """Write chips of a wavy coast."""
    # The four bands whose colours the tests know stand for the others.
    for known, values in (
        (training_chips.WATER_REFLECTANCE, 0.03),
        (training_chips.LAND_REFLECTANCE, 0.2),
    ):
        known.update({band: known.get(band, values) for band in BANDS})
    return training_chips.write_chips(
        folder, counts={"train": count}, size=SIDE, names=BANDS, seed=0
    )


def loop_rate(chips: Path, config: Config, out: Path, *, on_disk: bool) -> float:
    """Return steps per second of the loop; chips in memory, or read anew in every epoch."""
    read = partial(load_chips, limit=0) if on_disk else load_chips
    ends: list[float] = []
    end = SegmentationTask.on_train_batch_end

    def watch(task: SegmentationTask, *arguments: object) -> None:
        end(task, *arguments)
        if task.device.type == "cuda":
            torch.cuda.synchronize()
        ends.append(time.perf_counter())

    def nothing(*_: object, **__: object) -> None:
        """Judge nothing: that is no part of the loop."""

    with (
        patch.object(SegmentationTask, "on_train_batch_end", watch),
        patch.object(training, "finish_training", nothing),
        patch.object(training, "load_chips", read),
    ):
        train_model(chips, config, out, overwrite=True)
    first = len(ends) // config.epochs  # all that the first epoch warms up is done
    return (len(ends) - 1 - first) / (ends[-1] - ends[first])


def bare_rate(chips: Path, config: Config, steps: int) -> float:
    """Return steps per second of forward, loss, backward and optimizer on one batch in memory."""
    plan = plan_training(open_chips(chips), config)
    task = SegmentationTask(
        plan.network,
        config,
        plan.reader.classes,
        augmenter=plan.augmenter,
        steps=plan.steps,
        run="",
    ).to(plan.device)
    task.train()
    optimizer = torch.optim.AdamW(task.network.parameters(), lr=1e-4)
    names = plan.splits["train"][: config.batch]
    image = torch.stack([plan.reader.read(name).image for name in names]).to(plan.device)
    image = image.contiguous(memory_format=torch.channels_last)
    label = torch.stack([plan.reader.read(name).label for name in names]).to(plan.device)
    kind, bf16 = torch.device(plan.device).type, plan.precision == "bf16"
    began = 0.0
    for step in range(-3, steps):
        if step == 0:
            _wait(kind)
            began = time.perf_counter()
        with torch.autocast(kind, torch.bfloat16, enabled=bf16):
            loss = task.loss(task(image), label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    _wait(kind)
    return steps / (time.perf_counter() - began)


def _wait(kind: str) -> None:
    if kind == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Measure each network."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--networks", nargs="+", default=["unet-same", "smp/unet/resnet34"])
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--chips", type=int, help="written; shown several times for all the steps")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="auto")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--on-disk", action="store_true", help="as chips that memory cannot hold")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        needed = given.steps * given.batch
        written = given.chips or needed
        chips = write_chips(Path(scratch) / "chips", written)
        for network in given.networks:
            config = Config(
                network=network,
                network_settings={} if network.startswith("smp/") else {"base_width": 32},
                epochs=2,
                repeats=-(-needed // written),
                batch=given.batch,
                workers=given.workers,
                device=given.device,
                precision=given.precision,
            )
            loops, bares = [], []
            for _ in range(given.rounds):
                bares.append(bare_rate(chips, config, given.steps))
                loops.append(loop_rate(chips, config, Path(scratch) / "run", on_disk=given.on_disk))
            loop, bare = max(loops), max(bares)
            found = {
                "network": network,
                "batch": given.batch,
                "on_disk": given.on_disk,
                "loop_steps_per_s": round(loop, 3),
                "bare_steps_per_s": round(bare, 3),
                "ratio": round(loop / bare, 3),
                "spread": round(float(np.ptp(loops) / loop), 3),
            }
            sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()

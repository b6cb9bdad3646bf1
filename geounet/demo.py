"""The whole way on a coast that never was: the commands that a user would type, and their scores.

OUT/scenes/   scenes to train on and one to test on, with their exact waterlines
OUT/chips/    what `tile` makes of the first
OUT/run/      what `train` makes of the chips
OUT/out/      what `predict` makes of the test scene, with its scores
OUT/ndwi/     the same scene the classical way, by `baseline`, with its scores
"""

import json
import math
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from geounet.errors import GeounetError, OutputError
from geounet.progress import Progress, silent
from geounet.synthetic import CoastSettings, write_coast

MIN_IOU = 0.985
MAX_MEDIAN_PX = 0.20
MAX_MEDIAN_SHARE = 0.5
"""Of NDWI-Otsu's median distance."""
MAX_BIAS_PX = 0.05

TEST = "test"
"""Name of the scene that is predicted."""

Say = Callable[[str], None]
Run = Callable[[Sequence[str]], None]


@dataclass(frozen=True)
class DemoSettings:
    """How large the demo is."""

    seed: int = 0
    """Other seeds, other coasts; the test scene's is none of the training scenes'."""
    train_scenes: int = 3
    train_px: int = 1152
    """Side of a training scene."""
    test_px: int = 1152
    chip_px: int = 64
    train_settings: tuple[str, ...] = ()
    """What differs from the recipe `demo`: `key=value`."""


class Step(NamedTuple):
    """One command of the demo."""

    purpose: str
    arguments: tuple[str, ...]
    """What follows `geounet`."""

    @property
    def line(self) -> str:
        """What to paste."""
        return shlex.join(("geounet", *self.arguments))


class Scores(NamedTuple):
    """How well a waterline was found on the test scene."""

    water_iou: float
    median_px: float
    """Distance from the predicted to the exact line."""
    mean_signed_px: float
    """Positive where the line lies in the water."""


class Target(NamedTuple):
    """One thing that the network has to reach."""

    quantity: str
    network: str
    ndwi: str
    asked: str
    met: bool


def run_child(arguments: Sequence[str]) -> None:
    """Run a command of geounet as a process of its own, which says what it has to say.

    Raises:
        GeounetError: It failed.
    """
    ended = subprocess.run([sys.executable, "-m", "geounet_cli", *arguments], check=False)
    if ended.returncode:
        raise GeounetError(
            f"geounet {arguments[0]} ended with status {ended.returncode}, for the reason above; "
            "the demo stops here."
        )


def run_demo(
    out: Path,
    settings: DemoSettings,
    *,
    overwrite: bool,
    say: Say,
    progress: Progress = silent,
    run: Run = run_child,
) -> list[Target]:
    """Make scenes, then tile, train, predict and evaluate with the very commands.

    Args:
        out: Folder for all of it.
        settings: How large.
        overwrite: Whether an earlier demo may be replaced.
        say: Told what happens, a line or a few at a time.
        progress: Told of the windows of the scenes.
        run: Runs a command, given what follows `geounet`; by default as a process of its own.

    Returns:
        What was asked of the network, and whether it was met.

    Raises:
        OutputError: `out` is there already, or cannot be written.
        GeounetError: A command failed.
    """
    if not overwrite and out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise OutputError(f"{out} exists already. Use --overwrite to replace it, or another --out.")
    started = time.monotonic()
    say("# Make scenes of coasts that never were, with their exact waterlines")
    for name, coast in plan_scenes(settings).items():
        path = out / "scenes" / f"{name}.tif"
        write_coast(path, coast, overwrite=overwrite, progress=progress)
        say(f"{path}: {coast.height} × {coast.width} pixels, seed {coast.seed}")
    for step in plan_steps(out, settings, overwrite=overwrite):
        say(f"\n# {step.purpose}\n{step.line}")
        run(step.arguments)
    targets = judge(network=_read_scores(out / "out"), ndwi=_read_scores(out / "ndwi"))
    say(f"\n{format_targets(targets)}\n\nAll of it took {time.monotonic() - started:.0f} s.")
    say(what_to_open(out))
    return targets


def plan_scenes(settings: DemoSettings) -> dict[str, CoastSettings]:
    """Return what scenes to make, by name; none shares ground or noise with another."""
    names = [f"train{i + 1}" for i in range(settings.train_scenes)]
    sides = [settings.train_px] * settings.train_scenes + [settings.test_px]
    return {
        name: CoastSettings(
            height=side,
            width=side,
            seed=settings.seed * len(sides) + i,
            upper_left=(300_000.0 + 100_000 * i, 5_500_020.0),
        )
        for i, (name, side) in enumerate(zip([*names, TEST], sides, strict=True))
    }


def plan_steps(out: Path, settings: DemoSettings, *, overwrite: bool) -> Iterator[Step]:
    """Yield the commands, in order."""
    scenes = [str(out / "scenes" / name) for name in plan_scenes(settings)]
    *train, test = scenes
    chips, run, predicted, ndwi = (str(out / name) for name in ("chips", "run", "out", "ndwi"))
    anew = ("--overwrite",) if overwrite else ()
    labels = [part for scene in train for part in ("--labels", f"{scene}_truth.gpkg|water")]
    shares = ("--val", "0.15", "--test", "0")  # the test is on a scene of its own
    changed = [part for change in settings.train_settings for part in ("--set", change)]
    model = f"{run}/model.safetensors"
    truth = [
        part
        for layer in ("water", "waterline")
        for part in ("--reference", f"{test}_truth.gpkg|{layer}")
    ]

    def step(purpose: str, command: str, *arguments: str) -> Step:
        return Step(purpose, (command, *arguments, *anew))

    images, size = [f"{scene}.tif" for scene in train], str(settings.chip_px)
    yield step(
        "Cut scenes and labels into chips",
        *("tile", *images, *labels, "--size", size, *shares, "--out", chips),
    )
    yield step(
        "Train a small U-Net on them",
        *("train", chips, "--config", "demo", *changed, "--out", run),
    )
    yield step(
        "Draw the waterline of a scene that it has not seen",
        *("predict", f"{test}.tif", "--model", model, "--out", predicted),
    )
    yield step("Hold it against the exact waterline", "evaluate", predicted, *truth)
    yield step(
        "The same scene the classical way",
        *("baseline", f"{test}.tif", "--index", "ndwi", "--out", ndwi),
    )
    yield step("And its scores", "evaluate", ndwi, *truth)


def judge(*, network: Scores, ndwi: Scores) -> list[Target]:
    """Hold the network's scores against what is asked of it."""
    most = min(MAX_MEDIAN_PX, MAX_MEDIAN_SHARE * ndwi.median_px)
    return [
        Target(
            "IoU of water",
            f"{network.water_iou:.4f}",
            f"{ndwi.water_iou:.4f}",
            f"at least {MIN_IOU}",
            network.water_iou >= MIN_IOU,
        ),
        Target(
            "median distance, pixels",
            f"{network.median_px:.3f}",
            f"{ndwi.median_px:.3f}",
            f"at most {MAX_MEDIAN_PX:.2f} and half of NDWI's",
            network.median_px <= most,
        ),
        Target(
            "mean signed distance, pixels",
            f"{network.mean_signed_px:+.3f}",
            f"{ndwi.mean_signed_px:+.3f}",
            f"within ±{MAX_BIAS_PX}",
            abs(network.mean_signed_px) <= MAX_BIAS_PX,
        ),
    ]


def format_targets(targets: Sequence[Target]) -> str:
    """Return the targets as a table in plain text."""
    rows = [("", "network", "NDWI-Otsu", "asked of the network")]
    rows += [target[:4] for target in targets]
    verdicts = ["", *("ok" if target.met else "MISSED" for target in targets)]
    return "\n".join(
        f"{quantity:<30}{network:>9}{ndwi:>11}   {asked:<34}{verdict}".rstrip()
        for (quantity, network, ndwi, asked), verdict in zip(rows, verdicts, strict=True)
    )


def what_to_open(out: Path) -> str:
    """Return what to look at in QGIS."""
    return (
        f"\nOpen {out / 'out' / TEST}.qgz in QGIS: the predicted coastline over the scene.\n"
        f"Drag {out / 'scenes' / TEST}_truth.gpkg onto it for the exact waterline, and "
        f"{out / 'ndwi' / TEST}.gpkg for NDWI's."
    )


def _read_scores(folder: Path) -> Scores:
    """Return what `evaluate` wrote beside a result."""
    scores = json.loads((folder / f"{TEST}.scores.json").read_text())
    water_iou = scores["pixels"]["per_class"]["water"]["iou"]
    distances = scores["lines"]["predicted"]["pixels"]
    # None where there is nothing to measure: no line near the exact one.
    numbers = (water_iou, distances["median"], distances["mean_signed"])
    return Scores(*(math.nan if number is None else number for number in numbers))

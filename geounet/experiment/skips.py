"""What skips and varied chips are worth on a user's own chips, with few of them and with all.

Each network is trained with and without variation, on some counts of chips, from several seeds,
for the same number of steps, and scored on the test split. There is no validation: the last
weights count, so that no network stops earlier or sees more labels than another.

OUT/plan.json     what was asked; --resume wants the same
OUT/runs/         a folder for each training, as `train` makes it, less its checkpoints
OUT/lists/        the chips that each training left out
OUT/skips.png     scores by number of chips
OUT/skips.json    all scores; last
"""

import json
import logging
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from geounet.chipset import ChipSet, read_exclusions
from geounet.config import AugmentSettings, Config, load_network, restores_bands
from geounet.dataset import NO_VALIDATION, load_chips, scoring_batches
from geounet.engine import choose_device
from geounet.errors import ConfigError, OutputError
from geounet.experiment.figures import draw_skips
from geounet.experiment.scoring import (
    COMPARED,
    compared,
    count_batches,
    known_chips,
    open_chip_set,
    reader_for,
    spread_of,
)
from geounet.metrics import all_figures, as_record
from geounet.model_file import load_model
from geounet.outputs import only_run, stage_file, stage_set
from geounet.progress import Progress, silent
from geounet.train import train_model
from geounet.training_plan import plan_training

logger = logging.getLogger(__name__)

FORMAT = 1
"""Of `skips.json`."""
PLAN = "plan.json"
SCORES = "scores.json"
"""Written into a training's folder when it is done."""
LAST = "checkpoints/last.ckpt"
MOST_OF_AN_EPOCH = 0.1
"""Share of all steps that an epoch has at most, for a checkpoint to go on from after each."""
CLOSE_ENOUGH = 0.01
"""Share of the steps by which trainings on other numbers of chips may differ."""
NOT_VARIED = AugmentSettings(flips=False, rotations=False)


@dataclass(frozen=True)
class SkipSettings:
    """Which trainings are compared."""

    networks: tuple[str, ...] = ("no-skip", "fcn-add", "unet-same")
    counts: tuple[int | None, ...] = (5, 20, None)
    """Training chips; None is all."""
    seeds: int = 3
    """Trainings of each kind; they differ in their start, in their order, and in which of the chips
    they are given."""
    steps: int = 2000
    """Of each training, as nearly as whole epochs allow."""


class Length(NamedTuple):
    """How long a training is."""

    epochs: int
    repeats: int
    """How often an epoch shows each chip."""
    steps: int
    """Of all epochs together."""


class Run(NamedTuple):
    """One training."""

    network: str
    varied: bool
    chips: tuple[str, ...]
    """What it trains on."""
    seed: int
    length: Length

    @property
    def name(self) -> str:
        """Of its folder."""
        network = self.network.removesuffix(".yaml").replace("/", "-")
        varied = "varied" if self.varied else "as-they-are"
        return f"{network}_{len(self.chips)}_{varied}_{self.seed}"

    @property
    def told(self) -> str:
        """For people."""
        varied = "varied" if self.varied else "as they are"
        return f"{self.network}, {len(self.chips)} chips {varied}, seed {self.seed}"


class Plan(NamedTuple):
    """All trainings, and what they share."""

    folder: ChipSet
    config: Config
    settings: SkipSettings
    runs: list[Run]
    test: list[str]
    excluded: list[str]
    """Names in the user's list of chips to leave out."""

    @property
    def identity(self) -> dict[str, Any]:
        """What must be the same when the experiment is gone on with."""
        # Where and how fast it runs may change.
        free = {"workers", "device", "devices", "nodes", "precision", "compile", "checkpoint_every"}
        return {
            "chips": self.folder.info.fingerprint,
            "settings": json.loads(json.dumps(asdict(self.settings))),
            "config": self.config.model_dump(mode="json", exclude=free),
        }


def run_skips(
    chips: Path,
    out: Path,
    config: Config,
    settings: SkipSettings,
    *,
    resume: bool = False,
    overwrite: bool = False,
    exclude: Path | None = None,
    progress: Progress = silent,
) -> dict[str, Any]:
    """Train all networks on all numbers of chips, and score them on the test split.

    Args:
        chips: Chip folder, as `tile` makes them, or the folder of SWED.
        out: Folder for trainings and results; see the module's text.
        config: How to train; `network`, `epochs` and `repeats` are chosen here, `seed` is the first
            one's, and `augment` that of the varied trainings.
        settings: Which trainings.
        resume: Whether to go on with what is in `out`; trainings that are done are kept.
        overwrite: Whether to replace an experiment that is in `out`.
        exclude: A list of chips to leave out altogether; see `read_exclusions`.
        progress: Told of the trainings.

    Returns:
        What is in skips.json.

    Raises:
        ChipsError: The chips are damaged, or there are none to train on, or to test.
        ConfigError: Settings, recipe and chips do not go together.
        OutputError: `out` exists already, or cannot be written.
    """
    if resume and overwrite:
        raise ValueError("an experiment is either resumed or overwritten")
    with only_run(out.resolve().parent, out.resolve().name):
        _check_out(out, resume=resume, overwrite=overwrite)
        excluded = [] if exclude is None else read_exclusions(exclude)
        folder = open_chip_set(chips, excluded, progress)
        with _quiet():
            plan = plan_skips(folder, config, settings, excluded=excluded)
            _begin(out, plan, resume=resume)
            try:
                rows, seconds = _do(chips, out, plan, progress)
            except KeyboardInterrupt:
                logger.warning("The same command with --resume goes on with what is left.")
                raise
        record = {
            "format": FORMAT,
            "experiment": "skips",
            **plan.identity,
            "test_chips": len(plan.test),
            "summary": summarise(rows),
            "runs": rows,
            "timings": {"seconds": seconds},
        }
        with stage_set(out, "skips", overwrite=True) as (stage, kept):
            draw_skips(record["summary"], rows, stage.path(".png"))
            kept.update(record)
    return record


def plan_skips(
    folder: ChipSet, config: Config, settings: SkipSettings, *, excluded: Sequence[str] = ()
) -> Plan:
    """Return the trainings, all checked that can be before the first begins.

    Args:
        folder: The chips, less those that are left out.
        config: How to train.
        settings: Which trainings.
        excluded: What was left out, which each training has to leave out again.

    Raises:
        ChipsError: There are too few chips.
        ConfigError: Settings, recipe and chips do not go together.
    """
    train, test = known_chips(folder, "train"), known_chips(folder, "test")
    counts = sorted({len(train) if count is None else count for count in settings.counts})
    if counts[-1] > len(train):
        raise ConfigError(
            f"Trainings on {counts[-1]} chips are asked for, and {folder.path} has {len(train)} "
            "training chips with known labels. Use fewer, as in --counts 5,all."
        )
    if config.augment.model_dump() == NOT_VARIED.model_dump():
        raise ConfigError(
            "`augment` of the recipe varies nothing, so that there is nothing to compare. Use "
            "--set augment.flips=true, or --config skips."
        )
    if config.accumulate > 1 or config.sampling != "each":
        raise ConfigError(
            "The experiment counts steps of single batches, each chip equally often. Leave "
            "`accumulate` and `sampling` out of the recipe."
        )
    # Equally many in each step, however few there are in all.
    config = config.model_copy(update={"batch": min(config.batch, counts[0])})
    for network in settings.networks:
        if restores_bands(load_network(network, config.network_settings)):
            raise ConfigError(f"Network {network} finds no classes. Leave it out of --networks.")
    most = plan_length(counts[-1], config.batch, settings.steps)
    if most.steps != settings.steps:
        logger.info(
            "%d steps of each training, not %d: that is %d whole epochs of %d chips.",
            *(most.steps, settings.steps, most.epochs, counts[-1]),
        )
    lengths = {count: plan_length(count, config.batch, most.steps) for count in counts}
    seeds = range(config.seed, config.seed + settings.seeds)
    drawn = {seed: draw_chips(folder, train, seed) for seed in seeds}
    runs = [
        Run(network, varied, tuple(sorted(drawn[seed][:count])), seed, lengths[count])
        for count in counts
        for network in settings.networks
        for varied in (False, True)
        for seed in seeds
    ]
    plan = Plan(folder, config, settings, runs, test, list(excluded))
    for run in {run.network: run for run in runs}.values():
        plan_training(folder, _recipe(plan, run))
    return plan


def plan_length(chips: int, batch: int, steps: int) -> Length:
    """Return the epochs that come nearest to a number of steps, as few as serve.

    With few chips an epoch repeats them: a checkpoint and a line of the log follow each.

    Args:
        chips: Training chips.
        batch: Chips per step, no more than `chips`.
        steps: How many are wanted.
    """

    def length(repeats: int) -> Length:
        of_epoch = -(-chips * repeats // batch)
        epochs = max(round(steps / of_epoch), 1)
        return Length(epochs, repeats, epochs * of_epoch)

    most = max(int(MOST_OF_AN_EPOCH * steps) * batch // chips, 1)
    lengths = [length(repeats) for repeats in range(1, most + 1)]
    nearest = min(abs(one.steps - steps) for one in lengths)
    allowed = max(nearest, CLOSE_ENOUGH * steps)
    close = [one for one in lengths if abs(one.steps - steps) <= allowed]
    return min(close, key=lambda one: (one.epochs, abs(one.steps - steps)))


def draw_chips(folder: ChipSet, names: Sequence[str], seed: int) -> list[str]:
    """Return chips in the order in which a training is given them, as many as it is to have.

    Those with coast come first, at random, and the others after them: five chips of open water
    teach nothing, with skips or without.
    """
    rng = np.random.default_rng([seed, len(names)])
    mixed = [names[i] for i in rng.permutation(len(names))]
    coast_m = folder.index.set_index("chip")["coast_m"]
    return sorted(mixed, key=lambda name: not coast_m[name] > 0)  # stable


def _recipe(plan: Plan, run: Run) -> Config:
    """Return how a training is done."""
    config = plan.config
    return config.model_copy(
        update={
            "network": run.network,
            "augment": config.augment if run.varied else NOT_VARIED,
            "epochs": run.length.epochs,
            "repeats": run.length.repeats,
            "seed": run.seed,
        }
    )


def _check_out(out: Path, *, resume: bool, overwrite: bool) -> None:
    """Refuse to touch what is there unless told to."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return
    if not (out / PLAN).is_file():
        raise OutputError(
            f"{out} holds other files than an experiment (no {PLAN}), so it is not touched. Give "
            "another --out."
        )
    if not resume and not overwrite:
        raise OutputError(
            f"{out} exists already. Use --overwrite to replace it, --resume to go on with it, or "
            "another --out."
        )


def _begin(out: Path, plan: Plan, *, resume: bool) -> None:
    """Clear what is replaced, or see that it may be gone on with; write down what is asked."""
    if resume and (out / PLAN).is_file():
        try:
            before = json.loads((out / PLAN).read_text(encoding="utf-8"))
            changed = [key for key, value in plan.identity.items() if before[key] != value]
        except (OSError, ValueError, KeyError, TypeError):
            raise OutputError(f"{out / PLAN} is damaged. Start again with --overwrite.") from None
        if changed:
            raise ConfigError(
                f"{out} is of an experiment with other {' and '.join(changed)}. Resume with the "
                "same, or start again with --overwrite."
            )
        return
    with stage_file(out / PLAN) as draft:
        for file in ("skips.json", "skips.png"):
            (out / file).unlink(missing_ok=True)
        for folder in ("runs", "lists"):
            shutil.rmtree(out / folder, ignore_errors=True)
        draft.write_text(json.dumps(plan.identity, indent=1) + "\n", encoding="utf-8")


def _do(
    chips: Path, out: Path, plan: Plan, progress: Progress
) -> tuple[list[dict[str, Any]], dict[str, float]]:
    """Do all trainings that are not done; return the scores of all, and the seconds they took."""
    rows, seconds = [], {}
    runs = progress(plan.runs, label="trainings", total=len(plan.runs))
    for number, run in enumerate(runs, start=1):
        row, seconds[run.name] = _train_and_score(chips, out, plan, run)
        rows.append(row)
        scores = "; ".join(f"{COMPARED[s]} {_number(v)}" for s, v in row["scores"].items())
        logger.info("%d/%d %s: %s", number, len(plan.runs), run.told, scores)
    return rows, seconds


def _train_and_score(chips: Path, out: Path, plan: Plan, run: Run) -> tuple[dict[str, Any], float]:
    """Train and score, unless that is done; return the scores and the seconds it took."""
    folder = out / "runs" / run.name
    if (folder / SCORES).is_file():
        done = json.loads((folder / SCORES).read_text(encoding="utf-8"))
        return done["row"], done["seconds"]
    started = time.monotonic()
    others = {*plan.folder.index["chip"]} - {*run.chips, *plan.test}
    unseen = [*plan.excluded, *sorted(others)]
    listed = out / "lists" / f"{len(run.chips)}_{run.seed}.txt"
    if unseen and not listed.is_file():
        with stage_file(listed) as draft:
            draft.write_text("\n".join([*unseen, ""]), encoding="utf-8")
    begun = (folder / LAST).is_file()
    model = train_model(
        chips,
        _recipe(plan, run),
        folder,
        resume=begun,
        overwrite=not begun,
        exclude=listed if unseen else None,
    )
    row = {
        "network": run.network,
        "varied": run.varied,
        "chips": len(run.chips),
        "seed": run.seed,
        "steps": run.length.steps,
        **score_model(model, plan.folder, plan.test, device=choose_device(plan.config.device)),
    }
    seconds = round(time.monotonic() - started, 1)
    with stage_file(folder / SCORES) as draft:
        draft.write_text(json.dumps({"row": row, "seconds": seconds}, indent=1), encoding="utf-8")
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # three times the size of the weights
    return row, seconds


def score_model(
    model: Path, folder: ChipSet, names: Sequence[str], *, device: str
) -> dict[str, Any]:
    """Return the scores of a model file on chips: those compared, and all there are, by class."""
    header, network = load_model(model)
    network = network.to(device).eval()
    reader = reader_for(folder, header, network)
    (loaded,) = load_chips(reader, [names])
    batches = scoring_batches(loaded, batch=8, workers=0, pin=False)
    figures = all_figures(
        count_batches(network, batches, reader.classes, device), [c.name for c in reader.classes]
    )
    weights = sum(weight.numel() for weight in network.parameters())
    return {
        "weights": weights,
        "scores": compared(figures, [c.name for c in reader.classes]),
        "all_scores": as_record(figures),
    }


def summarise(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return what trainings that differ in nothing but the seed came to.

    Args:
        rows: Of single trainings, in order.

    Returns:
        For each kind of training mean, standard deviation (None of a single one), least and
        greatest of each score; None where a training has none.
    """
    kinds: dict[tuple[str, bool, int], list[Mapping[str, Any]]] = {}
    for row in rows:
        kinds.setdefault((row["network"], row["varied"], row["chips"]), []).append(row)
    summary = []
    for (network, varied, chips), members in kinds.items():
        scores = {score: spread_of([row["scores"][score] for row in members]) for score in COMPARED}
        one = {"network": network, "varied": varied, "chips": chips, "seeds": len(members)}
        summary.append(one | {"steps": members[0]["steps"], "scores": scores})
    return summary


def format_skips(record: Mapping[str, Any]) -> str:
    """Return the scores as a table in plain text: mean ± standard deviation over the seeds."""
    shown = ("iou", "boundary_f1", "boundary_iou")
    widths = max(len(row["network"]) for row in record["summary"])
    heads = "".join(f"  {COMPARED[score]:<21}" for score in shown)
    lines = [f"chips  {'network':<{widths}}  varied{heads}".rstrip()]
    for row in record["summary"]:
        cells = "".join(f"  {_told(row['scores'][score]):<21}" for score in shown)
        varied = "yes" if row["varied"] else "no"
        lines.append(f"{row['chips']:>5}  {row['network']:<{widths}}  {varied:<6}{cells}".rstrip())
    return "\n".join(lines)


def _told(spread: Mapping[str, float | None]) -> str:
    if spread["sd"] is None:
        return _number(spread["mean"])
    return f"{_number(spread['mean'])} ± {spread['sd']:.4f}"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


class _Once(logging.Filter):
    """Lets warnings pass the first time that they are said, and errors always."""

    def __init__(self) -> None:
        super().__init__()
        self.said: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        # What `train` warns of is how to go on with one training, and here there are many. Chips
        # for validation may be there, and are left out.
        of_one = record.name == train_model.__module__ or record.msg == NO_VALIDATION
        if record.levelno < logging.WARNING or of_one or message in self.said:
            return False
        self.said.add(message)
        return True


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep trainings from telling of every epoch, and from saying what all of them would say."""
    names = [name for name in logging.root.manager.loggerDict if name.startswith("geounet.")]
    loggers = [logging.getLogger(name) for name in names if name != __name__]
    once = _Once()
    for one in loggers:
        one.addFilter(once)
    try:
        yield
    finally:
        for one in loggers:
            one.removeFilter(once)

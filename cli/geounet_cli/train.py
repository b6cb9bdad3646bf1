"""geounet train."""

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from geounet_cli.options import Overwrite

if TYPE_CHECKING:
    from geounet.model_file import ModelHeader


def train(
    chips: Annotated[
        Path,
        typer.Argument(
            help="Chip folder, as `geounet tile` makes it, or the folder of SWED.",
            show_default=False,
        ),
    ],
    config: Annotated[
        str,
        typer.Option(
            help="Recipe: a name that `geounet configs` lists, or a path ending in .yaml.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path,
        typer.Option(
            help="Folder for model.safetensors, figures, logs and checkpoints.", show_default=False
        ),
    ],
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a setting of the recipe, dots for nested ones: --set epochs=50 "
            "--set loss.dice=0. May be repeated.",
            show_default=False,
        ),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="Model file to start from: all of its weights, or its encoder's where the "
            "networks differ in the rest. Bands go by name; other classes get a new head.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on after the last checkpoint of a run that was interrupted."
        ),
    ] = False,
    checkpoint_every: Annotated[
        int | None,
        typer.Option(
            min=1,
            metavar="STEPS",
            help="Write a checkpoint to go on from every so many steps, besides each epoch's.",
            show_default=False,
        ),
    ] = None,
    devices: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="GPUs of this machine that train together; the batch is divided among them.",
            show_default=False,
        ),
    ] = None,
    nodes: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Machines that train together: the same command on each, with NODE_RANK, "
            "MASTER_ADDR and MASTER_PORT in the environment.",
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
    exclude: Annotated[
        Path | None,
        typer.Option(
            help="Text file with the names of chips to leave out, one per line.",
            show_default=False,
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Licence of the weights, for model file and card: --licence CC-BY-4.0.",
            show_default=False,
        ),
    ] = None,
    notes: Annotated[
        list[str] | None,
        typer.Option(
            "--note",
            metavar="TEXT",
            help="What users should know, for model file and card: --note 'Never saw ice.' May be "
            "repeated.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Train a network on chips, into one model file.

    Writes OUT/model.safetensors, with the card OUT/MODEL.md, curves and pictures of validation
    chips beside it. Prints its path, its scores with their 95 % intervals, and what to do next.

    Example: geounet train chips/ --config coast --out run/
    """
    if resume and overwrite:
        raise typer.BadParameter("give --resume or --overwrite, not both")
    from geounet.config import load_config

    given = {"checkpoint_every": checkpoint_every, "devices": devices, "nodes": nodes}
    changed = [f"{name}={value}" for name, value in given.items() if value is not None]
    changed += [] if start is None else [f"start={json.dumps(str(start))}"]
    recipe = load_config(config, [*(settings or ()), *changed])
    from geounet.model_file import read_header  # imports torch: only when needed
    from geounet.train import train_model
    from geounet_cli.console import progress

    model = train_model(
        chips,
        recipe,
        out,
        resume=resume,
        overwrite=overwrite,
        exclude=exclude,
        licence=licence,
        notes=notes or (),
        progress=progress,
    )
    typer.echo(format_training(model, read_header(model)))


def format_training(model: Path, header: "ModelHeader") -> str:
    """Return what came of a training: the files, the scores, and what to do next."""
    restores = any("rmse" in of_split for of_split in header.training["scores"].values())
    table = _restoring_table(header) if restores else _table(header)
    use = "train CHIPS --config coast --from" if restores else "predict SCENE --model"
    command = f"geounet {use} {shlex.quote(str(model))} --out out/"
    told = [] if restores else _facts(header)
    rows = [*told, ("card", str(model.with_name("MODEL.md")))]
    facts = "\n".join(f"{name:<24}{value}" for name, value in rows)
    return f"{model}\n\n{table}\n\n{facts}\n\nNext: {command}"


def _table(header: "ModelHeader") -> str:
    """Return the scores of a model that tells classes, a column per split, 80 characters wide."""
    scores = _splits(header)
    if not scores:
        return "No validation or test chips: how good it is, is not known."
    from geounet.metrics import ALL_WATER  # imports torch, which training has done

    classes = header.label_classes
    names = [one.name for one in classes] + [ALL_WATER] * (len(classes) > 2)
    water = names[-1] if len(classes) > 2 else next(one.name for one in classes if one.water)
    rows: list[tuple[str, tuple[str, ...]]] = [
        *((f"IoU {name}", ("iou", name)) for name in names),
        (f"F1 {water}", ("f1", water)),
        ("boundary IoU at 2 px", ("boundary_iou", "2", water)),
        ("boundary F1 at 2 px", ("boundary_f1", "2", water)),
        ("calibration error", ("calibration_error",)),
    ]
    width = 24
    counts = [f"{of['chips']} in {of['blocks']}" for of in scores.values()]
    lines = [
        "".join([f"{title:<{width}}", *(f"{cell:<28}" for cell in cells)])
        for title, cells in (("", scores), ("chips in blocks", counts))
    ]
    for title, keys in rows:
        cells = [f"{_with_interval(of, keys):<28}" for of in scores.values()]
        lines.append("".join([f"{title[: width - 2]:<{width}}", *cells]))
    lines.append("In brackets: 95 % of draws of blocks; none where there are fewer than 3 blocks.")
    return "\n".join(line.rstrip() for line in lines)


def _splits(header: "ModelHeader") -> dict[str, Any]:
    """Return the scores of each split that was judged."""
    found = header.training["scores"]
    return {split: found[split] for split in ("val", "test") if split in found}


def _with_interval(scores: Mapping[str, Any], keys: Sequence[str]) -> str:
    """Return a score with the interval that it lies in."""
    value, interval = scores, scores["interval"]
    for key in keys:
        value, interval = value[key], interval and interval[key]
    told = "–" if value is None else f"{value:.4f}"
    return f"{told} ({interval[0]:.3f}–{interval[1]:.3f})" if interval else told


def _facts(header: "ModelHeader") -> list[tuple[str, str]]:
    """Return what the validation chips say of the line and the threshold."""
    error, best = header.position_u95_m, header.suggested_threshold
    position = "not known" if error is None else f"{error:.1f} m, 95 % of the line on val"
    suggested = "none" if best is None else f"{best:g} on val; predict takes 0.5 unless told"
    return [("position_u95_m", position), ("suggested threshold", suggested)]


def _restoring_table(header: "ModelHeader") -> str:
    """Return the errors of a network that gives back its bands."""
    rows = [f"{'split':<8}{'band':<12}{'RMSE':>8}  reflectance"]
    for split, of_split in _splits(header).items():
        rows += [f"{split:<8}{band:<12}{rmse:8.4f}" for band, rmse in of_split["rmse"].items()]
    return "\n".join(rows)

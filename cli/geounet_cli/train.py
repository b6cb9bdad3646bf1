"""geounet train."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
        typer.Option(help="Licence of the weights, to record in the model file: CC-BY-4.0."),
    ] = None,
) -> None:
    """Train a network on chips, into one model file.

    Writes OUT/model.safetensors, with curves and pictures of validation chips beside it. Prints
    its path and how well it finds each class.

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
        progress=progress,
    )
    typer.echo(model)
    typer.echo(_table(read_header(model)))


def _table(header: "ModelHeader") -> str:
    """Return the scores of a model, a line per split and class."""
    found = header.training["scores"]
    if any("rmse" in of_split for of_split in found.values()):
        rows = [f"{'split':<8}{'band':<12}{'RMSE':>8}  reflectance"]
        for split in ("val", "test"):
            bands = found[split]["rmse"] if split in found else {}
            rows += [f"{split:<8}{band:<12}{rmse:8.4f}" for band, rmse in bands.items()]
        return "\n".join(rows)
    lines = [f"{'split':<8}{'class':<12}{'IoU':>8}{'F1':>8}"]
    for split in ("val", "test"):
        scores = found.get(split, {"iou": {}})
        for name, iou in scores["iou"].items():
            numbers = (iou, scores["f1"][name])
            told = "".join("       –" if n is None else f"{n:8.4f}" for n in numbers)
            lines.append(f"{split:<8}{name:<12}{told}")
    return "\n".join(lines) if len(lines) > 1 else "no validation or test chips to score"

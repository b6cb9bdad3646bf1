"""geounet experiment: skips, bands."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from geounet_cli.console import progress
from geounet_cli.options import Overwrite

Chips = Annotated[
    Path,
    typer.Argument(
        help="Chip folder, as `geounet tile` makes it, or the folder of SWED; with a test split.",
        show_default=False,
    ),
]
Out = Annotated[Path, typer.Option(help="Folder for the results.", show_default=False)]
Exclude = Annotated[
    Path | None,
    typer.Option(
        help="Text file with the names of chips to leave out, one per line.", show_default=False
    ),
]


def counts_from_text(text: str) -> tuple[int | None, ...]:
    """Return what `--counts` was given; None is all."""
    parts = [part.strip() for part in text.split(",")]
    if not all(part == "all" or (part.isdecimal() and int(part)) for part in parts):
        raise typer.BadParameter(f"{text} is no list of numbers, from 1, and all: 5,20,all.")
    return tuple(None if part == "all" else int(part) for part in parts)


def skips(
    chips: Chips,
    out: Out,
    networks: Annotated[
        str, typer.Option(help="Networks to compare, by commas.")
    ] = "no-skip,fcn-add,unet-same",
    counts: Annotated[
        Any,
        typer.Option(
            parser=counts_from_text, metavar="N,…", help="Training chips; all is all there are."
        ),
    ] = "5,20,all",
    seeds: Annotated[int, typer.Option(min=1, help="Trainings of each kind.")] = 3,
    steps: Annotated[
        int, typer.Option(min=1, help="Of each training, as nearly as whole epochs allow.")
    ] = 2000,
    config: Annotated[
        str,
        typer.Option(
            help="Recipe: a name that `geounet configs` lists, or a path ending in .yaml. Its "
            "`augment` is that of varied chips."
        ),
    ] = "skips",
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change a setting of the recipe: --set network_settings.base_width=16. May be "
            "repeated.",
            show_default=False,
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with an experiment that was interrupted."),
    ] = False,
    overwrite: Overwrite = False,
    exclude: Exclude = None,
) -> None:
    """Measure what skips and varied chips are worth, with few chips and with many.

    Trains each network on each number of chips, varied and as they are, from several seeds, for
    the same number of steps, and scores it on the test split. Writes OUT/skips.json and
    OUT/skips.png, and each training's folder in OUT/runs. Prints mean ± standard deviation over
    the seeds.

    Example: geounet experiment skips chips/ --out skips/ --steps 500
    """
    if resume and overwrite:
        raise typer.BadParameter("give --resume or --overwrite, not both")
    from geounet.config import load_config

    recipe = load_config(config, settings or ())
    from geounet.experiment import SkipSettings, format_skips, run_skips  # imports torch: only now

    wanted = SkipSettings(
        networks=tuple(dict.fromkeys(name.strip() for name in networks.split(","))),
        counts=counts,
        seeds=seeds,
        steps=steps,
    )
    record = run_skips(
        chips,
        out,
        recipe,
        wanted,
        resume=resume,
        overwrite=overwrite,
        exclude=exclude,
        progress=progress,
    )
    typer.echo(format_skips(record))


def bands(
    model: Annotated[
        Path, typer.Argument(help="Model file, as `geounet train` makes it.", show_default=False)
    ],
    chips: Chips,
    out: Out,
    among: Annotated[
        Literal["pixels", "chips"],
        typer.Option(
            help="pixels: each gets the value of another of the split. chips: each gets the whole "
            "band of another, whose texture stays."
        ),
    ] = "pixels",
    repeats: Annotated[int, typer.Option(min=1, help="Shuffles of each band.")] = 5,
    seed: Annotated[int, typer.Option(min=0, help="Of the shuffles.")] = 0,
    batch: Annotated[int, typer.Option(min=1, help="Chips that are predicted at a time.")] = 8,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    overwrite: Overwrite = False,
    exclude: Exclude = None,
) -> None:
    """Measure what a model loses when one of its bands is shuffled, on the test split.

    Writes OUT/bands.json and OUT/bands.png. Prints how many points of accuracy, IoU and boundary
    F1 each band costs, mean ± standard deviation over the shuffles.

    Example: geounet experiment bands run/model.safetensors chips/ --out bands/
    """
    from geounet.experiment import BandSettings, format_bands, run_bands  # imports torch: only now

    record = run_bands(
        model,
        chips,
        out,
        BandSettings(among=among, repeats=repeats, seed=seed, batch=batch, device=device),
        overwrite=overwrite,
        exclude=exclude,
        progress=progress,
    )
    typer.echo(format_bands(record))


COMMANDS = (skips, bands)

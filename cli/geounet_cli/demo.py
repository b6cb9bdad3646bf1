"""geounet demo."""

from pathlib import Path
from typing import Annotated

import typer

from geounet_cli.console import progress
from geounet_cli.options import Overwrite


def demo(
    out: Annotated[Path, typer.Option(help="Folder for scenes, chips, model and results.")] = Path(
        "demo"
    ),
    seed: Annotated[int, typer.Option(min=0, help="Another one, other coasts.")] = 0,
    overwrite: Overwrite = False,
) -> None:
    """Try the whole way on a synthetic coast whose waterline is known exactly.

    Makes scenes, then runs tile, train, predict, evaluate and baseline, and prints each command
    for you to paste. Ends with the network's scores beside those of NDWI with Otsu's threshold;
    the status is not 0 if the network misses what is asked of it. About five minutes on two cores.

    Example: geounet demo --out demo
    """
    from geounet.demo import DemoSettings, run_demo  # imports rasterio: only when needed

    targets = run_demo(
        out, DemoSettings(seed=seed), overwrite=overwrite, say=typer.echo, progress=progress
    )
    if not all(target.met for target in targets):
        raise typer.Exit(1)

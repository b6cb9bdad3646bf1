"""geounet qgis."""

from pathlib import Path
from typing import Annotated

import typer

from geounet_cli import options
from geounet_cli.console import progress

STEPS = {"y": "years", "mon": "months", "d": "days", "h": "hours"}


def qgis(
    results: Annotated[
        list[Path],
        typer.Argument(
            help="Folders with results of predict, baseline or coastline, at any depth, or the "
            "NAME.json of one.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            help="The project to write, .qgz.",
            show_default="all_results.qgz in the first folder",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Title of the project.", show_default="the name of its file"),
    ] = None,
    crs: Annotated[
        str | None,
        typer.Option(
            help="CRS of the map, as EPSG:32617.", show_default="that of most of the results"
        ),
    ] = None,
    rasters: Annotated[
        bool,
        typer.Option(
            "--rasters/--no-rasters",
            help="Show pictures, masks and probabilities, too, or lines and areas alone.",
        ),
    ] = True,
    overwrite: options.Overwrite = False,
) -> None:
    """Make one QGIS project of many results, in which time plays.

    A group for each result, in order of time, with lines coloured by it. QGIS's temporal
    controller plays the years, or months, days or hours within one. Paths are relative: move
    project and results together. Prints what is in it, and its path.

    Example: geounet qgis out/ --out coast.qgz
    """
    from geounet.atlas import FILE_NAME, AtlasOptions, write_atlas  # imports rasterio: only now

    if out is None:
        first = results[0]
        out = (first.parent if first.is_file() else first) / FILE_NAME
    said = AtlasOptions(title=name, crs=crs, rasters=rasters, overwrite=overwrite)
    atlas = write_atlas(results, out, said, progress=progress)
    text = f"{atlas.results} result{'s' if atlas.results > 1 else ''}"
    if atlas.timeline is not None:
        days = dict.fromkeys(f"{time:%Y-%m-%d}" for time in (atlas.times[0], atlas.times[-1]))
        text += f" of {' to '.join(days)}"
        if len(set(atlas.times)) > 1:
            text += f"; time plays by {STEPS[atlas.timeline.unit]}"
    typer.echo(text)
    typer.echo(atlas.path)

"""geounet report."""

from pathlib import Path
from typing import Annotated

import typer

from geounet_cli import options
from geounet_cli.console import progress


def report(
    results: Annotated[
        Path,
        typer.Argument(
            help="Folder of results, at any depth if it holds none itself, or the NAME.json of "
            "one.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(help="The one result to draw, where the folder holds several."),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Draw a page of each result: map, histogram, unsure places, bands, areas, how it was made.

    Writes NAME_report.html, which needs no network, and NAME_quicklook.png beside each NAME.json,
    which lists them from then on; where a folder has several results, report.html leads to them.
    Prints the path of each page.

    Example: geounet report out/
    """
    from geounet.result_page import report_results  # imports bokeh and rasterio: only now

    for page in report_results(results, name=name, overwrite=overwrite, progress=progress):
        typer.echo(page)

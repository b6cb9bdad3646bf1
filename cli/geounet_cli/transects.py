"""geounet transects."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from geounet_cli.console import progress
from geounet_cli.options import Overwrite

CAST, LINES, TIDE = "Transects", "Coastlines", "Tide"


def figures_from_text(text: str) -> int | None:
    """Return how many figures `--figures` asks for; None for all."""
    if text in {"all", "none"}:
        return None if text == "all" else 0
    if not text.isdecimal():
        raise typer.BadParameter(f"{text} is neither a number nor all nor none.")
    return int(text)


def transects(
    coastlines: Annotated[
        list[str],
        typer.Argument(
            help="Folders of results, the NAME.json of one, or vector files with lines of any "
            "format and CRS; 'x.gpkg|coast' names a layer.",
            show_default=False,
        ),
    ],
    baseline: Annotated[
        str,
        typer.Option(
            metavar="LINE",
            help="Vector file with the line that transects start from, in any CRS.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the results; made if absent.", show_default=False)
    ],
    name: Annotated[str, typer.Option(help="What the results are called.")] = "transects",
    spacing: Annotated[
        float,
        typer.Option(min=0.01, help="Metres from one to the next.", rich_help_panel=CAST),
    ] = 100.0,
    length: Annotated[
        float, typer.Option(min=0.01, help="Metres of each.", rich_help_panel=CAST)
    ] = 500.0,
    side: Annotated[
        Literal["right", "left", "both"],
        typer.Option(
            help="Where the sea is as one walks along the baseline: right of geounet's own lines. "
            "both: half of the length on either side, with the sea on the right.",
            rich_help_panel=CAST,
        ),
    ] = "right",
    smooth_baseline: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="METRES",
            help="Length of the chord of the baseline that a transect is perpendicular to; 0 is "
            "its very edge.",
            show_default="the spacing",
            rich_help_panel=CAST,
        ),
    ] = None,
    pick: Annotated[
        Literal["first", "last", "nearest-median", "all"],
        typer.Option(
            help="Which crossing counts where a line crosses a transect several times: first from "
            "land, last, which is nearest to the sea, nearest to the median of all dates, or all "
            "(without rates).",
            rich_help_panel=LINES,
        ),
    ] = "last",
    kind: Annotated[
        str | None,
        typer.Option(
            help="Only lines of this kind, as sea.", show_default=False, rich_help_panel=LINES
        ),
    ] = None,
    time_field: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="Column of vector files with the time, ISO 8601, UTC where no zone is named.",
            show_default="time",
            rich_help_panel=LINES,
        ),
    ] = None,
    keep_suspect: Annotated[
        bool,
        typer.Option(
            "--keep-suspect",
            help="Take stretches that are cloud_suspect, too.",
            rich_help_panel=LINES,
        ),
    ] = False,
    slope: Annotated[
        str | None,
        typer.Option(
            metavar="NUMBER|COLUMN|CSV",
            help="Slope of the beach, rise over run, as 0.02 for 1:50; a column of the baseline; "
            "or a CSV file with the columns transect and slope.",
            show_default=False,
            rich_help_panel=TIDE,
        ),
    ] = None,
    datum: Annotated[
        float | None,
        typer.Option(
            help="Level that positions are brought to, metres in the vertical datum of the "
            "coastlines.",
            show_default=False,
            rich_help_panel=TIDE,
        ),
    ] = None,
    table_format: Annotated[
        Literal["csv", "parquet"], typer.Option("--format", help="Of the tables.")
    ] = "csv",
    figures: Annotated[
        Any,
        typer.Option(
            parser=figures_from_text,
            metavar="N|all|none",
            help="How many transects are drawn, spread along the coast, besides the overview.",
        ),
    ] = "12",
    overwrite: Overwrite = False,
) -> None:
    """Measure where coastlines cross transects of a baseline, and how fast they move.

    Writes transects with their rates as a layer, tables of positions and rates, and figures.
    Distances are geodesic, from the baseline, plus towards the sea. Prints what was found, and
    the path of the record.

    Example: geounet transects out/ --baseline base.gpkg --slope 0.05 --datum 0 --out moved/
    """
    if (slope is None) != (datum is None):
        raise typer.BadParameter("--slope and --datum go together: give both, or neither.")
    if name != Path(name).name:
        raise typer.BadParameter(f"--name {name} is a path. Give a name, and its folder as --out.")
    from geounet.transects import (  # imports geopandas: only when needed
        Casting,
        CoastlineOptions,
        Reduction,
        TransectSettings,
        measure_transects,
    )

    settings = TransectSettings(
        casting=Casting(spacing, length, side, smooth_baseline),
        coastlines=CoastlineOptions(time_field, kind),
        pick=pick,
        keep_suspect=keep_suspect,
        reduction=None if slope is None or datum is None else Reduction(slope, datum),
        format=table_format,
        figures=figures,
        name=name,
        overwrite=overwrite,
    )
    record = measure_transects(coastlines, baseline, out, settings, progress=progress)
    show_counts(json.loads(record.read_text(encoding="utf-8"))["counts"])
    typer.echo(record)


def show_counts(counts: dict[str, Any]) -> None:
    """Print what was found, in two lines."""
    dates = f"{counts['dates']} dates"
    if counts["dates"]:
        dates += f" ({counts['first'][:10]} to {counts['last'][:10]})"
    typer.echo(
        f"{counts['positions']} positions on {counts['transects_with_positions']} of "
        f"{counts['transects']} transects, {dates}"
    )
    if counts["rates"]:
        kind = "rates, uncorrected for tide" if counts["rates_uncorrected"] else "rates"
        typer.echo(
            f"{counts['rates']} {kind}, median {counts['median_rate']:+.2f} m/year; 95 % sure, "
            f"neighbouring dates being alike: {counts['advancing']} advance, "
            f"{counts['retreating']} retreat; {counts['outliers']} outliers, none removed"
        )

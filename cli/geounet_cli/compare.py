"""geounet compare."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from geounet_cli.options import Overwrite

MOVEMENT, AREA, TIDE = "Movement", "Area", "Tide"
KINDS = (
    "folder of a result, its NAME.json, or a vector file with polygons of water, lines, or both; "
    "'x.gpkg|coast' names a layer."
)


def compare(
    context: typer.Context,
    a: Annotated[
        str,
        typer.Argument(
            metavar="A", help=f"The earlier, or the reference: {KINDS}", show_default=False
        ),
    ],
    b: Annotated[
        str,
        typer.Argument(
            metavar="B", help="The later: the same, of any CRS and grid.", show_default=False
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the results; made if absent.", show_default=False)
    ],
    name: Annotated[str, typer.Option(help="What the results are called.")] = "compare",
    within: Annotated[
        Path | None,
        typer.Option(
            exists=True,
            metavar="POLYGONS",
            help="Compare only inside of these polygons, in any format and CRS.",
            show_default="where both have data",
        ),
    ] = None,
    keep_suspect: Annotated[
        bool,
        typer.Option("--keep-suspect", help="Count what is cloud_suspect on either date, too."),
    ] = False,
    kind: Annotated[
        str | None,
        typer.Option(
            help="Movement only of lines of this kind, as sea, where kinds are known; areas are "
            "of all water.",
            show_default=False,
            rich_help_panel=MOVEMENT,
        ),
    ] = None,
    step: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            metavar="METRES",
            help="From one point along A's coast to the next.",
            show_default="a pixel of the coarser; 10 without pixels",
            rich_help_panel=MOVEMENT,
        ),
    ] = None,
    max_distance: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            metavar="METRES",
            help="How far the coast may have moved; beyond, a point has no partner.",
            show_default="10 pixels",
            rich_help_panel=MOVEMENT,
        ),
    ] = None,
    min_area: Annotated[
        float | None,
        typer.Option(
            min=0,
            metavar="M2",
            help="Leave smaller changes out of the layer and the totals; their sum is said.",
            show_default="a pixel",
            rich_help_panel=AREA,
        ),
    ] = None,
    slope: Annotated[
        float | None,
        typer.Option(
            min=1e-4,
            max=10.0,
            help="Slope of the beach, rise over run, as 0.02 for 1:50: brings both to one level "
            "of water, where their levels are known.",
            show_default=False,
            rich_help_panel=TIDE,
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Compare two results or dates of a coast: land gained and lost, and how far it moved.

    Writes areas and movement as layers of a GeoPackage, a QGIS project, a table by kilometre of
    coast, and a figure. Plus is towards the sea. Prints what was found, and the path of the record.

    Example: geounet compare 2023/ 2024/ --out moved/
    """
    if name != Path(name).name:
        raise typer.BadParameter(f"--name {name} is a path. Give a name, and its folder as --out.")
    from geounet.compare import (  # imports geopandas: only when needed
        CompareSettings,
        compare_states,
    )

    settings = CompareSettings(
        step_m=step,
        max_distance_m=max_distance,
        min_area_m2=min_area,
        slope=slope,
        within=within,
        kind=kind,
        keep_suspect=keep_suspect,
        name=name,
        overwrite=overwrite,
        command_line=context.obj,
    )
    record = compare_states(a, b, out, settings)
    show_comparison(json.loads(record.read_text(encoding="utf-8")))
    typer.echo(record)


def show_comparison(record: dict[str, Any]) -> None:
    """Print the numbers of a comparison."""
    area, movement = record["area"], record["movement"]
    if area is not None:
        for kind in ("gained", "lost", "net"):
            per_km = area[f"{kind}_m2_per_km"]
            by_coast = "" if per_km is None else f"{per_km:14,.0f} m² per km of coast"
            sign = "+" if kind == "net" else ""
            typer.echo(f"{kind:<9}{area[f'{kind}_m2']:{sign}16,.0f} m²{by_coast}")
        small = area["gained_small_m2"] + area["lost_small_m2"]
        if number := area["gained_small_polygons"] + area["lost_small_polygons"]:
            least = record["measures"]["min_area_m2"]
            typer.echo(f"left out {small:16,.0f} m² in {number} changes under {least:,.4g} m²")
    matched, missing = movement["matched_m"] / 1000, movement["no_partner_m"] / 1000
    typer.echo(
        f"coast    {matched:.2f} km compared, {missing:.2f} km of it without a partner, "
        f"{movement['new_coast_m'] / 1000:.2f} km new"
    )
    signed = movement["median_m"] is not None
    for name in ("median_m", "mean_m") if signed else ("median_distance_m",):
        _show(name.removesuffix("_m").removesuffix("_distance"), movement, name, signed=signed)
    if signed and movement["seaward_share"] is not None:
        typer.echo(
            f"more than its uncertainty: {movement['seaward_share']:.0%} seaward, "
            f"{movement['landward_share']:.0%} landward"
        )


def _show(said: str, movement: dict[str, Any], name: str, *, signed: bool) -> None:
    value, interval = movement[name], movement["intervals"].get(name)
    if value is None:
        return
    sign = "+" if signed else ""
    sure = (
        "" if interval is None else f" (95 %: {interval[0]:{sign}.2f} to {interval[1]:{sign}.2f})"
    )
    rest = (", at one level of water" if movement["corrected"] else "") if signed else ", no sign"
    typer.echo(f"{said:<9}{value:{sign}.2f} m{sure}{rest}")

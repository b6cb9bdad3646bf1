"""geounet evaluate."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from geounet_cli.console import progress
from geounet_cli.options import Overwrite

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

REFERENCE = "Reference"
LINES = "Lines"
METRES_UP_TO = 31.0
"""Of larger pixels buffers are shown in pixels: 5 m would be a sixth of one."""


def evaluate(
    prediction: Annotated[
        Path,
        typer.Argument(
            help="Folder of results, the NAME.json of one, any mask raster, or lines or polygons "
            "of water ('x.gpkg|layer').",
            show_default=False,
        ),
    ],
    reference: Annotated[
        list[str],
        typer.Option(
            metavar="FILE",
            help="The truth: a raster, polygons or lines of any format and CRS; 'x.gpkg|water' "
            "names a layer. May be given twice: an area for pixel scores, lines for distances.",
            show_default=False,
        ),
    ],
    name: Annotated[
        str | None,
        typer.Option(help="Which result, where the folder holds several.", show_default=False),
    ] = None,
    mask_values: Annotated[
        str | None,
        typer.Option(
            help="What the values of a mask of someone else's mean. [default: 0=land,1=water]",
            show_default=False,
        ),
    ] = None,
    label_values: Annotated[
        str | None,
        typer.Option(
            help="What the values of a reference raster mean; 255 and nodata are unknown. "
            "[default: 0=land,1=water]",
            show_default=False,
            rich_help_panel=REFERENCE,
        ),
    ] = None,
    labels_are: Annotated[
        Literal["water", "land"] | None,
        typer.Option(
            help="What reference polygons are; the ground outside is the other. [default: water]",
            show_default=False,
            rich_help_panel=REFERENCE,
        ),
    ] = None,
    labels_layer: Annotated[
        str | None,
        typer.Option(help="Layer of the reference.", show_default=False, rich_help_panel=REFERENCE),
    ] = None,
    labels_where: Annotated[
        str | None,
        typer.Option(
            help="SQL condition that selects polygons or lines: \"kind = 'sea'\".",
            show_default=False,
            rich_help_panel=REFERENCE,
        ),
    ] = None,
    pixel: Annotated[
        float | None,
        typer.Option(
            min=0.001,
            help="What a pixel is to predicted lines or polygons, in metres: they bring none.",
            show_default=False,
        ),
    ] = None,
    within: Annotated[
        Path | None,
        typer.Option(help="Chip folder; only ground of its --split counts.", show_default=False),
    ] = None,
    split: Annotated[
        Literal["train", "val", "test"], typer.Option(help="Split of the chips of --within.")
    ] = "test",
    max_distance: Annotated[
        float,
        typer.Option(
            min=0.01,
            help="Lines further apart than this, in pixels, do not match.",
            rich_help_panel=LINES,
        ),
    ] = 5.0,
    step: Annotated[
        float,
        typer.Option(
            min=0.01, help="From point to point along each line, in pixels.", rich_help_panel=LINES
        ),
    ] = 1.0,
    kind: Annotated[
        str | None,
        typer.Option(
            help="Only predicted lines of this kind, such as sea; what of the reference lies "
            "beside others is left out too.",
            show_default=False,
            rich_help_panel=LINES,
        ),
    ] = None,
    exclude_cloud_suspect: Annotated[
        bool,
        typer.Option(
            "--exclude-cloud-suspect",
            help="Leave predicted lines along clouds out, and what of the reference lies beside "
            "them.",
            rich_help_panel=LINES,
        ),
    ] = False,
    block: Annotated[
        float,
        typer.Option(
            min=0.01,
            help="Side of the blocks of ground that are drawn for 95 % intervals, in kilometres.",
        ),
    ] = 1.0,
    seed: Annotated[int, typer.Option(min=0, help="Of these draws.")] = 0,
    json: Annotated[
        Path | None,
        typer.Option(
            help="Where the scores are written. [default: NAME.scores.json beside the prediction]",
            show_default=False,
        ),
    ] = None,
    overwrite: Overwrite = False,
) -> None:
    """Hold a result against the truth: pixel scores, and distances between lines in metres.

    Prints tables, writes the same as JSON, and beside it a figure (NAME.scores.png) and the lines
    with their distances (NAME.errors.gpkg).

    Example: geounet evaluate out/ --reference 'truth.gpkg|water'
    """
    from geounet.evaluate import (  # imports rasterio: only when needed
        EvaluateSettings,
        LineChoice,
        ReferenceOptions,
        check_writable,
        default_scores_path,
        evaluated_files,
        measure_prediction,
        write_evaluation,
    )

    path = json or default_scores_path(prediction, name=name)
    check_writable(path, overwrite=overwrite, inputs=evaluated_files(prediction, reference, name))
    water = None if labels_are is None else labels_are == "water"
    settings = EvaluateSettings(
        name=name,
        pixel_m=pixel,
        mask_values=mask_values,
        reference=ReferenceOptions(label_values, water, labels_layer, labels_where),
        within=within,
        split=split,
        max_distance=max_distance,
        step=step,
        lines=LineChoice(kind, exclude_cloud_suspect),
        block_km=block,
        seed=seed,
    )
    evaluation = measure_prediction(prediction, reference, settings, progress=progress)
    files = write_evaluation(evaluation, path)
    show_scores(evaluation.scores)
    for file in reversed(files):
        typer.echo(file)


def show_scores(scores: dict[str, Any]) -> None:
    """Print scores as tables."""
    from rich.console import Console  # half of the time that --help may take

    console = Console(highlight=False, soft_wrap=True)
    pixels, lines = scores["pixels"], scores["lines"]
    if pixels is not None:
        left_out = [f"{n} {what.replace('_', ' ')}" for what, n in pixels["left_out"].items() if n]
        console.print(
            f"{pixels['compared']} pixels, accuracy {_percent(pixels['accuracy'])}"
            + (f"; left out: {', '.join(left_out)}" if left_out else "")
        )
        console.print(_pixel_table(pixels))
        if "boundary_iou" in pixels:
            console.print(_boundary_table(pixels))
    if "truth" not in lines:
        console.print("Distances are of an earlier geounet: evaluate again to see them.")
        return
    console.print(
        f"{lines['predicted']['points']} points along the predicted line, "
        f"{lines['truth']['points']} along the reference, {_apart(lines)}; {_side(lines)}"
    )
    console.print(_line_table(lines))
    for what, length in (("predicted line", lines["predicted"]), ("reference", lines["truth"])):
        console.print(
            f"{what}: {length['matched_m'] / 1000:.2f} km within "
            f"{lines['max_distance_px']:g} pixels of the other "
            f"({_matched(length)}), {length['unmatched_m'] / 1000:.2f} km not"
        )
    _show_choice(console, lines["chosen"])
    console.print(_buffer_table(lines))
    _show_intervals(console, lines["intervals"])
    if lines["worst"]:
        console.print(_worst_table(lines["worst"], signed=lines["side_from"] is not None))


def _matched(length: dict[str, Any]) -> str:
    limits = length["interval"]["matched_share"]
    if limits is None:
        return _percent(length["matched_share"])
    percents = _range([100 * limit for limit in limits], 1)
    return f"{_percent(length['matched_share'])}, 95 % interval {percents} %"


def _side(lines: dict[str, Any]) -> str:
    if lines["side_from"] is None:
        return "nobody says on which side the water is, so there are no signs"
    return "+ is towards water"


def _apart(lines: dict[str, Any]) -> str:
    pixel = f"({lines['pixel_m']:.2f} m)"
    if lines["step_px"] == 1:
        return f"one each pixel {pixel}"
    return f"one each {lines['step_px']:g} pixels of {pixel[1:-1]}"


def _show_choice(console: "Console", chosen: dict[str, Any]) -> None:
    """Say what was left out, if anything was to be."""
    only = [] if chosen["kind"] is None else [f"kind is not {chosen['kind']}"]
    only += [] if chosen["cloud_suspect"] else ["clouds make suspect"]
    if only:
        of = chosen["left_out"]
        console.print(
            f"left out, whose {' or which '.join(only)}: {of['predicted_m'] / 1000:.2f} km of the "
            f"predicted line, and {of['reference_m'] / 1000:.2f} km of the reference beside it",
            markup=False,
        )


def _show_intervals(console: "Console", intervals: dict[str, Any]) -> None:
    """Say what intervals are of, and whether they can be relied on."""
    blocks, side = intervals["blocks"], f"{intervals['side_km']:g} km"
    if not intervals["known"]:
        console.print(f"No intervals: the lines lie in {blocks} blocks of {side}, too few to tell.")
        return
    few = "; of so few blocks they are rough, and too narrow" if intervals["few"] else ""
    console.print(f"Intervals: 95 % of all draws of {blocks} blocks of {side}{few}")


def _pixel_table(pixels: dict[str, Any]) -> "Table":
    """Return scores by class, and beside them how many pixels were called what."""
    from rich.table import Table

    table = Table("class")
    for column in ("IoU", "precision", "recall", "F1"):
        table.add_column(column, justify="right")
    for name in pixels["classes"]:
        table.add_column(f"called {name}", justify="right")
    for name, counts in zip(pixels["classes"], pixels["confusion"], strict=True):
        row = pixels["per_class"][name]
        values = (row["iou"], row["precision"], row["recall"], row["f1"])
        table.add_row(name, *map(_share, values), *map(str, counts))
    return table


def _boundary_table(pixels: dict[str, Any]) -> "Table":
    """Return IoU of all pixels and of those along boundaries, with intervals."""
    from rich.table import Table

    table = Table("IoU")
    names, interval = pixels["classes"], pixels["interval"] or {}
    for column in names:
        table.add_column(column, justify="right")
        table.add_column("95 %", justify="right")
    ranges = interval.get("per_class", {})
    cells = [
        (_share(pixels["per_class"][name]["iou"]), _range(ranges.get(name, {}).get("iou"), 4))
        for name in names
    ]
    table.add_row("all pixels", *(cell for pair in cells for cell in pair))
    for distance, of_class in pixels["boundary_iou"].items():
        ranges = interval.get("boundary_iou", {}).get(distance, {})
        cells = [(_share(of_class.get(name)), _range(ranges.get(name), 4)) for name in names]
        table.add_row(f"{distance} px of boundary", *(cell for pair in cells for cell in pair))
    return table


STATISTICS = {
    "mean": "mean",
    "median": "median",
    "rmse": "RMSE",
    "p95": "95 %",
    "mean_signed": "mean signed",
    "median_signed": "median signed",
    "spread_nmad": "spread",
}
"""Of distances, and what the table calls them."""


def _line_table(lines: dict[str, Any]) -> "Table":
    from rich.table import Table

    table = Table("distance")
    for column in ("metres", "95 %", "pixels", "95 %"):
        table.add_column(column, justify="right")
    for title, way in (
        ("predicted → reference", lines["predicted"]),
        ("reference → predicted", lines["truth"]),
    ):
        table.add_section()
        table.add_row(title)
        for name, text in STATISTICS.items():
            cells = []
            for unit in ("metres", "pixels"):
                cells.append(_number(way[unit][name], signed="signed" in name))
                cells.append(_range(way["interval"][unit][name], 2))
            table.add_row(f"  {text}", *cells)
    return table


def _buffer_table(lines: dict[str, Any]) -> "Table":
    """Return the shares of both lines within some distances: metres, or pixels of coarse scenes."""
    from rich.table import Table

    unit = "metres" if lines["pixel_m"] <= METRES_UP_TO else "pixels"
    rows = [row for row in lines["buffers"] if row["given_in"] == unit]
    table = Table("within")
    for row in rows:
        table.add_column(f"{row[unit]:g} {'m' if unit == 'metres' else 'px'}", justify="right")
    for what in ("correctness", "completeness"):
        table.add_row(what, *(_percent(row[what]) for row in rows))
        ranges = [row[f"{what}_interval"] for row in rows]
        if any(ranges):
            percents = ([100 * limit for limit in one] if one else None for one in ranges)
            table.add_row("  95 %", *(_range(one, 1) for one in percents))
    return table


def _worst_table(places: list[dict[str, Any]], *, signed: bool) -> "Table":
    from rich.table import Table

    table = Table("worst places", "longitude", "latitude", "what")
    for column in ("distance, m", "over, m"):
        table.add_column(column, justify="right")
    for number, place in enumerate(places, 1):
        distance = place["distance_m"]
        table.add_row(
            str(number),
            f"{place['lon']:.6f}",
            f"{place['lat']:.6f}",
            place["what"],
            "–" if distance is None else _number(distance, signed=signed, digits=1),
            f"{place['length_m']:.0f}",
        )
    return table


def _number(value: float | None, *, signed: bool, digits: int = 3) -> str:
    if value is None:
        return "–"
    value = round(value, digits) + 0.0
    return f"{value:+.{digits}f}" if signed else f"{value:.{digits}f}"


def _range(limits: Sequence[float] | None, digits: int) -> str:
    if limits is None:
        return "–"
    return " to ".join(f"{round(limit, digits) + 0.0:.{digits}f}" for limit in limits)


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f} %"

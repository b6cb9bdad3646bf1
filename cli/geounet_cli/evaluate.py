"""geounet evaluate."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from geounet_cli.console import progress
from geounet_cli.options import Overwrite

if TYPE_CHECKING:
    from rich.table import Table

REFERENCE = "Reference"


def evaluate(
    prediction: Annotated[
        Path,
        typer.Argument(
            help="Folder of results, the NAME.json of one, or any mask raster.", show_default=False
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
    within: Annotated[
        Path | None,
        typer.Option(help="Chip folder; only ground of its --split counts.", show_default=False),
    ] = None,
    split: Annotated[
        Literal["train", "val", "test"], typer.Option(help="Split of the chips of --within.")
    ] = "test",
    max_distance: Annotated[
        float,
        typer.Option(min=0.01, help="Lines further apart than this, in pixels, do not match."),
    ] = 5.0,
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

    Prints tables, and writes the same as JSON.

    Example: geounet evaluate out/ --reference 'truth.gpkg|water'
    """
    from geounet.evaluate import (  # imports rasterio: only when needed
        EvaluateSettings,
        ReferenceOptions,
        check_writable,
        default_scores_path,
        evaluate_prediction,
        write_scores,
    )

    path = json or default_scores_path(prediction, name=name)
    check_writable(path, overwrite=overwrite)
    water = None if labels_are is None else labels_are == "water"
    settings = EvaluateSettings(
        name=name,
        mask_values=mask_values,
        reference=ReferenceOptions(label_values, water, labels_layer, labels_where),
        within=within,
        split=split,
        max_distance=max_distance,
    )
    scores = evaluate_prediction(prediction, reference, settings, progress=progress)
    write_scores(scores, path)
    show_scores(scores)
    typer.echo(path)


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
    console.print(
        f"{lines['predicted']['points']} points along the predicted line, one each pixel "
        f"({lines['pixel_m']:.2f} m); + is towards water"
    )
    console.print(_line_table(lines))
    for what, length in (
        ("predicted line", lines["predicted"]),
        ("reference line", lines["missed"]),
    ):
        console.print(
            f"{what}: {length['matched_m'] / 1000:.2f} km within "
            f"{lines['max_distance_px']:g} pixels of the other "
            f"({_percent(length['matched_share'])}), {length['unmatched_m'] / 1000:.2f} km not"
        )


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


def _line_table(lines: dict[str, Any]) -> "Table":
    from rich.table import Table

    predicted = lines["predicted"]
    table = Table("distance")
    for column in ("mean", "median", "RMSE", "95 %", "mean signed"):
        table.add_column(column, justify="right")
    for unit in ("metres", "pixels"):
        *plain, signed = predicted[unit].values()
        shown = [f"{value:.3f}" if value is not None else "–" for value in plain]
        table.add_row(unit, *shown, f"{round(signed, 3) + 0.0:+.3f}" if signed is not None else "–")
    return table


def _share(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.2f} %"

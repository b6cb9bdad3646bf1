"""geounet export."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from geounet_cli import options

NUMBERS = "Numbers that it takes"
CATALOGUE = "Catalogue (--to mlm)"


def nodata_from_text(text: str | None) -> float | Literal["none"] | None:
    """Return what `--nodata` was given."""
    if text is None or text == "none":
        return text  # type: ignore[return-value]  # mypy does not narrow to the one text
    try:
        return float(text)
    except ValueError:
        raise typer.BadParameter(f"{text} is neither none nor a number.") from None


def export(
    model: Annotated[
        Path,
        typer.Argument(
            help="Model file that geounet train wrote; for --to mlm also an ONNX file made of it.",
            show_default=False,
        ),
    ],
    to: Annotated[
        Literal["onnx", "pt2", "deepness", "mlm"],
        typer.Option(
            help="onnx: for ONNX Runtime and geounet predict; pt2: a program of torch.export; "
            "deepness: for that plugin of QGIS; mlm: a STAC item for a catalogue.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="File to write.", show_default=False)],
    half: Annotated[
        bool,
        typer.Option("--half", help="Let the network compute in 16 bits: half the size."),
    ] = False,
    size: Annotated[
        int | None,
        typer.Option(
            min=16,
            help="Side of Deepness's tiles, in pixels.",
            show_default="what needs least overlap",
        ),
    ] = None,
    scale: Annotated[
        float | None,
        typer.Option(
            help="reflectance = (DN + offset) × scale of the scenes that it is for; 1 takes "
            "reflectance.",
            show_default="the sensor's",
            rich_help_panel=NUMBERS,
        ),
    ] = None,
    offset: Annotated[
        float | None,
        typer.Option(
            help="Added to DN before scaling; 0 for Sentinel-2 before baseline 04.00.",
            show_default="the sensor's",
            rich_help_panel=NUMBERS,
        ),
    ] = None,
    nodata: Annotated[
        str | None,
        typer.Option(
            metavar="N|none",
            help="DN that means no data; NaN always does.",
            show_default="0",
            rich_help_panel=NUMBERS,
        ),
    ] = None,
    licence: Annotated[
        str | None,
        typer.Option(
            help="Licence of the weights, as SPDX has it.",
            show_default="the model file's",
            rich_help_panel=CATALOGUE,
        ),
    ] = None,
    doi: Annotated[
        str | None,
        typer.Option(
            help="DOI of what is to be cited.", show_default=False, rich_help_panel=CATALOGUE
        ),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Take a model elsewhere: ONNX, torch.export, Deepness in QGIS, a STAC catalogue.

    What is written takes the numbers of a scene and gives the probability of each class: scale,
    offset, normalisation and softmax are inside, and the model's header with it. Prints its path;
    how to use it: docs/export.md.

    Example: geounet export run/model.safetensors --to onnx --out model.onnx
    """
    from geounet.export import ExportSettings, export_model  # imports torch: only when needed

    settings = ExportSettings(
        half=half,
        scale=scale,
        offset=offset,
        nodata=nodata_from_text(nodata),
        size=size,
        licence=licence,
        doi=doi,
        overwrite=overwrite,
    )
    typer.echo(export_model(model, out, to, settings))

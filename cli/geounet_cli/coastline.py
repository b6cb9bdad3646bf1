"""geounet coastline."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from geounet_cli import options
from geounet_cli.console import progress

RASTER = "Raster"


def level_from_text(text: str) -> float | Literal["otsu"]:
    """Return what `--level` was given."""
    if text == "otsu":
        return "otsu"
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not abs(value) < float("inf"):
        raise typer.BadParameter(f"{text} is neither otsu nor a number.")
    return value


def coastline(
    context: typer.Context,
    raster: Annotated[
        str,
        typer.Argument(
            help="Probability, index or mask of water: a raster of any format, by path or address.",
            show_default=False,
        ),
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for the results; made if absent.", show_default=False)
    ],
    level: Annotated[
        Any,
        typer.Option(
            parser=level_from_text,
            metavar="otsu|NUMBER",
            help="Value from which a pixel is water, in the raster's unit; otsu finds it.",
            show_default="0.5 of a probability, otsu of an index",
        ),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="What the results are called.", show_default="the file's name"),
    ] = None,
    formats: options.Formats = None,
    crs: options.Crs = None,
    report: options.Report = False,
    overwrite: options.Overwrite = False,
    quantity: Annotated[
        Literal["probability", "index", "mask"] | None,
        typer.Option(
            help="What the values are.", show_default="by the values", rich_help_panel=RASTER
        ),
    ] = None,
    band: Annotated[
        int | None,
        typer.Option(
            help="Number of the band, from 1.", show_default="the only one", rich_help_panel=RASTER
        ),
    ] = None,
    water: Annotated[
        str | None,
        typer.Option(
            metavar="VALUES",
            help="Values of a mask that are water, or names of its classes, by commas; all others "
            "are land.",
            show_default="1",
            rich_help_panel=RASTER,
        ),
    ] = None,
    invert: Annotated[
        bool,
        typer.Option("--invert", help="High values are land.", rich_help_panel=RASTER),
    ] = False,
    nodata: Annotated[
        str | None,
        typer.Option(
            help="Value that means no data, where the file does not say; nan is one.",
            show_default=False,
            rich_help_panel=RASTER,
        ),
    ] = None,
    time: Annotated[
        str | None,
        typer.Option(
            metavar="UTC",
            help="When the scene was taken: 2021-06-01T10:11:12.",
            show_default="the file's acquisition time",
            rich_help_panel=RASTER,
        ),
    ] = None,
    mask_clouds: options.MaskClouds = False,
    cloud_cirrus: options.CloudCirrus = False,
    cloud_min_area: options.CloudMinArea = None,
    cloud_buffer: options.CloudBuffer = None,
    cloud_mask: options.CloudMask = None,
    simplify: options.Simplify = 0.0,
    smooth: options.Smooth = 0.0,
    min_length: options.MinLength = 0.0,
    min_area: options.MinArea = 0.0,
    sea: options.Sea = None,
    land: options.Land = False,
    water_level: options.WaterLevel = None,
    water_levels: options.WaterLevels = None,
    level_datum: options.LevelDatum = None,
    level_source: options.LevelSource = None,
) -> None:
    """Draw the coastline, areas and a QGIS project from a probability, index or mask.

    Writes what baseline writes, less the picture of the scene. Prints the path of NAME.json.

    Example: geounet coastline mndwi.tif --level 0.1 --out coast/
    """
    from geounet.any_raster import RasterOptions  # imports rasterio: only when needed
    from geounet.drawing import DrawSettings, draw_coastline
    from geounet.formats import VectorOptions
    from geounet.line_options import LineOptions
    from geounet.scene import CloudOptions

    lines = LineOptions(
        simplify_m=simplify,
        smooth_m=smooth,
        min_length_m=min_length,
        min_area_m2=min_area,
        sea=sea,
        land=land,
        water_level_m=water_level,
        water_levels=water_levels,
        level_datum=level_datum,
        level_source=level_source,
    )
    settings = DrawSettings(
        lines=lines,
        level=level,
        vectors=VectorOptions.from_text(formats or (), crs),
        overwrite=overwrite,
        report=report,
        command_line=context.obj,
    )
    raster_options = RasterOptions.from_text(
        band=band,
        quantity=quantity,
        water=water,
        invert=invert,
        nodata=nodata,
        time=time,
        name=name,
        clouds=CloudOptions.from_text(
            mask=mask_clouds,
            cirrus=cloud_cirrus,
            min_area=cloud_min_area,
            buffer=cloud_buffer,
            file=cloud_mask,
        ),
    )
    typer.echo(draw_coastline(raster, out, settings, raster_options, progress))

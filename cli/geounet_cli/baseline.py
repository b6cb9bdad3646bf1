"""geounet baseline."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from geounet_cli import options
from geounet_cli.console import progress


def threshold_from_text(text: str) -> float | Literal["otsu"]:
    """Return what `--threshold` was given."""
    if text == "otsu":
        return "otsu"
    try:
        value = float(text)
    except ValueError:
        value = 2.0
    if not -1 < value < 1:
        raise typer.BadParameter(f"{text} is neither otsu nor a number between -1 and 1.")
    return value


def baseline(
    context: typer.Context,
    scene: options.Scene,
    out: Annotated[
        Path, typer.Option(help="Folder for the results; made if absent.", show_default=False)
    ],
    index: Annotated[
        Literal["ndwi", "mndwi"],
        typer.Option(
            help="ndwi: (green - nir) / (green + nir). mndwi: (green - swir16) / (green + swir16)."
        ),
    ] = "ndwi",
    threshold: Annotated[
        Any,
        typer.Option(
            parser=threshold_from_text,
            metavar="otsu|NUMBER",
            help="Index from which a pixel is water; otsu finds it in the scene.",
        ),
    ] = "otsu",
    report: options.Report = False,
    formats: options.Formats = None,
    crs: options.Crs = None,
    overwrite: options.Overwrite = False,
    bands: options.Bands = None,
    sensor: options.Sensor = None,
    level: options.Level = None,
    scale: options.Scale = None,
    offset: options.Offset = None,
    nodata: options.Nodata = None,
    res: options.Res = None,
    mask_clouds: options.MaskClouds = False,
    cloud_cirrus: options.CloudCirrus = False,
    cloud_min_area: options.CloudMinArea = None,
    cloud_buffer: options.CloudBuffer = None,
    cloud_mask: options.CloudMask = None,
    line_level: options.LineLevel = None,
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
    """Draw mask, index, coastline and a QGIS project the classical way, for comparison.

    Writes what predict writes, with NAME_index.tif in the place of the probability. Prints the
    path of NAME.json.

    Example: geounet baseline scene.tif --index mndwi --out baseline/
    """
    from geounet.baseline import BaselineSettings, baseline_scene  # imports rasterio: only now
    from geounet.formats import VectorOptions
    from geounet.line_options import LineOptions
    from geounet.scene import CloudOptions, SceneOptions

    lines = LineOptions(
        level=line_level,
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
    settings = BaselineSettings(
        lines=lines,
        index=index,
        threshold=threshold,
        overwrite=overwrite,
        vectors=VectorOptions.from_text(formats or (), crs),
        report=report,
        command_line=context.obj,
    )
    clouds = CloudOptions.from_text(
        mask=mask_clouds,
        cirrus=cloud_cirrus,
        min_area=cloud_min_area,
        buffer=cloud_buffer,
        file=cloud_mask,
    )
    scene_options = SceneOptions.from_text(
        bands=bands,
        sensor=sensor,
        level=level,
        scale=scale,
        offset=offset,
        nodata=nodata,
        res=res,
        clouds=clouds,
    )
    typer.echo(baseline_scene(scene, out, settings, scene_options, progress))

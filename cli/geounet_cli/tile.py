"""geounet tile."""

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from geounet_cli.console import progress
from geounet_cli.options import (
    Bands,
    CloudBuffer,
    CloudCirrus,
    CloudMask,
    CloudMinArea,
    Level,
    MaskClouds,
    Nodata,
    Offset,
    Overwrite,
    Res,
    Scale,
    Scenes,
    Sensor,
)

if TYPE_CHECKING:
    from geounet.chips import ChipFolder


class PolygonsAre(StrEnum):
    """What the polygons of a label file are."""

    WATER = "water"
    LAND = "land"


class SplitBy(StrEnum):
    """What is given to one split as a whole."""

    BLOCK = "block"
    SCENE = "scene"


def tile(
    scenes: Scenes,
    out: Annotated[Path, typer.Option(help="Chip folder to write.", show_default=False)],
    labels: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE",
            help="Raster, or polygons of water or land, of any format and CRS; 'x.gpkg|water' "
            "names a layer. Once for all scenes, or once for each. Without it chips have no "
            "labels; an autoencoder learns from them.",
            show_default=False,
        ),
    ] = None,
    label_values: Annotated[
        str | None,
        typer.Option(
            help="What the values of a raster mean: 0=land,1=water,2=surf:water,9=unknown, where "
            "':water' says that a class counts as water. 255 and nodata are unknown.",
            show_default="0=land,1=water",
            rich_help_panel="Labels",
        ),
    ] = None,
    labels_are: Annotated[
        PolygonsAre | None,
        typer.Option(
            help="What the polygons are; the ground outside of them is the other.",
            show_default="water",
            rich_help_panel="Labels",
        ),
    ] = None,
    labels_layer: Annotated[
        str | None,
        typer.Option(help="Layer of the polygons.", show_default=False, rich_help_panel="Labels"),
    ] = None,
    labels_where: Annotated[
        str | None,
        typer.Option(
            help="SQL condition that selects polygons: \"kind = 'sea'\".",
            show_default=False,
            rich_help_panel="Labels",
        ),
    ] = None,
    water_shares: Annotated[
        bool,
        typer.Option(
            "--water-shares",
            help="Write how much of each pixel is water, too, for `train --set labels=shares`; of "
            "polygons, or a raster whose pixels part those of the scene evenly.",
            rich_help_panel="Labels",
        ),
    ] = False,
    size: Annotated[
        int, typer.Option(min=1, help="Side of a chip, in pixels.", rich_help_panel="Chips")
    ] = 256,
    stride: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Distance between chips, in pixels.",
            show_default="--size",
            rich_help_panel="Chips",
        ),
    ] = None,
    context: Annotated[
        int,
        typer.Option(
            min=0,
            help="Pixels of real neighbours around each chip, without labels.",
            rich_help_panel="Chips",
        ),
    ] = 0,
    min_valid: Annotated[
        float,
        typer.Option(
            min=0,
            max=1,
            help="Least share of a chip's pixels with data and, with --labels, a known one.",
            rich_help_panel="Chips",
        ),
    ] = 0.5,
    aoi: Annotated[
        Path | None,
        typer.Option(
            help="Area of interest: polygons, or lines with --aoi-buffer. Labels outside of it "
            "are unknown.",
            show_default=False,
            rich_help_panel="Chips",
        ),
    ] = None,
    aoi_buffer: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Widen the shapes of --aoi by so many metres.",
            show_default=False,
            rich_help_panel="Chips",
        ),
    ] = None,
    val: Annotated[
        float,
        typer.Option(min=0, max=1, help="Share for validation.", rich_help_panel="Splits"),
    ] = 0.15,
    test: Annotated[
        float, typer.Option(min=0, max=1, help="Share for testing.", rich_help_panel="Splits")
    ] = 0.15,
    block: Annotated[
        float | None,
        typer.Option(
            min=1,
            help="Side of the blocks of ground that belong to one split, in metres.",
            show_default="from the size of the chips",
            rich_help_panel="Splits",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(min=0, help="Another one divides otherwise.", rich_help_panel="Splits"),
    ] = 0,
    split_by: Annotated[
        SplitBy,
        typer.Option(
            help="Divide blocks of ground, or whole scenes (those that share ground together).",
            rich_help_panel="Splits",
        ),
    ] = SplitBy.BLOCK,
    bands: Bands = None,
    sensor: Sensor = None,
    level: Level = None,
    scale: Scale = None,
    offset: Offset = None,
    nodata: Nodata = None,
    res: Res = None,
    mask_clouds: MaskClouds = False,
    cloud_cirrus: CloudCirrus = False,
    cloud_min_area: CloudMinArea = None,
    cloud_buffer: CloudBuffer = None,
    cloud_mask: CloudMask = None,
    overwrite: Overwrite = False,
) -> None:
    """Cut scenes and labels into chips to train on, with a split that does not leak.

    Example: geounet tile scene.tif --labels water.gpkg --out chips/
    """
    from geounet.scene import CloudOptions, SceneOptions  # imports rasterio: only when needed
    from geounet.tile import LabelSettings, TileSettings, tile_scenes

    clouds = CloudOptions.from_text(
        mask=mask_clouds,
        cirrus=cloud_cirrus,
        min_area=cloud_min_area,
        buffer=cloud_buffer,
        file=cloud_mask,
    )
    options = SceneOptions.from_text(
        bands=bands,
        sensor=sensor,
        level=level,
        scale=scale,
        offset=offset,
        nodata=nodata,
        res=res,
        clouds=clouds,
    )
    settings = TileSettings(
        size=size,
        stride=stride or size,
        context=context,
        min_valid=min_valid,
        val=val,
        test=test,
        seed=seed,
        split_by=split_by.value,
        block=block,
        aoi=aoi,
        aoi_buffer=aoi_buffer,
    )
    water = None if labels_are is None else labels_are is PolygonsAre.WATER
    label_settings = LabelSettings(
        tuple(labels or ()), label_values, water, labels_layer, labels_where, water_shares
    )
    chips = tile_scenes(
        scenes,
        label_settings,
        out,
        settings,
        options=options,
        overwrite=overwrite,
        progress=progress,
    )
    _report(chips)


def _report(chips: "ChipFolder") -> None:
    """Print what each split holds, and what was left out."""
    from rich.console import Console  # half of the time that --help may take
    from rich.table import Table

    known = chips.info.labelled
    table = Table("split", title=str(chips.path), title_justify="left")
    for column in ("chips", "water", "coast km", "area km²"):
        table.add_column(column, justify="right")
    for split, row in chips.summary().iterrows():
        table.add_row(
            str(split),
            f"{row['chips']:.0f}",
            f"{row['water']:.2%}" if known else "–",
            f"{row['coast_km']:.1f}" if known else "–",
            f"{row['area_km2']:.1f}",
        )
    console = Console()
    console.print(table)
    dropped = chips.info.split["dropped"]
    lost = [f"{count} {why}" for why, count in dropped.items() if count]
    console.print(f"dropped: {', '.join(lost) or 'none'}", highlight=False)

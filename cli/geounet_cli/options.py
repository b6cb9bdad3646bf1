"""Options that several commands share, so that they are said once and mean the same everywhere."""

from typing import Annotated

import typer

KINDS = (
    "a Sentinel-2 SAFE or Landsat product (folder or archive), a STAC item, a GeoTIFF or COG, a "
    "folder of single-band files, or a YAML file naming band and path; by path or address."
)
Scenes = Annotated[
    list[str],
    typer.Argument(
        help=f"Scenes: each {KINDS} A collection of STAC items is many.", show_default=False
    ),
]
ScenesOrNone = Annotated[
    list[str] | None,
    typer.Argument(
        help=f"Scenes: each {KINDS} A collection of STAC items is many.", show_default=False
    ),
]
Scene = Annotated[
    str,
    typer.Argument(help=KINDS[0].upper() + KINDS[1:], show_default=False),
]
Bands = Annotated[
    str | None,
    typer.Option(
        help="Of one file: names of its bands in their order, by commas: B02,B03,B04,B08; - leaves "
        "one out. Of a product: the bands to take.",
        show_default=False,
        rich_help_panel="Scene",
    ),
]
Sensor = Annotated[
    str | None,
    typer.Option(
        help="Sensor that the band names are of: s2, l5, l7, l8 or l9.",
        show_default=False,
        rich_help_panel="Scene",
    ),
]
Level = Annotated[
    str | None,
    typer.Option(
        help="Processing level: L1C or L2A (Sentinel-2), L1 or L2 (Landsat).",
        show_default=False,
        rich_help_panel="Scene",
    ),
]
Scale = Annotated[
    float | None,
    typer.Option(
        help="reflectance = (DN + offset) × scale; 0.0001 for Sentinel-2.",
        show_default=False,
        rich_help_panel="Scene",
    ),
]
Offset = Annotated[
    float | None,
    typer.Option(
        help="Added to DN before scaling; -1000 for Sentinel-2 from baseline 04.00.",
        show_default=False,
        rich_help_panel="Scene",
    ),
]
Nodata = Annotated[
    str | None,
    typer.Option(
        help="Value that means no data, where the file does not say; nan is one.",
        show_default=False,
        rich_help_panel="Scene",
    ),
]
Res = Annotated[
    float | None,
    typer.Option(
        help="Side of a pixel that all bands are brought to, in units of the scene's CRS.",
        show_default="the finest band's",
        rich_help_panel="Scene",
    ),
]
CLOUDS = "Clouds"
MaskClouds = Annotated[
    bool,
    typer.Option(
        "--mask-clouds",
        help="Take pixels under cloud, by the scene's quality layer, for nodata. Without it the "
        "coast near clouds is flagged, and drawn.",
        rich_help_panel=CLOUDS,
    ),
]
CloudCirrus = Annotated[
    bool,
    typer.Option("--cloud-cirrus", help="Mask thin cirrus, too.", rich_help_panel=CLOUDS),
]
CloudMinArea = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="M2",
        help="Leave clouds smaller than that alone, in square metres: most are beach, surf or "
        "roofs.",
        show_default="50000",
        rich_help_panel=CLOUDS,
    ),
]
CloudBuffer = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="M",
        help="Widen what is masked by so many metres.",
        show_default="0",
        rich_help_panel=CLOUDS,
    ),
]
CloudMask = Annotated[
    str | None,
    typer.Option(
        metavar="FILE",
        help="Raster that says where clouds are (not 0), in the place of the scene's own; of any "
        "grid and CRS.",
        show_default=False,
        rich_help_panel=CLOUDS,
    ),
]
Report = Annotated[
    bool,
    typer.Option(
        "--report",
        help="Draw NAME_report.html, a page with map, histogram and unsure places that needs no "
        "network, and NAME_quicklook.png.",
    ),
]
VECTORS = "Vector files"
Formats = Annotated[
    list[str] | None,
    typer.Option(
        "--format",
        metavar="gpkg|geoparquet|fgb|geojson",
        help="Formats of lines and areas, by commas or one by one. The GeoPackage comes always; "
        "others join it, a file for each layer.",
        show_default="gpkg",
        rich_help_panel=VECTORS,
    ),
]
Crs = Annotated[
    str | None,
    typer.Option(
        metavar="EPSG:CODE",
        help="CRS of lines and areas; GeoJSON is WGS 84 whatever it is.",
        show_default="the scene's",
        rich_help_panel=VECTORS,
    ),
]
LINES = "Lines and areas"
LineLevel = Annotated[
    float | None,
    typer.Option(
        help="Value at which lines and areas are drawn; the mask keeps its own.",
        show_default="the mask's",
        rich_help_panel=LINES,
    ),
]
Simplify = Annotated[
    float,
    typer.Option(
        min=0,
        metavar="M",
        help="Leave out vertices as long as nothing moves by more than so many metres. Lines, "
        "water and land keep one edge, and nothing crosses.",
        rich_help_panel=LINES,
    ),
]
Smooth = Annotated[
    float,
    typer.Option(
        min=0,
        metavar="M",
        help="Even lines out, moving vertices by so many metres at most and past no pixel's "
        "centre; islands keep their size.",
        rich_help_panel=LINES,
    ),
]
MinLength = Annotated[
    float,
    typer.Option(
        min=0,
        metavar="M",
        help="Leave out lines and rings shorter than that, in metres; areas stay as they are.",
        rich_help_panel=LINES,
    ),
]
MinArea = Annotated[
    float,
    typer.Option(
        min=0,
        metavar="M2",
        help="Leave out islands and ponds smaller than that, in square metres, of lines and areas "
        "alike.",
        rich_help_panel=LINES,
    ),
]
Sea = Annotated[
    str | None,
    typer.Option(
        metavar="FILE|LON,LAT",
        help="Where the sea is: shapes in any format and CRS, or a place. Lines of the water that "
        "touches it are sea; of other water that the scene holds whole, lake.",
        show_default="all is unknown",
        rich_help_panel=LINES,
    ),
]
Land = Annotated[
    bool,
    typer.Option(
        "--land",
        help="Draw areas of land, too, whose edges are those of water.",
        rich_help_panel=LINES,
    ),
]
LEVELS = "Water level"
WaterLevel = Annotated[
    float | None,
    typer.Option(
        metavar="M",
        help="Level of the water when the scene was taken, in metres above --level-datum.",
        show_default=False,
        rich_help_panel=LEVELS,
    ),
]
WaterLevels = Annotated[
    str | None,
    typer.Option(
        metavar="CSV",
        help="Table with the columns time (UTC) and level_m, for the scene's time; between two "
        "times at most three hours apart it is a straight line.",
        show_default=False,
        rich_help_panel=LEVELS,
    ),
]
LevelDatum = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="What water levels are above: MSL, LAT, NAVD88, EGM2008.",
        show_default=False,
        rich_help_panel=LEVELS,
    ),
]
LevelSource = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="Where they are from, as the name of the gauge.",
        show_default="the table's name",
        rich_help_panel=LEVELS,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace results that exist.")]

"""What a command of geounet takes, as tables: each row is a parameter in QGIS and an option there.

Nothing here needs QGIS, so that tests hold the tables against the commands themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum


class Kind(Enum):
    """What a parameter is in QGIS."""

    RASTER = "raster"
    """A raster layer, or the path of a file that QGIS opens as one."""
    RASTERS = "rasters"
    VECTOR = "vector"
    """A vector layer; what is no file, filtered or selected is exported first."""
    LAYER = "layer"
    """A raster or vector layer."""
    LAYERS = "layers"
    FILE = "file"
    """A path, which may be typed: an address or a folder will do where the command takes one."""
    FILES = "files"
    FOLDER = "folder"
    FILE_OUT = "file to write"
    FOLDER_OUT = "folder to write"
    TEXT = "text"
    NUMBER = "number"
    INTEGER = "integer"
    FLAG = "flag"
    CHOICE = "choice"
    CHOICES = "choices"
    """Any of them; they go to the command by commas."""
    CRS = "crs"
    PLACE = "place"
    """A point on the map, which goes to the command as longitude,latitude."""


@dataclass(frozen=True)
class Option:
    """A parameter of an algorithm, and the option of the command that it becomes."""

    flag: str
    """As on the command line; empty for what is given without one."""
    kind: Kind
    label: str
    """What QGIS calls it; it begins with a capital."""
    help: str = ""
    default: object = None
    """The command's own, which is not handed on; None where it is not one value."""
    choices: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    required: bool = False
    advanced: bool = False
    only: str = ""
    """Files to choose from, in Qt's words."""
    called: str = ""
    """Name in QGIS, where it is not the flag's."""

    @property
    def name(self) -> str:
        """Name of the parameter in QGIS: `--aoi-buffer` is `AOI_BUFFER`."""
        return self.called or self.flag.strip("-").replace("-", "_").upper()


@dataclass(frozen=True)
class Output:
    """A file of a result that QGIS can show, and that models can go on with."""

    name: str
    kind: Kind
    """`RASTER`, `VECTOR` or `FILE`; only the first two are put on the map."""
    label: str
    ending: str
    """What its name has behind that of the result: `_mask.tif`."""
    layer: str = ""
    """Of a file with several."""
    shown: bool = True
    """Whether it is switched on at first."""
    when: tuple[str, ...] = ()
    """The way in the record to what says that the layer is there; empty if it always is."""


@dataclass(frozen=True)
class Number:
    """A number that is read from the record of a result."""

    name: str
    label: str
    keys: tuple[str, ...]
    """The way to it in the JSON."""


@dataclass(frozen=True)
class Command:
    """A command of geounet as an algorithm of QGIS."""

    name: str
    title: str
    help: str
    options: tuple[Option, ...]
    outputs: tuple[Output, ...] = ()
    """The first is drawn above the others."""
    numbers: tuple[Number, ...] = ()
    one_of: tuple[str, ...] = ()
    """Names of parameters of which one, and no more, is to be given."""
    any_of: tuple[str, ...] = ()
    """Names of parameters of which one at least is to be given."""


def advanced(*options: Option) -> tuple[Option, ...]:
    """Return options that are folded away at first."""
    return tuple(replace(option, advanced=True) for option in options)


PRODUCT_HELP = (
    "A Sentinel-2 product (.SAFE folder, one of its XML files, or archive), a Landsat product "
    "(folder, MTL file or archive), a STAC item (file or address), a folder of band files, or a "
    "YAML file that names bands. Type or paste what the button does not choose."
)
SCENE = advanced(
    Option("--bands", Kind.TEXT, "Bands", "Of one file: names of its bands in their order, by "
           "commas: B02,B03,B04,B08; - leaves one out. Of a product: the bands to take."),
    Option("--sensor", Kind.CHOICE, "Sensor that the band names are of",
           choices=("s2", "l5", "l7", "l8", "l9")),
    Option("--level", Kind.CHOICE, "Processing level", choices=("L1C", "L2A", "L1", "L2")),
    Option("--scale", Kind.NUMBER, "Scale: reflectance = (DN + offset) × scale"),
    Option("--offset", Kind.NUMBER, "Offset, added to DN before scaling",
           "-1000 for Sentinel-2 from baseline 04.00."),
    Option("--nodata", Kind.TEXT, "Nodata, where the file does not say", "nan is one."),
    Option("--res", Kind.NUMBER, "Pixel size that all bands are brought to",
           "In units of the scene's CRS; the finest band's if empty.", least=0),
)  # fmt: skip
MASK_CLOUDS = Option(
    "--mask-clouds", Kind.FLAG, "Take pixels under cloud for nodata",
    "By the scene's quality layer, or the cloud mask. Without it the coast near clouds is flagged, "
    "and drawn.", default=False,
)  # fmt: skip
CLOUDS = advanced(
    Option("--cloud-mask", Kind.RASTER, "Cloud mask", "Raster that says where clouds are (not 0), "
           "in the place of the scene's own; of any grid and CRS."),
    Option("--cloud-cirrus", Kind.FLAG, "Mask thin cirrus, too", default=False),
    Option("--cloud-min-area", Kind.NUMBER, "Leave clouds smaller than this alone [m²]",
           "50000 if empty.", least=0),
    Option("--cloud-buffer", Kind.NUMBER, "Widen what is masked by [m]", least=0),
)  # fmt: skip
AREA = (
    Option("--aoi", Kind.VECTOR, "Area of interest", "Outside of it nothing is known; of lines and "
           "points only with a width."),
    Option("--aoi-buffer", Kind.NUMBER, "Widen the area of interest by [m]", least=0),
)  # fmt: skip
SEA = (
    Option("--sea", Kind.VECTOR, "Where the sea is", "Shapes that touch it: lines around that "
           "water are sea, those of water that the scene holds whole are lake. Without it, all are "
           "unknown."),
    Option("--sea", Kind.PLACE, "… or a place in the sea", called="SEA_PLACE"),
)  # fmt: skip
LAND = Option("--land", Kind.FLAG, "Draw areas of land, too", default=False)
REPORT = Option("--report", Kind.FLAG, "Draw a page about the result", "NAME_report.html, which "
                "needs no network.", default=False)  # fmt: skip
OVERWRITE = Option("--overwrite", Kind.FLAG, "Replace results that exist", default=False)
LINES = advanced(
    Option("--simplify", Kind.NUMBER, "Leave out vertices: nothing moves by more than [m]",
           default=0.0, least=0),
    Option("--smooth", Kind.NUMBER, "Even lines out, by at most [m]", default=0.0, least=0),
    Option("--min-length", Kind.NUMBER, "Leave out lines shorter than [m]", default=0.0, least=0),
    Option("--min-area", Kind.NUMBER, "Leave out islands and ponds smaller than [m²]",
           default=0.0, least=0),
)  # fmt: skip
WATER_LEVEL = advanced(
    Option("--water-level", Kind.NUMBER, "Level of the water when the scene was taken [m]"),
    Option("--water-levels", Kind.FILE, "… or a table of levels", "With the columns time (UTC) and "
           "level_m.", only="Tables (*.csv);;All files (*)"),
    Option("--level-datum", Kind.TEXT, "Datum of water levels", "MSL, LAT, NAVD88, EGM2008."),
    Option("--level-source", Kind.TEXT, "Source of water levels", "As the name of the gauge."),
)  # fmt: skip
VECTOR_FILES = advanced(
    Option("--format", Kind.CHOICES, "Formats besides the GeoPackage",
           choices=("geoparquet", "fgb", "geojson")),
    Option("--crs", Kind.CRS, "CRS of lines and areas", "The scene's if empty."),
)  # fmt: skip
OUT = Option("--out", Kind.FOLDER_OUT, "Folder for the results", required=True)


def drawn(*, field: str, label: str) -> tuple[Output, ...]:
    """Return what QGIS shows of a result with lines.

    Args:
        field: Ending of the raster that lines are drawn on, without `_` and `.tif`.
        label: What that is called.
    """
    return (
        Output("COASTLINE", Kind.VECTOR, "Coastline", ".gpkg", layer="coastline"),
        Output("WATER_AREAS", Kind.VECTOR, "Water", ".gpkg", layer="water"),
        Output("LAND_AREAS", Kind.VECTOR, "Land", ".gpkg", layer="land",
               when=("settings", "lines", "land")),
        Output("MASK", Kind.RASTER, "Mask", "_mask.tif", shown=False),
        Output(field.upper(), Kind.RASTER, label, f"_{field}.tif", shown=False),
    )  # fmt: skip


PROJECT = Output("PROJECT", Kind.FILE, "QGIS project", ".qgz")
RECORD = Output("RECORD", Kind.FILE, "Record", ".json")

"""`geounet coastline` in QGIS."""

from __future__ import annotations

from geounet_qgis.options import (
    CLOUDS,
    LAND,
    LINES,
    MASK_CLOUDS,
    OUT,
    OVERWRITE,
    PROJECT,
    RECORD,
    REPORT,
    SEA,
    VECTOR_FILES,
    WATER_LEVEL,
    Command,
    Kind,
    Option,
    Output,
    advanced,
    drawn,
)

COASTLINE = Command(
    name="coastline",
    title="Coastline of a raster",
    help="Draws coastline and areas from a probability, an index or a mask of water, whoever made "
    "it, to a fraction of a pixel.",
    options=(
        Option("", Kind.RASTER, "Raster", "Probability, index or mask of water.", called="RASTER",
               required=True),
        Option("--level", Kind.TEXT, "Water is from a value of", "In the raster's unit; otsu finds "
               "it. If empty, 0.5 of a probability, otsu of an index."),
        Option("--quantity", Kind.CHOICE, "What the values are", "Found by the values if empty.",
               choices=("probability", "index", "mask")),
        Option("--band", Kind.INTEGER, "Number of the band", "The only one if empty.", least=1),
        Option("--water", Kind.TEXT, "Values of a mask that are water", "Or names of its classes, "
               "by commas; 1 if empty."),
        Option("--invert", Kind.FLAG, "High values are land", default=False),
        *SEA,
        MASK_CLOUDS,
        LAND,
        REPORT,
        OVERWRITE,
        *advanced(
            Option("--name", Kind.TEXT, "What the results are called", "As the file if empty."),
            Option("--nodata", Kind.TEXT, "Nodata, where the file does not say", "nan is one."),
            Option("--time", Kind.TEXT, "When the scene was taken (UTC)", "2021-06-01T10:11:12; "
                   "the file's acquisition time if empty."),
        ),
        *CLOUDS,
        *LINES,
        *WATER_LEVEL,
        *VECTOR_FILES,
        OUT,
    ),
    outputs=(
        *drawn(field="probability", label="Probability of water"),
        Output("INDEX", Kind.RASTER, "Index", "_index.tif", shown=False),
        PROJECT,
        RECORD,
    ),
)  # fmt: skip

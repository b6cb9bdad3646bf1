"""`geounet tile` in QGIS."""

from __future__ import annotations

from geounet_qgis.options import (
    AREA,
    CLOUDS,
    MASK_CLOUDS,
    OVERWRITE,
    PRODUCT_HELP,
    SCENE,
    Command,
    Kind,
    Option,
    Output,
    advanced,
)

TILE = Command(
    name="tile",
    title="Cut chips to train on",
    help="Cuts scenes and labels into chips to train on, with a split that does not leak: training "
    "and test chips never share ground. How many chips each split has is in the log. Train with "
    "<code>geounet train</code> on the command line.",
    any_of=("SCENES", "PRODUCTS"),
    options=(
        Option("", Kind.RASTERS, "Scenes", "Raster layers or files with all bands.",
               called="SCENES"),
        Option("", Kind.FILES, "… and products", PRODUCT_HELP, called="PRODUCTS"),
        Option("--labels", Kind.LAYERS, "Labels", "Raster, or polygons of water or land. One for "
               "all scenes, or one for each, in their order, products last. Without labels chips "
               "are for an autoencoder."),
        Option("--labels-are", Kind.CHOICE, "What the polygons are", "The ground outside is the "
               "other; water if empty.", choices=("water", "land")),
        Option("--size", Kind.INTEGER, "Side of a chip [pixels]", default=256, least=1),
        *AREA,
        MASK_CLOUDS,
        OVERWRITE,
        *advanced(
            Option("--label-values", Kind.TEXT, "What the values of a label raster mean",
                   "0=land,1=water,2=surf:water,9=unknown; 0=land,1=water if empty."),
            Option("--labels-layer", Kind.TEXT, "Layer of the polygons"),
            Option("--labels-where", Kind.TEXT, "SQL condition that selects polygons",
                   "kind = 'sea'"),
            Option("--water-shares", Kind.FLAG, "Write how much of each pixel is water, too",
                   default=False),
            Option("--stride", Kind.INTEGER, "Distance between chips [pixels]", "Their side if "
                   "empty.", least=1),
            Option("--context", Kind.INTEGER, "Pixels of real neighbours around each chip",
                   default=0, least=0),
            Option("--min-valid", Kind.NUMBER, "Least share of a chip's pixels with data",
                   default=0.5, least=0, most=1),
            Option("--val", Kind.NUMBER, "Share for validation", default=0.15, least=0, most=1),
            Option("--test", Kind.NUMBER, "Share for testing", default=0.15, least=0, most=1),
            Option("--block", Kind.NUMBER, "Side of the blocks of one split [m]", "From the size "
                   "of the chips if empty.", least=1),
            Option("--seed", Kind.INTEGER, "Seed of the division", default=0, least=0),
            Option("--split-by", Kind.CHOICE, "Divide blocks of ground, or whole scenes",
                   default="block", choices=("block", "scene")),
        ),
        *SCENE,
        *CLOUDS,
        Option("--out", Kind.FOLDER_OUT, "Chip folder", required=True),
    ),
    outputs=(Output("CHIPS", Kind.VECTOR, "Chips", "index.parquet"),),
)  # fmt: skip

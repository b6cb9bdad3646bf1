"""`geounet evaluate` in QGIS."""

from __future__ import annotations

from geounet_qgis.options import OVERWRITE, Command, Kind, Number, Option, Output, advanced

EVALUATE = Command(
    name="evaluate",
    title="Evaluate a result",
    help="Holds a result against the truth: scores of pixels, and distances between lines in "
    "metres, both ways, with intervals. The tables are in the log; on the map come the lines, "
    "coloured by how far they are off.",
    one_of=("RESULTS", "PREDICTION"),
    options=(
        Option("", Kind.FILE, "Results", "Folder of results, or the NAME.json of one.",
               called="RESULTS", only="Records (*.json);;All files (*)"),
        Option("", Kind.LAYER, "… or a layer", "A mask raster of anyone's, or lines or polygons of "
               "water.", called="PREDICTION"),
        Option("--name", Kind.TEXT, "Which result, where the folder holds several"),
        Option("--reference", Kind.LAYERS, "Reference", "The truth: a raster, polygons or lines. "
               "Two will do: an area for pixel scores, lines for distances.", required=True),
        Option("--labels-are", Kind.CHOICE, "What reference polygons are", "The ground outside is "
               "the other; water if empty.", choices=("water", "land")),
        Option("--kind", Kind.TEXT, "Only predicted lines of this kind", "Such as sea."),
        Option("--exclude-cloud-suspect", Kind.FLAG, "Leave lines along clouds out",
               default=False),
        OVERWRITE,
        *advanced(
            Option("--label-values", Kind.TEXT, "What the values of a reference raster mean",
                   "0=land,1=water if empty."),
            Option("--mask-values", Kind.TEXT, "What the values of a mask of someone else's mean",
                   "0=land,1=water if empty."),
            Option("--labels-layer", Kind.TEXT, "Layer of the reference"),
            Option("--labels-where", Kind.TEXT, "SQL condition on the reference", "kind = 'sea'"),
            Option("--pixel", Kind.NUMBER, "What a pixel is to predicted lines or polygons [m]",
                   least=0.001),
            Option("--within", Kind.FOLDER, "Chip folder to whose ground it is limited"),
            Option("--split", Kind.CHOICE, "Split of these chips", default="test",
                   choices=("train", "val", "test")),
            Option("--max-distance", Kind.NUMBER, "Lines further apart do not match [pixels]",
                   default=5.0, least=0.01),
            Option("--step", Kind.NUMBER, "From point to point along lines [pixels]", default=1.0,
                   least=0.01),
            Option("--block", Kind.NUMBER, "Side of the blocks drawn for 95 % intervals [km]",
                   default=1.0, least=0.01),
            Option("--seed", Kind.INTEGER, "Seed of these draws", default=0, least=0),
        ),
        Option("--json", Kind.FILE_OUT, "Scores", "NAME.scores.json beside the prediction if "
               "empty.", only="Scores (*.json)"),
    ),
    outputs=(
        Output("ERRORS", Kind.VECTOR, "Distances between the lines", ".errors.gpkg",
               layer="errors"),
        Output("SCORES", Kind.FILE, "Scores", ".scores.json"),
        Output("FIGURE", Kind.FILE, "Figure", ".scores.png"),
    ),
    numbers=(
        Number("ACCURACY", "Share of pixels that are right", ("pixels", "accuracy")),
        Number("MEDIAN_M", "Median distance from predicted line to reference [m]",
               ("lines", "predicted", "metres", "median")),
        Number("RMSE_M", "RMSE of these distances [m]", ("lines", "predicted", "metres", "rmse")),
    ),
)  # fmt: skip

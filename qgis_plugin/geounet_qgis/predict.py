"""`geounet predict` in QGIS."""

from __future__ import annotations

from geounet_qgis.options import (
    AREA,
    CLOUDS,
    LAND,
    LINES,
    MASK_CLOUDS,
    OUT,
    OVERWRITE,
    PRODUCT_HELP,
    PROJECT,
    RECORD,
    REPORT,
    SCENE,
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

PREDICT = Command(
    name="predict",
    title="Predict land, water and coastline",
    help="Draws mask, probability, coastline and areas of a scene with a trained model, and puts "
    "them on the map. Bands of scene and model go by name: what does not agree ends in a message "
    "that says what is missing.",
    one_of=("SCENE", "PRODUCT", "LIST"),
    options=(
        Option("", Kind.RASTER, "Scene", "Raster layer or file with all bands.", called="SCENE"),
        Option("", Kind.FILE, "… or a product", PRODUCT_HELP, called="PRODUCT"),
        Option("--model", Kind.FILE, "Model", "Model file that geounet train wrote.",
               required=True, only="Models (*.safetensors *.onnx);;All files (*)"),
        Option("--threshold", Kind.NUMBER, "Water is from a probability of", "Which was best when "
               "the model was validated is in its MODEL.md.", default=0.5, least=0.01, most=0.99),
        *AREA,
        *SEA,
        MASK_CLOUDS,
        LAND,
        REPORT,
        OVERWRITE,
        *advanced(
            Option("--from", Kind.FILE, "… or a list of scenes", "Text file with a scene in each "
                   "line, relative to its folder.", called="LIST"),
            Option("--skip-existing", Kind.FLAG, "Leave results that are whole and of the same",
                   default=False),
            Option("--probability", Kind.CHOICE, "Numbers of the probability raster",
                   "uint8 is in steps of 1/253.", default="uint8", choices=("uint8", "float32"),
                   called="PROBABILITY_TYPE"),
            Option("--accept-level", Kind.FLAG, "Take scenes of another processing level than the "
                   "model's", default=False),
            Option("--accept-sensor", Kind.FLAG, "Take bands of another sensor, by their common "
                   "names", default=False),
        ),
        *SCENE,
        *CLOUDS,
        *advanced(
            Option("--line-level", Kind.NUMBER, "Draw lines at another probability than the "
                   "mask's"),
        ),
        *LINES,
        *WATER_LEVEL,
        *VECTOR_FILES,
        *advanced(
            Option("--window", Kind.INTEGER, "Side of a window's core [pixels]",
                   "As large as memory allows if empty.", least=1),
            Option("--halo", Kind.TEXT, "Pixels read around a core", "default, exact, or a number.",
                   default="default"),
            Option("--batch", Kind.INTEGER, "Windows at once", default=1, least=1),
            Option("--precision", Kind.CHOICE, "Number format of the convolutions",
                   default="auto", choices=("auto", "fp32", "bf16")),
            Option("--device", Kind.TEXT, "Device", "auto, cpu, cuda or cuda:N.", default="auto"),
            Option("--memory", Kind.TEXT, "Memory to stay within", "Such as 512M or 2G; 1G if "
                   "empty."),
            Option("--read-timeout", Kind.NUMBER, "Seconds that one read may take", "0 waits for "
                   "ever.", default=600.0, least=0),
        ),
        OUT,
    ),
    outputs=(
        *drawn(field="probability", label="Probability of water"),
        Output("PICTURE", Kind.RASTER, "Scene", "_rgb.tif"),
        PROJECT,
        RECORD,
    ),
)  # fmt: skip

"""What a user may say of a prediction."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from geounet.formats import VectorOptions
from geounet.line_options import LineOptions
from geounet.predict.models import ForeignOptions

DIVIDE = 25.0
"""Megapixels of a strip at most: what a kill costs, and what one of many workers is given. Less
costs time at each strip's edges, more leaves workers idle at the end of a scene."""


@dataclass(frozen=True)
class PredictSettings:
    """What a user may say of a prediction; the model file says the rest."""

    window: int | None = None
    """Side of the core of a window, or of one that is blended, in pixels; None chooses it."""
    halo: int | Literal["default", "exact"] = "default"
    """Pixels read around a core, or which of the model file's two; windows that are blended have
    none."""
    batch: int = 1
    """Windows per forward pass."""
    threads: int | None = None
    """Of torch on a CPU; None is as many as it has."""
    divide: float = DIVIDE
    """Megapixels above which a scene is predicted in strips, which are no larger; 0 divides none.
    No byte of a result depends on it."""
    resume: bool = False
    """Whether strips that an earlier run left are taken, and those of this one stay if it ends
    before its time."""
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    """Of the convolutions; auto is bf16 where the hardware multiplies it."""
    backend: Literal["auto", "eager", "compile"] = "auto"
    """Whether torch compiles the network first; auto is eager."""
    device: str = "auto"
    """auto, cpu, cuda or cuda:N."""
    memory: int | None = None
    """Bytes that a run may take beyond import and model; None is 1 GiB, and more for a wide exact
    halo."""
    threshold: float = 0.5
    """Probability from which a pixel is water, and at which the line is drawn."""
    probability: Literal["uint8", "float32"] = "uint8"
    """How the probability raster is written."""
    aoi: Path | None = None
    """Polygons, or anything with `aoi_buffer`; outside it the result is nodata."""
    aoi_buffer: float | None = None
    """By how much the shapes of `aoi` are widened, in metres on the ground."""
    accept_level: bool = False
    """Whether a scene of another processing level than the model's will do."""
    accept_sensor: bool = False
    """Whether bands of another sensor may stand in for the model's."""
    foreign: ForeignOptions | None = None
    """What is known of an ONNX file that is not ours."""
    lines: LineOptions = LineOptions()  # noqa: RUF009  frozen
    """How lines and areas are drawn."""
    vectors: VectorOptions = VectorOptions()  # noqa: RUF009  frozen
    """In which formats and CRS lines and areas are written."""
    overwrite: bool = False
    """Whether results that exist are replaced."""
    report: bool = False
    """Whether a page is drawn of each result."""
    command_line: str | None = None
    """What was typed, for the record; None where nobody typed anything."""

"""What is evaluated: a result of geounet, or a mask, lines or polygons of anyone's."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyogrio
import rasterio
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS

from geounet.classes import LabelClass
from geounet.errors import LabelError, ResultError
from geounet.evaluate.drawn import NoMask, grid_around
from geounet.evaluate.reference import Reference, ReferenceOptions, open_reference
from geounet.labels import (
    LabelSource,
    LabelValues,
    PolygonLabels,
    RasterLabels,
    is_raster,
    parse_values,
)
from geounet.outputs import COMMANDS, SCORES, find_record, list_records, read_record, sha256_of
from geounet.ragged import Geometries
from geounet.vectors import split_layer

logger = logging.getLogger(__name__)

__all__ = [
    "LineChoice",
    "PredictedLines",
    "Prediction",
    "default_scores_path",
    "evaluated_files",
    "list_records",
    "open_prediction",
    "result_file",
]


@dataclass(frozen=True)
class LineChoice:
    """Which of the predicted lines count."""

    kind: str | None = None
    """Those of this `kind` only, such as `sea`."""
    exclude_cloud_suspect: bool = False
    """Not those that go along or under cloud."""

    @property
    def columns(self) -> tuple[str, ...]:
        """By which it is chosen."""
        suspect = ("cloud_suspect",) if self.exclude_cloud_suspect else ()
        return (*(("kind",) if self.kind is not None else ()), *suspect)

    def choose(
        self, columns: Mapping[str, NDArray[Any]], count: int, file: str
    ) -> NDArray[np.bool_]:
        """Return which of the lines are chosen, (count,).

        Args:
            columns: What is known of each line.
            count: How many there are.
            file: What they are from.

        Raises:
            ResultError: A column is missing, or none is of that kind.
        """
        if missing := [name for name in self.columns if name not in columns]:
            option = "--kind" if "kind" in missing else "--exclude-cloud-suspect"
            raise ResultError(
                f"The lines of {file} have no column {' or '.join(missing)}, by which {option} "
                "chooses. Make the result again with this geounet, or leave the option out."
            )
        chosen = np.ones(count, dtype=np.bool_)
        if self.kind is not None:
            chosen &= columns["kind"] == self.kind
            if count and not chosen.any():
                there = ", ".join(sorted({str(kind) for kind in columns["kind"]}))
                raise ResultError(
                    f"{file} has no lines of kind {self.kind}; it has {there}. Results know sea "
                    "and lake where --sea said what the sea is."
                )
        if self.exclude_cloud_suspect:
            # Null, where nobody knows of clouds, is no reason to leave a line out.
            chosen &= ~np.asarray(columns["cloud_suspect"] == 1, dtype=np.bool_)
        return chosen


EVERY_LINE = LineChoice()


class PredictedLines(NamedTuple):
    """Lines of a result, land on their left."""

    lines: Geometries
    crs: CRS
    chosen: NDArray[np.bool_]
    """(n,), which of them count."""


@dataclass(frozen=True)
class Prediction:
    """A mask on its grid, and the line that came with it."""

    name: str
    path: Path
    """What was asked for: the record `NAME.json`, or the mask itself."""
    mask: LabelSource
    geobox: GeoBox
    record: dict[str, Any] | None
    """None for a mask of someone else's."""
    lines: Path | None
    """GeoPackage with the layer `coastline`; None where it is no result of ours."""
    drawn: Reference | None = None
    """Lines or polygons of someone else's."""

    @property
    def mapped(self) -> bool:
        """Whether it says of each pixel what it is."""
        return self.drawn is None or self.drawn.area is not None

    @property
    def directed(self) -> bool:
        """Whether its lines have land on their left."""
        return self.drawn is None or self.drawn.directed

    def read_lines(self, choice: LineChoice = EVERY_LINE) -> PredictedLines:
        """Return the predicted lines, and which of them are chosen.

        Raises:
            ResultError: There is no such layer, or it does not tell what they are chosen by.
        """
        assert self.lines is not None
        try:
            about, _, wkb, columns = pyogrio.raw.read(
                self.lines, layer="coastline", columns=list(choice.columns), force_2d=True
            )
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
            why = " ".join(str(error).split())
            raise ResultError(f"{self.lines} has no lines to compare: {why}.") from error
        lines, line = shapely.get_parts(shapely.from_wkb(wkb), return_index=True)
        by_name = dict(zip(about["fields"], columns, strict=True))
        chosen = choice.choose(by_name, len(wkb), str(self.lines))
        return PredictedLines(lines, CRS.from_user_input(about["crs"]), chosen[line])


def open_prediction(
    path: Path, *, name: str | None, values: str | None, pixel_m: float | None = None
) -> Prediction:
    """Open what is to be evaluated.

    Args:
        path: A folder of results, a record `NAME.json`, a mask raster, or a vector file with lines
            or polygons of water, `file.gpkg|layer`.
        name: Which result of a folder; may be left out where there is one only.
        values: What the values of a mask raster mean, as in `0=land,1=water`, which is the
            default. A result of geounet says it itself.
        pixel_m: What a pixel is to lines and polygons, in metres.

    Raises:
        ResultError: There is none, there are several, it is incomplete, cannot be read, or its
            values are not those named.
    """
    file, _ = split_layer(str(path))
    if not file.exists():
        raise ResultError(f"{path} is not there. Check the path.")
    record_path = find_record(path, name) if path.is_dir() else path
    if path.is_dir() or (path == file and _looks_like_record(path)):
        if values is not None:
            raise ResultError(f"{record_path} says what its mask's values mean: no --mask-values.")
        return _open_result(record_path)
    if not is_raster(file):
        return _open_drawn(path, pixel_m)
    meaning = parse_values(values or "0=land,1=water")
    return _with_mask(path, path.stem, path, meaning, record=None, lines=None)


def default_scores_path(path: Path, *, name: str | None) -> Path:
    """Return where scores go if nobody says it: `NAME.scores.json` beside the prediction.

    Raises:
        ResultError: The folder holds no such prediction, or more than one.
    """
    file = find_record(path, name) if path.is_dir() else split_layer(str(path))[0]
    return file.with_name(f"{file.stem}{SCORES}")


def evaluated_files(path: Path, references: Sequence[str], name: str | None) -> list[Path]:
    """Return the files that are read, as far as they are named: a record stands for its set.

    Raises:
        ResultError: The folder holds no such prediction, or more than one.
    """
    file = find_record(path, name) if path.is_dir() else split_layer(str(path))[0]
    return [file, *(split_layer(text)[0] for text in references)]


def _looks_like_record(path: Path) -> bool:
    if path.suffix.lower() == ".geojson":
        return False
    with path.open("rb") as file:
        return file.read(64).lstrip()[:1] == b"{"


def _open_drawn(path: Path, pixel_m: float | None) -> Prediction:
    """Open lines or polygons of water."""
    try:
        drawn = open_reference(str(path), ReferenceOptions())
    except LabelError as error:
        raise ResultError(
            f"{path} is neither a result of geounet (a folder, or its NAME.json) nor a mask "
            f"raster, and not lines or polygons either: {error}"
        ) from None
    if pixel_m is None:
        raise ResultError(
            f"{path} has no pixels, in which --max-distance and others are counted. "
            "Say how large one is in metres: --pixel 10."
        )
    area, vectors = drawn.area, drawn.lines
    if isinstance(area, PolygonLabels):
        vectors = area.vectors
    assert vectors is not None
    mask: LabelSource = NoMask() if area is None else area
    name, geobox = split_layer(str(path))[0].stem, grid_around(vectors, pixel_m)
    mask.prepare(geobox, scene=name)
    return Prediction(name, path, mask, geobox, None, None, drawn)


def _open_result(record_path: Path) -> Prediction:
    record = read_record(record_path)
    name = record_path.stem
    if record["command"] not in COMMANDS:
        raise ResultError(
            f"{record_path} is a record of `geounet {record['command']}`, not of a result. "
            "Give that of predict, baseline or coastline."
        )
    mask = result_file(record_path, record, f"{name}_mask.tif")
    lines = result_file(record_path, record, f"{name}.gpkg")
    classes = tuple(LabelClass.from_dict(fields) for fields in record["classes"])
    meaning = LabelValues(
        classes, {float(one.value): one.value for one in classes}, "those of the record"
    )
    return _with_mask(record_path, name, mask, meaning, record=record, lines=lines)


def result_file(record_path: Path, record: dict[str, Any], filename: str) -> Path:
    """Return a file of a result, having compared it with the record."""
    path = record_path.parent / filename
    listed = record["files"].get(filename)
    if listed is None or not path.is_file():
        raise ResultError(
            f"The result {record_path} is incomplete: {filename} is not there. Make it again."
        )
    if sha256_of(path) != listed["sha256"]:
        logger.warning("%s was changed after it was made; it is taken as it is now.", path)
    return path


def _with_mask(
    path: Path,
    name: str,
    mask: Path,
    meaning: LabelValues,
    *,
    record: dict[str, Any] | None,
    lines: Path | None,
) -> Prediction:
    try:
        labels = RasterLabels.open(mask, meaning)
        with rasterio.open(mask) as src:
            geobox = GeoBox(src.shape, src.transform, src.crs)
        labels.prepare(geobox, scene=name)
    except LabelError as error:  # a mask is read as labels are, but by an option of its own
        raise ResultError(str(error).replace("--label-values", "--mask-values")) from None
    return Prediction(name, path, labels, geobox, record, lines)

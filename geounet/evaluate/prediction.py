"""What is evaluated: a result of geounet, or a mask raster of anyone's."""

import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import rasterio
import shapely
from odc.geo.geobox import GeoBox
from pyproj import CRS

from geounet.classes import LabelClass
from geounet.contours import Geometries
from geounet.errors import LabelError, ResultError
from geounet.labels import LabelSource, LabelValues, RasterLabels, is_raster, parse_values
from geounet.outputs import SCORES, read_record, sha256_of

logger = logging.getLogger(__name__)

COMMANDS = ("predict", "baseline")
"""Those whose results are masks."""


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
    """GeoPackage with the layer `coastline`; None where the mask is all there is."""

    def read_lines(self) -> tuple[Geometries, CRS]:
        """Return the predicted lines, land on their left, and the CRS they are in.

        Raises:
            ResultError: There is no such layer.
        """
        assert self.lines is not None
        try:
            about, _, wkb, _ = pyogrio.raw.read(
                self.lines, layer="coastline", columns=[], force_2d=True
            )
        except (pyogrio.errors.DataSourceError, pyogrio.errors.DataLayerError) as error:
            why = " ".join(str(error).split())
            raise ResultError(f"{self.lines} has no lines to compare: {why}.") from error
        return np.atleast_1d(shapely.from_wkb(wkb)), CRS.from_user_input(about["crs"])


def open_prediction(path: Path, *, name: str | None, values: str | None) -> Prediction:
    """Open what is to be evaluated.

    Args:
        path: A folder of results, a record `NAME.json`, or a mask raster.
        name: Which result of a folder; may be left out where there is one only.
        values: What the values of a mask raster mean, as in `0=land,1=water`, which is the
            default. A result of geounet says it itself.

    Raises:
        ResultError: There is none, there are several, it is incomplete, no raster, or its values
            are not those named.
    """
    if not path.exists():
        raise ResultError(f"{path} is not there. Check the path.")
    record_path = _find_record(path, name) if path.is_dir() else path
    if path.is_dir() or _looks_like_json(path):
        if values is not None:
            raise ResultError(f"{record_path} says what its mask's values mean: no --mask-values.")
        return _open_result(record_path)
    if not is_raster(path):
        raise ResultError(
            f"{path} is neither a result of geounet (a folder, or its NAME.json) nor a mask raster."
        )
    meaning = parse_values(values or "0=land,1=water")
    return _with_mask(path, path.stem, path, meaning, record=None, lines=None)


def _find_record(folder: Path, name: str | None) -> Path:
    """Return the record in a folder that holds one, or is called `name`."""
    records = list_records(folder)
    if name is not None:
        records = [record for record in records if record.stem == name]
    if len(records) == 1:
        return records[0]
    there = ", ".join(sorted(record.stem for record in list_records(folder)))
    if records:
        raise ResultError(f"{folder} holds several results: {there}. Say which with --name.")
    called = f" called {name}" if name is not None else ""
    hint = f"it has {there}." if there else "`geounet predict` makes them."
    raise ResultError(f"{folder} holds no result{called}: no NAME.json of one; {hint}")


def list_records(folder: Path) -> list[Path]:
    """Return the records of results in a folder, in the order of their names."""

    def is_record(path: Path) -> bool:
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return False
        return isinstance(record, dict) and record.get("command") in COMMANDS

    return sorted(path for path in folder.glob("*.json") if is_record(path))


def default_scores_path(path: Path, *, name: str | None) -> Path:
    """Return where scores go if nobody says it: `NAME.scores.json` beside the prediction.

    Raises:
        ResultError: The folder holds no such prediction, or more than one.
    """
    file = _find_record(path, name) if path.is_dir() else path
    return file.with_name(f"{file.stem}{SCORES}")


def _looks_like_json(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(64).lstrip()[:1] == b"{"


def _open_result(record_path: Path) -> Prediction:
    record = read_record(record_path)
    name = record_path.stem
    if record["command"] not in COMMANDS:
        raise ResultError(
            f"{record_path} is a record of `geounet {record['command']}`, not of a result. "
            "Give that of predict or baseline."
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

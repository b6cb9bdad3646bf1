"""Coastlines with what is known of them: when, how well placed, at which level of water."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pandas as pd
import pyogrio
from numpy.typing import NDArray
from pyogrio.errors import DataLayerError, DataSourceError
from pyproj import CRS

from geounet.distances import Pieces
from geounet.errors import TransectError
from geounet.evaluate.prediction import list_records, result_file
from geounet.outputs import read_record
from geounet.transects.curves import geodesic_pieces, line_parts
from geounet.vectors import split_layer

logger = logging.getLogger(__name__)

LAYER = "coastline"
NUMBERS = ("position_u95_m", "edge_width_m", "water_level_m")
TEXTS = ("scene", "kind", "level_datum")
ATTRIBUTES = (*NUMBERS, *TEXTS, "time", "cloud_suspect")
"""Columns that are taken over where a layer has them, with their names in results."""
TRUTHS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False, "": False}
"""As text has them, in lower case."""


@dataclass(frozen=True)
class CoastlineOptions:
    """What the user says about coastlines."""

    time_field: str | None = None
    """Column with the time; None is `time`, where there is one."""
    kind: str | None = None
    """Only lines of this kind, such as `sea`."""


@dataclass(frozen=True)
class CoastlineSource:
    """One file with lines, of one date or many."""

    path: Path
    layer: str | None
    """None for a GeoParquet file, which has no layers."""
    result: bool
    """Whether it is of `predict` or `baseline`."""

    @property
    def name(self) -> str:
        """For people and tables."""
        return self.path.stem


@dataclass(frozen=True)
class Coastlines:
    """The lines of a file."""

    pieces: Pieces
    """By longitude and latitude; `line` is the row of `about`."""
    about: pd.DataFrame
    """A row for each line: `ATTRIBUTES`, of which `time` is in UTC, null where not known."""
    directed: bool
    """Whether land is known to be on the left of them."""


def find_sources(texts: Sequence[str]) -> list[CoastlineSource]:
    """Return the files with lines that arguments name.

    Args:
        texts: Folders of results, records `NAME.json`, or vector files, `file.gpkg|layer`.

    Raises:
        TransectError: One is not there, holds no result, or does not say which layer.
        ResultError: A result is incomplete or of a newer format.
    """
    sources = [source for text in texts for source in _sources_of(text)]
    keys = [(source.path.resolve(), source.layer) for source in sources]
    for i, key in enumerate(keys):
        if key in keys[:i]:
            raise TransectError(f"{sources[i].path} is given twice. Give each coastline once.")
    return sources


def _sources_of(text: str) -> list[CoastlineSource]:
    path, layer = split_layer(text)
    if not path.exists():
        raise TransectError(f"{path} is not there. Check the path.")
    if path.is_dir():
        records = list_records(path)
        if not records:
            raise TransectError(
                f"{path} holds no result: no NAME.json of one. Give a folder that `geounet "
                "predict` or `geounet baseline` wrote, or a vector file with lines."
            )
        return [_source_of_result(record) for record in records]
    if path.suffix == ".json" and path in list_records(path.parent):
        return [_source_of_result(path)]
    if path.suffix in {".parquet", ".geoparquet"}:
        return [CoastlineSource(path, None, result=False)]
    return [CoastlineSource(path, layer or only_layer(path), result=False)]


def _source_of_result(record_path: Path) -> CoastlineSource:
    record = read_record(record_path)
    path = result_file(record_path, record, f"{record_path.stem}.gpkg")
    return CoastlineSource(path, LAYER, result=True)


def only_layer(path: Path) -> str:
    """Return the one layer of a vector file, or its layer `coastline`.

    Raises:
        TransectError: It cannot be read, or has several others.
    """
    try:
        layers = pyogrio.list_layers(path)
    except DataSourceError as error:
        raise TransectError(f"{path} cannot be read: {_one_line(error)}.") from error
    names = [str(name) for name, geometry in layers if geometry is not None]
    if LAYER in names:
        return LAYER
    if len(names) != 1:
        raise TransectError(
            f"{path} has {'several layers' if names else 'no layer with shapes'}: "
            f"{', '.join(names) or 'none'}. Name one: '{path}|{names[-1] if names else 'layer'}'."
        )
    return names[0]


def read_shapes(
    path: Path, layer: str | None, *, columns: Sequence[str] | None = None
) -> tuple[geopandas.GeoDataFrame, CRS]:
    """Read shapes and columns; times come as text.

    Args:
        path: Vector file.
        layer: Its layer; None for a GeoParquet file.
        columns: Those to take, as far as they are there; None is all.

    Raises:
        TransectError: It cannot be read, or has no CRS.
    """
    try:
        if layer is None:
            shapes = geopandas.read_parquet(path)
            kept = [c for c in shapes.columns if columns is None or c in columns]
            names = dict.fromkeys([*kept, shapes.geometry.name])
            shapes = shapes[list(names)]
        else:
            there = pyogrio.read_info(path, layer=layer)["fields"]
            wanted = [c for c in there if columns is None or c in columns]
            shapes = pyogrio.read_dataframe(
                path, layer=layer, columns=wanted, force_2d=True, datetime_as_string=True
            )
    except (DataSourceError, DataLayerError, ValueError, OSError) as error:
        raise TransectError(f"{path} cannot be read: {_one_line(error)}.") from error
    if not isinstance(shapes, geopandas.GeoDataFrame):
        raise TransectError(f"{path} has no shapes, only a table. Give a layer of lines.")
    if shapes.crs is None:
        raise TransectError(
            f"{path} has no CRS, so nobody knows where it lies. "
            "Set one, for instance with `ogr2ogr -a_srs EPSG:4326`."
        )
    crs = CRS.from_user_input(shapes.crs)
    if crs.geodetic_crs is None:
        raise TransectError(
            f"{path} is in {crs.name}, which is not tied to the Earth. Give it a CRS that is."
        )
    return shapes, crs


def read_coastlines(source: CoastlineSource, options: CoastlineOptions) -> Coastlines:
    """Read the lines of a file, with what their columns say.

    Raises:
        TransectError: It cannot be read, holds other shapes than lines, has no CRS, no such time
            field or kind, or times that are not ISO 8601.
    """
    field = None if source.result else options.time_field
    columns = [*ATTRIBUTES, *([field] if field else [])]
    shapes, crs = read_shapes(source.path, source.layer, columns=columns)
    if field and field not in shapes.columns:
        raise TransectError(f"{source.path} has no column {field}, which --time-field names.")
    parts = line_parts(shapes.geometry.to_numpy())
    if parts.others and not len(parts.lines):
        raise TransectError(f"{source.path} has no lines, but other shapes. Give a layer of lines.")
    if parts.others:
        logger.warning("%s: %d shapes that are no lines are left out.", source.path, parts.others)
    about = _attributes(shapes, source, field or "time")
    keep = np.ones(len(about), dtype=np.bool_)
    if options.kind is not None:
        keep = _of_kind(about, options.kind, source)
    rows = np.flatnonzero(keep[parts.feature])
    about_lines = about.iloc[parts.feature].reset_index(drop=True)
    pieces = geodesic_pieces(parts.lines[rows], crs)
    pieces = Pieces(pieces.start, pieces.end, rows[pieces.line])
    return Coastlines(pieces, about_lines, directed=source.result or source.layer == LAYER)


def _attributes(shapes: pd.DataFrame, source: CoastlineSource, time_field: str) -> pd.DataFrame:
    """Return the columns of `ATTRIBUTES`; null where the file lacks them."""
    rows = pd.DataFrame(index=range(len(shapes)))
    for name in NUMBERS:
        values = shapes[name].to_numpy() if name in shapes else np.full(len(shapes), np.nan)
        try:
            rows[name] = pd.to_numeric(pd.Series(values), errors="raise").astype("float64")
        except (ValueError, TypeError):
            raise TransectError(f"{source.path}: column {name} is not all numbers.") from None
    _check_errors(rows["position_u95_m"], source)
    for name in TEXTS:
        rows[name] = shapes[name].to_numpy(dtype=object) if name in shapes else None
        rows[name] = rows[name].astype(object).where(rows[name].notna() & (rows[name] != ""), None)
    rows["scene"] = rows["scene"].where(rows["scene"].notna(), source.name)
    rows["cloud_suspect"] = (
        [_is_true(one, source) for one in shapes["cloud_suspect"]]
        if "cloud_suspect" in shapes
        else False
    )
    rows["time"] = _times(shapes, source, time_field)
    return rows


def _check_errors(u95_m: pd.Series, source: CoastlineSource) -> None:
    wrong = u95_m[(u95_m < 0) | np.isinf(u95_m)]
    if len(wrong):
        raise TransectError(
            f"{source.path}: column position_u95_m has {wrong.iloc[0]:g}, which is no distance. "
            "Write metres, or null where it is not known."
        )


def _is_true(value: Any, source: CoastlineSource) -> bool:
    """Return what a column of truths says, which not every format keeps as such."""
    if pd.isna(value):
        return False
    if not isinstance(value, str):
        return bool(value)
    if (said := value.strip().lower()) not in TRUTHS:
        raise TransectError(
            f"{source.path}: column cloud_suspect has {value!r}. Write true, false or null."
        )
    return TRUTHS[said]


def _times(shapes: pd.DataFrame, source: CoastlineSource, field: str) -> pd.Series:
    """Return times in UTC, to the millisecond; those that name no zone are UTC."""
    unknown = pd.Series(pd.NaT, index=range(len(shapes)), dtype="datetime64[ms, UTC]")
    if field not in shapes:
        return unknown
    values = pd.Series(shapes[field].to_numpy())
    if pd.api.types.is_float_dtype(values) and (values.dropna() % 1 == 0).all():
        values = values.astype("Int64")  # years beside nulls
    if not pd.api.types.is_datetime64_any_dtype(values):
        values = values.astype("string").replace("", pd.NA).str.replace("/", "-", regex=False)
    try:
        times = pd.to_datetime(values, format="ISO8601", utc=True)
    except (ValueError, TypeError, OverflowError):
        example = next((str(v) for v in values if not pd.isna(v)), "")
        raise TransectError(
            f"{source.path}: column {field} has times that are not ISO 8601 (it begins with "
            f"{example!r}). Write them as 2021-08-01 or 2021-08-01T10:31:00Z."
        ) from None
    return times.astype("datetime64[ms, UTC]")


def _of_kind(about: pd.DataFrame, kind: str, source: CoastlineSource) -> NDArray[np.bool_]:
    """Return which lines are of a kind."""
    keep = (about["kind"] == kind).to_numpy()
    if len(about) and not keep.any():
        kinds = sorted({str(one) for one in about["kind"] if one is not None})
        logger.warning(
            "%s has no line of kind %s; there are %s.",
            source.path, kind, ", ".join(kinds) or "lines without a kind",
        )  # fmt: skip
    return np.asarray(keep, dtype=np.bool_)


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")

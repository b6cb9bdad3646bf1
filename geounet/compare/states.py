"""What is compared: where land and water were, as a result or anyone's vector file says it."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyogrio
import shapely
from odc.geo.geobox import GeoBox
from pyogrio.errors import DataSourceError
from pyproj import CRS

from geounet.errors import ResultError
from geounet.evaluate.prediction import open_prediction
from geounet.labels import is_raster
from geounet.outputs import list_records, sha256_of
from geounet.transects.coastlines import (
    LAYER,
    CoastlineOptions,
    Coastlines,
    CoastlineSource,
    read_coastlines,
    read_shapes,
)
from geounet.vectors import (
    LINE_TYPES,
    POLYGON_TYPES,
    WGS84,
    Bounds,
    Geometries,
    of_type,
    repair,
    simple_parts,
    split_layer,
    transformer,
)

WATER = "water"
PARQUET = {".parquet", ".geoparquet"}
SHAPING = {
    "--simplify": "simplify_m",
    "--smooth": "smooth_m",
    "--min-area": "min_area_m2",
    "--min-length": "min_length_m",
}
"""Option → what a record calls it."""


@dataclass(frozen=True)
class State:
    """Where land and water were at one time."""

    text: str
    """As the user wrote it."""
    name: str
    crs: CRS
    """Of `water` and `bounds`."""
    bounds: Bounds
    water: Geometries | None
    """Polygons; None where only lines are known."""
    water_source: str
    """Where those are read from, `file.gpkg|layer`."""
    coast: Coastlines | None
    """None where outlines of `water` are all there is."""
    files: dict[str, str]
    """Path → SHA-256."""
    grid: GeoBox | None = None
    """Of a result, like all that follows; None for vector files."""
    mask: Path | None = None
    """Raster that says where it has data."""
    picture: Path | None = None
    """Quicklook, where it has one."""
    sensor: str | None = None
    method: str | None = None
    """Model file, or index, that made it."""
    level: float | None = None
    """At which its line was drawn."""
    date: str | None = None
    """Its day, as ISO 8601 has it; that may be known where no time is."""
    shaping: str = ""
    """Options that its lines and areas were evened out, thinned or sifted by; empty if none."""

    @property
    def times(self) -> pd.Series:
        """The different times of its lines, rising, without those not known."""
        if self.coast is None:
            return pd.Series([], dtype="datetime64[ms, UTC]")
        return self.coast.about["time"].dropna().drop_duplicates().sort_values(ignore_index=True)

    @property
    def time(self) -> pd.Timestamp | None:
        """When it was; of several times the first, None where nobody says."""
        return None if self.times.empty else self.times.iloc[0]

    @property
    def directed(self) -> bool:
        """Whether it is known on which side of its lines the water is."""
        return self.coast is None or self.coast.directed

    def describe(self) -> dict[str, Any]:
        """Return what it is, as the record has it."""
        epsg = self.crs.to_epsg()
        return {
            "given": self.text,
            "name": self.name,
            "files": self.files,
            "crs": f"EPSG:{epsg}" if epsg else self.crs.to_wkt(),
            "date": self.date,
            "times": [f"{time:%Y-%m-%dT%H:%M:%SZ}" for time in self.times],
            "sensor": self.sensor,
            "method": self.method,
            "level": self.level,
            "areas": self.water is not None,
            "lines": "drawn" if self.coast is not None else "outlines of areas",
            "directed": self.directed,
            "data_known": self.mask is not None,
        }


def open_state(text: str) -> State:
    """Read what is compared.

    Args:
        text: Folder of a result, its record `NAME.json`, or a vector file with polygons of water,
            lines, or both (layers `water` and `coastline`); `file.gpkg|layer` names a layer.

    Raises:
        ResultError: It is not there, or neither; a folder holds several results.
        TransectError: A layer cannot be read, or has no CRS.
    """
    path, layer = split_layer(text)
    if not path.exists():
        raise ResultError(f"{path} is not there. Check the path.")
    if path.is_dir():
        records = list_records(path)
        if len(records) > 1:
            there = ", ".join(record.name for record in records)
            raise ResultError(
                f"{path} holds several results: {there}. Give one of them, as {records[0]}."
            )
        return _open_result(text, path)
    if path.suffix == ".json" and path in list_records(path.parent):
        return _open_result(text, path)
    if path.suffix not in {*PARQUET, ".json", ".geojson"} and is_raster(path):
        raise ResultError(
            f"{path} is a raster. Draw its lines and areas with `geounet coastline` first, and "
            "compare those."
        )
    return _open_vectors(text, path, layer)


def _open_result(text: str, path: Path) -> State:
    prediction = open_prediction(path, name=None, values=None)
    lines, record = prediction.lines, prediction.record
    assert lines is not None
    assert record is not None
    water, crs = _polygons(lines, WATER)
    model, scene = record.get("model"), record.get("scene") or {}
    if model is not None:
        method = f"{model['file']} {model['sha256'][:12]}"
    else:
        method = ((record.get("baseline") or {}).get("index") or record["command"]).upper()
    mask, picture = (
        prediction.path.with_name(f"{prediction.name}_{kind}.tif") for kind in ("mask", "rgb")
    )
    coast = read_coastlines(CoastlineSource(lines, LAYER, result=True), CoastlineOptions())
    box = prediction.geobox.boundingbox
    bounds = (box.left, box.bottom, box.right, box.top)
    grid_crs = prediction.geobox.crs
    assert grid_crs is not None
    if crs != grid_crs.proj:
        bounds = transformer(grid_crs.proj, crs).transform_bounds(*bounds, densify_pts=21)
    return State(
        text,
        prediction.name,
        crs,
        bounds,
        water,
        f"{lines}|{WATER}",
        coast,
        {str(one): sha256_of(one) for one in (prediction.path, lines, mask)},
        grid=prediction.geobox,
        mask=mask,
        picture=picture if picture.is_file() else None,
        sensor=scene.get("sensor"),
        method=method,
        level=record.get("level"),
        date=scene.get("date"),
        shaping=_shaping(record),
    )


def _shaping(record: dict[str, Any]) -> str:
    """Return the options that changed lines after they were drawn, as they are typed."""
    lines: Any = record.get("settings")
    lines = lines.get("lines") if isinstance(lines, dict) else None
    if not isinstance(lines, dict):
        return ""  # of an older geounet
    said = {name: lines.get(key) for name, key in SHAPING.items()}
    return " ".join(f"{name} {n:g}" for name, n in said.items() if isinstance(n, float) and n)


def _open_vectors(text: str, path: Path, layer: str | None) -> State:
    chosen = [None] if path.suffix in PARQUET else [layer] if layer else _layers(path)
    water = coast = crs = None
    water_source = text
    bounds = []
    for one in chosen:
        shapes, found_crs = read_shapes(path, one, columns=[])
        parts = simple_parts(shapes.geometry.to_numpy())
        types = shapely.get_type_id(parts)
        if crs is not None and found_crs != crs:
            raise ResultError(f"{path} has layers in different CRS. Name one: '{path}|{LAYER}'.")
        crs = found_crs
        if np.isin(types, POLYGON_TYPES).any() or one == WATER:
            water = repair(of_type(parts, POLYGON_TYPES), name=str(path))
            water_source = f"{path}|{one}" if one else str(path)
        elif np.isin(types, LINE_TYPES).any() or one == LAYER:
            source = CoastlineSource(path, one, result=False)
            coast = read_coastlines(source, CoastlineOptions())
        else:
            raise ResultError(f"{path} has neither lines nor polygons. Give a layer of those.")
        if len(parts):
            bounds.append(shapely.total_bounds(parts))
    if not bounds:
        raise ResultError(f"{path} has no shapes to compare. Check the layer.")
    assert crs is not None
    left, bottom = np.min(bounds, axis=0)[:2].tolist()
    right, top = np.max(bounds, axis=0)[2:].tolist()
    files = {str(path): sha256_of(path)}
    box = (left, bottom, right, top)
    return State(text, path.stem, crs, box, water, water_source, coast, files)


def _layers(path: Path) -> list[str]:
    """Return which layers of a file to take."""
    try:
        layers = pyogrio.list_layers(path)
    except DataSourceError as error:
        why = " ".join(str(error).split()).rstrip(".")
        raise ResultError(f"{path} cannot be read: {why}.") from error
    names = [str(name) for name, geometry in layers if geometry is not None]
    if len(names) == 1:
        return names
    if known := [name for name in (LAYER, WATER) if name in names]:
        return known
    raise ResultError(
        f"{path} has {'several layers' if names else 'no layer with shapes'}: "
        f"{', '.join(names) or 'none'}. Name one: '{path}|{names[-1] if names else 'layer'}'."
    )


def _polygons(path: Path, layer: str) -> tuple[Geometries, CRS]:
    shapes, crs = read_shapes(path, layer, columns=[])
    parts = simple_parts(shapes.geometry.to_numpy())
    return repair(of_type(parts, POLYGON_TYPES), name=str(path)), crs


def lonlat_box(state: State) -> Bounds:
    """Return (west, south, east, north) of a state; west is greater than east across 180°."""
    return transformer(state.crs, WGS84).transform_bounds(*state.bounds, densify_pts=21)

"""What a file or folder is, recognised by its content: a scene, chips, a model, a result."""

import json
import math
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geounet.chips import CHIPS_MARK, open_chips
from geounet.chipset import ChipSet
from geounet.errors import (
    BandError,
    GeounetError,
    ResultError,
    SceneError,
    UnrecognisedError,
    reason,
)
from geounet.exported import exported_as
from geounet.outputs import COMMANDS, read_record, sha256_of
from geounet.scene import (
    Scene,
    SceneOptions,
    expand_sources,
    gdal_environment,
    is_there,
    open_scene,
)
from geounet.scene.advice import find_advice
from geounet.scene.glance import Glance, glance
from geounet.scene.quality import CloudClass
from geounet.scene.raster import open_raster
from geounet.scene.remote import is_remote
from geounet.swed import is_swed, open_swed
from geounet.vectors import crs_of

PERCENTILES = (2, 50, 98)
CLOUD_SIDE = 512
"""Points along each side of a scene by which its share of cloud is estimated."""
LACKING = 0.9
"""Chips with a smaller share of known pixels are listed."""
MODEL_FILE = "model.safetensors"
CHECKPOINT = "checkpoints/last.ckpt"
RECORD_LIMIT = 2**26
"""Bytes of a JSON file: what is longer is no record of ours."""
SHOWN: dict[str, type | tuple[type, ...]] = {
    "files": dict,
    "scene": dict,
    "plan": dict,
    "classes": list,
    "geounet": str,
    "level": (int, float),
}
"""What a record has to have, and of which type."""
RASTERS = frozenset([".tif", ".tiff", ".jp2", ".img", ".vrt"])
"""How band files in a folder end."""
MEASURED = ("compare", "transects")
"""Commands whose records tell of several results."""
PARTS = ("_mask.tif", "_probability.tif", "_index.tif", "_rgb.tif", ".gpkg", ".qgz")
"""How files of a result end."""
UNFINISHED = "A run that was to make it is still at work, or was stopped: run it again."


def describe_file(
    path: str | Path,
    options: SceneOptions = SceneOptions(),  # noqa: B008  frozen
) -> dict[str, Any]:
    """Say what a file, a folder or an address is.

    Args:
        path: A scene, an item collection, a chip folder, a model file or the folder of a training
            run, a result or a part or folder of it, a comparison, transects, or scores.
        options: What the user says, should it be a scene.

    Returns:
        As JSON has it; `kind` is `scene`, `items`, `raster`, `chips`, `model`, `exported`,
        `catalogued`, `result`, `results`, `part`, `scores` or `measured`.

    Raises:
        GeounetError: It is nothing that geounet reads, or damaged.
    """
    source, local = str(path), Path(path)
    if not source:
        raise SceneError("The path is empty. Give a file, a folder or an address.")
    with gdal_environment():
        if is_remote(source):
            return _describe_items(source) or _describe_scene(source, options)
        there = is_there(source)
        if there and local.is_dir():
            return _describe_folder(local, source, options)
        if there and local.is_file():
            if describe := _recognise(local):
                return describe(local)
            if part := _describe_part(local):
                return part
            return _describe_items(source) or _describe_scene(source, options)
        if there:
            raise SceneError(f"{source} is neither a file nor a folder. Give one.")
        if not source.startswith("/vsi") and "#" not in source:
            raise SceneError(f"{source} is not there. Check the path.{_why_not_there(local)}")
        return _describe_scene(source, options)


def _why_not_there(path: Path) -> str:
    """Return what a run that makes it has left beside it, as a sentence; empty if nothing."""
    if path.with_name(f".{path.name}.partial").is_dir():
        return f" {UNFINISHED}"
    return ""


def _describe_folder(path: Path, source: str, options: SceneOptions) -> dict[str, Any]:
    if (path / CHIPS_MARK).is_file():
        return _describe_chips(open_chips(path))
    if is_swed(path):
        swed = open_swed(path, lenient=True)
        return {**_describe_chips(swed), "suspects": dict(swed.suspects)}
    if (path / MODEL_FILE).is_file():
        return _describe_model(path / MODEL_FILE)
    if (path / CHECKPOINT).is_file():
        raise GeounetError(
            f"{path} holds a training run that is not finished: {CHECKPOINT}, but no {MODEL_FILE}. "
            "Go on with geounet train --resume, or start again with --overwrite."
        )
    records = sorted(p for p in path.glob("*.json") if _json_command(p) in COMMANDS)
    unfinished = sorted(
        p.name.removeprefix(".").removesuffix(".partial") for p in path.glob(".*.partial")
    )
    if len(records) == 1 and not unfinished:
        return _describe_result(records[0])
    if records or unfinished:
        return {
            "kind": "results",
            "path": str(path),
            "results": [_describe_result(record) for record in records],
            "unfinished": unfinished,
        }
    if measured := sorted(p for p in path.glob("*.json") if _json_command(p) in MEASURED):
        return _describe_measured(*measured)
    return _describe_scene(source, options)


def _describe_part(path: Path) -> dict[str, Any] | None:
    """Return of which result a file is a part; None if of none that is there."""
    for record in sorted(path.parent.glob("*.json")):
        if not path.name.startswith(record.stem) or _json_command(record) not in COMMANDS:
            continue
        with suppress(ResultError):  # said by who asks for the record
            found = read_record(record)
            if isinstance(found["files"], dict) and path.name in found["files"]:
                of = {"record": str(record), "command": found["command"]}
                return {"kind": "part", "path": str(path), **of}
    return None


def _why_no_part(source: str) -> str:
    """Return what a name like a result's says of a file that is no scene, as a sentence."""
    path = Path(source)
    for ending in PARTS:
        if path.name.endswith(ending) and path.is_file():
            record = path.with_name(f"{path.name.removesuffix(ending)}.json")
            return (
                f" It is called as a part of a result is, but {record} is not there: the run was "
                "stopped, or the files were moved apart."
            )
    return ""


def _describe_items(source: str) -> dict[str, Any] | None:
    """Return the scenes that an item collection lists; None if it is none."""
    sources = expand_sources([source])
    if sources == [source]:
        return None
    return {"kind": "items", "path": source, "items": sources}


def _recognise(path: Path) -> Callable[[Path], dict[str, Any]] | None:
    """Return what describes a file that begins as one of ours does; None for any other."""
    with path.open("rb") as file:
        start = file.read(256)
    if start.lstrip()[:1] == b"{" and (command := _json_command(path)):
        others = {"evaluate": _describe_scores, **dict.fromkeys(MEASURED, _describe_measured)}
        return others.get(command, _describe_result)
    if describe := exported_as(path, start):
        return describe
    if start[8:9] == b"{" and struct.unpack("<Q", start[:8])[0] < 2**27:
        return _describe_model  # safetensors: the header's length, and the header
    if start[:1] == b"\x80" or (start[:2] == b"PK" and b".pkl" in start):
        return _describe_model  # a pickle, which is refused there in so many words
    return None


def _json_command(path: Path) -> str | None:
    """Return which command wrote a JSON file; None if it is none of ours."""
    try:
        if path.stat().st_size > RECORD_LIMIT:
            return None
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return None
    command = fields.get("command") if isinstance(fields, dict) else None
    return command if command in (*COMMANDS, *MEASURED, "evaluate") else None


def _describe_scene(source: str, options: SceneOptions) -> dict[str, Any]:
    try:
        with open_scene(source, options, advise=False, first=True) as scene:
            described = scene.describe()
            layout = {"layout": described.pop("kind")}
            found = {"kind": "scene", **described, **layout, **_look_at(scene)}
            if scene.sensor is None and (why := _why_no_part(source)):
                found["problem"] = why.strip()
            return found
    except (SceneError, BandError) as error:
        if raster := _describe_raster(source):
            return {**raster, "problem": f"{error}{_why_no_part(source)}"}
        if not _is_unknown(source, error):
            raise
        raise SceneError(
            f"{source} is nothing that geounet reads: a scene (raster, folder of bands, SAFE or "
            "Landsat product, STAC item, YAML), a chip folder, a model file, or a result."
            f"{_why_no_part(source)} As a scene: {error}"
        ) from error


def _is_unknown(source: str, error: GeounetError) -> bool:
    """Whether nothing tells what a source is: then it may have been meant as anything."""
    path = Path(source)
    if is_there(source) and path.is_dir():
        return not any(one.suffix.lower() in RASTERS or one.is_dir() for one in path.iterdir())
    return isinstance(error, UnrecognisedError) and str(error).startswith(source)


def _look_at(scene: Scene) -> dict[str, Any]:
    """Return where a scene lies, and what a look at it tells."""
    corners, bounds = footprint(scene.geobox)
    found: dict[str, Any] = {
        "footprint": {"corners": corners, "bounds": bounds},
        "clouds": _clouds(scene),
        "valid_share": None,
        "sampled_pixels": 0,
        "reflectance": None,
        "dn": None,
        "advice": [],
    }
    try:
        scene.scaling([band.id for band in scene.bands])
    except SceneError as error:
        found["problem"] = str(error)
    seen = glance(scene)
    if seen is None:
        return found
    found |= {
        "valid_share": seen.valid_share,
        "sampled_pixels": seen.valid.size,
        "advice": find_advice(seen, sensor=scene.sensor, level=scene.level),
    }
    if not seen.valid.any():
        return found
    kind = "dn" if "problem" in found else "reflectance"
    found[kind] = {band.id: _spread(seen, i, kind) for i, band in enumerate(seen.bands)}
    return found


def _spread(seen: Glance, band: int, kind: str) -> dict[str, float]:
    """Return what most pixels of a band lie between."""
    values = seen.dn[band][seen.valid] if kind == "dn" else seen.reflectance(band, seen.valid)
    low, median, high = np.percentile(np.asarray(values, dtype=np.float64), PERCENTILES)
    return {"p2": float(low), "median": float(median), "p98": float(high)}


def _clouds(scene: Scene) -> dict[str, Any] | None:
    """Return what says where clouds are, and about how much is; None where nothing does.

    Over a network the layer is not read: it has to be taken as it is, without overviews.
    """
    layer = scene.quality
    if layer is None:
        return None
    if is_remote(layer.path):
        return {"source": layer.source, "share": None, "known": None}
    height, width = (min(CLOUD_SIDE, size) for size in scene.geobox.shape)
    coarse = scene.clouds.on(scene.geobox.zoom_to((height, width)))
    codes = coarse.classes(Window(0, 0, width=width, height=height))
    known = codes != CloudClass.UNKNOWN
    cloud = np.isin(codes, (CloudClass.CLOUD_MEDIUM, CloudClass.CLOUD_HIGH, CloudClass.CIRRUS))
    return {
        "source": layer.source,
        "share": float(cloud.sum() / known.sum()) if known.any() else None,
        "known": float(known.mean()),
    }


def footprint(geobox: GeoBox) -> tuple[list[list[float]], list[float]]:
    """Return where a grid lies, in degrees of WGS 84.

    Returns:
        Longitude and latitude of its corners, clockwise from that of its first pixel; and west,
        south, east, north around it, as GeoJSON has them: across the antimeridian west is the
        larger. A grid around a pole reaches from -180 to 180.

    Raises:
        SceneError: Part of it is where its CRS is not defined.
    """
    height, width = geobox.shape
    steps = np.linspace(0, 1, 21)
    # Sides are curved on the ground: points along them, clockwise.
    cols = np.concatenate([steps, np.ones(21), steps[::-1], np.zeros(21)]) * width
    rows = np.concatenate([np.zeros(21), steps, np.ones(21), steps[::-1]]) * height
    to_degrees = Transformer.from_crs(crs_of(geobox), "EPSG:4326", always_xy=True)
    a, b, c, d, e, f, *_ = geobox.transform
    lon, lat = to_degrees.transform(a * cols + b * rows + c, d * cols + e * rows + f)
    if not (np.isfinite(lon).all() and np.isfinite(lat).all()):
        raise SceneError(
            f"The grid begins at {c:g}, {f:g}, has pixels of {a:g} × {e:g}, and reaches to "
            f"where {geobox.crs} is not defined. Check the geotransform and the CRS."
        )
    # Angles from the first point on do not jump where longitudes do.
    lon = lon[0] + np.cumsum(np.concatenate([[0], (np.diff(lon) + 180) % 360 - 180]))
    corners = [[_half_turn(lon[i]), round(float(lat[i]), 6)] for i in (0, 21, 42, 63)]
    south, north = round(float(lat.min()), 6), round(float(lat.max()), 6)
    if abs(lon[-1] - lon[0]) > 180:  # once around a pole
        south, north = (south, 90.0) if south + north > 0 else (-90.0, north)
        return corners, [-180.0, south, 180.0, north]
    if lon.max() - lon.min() >= 360:
        return corners, [-180.0, south, 180.0, north]
    return corners, [_half_turn(lon.min()), south, _half_turn(lon.max()), north]


def _half_turn(lon: float) -> float:
    """Return a longitude from -180 to 180."""
    return round(float((lon + 180) % 360 - 180), 6)


def _describe_raster(path: str) -> dict[str, Any] | None:
    """Return what GDAL says of a raster that is no scene; None if it is no raster."""
    try:
        with open_raster(path) as src:
            return {
                "kind": "raster",
                "source": path,
                "driver": src.driver,
                "shape": list(src.shape),
                "crs": src.crs.to_string() if src.crs else None,
                "transform": [n if math.isfinite(n) else None for n in list(src.transform)[:6]],
                "dtypes": list(src.dtypes),
                "bands": list(src.descriptions),
                "nodata": None if src.nodata is None else str(src.nodata),
            }
    except (SceneError, RasterioError):
        return None


def _describe_chips(chips: ChipSet) -> dict[str, Any]:
    """Return what a chip folder holds, and which chips lack data."""
    index = chips.index
    lacking = index[index["valid"] < LACKING].sort_values(["valid", "chip"])
    return {
        "kind": "chips",
        "path": str(chips.path),
        **chips.info.model_dump(mode="json"),
        "splits": {
            str(split): {
                str(name): None if math.isnan(value) else float(value)  # JSON has no NaN
                for name, value in row.items()
            }
            for split, row in chips.summary().iterrows()
        },
        "all_land": int((index["water"] == 0).sum()),
        "all_water": int((index["water"] == 1).sum()),
        "lacking_data": {
            str(chip): float(valid)
            for chip, valid in zip(lacking["chip"], lacking["valid"], strict=True)
        },
    }


def _describe_model(path: Path) -> dict[str, Any]:
    from geounet.model_file import read_header  # imports torch: only when needed

    header = read_header(path)
    return {
        "kind": "model",
        "path": str(path),
        "bytes": path.stat().st_size,
        "sha256": sha256_of(path),
        **header.model_dump(mode="json"),
    }


def _describe_result(path: Path) -> dict[str, Any]:
    """Return the record of a result, and whether its files are there and agree with it."""
    record = read_record(path)
    _check_shape(record, path)
    return {"kind": "result", "path": str(path), **_state_of(record, path), **record}


def _state_of(record: dict[str, Any], path: Path) -> dict[str, Any]:
    """Return whether the files of a record are there, and which do not agree with it."""
    wrong = {}
    for name, listed in record["files"].items():
        file = path.parent / Path(name).name
        if not file.is_file():
            wrong[name] = "missing"
        elif file.stat().st_size != listed["bytes"] or sha256_of(file) != listed["sha256"]:
            wrong[name] = "changed since"
    return {
        "complete": not any(what == "missing" for what in wrong.values()),
        "disagreeing": wrong,
    }


def _describe_measured(*paths: Path) -> dict[str, Any]:
    """Return the records of comparisons and of transects."""
    records = []
    for path in paths:
        record = read_record(path)
        try:
            state = _state_of(record, path)
            said = _measured(record)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ResultError(f"{path} is damaged: {reason(error)}. Measure again.") from None
        records.append({"path": str(path), **state, "said": said, **record})
    return {"kind": "measured", "records": records}


def _measured(record: dict[str, Any]) -> str:
    """Say in a line what was measured, of what, and what came of it."""
    if record["command"] == "compare":
        movement, area = record["movement"], record["area"]
        moved = movement["median_m"]
        found = [f"{movement['matched_m'] / 1000:.2f} km of coast"]
        if moved is not None:
            found.append(f"median {moved:+.2f} m")
        if area is not None:
            found.append(f"{area['net_m2']:+,.0f} m² net")
        return f"{record['from']['given']} → {record['to']['given']}: {', '.join(found)}"
    counts = record["counts"]
    rate = counts["median_rate"]
    found = [f"{counts['positions']} positions of {counts['dates']} dates"]
    if rate is not None:
        found.append(f"{counts['rates']} rates, median {rate:+.2f} m/year")
    return (
        f"{len(record['coastlines'])} files on {counts['transects']} transects of "
        f"{record['baseline']['path']}: {', '.join(found)}"
    )


def _check_shape(record: dict[str, Any], path: Path) -> None:
    """Check that what is to be shown of a record is there.

    Raises:
        ResultError: It is not.
    """
    # What is drawn of a raster has no plan of windows, and nobody knows bands or date of its scene.
    drawn = record["command"] == "coastline"
    shown = {name: kind for name, kind in SHOWN.items() if not (drawn and name == "plan")}
    missing = [name for name, kind in shown.items() if not isinstance(record.get(name), kind)]
    if not missing:
        files, scene = record["files"].values(), record["scene"]
        whole = all(isinstance(one, dict) and {"bytes", "sha256"} <= one.keys() for one in files)
        missing = [] if whole else ["files"]
        told = {"name", "time"} if drawn else {"name", "time", "date"}
        missing += ["scene"] if told - scene.keys() else []
        raster = record.get("raster")
        whole = isinstance(raster, dict) and "quantity" in raster
        missing += ["raster"] if drawn and not whole else []
    if missing:
        raise ResultError(
            f"{path} is damaged: {', '.join(missing)} is not as geounet writes it. Make the result "
            "again."
        )


def _describe_scores(path: Path) -> dict[str, Any]:
    scores: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if not {"prediction", "references", "pixels", "lines"} <= scores.keys():
        raise GeounetError(f"{path} is damaged: scores lack their tables. Evaluate again.")
    return {"kind": "scores", "path": str(path), **scores}

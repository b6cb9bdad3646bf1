"""What a file or folder is, recognised by its content: a scene, chips, a model, a result."""

import json
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geounet.chips import CHIPS_MARK, ChipFolder, open_chips
from geounet.errors import BandError, GeounetError, SceneError
from geounet.outputs import read_record, sha256_of
from geounet.scene import Scene, SceneOptions, gdal_environment, open_scene

SAMPLES_ALONG_SIDE = 4
SAMPLE_SIDE = 64
"""Windows by which valid share and reflectance are estimated, and their side in pixels."""
PERCENTILES = (2, 50, 98)
LACKING = 0.9
"""Chips with a smaller share of known pixels are listed."""
MODEL_FILE = "model.safetensors"
RESULTS = ("predict", "baseline")


def describe_file(path: Path, options: SceneOptions = SceneOptions()) -> dict[str, Any]:  # noqa: B008  frozen
    """Say what a file or folder is.

    Args:
        path: A scene, a chip folder, a model file or the folder of a training run, a result or a
            folder of them, or scores.
        options: What the user says, should it be a scene.

    Returns:
        As JSON has it; `kind` is `scene`, `raster`, `chips`, `model`, `result`, `results` or
        `scores`.

    Raises:
        GeounetError: It is nothing that geounet reads, or damaged.
    """
    with gdal_environment():
        if path.is_dir():
            return _describe_folder(path, options)
        if not path.exists() and not str(path).startswith("/vsi"):
            raise SceneError(f"{path} is not there. Check the path.")
        if path.is_file() and (describe := _recognise(path)):
            return describe(path)
        return _describe_scene(path, options)


def _describe_folder(path: Path, options: SceneOptions) -> dict[str, Any]:
    if (path / CHIPS_MARK).is_file():
        return _describe_chips(open_chips(path))
    if (path / MODEL_FILE).is_file():
        return _describe_model(path / MODEL_FILE)
    records = sorted(p for p in path.glob("*.json") if _json_command(p) in RESULTS)
    if len(records) == 1:
        return _describe_result(records[0])
    if records:
        return {
            "kind": "results",
            "path": str(path),
            "results": [_describe_result(record) for record in records],
        }
    return _describe_scene(path, options)


def _recognise(path: Path) -> Callable[[Path], dict[str, Any]] | None:
    """Return what describes a file that begins as one of ours does; None for any other."""
    with path.open("rb") as file:
        start = file.read(256)
    if start.lstrip()[:1] == b"{" and (command := _json_command(path)):
        return _describe_scores if command == "evaluate" else _describe_result
    if start[8:9] == b"{" and struct.unpack("<Q", start[:8])[0] < 2**27:
        return _describe_model  # safetensors: the header's length, and the header
    if start[:1] == b"\x80" or (start[:2] == b"PK" and b".pkl" in start):
        return _describe_model  # a pickle, which is refused there in so many words
    return None


def _json_command(path: Path) -> str | None:
    """Return which command wrote a JSON file; None if it is none of ours."""
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    command = fields.get("command") if isinstance(fields, dict) else None
    return command if command in (*RESULTS, "evaluate") else None


def _describe_scene(path: Path, options: SceneOptions) -> dict[str, Any]:
    try:
        with open_scene(path, options) as scene:
            described = scene.describe()
            layout = {"layout": described.pop("kind")}
            return {"kind": "scene", **described, **layout, **_sample(scene)}
    except (SceneError, BandError) as error:
        if raster := _describe_raster(path):
            return {**raster, "problem": str(error)}
        raise SceneError(
            f"{path} is nothing that geounet reads: a scene (raster, folder of bands, YAML), a "
            f"chip folder, a model file, or a result. As a scene: {error}"
        ) from error


def _sample(scene: Scene) -> dict[str, Any]:
    """Estimate how much of a scene has data, and what its bands hold."""
    bands = [band.id for band in scene.bands]
    height, width = scene.geobox.shape
    rows, cols = min(SAMPLE_SIDE, height), min(SAMPLE_SIDE, width)
    parts, pixels = [], 0
    for row in np.unique(np.linspace(0, height - rows, SAMPLES_ALONG_SIDE).astype(int)):
        for col in np.unique(np.linspace(0, width - cols, SAMPLES_ALONG_SIDE).astype(int)):
            window = Window(col_off=int(col), row_off=int(row), width=cols, height=rows)
            dn, valid = scene.read_dn(bands, window)
            parts.append(dn[:, valid])
            pixels += valid.size
    seen = np.concatenate(parts, axis=1)
    found: dict[str, Any] = {"valid_share": seen.shape[1] / pixels, "sampled_pixels": pixels}
    try:
        reflectance = scene.scaling(bands).reflectance(seen[:, :, None])[:, :, 0]
    except SceneError as error:
        return {**found, "reflectance": None, "problem": str(error)}
    if not seen.shape[1]:
        return {**found, "reflectance": None}
    low, median, high = np.percentile(reflectance, PERCENTILES, axis=1)
    return {
        **found,
        "reflectance": {
            band: {"p2": float(low[i]), "median": float(median[i]), "p98": float(high[i])}
            for i, band in enumerate(bands)
        },
    }


def _describe_raster(path: Path) -> dict[str, Any] | None:
    """Return what GDAL says of a raster that is no scene; None if it is no raster."""
    try:
        with rasterio.open(path) as src:
            return {
                "kind": "raster",
                "source": str(path),
                "driver": src.driver,
                "shape": list(src.shape),
                "crs": src.crs.to_string() if src.crs else None,
                "transform": list(src.transform)[:6],
                "dtypes": list(src.dtypes),
                "bands": list(src.descriptions),
                "nodata": None if src.nodata is None else str(src.nodata),
            }
    except RasterioError:
        return None


def _describe_chips(chips: ChipFolder) -> dict[str, Any]:
    """Return what a chip folder holds, and which chips lack data."""
    index = chips.index
    lacking = index[index["valid"] < LACKING].sort_values(["valid", "chip"])
    return {
        "kind": "chips",
        "path": str(chips.path),
        **chips.info.model_dump(mode="json"),
        "splits": {
            str(split): {str(name): float(value) for name, value in row.items()}
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
    wrong = {}
    for name, listed in record["files"].items():
        file = path.parent / Path(name).name
        if not file.is_file():
            wrong[name] = "missing"
        elif file.stat().st_size != listed["bytes"] or sha256_of(file) != listed["sha256"]:
            wrong[name] = "changed since"
    return {
        "kind": "result",
        "path": str(path),
        "complete": not any(what == "missing" for what in wrong.values()),
        "disagreeing": wrong,
        **record,
    }


def _describe_scores(path: Path) -> dict[str, Any]:
    scores: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if not {"prediction", "references", "pixels", "lines"} <= scores.keys():
        raise GeounetError(f"{path} is damaged: scores lack their tables. Evaluate again.")
    return {"kind": "scores", "path": str(path), **scores}

"""A STAC item that says what a model needs: the Machine Learning Model extension (MLM).

The version of the extension is the one that pystac reads.
"""

import json
import os
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from geounet.config import UNetSettings, restores_bands
from geounet.errors import ConfigError, ModelFileError
from geounet.export.settings import ExportSettings
from geounet.model_file import ModelHeader, load_model
from geounet.onnx_file import GraphRecord, is_onnx, open_onnx
from geounet.outputs import sha256_of, stage_file

STAC = "1.1.0"
EXTENSIONS = ("mlm/v1.4.0", "eo/v2.0.0", "file/v2.1.0")
SCIENTIFIC = "scientific/v1.0.0"
SHA256 = "1220"
"""How a multihash of SHA-256 begins, in hexadecimal."""
CARD = "MODEL.md"
_VERSION = re.compile(r"\d+\.\d+\.\d+(\+[0-9a-zA-Z.-]+)?")
_NOT_IN_NAMES = re.compile(r"[^a-zA-Z0-9_.\-]+")
_DOI = re.compile(r"10\.\d{4,9}/[^\s]+")


def write_item(model: Path, out: Path, settings: ExportSettings) -> Path:
    """Write the item of a model.

    Args:
        model: Model file, or an ONNX file that was exported from one; it stays where it is, and the
            item points there.
        out: File to write.
        settings: What else there is to say.

    Returns:
        `out`.

    Raises:
        ModelFileError: The model cannot be read, or tells no classes.
        ConfigError: What the user says is no DOI.
        OutputError: The file cannot be written.
    """
    if settings.doi and not _DOI.fullmatch(settings.doi):
        raise ConfigError(f"--doi {settings.doi} is no DOI. Write 10.5281/zenodo.1234567.")
    graph, weights = None, None
    if is_onnx(model):
        file = open_onnx(model)
        if file.header is None:
            raise ModelFileError(
                f"{model} was not exported by geounet, so it does not say what it needs. Give the "
                "model file, or what geounet export made of it."
            )
        header, graph = file.header, file.graph
    else:
        header, network = load_model(model)
        weights = sum(parameter.numel() for parameter in network.parameters())
        if restores_bands(header.network.settings):
            raise ModelFileError(
                f"{model} gives back the bands it is given and tells no classes: a catalogue of "
                "models that do has no use for it."
            )
    item = describe_item(model, out, header, graph, weights, settings)
    with stage_file(out) as draft:
        text = json.dumps(item, indent=1, ensure_ascii=False, allow_nan=False)
        draft.write_text(text + "\n", encoding="utf-8")
    return out


def describe_item(
    model: Path,
    out: Path,
    header: ModelHeader,
    graph: GraphRecord | None,
    weights: int | None,
    settings: ExportSettings,
) -> dict[str, Any]:
    """Return the item of a model.

    Args:
        model: File that it points to.
        out: Where it will lie.
        header: Of the model.
        graph: Of an ONNX file.
        weights: How many there are; None where nobody counted.
        settings: What else there is to say.
    """
    bands = _bands(header)
    extensions = [*EXTENSIONS, *([SCIENTIFIC] if settings.doi else [])]
    licence = settings.licence or header.licence
    properties: dict[str, Any] = {
        **_when(model, header),
        "title": f"{header.network.name}: {' and '.join(c.name for c in header.label_classes)}",
        "bands": bands,
        "mlm:name": re.sub(r"[^a-zA-Z0-9_.\-]+", "-", f"geounet-{header.network.name}").strip(
            "-_."
        ),
        "mlm:architecture": _architecture(header),
        "mlm:tasks": ["semantic-segmentation"],
        "mlm:input": [_input(header, graph, [band["name"] for band in bands])],
        "mlm:output": [_output(header, graph)],
        "mlm:hyperparameters": _hyperparameters(header, graph),
        **_framework(header, graph),
    }
    if licence:
        properties["license"] = licence
    if settings.doi:
        properties["sci:doi"] = settings.doi
    if weights is not None:
        properties["mlm:total_parameters"] = weights
    sha256 = sha256_of(model)
    return {
        "type": "Feature",
        "stac_version": STAC,
        "stac_extensions": [
            f"https://stac-extensions.github.io/{name}/schema.json" for name in extensions
        ],
        "id": f"{model.stem}-{sha256[:12]}",
        "geometry": None,  # it is of no place
        "properties": properties,
        "links": _links(settings),
        "assets": _assets(model, out, graph, bands, sha256),
    }


def _when(model: Path, header: ModelHeader) -> dict[str, Any]:
    """Return when the scenes were taken that it was trained on; if unknown, when it was written."""
    data = header.training.get("data")
    sources = data.get("sources") if isinstance(data, dict) else None
    times = sorted(filter(None, (_instant(one) for one in sources or () if isinstance(one, dict))))
    if times:
        return {"datetime": None, "start_datetime": times[0], "end_datetime": times[-1]}
    epoch = os.environ.get("SOURCE_DATE_EPOCH")
    seconds = int(epoch) if epoch and epoch.isdecimal() else model.stat().st_mtime
    return {"datetime": _utc(datetime.fromtimestamp(seconds, UTC))}


def _instant(source: dict[str, Any]) -> str | None:
    try:
        found = datetime.fromisoformat(str(source.get("time")))
    except ValueError:
        return None
    return _utc(found if found.tzinfo else found.replace(tzinfo=UTC))


def _utc(time: datetime) -> str:
    return time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _bands(header: ModelHeader) -> list[dict[str, Any]]:
    """Return the bands as STAC has them; by their ids where names alone are not enough."""
    bands = header.band_list
    alone = len({band.name for band in bands}) == len(bands)
    found = []
    for band in bands:
        one: dict[str, Any] = {"name": band.name if alone else band.id}
        if band.sensor:
            one["description"] = f"{band.name} of {band.sensor}"
        if band.common_name:
            one["eo:common_name"] = band.common_name
        if band.wavelength_nm is not None:
            one["eo:center_wavelength"] = round(band.wavelength_nm / 1000, 7)  # micrometres
        found.append(one)
    return found


def _architecture(header: ModelHeader) -> str:
    settings = header.network.settings
    if isinstance(settings, UNetSettings):
        return "U-Net"
    return f"{settings.decoder} with encoder {settings.encoder}"


def _input(header: ModelHeader, graph: GraphRecord | None, names: list[str]) -> dict[str, Any]:
    side = -1 if graph is None or graph.side is None else graph.side
    found: dict[str, Any] = {
        "name": "standardised reflectance",
        "bands": names,
        "input": {
            "shape": [-1, len(names), side, side],
            "dim_order": ["batch", "bands", "height", "width"],
            "data_type": "float32",
        },
        "description": f"{header.reflectance}; {_sides(header.stride, 0)}",
        "value_scaling": [
            {"type": "z-score", "mean": mean, "stddev": std}
            for mean, std in zip(header.mean, header.std, strict=True)
        ],
    }
    if graph is not None:
        nodata = "NaN" if graph.nodata is None else f"{graph.nodata:g} or NaN"
        found |= {
            "name": "dn",
            "description": f"Numbers as a scene has them, of which reflectance is (DN + "
            f"{graph.offset:g}) × {graph.scale:g}; {nodata} is no data. Scaling is inside; "
            f"{_sides(graph.stride, graph.remainder)}",
            "value_scaling": None,
        }
        if graph.form == "deepness":
            found["description"] += "; Deepness's division by 255 is undone by its metadata"
    return found


def _sides(stride: int, remainder: int) -> str:
    more = f" plus {remainder}" if remainder else ""
    return f"heights and widths are multiples of {stride}{more}"


def _output(header: ModelHeader, graph: GraphRecord | None) -> dict[str, Any]:
    classes = header.label_classes
    side = -1 if graph is None or graph.side is None else graph.side - 2 * graph.margin
    found: dict[str, Any] = {
        "name": "probabilities",
        "tasks": ["semantic-segmentation"],
        "result": {
            "shape": [-1, len(classes), side, side],
            "dim_order": ["batch", "class", "height", "width"],
            "data_type": "float32",
        },
        "description": "The probability of each class at each pixel",
        "classification:classes": [
            {
                "value": one.value,
                "name": one.name,
                "description": f"{one.name}, which counts as {'water' if one.water else 'land'}",
                "color_hint": one.color.removeprefix("#").upper(),
            }
            for one in classes
        ],
    }
    if graph is None:
        found |= {
            "name": "logits",
            "description": "A logit for each class at each pixel",
            "post_processing_function": {
                "format": "python",
                "expression": "torch.softmax(logits, dim=1)",
            },
        }
    return found


def _hyperparameters(header: ModelHeader, graph: GraphRecord | None) -> dict[str, Any]:
    """Return what whoever cuts a scene into windows is to know."""
    found: dict[str, Any] = {
        "stride": header.stride,
        "halo": header.halo_default,
        "halo_exact": header.halo_exact,
        "sensor": header.sensor,
        "level": header.level,
        "pixel_m": list(header.res_m or ()),
        "threshold": 0.5,
        "suggested_threshold": header.suggested_threshold,
    }
    if header.blend is not None:
        found |= {"window": header.blend.window, "overlap": header.blend.overlap}
    if graph is not None:
        found |= graph.model_dump(include={"scale", "offset", "nodata", "precision", "margin"})
    return found


def _framework(header: ModelHeader, graph: GraphRecord | None) -> dict[str, str]:
    if graph is not None:
        return {"mlm:framework": "ONNX"}
    found, versions = {"mlm:framework": "PyTorch"}, header.training.get("versions")
    said = versions.get("torch") if isinstance(versions, dict) else None
    if isinstance(said, str) and _VERSION.fullmatch(said):
        found["mlm:framework_version"] = said
    return found


def _links(settings: ExportSettings) -> list[dict[str, str]]:
    if not settings.doi:
        return []
    return [{"rel": "cite-as", "href": f"https://doi.org/{settings.doi}"}]


def _assets(
    model: Path, out: Path, graph: GraphRecord | None, bands: Sequence[Any], sha256: str
) -> dict[str, Any]:
    kind = ("PyTorch", "safetensors.torch.save_file") if graph is None else ("ONNX", "onnx")
    found: dict[str, Any] = {
        "model": {
            "href": _from(out, model),
            "title": "Weights, and what is needed to use them",
            "type": f"application/octet-stream; framework={kind[0].lower()}",
            "roles": ["mlm:model", "mlm:weights"],
            "mlm:artifact_type": kind[1],
            "file:size": model.stat().st_size,
            "file:checksum": SHA256 + sha256,
            "bands": bands,
        }
    }
    card = model.parent / CARD
    if card.is_file():
        found["card"] = {
            "href": _from(out, card),
            "title": "Data, scores and known failures",
            "type": "text/markdown",
            "roles": ["metadata"],
        }
    return found


def _from(out: Path, file: Path) -> str:
    """Return the path of a file as the item beside `out` has it."""
    path = Path(os.path.relpath(file.resolve(), out.resolve().parent)).as_posix()
    return path if path.startswith("../") else f"./{path}"

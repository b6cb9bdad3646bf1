"""What a model that left home says of itself: ONNX, `torch.export`, a STAC item. Nothing is run."""

import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from geounet.errors import ModelFileError, reason
from geounet.outputs import sha256_of
from geounet.scene.remote import is_remote

MEMBERS = ("extra/geounet", "extra/geounet_graph")
"""Header and graph of a program of torch.export that is ours, as its archive calls them."""
ONNX_START = re.compile(rb"\x08[\x01-\x3f][\x12\x3a]")
"""How ONNX files begin, as `onnx_file.is_onnx` has it; that one imports torch."""
LONGEST = 2**26
"""Bytes of a header or an item: what is longer is none of ours."""


def exported_as(path: Path, start: bytes) -> Callable[[Path], dict[str, Any]] | None:
    """Return what describes a file that an export may have written; None for any other.

    Args:
        path: The file.
        start: Its first bytes.
    """
    if start.lstrip()[:1] == b"{" and _is_model_item(path):
        return _describe_model_item
    if path.suffix.lower() == ".onnx" or ONNX_START.match(start):
        return _describe_onnx
    if start[:2] == b"PK" and _program_members(path):
        return _describe_program
    return None


def _describe_onnx(path: Path) -> dict[str, Any]:
    """Return what an ONNX file takes and gives; of one of ours, what the model file said, too."""
    from geounet.onnx_file import open_onnx  # imports torch: only when needed

    file = open_onnx(path)
    return {
        "kind": "exported",
        "path": str(path),
        "bytes": path.stat().st_size,
        "sha256": file.sha256,
        "form": file.graph.form if file.graph else None,
        "takes": list(file.takes),
        "gives": list(file.gives),
        "graph": file.graph.model_dump(mode="json") if file.graph else None,
        "model": file.header.model_dump(mode="json") if file.header else None,
    }


def _program_members(path: Path) -> tuple[str, str] | None:
    """Return what in an archive of torch.export are header and graph of ours; None if none is."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError):
        return None
    found = [next((n for n in names if n.endswith(end)), "") for end in MEMBERS]
    return (found[0], found[1]) if all(found) else None


def _describe_program(path: Path) -> dict[str, Any]:
    """Return what a program of torch.export says of itself; nothing of it is loaded."""
    from geounet.model_file import parse_header  # imports torch: only when needed
    from geounet.onnx_file import parse_graph_record

    members = _program_members(path)
    assert members is not None
    try:
        with zipfile.ZipFile(path) as archive:
            if max(archive.getinfo(name).file_size for name in members) > LONGEST:
                raise ModelFileError(f"{path} is damaged: its header is larger than any is.")
            header, graph = (archive.read(name).decode("utf-8") for name in members)
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise ModelFileError(
            f"{path} is damaged: its header cannot be read ({reason(error)}). Get the file again."
        ) from error
    model, record = parse_header(header, path), parse_graph_record(graph, path)
    sides = (record.side, record.side)
    less = (side and side - 2 * record.margin for side in sides)
    return {
        "kind": "exported",
        "path": str(path),
        "bytes": path.stat().st_size,
        "sha256": sha256_of(path),
        "form": record.form,
        "takes": [None, len(model.bands), *sides],
        "gives": [None, len(model.classes), *less],
        "graph": record.model_dump(mode="json"),
        "model": model.model_dump(mode="json"),
    }


def _is_model_item(path: Path) -> bool:
    """Return whether a JSON file is a STAC item of a model."""
    try:
        if path.stat().st_size > LONGEST:
            return False
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    said = fields.get("properties") if isinstance(fields, dict) else None
    return isinstance(said, dict) and "mlm:input" in said


def _describe_model_item(path: Path) -> dict[str, Any]:
    """Return what a STAC item says of a model, and whether what it points to is there."""
    fields = json.loads(path.read_text(encoding="utf-8"))
    assets = fields.get("assets")
    files = []
    for one in assets.values() if isinstance(assets, dict) else ():
        href = one.get("href") if isinstance(one, dict) else None
        if isinstance(href, str):
            there = is_remote(href) or (path.parent / href).is_file()
            files.append({"href": href, "there": there})
    return {
        "kind": "catalogued",
        "path": str(path),
        "id": str(fields.get("id")),
        "properties": fields["properties"],
        "files": files,
    }

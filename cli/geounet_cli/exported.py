"""What `geounet info` prints of a model that left home."""

from typing import Any

FORMS = {
    "onnx": "ONNX file, for ONNX Runtime and geounet predict",
    "deepness": "ONNX file for Deepness in QGIS",
    "pt2": "Program of torch.export",
}
SHOWN = ("mlm:name", "mlm:architecture", "mlm:framework", "license", "sci:doi")
"""Of a STAC item."""


def exported_facts(facts: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Return a title, and what the graph of an exported file takes and gives."""
    graph = facts["graph"]
    shapes = {
        "takes": f"float32 {_shape(facts['takes'])}",
        "gives": f"float32 {_shape(facts['gives'])}",
        "size": f"{facts['bytes'] / 2**20:.1f} MiB",
        "sha256": facts["sha256"],
    }
    if graph is None:
        said = "it does not say which bands it takes; geounet predict is told with --bands"
        return f"ONNX file {facts['path']}", {"origin": f"not geounet: {said}", **shapes}
    offset = f" {'+-'[graph['offset'] < 0]} {abs(graph['offset']):g}" if graph["offset"] else ""
    nodata = "NaN" if graph["nodata"] is None else f"{graph['nodata']:g} or NaN"
    numbers = f"DN, of which reflectance is (DN{offset}) × {graph['scale']:g}; no data is {nodata}"
    told = {"numbers": numbers, "precision": graph["precision"], **shapes}
    return f"{FORMS[facts['form']]} {facts['path']}", told


def catalogued_facts(facts: dict[str, Any]) -> tuple[str, dict[str, str]]:
    """Return a title, and what a STAC item says of a model."""
    said = facts["properties"]
    files = [f"{one['href']}{'' if one['there'] else ' (not there)'}" for one in facts["files"]]
    shown = {"id": facts["id"], "files": ", ".join(files) or "–"}
    for key in SHOWN:
        if isinstance(said.get(key), str):
            shown[key.rpartition(":")[2]] = said[key]
    return f"STAC item of a model {facts['path']}", shown


def _shape(sides: list[int | None]) -> str:
    return " × ".join("any" if side is None else str(side) for side in sides)

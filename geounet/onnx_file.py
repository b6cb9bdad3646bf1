"""ONNX files: what one carries, and that nothing in it runs but ONNX's own operators.

An ONNX file is data: a graph of operators that a runtime has built in. Two things could make it
more than that, and are refused: operators that a library brings, and weights that lie elsewhere on
the disk. What geounet exports has the model file's header under the same key as there, and beside
it what the graph itself is, `GraphRecord`.
"""

import hashlib
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PureWindowsPath
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from geounet.errors import ConfigError, ModelFileError, reason
from geounet.model_file import LARGEST_BLEND, METADATA_KEY, ModelHeader, header_text, parse_header
from geounet.outputs import sha256_of

if TYPE_CHECKING:
    import onnx

GRAPH_KEY = "geounet_graph"
"""Of the metadata of an exported file; the header is under `METADATA_KEY`, as in a model file."""
STANDARD = frozenset(["", "ai.onnx", "ai.onnx.ml"])
"""Domains of operators that every runtime has."""
EXTRA = 'pip install "geounet[onnx]"'
NEWEST_IR = 64
"""What a file begins with is no ONNX where it says a version of the format above that."""
PROBE_SIDES = (512, 256)
"""Sides at which the memory of a graph is looked at, in pixels."""


GraphForm = Literal["onnx", "deepness", "pt2"]


class GraphRecord(BaseModel):
    """What an exported graph takes and gives, besides what the model's header says."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    form: GraphForm
    """For whom it was exported."""
    scale: float = Field(gt=0)
    """reflectance = (DN + offset) × scale, inside the graph."""
    offset: float
    """Likewise, in DN."""
    nodata: float | None
    """A pixel with this DN in any band has no data; so has one with NaN."""
    precision: Literal["fp32", "fp16"]
    """Of the network; what goes in and comes out is float32."""
    side: int | None = Field(default=None, ge=1, le=LARGEST_BLEND)
    """Height and width that it takes, in pixels; null where that is any of the stride's."""
    stride: int = Field(ge=1)
    """Heights and widths are multiples of it, plus the remainder."""
    margin: int = Field(ge=0)
    """Pixels by which the output is smaller than the input, on each side."""
    remainder: int = Field(ge=0)
    least: int = Field(ge=0)
    """Heights and widths below which it takes none."""
    bytes_per_pixel: dict[str, int]
    """That a pixel of a window takes while it is predicted, by the type of the scene's numbers: the
    plan of windows is made from it, and is that of the model file."""

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.remainder >= self.stride:
            raise ValueError(f"a remainder of {self.remainder} is none of {self.stride}")
        if "float32" not in self.bytes_per_pixel or min(self.bytes_per_pixel.values()) < 1:
            raise ValueError("the memory of a pixel is not said")
        return self


@dataclass(frozen=True)
class OnnxFile:
    """An ONNX file that may be run."""

    path: Path
    sha256: str
    """Of the file; of it and its weights, one after the other, where they are files of their
    own."""
    header: ModelHeader | None
    """What the model file said that it was exported from; None of anyone else's."""
    graph: GraphRecord | None
    """What its graph is, likewise."""
    takes: tuple[int | None, ...]
    """Shape of its one input, (B, bands, height, width); None is any."""
    gives: tuple[int | None, ...]
    """Shape of its one output, (B, outputs, height, width); None is not known."""
    normalises: bool
    """Whether what comes out last is a softmax or a sigmoid: probabilities, no logits."""
    model: "onnx.ModelProto"
    """It, without the weights that are files of their own."""


def import_onnx() -> Any:
    """Return the library `onnx`.

    Raises:
        ConfigError: It is not installed.
    """
    try:
        import onnx
    except ImportError as error:
        raise ConfigError(f"ONNX files need the library onnx. Install it: {EXTRA}.") from error
    return onnx


def is_onnx(path: Path) -> bool:
    """Return whether a file is called or begins as ONNX files do."""
    if path.suffix.lower() == ".onnx":
        return True
    try:
        with path.open("rb") as file:
            start = file.read(3)
    except OSError:
        return False
    # The version of the format, and then some other field: the producer, a graph, operator sets.
    return start[:1] == b"\x08" and 0 < start[1] < NEWEST_IR and start[2:] in (b"\x12", b"\x3a")


def open_onnx(path: Path) -> OnnxFile:
    """Look into an ONNX file, without running anything.

    Raises:
        ModelFileError: It is no ONNX file, is damaged, or carries what is not to be run.
        ConfigError: The library for it is not installed.
    """
    onnx = import_onnx()
    model = _parse(path, onnx)
    _refuse_custom_operators(path, model)
    weights = _external_files(path, model)
    try:
        onnx.checker.check_model(str(path), full_check=True)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, ValueError) as error:
        raise ModelFileError(
            f"{path} is damaged: its graph does not hold together ({reason(error)}). Get the file "
            "again."
        ) from error
    takes, gives = _shapes(path, model)
    header, graph = _read_metadata(path, model)
    if header is not None and graph is not None:
        _check_own(path, header, graph, takes, gives)
    return OnnxFile(
        path=path,
        sha256=_sha256(path, weights),
        header=header,
        graph=graph,
        takes=takes,
        gives=gives,
        normalises=_normalises(model.graph),
        model=model,
    )


def _parse(path: Path, onnx: Any) -> Any:
    """Return a file's model, or say what the file is instead."""
    if path.is_dir():
        raise ModelFileError(f"{path} is a folder; give the ONNX file.")
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except FileNotFoundError:
        raise ModelFileError(f"{path}: there is no such file.") from None
    except OSError as error:
        raise ModelFileError(f"{path} cannot be read: {error.strerror}.") from error
    if not start:
        raise ModelFileError(f"{path} is empty. Get the file again.")
    if start[:2] == b"PK":
        raise ModelFileError(
            f"{path} is a zip archive and no ONNX file. Unpack it, and give the .onnx inside."
        )
    try:
        model = onnx.load(str(path), load_external_data=False)
    except Exception as error:  # protobuf's, which is onnx's to import
        what = "is truncated" if start[:1] == b"\x08" else "is no ONNX file"
        raise ModelFileError(f"{path} {what}. Copy or download it again.") from error
    if not (0 < model.ir_version < NEWEST_IR and model.opset_import and model.graph.node):
        raise ModelFileError(f"{path} is truncated or no ONNX file: it has no graph. Get it again.")
    return model


def _refuse_custom_operators(path: Path, model: Any) -> None:
    """Refuse operators that are neither ONNX's own nor made up of them in the file itself."""
    known = {(function.domain, function.name) for function in model.functions}
    bodies = [model.graph.node, *(function.node for function in model.functions)]
    for node in (node for body in bodies for node in _nodes(body)):
        if node.domain not in STANDARD and (node.domain, node.op_type) not in known:
            raise ModelFileError(
                f"{path} uses the operator {_shown(node.domain)}.{_shown(node.op_type)}, which is "
                "none of ONNX's own: running it would take somebody's library, so geounet does "
                "not. Export the network again with standard operators alone."
            )


def _nodes(nodes: Sequence[Any]) -> Iterator[Any]:
    """Yield nodes and those of the graphs within them."""
    for node in nodes:
        yield node
        for attribute in node.attribute:
            for graph in (attribute.g, *attribute.graphs):
                yield from _nodes(graph.node)


def _external_files(path: Path, model: Any) -> list[Path]:
    """Return the files beside an ONNX file that hold its weights; refuse any elsewhere."""
    folder, found = path.parent.resolve(), dict[Path, None]()
    for tensor in _tensors(model):
        if tensor.data_location != tensor.EXTERNAL:
            continue
        said = {entry.key: entry.value for entry in tensor.external_data}.get("location", "")
        # Of another system, too: who is sent a file does not know where it was made.
        parts = PureWindowsPath(said).parts
        outside = not said or Path(said).is_absolute() or PureWindowsPath(said).anchor
        target = (folder / said).resolve()
        if outside or ".." in parts or not target.is_relative_to(folder):
            raise ModelFileError(
                f"{path} wants weights from {_shown(said) or 'nowhere'}, outside its folder, and "
                "geounet does not go there. Export the network again into one file."
            )
        if not target.is_file():
            raise ModelFileError(
                f"{path} keeps its weights in {_shown(said)}, which is not beside it. Get that "
                "file, too, or export the network again into one file."
            )
        found[target] = None
    return list(found)


def _tensors(model: Any) -> Iterator[Any]:
    """Yield every tensor of a model that may have its values elsewhere."""
    yield from model.graph.initializer
    for sparse in model.graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    for body in [model.graph.node, *(function.node for function in model.functions)]:
        for node in _nodes(body):
            for attribute in node.attribute:
                yield from (attribute.t, *attribute.tensors)
                for sparse in (attribute.sparse_tensor, *attribute.sparse_tensors):
                    yield from (sparse.values, sparse.indices)
                for graph in (attribute.g, *attribute.graphs):
                    yield from graph.initializer


def _shapes(path: Path, model: Any) -> tuple[tuple[int | None, ...], tuple[int | None, ...]]:
    """Return the shapes of the one input and the one output, or say why it is no segmentation."""
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [one for one in model.graph.input if one.name not in weights]
    for what, found in (("takes", inputs), ("gives", list(model.graph.output))):
        if len(found) != 1:
            names = ", ".join(_shown(one.name) for one in found)
            raise ModelFileError(
                f"{path} {what} {len(found)} arrays ({names}), and geounet runs networks that take "
                "one and give one. Export it again with these alone."
            )
    shapes = []
    for what, one in (("takes", inputs[0]), ("gives", model.graph.output[0])):
        tensor = one.type.tensor_type
        # float32, the one type that all runtimes take of images
        if tensor.elem_type != 1 or len(tensor.shape.dim) not in (0, 4):
            raise ModelFileError(
                f"{path} {what} no float32 array of (batch, bands, height, width). Export it again "
                "so that it does."
            )
        dims = [dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim]
        shapes.append(tuple(dims) or (None,) * 4)
    return shapes[0], shapes[1]


def _read_metadata(path: Path, model: Any) -> tuple[ModelHeader | None, GraphRecord | None]:
    said = {entry.key: entry.value for entry in model.metadata_props}
    if METADATA_KEY not in said:
        return None, None
    header = parse_header(said[METADATA_KEY], path)
    return header, parse_graph_record(said.get(GRAPH_KEY, ""), path)


def parse_graph_record(text: str, path: Path) -> GraphRecord:
    """Return what an exported file at `path` says of its graph.

    Raises:
        ModelFileError: It is damaged.
    """
    try:
        return GraphRecord.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        place = ".".join(str(part) for part in first["loc"]) or "it"
        raise ModelFileError(
            f"{path} has a damaged {GRAPH_KEY} ({place}: {' '.join(first['msg'].split())}). Get "
            "the file again."
        ) from error


def _check_own(
    path: Path,
    header: ModelHeader,
    graph: GraphRecord,
    takes: Sequence[int | None],
    gives: Sequence[int | None],
) -> None:
    """Refuse an exported file whose graph is not what its metadata say."""
    wanted: list[tuple[int | None, int | None, str]] = [
        (takes[1], len(header.bands), "bands"),
        (gives[1], len(header.classes), "classes"),
    ]
    wanted += [(there, graph.side, "rows or columns") for there in takes[2:]]
    wanted += [(graph.stride, header.stride, "pixels of stride")]
    for there, said, what in wanted:
        if there != said:
            raise ModelFileError(
                f"{path} is damaged: its graph has {there or 'any number of'} {what}, its header "
                f"says {said or 'any'}. Export it again."
            )


def _normalises(graph: Any) -> bool:
    """Return whether the last that a graph does, but for changes of form, is to normalise."""
    made_by = {name: node for node in graph.node for name in node.output}
    name = graph.output[0].name
    while (node := made_by.get(name)) and node.op_type in ("Identity", "Cast", "Squeeze"):
        name = node.input[0]
    return node is not None and node.op_type in ("Softmax", "Sigmoid")


def _sha256(path: Path, weights: Sequence[Path]) -> str:
    if not weights:
        return sha256_of(path)
    joined = hashlib.sha256()
    for file in (path, *weights):
        joined.update(bytes.fromhex(sha256_of(file)))
    return joined.hexdigest()


def activation_bytes(file: OnnxFile, bands: int) -> int:
    """Return about what a pixel of a window takes while a graph runs.

    The sizes of what it computes are inferred for one window, and what is alive at each step is
    added up; where a size cannot be inferred, it is left out.

    Args:
        file: Of anyone's: an exported one says it.
        bands: That it takes.
    """
    onnx = import_onnx()
    sides = (file.takes[2] or PROBE_SIDES[0], file.takes[3] or PROBE_SIDES[0])
    model = onnx.ModelProto()
    model.CopyFrom(file.model)
    weights = {tensor.name for tensor in model.graph.initializer}
    given = next(one for one in model.graph.input if one.name not in weights)
    for dim, size in zip(given.type.tensor_type.shape.dim, (1, bands, *sides), strict=False):
        dim.dim_value = size
    del model.graph.value_info[:]
    inferred = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    sizes = {
        one.name: 4 * math.prod(dim.dim_value for dim in one.type.tensor_type.shape.dim)
        for one in (given, *inferred.value_info, *inferred.output)
    }
    return max(_peak(inferred, sizes, given.name) // math.prod(sides), 4 * bands)


def _peak(graph: Any, sizes: Mapping[str, int], given: str) -> int:
    """Return the most bytes that are alive at once, where each is dropped after its last use."""
    last = {name: i for i, node in enumerate(graph.node) for name in node.input}
    alive, most = {given: sizes.get(given, 0)}, 0
    for i, node in enumerate(graph.node):
        alive |= {name: sizes.get(name, 0) for name in node.output}
        most = max(most, sum(alive.values()))
        for name in node.input:
            if last[name] == i:
                alive.pop(name, None)
    return most


def _shown(text: str) -> str:
    return re.sub(r"\s+", " ", text)[:200]


def own_metadata(header: ModelHeader, graph: GraphRecord) -> dict[str, str]:
    """Return what an exported file says of itself, by key."""
    return {
        METADATA_KEY: header_text(header),
        GRAPH_KEY: json.dumps(graph.model_dump(mode="json"), sort_keys=True, allow_nan=False),
    }

"""A traced graph as an ONNX file: one file, its metadata ours alone, the same bytes every time."""

import logging
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from geounet import __version__
from geounet.errors import ConfigError
from geounet.export.graph import Traced
from geounet.onnx_file import EXTRA, import_onnx

OPSET = 18
"""The one that torch's exporter writes by itself; Deepness reads up to 20."""
IR = 9
"""Version of the format. ONNX Runtime 1.17, which Deepness has, reads no later one."""
MOST_BYTES = (1 << 31) - (1 << 20)
"""Of one file: what holds it is protobuf."""


def write_onnx(draft: Path, traced: Traced, metadata: Mapping[str, str]) -> None:
    """Write a traced graph.

    Args:
        draft: Where to.
        traced: The graph.
        metadata: What the file says of itself.

    Raises:
        ConfigError: The libraries for it are not installed, or it is too large for one file.
    """
    onnx = import_onnx()
    model = _convert(traced)
    _clean(model)
    _name_sides(model.graph, traced)
    for key, value in metadata.items():
        model.metadata_props.add(key=key, value=value)
    if model.ByteSize() > MOST_BYTES:
        raise ConfigError(
            f"The network takes {model.ByteSize() >> 20} MiB, and an ONNX file holds 2 GiB. Use "
            "--half, or --to pt2."
        )
    onnx.checker.check_model(model, full_check=True)
    draft.write_bytes(model.SerializeToString(deterministic=True))


def _convert(traced: Traced) -> Any:
    """Return what torch makes of a graph, without its warnings about itself."""
    try:
        import onnxscript  # noqa: F401  torch.onnx needs it, and says so less clearly
    except ImportError as error:
        raise ConfigError(
            f"torch needs the library onnxscript to write ONNX. Install it: {EXTRA}."
        ) from error
    chatty = logging.getLogger("torch.onnx"), logging.getLogger("onnxscript")
    levels = [logger.level for logger in chatty]
    try:
        for logger in chatty:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                traced.program, (), dynamo=True, opset_version=OPSET, verbose=False
            )
    finally:
        for logger, level in zip(chatty, levels, strict=True):
            logger.setLevel(level)
    assert program is not None
    return program.model_proto


def _clean(model: Any) -> None:
    """Leave out what torch says of how it came to the graph: paths and names of its own."""
    model.ir_version = IR
    model.producer_name, model.producer_version = "geounet", __version__
    del model.metadata_props[:]
    graph = model.graph
    graph.name = "dn_to_probabilities"
    del graph.metadata_props[:]
    del graph.value_info[:]  # shape inference finds it again
    for part in (*graph.node, *graph.initializer, *graph.input, *graph.output):
        part.doc_string = ""
        del part.metadata_props[:]


def _name_sides(graph: Any, traced: Traced) -> None:
    """Call input and output, and their sides, by names that say what they are."""
    old = {graph.input[0].name: "dn", graph.output[0].name: "probabilities"}
    for node in graph.node:
        for names in (node.input, node.output):
            for i, name in enumerate(names):
                names[i] = old.get(name, name)
    lost = 2 * traced.record.margin
    for one, less in ((graph.input[0], ""), (graph.output[0], f" - {lost}" * bool(lost))):
        one.name = old[one.name]
        dims = one.type.tensor_type.shape.dim
        for dim, name in zip(dims, ("batch", "", "height", "width"), strict=True):
            if not dim.HasField("dim_value"):
                dim.dim_param = name if name == "batch" else name + less

"""ONNX files that are not to be run are refused in one line; others say what they take."""

import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from predicting import write_model

from geounet.errors import ModelFileError
from geounet.export import export_model
from geounet.onnx_file import activation_bytes, is_onnx, open_onnx

SHAPE = ["batch", 3, "height", "width"]


def write_graph(
    path: Path,
    nodes: list[Any],
    *,
    initializers: list[Any] = (),
    takes: list[Any] = SHAPE,
    gives: list[Any] = ("batch", 2, "height", "width"),
    domains: tuple[str, ...] = ("",),
    functions: list[Any] = (),
    check: bool = True,
) -> Path:
    """Write a graph from x to y as an ONNX file."""
    graph = helper.make_graph(
        list(nodes), "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, list(takes))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, list(gives))],
        list(initializers),
    )  # fmt: skip
    opsets = [helper.make_opsetid(domain, 18 if not domain else 1) for domain in domains]
    model = helper.make_model(graph, opset_imports=opsets, functions=list(functions), ir_version=9)
    if check:
        onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())
    return path


def one_by_one(outputs: int = 2, bands: int = 3) -> Any:
    weights = np.linspace(-1, 1, outputs * bands, dtype=np.float32)
    return numpy_helper.from_array(weights.reshape(outputs, bands, 1, 1), "w")


CONV = helper.make_node("Conv", ["x", "w"], ["y"])


def complaint(path: Path) -> str:
    with pytest.raises(ModelFileError) as caught:
        open_onnx(path)
    said = str(caught.value)
    assert str(path) in said
    assert "\n" not in said
    return said


def test_a_graph_of_standard_operators_is_taken(tmp_path):
    file = open_onnx(write_graph(tmp_path / "m.onnx", [CONV], initializers=[one_by_one()]))
    assert file.header is None
    assert file.takes == (None, 3, None, None)
    assert file.gives[1] == 2
    assert not file.normalises


def test_a_softmax_or_sigmoid_at_the_end_is_seen(tmp_path):
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["z"]),
        helper.make_node("Softmax", ["z"], ["p"], axis=1),
        helper.make_node("Identity", ["p"], ["y"]),
    ]
    assert open_onnx(
        write_graph(tmp_path / "m.onnx", nodes, initializers=[one_by_one()])
    ).normalises


def test_custom_operators_are_refused_wherever_they_are(tmp_path):
    custom = helper.make_node("Run", ["x"], ["y"], domain="evil.corp")
    path = tmp_path / "m.onnx"
    said = complaint(write_graph(path, [custom], domains=("", "evil.corp"), check=False))
    assert "evil.corp.Run" in said
    # In the branch of an If.
    branch = helper.make_graph(
        [custom], "branch", [], [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    )
    yes = numpy_helper.from_array(np.array(True), "yes")
    node = helper.make_node("If", ["yes"], ["y"], then_branch=branch, else_branch=branch)
    graph = write_graph(path, [node], initializers=[yes], domains=("", "evil.corp"), check=False)
    assert "evil.corp.Run" in complaint(graph)
    # In a function of the file itself.
    function = helper.make_function(
        "local", "Step", ["x"], ["y"], [custom],
        [helper.make_opsetid("", 18), helper.make_opsetid("evil.corp", 1)],
    )  # fmt: skip
    call = helper.make_node("Step", ["x"], ["y"], domain="local")
    graph = write_graph(
        path, [call], functions=[function], domains=("", "local", "evil.corp"), check=False
    )
    assert "evil.corp.Run" in complaint(graph)


def test_functions_made_of_standard_operators_are_taken(tmp_path):
    function = helper.make_function(
        "local", "Same", ["a"], ["b"], [helper.make_node("Identity", ["a"], ["b"])],
        [helper.make_opsetid("", 18)],
    )  # fmt: skip
    call = helper.make_node("Same", ["x"], ["y"], domain="local")
    path = tmp_path / "m.onnx"
    write_graph(path, [call], functions=[function], domains=("", "local"), gives=SHAPE)
    assert open_onnx(path).takes[1] == 3


def external(location: str) -> Any:
    tensor = one_by_one()
    raw = tensor.raw_data
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", location), ("offset", "0"), ("length", str(len(raw)))):
        tensor.external_data.add(key=key, value=value)
    return tensor


@pytest.mark.parametrize(
    "location",
    ["/etc/passwd", "../weights.bin", "a/../../weights.bin", "C:\\weights.bin", "..\\weights.bin",
     "\\\\server\\weights.bin", ""],
)  # fmt: skip
def test_weights_outside_the_folder_are_refused(tmp_path, location):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(one_by_one().raw_data)
    path = write_graph(folder / "m.onnx", [CONV], initializers=[external(location)], check=False)
    assert "outside its folder" in complaint(path)


def test_weights_behind_a_link_that_leads_out_are_refused(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "weights.bin").write_bytes(one_by_one().raw_data)
    (folder / "weights.bin").symlink_to(tmp_path / "weights.bin")
    path = folder / "m.onnx"
    write_graph(path, [CONV], initializers=[external("weights.bin")], check=False)
    assert "outside its folder" in complaint(path)


def test_weights_beside_the_file_are_taken_and_count_in_its_hash(tmp_path):
    path, weights = tmp_path / "m.onnx", tmp_path / "m.onnx.data"
    write_graph(path, [CONV], initializers=[external("m.onnx.data")], check=False)
    assert "m.onnx.data, which is not beside it" in complaint(path)
    weights.write_bytes(one_by_one().raw_data)
    before = open_onnx(path).sha256
    weights.write_bytes((2 * numpy_helper.to_array(one_by_one())).tobytes())
    assert open_onnx(path).sha256 != before


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b"hello, this is no model\n", "is no ONNX file"),
        (b"\x80\x04\x95pickled", "is no ONNX file"),
        (b"\x08\x09", "has no graph"),
    ],
)
def test_files_that_are_no_onnx_are_refused(tmp_path, content, said):
    path = tmp_path / "m.onnx"
    path.write_bytes(content)
    assert said in complaint(path)


def test_a_zip_a_folder_and_nothing_are_refused(tmp_path):
    path = tmp_path / "m.onnx"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("m.onnx", "x")
    assert "zip archive" in complaint(path)
    assert "folder" in complaint(tmp_path)
    assert "no such file" in complaint(tmp_path / "absent.onnx")


@pytest.fixture(scope="module")
def ours(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ours")
    model = write_model(
        folder / "m.safetensors", "unet-same", {"base_width": 2, "depth": 1}, names=("B03", "B08")
    )
    return export_model(model, folder / "m.onnx", "onnx")


def test_truncated_files_are_refused_wherever_they_end(ours, tmp_path):
    whole = ours.read_bytes()
    path = tmp_path / "m.onnx"
    for length in (1, 5, 40, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        complaint(path)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"stride": 0}, "damaged geounet_graph"),
        ({"scale": -1}, "damaged geounet_graph"),
        ({"remainder": 7}, "damaged geounet_graph"),
        ({"surprise": 1}, "damaged geounet_graph"),
        ({"stride": 4}, "of stride"),
        ({"side": 64}, "rows or columns"),
    ],
)
def test_metadata_that_are_not_of_the_graph_are_refused(ours, tmp_path, change, said):
    model = onnx.load(str(ours))
    (entry,) = [one for one in model.metadata_props if one.key == "geounet_graph"]
    entry.value = json.dumps(json.loads(entry.value) | change)
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))
    assert said in complaint(path)


def test_a_header_of_other_bands_than_the_graph_takes_is_refused(ours, tmp_path):
    model = onnx.load(str(ours))
    (entry,) = [one for one in model.metadata_props if one.key == "geounet"]
    fields = json.loads(entry.value)
    for key in ("bands", "mean", "std"):
        fields[key] = fields[key][:1]
    entry.value = json.dumps(fields)
    path = tmp_path / "m.onnx"
    onnx.save(model, str(path))
    assert "2 bands, its header says 1" in complaint(path)


def test_graphs_that_take_or_give_something_else_are_refused(tmp_path):
    path = tmp_path / "m.onnx"
    flat = helper.make_node("Identity", ["x"], ["y"])
    write_graph(path, [flat], takes=["batch", 3], gives=["batch", 3])
    assert "no float32 array of (batch, bands, height, width)" in complaint(path)


def test_an_onnx_file_is_known_by_name_or_content(ours, tmp_path):
    assert is_onnx(Path("of/any.ONNX"))
    renamed = tmp_path / "model.bin"
    renamed.write_bytes(ours.read_bytes())
    assert is_onnx(renamed)
    assert not is_onnx(ours.with_name("m.safetensors"))
    assert not is_onnx(tmp_path / "absent")


def test_memory_of_a_graph_is_what_is_alive_at_once(tmp_path):
    # x of 3 bands and 8 maps; then these, and the 2 that come of them.
    nodes = [
        helper.make_node("Conv", ["x", "a"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("Conv", ["r", "b"], ["y"]),
    ]
    weights = [
        numpy_helper.from_array(np.zeros((8, 3, 1, 1), np.float32), "a"),
        numpy_helper.from_array(np.zeros((2, 8, 1, 1), np.float32), "b"),
    ]
    file = open_onnx(write_graph(tmp_path / "m.onnx", nodes, initializers=weights))
    assert activation_bytes(file, 3) == 4 * (8 + 8)

"""geounet export, and geounet predict with what it wrote or anyone else."""

import builtins
import json
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import onnx
import pytest
import rasterio
import torch
from onnx import TensorProto, helper, numpy_helper
from predicting import (
    DARK,
    MEAN,
    OFFSET,
    SCALE,
    STD,
    dark_probability,
    water_is_dark,
    wavy_dn,
    write_model,
    write_scene,
)

NAMES = ("B03", "B08")


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("model")
    return write_model(
        folder / "model.safetensors", "unet-same", DARK, names=NAMES, prepare=water_is_dark()
    )


@pytest.fixture(scope="module")
def scene(tmp_path_factory) -> Path:
    dn = wavy_dn(70, 90, bands=2)
    dn[:, :10, :20] = 0
    return write_scene(tmp_path_factory.mktemp("scene") / "scene.tif", dn, names=NAMES)


def foreign(
    path: Path, *, last: str | None = None, outputs: int = 2, side: int | None = None
) -> Path:
    """Write a graph of anyone's: the logit of water is −4 × (the first band, standardised)."""
    weights = np.zeros((outputs, 2, 1, 1), np.float32)
    weights[-1, 0] = -4
    nodes = [helper.make_node("Conv", ["image", "w"], ["z" if last else "out"])]
    if last:
        nodes.append(
            helper.make_node(last, ["z"], ["out"], **({"axis": 1} if last == "Softmax" else {}))
        )
    sides = [side or "h", side or "w"]
    graph = helper.make_graph(
        nodes, "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 2, *sides])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", outputs, *sides])],
        [numpy_helper.from_array(weights, "w")],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(made, str(path))
    return path


@pytest.mark.parametrize("form", ["onnx", "pt2", "deepness", "mlm"])
def test_each_form_is_written_once_and_told_of_by_info(geounet, model, tmp_path, form):
    out = tmp_path / "new" / "model.out"
    run = geounet("export", model, "--to", form, "--out", out)
    assert (run.status, run.out) == (0, f"{out}\n")
    if form != "mlm":
        assert "reflectance = (DN − 1000) × 0.0001, no data is 0 or NaN" in run.err
    before = out.read_bytes()
    again = geounet("export", model, "--to", form, "--out", out)
    assert again.status == 1
    assert "--overwrite" in again.complaint
    assert geounet("export", model, "--to", form, "--out", out, "--overwrite").status == 0
    assert out.read_bytes() == before
    assert [path.name for path in out.parent.iterdir()] == ["model.out"]
    told = geounet("info", out)
    assert told.status == 0
    what = {"onnx": "ONNX file", "pt2": "torch.export", "deepness": "Deepness", "mlm": "STAC item"}
    assert what[form] in told.out
    facts = json.loads(geounet("info", out, "--json").out)
    assert facts["kind"] == ("catalogued" if form == "mlm" else "exported")


def test_predict_takes_an_exported_file_and_checks_the_scene_as_for_a_model_file(
    geounet, model, scene, tmp_path
):
    file = tmp_path / "model.onnx"
    assert geounet("export", model, "--to", "onnx", "--out", file).status == 0
    for given in (model, file):
        out = tmp_path / given.suffix[1:]
        run = geounet("predict", scene, "--model", given, "--out", out, "--precision", "fp32")
        assert run.status == 0, run.err
    records = [
        json.loads((tmp_path / s / "scene.json").read_text()) for s in ("safetensors", "onnx")
    ]
    backends = [record["plan"].pop("backend") for record in records]
    assert backends == ["eager", "onnxruntime"]
    assert records[0]["plan"] == records[1]["plan"]
    assert records[0]["files"].keys() == records[1]["files"].keys()
    other = write_scene(tmp_path / "other.tif", wavy_dn(40, 40, bands=2), names=("B03", "B04"))
    low = write_scene(tmp_path / "low.tif", wavy_dn(40, 40, bands=2), names=NAMES, level="L1C")
    landsat = write_scene(
        tmp_path / "l8.tif", wavy_dn(40, 40, bands=2), names=("B3", "B5"), sensor="l8", level="L2"
    )
    for bad, said in ((other, "B08"), (low, "--accept-level"), (landsat, "--accept-sensor")):
        complaints = [
            geounet("predict", bad, "--model", given, "--out", tmp_path / "bad").complaint
            for given in (model, file)
        ]
        assert complaints[0] == complaints[1]
        assert said in complaints[1]


@pytest.mark.parametrize(
    ("last", "outputs"), [(None, 1), (None, 2), ("Sigmoid", 1), ("Softmax", 2)]
)
def test_anyone_s_onnx_file_runs_with_what_the_user_says_of_it(
    geounet, scene, tmp_path, last, outputs
):
    file = foreign(tmp_path / "their.onnx", last=last, outputs=outputs)
    run = geounet(
        "predict", scene, "--model", file, "--out", tmp_path, "--bands", "B03,B08",
        "--sensor", "s2", "--model-mean", MEAN, "--model-std", STD, "--halo", 32,
        "--probability", "float32",
    )  # fmt: skip
    assert run.status == 0, run.err
    with rasterio.open(scene) as src:
        dn = src.read()
    with rasterio.open(tmp_path / "scene_probability.tif") as src:
        found = src.read(1)
    valid = (dn != 0).all(axis=0)
    np.testing.assert_array_equal(np.isnan(found), ~valid)
    np.testing.assert_allclose(found[valid], dark_probability(dn)[valid], atol=1e-5)
    record = json.loads((tmp_path / "scene.json").read_text())
    assert record["model"]["res_m"] is None
    assert record["settings"]["foreign"]["bands"] == ["B03", "B08"]
    assert record["plan"]["halo"] == 32


def test_a_graph_of_one_size_gets_windows_of_that_size(geounet, scene, tmp_path):
    file = foreign(tmp_path / "their.onnx", last="Softmax", side=64)
    said = ["--model-bands", "s2:B03,s2:B08", "--model-mean", MEAN, "--model-std", STD]
    for halo in ("default", 16):
        out = tmp_path / str(halo)
        run = geounet(
            "predict", scene, "--model", file, "--out", out, *said, "--model-stride", 16,
            "--halo", halo, "--probability", "float32",
        )  # fmt: skip
        assert run.status == 0, run.err
        with rasterio.open(scene) as src:
            dn = src.read()
        with rasterio.open(out / "scene_probability.tif") as src:
            found = src.read(1)
        valid = (dn != 0).all(axis=0)
        np.testing.assert_allclose(found[valid], dark_probability(dn)[valid], atol=1e-5)
    plan = json.loads((tmp_path / "16" / "scene.json").read_text())["plan"]
    assert (plan["window"], plan["halo"]) == (32, 16)
    assert json.loads((tmp_path / "default" / "scene.json").read_text())["blended"] is True


def test_what_nobody_says_of_anyone_s_file_is_asked_for(geounet, scene, tmp_path):
    file = foreign(tmp_path / "their.onnx")
    many = foreign(tmp_path / "many.onnx", outputs=3)
    predict = ["predict", scene, "--out", tmp_path / "out", "--model"]
    for arguments, said in (
        ([file], "Name its 2 in its order with --bands"),
        ([file, "--model-bands", "s2:B03"], "takes 2 bands, and 1 are named"),
        ([file, "--bands", "B03,B08", "--sensor", "s2", "--halo", "exact"], "--halo exact"),
        ([file, "--model-bands", "s2:B03,s2:B08", "--model-std", "0"], "above 0"),
        ([file, "--model-bands", "s2:B03,s2:B08", "--model-mean", "1,2,3"], "3 numbers"),
        ([file, "--model-bands", "s2:B03,s2:B08", "--model-mean", "x"], "no list of numbers"),
        ([file, "--model-bands", "s2:B03,s2:B08", "--device", "cuda"], "on the CPU"),
        ([file, "--model-bands", "s2:B03,s2:B08", "--precision", "bf16"], "fp32"),
        ([many, "--model-bands", "s2:B03,s2:B08"], "gives 3 classes, and 0 are named"),
        (
            [many, "--model-bands", "s2:B03,s2:B08", "--model-classes", "a,b,c"],
            "begin with `water`",
        ),
    ):
        run = geounet(*predict, *arguments)
        assert run.status == 1
        assert said in run.complaint, arguments
    assert not (tmp_path / "out").exists()


def test_options_for_anyone_s_file_are_refused_with_ours(geounet, model, scene, tmp_path):
    file = tmp_path / "model.onnx"
    geounet("export", model, "--to", "onnx", "--out", file)
    for given in (model, file):
        run = geounet("predict", scene, "--model", given, "--out", tmp_path, "--model-mean", "1")
        assert run.status == 1
        assert "--model-mean does not go with" in run.complaint


def test_files_for_others_and_files_that_are_none_are_refused_by_predict(
    geounet, model, scene, tmp_path
):
    deepness, program = tmp_path / "deepness.onnx", tmp_path / "model.pt2"
    geounet("export", model, "--to", "deepness", "--out", deepness)
    geounet("export", model, "--to", "pt2", "--out", program)
    for name, content in (("text.onnx", b"hello"), ("empty.onnx", b"")):
        (tmp_path / name).write_bytes(content)
    with zipfile.ZipFile(tmp_path / "zip.onnx", "w") as archive:
        archive.writestr("a", "b")
    for name, said in (
        ("deepness.onnx", "exported for Deepness"),
        ("model.pt2", "does not"),
        ("text.onnx", "no ONNX file"),
        ("empty.onnx", "is empty"),
        ("zip.onnx", "zip archive"),
    ):
        run = geounet("predict", scene, "--model", tmp_path / name, "--out", tmp_path / "out")
        assert run.status == 1
        assert said in run.complaint
        assert "\n" not in run.complaint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("library", ["onnx", "onnxruntime", "onnxscript"])
def test_a_library_that_is_absent_is_named_with_how_to_get_it(
    geounet, model, scene, tmp_path, monkeypatch, library
):
    file = tmp_path / "model.onnx"
    if library == "onnxruntime":
        geounet("export", model, "--to", "onnx", "--out", file)
    real = builtins.__import__

    def absent(name, *rest, **more):
        if name.partition(".")[0] == library:
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", absent)
    if library == "onnxruntime":
        run = geounet("predict", scene, "--model", file, "--out", tmp_path / "out")
    else:
        run = geounet("export", model, "--to", "onnx", "--out", tmp_path / "new.onnx")
    assert run.status == 1
    assert library in run.complaint
    assert 'pip install "geounet[onnx]"' in run.complaint
    assert not (tmp_path / "new.onnx").exists()


def test_what_does_not_go_together_is_refused_and_nothing_is_written(geounet, tmp_path, model):
    unknown = write_model(
        tmp_path / "u.safetensors", "unet-same", DARK, names=NAMES, sensor=None, level=None
    )
    bands = write_model(tmp_path / "b.safetensors", "autoencoder", {"base_width": 2, "depth": 1})
    for arguments, said in (
        ([model, "--to", "onnx", "--doi", "10.1/x"], "--doi does not go with --to onnx"),
        ([model, "--to", "pt2", "--size", "64"], "--size does not go with --to pt2"),
        ([model, "--to", "mlm", "--half"], "--half does not go with --to mlm"),
        ([model, "--to", "mlm", "--nodata", "0"], "--nodata does not go with --to mlm"),
        ([model, "--to", "onnx", "--scale", "0"], "--scale 0 is not above 0"),
        ([model, "--to", "onnx", "--scale", "1", "--offset", "nan"], "--offset nan"),
        ([model, "--to", "onnx", "--nodata", "inf"], "a finite number"),
        ([model, "--to", "deepness", "--size", "9999"], "too large"),
        ([model, "--to", "deepness", "--size", "67"], "Use another --size"),
        ([unknown, "--to", "onnx"], "Give --scale and --offset"),
        ([bands, "--to", "onnx"], "tells no classes"),
        ([tmp_path / "absent", "--to", "onnx"], "no such file"),
    ):
        run = geounet("export", *arguments, "--out", tmp_path / "out" / "x")
        assert run.status == 1
        assert said in run.complaint, arguments
    assert geounet("export", model, "--to", "tflite", "--out", tmp_path / "x").status == 2
    assert (
        geounet("export", model, "--to", "onnx", "--out", tmp_path / "x", "--nodata", "no").status
        == 2
    )
    assert not (tmp_path / "out").exists()


def test_the_exported_graph_says_what_its_formula_says(geounet, model, tmp_path):
    file = tmp_path / "model.pt2"
    geounet("export", model, "--to", "pt2", "--out", file)
    dn = wavy_dn(32, 48, bands=2)
    given = torch.from_numpy(dn[None].astype(np.float32))
    found = torch.export.load(file).module()(given).numpy()[0, 1]
    np.testing.assert_allclose(found, dark_probability(dn), atol=1e-5)
    assert (SCALE, OFFSET) == (1e-4, -1000)


def test_nothing_of_onnx_is_needed_where_no_onnx_file_is():
    code = (
        "import sys\n"
        "for name in ('onnx', 'onnxruntime', 'onnxscript'): sys.modules[name] = None\n"
        "import geounet.export, geounet.predict, geounet.info\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

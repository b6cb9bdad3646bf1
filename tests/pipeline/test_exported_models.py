"""A model that left home says what it says at home: ONNX Runtime, torch.export, geounet."""

import json
import logging
from pathlib import Path

import numpy as np
import onnx
import pytest
import rasterio
from exporting import NAMES, NETWORKS, RUNNERS, by_geounet, by_torch, inside, lively
from predicting import wavy_dn, write_model, write_scene

from geounet.export import ExportSettings, export_model
from geounet.model_file import load_model, read_header
from geounet.onnx_file import open_onnx
from geounet.predict import PredictSettings, predict_scene

FULL = {"precision": "fp32", "probability": "float32", "device": "cpu", "overwrite": True}


@pytest.fixture(scope="module", params=list(NETWORKS))
def exported(request, tmp_path_factory) -> dict[str, Path]:
    """A model file, and what was exported from it by form."""
    folder = tmp_path_factory.mktemp("model")
    settings = NETWORKS[request.param]
    model = write_model(
        folder / "model.safetensors", request.param, settings, names=NAMES, prepare=lively
    )
    files = {form: export_model(model, folder / f"model.{form}", form) for form in RUNNERS}
    return {"model": model, **files}


def window(stride: int, remainder: int, *, strides: int = 9, seed: int = 0):
    """DN (2, bands, H, W) with pixels without data, and valid (2, H, W)."""
    sides = [stride * (strides + more) + remainder for more in (0, 2)]
    dn = np.stack([wavy_dn(*sides, seed=seed + i, bands=len(NAMES)) for i in range(2)])
    dn[0, :, :40, :25] = 0
    dn[1, 2, 50:60, 70:] = 0  # of one band
    return dn, (dn != 0).all(axis=1)


@pytest.mark.parametrize("strides", [14, 21])
def test_all_agree_on_windows_of_more_than_one_size(exported, strides):
    network = load_model(exported["model"])[1]
    dn, valid = window(network.stride, network.remainder, strides=strides)
    wanted = by_geounet(exported["model"], dn, valid)
    known = inside(valid, network.margin)
    assert wanted[:, 1][known].std() > 0.1
    for form, run in RUNNERS.items():
        found = run(exported[form], dn)
        assert found.shape == wanted.shape
        np.testing.assert_array_equal(np.isnan(found).any(axis=1), ~known)
        assert np.abs(found - wanted).max(axis=1)[known].max() < 1e-4, form


def test_nan_is_no_data_as_the_declared_number_is(exported):
    network = load_model(exported["model"])[1]
    dn, valid = window(network.stride, network.remainder, strides=14)
    missing = dn.astype(np.float32)
    missing[:, 1][~valid] = np.nan  # one band is enough
    for form, run in RUNNERS.items():
        np.testing.assert_array_equal(run(exported[form], dn), run(exported[form], missing))


def test_what_is_around_missing_pixels_does_not_see_what_stands_there(exported):
    # Promise 6: they enter the network as 0 after standardisation, whatever their other bands hold.
    network = load_model(exported["model"])[1]
    dn, valid = window(network.stride, network.remainder, strides=14)
    other = np.where(valid[:, None], dn, 0)
    other[1, 0][~valid[1]] = 9999
    other[0, 3][~valid[0]] = 123
    for form, run in RUNNERS.items():
        np.testing.assert_array_equal(run(exported[form], dn), run(exported[form], other))


def test_the_onnx_file_passes_the_checker_and_carries_header_and_nothing_else(exported):
    model = onnx.load(str(exported["onnx"]), load_external_data=False)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    assert len(inferred.graph.value_info) > 10
    assert model.ir_version <= 9
    assert [(one.domain, one.version <= 20) for one in model.opset_import] == [("", True)]
    said = {entry.key: entry.value for entry in model.metadata_props}
    assert said.keys() == {"geounet", "geounet_graph"}
    file = open_onnx(exported["onnx"])
    assert file.header == read_header(exported["model"])
    assert file.takes == (None, len(NAMES), None, None)
    text = exported["onnx"].read_bytes() + exported["pt2"].read_bytes()
    assert str(Path(__file__).parents[2]).encode() not in text
    assert b"site-packages" not in text


def test_a_scene_of_any_size_gets_the_mask_of_the_model_file(exported, tmp_path):
    dn = wavy_dn(333, 421, seed=5, bands=len(NAMES))
    dn[:, 100:140, :70] = 0
    dn[1, 300:, 400:] = 0
    scene = write_scene(tmp_path / "scene.tif", dn, names=NAMES)
    found = {}
    for form in ("model", "onnx"):
        out = tmp_path / form
        record = json.loads(
            predict_scene(scene, exported[form], out, PredictSettings(**FULL)).read_text()
        )
        rasters = []
        for product in ("mask", "probability"):
            with rasterio.open(out / f"scene_{product}.tif") as src:
                rasters.append(src.read(1))
        found[form] = (record, *rasters)
    (at_home, mask, probability), (abroad, other_mask, other) = found["model"], found["onnx"]
    assert at_home["plan"].pop("backend") == "eager"
    assert abroad["plan"].pop("backend") == "onnxruntime"
    for told in ("plan", "bands", "scaling", "classes", "windows", "blended", "level"):
        assert at_home[told] == abroad[told], told
    assert abroad["model"]["runtime"].startswith("onnxruntime ")
    assert set(at_home["files"]) == set(abroad["files"])
    np.testing.assert_array_equal(np.isnan(probability), np.isnan(other))
    assert np.nanstd(probability) > 0.1
    assert np.nanmax(np.abs(probability - other)) < 1e-4
    assert (mask != other_mask).sum() < 1e-6 * mask.size


@pytest.fixture(scope="module")
def small(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("small")
    return write_model(
        folder / "model.safetensors", "unet-same", {"base_width": 4, "depth": 2}, names=NAMES,
        prepare=lively,
    )  # fmt: skip


def test_half_is_nearly_the_same_and_half_the_size(tmp_path):
    wide = write_model(
        tmp_path / "wide.safetensors", "unet-same", {"base_width": 16, "depth": 2}, names=NAMES,
        prepare=lively,
    )  # fmt: skip
    dn, valid = window(4, 0, strides=30)
    dn[0, 0, 70, 70] = 65_535  # more than 16 bits hold as a float
    wanted = by_geounet(wide, dn, valid)
    for form, run in RUNNERS.items():
        whole = export_model(wide, tmp_path / f"whole.{form}", form)
        half = export_model(wide, tmp_path / f"half.{form}", form, ExportSettings(half=True))
        found = run(half, dn)
        assert found.dtype == np.float32
        assert np.abs(found - wanted).max(axis=1)[valid].max() < 0.02
        assert np.abs(found - wanted).max(axis=1)[valid].max() > 1e-6
        assert half.stat().st_size < 0.65 * whole.stat().st_size


def test_the_same_model_gives_the_same_bytes(small, tmp_path):
    for form in RUNNERS:
        one, other = (
            export_model(small, tmp_path / folder / f"model.{form}", form) for folder in "ab"
        )
        assert one.read_bytes() == other.read_bytes(), form


def test_scale_offset_and_nodata_are_those_that_were_said(small, tmp_path):
    dn, valid = window(4, 0, strides=20)
    dn = np.where(dn, np.maximum(dn, 1001), 0)
    wanted = by_geounet(small, dn, valid)
    reflectance = np.where(valid[:, None], dn * 1e-4 - 0.1, -9999)
    old = np.where(dn, dn - 1000, 0)  # of Sentinel-2 before baseline 04.00
    for form, given, settings in (
        ("onnx", reflectance, ExportSettings(scale=1.0, nodata=-9999.0)),
        ("pt2", old, ExportSettings(offset=0.0)),
    ):
        found = RUNNERS[form](export_model(small, tmp_path / f"m.{form}", form, settings), given)
        np.testing.assert_array_equal(np.isnan(found[:, 0]), ~valid)
        assert np.abs(found - wanted).max(axis=1)[valid].max() < 1e-4


def test_a_scene_of_another_scaling_or_nodata_gets_what_it_gets_at_home(small, tmp_path):
    # Reflectance as floats, nodata -1, and a true 0, which the graph would take for no data.
    file = export_model(small, tmp_path / "m.onnx", "onnx", ExportSettings(scale=1.0, nodata=0.0))
    reflectance = (wavy_dn(150, 90, bands=len(NAMES)) * 1e-4 - 0.1).astype(np.float32)
    reflectance[:, 20:30, 20:40] = 0
    reflectance[:, 60:, 50:] = -1
    scene = write_scene(tmp_path / "scene.tif", reflectance, names=NAMES, nodata=-1)
    probabilities = []
    for model in (small, file):
        predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL))
        with rasterio.open(tmp_path / "out" / "scene_probability.tif") as src:
            probabilities.append(src.read(1))
    one, other = probabilities
    assert np.isfinite(one[20:30, 20:40]).all()
    np.testing.assert_array_equal(np.isnan(one), np.isnan(other))
    assert np.nanmax(np.abs(one - other)) < 1e-4


@pytest.mark.slow  # a minute for what torch traces of it
def test_a_network_that_is_not_to_be_had_for_any_size_takes_the_windows_that_are_blended(
    tmp_path, caplog
):
    network = "smp/unet/tu-swinv2_tiny_window8_256"
    model = write_model(
        tmp_path / "model.safetensors", network, names=NAMES, prepare=lively, halo_exact=None,
        blend={"window": 64, "overlap": 32, "why": "attention"},
    )  # fmt: skip
    with caplog.at_level(logging.WARNING, "geounet"):
        file = export_model(model, tmp_path / "model.onnx", "onnx")
    assert "windows of 64 pixels alone" in caplog.text
    assert open_onnx(file).takes == (None, len(NAMES), 64, 64)
    dn = wavy_dn(100, 130, bands=len(NAMES))
    scene = write_scene(tmp_path / "scene.tif", dn, names=NAMES)
    probabilities = []
    for path in (model, file):
        predict_scene(scene, path, tmp_path / "out", PredictSettings(**FULL))
        with rasterio.open(tmp_path / "out" / "scene_probability.tif") as src:
            probabilities.append(src.read(1))
    assert np.abs(probabilities[0] - probabilities[1]).max() < 1e-4


def test_programs_of_torch_refuse_sizes_that_the_network_does_not_take(small, tmp_path):
    file = export_model(small, tmp_path / "m.pt2", "pt2")
    with pytest.raises((AssertionError, RuntimeError, ValueError)):
        by_torch(file, np.ones((1, len(NAMES), 41, 40)))

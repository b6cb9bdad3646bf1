"""--mask-clouds and what belongs to it, in all commands that have them."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from contouring import write_raster, write_scene
from predicting import DARK, L2A, dark_probability, water_is_dark, wavy_dn, write_model
from predicting import write_scene as write_l2a

from geounet.chips import open_chips

SHAPE = (120, 128)
NIR = L2A.index("B08")


@pytest.fixture
def scene(tmp_path) -> Path:
    """Land on the left, water on the right, and a file that calls a part of both cloud."""
    path = write_scene(tmp_path / "scene.tif", np.ones(SHAPE, bool))
    with rasterio.open(path, "r+") as dst:
        dn = dst.read()
        dn[3, :, :60], dn[3, :, 60:] = 4000, 1100
        dst.write(dn)
    write_raster(tmp_path / "label.tif", np.where(np.arange(128) < 60, 0, 1)[None, None].astype(
        np.uint8).repeat(120, axis=1))  # fmt: skip
    cloud = np.zeros((1, *SHAPE), np.uint8)
    cloud[0, 40:80, 30:90] = 1
    cloud[0, 100:102, 100:102] = 1  # 400 m²: four pixels
    write_raster(tmp_path / "cloud.tif", cloud)
    return path


def masked(where=np.s_[40:80, 30:90]):
    result = np.zeros(SHAPE, bool)
    result[where] = True
    return result


def classes_in(folder: Path):
    with rasterio.open(folder / "scene_mask.tif") as src:
        return src.read(1)


def test_the_baseline_masks_and_flags_and_records(geounet, scene, tmp_path):
    said = geounet(
        *("baseline", scene, "--threshold", "0", "--out", tmp_path / "out"),
        *("--mask-clouds", "--cloud-mask", tmp_path / "cloud.tif"),
    )
    assert said.status == 0, said.err
    assert "masked" in said.err
    assert np.array_equal(classes_in(tmp_path / "out") == 255, masked())
    clouds = json.loads((tmp_path / "out" / "scene.json").read_text())["clouds"]
    assert clouds["source"] == "--cloud-mask (cloud.tif)"
    assert clouds["share_of_scene"] == (40 * 60 + 4) / (120 * 128)
    assert clouds["masked"]["share_of_scene"] == 40 * 60 / (120 * 128)


def test_options_reach_the_mask(geounet, scene, tmp_path):
    said = geounet(
        *("baseline", scene, "--threshold", "0", "--out", tmp_path / "out", "--mask-clouds"),
        *("--cloud-mask", tmp_path / "cloud.tif", "--cloud-min-area", "0", "--cloud-buffer", "10"),
        "--cloud-cirrus",
    )
    assert said.status == 0, said.err
    expected = masked() | masked(np.s_[39:81, 30:90]) | masked(np.s_[40:80, 29:91])
    expected |= masked(np.s_[99:103, 100:102]) | masked(np.s_[100:102, 99:103])
    assert np.array_equal(classes_in(tmp_path / "out") == 255, expected)
    found = json.loads((tmp_path / "out" / "scene.json").read_text())["clouds"]["masked"]
    assert (found["cirrus"], found["min_area_m2"], found["buffer_m"]) == (True, 0, 10)


def test_a_mask_alone_flags_and_hides_nothing(geounet, scene, tmp_path):
    said = geounet(
        *("baseline", scene, "--threshold", "0", "--out", tmp_path / "out"),
        *("--cloud-mask", tmp_path / "cloud.tif"),
    )
    assert said.status == 0, said.err
    assert not (classes_in(tmp_path / "out") == 255).any()
    clouds = json.loads((tmp_path / "out" / "scene.json").read_text())["clouds"]
    assert clouds["masked"] is None
    assert clouds["share_of_coast"] == pytest.approx(42 / 120, abs=0.02)  # and a pixel around


@pytest.mark.parametrize("command", ["predict", "baseline", "tile"])
@pytest.mark.parametrize(
    ("more", "complaint"),
    [
        (("--cloud-buffer", "20"), "--cloud-buffer has no effect without --mask-clouds"),
        (("--cloud-cirrus",), "--cloud-cirrus has no effect without --mask-clouds"),
        (("--mask-clouds",), "has no layer that says where clouds are. Give one by --cloud-mask"),
        (("--mask-clouds", "--cloud-mask", "none.tif"), "none.tif is not there"),
        (("--mask-clouds", "--cloud-mask", "cloud.tif", "--cloud-min-area", "1e7"), "or less"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    geounet, scene, tmp_path, monkeypatch, command, more, complaint
):
    monkeypatch.chdir(tmp_path)
    needed = {
        "predict": ("--model", tmp_path / "model.safetensors"),
        "baseline": (),
        "tile": ("--labels", tmp_path / "label.tif"),
    }[command]
    if command == "predict":
        write_model(tmp_path / "model.safetensors", overrides=DARK, prepare=water_is_dark(NIR))
    said = geounet(command, scene, *needed, "--out", tmp_path / "out", *more)
    assert said.status == 1
    assert complaint in said.complaint
    assert not (tmp_path / "out").exists()


def test_a_prediction_is_nodata_where_cloud_is_masked_and_does_not_see_it(geounet, tmp_path):
    dn = wavy_dn(90, 110)
    path = write_l2a(tmp_path / "scene.tif", dn)
    with rasterio.open(path) as src:
        crs, transform = src.crs, src.transform
    cloud = np.zeros((1, 90, 110), np.uint8)
    cloud[0, 20:50, 30:70] = 1
    write_raster(tmp_path / "cloud.tif", cloud, crs=crs, transform=transform)
    model = write_model(tmp_path / "m.safetensors", overrides=DARK, prepare=water_is_dark(NIR))
    said = geounet(
        *("predict", path, "--model", model, "--out", tmp_path / "out", "--precision", "fp32"),
        *("--probability", "float32", "--mask-clouds", "--cloud-mask", tmp_path / "cloud.tif"),
    )
    assert said.status == 0, said.err
    with rasterio.open(tmp_path / "out" / "scene_probability.tif") as src:
        probability = src.read(1)
    assert np.array_equal(np.isnan(probability), cloud[0] == 1)
    clear = cloud[0] == 0
    assert np.allclose(probability[clear], dark_probability(dn, NIR)[clear], atol=1e-5)
    assert json.loads((tmp_path / "out" / "scene.json").read_text())["clouds"]["masked"]


def test_chips_have_no_labels_under_cloud_and_say_so(geounet, scene, tmp_path):
    common = ("--labels", tmp_path / "label.tif", "--size", "32", "--val", "0", "--test", "0")
    said = geounet(
        *("tile", scene, *common, "--out", tmp_path / "chips", "--min-valid", "0.01"),
        *("--mask-clouds", "--cloud-mask", tmp_path / "cloud.tif"),
    )
    assert said.status == 0, said.err
    chips = open_chips(tmp_path / "chips")
    unknown = np.ones(SHAPE, bool)
    for name in chips.names("train"):
        row, col = map(int, name.split("_")[-2:])
        chip = chips.read(name)
        unknown[row : row + 32, col : col + 32] &= chip.label == 255
        assert np.array_equal(np.isnan(chip.values).all(axis=0), chip.label == 255)
    assert np.array_equal(unknown, masked())
    (source,) = chips.info.sources
    assert source["clouds_masked"] == {
        "source": "--cloud-mask (cloud.tif)",
        "cirrus": False,
        "min_area_m2": 50_000,
        "buffer_m": 0,
    }


def test_a_scene_all_under_cloud_says_why_it_has_no_data(geounet, scene, tmp_path):
    write_raster(tmp_path / "all.tif", np.ones((1, *SHAPE), np.uint8))
    said = geounet(
        *("baseline", scene, "--out", tmp_path / "out"),
        *("--mask-clouds", "--cloud-mask", tmp_path / "all.tif"),
    )
    assert said.status == 1
    assert "or is masked as cloud" in said.complaint

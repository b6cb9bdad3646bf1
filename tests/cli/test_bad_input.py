"""Bad input: one line that says what is wrong and what to do, status 1, and nothing left behind."""

import json
import shutil
import subprocess
from contextlib import nullcontext
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from predicting import DARK, wavy_dn, write_model, write_scene
from shapely.geometry import box
from training_chips import write_chips

FOUR = ("B02", "B03", "B04", "B08")


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "scene.tif", wavy_dn(96, 80))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "model.safetensors", overrides=DARK)


@pytest.fixture
def water(tmp_path: Path) -> Path:
    """The left half of the scene."""
    return write_polygon(tmp_path / "water.gpkg", 600_000, 5_099_040, 600_400, 5_100_000)


def write_polygon(path: Path, *bounds: float) -> Path:
    geopandas.GeoDataFrame(geometry=[box(*bounds)], crs="EPSG:32630").to_file(path)
    return path


def visible(folder: Path) -> set[str]:
    """All that is in a folder, hidden files too."""
    return {str(p.relative_to(folder)) for p in folder.rglob("*")}


@pytest.fixture
def refused(geounet, tmp_path):
    """Run a command that must end with status 1 and one line, and must leave nothing."""

    def run(*arguments: object) -> str:
        before = visible(tmp_path)
        ended = geounet(*arguments)
        assert ended.status == 1, ended.err
        assert visible(tmp_path) == before
        return ended.complaint

    return run


def truncate(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


# What is no scene, for every command that takes one ---------------------------------------------


def commands(scene: Path, tmp_path: Path) -> dict[str, list[object]]:
    water = write_polygon(tmp_path / "w.gpkg", 600_000, 5_099_040, 600_400, 5_100_000)
    model = write_model(tmp_path / "m.safetensors", overrides=DARK)
    return {
        "tile": ["tile", scene, "--labels", water, "--labels-are", "water", "--size", 16],
        "predict": ["predict", scene, "--model", model],
        "baseline": ["baseline", scene, "--index", "ndwi"],
    }


@pytest.mark.parametrize("command", ["tile", "predict", "baseline"])
@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("missing", "bad.tif"),
        ("not a raster", "bad.tif"),
        ("truncated", "bad.tif"),
        ("no band names", "--bands"),
        ("no sensor", "--sensor"),
        ("no CRS", "CRS"),
        ("no scale", "--scale"),
        ("all nodata", "bad.tif"),
    ],
)
def test_a_bad_scene_is_told_in_one_line(refused, tmp_path, command, what, said) -> None:
    path = tmp_path / "bad.tif"
    dn = wavy_dn(96, 80)
    if what == "not a raster":
        path.write_text("this is no raster\n" * 100)
    elif what == "truncated":
        truncate(write_scene(path, dn))
    elif what == "no band names":
        write_scene(path, dn, names=("",) * 12)
    elif what == "no sensor":
        names = ("B02", "B03", "B04", "B08")
        write_scene(path, dn[:4], names=names, sensor=None, level=None)
    elif what == "no CRS":
        write_scene(path, dn, crs=None)
    elif what == "no scale":
        write_scene(path, dn)
        with rasterio.open(path, "r+") as dst:
            dst.scales, dst.offsets = [1.0] * 12, [0.0] * 12
    elif what == "all nodata":
        write_scene(path, np.zeros_like(dn))
    line = commands(path, tmp_path)[command]
    complaint = refused(*line, "--out", tmp_path / "out")
    assert said in complaint


@pytest.mark.parametrize(("command", "missing"), [("predict", "B03"), ("baseline", "green")])
def test_a_missing_band_is_told_with_those_there_are(refused, tmp_path, command, missing) -> None:
    path = write_scene(tmp_path / "bad.tif", wavy_dn(96, 80)[:3], names=("B04", "B08", "B11"))
    complaint = refused(*commands(path, tmp_path)[command], "--out", tmp_path / "out")
    for name in (missing, "B04", "B08", "B11"):
        assert name in complaint


# Labels and splits ------------------------------------------------------------------------------


def test_labels_that_do_not_touch_the_scene(refused, scene, tmp_path) -> None:
    away = write_polygon(tmp_path / "away.gpkg", 700_000, 5_000_000, 700_100, 5_000_100)
    line = ["tile", scene, "--labels", away, "--labels-are", "water", "--size", 16]
    assert "away.gpkg" in refused(*line, "--out", tmp_path / "chips")


def test_labels_of_unknown_value(refused, scene, tmp_path) -> None:
    path = tmp_path / "labels.tif"
    with rasterio.open(scene) as src:
        profile = src.profile | {"count": 1, "dtype": "uint8", "nodata": 255}
    with rasterio.open(path, "w", **profile) as dst:
        dst.write(np.full((96, 80), 7, np.uint8), 1)
    line = ["tile", scene, "--labels", path, "--label-values", "0=land,1=water", "--size", 16]
    complaint = refused(*line, "--out", tmp_path / "chips")
    assert "7" in complaint
    assert "--label-values" in complaint


def test_an_empty_split(refused, scene, water, tmp_path) -> None:
    line = ["tile", scene, "--labels", water, "--labels-are", "water", "--size", 64]
    assert "--size" in refused(*line, "--out", tmp_path / "chips")


# Training ---------------------------------------------------------------------------------------


def test_chips_and_config_that_disagree(refused, tmp_path) -> None:
    chips = write_chips(tmp_path / "chips", counts={"train": 2, "val": 1}, names=FOUR)
    line = ["train", chips, "--config", "coast", "--set", "bands=[B02,B11]"]
    complaint = refused(*line, "--out", tmp_path / "run")
    assert "B11" in complaint
    assert "B08" in complaint


def test_an_unknown_setting_is_refused_with_the_nearest(refused, tmp_path) -> None:
    chips = write_chips(tmp_path / "chips", counts={"train": 2, "val": 1}, names=FOUR)
    line = ["train", chips, "--config", "coast", "--set", "learning_rat=0.1"]
    assert "learning_rate" in refused(*line, "--out", tmp_path / "run")


def test_an_unknown_recipe_is_refused_with_those_there_are(refused, tmp_path) -> None:
    chips = write_chips(tmp_path / "chips", counts={"train": 2, "val": 1}, names=FOUR)
    assert "coast" in refused("train", chips, "--config", "coats", "--out", tmp_path / "run")


# Model files ------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", ["missing", "pickle", "truncated", "newer", "foreign"])
def test_a_bad_model_file(refused, scene, model, tmp_path, what) -> None:
    import torch
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    path = tmp_path / "bad.safetensors"
    if what == "pickle":
        torch.save({"weights": torch.zeros(3)}, path)
    elif what == "truncated":
        shutil.copy(model, path)
        truncate(path)
    elif what == "newer":
        with safe_open(model, "pt") as file:
            header = json.loads(file.metadata()["geounet"])
        save_file(load_file(model), path, {"geounet": json.dumps(header | {"format": 999})})
    elif what == "foreign":
        save_file({"a": torch.zeros(3)}, path)
    complaint = refused("predict", scene, "--model", path, "--out", tmp_path / "out")
    assert "bad.safetensors" in complaint


# Outputs ----------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path):
    """A folder with room for half a megabyte."""
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a small disk")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.parametrize("command", ["tile", "predict", "baseline"])
def test_a_full_disk(refused, tmp_path, small_disk, command) -> None:
    scene = write_scene(tmp_path / "scene.tif", wavy_dn(512, 480))
    line = commands(scene, tmp_path)[command]
    if command == "tile":
        line += ["--val", 0, "--test", 0]
    assert "disk is full" in refused(*line, "--out", small_disk / "out")


@pytest.mark.parametrize("command", ["tile", "predict", "baseline"])
def test_an_output_folder_that_cannot_be_made(refused, scene, tmp_path, command) -> None:
    (tmp_path / "file").write_text("in the way")
    line = commands(scene, tmp_path)[command]
    assert "another --out" in refused(*line, "--out", tmp_path / "file" / "out")


@pytest.mark.parametrize("command", ["tile", "predict", "baseline"])
def test_outputs_that_exist_are_kept_unless_overwriting(geounet, refused, scene, tmp_path, command):
    line = commands(scene, tmp_path)[command]
    if command == "tile":
        line += ["--val", 0, "--test", 0]
    line += ["--out", tmp_path / "out"]
    assert geounet(*line).status == 0
    before = {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
    assert "--overwrite" in refused(*line)
    assert {p: p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()} == before
    assert geounet(*line, "--overwrite").status == 0


def test_a_scene_of_three_by_three_pixels_works(geounet, model, tmp_path) -> None:
    scene = write_scene(tmp_path / "tiny.tif", wavy_dn(3, 3))
    assert geounet("predict", scene, "--model", model, "--out", tmp_path / "out").status == 0
    with rasterio.open(tmp_path / "out" / "tiny_mask.tif") as mask:
        assert mask.shape == (3, 3)
        assert set(np.unique(mask.read(1))) <= {0, 1}


@pytest.mark.parametrize("what", ["truncated", "no CRS", "no geotransform"])
def test_a_bad_label_raster_is_told_in_one_line(refused, scene, tmp_path, what) -> None:
    path = tmp_path / "labels.tif"
    with rasterio.open(scene) as src:
        profile = src.profile | {"count": 1, "dtype": "uint8", "nodata": 255}
    if what == "no CRS":
        profile["crs"] = None
    if what == "no geotransform":
        profile["transform"] = rasterio.Affine.identity()
    with pytest.warns() if what == "no geotransform" else nullcontext(), rasterio.open(
        path, "w", **profile
    ) as dst:  # fmt: skip
        dst.write(np.random.default_rng(0).integers(0, 2, (96, 80), dtype=np.uint8), 1)
    if what == "truncated":
        truncate(path)
    complaint = refused("tile", scene, "--labels", path, "--size", 16, "--out", tmp_path / "chips")
    assert "labels.tif" in complaint

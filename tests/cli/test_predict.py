"""`geounet predict`: what it prints, and one line for whatever is wrong."""

import json
import os
import pickle
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import rasterio
from predicting import DARK, L2A, water_is_dark, wavy_dn, write_model, write_scene
from safetensors.numpy import save_file

EXPECTED = {
    "_mask.tif", "_mask.qml", "_mask.tif.aux.xml", "_probability.tif", "_probability.qml",
    "_rgb.tif", "_rgb.qml", ".gpkg", ".qgz", ".json",
}  # fmt: skip


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model") / "dark.safetensors"
    return write_model(path, overrides=DARK, prepare=water_is_dark(7))


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    return write_scene(tmp_path / "scene.tif", wavy_dn(60, 80))


def test_it_writes_a_set_and_prints_where_its_record_is(geounet, scene, model, tmp_path):
    run = geounet("predict", scene, "--model", model, "--out", tmp_path / "out")
    assert run.status == 0
    assert run.out == f"{tmp_path / 'out/scene.json'}\n"
    assert run.err == f"{scene}: nothing says where clouds are; --cloud-mask does\n"
    names = {p.name.removeprefix("scene") for p in (tmp_path / "out").iterdir()}
    assert names == EXPECTED
    record = json.loads((tmp_path / "out/scene.json").read_text())
    assert record["files"].keys() == {f"scene{name}" for name in EXPECTED - {".json"}}


def test_memory_is_limited_and_times_are_shown(geounet, scene, model, tmp_path):
    run = geounet(
        "predict",
        scene,
        "--model",
        model,
        "--out",
        tmp_path / "out",
        "--memory",
        "512M",
        "--timings",
    )
    assert run.status == 0
    assert run.out == f"{tmp_path / 'out/scene.json'}\n"
    assert "the network was busy" in run.err
    record = json.loads((tmp_path / "out/scene.json").read_text())
    assert record["plan"]["memory"] == record["settings"]["memory"] == 512 << 20
    assert f"network {record['timings']['network']:9.2f} s" in run.err


@pytest.mark.parametrize(("said", "told"), [("lots", "512M"), ("10M", "256M or more")])
def test_what_is_no_limit_of_memory_ends_in_one_line(geounet, scene, model, tmp_path, said, told):
    run = geounet("predict", scene, "--model", model, "--out", tmp_path / "out", "--memory", said)
    assert run.status == 1
    assert f"--memory {said}" in run.err
    assert told in run.err
    assert len(run.err.splitlines()) == 1


def test_what_is_said_reaches_the_record(geounet, scene, model, tmp_path):
    run = geounet(
        "predict", scene, "--model", model, "--out", tmp_path / "out", "--window", 32, "--halo", 4,
        "--batch", 2, "--precision", "fp32", "--device", "cpu", "--threshold", 0.25,
        "--probability", "float32", "--scale", 0.0001, "--offset", -1000,
    )  # fmt: skip
    assert run.status == 0
    record = json.loads((tmp_path / "out/scene.json").read_text())
    assert record["plan"].items() >= {
        "window": 32, "halo": 4, "batch": 2, "precision": "fp32", "device": "cpu",
    }.items()  # fmt: skip
    assert record["level"] == 0.25
    assert record["command"] == "predict"
    assert record["model"]["file"] == "dark.safetensors"
    assert record["scaling"]["scale"] == [0.0001] * 12
    with rasterio.open(tmp_path / "out/scene_probability.tif") as src:
        assert src.dtypes == ("float32",)


def test_warnings_go_to_stderr_and_results_do_not(geounet, model, tmp_path):
    scene = write_scene(tmp_path / "a.tif", wavy_dn(60, 80), level=None)
    run = geounet("predict", scene, "--model", model, "--out", tmp_path / "out")
    assert run.status == 0
    assert run.out == f"{tmp_path / 'out/a.json'}\n"
    warnings = [line for line in run.err.splitlines() if line.startswith("warning: ")]
    assert len(warnings) == 1
    assert warnings[0].startswith(f"warning: {scene}: its processing level is not known")
    assert f"{scene}: nothing says where clouds are; --cloud-mask does" in run.err.splitlines()


@pytest.fixture
def blended(tmp_path: Path) -> Path:
    blend = {"window": 32, "overlap": 8, "why": "attention"}
    halos = {"halo_exact": None, "halo_default": 0, "blend": blend}
    return write_model(
        tmp_path / "blended.safetensors", overrides=DARK, prepare=water_is_dark(7), **halos
    )


def test_that_windows_are_blended_is_said_once_with_how_far_they_disagree(
    geounet, scene, blended, tmp_path
):
    run = geounet("predict", scene, "--model", blended, "--out", tmp_path / "out")
    assert run.status == 0
    assert run.out == f"{tmp_path / 'out/scene.json'}\n"
    (line,) = (line for line in run.err.splitlines() if "are blended" in line)
    assert line.startswith(f"warning: {scene}: windows of 32 pixels that overlap by 8 are blended")
    assert "(attention)" in line
    assert " at most, by " in line


def test_a_halo_for_blended_windows_is_refused_in_one_line(geounet, scene, blended, tmp_path):
    run = geounet(
        "predict", scene, "--model", blended, "--out", tmp_path / "out", "--halo", "exact"
    )
    assert run.status == 1
    (line,) = run.err.splitlines()
    assert line.startswith("error: --halo exact does not go with")
    assert not (tmp_path / "out").exists()


def test_info_says_that_a_model_is_blended(geounet, blended, model):
    said = " ".join(geounet("info", blended).out.split())
    assert "none is exact; windows are blended (attention): 32 wide, 8 shared" in said
    assert "blended" not in geounet("info", model).out


def test_a_bad_scene_is_listed_at_the_end_and_the_rest_are_done(geounet, scene, model, tmp_path):
    bad = write_scene(tmp_path / "bad.tif", wavy_dn(60, 80)[:3], names=L2A[:3])
    last = write_scene(tmp_path / "last.tif", wavy_dn(30, 30))
    run = geounet("predict", scene, bad, last, "--model", model, "--out", tmp_path / "out")
    assert run.status == 1
    assert run.out.splitlines() == [str(tmp_path / f"out/{n}.json") for n in ("scene", "last")]
    assert run.complaint == "error: 1 of 3 scenes failed:"
    assert str(bad) in run.err.splitlines()[-1]
    assert run.err.count("has no band") == 1


def missing(folder: Path) -> Path:
    return folder / "nowhere.tif"


def not_a_raster(folder: Path) -> Path:
    path = folder / "a.tif"
    path.write_text("no pixels here")
    return path


def truncated(folder: Path) -> Path:
    path = write_scene(folder / "a.tif", wavy_dn(300, 300), tiled=True, compress="deflate")
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    return path


def without_nir(folder: Path) -> Path:
    return write_scene(folder / "a.tif", wavy_dn(40, 40)[:4], names=L2A[:4])


def without_names(folder: Path) -> Path:
    return write_scene(folder / "a.tif", wavy_dn(40, 40), names=[None] * 12)


def without_crs(folder: Path) -> Path:
    return write_scene(folder / "a.tif", wavy_dn(40, 40), crs=None)


def without_scale(folder: Path) -> Path:
    path = write_scene(folder / "a.tif", wavy_dn(40, 40))
    with rasterio.open(path, "r+") as dst:
        dst.scales, dst.offsets = [1.0] * 12, [0.0] * 12
    return path


def without_data(folder: Path) -> Path:
    return write_scene(folder / "a.tif", np.zeros((12, 40, 40), np.uint16))


def of_another_level(folder: Path) -> Path:
    return write_scene(folder / "a.tif", wavy_dn(40, 40), level="L1C")


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (missing, "nowhere.tif"),
        (not_a_raster, "not a raster"),
        (truncated, "a.tif cannot be opened"),
        (without_nir, "has no band s2:B05"),
        (without_names, "--bands"),
        (without_crs, "CRS"),
        (without_scale, "--scale"),
        (without_data, "no valid pixel"),
        (of_another_level, "--accept-level"),
    ],
)
def test_a_scene_that_will_not_do_is_one_line_and_nothing_is_left(
    geounet, model, tmp_path, make: Callable[[Path], Path], said
):
    scene = make(tmp_path)
    run = geounet("predict", scene, "--model", model, "--out", tmp_path / "out")
    assert run.status == 1
    assert run.out == ""
    assert said in run.complaint
    assert not (tmp_path / "out").exists()


def a_pickle(_: Path, folder: Path) -> Path:
    path = folder / "m.pth"
    path.write_bytes(pickle.dumps({"weights": [1, 2, 3]}))
    return path


def cut_short(model: Path, folder: Path) -> Path:
    path = folder / "m.safetensors"
    path.write_bytes(model.read_bytes()[:-100])
    return path


def of_a_newer_format(_: Path, folder: Path) -> Path:
    path = folder / "m.safetensors"
    metadata = {"geounet": json.dumps({"format": 999, "geounet": "9.9"})}
    save_file({"w": np.zeros(1)}, path, metadata=metadata)
    return path


def no_model(_: Path, folder: Path) -> Path:
    return folder / "nowhere.safetensors"


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (a_pickle, "pickle"),
        (cut_short, "truncated"),
        (of_a_newer_format, "Upgrade geounet"),
        (no_model, "nowhere.safetensors"),
    ],
)
def test_a_model_that_will_not_do_is_one_line_and_nothing_is_left(
    geounet, scene, model, tmp_path, make: Callable[[Path, Path], Path], said
):
    bad = make(model, tmp_path)
    run = geounet("predict", scene, "--model", bad, "--out", tmp_path / "out")
    assert run.status == 1
    assert said in run.complaint
    assert not (tmp_path / "out").exists()


def test_results_that_exist_are_kept(geounet, scene, model, tmp_path):
    line = ("predict", scene, "--model", model, "--out", tmp_path / "out")
    assert geounet(*line).status == 0
    before = {p: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    run = geounet(*line)
    assert run.status == 1
    assert "--overwrite" in run.complaint
    assert {p: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before
    assert geounet(*line, "--overwrite").status == 0


def test_an_output_folder_that_cannot_be_is_one_line(geounet, scene, model, tmp_path):
    (tmp_path / "file").write_text("in the way")
    run = geounet("predict", scene, "--model", model, "--out", tmp_path / "file/out")
    assert run.status == 1
    assert str(tmp_path / "file") in run.complaint


def test_a_full_disk_is_one_line_and_nothing_is_left(geounet, model, tmp_path):
    scene = write_scene(tmp_path / "a.tif", wavy_dn(1100, 1100))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, hard))  # as GDAL sees a full disk
    try:
        run = geounet("predict", scene, "--model", model, "--out", tmp_path / "out")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert run.status == 1
    assert str(tmp_path / "out") in run.complaint
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "option",
    [
        ("--threshold", "2"),
        ("--halo", "wide"),
        ("--precision", "fp8"),
        ("--probability", "int4"),
        ("--batch", "0"),
        ("--window", "0"),
    ],
)
def test_an_option_with_a_wrong_value_is_a_usage_error(geounet, scene, model, tmp_path, option):
    run = geounet("predict", scene, "--model", model, "--out", tmp_path / "out", *option)
    assert run.status == 2
    assert option[0] in run.err
    assert not (tmp_path / "out").exists()


def test_three_by_three_pixels_are_a_scene(geounet, model, tmp_path):
    scene = write_scene(tmp_path / "tiny.tif", wavy_dn(3, 3))
    run = geounet("predict", scene, "--model", model, "--out", tmp_path / "out")
    assert run.status == 0
    with rasterio.open(tmp_path / "out/tiny_mask.tif") as src:
        assert set(np.unique(src.read(1))) <= {0, 1}


@pytest.mark.parametrize("said", [None, "ACTIVE"])
def test_threads_of_the_network_sleep_while_they_wait_unless_the_environment_says_otherwise(said):
    env = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
    env |= {"OMP_DISPLAY_ENV": "TRUE"} | ({"OMP_WAIT_POLICY": said} if said else {})
    command = [sys.executable, "-m", "geounet_cli", "predict", "no.tif"]
    command += ["--model", "no.model", "--out", "nowhere"]
    run = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if "OPENMP DISPLAY" not in run.stderr:
        pytest.skip("torch has no threads of OpenMP")
    assert f"OMP_WAIT_POLICY = '{said or 'PASSIVE'}'" in run.stderr

"""Landsat products and stacks that users have, against computations by hand."""

import math
import tarfile
from datetime import UTC, datetime

import numpy as np
import pytest
import rasterio
from predicting import DARK, MEAN, STD, water_is_dark, write_model
from rasterio.windows import Window

from geounet.bands import parse_band
from geounet.chips import open_chips
from geounet.errors import BandError
from geounet.scene import SceneOptions, gdal_environment, open_scene
from geounet.scene.landsat import parse_mtl

STEM = "LC08_L1TP_204052_20190504_20190520_01_T1_DS"


@pytest.fixture(autouse=True)
def _as_commands_do():
    with gdal_environment():
        yield


@pytest.fixture
def bijagos(shared_data):
    return shared_data / "bijagos_landsat8"


@pytest.fixture
def inn(shared_data):
    return shared_data / "inn_s2_rgbn" / "inference-img.tif"


def whole(scene):
    height, width = scene.geobox.shape
    return Window(col_off=0, row_off=0, width=width, height=height)


def numbers(folder, name):
    with rasterio.open(folder / f"{STEM}_{name}.TIF") as src:
        return src.read(1)


def check_bijagos(scene, folder):
    """Compare reflectance with what the MTL file's numbers give, typed in by hand."""
    small = scene.on_grid_of(["green", "nir", "swir16"])
    assert small.geobox.shape == (300, 300)
    values, valid = small.read(["green", "nir", "swir16", "lwir11"], whole(small))
    dn = np.array([numbers(folder, name) for name in ("B3", "B5", "B6", "B10")], dtype=np.float64)
    np.testing.assert_array_equal(valid, (dn != 0).all(axis=0))
    assert 0.6 < valid.mean() < 0.8
    reflectance = (dn[:3] * 2.0000e-05 - 0.1) / math.sin(math.radians(65.75816831))
    np.testing.assert_allclose(values[:3, valid], reflectance[:, valid], atol=1e-6)
    radiance = dn[3] * 3.3420e-04 + 0.1
    np.testing.assert_allclose(values[3, valid], radiance[valid], atol=1e-5)


def test_bijagos_becomes_reflectance_by_its_mtl(bijagos):
    with open_scene(bijagos) as scene:
        assert (scene.sensor, scene.level) == ("l8", "L1")
        assert scene.time == datetime(2019, 5, 4, 11, 21, 32, 75_313, tzinfo=UTC)
        assert len(scene.bands) == 11
        told = scene.describe()
        assert (told["kind"], told["tile"]) == ("landsat", "204052")
        assert f"SUN_ELEVATION 65.7582° in {STEM}_MTL.txt" in told["sources"]["scale"]
        assert scene.quality.kind == "bqa"
        check_bijagos(scene, bijagos)


def test_bijagos_panchromatic_band_is_on_its_own_grid(bijagos):
    with open_scene(bijagos) as scene:
        assert scene.geobox.shape == (600, 600)
        pan = scene.read_dn(["pan"], whole(scene))
        np.testing.assert_array_equal(pan.values[0], numbers(bijagos, "B8"))
        resampled = {band["name"]: band["resampled"] for band in scene.describe()["bands"]}
        assert [name for name, is_it in resampled.items() if not is_it] == ["B8"]


def test_bijagos_is_the_same_in_a_tar_file_as_the_usgs_makes_it(bijagos, tmp_path):
    archive = tmp_path / f"{STEM}.tar"
    with tarfile.open(archive, "w") as file:
        for path in sorted(bijagos.iterdir()):
            file.add(path, path.name)
    with open_scene(archive) as scene:
        assert scene.name == STEM
        check_bijagos(scene, bijagos)


def test_bijagos_is_found_by_its_mtl_file(bijagos):
    with open_scene(bijagos / f"{STEM}_MTL.txt") as scene:
        check_bijagos(scene, bijagos)


def test_scale_and_offset_are_not_for_temperatures(bijagos):
    with open_scene(bijagos, SceneOptions(scale=1e-3, offset=-1)) as scene:
        assert scene.scaling(["green", "lwir12"]).scale == (1e-3, 3.3420e-04)


def test_the_mtl_says_what_gdal_says_of_the_product(bijagos):
    mtl = parse_mtl((bijagos / f"{STEM}_MTL.txt").read_bytes())
    assert mtl.product == STEM.removesuffix("_DS")
    assert set(mtl.top) == {str(i) for i in range(1, 10)}
    assert set(mtl.radiance) == {str(i) for i in range(1, 12)}
    assert mtl.fill == 0
    assert mtl.complaint is None


def swir16_by_hand(folder):
    dn = numbers(folder, "B6").astype(np.float64)
    return (dn * 2.0000e-05 - 0.1) / math.sin(math.radians(65.75816831)), dn != 0


@pytest.mark.parametrize("ending", [".tar", ".tar.gz"])
def test_bijagos_is_predicted_from_the_archive(geounet, bijagos, tmp_path, ending):
    archive = tmp_path / f"{STEM}{ending}"
    with tarfile.open(archive, "w" if ending == ".tar" else "w:gz") as file:
        for path in sorted(bijagos.iterdir()):
            file.add(path, path.name)
    band = parse_band("B6", "l8").to_dict()
    model = write_model(
        *(tmp_path / "dark.safetensors", "unet-same", DARK),
        names=["B11"],
        prepare=water_is_dark(),
        bands=[band],
        sensor="l8",
        level="L1",
        res_m=(761.1, 777.1),
    )
    run = geounet("predict", archive, "--model", model, "--out", tmp_path / "out",
                  "--probability", "float32", "--precision", "fp32", "--window", 128,
                  "--device", "cpu")  # fmt: skip
    assert run.status == 0, run.err
    with rasterio.open(tmp_path / "out" / f"{STEM}_probability.tif") as src:
        assert src.shape == (300, 300)  # of the model's bands, not of the panchromatic one
        probability = src.read(1)
    reflectance, valid = swir16_by_hand(bijagos)
    expected = 1 / (1 + np.exp(4 * (reflectance - MEAN) / STD))
    np.testing.assert_allclose(probability[valid], expected[valid], atol=1e-4)


def test_bijagos_is_tiled_from_its_folder(geounet, bijagos, tmp_path):
    reflectance, valid = swir16_by_hand(bijagos)
    label = np.where(valid, reflectance < 0.05, 255).astype(np.uint8)
    with rasterio.open(bijagos / f"{STEM}_B6.TIF") as src:
        profile = {**src.profile, "driver": "GTiff", "dtype": "uint8", "nodata": 255}
    with rasterio.open(tmp_path / "water.tif", "w", **profile) as dst:
        dst.write(label, 1)
    run = geounet("tile", bijagos, "--labels", tmp_path / "water.tif", "--bands", "B3,B5,B6",
                  "--size", 32, "--out", tmp_path / "chips")  # fmt: skip
    assert run.status == 0, run.err
    chips = open_chips(tmp_path / "chips")
    assert [band.id for band in chips.info.band_list] == ["l8:B3", "l8:B5", "l8:B6"]
    assert len(chips.index) > 20
    for row in chips.index.itertuples():
        part = np.s_[row.row : row.row + 32, row.col : row.col + 32]
        chip = chips.read(row.chip, ["swir16"])
        good = np.isfinite(chip.values[0])  # where all three bands have data
        assert not (good & ~valid[part]).any()
        np.testing.assert_allclose(chip.values[0][good], reflectance[part][good], atol=1e-6)
        np.testing.assert_array_equal(chip.label[good], label[part][good])


def test_inn_is_refused_as_two_dates_with_a_line_that_works(inn):
    with pytest.raises(BandError, match="look like 2 dates of 4 bands") as caught:
        open_scene(inn)
    words = str(caught.value).rstrip(".").split()
    bands, sensor = (words[words.index(word) + 1] for word in ("--bands", "--sensor"))
    options = SceneOptions(bands=tuple(bands.split(",")), sensor=sensor, scale=1e-4)
    with open_scene(inn, options) as scene, rasterio.open(inn) as src:
        values = scene.read_dn(["B04", "B03", "B02", "B08"], whole(scene)).values
        np.testing.assert_array_equal(values, src.read([1, 2, 3, 4]))


def test_inn_named_twice_is_refused_with_a_line_that_works(inn):
    with pytest.raises(BandError, match="by --bands, holds 2 dates") as caught:
        open_scene(inn, SceneOptions(bands=("B04", "B03", "B02", "B08") * 2, sensor="s2"))
    line = str(caught.value).rstrip(".").split()[-1]
    assert line == "-,-,-,-,B04,B03,B02,B08"


@pytest.mark.parametrize(
    "name", ["olinda_landsat7/L7_ETMs.tif", "colville_delta_mask/Colville_mask.tif"]
)
def test_other_files_without_names_are_not_taken_for_two_dates(shared_data, name):
    said = r"does not say which its \d bands are\. Name them all|looks like a mask and not like"
    with pytest.raises(BandError, match=said):
        open_scene(shared_data / name)


def test_a_list_beside_olinda_names_its_bands(shared_data, tmp_path):
    path = tmp_path / "olinda.tif"
    path.write_bytes((shared_data / "olinda_landsat7" / "L7_ETMs.tif").read_bytes())
    (tmp_path / "olinda.csv").write_text("band\nB1\nB2\nB3\nB4\nB5\nB7\n")
    with open_scene(path, SceneOptions(sensor="l7", scale=1 / 255)) as scene:
        assert [band.name for band in scene.bands] == ["B1", "B2", "B3", "B4", "B5", "B7"]
        with rasterio.open(path) as src:
            swir22 = scene.read_dn(["swir22"], whole(scene)).values[0]
            np.testing.assert_array_equal(swir22, src.read(6))


def test_olindas_folder_is_told_to_be_given_by_its_file(shared_data):
    folder = shared_data / "olinda_landsat7"
    with pytest.raises(BandError, match=r"L7_ETMs\.tif with 6\. Give that file .*L7_ETMs\.tif$"):
        open_scene(folder)

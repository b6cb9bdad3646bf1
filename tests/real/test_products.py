"""The same ground through every door, and what a product's own metadata put right."""

import json

import numpy as np
import pystac
import pytest
import rasterio
from predicting import DARK, water_is_dark, write_model
from rasterio.windows import Window

from geounet.scene import SceneOptions, gdal_environment, open_scene

FIJI_BANDS = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B09", "B11", "B12"]


@pytest.fixture(autouse=True)
def _as_commands_do():
    with gdal_environment():
        yield


@pytest.fixture
def fiji(shared_data):
    (folder,) = shared_data.glob("fiji_s2_l2a_safe/*.SAFE")
    return folder


@pytest.fixture
def sahara(shared_data, tmp_path):
    """The item of the Sahara with its links on the files beside it."""
    folder = shared_data / "sahara_s2_l2a_cog_stac"
    (path,) = folder.glob("*.json")
    item = pystac.Item.from_dict(json.loads(path.read_text()))
    for asset in item.assets.values():
        file = folder / asset.href.rpartition("/")[2]
        asset.href = str(file)
    item.assets = {key: a for key, a in item.assets.items() if a.href.endswith(".tif")}
    moved = tmp_path / "item.json"
    moved.write_text(json.dumps(item.to_dict(include_self_link=False)))
    return moved


def everything(scene):
    return Window(0, 0, scene.geobox.width, scene.geobox.height)


def test_fiji_is_the_same_as_a_product_and_as_its_band_files(geounet, fiji, tmp_path):
    model = write_model(
        tmp_path / "model.safetensors",
        overrides=DARK,
        prepare=water_is_dark(FIJI_BANDS.index("B8A")),
        names=FIJI_BANDS,
        res_m=(60.0, 60.0),
    )
    (files,) = fiji.glob("GRANULE/*/IMG_DATA/R60m")
    said = {"product": (fiji,), "files": (files, "--scale", "0.0001", "--nodata", "0")}
    masks = {}
    for name, arguments in said.items():
        run = geounet(
            *("predict", *arguments, "--model", model, "--out", tmp_path / name),
            *("--precision", "fp32", "--window", "512"),
        )
        assert run.status == 0, run.err
        (masks[name],) = (tmp_path / name).glob("*_mask.tif")
    with rasterio.open(masks["product"]) as mask:
        assert {0, 1} <= set(np.unique(mask.read(1)).tolist()), "nothing to compare"
    assert masks["product"].read_bytes() == masks["files"].read_bytes()
    record = json.loads(next((tmp_path / "product").glob("*.json")).read_text())
    scene = record["scene"]
    assert (scene["tile"], scene["orbit"], scene["baseline"]) == ("01KCV", 129, "02.13")
    # Of the granule; its datatake began at 22:09:21.
    assert scene["time"].startswith("2019-08-09T22:11:10")
    assert 0 < record["clouds"]["share_of_scene"] < 0.2
    assert 0 < record["clouds"]["share_of_coast"] < 1


def test_fiji_has_the_same_numbers_through_both(fiji):
    (files,) = fiji.glob("GRANULE/*/IMG_DATA/R60m")
    window = Window(700, 600, 300, 200)
    with (
        open_scene(fiji) as product,
        open_scene(files, SceneOptions(scale=1e-4, nodata=0)) as folder,
    ):
        assert [band.id for band in product.bands] == [band.id for band in folder.bands]
        one, other = product.read(product.bands, window), folder.read(folder.bands, window)
    np.testing.assert_array_equal(one.valid, other.valid)
    np.testing.assert_array_equal(one.values, other.values)


def test_sahara_is_the_same_as_an_item_and_as_its_band_files(shared_data, sahara):
    options = SceneOptions(sensor="s2", scale=1e-4)
    with (
        open_scene(sahara) as item,
        open_scene(shared_data / "sahara_s2_l2a_cog_stac", options) as folder,
    ):
        assert {band.id for band in item.bands} == {band.id for band in folder.bands}
        one = item.read(item.bands, everything(item))
        other = folder.read(item.bands, everything(item))
    np.testing.assert_array_equal(one.valid, other.valid)
    np.testing.assert_array_equal(one.values, other.values)
    assert one.values.shape == (12, 1098, 1098)


def test_pyrenees_is_the_same_in_its_folder_and_in_its_archive(shared_data):
    (folder,) = shared_data.glob("pyrenees_s2_l1c_safe/*.SAFE")
    with open_scene(folder) as one, open_scene(f"{folder}.zip") as other:
        assert (one.name, one.time, one.level) == (other.name, other.time, other.level)
        pixels = [scene.read(["B01"], everything(scene)) for scene in (one, other)]
    np.testing.assert_array_equal(pixels[0].valid, pixels[1].valid)
    np.testing.assert_array_equal(pixels[0].values, pixels[1].values)
    assert abs(pixels[0].valid.mean() - 0.59) < 0.01


def test_gironde_has_its_offset_applied(shared_data):
    (safe,) = shared_data.glob("gironde_s2_l1c_safe/*.SAFE")
    (file,) = safe.glob("GRANULE/*/IMG_DATA/*_B04.jp2")
    with rasterio.open(file) as src:
        dn = src.read(1)
    with open_scene(safe) as scene:
        values, valid = scene.read(["red"], everything(scene))
        assert scene.time is not None
    assert values.shape == (1, *dn.shape)
    expected = (dn.astype(np.float64) - 1000) / 10_000
    np.testing.assert_array_equal(valid, dn != 0)
    np.testing.assert_allclose(values[0][valid], expected[valid], atol=1e-6)

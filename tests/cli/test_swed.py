"""From SWED to a model, and from a scene to its waterline."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from swed_folder import LAND, WATER, product, write_swed

ORDER = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12"]
FAST = [
    *("--set", "network_settings.base_width=4", "--set", "network_settings.depth=2"),
    *("--set", "epochs=6", "--set", "learning_rate=0.02", "--set", "batch=4"),
    *("--set", "device=cpu", "--set", "precision=fp32"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    def change(name, image, _label):
        if name == f"{product('T18TWL')}_image_0_1":
            image[:] = 0

    path = tmp_path_factory.mktemp("swed") / "SWED"
    return write_swed(path, tiles={"T18TWL": 4, "T30UYC": 3, "T51HYE": 3}, change=change)


def write_scene(path):
    """Write an L2A scene: land in the north, water in the south."""
    water = np.arange(96)[:, None] >= np.full(80, 40)
    dn = np.where(water, WATER[:, None, None], LAND[:, None, None])
    dn = dn + np.random.default_rng(1).integers(-30, 31, dn.shape)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        count=12,
        height=96,
        width=80,
        dtype="uint16",
        nodata=0,
        crs="EPSG:32618",
        transform=Affine(10, 0, 5e5, 0, -10, 4.6e6),
    ) as dst:
        dst.write(dn.astype(np.uint16))
        dst.descriptions = ORDER
    return water


def test_what_swed_taught_finds_the_water_of_a_scene(geounet, folder, tmp_path):
    suspects = geounet("info", folder)
    assert suspects.status == 0
    lines = [line for line in suspects.out.splitlines() if "  # " in line]
    assert lines == [f"{product('T18TWL')}_image_0_1  # no data"]
    listing = tmp_path / "suspects.txt"
    listing.write_text("\n".join(lines))
    run = tmp_path / "run"
    trained = geounet(
        "train", folder, "--config", "demo", *FAST, "--out", run, "--exclude", listing
    )
    assert trained.status == 0, trained.err
    scene, out = tmp_path / "scene.tif", tmp_path / "out"
    water = write_scene(scene)
    told = geounet(
        *("predict", scene, "--model", run / "model.safetensors", "--out", out),
        *("--sensor", "s2", "--level", "L2A", "--scale", "0.0001", "--device", "cpu"),
    )
    assert told.status == 0, told.err
    with rasterio.open(out / "scene_mask.tif") as src:
        assert (src.read(1) == water).mean() > 0.97


def test_a_list_with_a_name_that_is_none_is_refused(geounet, folder, tmp_path):
    listing = tmp_path / "list.txt"
    listing.write_text("nobody.npy")
    ended = geounet(
        "train", folder, "--config", "demo", "--out", tmp_path / "run", "--exclude", listing
    )
    assert ended.status == 1
    assert "nobody.npy" in ended.complaint
    assert not (tmp_path / "run").exists()

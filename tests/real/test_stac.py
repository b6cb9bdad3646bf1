"""A real STAC item over HTTP from loopback: what is fetched, and servers that fail."""

import json
import re
import time

import numpy as np
import pytest
import rasterio
from predicting import DARK, s2_bands, water_is_dark, write_model
from rasterio.windows import Window
from serving import Fault, serving

from geounet.bands import SENSORS
from geounet.errors import SceneError
from geounet.scene import Scene, SceneOptions, gdal_environment, open_scene
from geounet.scene.stac import is_stac, read_item

TEN_METRES = ("B02", "B03", "B04", "B08")


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setenv("GDAL_HTTP_RETRY_DELAY", "0.02")
    monkeypatch.setenv("GDAL_HTTP_LOW_SPEED_TIME", "1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")


@pytest.fixture(scope="module")
def sahara(shared_data, tmp_path_factory):
    """The files and their item, whose links are names beside it."""
    there = shared_data / "sahara_s2_l2a_cog_stac"
    folder = tmp_path_factory.mktemp("sahara")
    (path,) = there.glob("*.json")
    item = json.loads(path.read_text())
    item["links"] = []
    for asset in item["assets"].values():
        if asset["href"].endswith(".tif"):
            asset["href"] = asset["href"].rpartition("/")[2]
            (folder / asset["href"]).symlink_to(there / asset["href"])
    (folder / "item.json").write_text(json.dumps(item))
    return folder


def bytes_of_blocks(path, window):
    """Bytes of the blocks that a window touches, as the file's own table has them."""
    with rasterio.open(path) as src:
        rows, cols = src.block_shapes[0]
        (top, bottom), (left, right) = window.toranges()
        return sum(
            int(src.get_tag_item(f"BLOCK_SIZE_{col}_{row}", "TIFF", bidx=1))
            for row in range(top // rows, (bottom - 1) // rows + 1)
            for col in range(left // cols, (right - 1) // cols + 1)
        )


def test_the_item_is_understood(sahara):
    assert is_stac((sahara / "item.json").read_bytes())
    product = read_item(str(sahara / "item.json"), SceneOptions())
    named = [layer.band.name for layer in product.layers]
    assert named == [band.name for band in SENSORS["s2"] if band.name != "B10"]
    assert all(layer.path.endswith(f"/{layer.band.name}.tif") for layer in product.layers)
    assert [layer.geobox.shape[0] for layer in product.layers] == [
        183, 1098, 1098, 1098, 549, 549, 549, 1098, 549, 183, 549, 549,
    ]  # fmt: skip
    identity = product.identity
    assert (identity.sensor, identity.level, identity.baseline) == ("s2", "L2A", (2, 14))
    assert (identity.tile, identity.orbit) == ("29RKH", 37)
    assert identity.time.isoformat() == "2020-02-19T11:34:25.405000+00:00"
    assert product.quality.kind == "scl"
    assert {(layer.scaling.scale, layer.scaling.offset) for layer in product.layers} == {(1e-4, 0)}


@pytest.mark.parametrize(
    ("window", "bands"),
    [
        (Window(col_off=100, row_off=200, width=300, height=250), TEN_METRES),
        (Window(col_off=450, row_off=500, width=128, height=128), TEN_METRES),
        (Window(col_off=0, row_off=0, width=1098, height=1098), TEN_METRES),
        (Window(col_off=0, row_off=1024, width=1098, height=74), ("B04", "B08")),
    ],
)
def test_hardly_more_is_fetched_than_the_blocks_that_are_needed(sahara, window, bands):
    """And a header of each file, once."""
    with serving(sahara) as server, gdal_environment():
        options = SceneOptions(bands=bands)
        with Scene(read_item(f"{server.url}/item.json", options)) as scene:
            headers = [server.sent(f"/{band}.tif") for band in bands]
            values, valid = scene.read(bands, window)
        fetched = [server.sent(f"/{band}.tif") for band in bands]
        names = [request.path for request in server.requests()]
    needed = [bytes_of_blocks(sahara / f"{band}.tif", window) for band in bands]
    assert max(headers) <= 2**15
    assert sum(fetched) - sum(headers) < 1.3 * sum(needed)
    beside = {f"/{band}.tif" for band in bands} | {"/item.json", "/SCL.tif"}
    assert set(names) <= beside, "nothing is listed, and no sidecar asked for"
    for band, got in zip(bands, values, strict=True):
        with rasterio.open(sahara / f"{band}.tif") as src:
            dn = src.read(1, window=window)
        assert (valid == valid & (dn != 0)).all()
        assert np.abs(got - dn * 1e-4)[valid].max() < 1e-6


def test_window_after_window_fetches_each_block_once(sahara):
    with serving(sahara) as server, gdal_environment():
        with open_scene(f"{server.url}/item.json", SceneOptions(bands=("B04",))) as scene:
            for row in range(0, 1098, 183):
                for col in range(0, 1098, 183):
                    scene.read(["B04"], Window(col - 8, row - 8, 199, 199))
        fetched = server.sent("/B04.tif")
    whole = bytes_of_blocks(sahara / "B04.tif", Window(0, 0, 1098, 1098))
    assert fetched < 1.3 * whole


def test_coarser_bands_are_read_at_their_own_resolution(sahara):
    """A window of a 20 m band costs its own blocks, not those of the 10 m grid."""
    window = Window(col_off=0, row_off=0, width=200, height=200)
    with serving(sahara) as server, gdal_environment():
        options = SceneOptions(bands=("B04", "B05"))
        with Scene(read_item(f"{server.url}/item.json", options)) as scene:
            remote = scene.read(["B04", "B05"], window)
        fetched = server.sent("/B05.tif")
    needed = bytes_of_blocks(sahara / "B05.tif", Window(0, 0, 101, 101))
    assert fetched < 1.3 * needed
    with open_scene(sahara / "item.json") as scene:
        local = scene.read(["B04", "B05"], window)
    assert np.array_equal(remote.values, local.values, equal_nan=True)


def test_items_of_other_catalogues_are_understood(shared_data, tmp_path):
    """Their files are elsewhere; one raster stands in for all."""
    profile = {
        "driver": "GTiff", "count": 1, "height": 8, "width": 8, "dtype": "uint16",
        "crs": "EPSG:32606", "transform": rasterio.Affine(10, 0, 6e5, 0, -10, 5e6),
    }  # fmt: skip
    with rasterio.open(tmp_path / "one.tif", "w", **profile) as dst:
        dst.write(np.full((8, 8), 500, np.uint16), 1)
    found = {}
    for path in sorted((shared_data / "stac_items").glob("S2*.json")):
        item = json.loads(path.read_text())
        folder = tmp_path / path.stem
        folder.mkdir()
        for asset in item["assets"].values():
            asset["href"] = asset["href"].partition("?")[0].rpartition("/")[2]
            if asset["href"].endswith(".tif"):
                (folder / asset["href"]).symlink_to(tmp_path / "one.tif")
        (folder / "item.json").write_text(json.dumps(item))
        product = read_item(str(folder / "item.json"), SceneOptions())
        for layer in product.layers:
            assert layer.band.name in layer.path.rpartition("/")[2]
            assert (layer.scaling.scale, layer.scaling.offset, layer.nodata) == (1e-4, 0, 0)
        identity = product.identity
        assert (identity.sensor, identity.level) == ("s2", "L2A")
        assert {"AOT", "SCL", "WVP", "visual"} <= {what for what, _ in product.left_out}
        count = len(product.layers)
        found[path.name[:9]] = count, identity.baseline, identity.tile, identity.orbit
    assert found == {
        "S2A_28QCH": (12, (2, 14), "28QCH", 123),
        "S2A_31NBJ": (12, (2, 12), "31NBJ", 22),
        "S2B_MSIL2": (12, (2, 12), "06VVN", 43),
    }


def test_a_collection_is_refused_with_what_to_give(shared_data):
    with pytest.raises(SceneError, match=r"is a STAC collection, not an acquisition\. Give"):
        read_item(str(shared_data / "stac_items/sentinel-2-l2a.collection.json"), SceneOptions())


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """Water where B08 is dark; the ground is of 100 m here."""
    return write_model(
        tmp_path_factory.mktemp("model") / "dark.safetensors",
        overrides=DARK,
        prepare=water_is_dark(TEN_METRES.index("B08")),
        names=TEN_METRES,
        res_m=(100.0, 100.0),
    )


def predict(geounet, source, model, out):
    return geounet(
        "predict", source, "--model", model, "--out", out, "--precision", "fp32",
        "--window", 512, "--device", "cpu",
    )  # fmt: skip


@pytest.mark.parametrize(
    "fault",
    [
        Fault("refuse", times=0),
        Fault("refuse", times=2),
        Fault("die", ending=".tif", first=2, times=1),
        Fault("stall", ending="B03.tif", first=2, times=1),
    ],
    ids=["well", "503 twice", "dies once", "stalls once"],
)
def test_predict_over_http_is_predict_on_the_files(geounet, sahara, model, tmp_path, fault):
    assert [band.name for band in s2_bands(TEN_METRES)] == list(TEN_METRES)
    run = predict(geounet, sahara / "item.json", model, tmp_path / "files")
    assert run.status == 0, run.err
    with serving(sahara, fault) as server:
        run = predict(geounet, f"{server.url}/item.json", model, tmp_path / "http")
    assert run.status == 0, run.err
    masks = [next((tmp_path / name).glob("*_mask.tif")) for name in ("files", "http")]
    assert masks[0].name == masks[1].name == "S2A_29RKH_20200219_0_L2A_mask.tif"
    assert masks[0].read_bytes() == masks[1].read_bytes()


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        (Fault("refuse"), "answers 503"),
        (Fault("refuse", ending="B08.tif"), "B08.tif.*503"),
        (Fault("refuse", ending="B08.tif", first=2), "B08.tif"),
        (Fault("stall", ending="B08.tif", first=2), "B08.tif.*broke or stalled"),
        (Fault("silence", ending="B08.tif"), "B08.tif.*nothing came"),
        (Fault("stall", ending="item.json"), "item.json.*nothing came"),
        (Fault("die", ending="B08.tif", first=2), "B08.tif.*broke or stalled"),
        (Fault("die", first=2), "cannot be read|cannot be fetched"),
    ],
)
def test_predict_from_a_server_that_fails_for_good_is_one_line_and_leaves_nothing(
    geounet, sahara, model, tmp_path, fault, said
):
    start = time.monotonic()
    with serving(sahara, fault) as server:
        run = predict(geounet, f"{server.url}/item.json", model, tmp_path / "out")
    assert run.status == 1
    assert re.search(said, run.complaint)
    assert run.out == ""
    assert not list((tmp_path / "out").glob("*"))
    assert time.monotonic() - start < 30

"""What a look at real scenes finds, and what it leaves alone."""

import json
import logging

import numpy as np
import pytest
import rasterio
from matplotlib.image import imread
from serving import serving

from geounet.info import describe_file
from geounet.quicklook import write_quicklook
from geounet.scene import SceneOptions, advice, gdal_environment, open_scene
from geounet.scene.advice import find_advice
from geounet.scene.glance import glance

PARANA = ("20231217.tif", "20240101.tif")
PARANA_BANDS = ["B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"]
INN = ("B04", "B03", "B02", "B08")
LEAVE = ("-",) * 4
OLINDA = SceneOptions(bands=("B1", "B2", "B3", "B4", "B5", "B7"), sensor="l7", scale=1 / 255)


@pytest.fixture(autouse=True)
def _as_commands_do():
    with gdal_environment():
        yield


def bands_of(shared_data, pattern):
    (folder,) = shared_data.glob(pattern)
    return folder


FIJI = "fiji_s2_l2a_safe/*.SAFE/GRANULE/*/IMG_DATA/R60m"
GIRONDE = "gironde_s2_l1c_safe/*.SAFE/GRANULE/*/IMG_DATA"
PYRENEES = "pyrenees_s2_l1c_safe/*.SAFE/GRANULE/*/IMG_DATA"
SCALE = SceneOptions(scale=1e-4)


def advice_of(path, options):
    with open_scene(path, options, advise=False) as scene:
        return find_advice(glance(scene), sensor=scene.sensor, level=scene.level)


@pytest.mark.parametrize(
    ("pattern", "options"),
    [
        (FIJI, SCALE),
        (GIRONDE, SceneOptions(scale=1e-4, offset=-1000, nodata=0)),
        (PYRENEES, SceneOptions(scale=1e-4, nodata=0)),
        ("cape_lookout_s2_l1c_uint8", SceneOptions(scale=1 / 255, nodata=255)),
        ("st_lawrence_s2_l1c_160m", SceneOptions(scale=1e-4, nodata=0)),
        ("sahara_s2_l2a_cog_stac", SceneOptions(sensor="s2", scale=1e-4)),
        ("parana_s2_l2a/20231217.tif", SceneOptions(scale=1e-4, offset=-1000)),
        ("parana_s2_l2a/20240101.tif", SceneOptions(scale=1e-4, offset=-1000)),
        ("inn_s2_rgbn/*.tif", SceneOptions(bands=INN + LEAVE, sensor="s2", scale=1e-4)),
        ("inn_s2_rgbn/*.tif", SceneOptions(bands=LEAVE + INN, sensor="s2", scale=1e-4)),
        ("olinda_landsat7/*.tif", OLINDA),
        ("bijagos_landsat8", SceneOptions()),
    ],
)
def test_what_is_right_is_left_alone(shared_data, pattern, options):
    assert advice_of(bands_of(shared_data, pattern), options) == []


@pytest.mark.parametrize(
    ("pattern", "value", "share", "within"),
    [
        ("st_lawrence_s2_l1c_160m", 0, 37, 1),
        ("cape_lookout_s2_l1c_uint8", 255, 31, 6),  # seen through windows
        (PYRENEES, 0, 41, 1),
    ],
)
def test_edges_without_data_are_found(shared_data, pattern, value, share, within):
    (text,) = advice_of(bands_of(shared_data, pattern), SceneOptions())
    assert float(text.removeprefix("about ").split(" %")[0]) == pytest.approx(share, abs=within)
    assert f"Give --nodata {value} " in text


def test_bijagos_as_plain_bands_has_an_edge_and_an_offset(shared_data, tmp_path):
    files = (shared_data / "bijagos_landsat8").glob("*_B[3567].TIF")
    lines = [f"{path.stem.rpartition('_')[2]}: {path}" for path in files]
    (tmp_path / "a.yaml").write_text("\n".join(["sensor: l8", *lines]))
    edge, offset = advice_of(tmp_path / "a.yaml", SceneOptions(scale=2e-5))
    assert edge.startswith("about 30 %")
    assert "--nodata 0" in edge
    assert offset.endswith("--scale 0.00002 --offset -5000")


@pytest.mark.parametrize("name", PARANA)
def test_paranas_offset_is_warned_of_with_what_repairs_it(shared_data, name, caplog):
    path = shared_data / "parana_s2_l2a" / name
    with open_scene(path, SCALE):
        (record,) = [one for one in caplog.records if "darkest" in one.getMessage()]
    assert record.levelno == logging.WARNING
    assert record.getMessage().endswith("Give --scale 0.0001 --offset -1000")


def test_paranas_land_agrees_between_its_dates_once_repaired(shared_data):
    dates = []
    for name in PARANA:
        with open_scene(
            shared_data / "parana_s2_l2a" / name, SceneOptions(scale=1e-4, offset=-1000)
        ) as scene:
            window = rasterio.windows.Window(0, 0, scene.geobox.width, scene.geobox.height)
            dates.append(scene.read(PARANA_BANDS, window))
    one, other = dates
    swir = PARANA_BANDS.index("B11")
    land = one.valid & other.valid & (one.values[swir] > 0.12) & (other.values[swir] > 0.12)
    assert 0.1 < land.mean() < 0.4
    medians = [np.median(date.values[:, land], axis=1) for date in dates]
    assert np.abs(medians[0] - medians[1]).max() < 0.03
    # Water does not agree: the sun's glint is on the first. Or the land would prove little.
    water = one.valid & other.valid & ~land
    medians = [np.median(date.values[:, water], axis=1) for date in dates]
    assert np.abs(medians[0] - medians[1]).max() > 0.04


def test_a_delivered_product_is_taken_at_its_word(shared_data, monkeypatch):
    (product,) = shared_data.glob("gironde_s2_l1c_safe/*.SAFE")
    looked_at = []
    monkeypatch.setattr(advice, "glance", lambda scene: looked_at.append(scene.source))
    with open_scene(product), open_scene(product / "MTD_MSIL1C.xml"):
        assert not looked_at
    with open_scene(product, SceneOptions(offset=0)):
        assert looked_at == [str(product)]


def test_fiji_is_described_as_it_is(shared_data):
    facts = describe_file(bands_of(shared_data, FIJI), SCALE)
    west, south, east, north = facts["footprint"]["bounds"]
    assert -179 < west < east < -177  # of zone 1, and not across the antimeridian
    assert -20 < south < north < -18
    assert facts["valid_share"] == 1
    assert 0 < facts["clouds"]["share"] < 0.05
    assert "SCL" in facts["clouds"]["source"]
    assert facts["advice"] == []


@pytest.mark.parametrize(("pattern", "nodata", "share"), [(FIJI, 0, 1), (PYRENEES, 0, 0.59)])
def test_coarse_wavelets_make_no_nodata_of_dark_water(shared_data, pattern, nodata, share):
    # In its files Fiji has no 0, but 1 in most bands of most pixels.
    facts = describe_file(bands_of(shared_data, pattern), SceneOptions(scale=1e-4, nodata=nodata))
    assert facts["valid_share"] == pytest.approx(share, abs=0.015)


def test_fijis_islands_are_to_be_seen_in_its_quicklook(shared_data, tmp_path):
    write_quicklook(bands_of(shared_data, FIJI), tmp_path / "a.png", SCALE)
    picture = (imread(tmp_path / "a.png")[..., :3] * 255).mean(axis=-1)
    # Each pixel is the nearest of the scene's.
    (file,) = shared_data.glob("fiji_s2_l2a_safe/*water_from_SCL_60m.tif")
    with rasterio.open(file) as src:
        land = src.read(1, out_shape=picture.shape) == 0
    assert np.median(picture[land]) > 45
    assert np.median(picture[~land]) < 30


def test_over_a_network_a_look_costs_the_coarsest_overviews(shared_data):
    folder = shared_data / "sahara_s2_l2a_cog_stac"
    with rasterio.open(folder / "B08.tif") as src:
        *_, last = range(len(src.overviews(1)))
        height, width = (-(-size // src.overviews(1)[last]) for size in src.shape)
        # Blocks of the coarsest overview: 128 pixels a side.
        sizes = [
            src.get_tag_item(f"BLOCK_SIZE_{x}_{y}", "TIFF", bidx=1, ovr=last)
            for x in range(-(-width // 128))
            for y in range(-(-height // 128))
        ]
        needed = sum(int(size) for size in sizes if size)
    with serving(folder) as server:
        options = SceneOptions(sensor="s2", scale=1e-4)
        with open_scene(f"{server.url}/B08.tif", options, advise=False) as scene:
            before = server.sent("B08.tif")
            seen = glance(scene)
            spent = server.sent("B08.tif") - before
        facts = describe_file(f"{server.url}/B08.tif", options)
    assert seen.how == "overviews"
    assert seen.valid_share > 0.99
    assert 0.5 * needed < spent < 1.3 * needed
    assert facts["source"] == f"{server.url}/B08.tif"
    assert facts["valid_share"] == seen.valid_share
    json.dumps(facts, allow_nan=False)


def test_over_a_network_nothing_is_looked_at_without_overviews(shared_data, tmp_path):
    with rasterio.open(shared_data / "sahara_s2_l2a_cog_stac" / "B08.tif") as src:
        profile = {**src.profile, "driver": "GTiff"}
        dn = src.read()
    with rasterio.open(tmp_path / "B08.tif", "w", **profile) as dst:
        dst.write(dn)
    with serving(tmp_path) as server:
        options = SceneOptions(sensor="s2", scale=1e-4)
        with open_scene(f"{server.url}/B08.tif", options) as scene:
            before = server.sent()
            assert glance(scene) is None
            assert server.sent() == before
        facts = describe_file(f"{server.url}/B08.tif", options)
    assert facts["valid_share"] is None
    assert facts["reflectance"] is None


def test_an_item_is_described_by_its_address(shared_data, tmp_path, geounet):
    folder = shared_data / "sahara_s2_l2a_cog_stac"
    (path,) = folder.glob("*.json")
    item = json.loads(path.read_text())
    for asset in item["assets"].values():
        asset["href"] = "./" + asset["href"].rpartition("/")[2]
    (tmp_path / "item.json").write_text(json.dumps({**item, "links": []}))
    for file in folder.glob("*.tif"):
        (tmp_path / file.name).symlink_to(file)
    with serving(tmp_path) as server:
        run = geounet("info", f"{server.url}/item.json", "--json")
        assert run.status == 0, run.err
        facts = json.loads(run.out)
        sent = server.sent(".tif")
        told = geounet("info", f"{server.url}/item.json").out
    assert (facts["kind"], facts["layout"]) == ("scene", "stac")
    assert facts["source"] == f"{server.url}/item.json"
    assert facts["valid_share"] > 0.99
    assert facts["reflectance"]["s2:B08"]["median"] == pytest.approx(0.39, abs=0.01)
    # Of a look: the coarsest overviews, and headers of 32 kB.
    assert sent < 0.4 * sum(file.stat().st_size for file in folder.glob("*.tif"))
    assert "SCL (SCL.tif), not looked at" in told

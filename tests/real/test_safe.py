"""Real Sentinel-2 products: what is found in them, and what their numbers mean."""

import json
import re
import shutil
from datetime import UTC, datetime

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from geounet.errors import BandError, SceneError
from geounet.scene import SceneOptions, gdal_environment, open_scene


@pytest.fixture(autouse=True)
def _as_commands_do():
    with gdal_environment():
        yield


@pytest.fixture
def fiji(shared_data):
    return next(shared_data.glob("fiji_s2_l2a_safe/*.SAFE"))


@pytest.fixture
def gironde(shared_data):
    return next(shared_data.glob("gironde_s2_l1c_safe/*.SAFE"))


@pytest.fixture
def pyrenees(shared_data):
    return next(shared_data.glob("pyrenees_s2_l1c_safe/*.SAFE"))


def whole(scene):
    height, width = scene.geobox.shape
    return Window(col_off=0, row_off=0, width=width, height=height)


def test_fiji_opens_by_what_is_there_of_what_its_metadata_lists(fiji):
    with open_scene(fiji) as scene:
        facts = scene.describe()
        assert scene.geobox.crs == "EPSG:32701"
    names = "B01 B02 B03 B04 B05 B06 B07 B8A B09 B11 B12"
    assert [band["name"] for band in facts["bands"]] == names.split()
    assert {tuple(band["res_m"]) for band in facts["bands"]} == {(60, 60)}
    assert {(band["scale"], band["offset"], band["nodata"]) for band in facts["bands"]} == {
        (1e-4, 0, 0)
    }
    assert (facts["kind"], facts["sensor"], facts["level"]) == ("safe", "s2", "L2A")
    assert (facts["tile"], facts["orbit"], facts["baseline"]) == ("01KCV", 129, "02.13")
    # SENSING_TIME of the granule; the datatake began at 22:09:21.
    assert facts["time"] == datetime(2019, 8, 9, 22, 11, 10, 759178, tzinfo=UTC).isoformat()
    assert facts["quality"].startswith("SCL (T01KCV_20190809T220921_SCL_20m.jp2")
    left_out = {item["what"]: item["why"] for item in facts["left_out"]}
    assert left_out["B08 at 10 m"] == "listed in MTD_MSIL2A.xml, but not there"
    assert left_out["B02 at 10, 20 m"] == "listed in MTD_MSIL2A.xml, but not there"
    assert left_out["T01KCV_20190809T220921_AOT_10m.jp2"] == "quality band"


def test_fijis_band_files_give_the_same_arrays(fiji):
    (folder,) = fiji.glob("GRANULE/*/IMG_DATA/R60m")
    window = Window(col_off=600, row_off=700, width=300, height=200)
    said = SceneOptions(scale=1e-4, nodata=0)
    with open_scene(fiji) as scene, open_scene(folder, said) as files:
        assert scene.bands == files.bands
        one, other = (each.read([*each.bands], window) for each in (scene, files))
        np.testing.assert_array_equal(one.values, other.values)
        np.testing.assert_array_equal(one.valid, other.valid)
        assert scene.geobox == files.geobox


def test_fiji_is_the_same_by_its_folder_metadata_and_granule(fiji):
    (granule,) = (fiji / "GRANULE").iterdir()
    window = Window(col_off=1000, row_off=400, width=64, height=64)
    arrays = []
    for path in (fiji, fiji.parent, fiji / "MTD_MSIL2A.xml", granule, fiji / "manifest.safe"):
        if path.exists():
            with open_scene(path) as scene:
                assert scene.source == str(path)
                arrays.append((scene.name, scene.read(["B03", "B11"], window).values.tobytes()))
    assert len(arrays) >= 4
    assert len(set(arrays)) == 1


def test_gironde_has_its_offset_applied_and_lies_where_its_rasters_say(gironde):
    with open_scene(gironde) as scene:
        facts = scene.describe()
        values, valid = scene.read(["B02", "B04"], whole(scene))
        assert scene.geobox.crs == "EPSG:32630"
    files = sorted(gironde.glob("GRANULE/*/IMG_DATA/*.jp2"))
    for band, file in zip(values, files, strict=True):
        with rasterio.open(file) as src:
            dn, transform = src.read(1).astype(np.float64), src.transform
        by_hand = (dn - 1000) / 10000
        assert not valid[dn == 0].any()
        np.testing.assert_allclose(band[valid], by_hand[valid], atol=1e-6)
    assert facts["shape"] == [106, 523]
    assert facts["transform"] == list(transform)[:6]
    expected = "quantification value and RADIO_ADD_OFFSET in MTD_MSIL1C.xml"
    assert {band["scale_from"] for band in facts["bands"]} == {expected}
    assert "106 × 523 pixels of 10 m from (638840, 5023620)" in facts["notes"][0]
    assert (facts["tile"], facts["orbit"], facts["baseline"]) == ("30TXR", 94, "05.00")
    assert facts["time"].startswith("2020-06-22T11:08:38.840367")


def test_what_the_user_says_of_girondes_offset_counts_more(gironde):
    with open_scene(gironde) as scene, open_scene(gironde, SceneOptions(offset=0)) as other:
        window = Window(col_off=0, row_off=0, width=100, height=100)
        one, another = (each.read(["B02"], window) for each in (scene, other))
        difference = another.values[:, one.valid] - one.values[:, one.valid]
        np.testing.assert_allclose(difference, 0.1, atol=1e-6)


def test_pyrenees_folder_and_zip_are_the_same(pyrenees):
    archive = pyrenees.with_name(f"{pyrenees.name}.zip")
    with open_scene(pyrenees) as scene, open_scene(archive) as zipped:
        one, other = (each.read(["B01"], whole(each)) for each in (scene, zipped))
        assert one.values.tobytes() == other.values.tobytes()
        assert one.valid.tobytes() == other.valid.tobytes()
        assert round(100 * one.valid.mean()) == 59  # 41 % nodata
        facts = [each.describe() for each in (scene, zipped)]
    for fact in facts:
        del fact["source"]
    assert facts[0] == facts[1]
    assert facts[0]["baseline"] == "02.06"
    with rasterio.open(next(pyrenees.rglob("*_B01.jp2"))) as src:
        dn = src.read(1)
    np.testing.assert_allclose(one.values[0][dn > 0], dn[dn > 0] / 1e4, atol=1e-6)


def test_a_band_that_was_trimmed_away_is_missed_by_name(pyrenees):
    with pytest.raises(BandError, match=r"no band B03; there are s2:B01"):
        open_scene(pyrenees, SceneOptions(bands=("B03",)))


def trees(shared_data):
    folders = sorted(path for path in (shared_data / "safe_metadata").iterdir() if path.is_dir())
    assert len(folders) == 23
    return folders


def sensing_times(folder):
    """Return what the files of a tree have as SENSING_TIME, found without reading XML."""
    texts = [path.read_text() for path in folder.rglob("*.xml")]
    found = {time for text in texts for time in re.findall(r"<SENSING_TIME[^>]*>([^<]*)<", text)}
    return {datetime.fromisoformat(time) for time in found}


def fill(folder, item):
    """Write a raster of 6 × 6 pixels for every band asset of a STAC item; return the finest."""
    finest = {}
    for asset in item["assets"].values():
        if "reflectance" not in asset.get("roles", ()):
            continue
        (band,), shape, transform = asset["eo:bands"], asset["proj:shape"], asset["proj:transform"]
        assert shape[0] * transform[0] == 109_800  # metres, all tiles
        path = folder / asset["href"]
        path.parent.mkdir(parents=True, exist_ok=True)
        code = item["properties"].get("proj:code") or f"EPSG:{item['properties']['proj:epsg']}"
        with rasterio.open(
            *(path, "w", "GTiff"),
            width=6,
            height=6,
            count=1,
            dtype="uint16",
            crs=code,
            transform=rasterio.Affine(*transform),
        ) as dst:
            dst.write(np.full((1, 6, 6), 5000, dtype=np.uint16))
        known = finest.get(band["name"])
        if known is None or transform[0] < known["proj:transform"][0]:
            finest[band["name"]] = asset
    return finest


def test_every_layout_is_understood_as_its_stac_item_says(shared_data, tmp_path):
    """The items were made by another program, stactools, from the same metadata."""
    with_items = [
        folder for folder in trees(shared_data) if (folder / "expected_output.json").exists()
    ]
    assert len(with_items) == 17
    for original in with_items:
        folder = tmp_path / original.name
        shutil.copytree(original, folder, copy_function=shutil.copyfile)
        for place in [folder, *folder.rglob("*")]:
            place.chmod(0o755)
        item = json.loads((folder / "expected_output.json").read_text())
        finest = fill(folder, item)
        told = item["properties"]
        with open_scene(folder) as scene:
            facts = scene.describe()
            assert scene.geobox.crs == told.get("proj:code", f"EPSG:{told.get('proj:epsg')}")
        assert facts["kind"] == "safe", original.name
        assert {band["name"] for band in facts["bands"]} == set(finest), original.name
        assert facts["baseline"] == told["s2:processing_baseline"]
        assert f"MGRS-{facts['tile']}" == told["grid:code"]
        assert facts["level"] == f"L{told['s2:product_type'].removeprefix('S2MSI')}"
        assert {datetime.fromisoformat(facts["time"])} == sensing_times(folder)
        if "sat:relative_orbit" in told:
            assert facts["orbit"] == told["sat:relative_orbit"]
        has_offsets = any(path.name != "metadata.xml" for path in folder.glob("*.xml"))
        for band in facts["bands"]:
            asset = finest[band["name"]]
            (said,) = asset["raster:bands"]
            assert band["file"] == asset["href"].rpartition("/")[2]
            if has_offsets:
                assert band["scale"] == said["scale"]
                assert band["offset"] * band["scale"] == pytest.approx(said["offset"])
            else:
                # The item has what is usual for the baseline; the metadata does not say it.
                assert (band["scale"], band["offset"]) == (None, None)


def test_trees_of_metadata_alone_say_that_images_are_missing(shared_data):
    for folder in trees(shared_data):
        with pytest.raises(BandError, match="no raster of a band"):
            open_scene(folder)


def test_the_folder_of_all_trees_is_no_scene(shared_data):
    with pytest.raises(SceneError, match="holds 23 Sentinel-2 products"):
        open_scene(shared_data / "safe_metadata")

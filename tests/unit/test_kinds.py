"""What a source is, and what it is called, whatever its name or address looks like."""

import json
import logging
import shutil

import numpy as np
import pytest
import rasterio
from predicting import wavy_dn, write_scene
from rasterio.windows import Window
from serving import serving

from geounet.errors import SceneError
from geounet.scene import SceneOptions, expand_sources, gdal_environment, open_scene
from geounet.scene.names import LONGEST_NAME, safe_name
from geounet.scene.stac_documents import split_source

SIGNED = "se=2026-01-01&sig=SECRETab/cd%2Be.f"


@pytest.fixture(autouse=True)
def _as_commands_do():
    with gdal_environment():
        yield


@pytest.fixture
def stack(tmp_path):
    return write_scene(tmp_path / "coast.tif", wavy_dn(32, 32))


def item(name, stack):
    bands = [{"name": "B02"}]
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "geometry": None, "links": [],
        "properties": {"datetime": "2024-05-17T10:56:21Z", "platform": "sentinel-2a",
                       "s2:processing_baseline": "05.00"},
        "assets": {"B02": {"href": str(stack), "eo:bands": bands, "roles": ["data"]}},
    }  # fmt: skip


def collection(path, *items):
    path.write_text(json.dumps({"type": "FeatureCollection", "features": items}))
    return path


@pytest.fixture
def band(tmp_path):
    return write_scene(tmp_path / "B02.tif", wavy_dn(32, 32, bands=1), names=["B02"])


def test_content_decides_and_not_the_ending(tmp_path, stack, band):
    raster, document = tmp_path / "raster.json", tmp_path / "item.tif"
    shutil.copy(stack, raster)
    document.write_text(json.dumps(item("one", band)))
    with open_scene(raster) as scene:
        assert (scene.describe()["kind"], len(scene.bands)) == ("file", 12)
    with open_scene(document) as scene:
        assert (scene.describe()["kind"], scene.name) == ("stac", "one")


def test_json_that_is_no_item_is_said(tmp_path):
    path = tmp_path / "result.json"
    path.write_text('{"format": 1}')
    with pytest.raises(SceneError, match="is JSON, but no STAC item"):
        open_scene(path)


@pytest.mark.parametrize("folder", ["run", "run#1"])
@pytest.mark.parametrize("name", ["S2A_1", "a#b"])
def test_a_hash_may_be_in_names_of_folders_and_items(tmp_path, band, folder, name):
    (tmp_path / folder).mkdir()
    items = collection(tmp_path / folder / "items.json", item(name, band), item("other", band))
    first, _ = expand_sources([str(items)])
    assert split_source(first) == (str(items), name)
    with open_scene(first) as scene:
        assert scene.name == safe_name(name)


def test_a_raster_may_have_a_hash_in_its_name(tmp_path, stack):
    path = tmp_path / "coast#1.tif"
    shutil.copy(stack, path)
    with open_scene(path) as scene:
        assert scene.name == "coast_1"


def test_a_damaged_collection_waits_for_its_turn(tmp_path, stack, band):
    empty = collection(tmp_path / "empty.json")
    twice = collection(tmp_path / "twice.json", item("A", band), item("A", band))
    sources = [str(path) for path in (stack, empty, twice)]
    assert expand_sources(sources) == sources
    with pytest.raises(SceneError, match="no STAC item"):
        open_scene(empty)
    with pytest.raises(SceneError, match="two items A"):
        open_scene(twice)


def test_a_name_too_long_for_a_file_is_an_item_like_others(tmp_path, band):
    names = [f"{'x' * 300}{end}" for end in "ab"]
    items = collection(tmp_path / "items.json", *(item(name, band) for name in names))
    found = []
    for source in expand_sources([str(items)]):
        with open_scene(source) as scene:
            found.append(scene.name)
    assert len(set(found)) == 2
    assert max(map(len, found)) <= LONGEST_NAME + 9
    with pytest.raises(SceneError, match="is not there"):
        open_scene("y" * 5000)


def test_a_signature_is_no_part_of_a_name_and_goes_nowhere(tmp_path, stack, caplog):
    with serving(tmp_path) as server:
        address = f"{server.url}/{stack.name}?{SIGNED}"
        with open_scene(address) as scene:
            assert scene.name == "coast"
            assert "SECRET" not in json.dumps(scene.describe())
            assert "SECRET" not in scene.source
            with open_scene(scene.address) as again:
                assert again.name == "coast"
        with pytest.raises(SceneError) as caught:
            open_scene(f"{server.url}/absent.tif?{SIGNED}")
    assert "SECRET" not in str(caught.value) + caplog.text


def test_what_is_odd_is_said_once(tmp_path, caplog):
    folder = tmp_path / "scene"
    folder.mkdir()
    write_scene(folder / "B02.tif", wavy_dn(32, 32, bands=1), names=["B02"])
    (folder / "SCL.tif").write_bytes(b"no raster")
    with open_scene(folder), caplog.at_level(logging.WARNING):
        assert "SCL" in caplog.text
        caplog.clear()
        with open_scene(folder, advise=False):
            assert not caplog.text
    with open_scene(folder):
        assert "SCL" in caplog.text, "readers stayed unheard"


def test_values_are_the_same_by_every_name(tmp_path, stack):
    arrays = []
    with serving(tmp_path) as server:
        for source in (stack, f"{server.url}/{stack.name}", f"/vsicurl/{server.url}/{stack.name}"):
            with open_scene(source) as scene:
                arrays.append(scene.read(["B02", "nir"], Window(0, 0, 32, 32)).values)
    np.testing.assert_array_equal(arrays[0], arrays[1])
    np.testing.assert_array_equal(arrays[0], arrays[2])


def test_a_scale_without_the_offset_of_its_baseline_is_refused_from_the_file_too(tmp_path):
    """Through a catalogue it is refused; the same file in a folder was read at +0.1."""
    folder = tmp_path / "S2A_MSIL2A_20240517T105621_N0510_R094_T30TXQ_20240517T143021"
    folder.mkdir()
    path = write_scene(folder / "B04.tif", wavy_dn(8, 8, bands=1), names=["B04"])
    with rasterio.open(path, "r+") as dst:
        dst.offsets = [0]
    with (
        open_scene(folder, advise=False) as scene,
        pytest.raises(SceneError, match=r"only a scale for B04\. Give --offset -1000"),
    ):
        scene.scaling(["B04"])
    with open_scene(folder, SceneOptions(offset=0), advise=False) as scene:
        assert scene.scaling(["B04"]).offset == (0,)

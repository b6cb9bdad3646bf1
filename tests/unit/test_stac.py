"""STAC items in the ways of several catalogues: the same ground, the same reflectance, once."""

import copy
import json
from datetime import UTC, datetime

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.windows import Window
from serving import Fault, serving

from geounet.bands import SENSORS
from geounet.errors import BandError, GeounetError, SceneError
from geounet.scene import SceneOptions, open_scene, stac_documents
from geounet.scene.clouds import CloudOptions
from geounet.scene.scene import Scene
from geounet.scene.stac import expand_sources, is_stac, read_item

SIDE = 64
COG = "image/tiff; application=geotiff; profile=cloud-optimized"
REFLECTANCE = np.linspace(0.01, 0.3, SIDE * SIDE).reshape(SIDE, SIDE)
"""What every band of every item shows."""
WHOLE = Window(col_off=0, row_off=0, width=SIDE, height=SIDE)


def write_dn(path, scale, offset, **said):
    """Write the ground as numbers of which DN × scale + offset is reflectance."""
    dn = (REFLECTANCE - offset) / scale
    if np.dtype(said.get("dtype", "uint16")).kind != "f":
        dn = np.rint(dn)
    tags = {key: said.pop(key) for key in ("scales", "offsets") if key in said}
    profile = {
        "driver": "GTiff", "count": 1, "height": SIDE, "width": SIDE, "dtype": "uint16",
        "crs": "EPSG:32630", "transform": rasterio.Affine(10, 0, 6e5, 0, -10, 5e6), "nodata": 0,
    } | said  # fmt: skip
    path.parent.mkdir(parents=True, exist_ok=True)
    with rasterio.open(path, "w", **profile) as dst:
        dst.write(dn.astype(profile["dtype"]), 1)
        for key, value in tags.items():
            setattr(dst, key, [value])
    return path


def item_of(assets, *, name="scene", **properties):
    """An item as JSON has it."""
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": name, "geometry": None, "links": [],
        "properties": {"datetime": "2023-06-01T11:06:21.024Z"} | properties, "assets": assets,
    }  # fmt: skip


def asset(href, **fields):
    return {"href": str(href), "type": COG, "roles": ["data"]} | fields


def planetary_computer(folder, baseline="05.09"):
    """Bands by number; scale and offset nowhere; B8A with a wrong common name."""
    names = {"B04": ("red", 0.665), "B08": ("nir", 0.842), "B8A": ("rededge", 0.865)}
    assets = {}
    for band, (common, wavelength) in names.items():
        write_dn(folder / f"T30TXR_{band}_10m.tif", 1e-4, -0.1 if baseline >= "04" else 0)
        eo = {"name": band, "common_name": common, "center_wavelength": wavelength}
        assets[band] = asset(f"./T30TXR_{band}_10m.tif", **{"eo:bands": [eo], "gsd": 10})
    assets["visual"] = asset("./TCI.tif", **{"eo:bands": [{"name": b} for b in ("B04", "B03")]})
    assets["preview"] = asset("./PVI.tif", roles=["thumbnail"])
    assets["AOT"] = asset("./T30TXR_AOT_10m.tif")
    product = f"S2B_MSIL2A_20230601T105629_N{baseline.replace('.', '')}_R094_T30TXR_20230601T1.SAFE"
    return item_of(
        assets, name="S2B_MSIL2A_20230601T105629_R094_T30TXR_20230601T1", platform="Sentinel-2B",
        **{"s2:processing_baseline": baseline, "s2:product_uri": product, "s2:mgrs_tile": "30TXR",
           "sat:relative_orbit": 94},
    )  # fmt: skip


def earth_search(folder, *, applied, offset=-0.1):
    """Bands by common name; `raster:bands` says −0.1 although a flag says it is applied."""
    names = {"red": ("B04", 0.665), "nir": ("B08", 0.842), "nir08": ("B8A", 0.865)}
    names["rededge2"] = ("B06", 0.74)
    assets = {}
    for key, (band, wavelength) in names.items():
        write_dn(folder / f"{band}.tif", 1e-4, 0 if applied else -0.1)
        eo = {"name": key, "common_name": key.rstrip("2"), "center_wavelength": wavelength}
        raster = {"nodata": 0, "scale": 1e-4, "offset": offset, "spatial_resolution": 10}
        fields = {"eo:bands": [eo], "raster:bands": [raster], "gsd": 10}
        assets[f"{key}-jp2"] = asset(f"s3://no-such/{band}.jp2", **fields | {"type": "image/jp2"})
        assets[key] = asset(f"{band}.tif", **fields)
    return item_of(
        assets, name="S2B_30TXR_20230601_0_L2A", platform="sentinel-2b", constellation="sentinel-2",
        **{"s2:processing_baseline": "05.09", "earthsearch:boa_offset_applied": applied,
           "mgrs:utm_zone": 30, "mgrs:latitude_band": "T", "mgrs:grid_square": "XR"},
    )  # fmt: skip


def copernicus(folder):
    """STAC 1.1: `bands`, scale and offset beside them, bands at two resolutions."""
    assets = {}
    for band, common, micrometres in (("B04", "red", 0.665), ("B08", "nir", 0.842)):
        for metres in (10, 20):
            path = write_dn(folder / f"R{metres}m" / f"T30TXR_{band}_{metres}m.jp2", 1e-4, -0.1)
            described = {
                "name": band, "eo:common_name": common, "eo:center_wavelength": micrometres,
            }  # fmt: skip
            assets[f"{band}_{metres}m"] = asset(
                path.relative_to(folder), type="image/jp2", roles=["data", "reflectance"],
                gsd=metres, bands=[described], nodata=0,
                **{"raster:scale": 1e-4, "raster:offset": -0.1},
            )  # fmt: skip
    assets["TCI_10m"] = asset("R10m/TCI_10m.jp2", type="image/jp2", roles=["visual"])
    return item_of(
        assets, name="S2B_MSIL2A_20230601T105629_N0509_R094_T30TXR_20230601T1",
        constellation="sentinel-2",
        **{"processing:version": "05.09", "processing:level": "L2", "grid:code": "MGRS-30TXR",
           "sat:relative_orbit": 94},
    )  # fmt: skip


def landsat(folder, *, said=True):
    """USGS: links to a page one has to log in to, and alternates that do."""
    assets = {}
    names = {"red": ("B4", 0.65), "nir08": ("B5", 0.87), "coastal": ("B1", 0.44)}
    stem = "LC08_L2SP_204052_20230601_20230607_02_T1"
    for key, (band, wavelength) in names.items():
        path = write_dn(folder / f"{stem}_SR_{band}.TIF", 2.75e-5, -0.2)
        eo = {"name": band, "common_name": key, "center_wavelength": wavelength}
        raster = {"scale": 2.75e-5, "offset": -0.2, "nodata": 0}
        alternate = {"s3": {"href": path.name}}
        fields = {"eo:bands": [eo], "alternate": alternate}
        if said:
            fields["raster:bands"] = [raster]
        assets[key] = asset(f"elsewhere/{stem}_SR_{band}.TIF", **fields)
    assets["qa_pixel"] = asset(f"{stem}_QA_PIXEL.TIF")
    assets["atran"] = asset(f"{stem}_ST_ATRAN.TIF")
    return item_of(
        assets, name=f"{stem}_SR", platform="LANDSAT_8", instruments=["OLI", "TIRS"],
        **{"landsat:wrs_path": "204", "landsat:wrs_row": "052", "landsat:correction": "L2SP"},
    )  # fmt: skip


STYLES = {
    "Planetary Computer": planetary_computer,
    "Planetary Computer, before 04.00": lambda f: planetary_computer(f, "02.14"),
    "Earth Search, applied": lambda f: earth_search(f, applied=True),
    "Earth Search, not applied": lambda f: earth_search(f, applied=False),
    "Earth Search, not applied nor said": lambda f: earth_search(f, applied=False, offset=0),
    "Copernicus": copernicus,
    "Landsat": landsat,
    "Landsat without raster:bands": lambda f: landsat(f, said=False),
}


def save(item, folder, name="item.json"):
    path = folder / name
    path.write_text(json.dumps(item))
    return str(path)


def product_of(item, folder, **options):
    return read_item(save(item, folder), SceneOptions(**options))


@pytest.mark.parametrize("style", STYLES)
def test_every_catalogue_shows_the_same_reflectance(tmp_path, style):
    """The offset is applied once, whoever says it, and however often."""
    product = product_of(STYLES[style](tmp_path), tmp_path)
    with Scene(product) as scene:
        pixels = scene.read(scene.bands, WHOLE)
        assert pixels.valid.all()
        assert np.abs(pixels.values - REFLECTANCE).max() < 1e-4
        assert all(layer.scaling.source for layer in product.layers)
        assert all(layer.nodata == 0 for layer in product.layers)


@pytest.mark.parametrize("style", STYLES)
def test_bands_are_who_they_are_by_number_file_or_wavelength(tmp_path, style):
    product = product_of(STYLES[style](tmp_path), tmp_path)
    names = {layer.band.id for layer in product.layers}
    if "Landsat" in style:
        assert names == {"l8:B1", "l8:B4", "l8:B5"}
    else:
        assert names - {"s2:B06", "s2:B8A"} == {"s2:B04", "s2:B08"}
        for layer in product.layers:
            assert layer.band.name in layer.path
    if "Search" in style or "Computer" in style:
        assert "s2:B8A" in names
    order = [band.name for band in SENSORS[product.identity.sensor]]
    indexes = [order.index(layer.band.name) for layer in product.layers]
    assert indexes == sorted(indexes)


@pytest.mark.parametrize("style", STYLES)
def test_who_took_it_when_and_where_is_known(tmp_path, style):
    identity = product_of(STYLES[style](tmp_path), tmp_path).identity
    assert identity.time == datetime(2023, 6, 1, 11, 6, 21, 24_000, tzinfo=UTC)
    if "Landsat" in style:
        assert (identity.sensor, identity.level, identity.tile) == ("l8", "L2", "204052")
        assert identity.baseline is None
    else:
        assert (identity.sensor, identity.level, identity.tile) == ("s2", "L2A", "30TXR")
        assert identity.baseline == ((2, 14) if "before" in style else (5, 9))
    if "Computer" in style or style == "Copernicus":
        assert identity.orbit == 94


def test_the_finest_is_taken_and_rather_a_cog(tmp_path):
    product = product_of(copernicus(tmp_path), tmp_path)
    assert all("_10m" in layer.path for layer in product.layers)
    assert ("B04_20m", "B04 is taken from B04_10m") in product.left_out
    product = product_of(earth_search(tmp_path, applied=True), tmp_path)
    assert all(layer.path.endswith(".tif") for layer in product.layers)


def test_what_is_no_band_is_left_out_with_the_reason(tmp_path):
    left_out = dict(product_of(planetary_computer(tmp_path), tmp_path).left_out)
    assert left_out == {"visual": "a picture", "preview": "a picture", "AOT": "quality band"}
    left_out = dict(product_of(landsat(tmp_path), tmp_path).left_out)
    assert left_out == {"qa_pixel": "quality band", "atran": "quality band"}


def test_where_the_scaling_is_from_is_said(tmp_path):
    def said(item):
        return product_of(item, tmp_path).layers[0].scaling.source

    assert "offset -1000 of baseline 05.09" in said(planetary_computer(tmp_path))
    assert "offset 0 of baseline 02.14" in said(planetary_computer(tmp_path, "02.14"))
    assert "earthsearch:boa_offset_applied" in said(earth_search(tmp_path, applied=True))
    assert said(earth_search(tmp_path, applied=False)) == "raster:bands of the item"
    assert said(copernicus(tmp_path)) == "bands of the item"
    assert "Landsat Collection 2" in said(landsat(tmp_path, said=False))


def test_the_item_counts_more_than_the_file_and_the_user_more_than_both(tmp_path):
    item = earth_search(tmp_path, applied=False)
    for band in ("B04", "B08", "B8A", "B06"):
        write_dn(tmp_path / f"{band}.tif", 1e-4, -0.1, scales=1e-4, offsets=-0.1)
    with Scene(product_of(item, tmp_path)) as scene:
        values = scene.read(["B04"], WHOLE).values[0]
    assert np.abs(values - REFLECTANCE).max() < 1e-4
    with Scene(product_of(item, tmp_path, offset=0)) as scene:
        values = scene.read(["B04"], WHOLE).values[0]
    assert np.abs(values - 0.1 - REFLECTANCE).max() < 1e-4


def test_a_file_that_says_its_scaling_is_believed_where_the_item_is_silent(tmp_path):
    item = planetary_computer(tmp_path)
    for band in ("B04", "B08", "B8A"):
        write_dn(tmp_path / f"T30TXR_{band}_10m.tif", 2e-4, 0, scales=2e-4)
    item["properties"].pop("s2:processing_baseline")
    item["properties"]["s2:product_uri"] = ""
    with Scene(product_of(item, tmp_path)) as scene:
        assert np.abs(scene.read(["B04"], WHOLE).values[0] - REFLECTANCE).max() < 2e-4


def test_a_scale_in_the_file_without_the_offset_of_its_baseline_is_refused(tmp_path):
    """Whether the −1000 is taken off already nobody says."""
    item = planetary_computer(tmp_path)
    for band in ("B04", "B08", "B8A"):
        write_dn(tmp_path / f"T30TXR_{band}_10m.tif", 1e-4, 0, scales=1e-4)
    with pytest.raises(SceneError, match="--offset -1000"):
        product_of(item, tmp_path)
    product = product_of(item, tmp_path, offset=0)
    with Scene(product) as scene:
        assert np.abs(scene.read(["B04"], WHOLE).values[0] - REFLECTANCE).max() < 1e-4


def test_without_a_baseline_no_offset_is_guessed(tmp_path):
    item = planetary_computer(tmp_path)
    del item["properties"]["s2:processing_baseline"], item["properties"]["s2:product_uri"]
    with (
        Scene(product_of(item, tmp_path)) as scene,
        pytest.raises(SceneError, match=r"--scale 0\.0001"),
    ):
        scene.read(["B04"], WHOLE)


def test_bands_are_chosen_by_any_of_their_names_and_only_those_are_opened(tmp_path):
    item = earth_search(tmp_path, applied=True)
    (tmp_path / "B08.tif").unlink()
    product = product_of(item, tmp_path, bands=("B8A", "red"))
    assert [layer.band.name for layer in product.layers] == ["B8A", "B04"]
    with pytest.raises(BandError, match="no band B12; there are"):
        product_of(item, tmp_path, bands=("B12",))
    with pytest.raises(SceneError, match=r"B08.tif is not there"):
        product_of(item, tmp_path)


def test_an_extra_layer_is_taken_where_it_is_named(tmp_path):
    item = earth_search(tmp_path, applied=True)
    write_dn(tmp_path / "dem.tif", 1, 0, dtype="uint16")
    item["assets"]["DEM"] = asset("dem.tif")
    assert ("DEM", "none of the sensor's bands") in product_of(item, tmp_path).left_out
    product = product_of(item, tmp_path, bands=("red", "DEM"))
    assert [layer.band.id for layer in product.layers] == ["s2:B04", "DEM"]


def test_one_asset_with_all_bands_is_taken_where_there_is_none_of_each(tmp_path):
    with rasterio.open(
        write_dn(tmp_path / "all.tif", 1e-4, 0, count=2), "r+"
    ) as dst:  # fmt: skip
        dst.write(np.full((SIDE, SIDE), 500, np.uint16), 2)
    bands = [{"name": "B04", "common_name": "red"}, {"name": "B08", "common_name": "nir"}]
    raster = [{"scale": 1e-4, "nodata": 0}] * 2
    item = item_of(
        {"data": asset("all.tif", **{"eo:bands": bands, "raster:bands": raster})},
        platform="sentinel-2a",
    )
    with Scene(product_of(item, tmp_path)) as scene:
        assert np.allclose(scene.read(["nir"], WHOLE).values, 0.05)
        assert [band.name for band in scene.bands] == ["B04", "B08"]


def test_an_asset_of_fewer_bands_than_the_item_says_is_refused(tmp_path):
    write_dn(tmp_path / "all.tif", 1e-4, 0)
    bands = [{"name": "B04"}, {"name": "B08"}]
    item = item_of({"data": asset("all.tif", **{"eo:bands": bands})}, platform="sentinel-2a")
    with pytest.raises(SceneError, match="has 1 bands, but the item says 2"):
        product_of(item, tmp_path)


def test_links_are_taken_from_where_the_item_lies_or_came_from(tmp_path):
    item = earth_search(tmp_path / "there", applied=True)
    (tmp_path / "here").mkdir()
    with serving(tmp_path / "there") as server:
        item["links"] = [{"rel": "self", "href": f"{server.url}/item.json"}]
        product = product_of(item, tmp_path / "here")
        assert all(layer.path.startswith("/vsicurl/http") for layer in product.layers)
        product = product_of(item, tmp_path / "there")
        assert all(layer.path.startswith(str(tmp_path)) for layer in product.layers)
    for key in ("red", "nir"):
        href = (tmp_path / "there" / item["assets"][key]["href"]).as_uri()
        item["assets"][key]["href"] = href
    item["links"] = []
    product = product_of(item, tmp_path / "here", bands=("red", "nir"))
    assert len(product.layers) == 2


def test_a_band_that_was_not_downloaded_with_the_others_is_not_looked_for_elsewhere(tmp_path):
    item = earth_search(tmp_path, applied=True)
    item["links"] = [{"rel": "self", "href": "s3://bucket/there/item.json"}]
    (tmp_path / "B08.tif").unlink()
    with pytest.raises(SceneError, match=r"B08\.tif is not there: asset nir .*--bands") as caught:
        product_of(item, tmp_path)
    assert "S3" not in str(caught.value)
    assert "s3:" not in str(caught.value)


def test_another_link_is_tried_where_the_first_does_not_do(tmp_path):
    product = product_of(landsat(tmp_path), tmp_path)
    assert "elsewhere" not in product.layers[0].path
    assert product.notes == ("assets are read from their alternate links",)


@pytest.mark.parametrize(
    "href", ["/etc/x_B04.tif", "file:///etc/x_B04.tif", "NETCDF:x_B04.tif:y", "http://[", "<VRT/>"]
)
def test_an_item_from_the_net_reaches_no_files_here(tmp_path, href):
    local = write_dn(tmp_path / "private" / "x_B04.tif", 1e-4, 0)
    item = item_of({"B04": asset(href.replace("/etc/x_B04.tif", str(local)))}, platform="s2a")
    item["properties"]["constellation"] = "sentinel-2"
    (tmp_path / "public").mkdir()
    save(item, tmp_path / "public")
    with serving(tmp_path / "public") as server, pytest.raises(GeounetError) as refused:
        read_item(server.url + "/item.json", SceneOptions())
    assert "\n" not in str(refused.value)


def collection_of(*items):
    return {"type": "FeatureCollection", "features": list(items), "links": []}


def test_a_collection_of_items_is_many_scenes(tmp_path):
    items = [earth_search(tmp_path, applied=True) | {"id": name} for name in ("one", "two")]
    path = save(collection_of(*items), tmp_path, "found.json")
    other = str(tmp_path / "B04.tif")
    assert expand_sources([other, path]) == [other, f"{path}#one", f"{path}#two"]
    assert read_item(f"{path}#two", SceneOptions()).name == "two"
    with pytest.raises(SceneError, match=r"holds 2 items. Give one as .*found.json#one"):
        read_item(path, SceneOptions())
    with pytest.raises(SceneError, match="has no item three; it has one, two"):
        read_item(f"{path}#three", SceneOptions())
    with serving(tmp_path) as server:
        url = f"{server.url}/found.json"
        assert expand_sources([url]) == [f"{url}#one", f"{url}#two"]
        assert expand_sources([f"{server.url}/B04.tif"]) == [f"{server.url}/B04.tif"]
        assert not server.requests("B04.tif")
        assert read_item(f"{url}#one", SceneOptions()).source == f"{url}#one"


def test_other_sources_are_left_as_they_are(tmp_path):
    item = save(item_of({"B04": asset("x.tif")}), tmp_path)
    geojson = save({"type": "FeatureCollection", "features": []}, tmp_path, "lines.geojson")
    sources = [item, geojson, str(tmp_path), str(tmp_path / "missing.json"), "/vsizip/a.zip/b.tif"]
    assert expand_sources(sources) == sources


def test_collections_of_items_that_cannot_be_told_apart_are_refused(tmp_path):
    item = item_of({"B04": asset("x.tif")})
    path = save(collection_of(item, item), tmp_path)
    assert expand_sources([str(path)]) == [str(path)], "the other sources would not be done"
    with pytest.raises(SceneError, match="two items scene"):
        read_item(str(path), SceneOptions())
    path = save(collection_of(item, item | {"id": None}), tmp_path)
    with pytest.raises(SceneError, match="an item without an id"):
        read_item(str(path), SceneOptions())


@pytest.mark.parametrize(
    ("document", "said"),
    [
        ({"type": "Collection", "stac_version": "1.0.0", "id": "c"}, "is a STAC collection, not"),
        ({"type": "Catalog", "stac_version": "1.0.0", "id": "c"}, "is a STAC catalog, not"),
        ({"type": "FeatureCollection", "features": []}, "no STAC item"),
        ({"type": "Feature", "assets": {}}, "no STAC item"),
        ([], "no STAC item"),
        (item_of({}), "it has no assets"),
        (item_of({"a": {"type": COG}}), "asset a has no link"),
        (item_of({"a": asset("x.tif")}) | {"properties": []}, "no properties"),
        (item_of({"a": asset("x.tif")}) | {"links": [1]}, "its links"),
        (item_of({"a": asset("x.tif")}, datetime="yesterday"), "damaged STAC item"),
        (item_of({"a": asset("x.tif", **{"eo:bands": [7]})}), "eo:bands of asset a"),
        (item_of({"a": asset("x.tif")}), "a.*--sensor"),
    ],
)
def test_a_document_that_is_no_item_is_one_line(tmp_path, document, said):
    path = save(document, tmp_path)
    with pytest.raises(GeounetError, match=said) as refused:
        read_item(path, SceneOptions())
    assert path in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 50_000])
def test_a_document_that_is_no_json_is_one_line(tmp_path, content):
    path = tmp_path / "item.json"
    path.write_bytes(content)
    assert not is_stac(content)
    with pytest.raises(SceneError, match=r"item.json is not valid JSON"):
        read_item(str(path), SceneOptions())


@pytest.mark.parametrize("value", ["0.0001", True, [1], {}])
def test_a_scale_that_is_no_number_is_one_line(tmp_path, value):
    item = earth_search(tmp_path, applied=False)
    item["assets"]["red"]["raster:bands"][0]["scale"] = value
    with pytest.raises(SceneError, match="scale of asset red is"):
        product_of(item, tmp_path)


def test_what_is_stac_is_known_from_other_json():
    assert is_stac(json.dumps(item_of({})).encode())
    assert is_stac(json.dumps(collection_of(item_of({}))).encode())
    assert not is_stac(json.dumps({"type": "FeatureCollection", "features": [{}]}).encode())
    assert not is_stac(b'{"bands": {}}')


def nodes(value, path=()):
    """All places in a JSON document."""
    yield path
    if isinstance(value, dict | list):
        for key, child in value.items() if isinstance(value, dict) else enumerate(value):
            yield from nodes(child, (*path, key))


JUNK = st.sampled_from([None, True, 0, -1.5, "", "x", "B04", [], [None], {}, {"a": 1}, "http://["])


@pytest.fixture(scope="module")
def whole_item(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    return earth_search(folder, applied=False), folder


@settings(max_examples=150)
@given(data=st.data())
def test_a_mutated_item_is_read_or_refused_in_one_line(whole_item, data):
    item, folder = whole_item
    item = copy.deepcopy(item)
    for key in list(item["assets"]):
        if key.endswith("-jp2"):
            del item["assets"][key]
    for _ in range(data.draw(st.integers(1, 3))):
        *parents, last = data.draw(st.sampled_from([p for p in nodes(item) if p]))
        place = item
        for key in parents:
            place = place[key]
        place[last] = copy.deepcopy(data.draw(JUNK))
    said = ""
    try:
        product = product_of(item, folder)
    except GeounetError as error:
        said = str(error)
    assert said or product.layers
    assert "\n" not in said
    assert len(said) < 600


def test_a_url_with_a_signature_is_read_and_kept_from_the_name(tmp_path):
    item = earth_search(tmp_path, applied=True)
    for part in item["assets"].values():
        part["href"] += "?sig=secret"
    save(item, tmp_path)
    with serving(tmp_path, Fault("refuse", times=1)) as server:
        product = read_item(f"{server.url}/item.json?sig=secret", SceneOptions())
        assert "secret" not in product.name
        with Scene(product) as scene:
            assert np.abs(scene.read(["red"], WHOLE).values[0] - REFLECTANCE).max() < 1e-4
            assert "secret" not in json.dumps(scene.describe())


# Whose numbers they are


def reflectance_of(product, band="B04"):
    with Scene(product) as scene:
        return scene.read([band], WHOLE).values[0]


@pytest.mark.parametrize("said", [{"scale": 1}, {"scale": 1, "offset": 0}, {}])
def test_reflectance_in_floats_has_no_offset_of_a_baseline(tmp_path, said):
    item = planetary_computer(tmp_path)
    write_dn(tmp_path / "T30TXR_B04_10m.tif", 1, 0, dtype="float32", nodata=None)
    item["assets"]["B04"]["raster:bands"] = [said | {"data_type": "float32"}]
    product = product_of(item, tmp_path, bands=("B04",))
    assert np.abs(reflectance_of(product) - REFLECTANCE).max() < 1e-6
    assert product.layers[0].nodata is None  # 0 is a reflectance


def test_a_scale_of_1_says_nothing_of_integers(tmp_path):
    item = planetary_computer(tmp_path)
    item["assets"]["B04"]["raster:bands"] = [{"scale": 1, "offset": 0}]
    found = reflectance_of(product_of(item, tmp_path, bands=("B04",)))
    assert np.abs(found - REFLECTANCE).max() < 1e-4


def test_numbers_of_another_scale_are_not_esas(tmp_path):
    item = planetary_computer(tmp_path)
    write_dn(tmp_path / "T30TXR_B04_10m.tif", 2e-5, 0)
    item["assets"]["B04"]["raster:bands"] = [{"scale": 2e-5}]
    found = reflectance_of(product_of(item, tmp_path, bands=("B04",)))
    assert np.abs(found - REFLECTANCE).max() < 1e-4


@pytest.mark.parametrize(
    ("version", "name", "baseline"),
    [
        ("4.2", "mosaic_2021", None),
        ("05.09", "mosaic_2021", None),
        ("4.2", "S2B_MSIL2A_20230601T105629_R094_T30TXR_20230601T1", None),
        ("05.09", "S2B_MSIL2A_20230601T105629_R094_T30TXR_20230601T1", (5, 9)),
    ],
)
def test_a_version_of_processing_is_a_baseline_of_esas_products_only(
    tmp_path, version, name, baseline
):
    item = planetary_computer(tmp_path)
    item["id"] = name
    for key in ("s2:processing_baseline", "s2:product_uri"):
        del item["properties"][key]
    item["properties"]["processing:version"] = version
    for said in ({}, {"raster:bands": [{"scale": 1e-4}]}):
        item["assets"]["B04"] |= said
        product = product_of(item, tmp_path, bands=("B04",))
        assert product.identity.baseline == baseline
        assert product.layers[0].scaling.offset == (-1000 if baseline else 0 if said else None)


@pytest.mark.parametrize("applied", [True, False])
def test_the_flag_is_about_cogs_and_not_about_esas_own_files(tmp_path, applied):
    """Earth Search links to both, with the same `raster:bands` and one flag."""
    item = earth_search(tmp_path, applied=applied)
    del item["assets"]["red"]
    item["assets"]["red-jp2"]["href"] = "esa.jp2"
    write_dn(tmp_path / "esa.jp2", 1e-4, -0.1)
    found = reflectance_of(product_of(item, tmp_path, bands=("red",)))
    assert np.abs(found - REFLECTANCE).max() < 1e-4


@pytest.mark.parametrize("value", ["true", 1, [True]])
def test_a_flag_that_is_neither_true_nor_false_is_refused(tmp_path, value):
    item = earth_search(tmp_path, applied=True)
    item["properties"]["earthsearch:boa_offset_applied"] = value
    with pytest.raises(SceneError, match="neither true nor false") as refused:
        product_of(item, tmp_path)
    assert "\n" not in str(refused.value)


def test_where_item_and_file_disagree_on_nodata_the_files_is_taken(tmp_path, caplog):
    item = earth_search(tmp_path, applied=False)
    for band in ("B04", "B08"):
        write_dn(tmp_path / f"{band}.tif", 1e-4, -0.1, dtype="int16", nodata=-9999)
    product = product_of(item, tmp_path, bands=("red", "nir", "nir08"))
    assert [layer.nodata for layer in product.layers] == [-9999, -9999, 0]
    (note,) = product.notes
    assert "B04, B08" in note
    assert "0 where the file's is -9999" in note
    assert caplog.text.count("the file's is taken") == 1
    assert product.sources["nodata"] == "file"
    product = product_of(item, tmp_path, bands=("nir08",))
    assert (product.notes, product.sources["nodata"]) == ((), "raster:bands of the item")
    write_dn(tmp_path / "B8A.tif", 1e-4, -0.1, nodata=None)
    assert product_of(item, tmp_path, bands=("nir08",)).layers[0].nodata == 0
    caplog.clear()
    assert product_of(item, tmp_path, nodata=0).notes == ()
    assert "nodata" not in caplog.text


DEA_SENTINEL2 = {
    "nbart_coastal_aerosol": "B01",
    "nbart_blue": "B02",
    "nbart_green": "B03",
    "nbart_red": "B04",
    "nbart_red_edge_1": "B05",
    "nbart_red_edge_2": "B06",
    "nbart_red_edge_3": "B07",
    "nbart_nir_1": "B08",
    "nbart_nir_2": "B8A",
    "nbart_swir_2": "B11",
    "nbart_swir_3": "B12",
}
DEA_LANDSAT = {
    "nbart_blue": "B2",
    "nbart_green": "B3",
    "nbart_red": "B4",
    "nbart_nir": "B5",
    "nbart_swir_1": "B6",
    "nbart_swir_2": "B7",
    "nbart_panchromatic": "B8",
}


@pytest.mark.parametrize(
    ("platform", "expected", "level"),
    [("sentinel-2a", DEA_SENTINEL2, "L2A"), ("landsat-8", DEA_LANDSAT, "L2")],
)
def test_bands_of_digital_earth_australia_are_known(tmp_path, platform, expected, level):
    write_dn(tmp_path / "x.tif", 1e-4, 0, dtype="int16", nodata=-999)
    assets = {}
    for key in expected:
        for prefix in ("lambertian_", "nbar_", "nbart_"):
            name = key.replace("nbart_", prefix)
            assets[name] = asset("x.tif", **{"eo:bands": [{"name": name}]})
    assets["oa_fmask"] = asset("x.tif")
    assets["oa_combined_terrain_shadow"] = asset("x.tif")
    item = item_of(
        assets, name="ga_s2am_ard_3-2-1_50HPK_2023-06-01_final", platform=platform,
        **{"sentinel:processing_baseline": "05.09"},
    )  # fmt: skip
    product = product_of(item, tmp_path)
    assert [layer.band.name for layer in product.layers] == list(expected.values())
    assert product.identity.level == level
    assert {"oa_fmask", "oa_combined_terrain_shadow", "nbar_red"} <= set(dict(product.left_out))
    assert not {key for key, _ in product.left_out} & set(expected)
    band = expected["nbart_red"]
    assert np.abs(reflectance_of(product, band) - REFLECTANCE).max() < 1e-4
    product = product_of(item, tmp_path, bands=("NBART_RED", "green"))
    assert [layer.band.common_name for layer in product.layers] == ["red", "green"]


def test_the_thermal_band_of_landsat_is_in_kelvin(tmp_path):
    item = landsat(tmp_path, said=False)
    name = "LC08_L2SP_204052_20230601_20230607_02_T1_ST_B10.TIF"
    write_dn(tmp_path / name, 0.001, -40)
    item["assets"]["lwir11"] = asset(name, **{"eo:bands": [{"name": "B10"}]})
    found = reflectance_of(product_of(item, tmp_path), "B10")
    assert found[0, 0] == pytest.approx(40_010 * 0.00341802 + 149, abs=1e-3)
    assert found[-1, -1] == pytest.approx(40_300 * 0.00341802 + 149, abs=1e-3)


def test_spaces_in_local_links_may_be_written_as_in_addresses(tmp_path):
    item = planetary_computer(tmp_path)
    for number, band in enumerate(("B04", "B08")):
        href = item["assets"][band]["href"]
        folder = ("my scene", "my%20scene")[number]
        (tmp_path / folder).mkdir()
        (tmp_path / href).rename(tmp_path / folder / href)
        item["assets"][band]["href"] = f"my%20scene/{href[2:]}"
    product = product_of(item, tmp_path)
    assert [layer.path.split("/")[-2] for layer in product.layers[:2]] == ["my scene", "my%20scene"]


def test_a_link_to_nothing_is_said_without_its_signature(tmp_path):
    item = item_of({"B04": asset("ftps://a.org/x.tif?sig=SECRET")}, platform="sentinel-2a")
    with pytest.raises(SceneError, match=r"links to ftps://a\.org/x\.tif") as refused:
        product_of(item, tmp_path)
    assert "SECRET" not in str(refused.value)


# Documents that are read again


def test_a_collection_is_fetched_once_for_all_its_items(tmp_path):
    items = []
    for number in range(3):
        items.append(planetary_computer(tmp_path) | {"id": f"item{number}"})
    save(collection_of(*items), tmp_path, "items.json")
    with serving(tmp_path) as server:
        for source in expand_sources([f"{server.url}/items.json"]):
            read_item(source, SceneOptions())
        # Once to see whether it is a document, and once for what is in it.
        assert len(server.requests("items.json")) == 2


def test_a_file_that_has_changed_is_read_again(tmp_path):
    source = str(save(earth_search(tmp_path, applied=True), tmp_path))
    assert read_item(source, SceneOptions()).layers[0].scaling.offset == 0
    save(earth_search(tmp_path, applied=False), tmp_path)
    assert read_item(source, SceneOptions()).layers[0].scaling.offset == -1000


def test_only_some_documents_are_kept(monkeypatch):
    documents = stac_documents._Documents()
    asked = []

    def get(name, size=2):
        def read():
            asked.append(name)
            return b"{}".ljust(size)

        return documents.get((name,), read, name)

    for number in range(stac_documents.MOST_KEPT):
        get(str(number))
    get("0")
    get("one more")  # for which the one goes that was not used for longest
    get("0")
    assert asked[-1] == "one more"
    get("1")
    assert asked[-1] == "1"
    get("large", stac_documents.LARGEST_KEPT)
    get("0")
    assert asked[-1] == "0"
    monkeypatch.setattr(stac_documents, "KEPT_SECONDS", 0)
    get("0")
    assert asked[-2:] == ["0", "0"]


def test_clouds_are_not_masked_by_a_layer_that_cannot_be_opened(tmp_path, caplog):
    item = planetary_computer(tmp_path)
    item["assets"]["SCL"] = asset("T30TXR_SCL_20m.tif")
    save(item, tmp_path)
    with serving(tmp_path, Fault("refuse", ending="SCL_20m.tif", status=403)) as server:
        source = f"{server.url}/item.json"
        assert read_item(source, SceneOptions()).quality is None
        assert "SCL_20m is not used" in caplog.text
        with pytest.raises(SceneError, match="no layer that says where clouds are"):
            open_scene(source, SceneOptions(clouds=CloudOptions(mask=True)))

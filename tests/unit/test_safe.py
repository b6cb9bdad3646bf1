"""Sentinel-2 products in the layouts they come in, built here small."""

import dataclasses
import logging
import re
import shutil
import string
import zipfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
import rasterio
from hypothesis import given, settings
from hypothesis import strategies as st

from geounet.bands import SENSORS
from geounet.errors import BandError, SceneError
from geounet.scene import open_scene
from geounet.scene.product import SceneOptions
from geounet.scene.raster import Handles, read_layers
from geounet.scene.safe import read_safe
from geounet.scene.safe_layout import find_safe, safe_of
from geounet.scene.safe_metadata import Document, parse_safe_metadata
from geounet.scene.tree import open_tree

NAMES = [band.name for band in SENSORS["s2"]]
L2A = "S2A_MSIL2A_20220622T105631_N0400_R094_T30TXR_20220622T143313"
GRANULE = "L2A_T30TXR_A036556_20220622T105647"
SIDE = {10: 12, 20: 6, 60: 2}
"""Pixels of the little tile, 120 m wide."""


def product_xml(
    level="2A",
    *,
    baseline="04.00",
    uri=f"{L2A}.SAFE",
    quantification="10000",
    offsets=None,
    images=(),
    special="<SPECIAL_VALUE_INDEX>0</SPECIAL_VALUE_INDEX>",
):
    """Return a product's metadata; `offsets` by band_id."""
    tag, prefix = ("BOA_ADD_OFFSET", "BOA_") if level == "2A" else ("RADIO_ADD_OFFSET", "")
    listed = "".join(f'<{tag} band_id="{k}">{v}</{tag}>' for k, v in (offsets or {}).items())
    files = "".join(f"<IMAGE_FILE>{image}</IMAGE_FILE>" for image in images)
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-{level}_User_Product xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/">
<n1:General_Info><Product_Info><PRODUCT_URI>{uri}</PRODUCT_URI>
<PROCESSING_BASELINE>{baseline}</PROCESSING_BASELINE>
<Datatake><DATATAKE_SENSING_START>2022-06-22T10:56:31.024Z</DATATAKE_SENSING_START>
<SENSING_ORBIT_NUMBER>94</SENSING_ORBIT_NUMBER></Datatake>
<Granule_List><Granule granuleIdentifier="S2A_OPER_MSI_L2A_TL_VGS2_20220622T143313_A036556_T30TXR">
{files}</Granule></Granule_List></Product_Info>
<Product_Image_Characteristics>
<Special_Values><SPECIAL_VALUE_TEXT>NODATA</SPECIAL_VALUE_TEXT>{special}</Special_Values>
<{prefix}QUANTIFICATION_VALUE unit="none">{quantification}</{prefix}QUANTIFICATION_VALUE>
{listed}</Product_Image_Characteristics></n1:General_Info>
</n1:Level-{level}_User_Product>""".encode()


def granule_xml(level="2A", *, tile="30TXR", time="2022-06-22T11:08:38.840367Z", x=600000):
    grids = "".join(
        f'<Size resolution="{res}"><NROWS>{side}</NROWS><NCOLS>{side}</NCOLS></Size>'
        f'<Geoposition resolution="{res}"><ULX>{x}</ULX><ULY>5100000</ULY></Geoposition>'
        for res, side in SIDE.items()
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<n1:Level-{level}_Tile_ID xmlns:n1="https://psd-14.sentinel2.eo.esa.int/PSD/"><n1:General_Info>
<TILE_ID>S2A_OPER_MSI_L{level}_TL_VGS2_20220622T143313_A036556_T{tile}_N04.00</TILE_ID>
<SENSING_TIME>{time}</SENSING_TIME></n1:General_Info><n1:Geometric_Info><Tile_Geocoding>
<HORIZONTAL_CS_CODE>EPSG:32630</HORIZONTAL_CS_CODE>{grids}</Tile_Geocoding></n1:Geometric_Info>
</n1:Level-{level}_Tile_ID>""".encode()


def write_raster(path, res, *, x=600000, value=None, crs="EPSG:32630", **changes):
    """Write a GeoTIFF, whatever `path` ends in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    side = SIDE[res]
    if value is None:
        value = np.random.default_rng(len(path.name)).integers(1000, 9000, (1, side, side))
    profile = {
        "driver": "GTiff",
        "width": side,
        "height": side,
        "count": 1,
        "dtype": "uint16",
        "crs": crs,
        "transform": rasterio.Affine(res, 0, x, 0, -res, 5100000),
        **changes,
    }
    values = np.broadcast_to(value, (profile["count"], side, side)).astype(profile["dtype"])
    with rasterio.open(path, "w", **profile) as dst:
        dst.write(values)
    return path


def image(granule, band, res):
    return f"GRANULE/{granule}/IMG_DATA/R{res}m/T30TXR_20220622T105631_{band}_{res}m"


@pytest.fixture
def l2a(tmp_path):
    """A product of three bands at different resolutions, two of which have several."""
    folder = tmp_path / "products" / f"{L2A}.SAFE"
    there = [("B02", 10), ("B02", 20), ("B02", 60), ("B8A", 20), ("B8A", 60), ("B01", 60)]
    for band, res in there:
        write_raster(folder / f"{image(GRANULE, band, res)}.jp2", res)
    for res in (20, 60):
        write_raster(folder / f"{image(GRANULE, 'SCL', res)}.jp2", res, value=4, dtype="uint8")
    listed = [image(GRANULE, band, res) for band, res in [*there, ("B03", 10), ("B8A", 10)]]
    offsets = {i: -1000 - i for i in range(13)}
    (folder / "MTD_MSIL2A.xml").write_bytes(product_xml(offsets=offsets, images=listed))
    (folder / "GRANULE" / GRANULE / "MTD_TL.xml").write_bytes(granule_xml())
    return folder


def read(path, options=None):
    tree, root = safe_of(path)
    return read_safe(tree, options or SceneOptions(), root=root, source=str(path))


def facts(product):
    """Return all that does not depend on where the product lies."""
    layers = [dataclasses.replace(layer, path="") for layer in product.layers]
    quality = product.quality and (product.quality.kind, product.quality.geobox)
    changes = {"layers": tuple(layers), "source": "", "quality": quality}
    return dataclasses.replace(product, **changes)


def names_and_res(product):
    return [(la.band.name, round(la.geobox.resolution.x)) for la in product.layers]


def test_the_finest_file_of_each_band_is_taken_in_the_sensors_order(l2a):
    product = read(l2a)
    assert names_and_res(product) == [("B01", 60), ("B02", 10), ("B8A", 20)]
    left_out = dict(product.left_out)
    assert left_out["T30TXR_20220622T105631_B02_60m.jp2"] == "B02 is taken at 10 m"
    assert left_out["B03 at 10 m"] == "listed in MTD_MSIL2A.xml, but not there"
    assert "B8A at 10 m" in left_out
    assert not any(name.startswith("B02 at") for name in left_out)


def test_each_band_has_its_own_offset_by_band_id(l2a):
    scalings = {la.band.name: la.scaling for la in read(l2a).layers}
    assert {name: s.offset for name, s in scalings.items()} == {
        "B01": -1000,
        "B02": -1001,
        "B8A": -1008,  # band_id 8; 9 is B09
    }
    assert {s.scale for s in scalings.values()} == {1e-4}
    expected = "quantification value and BOA_ADD_OFFSET in MTD_MSIL2A.xml"
    assert {s.source for s in scalings.values()} == {expected}


def test_the_granules_time_counts_and_not_the_datatakes(l2a):
    identity = read(l2a).identity
    assert identity.time == datetime(2022, 6, 22, 11, 8, 38, 840367, tzinfo=UTC)
    assert identity.sources["time"] == "SENSING_TIME in MTD_TL.xml"
    assert (identity.sensor, identity.level, identity.baseline) == ("s2", "L2A", (4, 0))
    assert (identity.tile, identity.orbit) == ("30TXR", 94)


def test_without_the_granules_metadata_its_folder_tells_the_time(l2a):
    (l2a / "GRANULE" / GRANULE / "MTD_TL.xml").unlink()
    identity = read(l2a).identity
    assert identity.time == datetime(2022, 6, 22, 10, 56, 47, tzinfo=UTC)
    assert identity.sources["time"] == f"folder name {GRANULE}"


def zipped(folder, path, prefix=""):
    assert folder not in path.parents  # it would hold itself, and grow until the disk is full
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*")):
            if file.is_file():
                archive.write(file, f"{prefix}{file.relative_to(folder).as_posix()}")
    return path


def ways_to_give(folder, tmp_path):
    """Yield paths that all mean the product in `folder`."""
    around = tmp_path / "around"
    yield folder
    yield folder.parent
    yield folder / "MTD_MSIL2A.xml"
    yield folder / "GRANULE"
    yield folder / "GRANULE" / GRANULE
    yield folder / "GRANULE" / GRANULE / "MTD_TL.xml"
    around.mkdir()
    yield zipped(folder, around / "a.zip")
    yield zipped(folder, around / "no ending", f"{folder.name}/")
    yield zipped(folder, around / "b.zip", f"download/{folder.name}/")
    yield Path(shutil.make_archive(around / "c", "gztar", folder.parent, folder.name))


def test_a_product_is_the_same_however_it_is_given(l2a, tmp_path):
    expected = facts(read(l2a))
    window = rasterio.windows.Window(1, 2, 7, 5)
    arrays = []
    for path in ways_to_give(l2a, tmp_path):
        product = read(path)
        assert facts(product) == expected, path
        assert product.source == str(path)
        handles = Handles()
        arrays.append(read_layers(handles, product.layers, product.layers[1].geobox, window))
        handles.close()
    assert expected.name == L2A
    for pixels in arrays[1:]:
        np.testing.assert_array_equal(pixels.values, arrays[0].values)
        np.testing.assert_array_equal(pixels.valid, arrays[0].valid)


def test_a_relative_path_is_enough(l2a, monkeypatch):
    monkeypatch.chdir(l2a / "GRANULE" / GRANULE)
    assert facts(read(Path())) == facts(read(l2a))
    monkeypatch.chdir(l2a.parent)
    assert facts(read(Path(l2a.name))) == facts(read(l2a))


def test_what_is_no_sentinel2_product_is_left_to_others(tmp_path, l2a):
    other = tmp_path / "bands"
    write_raster(other / "T30TXR_B02.tif", 10)
    for path in (other, other / "T30TXR_B02.tif", zipped(other, tmp_path / "b.zip"), l2a / "x"):
        assert safe_of(path) is None
    # Band files beside a product are what was meant.
    shutil.copytree(l2a, other / l2a.name)
    assert safe_of(other) is None
    assert safe_of(zipped(other, tmp_path / "c.zip")) is None


def test_several_products_are_no_scene(l2a, tmp_path):
    shutil.copytree(l2a, l2a.parent / "another.SAFE")
    for path in (l2a.parent, zipped(l2a.parent, tmp_path / "a.zip")):
        with pytest.raises(SceneError, match=r"2 Sentinel-2 products: .*another\.SAFE.* Give one"):
            safe_of(path)


@pytest.fixture
def old(tmp_path):
    """A product as they were before December 2016: a granule is a tile, and there are several."""
    folder = tmp_path / "S2A_OPER_PRD_MSIL1C_PDMC_20150818T101451_R022_V20150813T102406.SAFE"
    uri = folder.name
    xml = product_xml("1C", baseline="01.03", uri=uri, quantification="1000")
    xml = re.sub(b"<Granule .*</Granule>", b"", xml, flags=re.DOTALL)
    for number, tile in enumerate(("32TQR", "32TQS")):
        granule = f"S2A_OPER_MSI_L1C_TL_EPA__20150813T201603_A000734_T{tile}_N01.03"
        inside = folder / "GRANULE" / granule
        stem = granule.removesuffix("_N01.03")
        for band, res in (("B02", 10), ("B8A", 20)):
            path = inside / "IMG_DATA" / f"{stem}_{band}.jp2"
            write_raster(path, res, x=600000 + 120 * number)
        name = stem.replace("MSI_L1C", "MTD_L1C") + ".xml"
        (inside / name).write_bytes(granule_xml("1C", tile=tile, x=600000 + 120 * number))
    (folder / "S2A_OPER_MTD_SAFL1C_PDMC_20150818T101451_R022.xml").write_bytes(xml)
    return folder


def test_of_several_granules_one_has_to_be_given(old):
    with pytest.raises(SceneError, match=f"2 granules.*Give the folder of one: {old}/GRANULE/S2A"):
        read(old)
    product = read(next(iter(sorted((old / "GRANULE").iterdir()))))
    assert product.identity.tile == "32TQR"
    assert product.name.endswith("_T32TQR")
    assert names_and_res(product) == [("B02", 10), ("B8A", 20)]
    assert {la.scaling.scale for la in product.layers} == {1e-3}
    assert (product.identity.level, product.identity.baseline) == ("L1C", (1, 3))


def test_of_several_granules_the_only_one_with_bands_is_meant(old):
    for path in sorted((old / "GRANULE").iterdir())[0].glob("IMG_DATA/*"):
        path.unlink()
    assert read(old).identity.tile == "32TQS"


def test_a_tile_as_aws_has_it_needs_no_product_metadata(tmp_path):
    folder = tmp_path / "0"
    (folder / "qi").mkdir(parents=True)
    (folder / "metadata.xml").write_bytes(granule_xml())
    (folder / "tileInfo.json").write_text(f'{{"productName": "{L2A}"}}')
    write_raster(folder / "R10m" / "B02.jp2", 10)
    write_raster(folder / "R20m" / "B02.jp2", 20)
    write_raster(folder / "qi" / "MSK_DETFOO_B03.jp2", 10)
    write_raster(folder / "preview" / "B04.jp2", 60)
    product = read(folder)
    assert names_and_res(product) == [("B02", 10)]
    assert product.name == L2A
    assert (product.identity.orbit, product.identity.baseline) == (94, (4, 0))
    # Of that baseline there is an offset, and nobody says it.
    assert {(la.scaling.scale, la.scaling.offset) for la in product.layers} == {(None, None)}
    xml = product_xml(offsets=dict.fromkeys(range(13), -1000))
    (folder / "product_metadata.xml").write_bytes(xml)
    assert {(la.scaling.scale, la.scaling.offset) for la in read(folder).layers} == {(1e-4, -1000)}


@pytest.mark.parametrize(
    ("baseline", "name", "expected"),
    [
        ("03.01", "N0301", (1e-4, 0)),
        ("04.00", "N0400", (None, None)),
        ("05.11", "N0301", (None, None)),
        ("03.01", "N0400", (None, None)),
    ],
)
def test_without_a_list_of_offsets_only_old_baselines_are_believed_to_have_none(
    l2a, caplog, baseline, name, expected
):
    (l2a / "MTD_MSIL2A.xml").write_bytes(product_xml(baseline=baseline, uri=f"{L2A}.SAFE"))
    folder = l2a.rename(l2a.with_name(l2a.name.replace("N0400", name)))
    xml = (folder / "MTD_MSIL2A.xml").read_bytes().replace(b"N0400", name.encode())
    (folder / "MTD_MSIL2A.xml").write_bytes(xml)
    scalings = {(la.scaling.scale, la.scaling.offset) for la in read(folder).layers}
    assert scalings == {expected}
    contradicted = int(baseline[:2]) != int(name[1:3])
    assert ("says baseline" in caplog.text) == contradicted


def test_a_band_that_the_list_of_offsets_forgets_has_no_scale(l2a):
    (l2a / "MTD_MSIL2A.xml").write_bytes(product_xml(offsets={0: -1000, 1: -1000}))
    assert [la.scaling.scale for la in read(l2a).layers] == [1e-4, 1e-4, None]


def test_zero_is_nodata_whether_or_not_the_metadata_says_so(l2a):
    said = read(l2a)
    assert {la.nodata for la in said.layers} == {0}
    assert said.sources["nodata"] == "special values in MTD_MSIL2A.xml"
    (l2a / "MTD_MSIL2A.xml").unlink()
    assert {la.nodata for la in read(l2a).layers} == {0}
    with open_scene(l2a, SceneOptions(nodata=7, scale=1e-4)) as scene:
        assert {band["nodata"] for band in scene.describe()["bands"]} == {7}


def test_rasters_count_more_than_the_metadatas_grid(l2a):
    assert read(l2a).notes == ()
    (l2a / "GRANULE" / GRANULE / "MTD_TL.xml").write_bytes(granule_xml(x=600005))
    product = read(l2a)
    assert {la.geobox.transform.c for la in product.layers} == {600000}
    assert "10 m from (600000, 5100000) in EPSG:32630, MTD_TL.xml says" in " ".join(product.notes)


def test_rasters_without_a_grid_lie_as_the_metadata_says(l2a):
    path = l2a / f"{image(GRANULE, 'B02', 10)}.jp2"
    write_raster(path, 10, crs=None)
    product = read(l2a)
    layer = next(la for la in product.layers if la.band.name == "B02")
    assert layer.geobox.crs.epsg == 32630
    assert layer.geobox.transform.c == 600000
    assert product.notes == ("rasters without a grid are taken to lie as MTD_TL.xml says (10 m)",)


def test_bands_are_chosen_by_any_of_their_names(l2a):
    product = read(l2a, SceneOptions(bands=("nir08", "b2")))
    assert [la.band.name for la in product.layers] == ["B8A", "B02"]
    assert ("T30TXR_20220622T105631_B01_60m.jp2", "not asked for with --bands") in product.left_out
    with pytest.raises(BandError, match=r"--bands chooses from .* no band B03; there are s2:B02"):
        read(l2a, SceneOptions(bands=("B03",)))


def test_a_product_without_images_says_so(l2a):
    shutil.rmtree(l2a / "GRANULE" / GRANULE / "IMG_DATA")
    with pytest.raises(BandError, match=r"no raster of a band\. Download it with its images"):
        read(l2a)


def test_quality_is_the_finest_scene_classification(l2a):
    product = read(l2a)
    assert product.quality.kind == "scl"
    assert product.quality.path.endswith("_SCL_20m.jp2")
    assert ("T30TXR_20220622T105631_SCL_60m.jp2", "quality band") in product.left_out


def test_scene_classification_is_found_under_its_old_name_too(l2a):
    for path in sorted(l2a.rglob("*SCL*")):
        name = "S2A_USER_SCL_L2A_TL_SGS__20160803T152916_A005828_T30TXR_{}.jp2"
        path.rename(path.with_name(name.format("20m" if "20m" in path.name else "60m")))
    assert read(l2a).quality.kind == "scl"
    assert read(l2a).quality.geobox.resolution.x == 20


@pytest.mark.parametrize("archived", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "MSK_CLOUDS_B00.gml",
        "S2A_OPER_MSK_CLOUDS_EPA__20150813T201603_A000734_T32TQR_B00_MSIL1C.gml",
    ],
)
def test_polygons_of_clouds_are_found_under_their_old_name_too(l2a, tmp_path, name, archived):
    for path in l2a.rglob("*SCL*"):
        path.unlink()
    gml = (
        '<eop:Mask xmlns:eop="http://www.opengis.net/eop/2.0"'
        ' xmlns:gml="http://www.opengis.net/gml/3.2"><gml:name>MSK_CLOUDS</gml:name></eop:Mask>'
    )
    (l2a / "GRANULE" / GRANULE / "QI_DATA").mkdir()
    (l2a / "GRANULE" / GRANULE / "QI_DATA" / name).write_text(gml)
    product = read(zipped(l2a, tmp_path / "a.zip") if archived else l2a)
    assert product.quality is not None
    assert product.quality.kind == "gml"


def test_files_are_opened_by_content_whatever_they_are_called(l2a):
    for path in sorted(l2a.rglob("*.jp2")):
        path.rename(path.with_suffix(".tiff" if "_B01" in path.name else ""))
    assert names_and_res(read(l2a)) == [("B01", 60), ("B02", 10), ("B8A", 20)]


def test_where_names_do_not_tell_resolution_the_rasters_do(l2a):
    shutil.rmtree(l2a / "GRANULE" / GRANULE / "IMG_DATA")
    for name, res in (("coarse", 60), ("fine", 10), ("middle", 20)):
        write_raster(l2a / "GRANULE" / GRANULE / "IMG_DATA" / f"{name}_B04.jp2", res)
    assert names_and_res(read(l2a)) == [("B04", 10)]


def test_a_file_of_several_bands_is_refused(l2a):
    write_raster(l2a / f"{image(GRANULE, 'B02', 10)}.jp2", 10, count=3)
    with pytest.raises(SceneError, match=r"B02_10m\.jp2 .* has 3 bands instead of one"):
        read(l2a)


BOMB = (
    b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]>'
    b"<Level-2A_User_Product>&b;</Level-2A_User_Product>"
)


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "not valid XML"),
        (b"<a>", "not valid XML"),
        (b"\xff\xfe<", "not valid XML"),
        (b'<?xml version="1.0" encoding="no-such"?><a/>', "not valid XML"),
        (BOMB, "defines entities"),
        (b"<html/>", "begins with <html>"),
        (b"<Level-1B_User_Product/>", "no metadata of Sentinel-2 level 1C or 2A"),
        (b"<Level-2A_Tile_ID/>", "is of a tile"),
        (product_xml(quantification="0"), "impossible quantification"),
        (product_xml(quantification="ten"), "'ten', which is no number"),
        (product_xml(quantification="nan"), "'nan', which is no number"),
        (product_xml(offsets={13: -1000}), "unknown band_id '13'"),
        (product_xml(offsets={"x": -1000}), "unknown band_id 'x'"),
        (product_xml(offsets={3: ""}), "BOA_ADD_OFFSET '', which is no number"),
    ],
)
def test_metadata_that_cannot_be_is_refused_in_one_line(content, complaint):
    with pytest.raises(SceneError, match=complaint) as caught:
        parse_safe_metadata(Document("MTD_MSIL2A.xml", content), None)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith("MTD_MSIL2A.xml")


def test_broken_xml_is_told_with_its_path():
    document = Document("MTD_MSIL2A.xml", b"<broken", "/scenes/X.SAFE/MTD_MSIL2A.xml")
    with pytest.raises(SceneError, match=r"^/scenes/X\.SAFE/MTD_MSIL2A\.xml is not valid XML"):
        parse_safe_metadata(document, None)


@pytest.mark.parametrize("content", [b"", b"{", b"[" * 100_000, b"\xff"])
def test_tile_info_that_is_no_json_is_refused(content):
    with pytest.raises(SceneError, match=r"tileInfo\.json is not valid JSON"):
        parse_safe_metadata(None, None, tile_info=Document("tileInfo.json", content))


@pytest.mark.parametrize("content", [b"[]", b'{"timestamp": 3}', b'{"productName": null}', b'"x"'])
def test_tile_info_of_another_shape_tells_nothing(content):
    metadata = parse_safe_metadata(None, None, tile_info=Document("tileInfo.json", content))
    assert (metadata.name, metadata.time) == (None, None)


ENTIRE = product_xml(offsets=dict.fromkeys(range(13), -1000)), granule_xml()
words = st.text(string.printable, max_size=12).map(str.encode)


def damaged(data, content):
    """Return a document with some of its words exchanged, and perhaps its end missing."""
    places = [match.span(1) for match in re.finditer(rb'[>"]([^<>"]+)[<"]', content)]
    chosen = data.draw(st.lists(st.sampled_from(places), max_size=2, unique=True))
    for start, stop in sorted(chosen, reverse=True):
        word = data.draw(words | st.sampled_from([b"1e999", b"-1", b"9" * 400, b"\xc3", b""]))
        content = content[:start] + word + content[stop:]
    whole = data.draw(st.booleans())
    return content if whole else content[: data.draw(st.integers(0, len(content)))]


@given(data=st.data())
@settings(max_examples=150)
def test_damaged_metadata_is_read_or_refused(data):
    documents = [Document("x.xml", damaged(data, content)) for content in ENTIRE]
    said = ""
    try:
        parse_safe_metadata(*documents)
    except SceneError as error:
        said = str(error)
    assert "\n" not in said


@given(files=st.lists(st.text("aBM02GRANULE/._xml", max_size=30), max_size=8))
def test_any_files_have_a_product_or_none(files, tmp_path_factory):
    tree = dataclasses.replace(open_tree(tmp_path_factory.mktemp("t")), files=tuple(files))
    try:
        root = find_safe(tree)
    except SceneError:
        return
    assert root is None or root == "" or any(file.startswith(root) for file in files)


def test_members_of_a_zip_are_left_where_they_are(l2a, tmp_path, caplog):
    path = zipped(l2a, tmp_path / "a.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("../GRANULE/evil_B03.jp2", b"")
    before = sorted(tmp_path.rglob("*"))
    with caplog.at_level(logging.WARNING):
        read(path)
    assert sorted(tmp_path.rglob("*")) == before
    assert "left out" in caplog.text

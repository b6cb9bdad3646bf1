"""Styles and projects, as far as it can be told without QGIS; tests/real/test_qgis.py asks QGIS."""

import zipfile
from datetime import UTC, datetime
from xml.etree import ElementTree

import numpy as np
import pytest
import rasterio
import rasterio.shutil
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import CRS

from geounet import qgis
from geounet.classes import LAND_WATER, LabelClass

SEEN = datetime(2021, 6, 1, 10, 11, 13, tzinfo=UTC)
GEOBOX = GeoBox((30, 20), Affine(10, 0, 500_000, 0, -10, 4_500_000), "EPSG:32630")
# A name that XML cannot hold as it is, and a value left out.
THREE = (
    LabelClass(0, "land", "#decba4", water=False),
    LabelClass(1, "water", "#1f77b4", water=True),
    LabelClass(3, "ice & <slush>", "#ffffff", water=True),
)
LINE = qgis.flagged_line("#d62728", 0.5, column="cloud_suspect", flagged_color="#7f7f7f")
LAYERS = [
    qgis.ProjectLayer("Coastline", "a b.gpkg|layername=coastline", LINE, True),
    qgis.ProjectLayer("Mask", "a b_mask.tif", qgis.palette(LAND_WATER), False),
]


def test_a_mask_has_a_name_and_a_colour_for_each_class():
    root = ElementTree.fromstring(qgis.qml(qgis.palette(THREE)))
    entries = [(e.get("value"), e.get("label"), e.get("color")) for e in root.iter("paletteEntry")]
    assert entries == [
        ("0", "land", "#decba4"),
        ("1", "water", "#1f77b4"),
        ("3", "ice & <slush>", "#ffffff"),
    ]
    assert root.find("pipe/rasterrenderer").get("type") == "paletted"


def test_a_field_changes_colour_at_its_level():
    root = ElementTree.fromstring(qgis.qml(qgis.ramp(0, 0.3, 1)))
    assert [float(item.get("value")) for item in root.iter("item")] == [0, 0.3, 1]


@pytest.mark.parametrize(
    ("renderer", "symbol", "layer", "colors"),
    [
        (LINE, "line", "SimpleLine", ["214,39,40,255", "127,127,127,255"]),
        (qgis.fill("#1f77b4", 80), "fill", "SimpleFill", ["31,119,180,80"]),
    ],
)
def test_vector_styles_have_a_symbol_of_their_kind(renderer, symbol, layer, colors):
    root = ElementTree.fromstring(qgis.qml(renderer))
    assert root.find("renderer-v2/symbols/symbol").get("type") == symbol
    assert root.find("renderer-v2/symbols/symbol/layer").get("class") == layer
    found = [o.get("value") for o in root.iter("Option") if o.get("name", "").endswith("color")]
    assert found == colors


def test_flagged_lines_are_dashed_by_a_rule_and_all_others_plain():
    root = ElementTree.fromstring(qgis.qml(LINE))
    rules = {rule.get("filter"): rule.get("symbol") for rule in root.iter("rule")}
    assert set(rules) == {"ELSE", '"cloud_suspect"'}
    dashed = {
        symbol.get("name")
        for symbol in root.iter("symbol")
        if any(o.get("value") == "dash" for o in symbol.iter("Option"))
    }
    assert dashed == {rules['"cloud_suspect"']}


def test_gdal_reads_class_names_and_colours_from_the_file_beside_the_mask(tmp_path):
    # The oracle is GDAL: what it keeps of the aux.xml when it writes it anew.
    path = tmp_path / "mask.tif"
    profile = {"driver": "GTiff", "height": 4, "width": 4, "count": 1, "dtype": "uint8"}
    with rasterio.open(path, "w", **profile, transform=GEOBOX.transform) as dst:
        dst.write(np.zeros((1, 4, 4), np.uint8))
    aux = tmp_path / "mask.tif.aux.xml"
    aux.write_text(qgis.aux_xml(THREE), encoding="utf-8")
    with rasterio.open(path) as src:
        assert src.colorinterp == (rasterio.enums.ColorInterp.palette,)
        assert src.colormap(1)[1] == (31, 119, 180, 255)
        assert src.colormap(1)[3] == (255, 255, 255, 255)
    copy = tmp_path / "copy.tif"
    rasterio.shutil.copy(path, copy, driver="GTiff")
    root = ElementTree.parse(tmp_path / "copy.tif.aux.xml").getroot()
    names = [category.text or "" for category in root.iter("Category")]
    assert names == ["land", "water", "", "ice & <slush>"]
    rows = [[f.text for f in row] for row in root.iter("Row")]
    assert rows[2] == ["3", "ice & <slush>", "255", "255", "255"]


def project(tmp_path, name="a b.qgz"):
    path = tmp_path / name
    qgis.write_project(path, "scene & sea", GEOBOX, LAYERS, SEEN)
    with zipfile.ZipFile(path) as archive:
        (entry,) = archive.infolist()
        return path, entry, ElementTree.fromstring(archive.read(entry))


def test_a_project_holds_its_layers_with_styles_and_relative_paths(tmp_path):
    _, _, root = project(tmp_path)
    layers = {layer.findtext("id"): layer for layer in root.iter("maplayer")}
    entries = list(root.iter("layer-tree-layer"))
    assert [entry.get("name") for entry in entries] == ["Coastline", "Mask"]
    assert [entry.get("checked") for entry in entries] == ["Qt::Checked", "Qt::Unchecked"]
    assert [entry.get("id") for entry in entries] == list(layers)
    assert all(len(layer_id) > 10 for layer_id in layers)
    line, mask = layers.values()
    assert line.findtext("datasource") == "./a b.gpkg|layername=coastline"
    assert (line.get("type"), line.findtext("provider")) == ("vector", "ogr")
    assert line.find("renderer-v2") is not None
    assert (mask.get("type"), mask.findtext("provider")) == ("raster", "gdal")
    assert mask.find("pipe/rasterrenderer") is not None
    assert root.get("projectname") == root.findtext("title") == "scene & sea"


def test_a_project_opens_on_the_whole_scene_in_its_crs(tmp_path):
    _, _, root = project(tmp_path)
    view = root.find("ProjectViewSettings/DefaultViewExtent")
    sides = [float(view.get(side)) for side in ("xmin", "ymin", "xmax", "ymax")]
    assert sides == [500_000, 4_499_700, 500_200, 4_500_000]
    for place in ("projectCrs", "projectlayers/maplayer/srs"):
        assert CRS.from_wkt(root.findtext(f"{place}/spatialrefsys/wkt")).to_epsg() == 32630
    assert root.findtext("properties/SpatialRefSys/ProjectionsEnabled") == "1"


def test_the_same_project_is_the_same_bytes_and_has_the_date_it_is_given(tmp_path):
    path, entry, _ = project(tmp_path)
    first = path.read_bytes()
    path, _, _ = project(tmp_path)
    assert path.read_bytes() == first
    assert entry.date_time == (2021, 6, 1, 10, 11, 12)  # a zip file counts in two seconds
    assert entry.filename == "a b.qgs"


def test_a_date_that_a_zip_file_cannot_have_becomes_its_first(tmp_path):
    path = tmp_path / "a.qgz"
    qgis.write_project(path, "scene", GEOBOX, LAYERS, datetime(1970, 1, 1, tzinfo=UTC))
    with zipfile.ZipFile(path) as archive:
        assert archive.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)


def test_a_layer_can_be_in_several_projects():
    # Elements know no parent: the renderer that a style file has is not taken out of it.
    renderer = qgis.palette(LAND_WATER)
    assert qgis.qml(renderer) == qgis.qml(renderer)

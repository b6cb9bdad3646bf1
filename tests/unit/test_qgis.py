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
from geounet.qgis_project import LayerGroup, Project, ProjectLayer, Timeline, write_project
from geounet.vectors import crs_of, grid_bounds

SEEN = datetime(2021, 6, 1, 10, 11, 13, tzinfo=UTC)
GEOBOX = GeoBox((30, 20), Affine(10, 0, 500_000, 0, -10, 4_500_000), "EPSG:32630")
# A name that XML cannot hold as it is, and a value left out.
THREE = (
    LabelClass(0, "land", "#decba4", water=False),
    LabelClass(1, "water", "#1f77b4", water=True),
    LabelClass(3, "ice & <slush>", "#ffffff", water=True),
)
LINE = qgis.coast_line("#d62728", suspect_color="#ffd92f", wide_m=30)
LAYERS = [
    ProjectLayer("Coastline", "a b.gpkg|layername=coastline", LINE, True),
    ProjectLayer("Mask", "a b_mask.tif", qgis.palette(LAND_WATER), False),
]
PROJECT = Project("scene & sea", crs_of(GEOBOX), grid_bounds(GEOBOX), LAYERS)


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
        (
            LINE,
            "line",
            "SimpleLine",
            # Plain; the band of a blurred edge and its line; the casing near cloud and its dashes.
            [
                "214,39,40,255",
                "214,39,40,110",
                "214,39,40,255",
                "34,34,34,255",
                "255,217,47,255",
            ],
        ),
        (qgis.fill("#1f77b4", 80), "fill", "SimpleFill", ["31,119,180,80"]),
    ],
)
def test_vector_styles_have_a_symbol_of_their_kind(renderer, symbol, layer, colors):
    root = ElementTree.fromstring(qgis.qml(renderer))
    assert root.find("renderer-v2/symbols/symbol").get("type") == symbol
    assert root.find("renderer-v2/symbols/symbol/layer").get("class") == layer
    found = [o.get("value") for o in root.iter("Option") if o.get("name", "").endswith("color")]
    assert found == colors


def rules_of(renderer):
    root = ElementTree.fromstring(qgis.qml(renderer))
    return {rule.get("label"): rule.get("filter") for rule in root.iter("rule")}


def test_lines_near_cloud_and_with_blurred_edges_have_rules_and_symbols_of_their_own():
    assert rules_of(LINE) == {
        "coastline": "ELSE",
        "coastline, blurred edge (30 m or more)": (
            'not coalesce("cloud_suspect", false) and "edge_width_m" >= 30'
        ),
        "coastline, near cloud": '"cloud_suspect"',
    }
    root = ElementTree.fromstring(qgis.qml(LINE))
    used = [rule.get("symbol") for rule in root.iter("rule")]
    assert used == [symbol.get("name") for symbol in root.iter("symbol")] == ["0", "1", "2"]
    dashed = {
        symbol.get("name")
        for symbol in root.iter("symbol")
        if any(o.get("name") == "customdash" for o in symbol.iter("Option"))
    }
    assert dashed == {"2"}


def test_lines_whose_edges_nobody_knows_have_no_rule_for_them():
    plain = qgis.coast_line("#d62728", suspect_color="#ffd92f", wide_m=None, label="2021-06-01")
    assert list(rules_of(plain)) == ["2021-06-01", "2021-06-01, near cloud"]


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
    write_project(path, PROJECT, SEEN)
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
    assert root.find("ProjectTimeSettings") is None
    assert list(root.iter("temporal")) == []
    assert list(root.iter("custom-order")) == []


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
    write_project(path, PROJECT, datetime(1970, 1, 1, tzinfo=UTC))
    with zipfile.ZipFile(path) as archive:
        assert archive.infolist()[0].date_time == (1980, 1, 1, 0, 0, 0)


def test_a_layer_can_be_in_several_projects():
    # Elements know no parent: the renderer that a style file has is not taken out of it.
    renderer = qgis.palette(LAND_WATER)
    assert qgis.qml(renderer) == qgis.qml(renderer)


def at(text):
    return datetime.fromisoformat(text)


@pytest.mark.parametrize(
    ("times", "unit", "start", "end"),
    [
        # The end is the last scene, or the middle of its step where that is later.
        (
            ["2019-03-01T10:00Z", "2015-06-01T10:00Z"],
            "y",
            "2015-01-01T00:00Z",
            "2019-07-02T00:00Z",
        ),
        (
            ["2015-06-01T10:00Z", "2019-12-30T10:00Z"],
            "y",
            "2015-01-01T00:00Z",
            "2019-12-30T10:00Z",
        ),
        # Late on New Year's Eve in one zone is the new year in UTC.
        (
            ["2019-12-31T23:00-02:00", "2020-05-06T00:00Z"],
            "mon",
            "2020-01-01T00:00Z",
            "2020-05-15T00:00Z",
        ),
        (
            ["2020-05-06T01:00Z", "2020-05-07T23:00Z"],
            "d",
            "2020-05-06T00:00Z",
            "2020-05-07T23:00Z",
        ),
        (["2020-05-06T01:10Z", "2020-05-06T01:20Z"], "h", "2020-05-06T01:00Z", "2020-05-06T01:30Z"),
    ],
)
def test_time_plays_in_calendar_steps_from_the_first_scene_to_the_last(times, unit, start, end):
    assert Timeline.of([at(time) for time in times]) == Timeline(at(start), at(end), unit)


def test_groups_draw_lines_above_areas_above_rasters_and_the_latest_on_top(tmp_path):
    def group(name, time):
        def layer(title, source, renderer):
            return ProjectLayer(title, source, renderer, True, time=time)

        return LayerGroup(
            name,
            [
                layer("line", f"../{name}/x.gpkg|layername=coastline", LINE),
                layer("water", f"../{name}/x.gpkg|layername=water", qgis.fill("#1f77b4", 80)),
                layer("picture", f"../{name}/x_rgb.tif", qgis.picture()),
                layer("mask", f"../{name}/x_mask.tif", qgis.palette(LAND_WATER)),
            ],
            expanded=False,
        )

    groups = [group("old", SEEN), group("new", SEEN.replace(year=2022)), group("undated", None)]
    timeline = Timeline(SEEN, SEEN.replace(year=2022), "y")
    project = Project("p", crs_of(GEOBOX), grid_bounds(GEOBOX), groups, timeline=timeline)
    write_project(tmp_path / "p.qgz", project, SEEN)
    with zipfile.ZipFile(tmp_path / "p.qgz") as archive:
        root = ElementTree.fromstring(archive.read("p.qgs"))
    sources = {one.findtext("id"): one.findtext("datasource") for one in root.iter("maplayer")}
    drawn = [sources[item.text] for item in root.iter("item") if item.text in sources]
    ends = ("coastline", "water", "_mask.tif", "_rgb.tif")
    found = [(source.split("/")[1], source.endswith(end)) for source, end in zip(
        drawn, [end for end in ends for _ in groups], strict=True
    )]  # fmt: skip
    assert found == [(name, True) for _ in ends for name in ("undated", "new", "old")]
    temporal = {one.findtext("datasource"): one.find("temporal") for one in root.iter("maplayer")}
    assert [source for source, one in temporal.items() if one is None] == [
        source for source in sources.values() if "undated" in source
    ]
    assert temporal["../old/x.gpkg|layername=water"].get("startField") == "time"
    assert temporal["../old/x_rgb.tif"].findtext("fixedRange/start") == "2021-06-01T10:11:13Z"
    played = root.find("ProjectTimeSettings")
    assert (played.get("timeStepUnit"), played.findtext("TemporalRange/end")) == (
        "y",
        "2022-06-01T10:11:13Z",
    )

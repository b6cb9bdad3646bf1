"""Projects of many results, as far as it can be told without QGIS; tests/real plays them there."""

import json
import logging
import shutil
import zipfile
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from affine import Affine
from contouring import write_raster
from dated_results import make_result, make_years
from pyproj import CRS

from geounet.atlas import AtlasOptions, write_atlas
from geounet.drawing import DrawSettings, draw_coastline
from geounet.errors import OutputError, ResultError
from geounet.formats import VectorOptions
from geounet.line_options import LineOptions

TIMES = ("2019-08-01T10:11:12Z", "2016-03-01T10:11:12Z", None, "2017-12-31T23:30:00Z")


@pytest.fixture(scope="module")
def years(tmp_path_factory):
    return make_years(tmp_path_factory.mktemp("years"), TIMES)


def read(path):
    with zipfile.ZipFile(path) as archive:
        return ElementTree.fromstring(archive.read(f"{path.stem}.qgs"))


def group_names(root):
    return [group.get("name") for group in root.findall("layer-tree-group/layer-tree-group")]


def sources(root):
    return [layer.findtext("datasource") for layer in root.iter("maplayer")]


def test_results_are_grouped_in_order_of_time_and_those_without_one_are_last(years, tmp_path):
    atlas = write_atlas([years], tmp_path / "p.qgz")
    root = read(atlas.path)
    assert group_names(root) == ["2016-03-01 s1", "2017-12-31 s3", "2019-08-01 s0", "s2"]
    assert atlas.results == 4
    assert [f"{time:%Y}" for time in atlas.times] == ["2016", "2017", "2019"]
    layers = {
        group.get("name"): [layer.get("name") for layer in group if layer.get("name")]
        for group in root.findall("layer-tree-group/layer-tree-group")
    }
    assert set(map(tuple, layers.values())) == {("Coastline", "Water", "Mask", "Index", "Scene")}


def test_paths_lead_from_the_project_to_the_results(years):
    for out in (years / "p.qgz", years / "projects" / "deep" / "p.qgz", years / "r0" / "p.qgz"):
        root = read(write_atlas([years], out, AtlasOptions(overwrite=True)).path)
        for source in sources(root):
            assert not source.startswith("/")
            path = (out.parent / source.split("|")[0]).resolve()
            assert path.is_file()
            assert path.is_relative_to(years)
        out.unlink()
    shutil.rmtree(years / "projects")


def test_a_project_in_a_linked_folder_leads_to_the_results_too(years, tmp_path):
    # `..` of a link is where the link leads, and not where it lies.
    (tmp_path / "far" / "away").mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "far" / "away")
    root = read(write_atlas([years], tmp_path / "link" / "p.qgz").path)
    first = sources(root)[0].split("|")[0]
    assert (tmp_path / "far" / "away" / first).resolve().is_relative_to(years)


def test_each_time_has_a_colour_of_its_own_and_a_date_in_the_legend(years, tmp_path):
    root = read(write_atlas([years], tmp_path / "p.qgz").path)
    labels, colors = [], []
    for layer in root.iter("maplayer"):
        if layer.findtext("layername") == "Coastline":
            labels.append(layer.find("renderer-v2/rules/rule").get("label"))
            option = layer.find(
                "renderer-v2/symbols/symbol/layer/Option/Option[@name='line_color']"
            )
            colors.append(option.get("value"))
    assert labels == ["2016-03-01", "2017-12-31", "2019-08-01", "no time"]
    assert len(set(colors)) == 4
    assert colors[0] == "255,237,79,255"
    assert colors[2] == "140,90,255,255"


def test_a_day_without_its_time_gives_order_and_colour_and_shows_always(years, tmp_path, caplog):
    years = shutil.copytree(years, tmp_path / "years")
    (path,) = years.rglob("s2.json")
    record = json.loads(path.read_text())
    record["scene"] |= {"time": None, "date": "2017-06-01"}
    path.write_text(json.dumps(record))
    with caplog.at_level(logging.WARNING, logger="geounet"):
        root = read(write_atlas([years], tmp_path / "p.qgz").path)
    assert [record.getMessage() for record in caplog.records] == [
        "1 of 4 results do not say when their scene was taken, or the day only: s2. They show at "
        "all times."
    ]
    assert group_names(root) == [
        "2016-03-01 s1", "2017-06-01 s2", "2017-12-31 s3", "2019-08-01 s0"
    ]  # fmt: skip
    rules = [layer.find("renderer-v2/rules/rule") for layer in root.iter("maplayer")]
    labels = [rule.get("label") for rule in rules if rule is not None]
    assert labels == ["2016-03-01", "2017-06-01", "2017-12-31", "2019-08-01"]
    always = [layer for layer in root.iter("maplayer") if layer.find("temporal") is None]
    assert {"/s2" in layer.findtext("datasource") for layer in always} == {True}


def test_a_scene_without_a_time_always_shows_and_is_named(years, tmp_path, caplog):
    with caplog.at_level(logging.WARNING, logger="geounet"):
        root = read(write_atlas([years], tmp_path / "p.qgz").path)
    assert [record.getMessage() for record in caplog.records] == [
        "1 of 4 results do not say when their scene was taken: s2. They show at all times."
    ]
    always = {
        layer.findtext("datasource").split("/s")[1][0]
        for layer in root.iter("maplayer")
        if layer.find("temporal") is None
    }
    assert always == {"2"}


def test_two_scenes_of_a_day_are_told_apart_by_the_hour(tmp_path):
    made = make_years(tmp_path / "made", ["2020-01-01T08:00:00Z", "2020-01-01T20:30:00Z"])
    root = read(write_atlas([made], tmp_path / "p.qgz").path)
    labels = [r.get("label") for r in root.iter("rule") if r.get("filter") == "ELSE"]
    assert labels == ["2020-01-01 08:00", "2020-01-01 20:30"]
    assert root.find("ProjectTimeSettings").get("timeStepUnit") == "h"


def test_the_same_results_give_the_same_bytes_in_whatever_order_they_are_named(years, tmp_path):
    folders = [years / f"r{number}" for number in range(4)]
    first = write_atlas([years], tmp_path / "p.qgz").path.read_bytes()
    again = write_atlas(folders[::-1], tmp_path / "p.qgz", AtlasOptions(overwrite=True))
    assert again.path.read_bytes() == first


def test_a_result_that_is_named_twice_is_shown_once(years, tmp_path):
    atlas = write_atlas([years, years / "r0", years / "r0" / "s0.json"], tmp_path / "p.qgz")
    assert atlas.results == 4


def test_results_of_the_same_scene_are_told_apart_by_their_folders(years, tmp_path):
    for name in ("a", "b"):
        shutil.copytree(years / "r0", tmp_path / name)
    root = read(write_atlas([tmp_path], tmp_path / "p.qgz").path)
    assert group_names(root) == ["2019-08-01 s0 (a)", "2019-08-01 s0 (b)"]


def test_rasters_can_be_left_out(years, tmp_path):
    root = read(write_atlas([years], tmp_path / "p.qgz", AtlasOptions(rasters=False)).path)
    assert {source.split("=")[1] for source in sources(root)} == {"coastline", "water"}


def test_the_map_has_the_crs_of_most_results_and_shows_them_all(tmp_path):
    # Two in UTM zone 31, one in zone 30 to the west of them.
    west = Affine(10, 0, 730_000, 0, -10, 5_000_000)
    east = Affine(10, 0, 270_000, 0, -10, 5_000_000)
    for name, grid in (
        ("a", {"crs": "EPSG:32630", "transform": west}),
        ("b", {"crs": "EPSG:32631", "transform": east}),
        ("c", {"crs": "EPSG:32631", "transform": east}),
    ):
        make_result(tmp_path / name, name, "2020-05-06T07:08:09Z", water_from=30, **grid)
    root = read(write_atlas([tmp_path], tmp_path / "p.qgz").path)
    assert 'ID["EPSG",32631]' in root.findtext("projectCrs/spatialrefsys/wkt")[-30:]
    view = root.find("ProjectViewSettings/DefaultViewExtent")
    # Both lie at the meridian of Greenwich, where the zones meet, on either side of it.
    assert float(view.get("xmin")) < 265_000
    assert float(view.get("xmax")) == pytest.approx(270_600, abs=0.01)
    layers = {layer.findtext("datasource"): layer for layer in root.iter("maplayer")}
    own = layers["./a/a.gpkg|layername=coastline"].findtext("srs/spatialrefsys/wkt")
    assert 'ID["EPSG",32630]' in own[-30:]
    asked = write_atlas([tmp_path], tmp_path / "q.qgz", AtlasOptions(crs="epsg:4326"))
    view = read(asked.path).find("ProjectViewSettings/DefaultViewExtent")
    assert -0.2 < float(view.get("xmin")) < float(view.get("xmax")) < 0.2


def test_what_is_damaged_is_left_out_with_a_warning(years, tmp_path, caplog):
    names = ("whole", "gone", "cut", "text", "time", "classes")
    whole, gone, cut, text, time, classes = (tmp_path / name for name in names)
    for folder in (whole, gone, cut, text, time, classes):
        shutil.copytree(years / "r0", folder)
    (gone / "s0.gpkg").unlink()
    (cut / "s0.gpkg").write_bytes((cut / "s0.gpkg").read_bytes()[:1000])
    (text / "s0_mask.tif").write_text("no raster")
    for folder, key, value in ((time, "scene", {"time": "noon"}), (classes, "classes", ["sea"])):
        record = json.loads((folder / "s0.json").read_text())
        (folder / "s0.json").write_text(json.dumps({**record, key: value}))
    with caplog.at_level(logging.WARNING, logger="geounet"):
        atlas = write_atlas([tmp_path], tmp_path / "p.qgz")
    assert atlas.results == 1
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 5
    for name in names[1:]:
        (line,) = [one for one in said if f"/{name}/s0.json is left out: " in one]
        assert "\n" not in line
        assert line.endswith(".")
        assert not line.endswith("..")
    assert any("s0.gpkg is not there" in line for line in said)
    with pytest.raises(ResultError, match=r"All 2 results of .* are damaged"):
        write_atlas([time, gone], tmp_path / "q.qgz")


def test_a_result_with_land_and_in_another_crs_shows_both(tmp_path):
    rows, cols = np.indices((40, 50))
    values = 1 / (1 + np.exp((np.hypot(rows - 20, cols - 25) - 9) / 2))
    write_raster(tmp_path / "p.tif", values[None].astype(np.float32))
    settings = DrawSettings(lines=LineOptions(land=True), vectors=VectorOptions(crs="EPSG:4326"))
    draw_coastline(tmp_path / "p.tif", tmp_path / "out", settings)
    root = read(write_atlas([tmp_path / "out"], tmp_path / "p.qgz").path)
    layers = {one.findtext("layername"): one for one in root.iter("maplayer")}
    assert list(layers) == ["Coastline", "Water", "Land", "Mask", "Probability of water"]
    entries = root.iter("layer-tree-layer")
    shown = [one.get("name") for one in entries if one.get("checked") == "Qt::Checked"]
    assert shown == ["Coastline", "Probability of water"]  # there is no picture
    codes = {
        title: CRS.from_wkt(one.findtext("srs/spatialrefsys/wkt")).to_epsg()
        for title, one in layers.items()
    }
    assert codes == dict.fromkeys(layers, 32630) | dict.fromkeys(
        ("Coastline", "Water", "Land"), 4326
    )


def test_a_project_that_exists_is_kept_and_a_result_is_not_overwritten(years, tmp_path):
    out = write_atlas([years], tmp_path / "p.qgz").path
    before = out.read_bytes()
    with pytest.raises(OutputError, match="exists already"):
        write_atlas([years / "r0"], out)
    assert out.read_bytes() == before
    for options in (AtlasOptions(), AtlasOptions(overwrite=True)):
        with pytest.raises(OutputError, match="is a part of s0"):
            write_atlas([years], years / "r0" / "s0.qgz", options)
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize(
    ("folder", "out", "crs", "error", "said"),
    [
        ("", "p.qgs", None, OutputError, "no name of a QGIS project"),
        ("nowhere", "p.qgz", None, ResultError, "is not there"),
        ("r0/s0.qgz", "p.qgz", None, ResultError, "is no record"),
        ("", "p.qgz", "EPSG:1", OutputError, "no coordinate reference system"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(years, tmp_path, folder, out, crs, error, said):
    with pytest.raises(error, match=said) as caught:
        write_atlas([years / folder], tmp_path / out, AtlasOptions(crs=crs))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_folders_without_results_are_refused(tmp_path):
    (tmp_path / "notes.json").write_text(json.dumps({"command": "tile"}))
    with pytest.raises(ResultError, match="holds no result"):
        write_atlas([tmp_path], tmp_path / "p.qgz")
    assert not Path(tmp_path / "p.qgz").exists()

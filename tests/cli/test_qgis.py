"""geounet qgis."""

import shutil
import zipfile
from xml.etree import ElementTree

import pytest
from dated_results import make_years


@pytest.fixture(scope="module")
def years(tmp_path_factory):
    folder = tmp_path_factory.mktemp("years")
    return make_years(folder, ["2016-03-01T10:11:12Z", "2018-12-31T23:50:00Z", None])


def read(path):
    with zipfile.ZipFile(path) as archive:
        return ElementTree.fromstring(archive.read(f"{path.stem}.qgs"))


def test_a_project_of_many_results_is_written_and_said(geounet, years, tmp_path):
    out = tmp_path / "p.qgz"
    run = geounet("qgis", years, "--out", out, "--name", "My coast", "--crs", "EPSG:4326")
    assert run.status == 0
    said = "3 results of 2016-03-01 to 2018-12-31; time plays by years"
    assert run.out.splitlines() == [said, str(out)]
    assert run.err.count("warning: 1 of 3 results do not say when") == 1
    root = read(out)
    assert root.findtext("title") == "My coast"
    assert len(list(root.iter("maplayer"))) == 15


def test_without_out_it_lies_in_the_first_folder(geounet, years, tmp_path):
    made = tmp_path / "made"
    shutil.copytree(years, made)
    run = geounet("qgis", made / "r1", made / "r0", "--no-rasters")
    assert run.out.splitlines()[1] == str(made / "r1" / "all_results.qgz")
    sources = [
        one.findtext("datasource") for one in read(made / "r1/all_results.qgz").iter("maplayer")
    ]
    assert sources == [
        f"{folder}/{name}.gpkg|layername={layer}"
        for folder, name in (("../r0", "s0"), (".", "s1"))
        for layer in ("coastline", "water")
    ]


def test_of_one_result_no_time_is_said_to_play(geounet, years, tmp_path):
    run = geounet("qgis", years / "r0" / "s0.json", "--out", tmp_path / "p.qgz")
    assert run.out.splitlines()[0] == "1 result of 2016-03-01"


def test_what_exists_is_replaced_only_when_asked(geounet, years, tmp_path):
    out = tmp_path / "p.qgz"
    assert geounet("qgis", years, "--out", out).status == 0
    run = geounet("qgis", years, "--out", out)
    assert run.status == 1
    assert "exists already. Use --overwrite" in run.complaint
    assert geounet("qgis", years, "--out", out, "--overwrite").status == 0


def test_a_folder_without_results_is_an_error_of_a_line(geounet, tmp_path):
    run = geounet("qgis", tmp_path)
    assert run.status == 1
    assert "holds no result" in run.complaint

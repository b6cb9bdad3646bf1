"""QGIS itself opens what is written, where this machine has it (Debian: python3-qgis)."""

import functools
import json
import os
import sqlite3
import subprocess
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from contouring import UTM, make_products, rough_field
from dated_results import make_years

from geounet.atlas import AtlasOptions, write_atlas

PYTHON = "/usr/bin/python3"
CLASSES = {"0": ["land", "#decba4"], "1": ["water", "#1f77b4"]}


@functools.cache
def qgis_is_there() -> bool:
    """Whether the system's Python can import QGIS."""
    if not Path(PYTHON).exists():
        return False
    tried = subprocess.run([PYTHON, "-c", "import qgis.core"], capture_output=True, check=False)
    return tried.returncode == 0


@pytest.fixture(scope="session")
def play():
    """Open a project in QGIS, and return what it has and shows, step by step."""
    if not qgis_is_there():
        pytest.skip(f"{PYTHON} cannot import qgis.core; apt-get install python3-qgis")
    program = Path(__file__).parents[1] / "in_qgis.py"

    def run(project, **environment):
        said = subprocess.run(
            [PYTHON, program, project],
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, **environment},
        )
        assert said.returncode == 0, said.stderr
        return json.loads(said.stdout)

    return run


@pytest.fixture(scope="session")
def checker(shared_data):
    """The program that loads a folder in QGIS and says what it does not take."""
    program = shared_data.parent / "tools" / "check_qgis.py"
    if not program.exists():
        pytest.skip(f"no {program}")
    if not qgis_is_there():
        pytest.skip(f"{PYTHON} cannot import qgis.core; apt-get install python3-qgis")
    return program


def check(checker, out, expected, *options):
    expect = out.parent / "expect.json"
    expect.write_text(json.dumps(expected))
    said = subprocess.run(
        [PYTHON, checker, out, "--expect", expect, *options],
        capture_output=True,
        text=True,
        check=False,
    )
    assert said.returncode == 0, said.stdout + said.stderr
    assert ", 0 failed" in said.stdout
    return said.stdout


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:32630", UTM),
        ("EPSG:4326", Affine(1e-4, 0, -76.5, 0, -1e-4, 34.7)),
        ("EPSG:32630", UTM @ Affine.rotation(30)),
    ],
)
def test_qgis_opens_all_products_styled(tmp_path, checker, crs, transform):
    values = np.clip(rough_field(np.random.default_rng(1), (90, 100), nodata=0.01), 0, 1)
    out = make_products(tmp_path, values, crs=crs, transform=transform)
    said = check(
        checker,
        out,
        {
            "crs": crs,
            "rasters": {
                "coast_mask.tif": {"renderer": "paletted", "nodata": 255, "classes": CLASSES},
                "coast_probability.tif": {"renderer": "singlebandpseudocolor", "nodata": 255},
                "coast_rgb.tif": {"renderer": "multibandcolor", "nodata": 0},
            },
            "vectors": {
                "coast.gpkg|coastline": {"geometry": "Line", "color": "#d62728"},
                "coast.gpkg|water": {"geometry": "Polygon", "color": "#1f77b4"},
            },
            "projects": {
                "coast.qgz": {
                    "layers": ["Coastline", "Water", "Mask", "Probability of water", "Scene"]
                }
            },
        },
    )
    # The mask reads well without its .qml, too, and QGIS has nothing to grumble about.
    assert "same names and colours" in said
    assert "QGIS log" not in said


@pytest.mark.parametrize("value", [0.1, 0.9])
def test_qgis_opens_a_scene_without_a_coast(tmp_path, checker, value):
    out = make_products(tmp_path, np.full((30, 40), value))
    layers = ["coastline", "water", "Coastline", "Water"]
    check(checker, out, {"crs": "EPSG:32630"}, "--allow-empty", *layers)


def test_qgis_opens_an_index(tmp_path, checker):
    values = rough_field(np.random.default_rng(1), (90, 100)) - 0.5
    out = make_products(tmp_path, values, quantity="index", level=0.1)
    check(checker, out, {"crs": "EPSG:32630", "rasters": {"coast_index.tif": {}}})


@pytest.mark.parametrize("value", ["lake", "land"])
def test_qgis_opens_a_scene_with_a_lake_only_and_one_with_an_island_only(tmp_path, checker, value):
    rows, cols = np.indices((60, 70))
    lake = 1 / (1 + np.exp(np.hypot(rows - 30, cols - 35) - 15))
    out = make_products(tmp_path, lake if value == "lake" else 1 - lake)
    check(checker, out, {"crs": "EPSG:32630"})


YEARS = ("2016-03-01T10:11:12Z", None, "2018-12-31T23:50:00Z", "2020-01-01T00:10:00Z")
UNDATED = "#d62728"


# QGIS compares times by its own zone: the new year of UTC must not slip.
@pytest.mark.parametrize("zone", ["UTC", "Pacific/Auckland", "America/Los_Angeles"])
def test_qgis_plays_the_years_one_line_each(tmp_path, play, zone):
    made = make_years(tmp_path / "made", YEARS)
    said = play(write_atlas([made], tmp_path / "here" / "p.qgz").path, TZ=zone)
    assert all(layer["valid"] for layer in said["layers"])
    assert said["range"] == ["2016-01-01T00:00:00Z", "2020-07-01T00:00:00Z"]
    first, second, third = dated_colors(said)
    assert [(step["begin"][:10], set(step["lines"])) for step in said["steps"]] == [
        ("2016-01-01", {first, UNDATED}),
        ("2017-01-01", {UNDATED}),
        ("2018-01-01", {second, UNDATED}),
        ("2019-01-01", {UNDATED}),
        ("2020-01-01", {third, UNDATED}),
    ]
    # Without time, all are there at once.
    assert set(said["lines"]) == {first, second, third, UNDATED}


def dated_colors(said):
    """Return the colours of lines with a time, in order of it."""
    dated = {}
    for layer in said["layers"]:
        if layer["rules"] and layer["temporal"]:
            (label, where, color), *_ = layer["rules"]
            assert where == "ELSE"
            dated[label] = color
    return [dated[label] for label in sorted(dated)]


def test_qgis_has_times_groups_and_rules_of_every_layer(tmp_path, play):
    made = make_years(tmp_path / "made", YEARS)
    options = AtlasOptions(title="Coast & years", crs="EPSG:4326")
    said = play(write_atlas([made], made / "p.qgz", options).path)
    assert (said["title"], said["crs"]) == ("Coast & years", "EPSG:4326")
    assert "4 results, of 2016-03-01 to 2020-01-01" in said["abstract"]
    names = ["Coastline", "Water", "Mask", "Index", "Scene"]
    dated = ("2016-03-01 s0", "2018-12-31 s2", "2020-01-01 s3")
    assert said["groups"] == [[group, names] for group in (*dated, "s1")]
    assert said["shown"] == 8  # the line and the picture of each
    kinds = [Path(layer["source"]).name for layer in said["layers"]]
    assert kinds[:4] == [f"s{n}.gpkg|layername=coastline" for n in (1, 3, 2, 0)]
    assert kinds[-4:] == [f"s{n}_rgb.tif" for n in (1, 3, 2, 0)]
    for layer, kind in zip(said["layers"], kinds, strict=True):
        number = int(kind[1])
        assert layer["crs"] == "EPSG:32630"
        assert layer["temporal"] == (YEARS[number] is not None)
        if kind.endswith(".tif") and YEARS[number]:
            assert layer["mode"] == 0  # a fixed range
            assert layer["range"] == [YEARS[number]] * 2
        elif YEARS[number]:
            assert (layer["mode"], layer["field"]) == (1, "time")  # an instant by a column


def test_qgis_plays_hours_of_a_day(tmp_path, play):
    made = make_years(tmp_path / "made", ["2020-01-01T21:10:00Z", "2020-01-01T23:20:00Z"])
    said = play(write_atlas([made], tmp_path / "p.qgz").path, TZ="Asia/Tokyo")
    first, last = dated_colors(said)
    shown = {step["begin"][11:13]: set(step["lines"]) for step in said["steps"]}
    assert shown == {"21": {first}, "22": set(), "23": {last}}


def test_a_project_of_many_results_can_be_moved_with_them(tmp_path, play):
    made = make_years(tmp_path / "made", ["2016-03-01T10:11:12Z", "2018-12-31T23:50:00Z"])
    write_atlas([made], made / "p.qgz")
    made.rename(tmp_path / "moved")
    said = play(tmp_path / "moved" / "p.qgz")
    assert all(layer["valid"] for layer in said["layers"])
    assert {Path(layer["source"]).parents[1] for layer in said["layers"]} == {tmp_path / "moved"}


def test_qgis_draws_blurred_edges_coast_near_cloud_and_lakes_unlike_the_rest(tmp_path, play):
    rows, _ = np.indices((120, 60))
    # Four coasts across the scene: land and water by turns.
    values = 0.5 + 0.5 * np.sin(2 * np.pi * (rows - 9.7) / 60)
    out = make_products(tmp_path, values)
    columns = {
        1: {"cloud_suspect": 0, "edge_width_m": 29, "kind": "sea"},
        2: {"cloud_suspect": 0, "edge_width_m": 30, "kind": "sea"},
        3: {"cloud_suspect": 1, "edge_width_m": 90, "kind": "sea"},
        4: {"cloud_suspect": None, "edge_width_m": 99, "kind": "lake"},
    }

    def colors_of(row):
        with sqlite3.connect(out / "coast.gpkg") as db:
            ids = [fid for (fid,) in db.execute("SELECT fid FROM coastline ORDER BY fid")]
            assert len(ids) == 4
            # They call functions of GDAL, and no shape changes.
            triggers = db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            for (trigger,) in triggers.fetchall():
                db.execute(f'DROP TRIGGER "{trigger}"')
            for name, value in row.items():
                db.execute(f"UPDATE coastline SET {name} = ?", (value,))
        db.close()
        return play(out / "coast.qgz")["lines"]

    plain, blurred, cloud, unsure = (colors_of(columns[n]) for n in (1, 2, 3, 4))
    assert set(plain) == {"#d62728"}
    assert {"#222222", "#ffd92f"} <= set(cloud)
    assert "#d62728" not in cloud
    # The band is pale over white, the line in it as red as any; null is no cloud.
    assert set(blurred) == set(unsure) != set(plain)
    assert "#d62728" in blurred
    assert sum(blurred.values()) > 2 * sum(plain.values())
    lake = colors_of({**columns[1], "kind": "lake"})
    assert set(lake) == set(plain)
    assert sum(lake.values()) < 0.8 * sum(plain.values())

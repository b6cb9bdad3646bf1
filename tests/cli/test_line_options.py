"""How lines and areas are drawn, as it is said on the command line of each command that draws."""

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
from contouring import rough_field, write_raster
from predicting import DARK, TRANSFORM, water_is_dark, wavy_dn, write_model, write_scene
from pyproj import Transformer

COMMANDS = ("predict", "baseline", "coastline")
GAUGE = """time,level_m
2024-05-17T13:56:21+02:00,3.0
2024-05-17T10:26:21Z,1.5
2024-05-17 09:00:00,9.0
"""
"""In no order, and in two zones; the scene is from 10:56:21 in UTC, a third on from 1.5 to 3."""


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "dark.safetensors"
    return write_model(path, overrides=DARK, prepare=water_is_dark(7))


@pytest.fixture
def draw(geounet, model, tmp_path):
    """Draw the coastline of a scene by any of the commands."""

    def run(command, *said):
        if command == "coastline":
            field = rough_field(np.random.default_rng(4), (60, 80), smooth=3) - 0.5
            source = write_raster(
                tmp_path / "coast.tif", field[None].astype(np.float32), transform=TRANSFORM
            )
            more = ("--level", 0.1, "--time", "2024-05-17T10:56:21", "--quantity", "index")
        else:
            source = write_scene(tmp_path / "coast.tif", wavy_dn(60, 80))
            more = ("--model", model) if command == "predict" else ("--threshold", "0.0")
        return geounet(command, source, "--out", tmp_path / "out", "--overwrite", *more, *said)

    return run


def record_of(folder: Path) -> dict:
    return json.loads((folder / "coast.json").read_text())


def layer(folder: Path, name: str) -> geopandas.GeoDataFrame:
    return geopandas.read_file(folder / "coast.gpkg", layer=name)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_reaches_lines_and_record(draw, tmp_path, command) -> None:
    assert draw(command, "--land").status == 0
    water = layer(tmp_path / "out", "water")
    within = water.loc[[water.area_m2.idxmax()]].geometry.representative_point().iloc[0]
    to_degrees = Transformer.from_crs("EPSG:32630", "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(within.x, within.y)
    (tmp_path / "gauge.csv").write_text(GAUGE)
    run = draw(
        command, "--simplify", 7, "--smooth", 3, "--min-length", 50, "--min-area", 900, "--land",
        "--sea", f"{lon},{lat}", "--water-levels", tmp_path / "gauge.csv", "--level-datum", "NAP",
        "--level-source", "Vlissingen",
    )  # fmt: skip
    assert run.status == 0, run.err
    assert record_of(tmp_path / "out")["settings"]["lines"] == {
        "level": None, "simplify_m": 7, "smooth_m": 3, "min_length_m": 50, "min_area_m2": 900,
        "sea": f"{lon},{lat}", "land": True, "water_level_m": None,
        "water_levels": str(tmp_path / "gauge.csv"), "level_datum": "NAP",
        "level_source": "Vlissingen",
    }  # fmt: skip
    lines, areas = layer(tmp_path / "out", "coastline"), layer(tmp_path / "out", "water")
    assert len(lines) > 0
    np.testing.assert_allclose(lines.water_level_m, 2.0, rtol=0, atol=1e-9)
    assert set(lines.level_datum) == {"NAP"}
    assert set(lines.level_source) == {"Vlissingen"}
    (sea,) = areas[areas.kind == "sea"].geometry
    assert sea.contains(within)
    assert "sea" in set(lines.kind)
    assert lines.length_m.min() >= 50


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    ("said", "complaint"),
    [
        (("--simplify", "inf"), "--simplify inf is no size"),
        (("--water-level", "nan", "--level-datum", "MSL"), "--water-level nan is no level"),
        (("--water-level", "1"), "Give --level-datum"),
        (("--sea", "gone.gpkg"), "neither a file that is there nor a place"),
        (("--water-levels", "gone.csv", "--level-datum", "MSL"), "cannot be read as CSV"),
        (("--crs", "EPSG:5773"), "has no map to draw lines on"),
    ],
)
def test_what_cannot_be_is_one_line_and_leaves_nothing(
    draw, tmp_path, command, said, complaint
) -> None:
    run = draw(command, *said)
    assert run.status == 1
    assert complaint in run.err
    assert "Traceback" not in run.err
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("command", ["predict", "baseline"])
def test_lines_can_be_drawn_at_another_value_than_the_mask(draw, tmp_path, command) -> None:
    assert draw(command, "--threshold", 0.3).status == 0
    expected = layer(tmp_path / "out", "coastline")
    assert draw(command, "--threshold", 0.35, "--line-level", 0.3).status == 0
    lines, record = layer(tmp_path / "out", "coastline"), record_of(tmp_path / "out")
    assert record["level"] == 0.35
    assert record["settings"]["lines"]["level"] == 0.3
    assert set(lines.level) == {0.3}
    assert lines.geometry.geom_equals_exact(expected.geometry, 1e-9).all()


def test_a_line_at_no_probability_is_refused(draw, tmp_path) -> None:
    run = draw("predict", "--line-level", 1.5)
    assert "a probability lies between 0 and 1" in run.err
    assert run.status == 1
    assert not (tmp_path / "out").exists()

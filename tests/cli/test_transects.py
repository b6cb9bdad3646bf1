"""geounet transects."""

import json
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import shapely
from affine import Affine
from matplotlib.image import imread

YEARS = range(2015, 2021)


@pytest.fixture
def coasts(tmp_path) -> Path:
    """A coast that advances 2 m a year, a line each year."""
    lines = [shapely.LineString([(x, 59e5 - 500), (x, 59e5 + 1500)])
             for x in 500_100 + 2.0 * np.arange(6)]  # fmt: skip
    frame = geopandas.GeoDataFrame(
        {"seen": [f"{year}-06-01" for year in YEARS], "kind": "sea"}, geometry=lines, crs=32630
    )
    path = tmp_path / "coasts.geojson"
    frame.to_crs(4326).to_file(path, driver="GeoJSON")
    return path


@pytest.fixture
def base(tmp_path) -> Path:
    path = tmp_path / "base.gpkg"
    line = shapely.LineString([(500_000, 59e5), (500_000, 59e5 + 1000)])
    geopandas.GeoDataFrame({"name": ["a"]}, geometry=[line], crs=32630).to_file(path)
    return path


def test_a_coast_that_moves_is_measured(geounet, coasts, base, tmp_path) -> None:
    out = tmp_path / "out"
    run = geounet(
        "transects", coasts, "--baseline", base, "--time-field", "seen", "--out", out,
        "--figures", 2,
    )  # fmt: skip
    assert run.status == 0, run.err
    assert run.out.splitlines()[-1] == str(out / "transects.json")
    assert "66 positions on 11 of 11 transects, 6 dates (2015-06-01 to 2020-06-01)" in run.out
    assert "uncorrected for tide, median +2.00 m/year" in run.out
    assert "a metre of tide is fifty metres" in run.err
    rates = pd.read_csv(out / "transects_rates.csv")
    # 2 m of UTM a year, at its scale of 0.9996.
    assert rates["rate_uncorrected"].to_numpy() == pytest.approx(2 / 0.9996, abs=2e-3)
    positions = pd.read_csv(out / "transects_positions.csv")
    assert positions["time"][0] == "2015-06-01T00:00:00Z"
    layer = geopandas.read_file(out / "transects.gpkg", layer="transects")
    assert layer.crs == 32630
    assert layer["rate_uncorrected"].notna().all()
    record = json.loads((out / "transects.json").read_text())
    assert record["counts"]["drawn"] == [1, 11]
    for name in ("overview", "0001", "0011"):
        assert imread(out / f"transects_{name}.png").std() > 0.01, "not all of one colour"
    assert set(record["files"]) == {p.name for p in out.iterdir()} - {"transects.json"}


def test_the_same_command_gives_the_same_bytes(geounet, coasts, base, tmp_path) -> None:
    hashes = []
    for name in ("one", "two"):
        line = ["transects", coasts, "--baseline", base, "--time-field", "seen", "--figures", 1]
        assert geounet(*line, "--out", tmp_path / name).status == 0
        hashes.append(json.loads((tmp_path / name / "transects.json").read_text())["files"])
    assert hashes[0] == hashes[1]


def test_results_of_baseline_are_coastlines(geounet, base, tmp_path) -> None:
    import rasterio

    scenes = []
    for year, column in (("2019", 20), ("2020", 22), ("2021", 24)):
        scene = tmp_path / f"coast_{year}0601T101500.tif"
        bands = np.full((2, 120, 60), 0.1, np.float32)
        bands[1] = 0.3  # nir: land
        bands[1, :, column:] = 0.01
        with rasterio.open(
            scene, "w", driver="GTiff", height=120, width=60, count=2, dtype="float32",
            crs="EPSG:32630", transform=Affine(10, 0, 499_900, 0, -10, 59e5 + 1100),
        ) as dst:  # fmt: skip
            dst.write(bands)
            dst.update_tags(TIFFTAG_DATETIME=f"{year}:06:01 10:15:00")
        run = geounet(
            "baseline",
            scene,
            "--bands",
            "s2:B03,s2:B08",
            "--scale",
            1,
            "--out",
            tmp_path / "results",
        )
        assert run.status == 0, run.err
        scenes.append(scene.stem)
    run = geounet("transects", tmp_path / "results", "--baseline", base, "--out", tmp_path / "out")
    assert run.status == 0, run.err
    positions = pd.read_csv(tmp_path / "out/transects_positions.csv")
    assert sorted(positions["scene"].unique()) == scenes
    # 20 columns of 10 m, less the 100 m between the scene's edge and the baseline.
    by_scene = positions.groupby("scene")["position_m"].median().to_numpy()
    assert np.diff(by_scene) == pytest.approx(20 / 0.9996, abs=0.05)
    assert by_scene[0] == pytest.approx(100, abs=10)
    assert "taken for the sea" not in run.err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("{tmp}/none.gpkg", "--baseline", "{base}"), "none.gpkg is not there"),
        (("{tmp}", "--baseline", "{base}"), "holds no result"),
        (("{coasts}", "--baseline", "{tmp}/none.gpkg"), "baseline {tmp}/none.gpkg is not there"),
        (("{coasts}", "{coasts}", "--baseline", "{base}"), "is given twice"),
        (("{coasts}", "--baseline", "{base}", "--side", "left"), "No coastline crosses"),
        (("{coasts}", "--baseline", "{base}", "--kind", "lake"), "No coastline of kind lake"),
        (("{coasts}", "--baseline", "{base}", "--time-field", "when"), "has no column when"),
        (("{coasts}", "--baseline", "{base}", "--time-field", "kind"), "not ISO 8601"),
        (("{coasts}", "--baseline", "{base}", "--slope", "steep", "--datum", 0), "its columns are"),
        (("{coasts}", "--baseline", "{base}", "--slope", "-1", "--datum", 0), "is no slope"),
        (("{coasts}", "--baseline", "{base}", "--spacing", "0.0001"), None),
        (("{coasts}", "--baseline", "{coasts}|nothing"), "cannot be read"),
        (("{tmp}/points.gpkg", "--baseline", "{base}"), "no lines"),
        (("{coasts}", "--baseline", "{tmp}/points.gpkg"), "no lines"),
        (("{tmp}/nowhere.gpkg", "--baseline", "{base}"), "has no CRS"),
        (("{tmp}/text.gpkg", "--baseline", "{base}"), "cannot be read"),
    ],
)  # fmt: skip
@pytest.mark.filterwarnings("ignore:'crs' was not provided:UserWarning")
def test_bad_input_is_one_line_and_leaves_nothing(
    geounet, coasts, base, tmp_path, arguments, complaint
) -> None:
    points = geopandas.GeoDataFrame(geometry=[shapely.Point(5e5, 59e5)], crs=32630)
    points.to_file(tmp_path / "points.gpkg")
    geopandas.read_file(base).set_crs(None, allow_override=True).to_file(tmp_path / "nowhere.gpkg")
    (tmp_path / "text.gpkg").write_text("nothing of that kind")
    before = set(tmp_path.iterdir())
    places = {"tmp": tmp_path, "base": base, "coasts": coasts}
    line = [str(a).format(**places) for a in arguments]
    run = geounet("transects", *line, "--out", tmp_path / "out")
    if complaint is None:
        assert run.status == 2
    else:
        assert run.status == 1
        assert complaint.format(**places) in run.complaint
    assert set(tmp_path.iterdir()) == before


def test_a_slope_and_a_datum_go_together(geounet, coasts, base, tmp_path) -> None:
    run = geounet("transects", coasts, "--baseline", base, "--slope", 0.1, "--out", tmp_path / "o")
    assert run.status == 2
    assert "--datum" in run.err


def test_a_name_is_no_path(geounet, coasts, base, tmp_path) -> None:
    run = geounet("transects", coasts, "--baseline", base, "--name", "a/b", "--out", tmp_path / "o")
    assert run.status == 2


def test_results_are_replaced_only_when_asked(geounet, coasts, base, tmp_path) -> None:
    line = ["transects", coasts, "--baseline", base, "--figures", "none", "--out", tmp_path / "o"]
    assert geounet(*line).status == 0
    assert "--overwrite" in geounet(*line).complaint
    assert geounet(*line, "--overwrite").status == 0


def test_a_coast_on_the_other_side_of_the_baseline_is_told(geounet, coasts, base, tmp_path) -> None:
    line = [
        "transects",
        coasts,
        "--baseline",
        base,
        "--time-field",
        "seen",
        "--out",
        tmp_path / "o",
    ]
    wrong = geounet(*line, "--side", "left")
    assert wrong.status == 1
    assert "there are 66 crossings on its right" in wrong.err
    assert wrong.err.endswith("Give --side right.\n")
    nowhere = geounet(*line, "--length", 50)
    assert "lies on this coast" in nowhere.err
    assert not (tmp_path / "o").exists()

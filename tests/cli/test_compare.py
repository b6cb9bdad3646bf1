"""geounet compare."""

import json
import zipfile
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pytest
import rasterio
import shapely
from affine import Affine
from matplotlib.image import imread


@pytest.fixture
def results(tmp_path, geounet) -> list[Path]:
    """A coast of two dates, two pixels further out on the second; the later has no data in rows."""
    folders = []
    for year, column in (("2020", 20), ("2021", 22)):
        scene = tmp_path / f"coast_{year}0601T101500.tif"
        bands = np.full((2, 120, 60), 0.1, np.float32)
        bands[1] = 0.3  # nir: land
        bands[1, :, column:] = 0.01
        if year == "2021":
            bands[:, :30] = np.nan
        with rasterio.open(
            scene, "w", driver="GTiff", height=120, width=60, count=2, dtype="float32",
            crs="EPSG:32630", transform=Affine(10, 0, 499_900, 0, -10, 59e5), nodata=np.nan,
        ) as dst:  # fmt: skip
            dst.write(bands)
            dst.update_tags(TIFFTAG_DATETIME=f"{year}:06:01 10:15:00")
        out = tmp_path / year
        run = geounet("baseline", scene, "--bands", "s2:B03,s2:B08", "--scale", 1,
                      "--threshold", 0, "--out", out)  # fmt: skip
        assert run.status == 0, run.err
        folders.append(out)
    return folders


def test_two_results_are_compared(geounet, results, tmp_path) -> None:
    out = tmp_path / "out"
    run = geounet("compare", *results, "--out", out)
    assert run.status == 0, run.err
    assert run.out.splitlines()[-1] == str(out / "compare.json")
    # 90 rows that both know; 20 m of UTM at its scale of 0.9996.
    assert "gained             18,014 m²        20,008 m² per km of coast" in run.out
    assert "coast    0.90 km compared" in run.out
    assert "median   +20.01 m" in run.out
    assert "a metre of tide is fifty metres" in run.err
    assert "only" not in run.err
    record = json.loads((out / "compare.json").read_text())
    assert record["command_line"].startswith("geounet compare ")
    assert record["from"]["times"] == ["2020-06-01T10:15:00Z"]
    assert set(record["files"]) == {p.name for p in out.iterdir()} - {"compare.json"}
    change = geopandas.read_file(out / "compare.gpkg", layer="change")
    assert change["kind"].tolist() == ["gained"]
    assert change.total_bounds == pytest.approx([500_100, 59e5 - 1200, 500_120, 59e5 - 300], abs=2)
    assert change["to_time"][0] == pd.Timestamp("2021-06-01T10:15:00Z")
    kilometres = pd.read_csv(out / "compare_kilometres.csv")
    assert kilometres["coast_m"].sum() == pytest.approx(900, abs=1)
    assert kilometres["median_m"].to_numpy() == pytest.approx(20.01, abs=0.05)
    assert imread(out / "compare.png").std() > 0.01, "not all of one colour"
    styles = geopandas.read_file(out / "compare.gpkg", layer="layer_styles")
    assert sorted(styles["f_table_name"]) == ["change", "movement"]
    with zipfile.ZipFile(out / "compare.qgz") as project:
        said = project.read("compare.qgs").decode()
    # The later scene lies below the lines, where it is.
    assert "../2021/coast_20210601T101500_rgb.tif" in said


def test_the_earlier_first(geounet, results, tmp_path) -> None:
    run = geounet("compare", *results[::-1], "--out", tmp_path / "out", "--name", "back")
    assert run.status == 0
    assert "give the earlier first" in run.err
    assert "median   -20.01 m" in run.out
    assert (tmp_path / "out" / "back.gpkg").is_file()


def test_lines_alone_have_distances_without_sign(geounet, tmp_path) -> None:
    for name, x in (("a", 500_000), ("b", 500_007)):
        line = shapely.LineString([(x, 59e5), (x, 59e5 + 3000)])
        frame = geopandas.GeoDataFrame({"what": ["coast"]}, geometry=[line], crs=32630)
        frame.to_crs(4326).to_file(tmp_path / f"{name}.geojson", driver="GeoJSON")
    run = geounet("compare", tmp_path / "a.geojson", tmp_path / "b.geojson",
                  "--out", tmp_path / "out", "--step", 50)  # fmt: skip
    assert run.status == 0, run.err
    assert "median   7.00 m (95 %: 7.00 to 7.00), no sign" in run.out
    assert "gained" not in run.out
    assert "distances have no sign" in run.err


def test_nothing_in_common_is_one_line_and_leaves_nothing(geounet, results, tmp_path) -> None:
    far = tmp_path / "far.gpkg"
    geopandas.GeoDataFrame(geometry=[shapely.box(0, 50, 1, 51)], crs=4326).to_file(far)
    run = geounet("compare", results[0], far, "--out", tmp_path / "out")
    assert run.status == 1
    assert "no ground where both have data" in run.complaint
    assert not (tmp_path / "out").exists()


def test_results_are_replaced_only_when_asked(geounet, results, tmp_path) -> None:
    line = ["compare", *results, "--out", tmp_path / "out"]
    assert geounet(*line).status == 0
    assert "--overwrite" in geounet(*line).complaint
    assert geounet(*line, "--overwrite").status == 0


def test_a_name_is_no_path(geounet, results, tmp_path) -> None:
    assert geounet("compare", *results, "--out", tmp_path, "--name", "a/b").status == 2

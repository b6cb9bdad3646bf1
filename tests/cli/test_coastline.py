"""geounet coastline, and the formats of vector files."""

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
from contouring import rough_field, write_raster


@pytest.fixture
def index(tmp_path) -> Path:
    field = rough_field(np.random.default_rng(4), (40, 50), smooth=3) - 0.5
    return write_raster(tmp_path / "mndwi.tif", field[None].astype(np.float32))


def test_it_writes_a_result_and_prints_its_record(geounet, index, tmp_path) -> None:
    run = geounet("coastline", index, "--out", tmp_path / "out", "--level", "0.1")
    assert run.status == 0, run.err
    assert run.out == f"{tmp_path / 'out' / 'mndwi.json'}\n"
    assert "are taken for an index that is higher over water" in run.err
    record = json.loads((tmp_path / "out" / "mndwi.json").read_text())
    assert record["command"] == "coastline"
    assert record["level"] == 0.1
    assert record["command_line"].startswith("geounet coastline")
    lines = geopandas.read_file(tmp_path / "out" / "mndwi.gpkg", layer="coastline")
    assert len(lines) > 3


def test_every_option_reaches_the_library(geounet, index, tmp_path) -> None:
    with rasterio.open(index) as src:
        both = np.stack([np.zeros(src.shape, np.float32), -src.read(1)])
    two = write_raster(tmp_path / "two.tif", both)
    run = geounet(
        "coastline", two, "--out", tmp_path / "out", "--band", 2, "--quantity", "index", "--invert",
        "--nodata", -7, "--level", -0.1, "--time", "2020-01-02T03:04:05", "--name", "coast",
        "--format", "geoparquet,fgb", "--format", "geojson", "--crs", "EPSG:3035",
    )  # fmt: skip
    assert run.status == 0, run.err
    out = tmp_path / "out"
    lines = geopandas.read_parquet(out / "coast_coastline.parquet")
    assert lines.crs.to_epsg() == 3035
    assert {str(time) for time in lines["time"]} == {"2020-01-02 03:04:05+00:00"}
    assert {p.suffix for p in out.glob("coast_water.*")} == {".parquet", ".fgb", ".geojson", ".qml"}
    plain = geounet("coastline", index, "--out", tmp_path / "plain", "--level", 0.1)
    assert plain.status == 0
    ours = geopandas.read_file(tmp_path / "plain" / "mndwi.gpkg", layer="coastline")
    np.testing.assert_array_equal(ours["length_m"], lines["length_m"])


def test_classes_of_a_mask_are_named(geounet, tmp_path) -> None:
    mask = write_raster(tmp_path / "m.tif", np.tile(np.arange(4, dtype=np.uint8), (1, 9, 5)))
    run = geounet("coastline", mask, "--out", tmp_path / "out", "--water", "1,2")
    assert run.status == 0, run.err
    with rasterio.open(tmp_path / "out" / "m_mask.tif") as src:
        assert src.read(1)[0, :8].tolist() == [0, 1, 1, 0] * 2


def test_what_it_writes_can_be_evaluated_and_reported_on(geounet, index, tmp_path) -> None:
    out = tmp_path / "out"
    run = geounet(
        "coastline", index, "--out", out, "--report", "--crs", "EPSG:4326",
        "--format", "geoparquet,fgb,geojson",
    )  # fmt: skip
    assert run.status == 0, run.err
    assert (out / "mndwi_report.html").is_file()
    assert geounet("report", out, "--overwrite").status == 0
    for truth in ("mndwi.gpkg|water", "mndwi_water.parquet", "mndwi_water.geojson"):
        run = geounet("evaluate", out, "--reference", out / truth, "--overwrite")
        assert run.status == 0, run.err
        median = next(line for line in run.out.splitlines() if "median" in line)
        assert "0.00" in median, truth


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (("missing.tif",), 1, "missing.tif is not there"),
        ((".",), 1, "is a folder, and lines are drawn of one raster"),
        (("{index}", "--level", "high"), 2, "neither otsu nor a number"),
        (("{index}", "--level", "nan"), 2, "neither otsu nor a number"),
        (("{index}", "--format", "shp"), 1, "--format shp is not known"),
        (("{index}", "--crs", "EPSG:1"), 1, "--crs EPSG:1 is no coordinate reference system"),
        (("{index}", "--time", "yesterday"), 1, "--time yesterday is no date"),
        (("{index}", "--nodata", "none"), 1, "--nodata none is no number"),
        (("{index}", "--band", "4"), 1, "has no band 4"),
    ],
)
def test_what_cannot_be_is_said_in_one_line(
    geounet, index, tmp_path, arguments, status, complaint
) -> None:
    arguments = [argument.format(index=index) for argument in arguments]
    run = geounet("coastline", *arguments, "--out", tmp_path / "out")
    assert run.status == status
    if status == 1:
        assert complaint in run.complaint
    else:
        assert complaint in " ".join(run.err.replace("│", " ").split())
    assert not (tmp_path / "out").exists()


def test_results_that_exist_are_kept_unless_overwritten(geounet, index, tmp_path) -> None:
    line = ("coastline", index, "--out", tmp_path / "out", "--format", "fgb")
    assert geounet(*line).status == 0
    assert "--overwrite" in geounet(*line).complaint
    assert geounet(*line[:-2], "--overwrite").status == 0
    # What the new run does not write is not left lying about.
    assert not list((tmp_path / "out").glob("*.fgb"))


def test_baseline_writes_every_format_too(geounet, tmp_path) -> None:
    green, nir = np.full((30, 40), 1500, np.uint16), np.full((30, 40), 3000, np.uint16)
    nir[:, 20:] = 1100
    scene = write_raster(tmp_path / "coast.tif", np.stack([green, nir]))
    run = geounet(
        "baseline", scene, "--out", tmp_path / "out", "--bands", "B03,B08", "--sensor", "s2",
        "--scale", "0.0001", "--offset", "-1000", "--format", "geoparquet", "--crs", "EPSG:4326",
    )  # fmt: skip
    assert run.status == 0, run.err
    lines = geopandas.read_parquet(tmp_path / "out" / "coast_coastline.parquet")
    assert (len(lines), lines.crs.to_epsg()) == (1, 4326)
    record = json.loads((tmp_path / "out" / "coast.json").read_text())
    # Otsu finds the same level in the index that was written.
    again = geounet("coastline", tmp_path / "out" / "coast_index.tif", "--out", tmp_path / "again")
    assert again.status == 0, again.err
    assert json.loads(Path(again.out.strip()).read_text())["level"] == record["level"]
    settings = record["settings"]
    assert settings["vectors"] == {"formats": ["gpkg", "geoparquet"], "crs": "EPSG:4326"}

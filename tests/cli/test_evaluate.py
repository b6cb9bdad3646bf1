"""geounet evaluate."""

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from rasterio.transform import rowcol

TRANSFORM = Affine(10, 0, 5e5, 0, -10, 54e5)


def write_mask(path: Path, column: int) -> Path:
    """Land, and water from a column on."""
    values = np.zeros((50, 40), np.uint8)
    values[:, column:] = 1
    with rasterio.open(
        path, "w", driver="GTiff", height=50, width=40, count=1, dtype="uint8",
        crs="EPSG:32630", transform=TRANSFORM, nodata=255,
    ) as dst:  # fmt: skip
        dst.write(values, 1)
    return path


@pytest.fixture
def mask(tmp_path) -> Path:
    return write_mask(tmp_path / "mask.tif", 20)


@pytest.fixture
def water(tmp_path) -> str:
    """Water from column 21 on: one pixel further than the mask has it, and far beyond it."""
    path = tmp_path / "truth.gpkg"
    x, _ = TRANSFORM @ (21, 0)
    assert rowcol(TRANSFORM, x + 1, 54e5 - 1)[1] == 21
    # Its westernmost point is elsewhere: a side along its own extents would be no coast.
    corners = [(x, 53e5), (x + 1e5, 53e5), (x + 1e5, 55e5), (x - 100, 55e5), (x, 54.5e5)]
    shape = shapely.Polygon(corners)
    geopandas.GeoSeries([shape], crs=32630).to_file(path, layer="water", driver="GPKG")
    line = shapely.LineString([(x, 53e5), (x, 55e5)])
    geopandas.GeoSeries([line], crs=32630).to_file(path, layer="waterline", driver="GPKG")
    return f"{path}|water"


def test_it_prints_tables_and_writes_the_same_as_json(geounet, mask, water, tmp_path) -> None:
    run = geounet("evaluate", mask, "--reference", water)
    assert run.status == 0, run.err
    path = tmp_path / "mask.scores.json"
    assert run.out.splitlines()[-1] == str(path)
    scores = json.loads(path.read_text())
    # 21 columns of land, of which one is called water, and 19 of water.
    assert scores["pixels"]["confusion"] == [[1000, 50], [0, 950]]
    assert scores["lines"]["predicted"]["pixels"]["mean_signed"] == pytest.approx(-1, abs=1e-3)
    assert "0.9524" in run.out, "IoU of land"
    assert "-1.000" in run.out


def test_lines_alone_give_distances_alone(geounet, mask, water, tmp_path) -> None:
    lines = water.replace("|water", "|waterline")
    run = geounet("evaluate", mask, "--reference", lines, "--json", tmp_path / "s.json")
    scores = json.loads((tmp_path / "s.json").read_text())
    assert scores["pixels"] is None
    assert scores["lines"]["predicted"]["pixels"]["mean_signed"] == pytest.approx(-1, abs=1e-3)
    assert "IoU" not in run.out


def test_a_reference_may_be_given_twice(geounet, mask, water) -> None:
    lines = water.replace("|water", "|waterline")
    run = geounet("evaluate", mask, "--reference", water, "--reference", lines)
    scores = json.loads(Path(run.out.splitlines()[-1]).read_text())
    assert scores["pixels"]["compared"] == 2000
    assert scores["lines"]["reference"] == [lines]


def test_lines_further_away_than_asked_do_not_match(geounet, mask, water) -> None:
    run = geounet("evaluate", mask, "--reference", water, "--max-distance", 0.9)
    scores = json.loads(Path(run.out.splitlines()[-1]).read_text())
    assert scores["lines"]["predicted"]["matched_share"] == 0
    assert "–" in run.out


def test_scores_are_replaced_only_when_asked(geounet, mask, water) -> None:
    assert geounet("evaluate", mask, "--reference", water).status == 0
    assert "--overwrite" in geounet("evaluate", mask, "--reference", water).complaint
    assert geounet("evaluate", mask, "--reference", water, "--overwrite").status == 0


def test_a_figure_and_a_layer_go_with_the_scores_and_are_not_replaced_unasked(
    geounet, mask, water, tmp_path
) -> None:
    run = geounet("evaluate", mask, "--reference", water)
    names = ["mask.errors.gpkg", "mask.scores.png", "mask.scores.json"]
    assert run.out.splitlines()[-3:] == [str(tmp_path / name) for name in names]
    assert all((tmp_path / name).is_file() for name in names)
    (tmp_path / "mask.scores.json").unlink()
    assert "mask.scores.png exists" in geounet("evaluate", mask, "--reference", water).complaint


def test_what_is_evaluated_is_never_replaced_by_its_scores(geounet, mask, water, tmp_path) -> None:
    truth = Path(water.partition("|")[0])
    for json_path in (mask, truth):
        before = json_path.read_bytes()
        said = ("--json", json_path, "--overwrite")
        run = geounet("evaluate", mask, "--reference", water, *said)
        assert "is read, and would be replaced" in run.complaint
        assert json_path.read_bytes() == before
    figure = ("--json", tmp_path / "scores.png")
    assert "ends in .json" in geounet("evaluate", mask, "--reference", water, *figure).complaint


def test_both_ways_buffers_and_worst_places_are_shown(geounet, mask, water) -> None:
    run = geounet("evaluate", mask, "--reference", water)
    for text in ("predicted → reference", "reference → predicted", "correctness", "completeness",
                 "1 px of boundary", "worst places", "too few to tell"):  # fmt: skip
        assert text in run.out
    run = geounet("evaluate", mask, "--reference", water, "--block", 0.1, "--overwrite")
    assert "of so few blocks they are rough" in run.out
    scores = json.loads(Path(run.out.splitlines()[-1]).read_text())
    low, high = scores["lines"]["predicted"]["interval"]["metres"]["mean_signed"]
    assert (low, high) == pytest.approx((-10, -10), abs=0.01)
    more = geounet("evaluate", mask, "--reference", water, "--step", 0.25, "--overwrite")
    assert "one each 0.25 pixels of 10.00 m" in more.out


def test_lines_of_anyone_are_evaluated_and_say_that_they_have_no_side(
    geounet, water, tmp_path
) -> None:
    x, _ = TRANSFORM @ (20.5, 0)
    drawn = geopandas.GeoSeries([shapely.LineString([(x, 53.9e5), (x, 54.1e5)])], crs=32630)
    drawn.to_crs(4326).to_file(tmp_path / "drawn.geojson")
    lines = water.replace("|water", "|waterline")
    run = geounet("evaluate", tmp_path / "drawn.geojson", "--reference", lines)
    assert "--pixel 10" in run.complaint
    run = geounet("evaluate", tmp_path / "drawn.geojson", "--reference", lines, "--pixel", 10)
    assert run.status == 0, run.err
    assert "nobody says on which side" in run.out
    scores = json.loads((tmp_path / "drawn.scores.json").read_text())
    assert scores["lines"]["predicted"]["metres"]["median"] == pytest.approx(5, abs=0.01)


def test_scores_of_an_earlier_geounet_are_shown_as_far_as_they_go(geounet, mask, water) -> None:
    path = Path(geounet("evaluate", mask, "--reference", water).out.splitlines()[-1])
    scores = json.loads(path.read_text())
    for name in ("boundary_iou", "interval", "blocks"):
        del scores["pixels"][name]
    old = ("reference", "pixel_m", "max_distance_px", "side_from", "predicted", "missed")
    scores["lines"] = {name: scores["lines"][name] for name in old}
    path.write_text(json.dumps(scores))
    run = geounet("info", path)
    assert run.status == 0, run.err
    assert "evaluate again" in run.out


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("{tmp}/none.tif", "--reference", "{mask}"), "none.tif is not there"),
        (("{tmp}", "--reference", "{mask}"), "holds no result"),
        (("{mask}", "--reference", "{tmp}/none.gpkg"), "none.gpkg is not there"),
        (("{mask}", "--reference", "{tmp}/truth.gpkg"), "has several layers"),
        (("{mask}", "--reference", "{mask}", "--label-values", "0=land"), "which value is water"),
        (("{mask}", "--reference", "{mask}", "--within", "{tmp}"), "no chip folder"),
        (("{mask}", "--reference", "{mask}", "--labels-are", "water"), "is for polygons"),
        (("{mask}", "--reference", "{mask}", "--kind", "sea"), "is no result of geounet"),
    ],
)
@pytest.mark.usefixtures("water")
def test_bad_input_is_one_line_and_leaves_nothing(
    geounet, mask, tmp_path, arguments, complaint
) -> None:
    before = set(tmp_path.iterdir())
    run = geounet("evaluate", *(a.format(tmp=tmp_path, mask=mask) for a in arguments))
    assert run.status == 1
    assert complaint in run.complaint
    assert set(tmp_path.iterdir()) == before


def test_a_folder_of_results_is_no_reference_but_its_layers_are(geounet, mask, tmp_path) -> None:
    out = tmp_path / "out"
    assert geounet("coastline", mask, "--out", out).status == 0
    run = geounet("evaluate", mask, "--reference", out)
    assert run.status == 1
    assert f"for instance '{out / 'mask.gpkg'}|water'." in run.complaint
    assert geounet("evaluate", mask, "--reference", f"{out / 'mask.gpkg'}|water").status == 0


def test_a_reference_is_asked_for(geounet, mask) -> None:
    assert geounet("evaluate", mask).status == 2

"""Distances between shorelines that people and programs drew of two atolls."""

from pathlib import Path

import geopandas
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox

from geounet.distances import Pieces, Plane, match_points, points_along, summarise
from geounet.evaluate import EvaluateSettings, evaluate_prediction

PAIRS = [
    ("Isdhoo", "Sentinel shoreline/Sentinel_shoreline_20220101_0331.geojson",
     "Manual shoreline/Isdhoo_manual_shoreline.geojson"),
    ("Isdhoo", "Landsat shoreline/Landsat_shoreline_20220101_0301.geojson",
     "Manual shoreline/Isdhoo_manual_shoreline.geojson"),
    ("Fonadhoo", "Sentinel shoreline/Sentinel_shoreline_20210801_1031_east.geojson",
     "Manual shoreline/Fonadhoo_manual_shoreline_east.geojson"),
]  # fmt: skip


@pytest.mark.parametrize(("atoll", "drawn", "manual"), PAIRS)
def test_distances_are_those_of_shapely_in_utm(shared_data: Path, atoll, drawn, manual) -> None:
    folder = shared_data / "maldives_shorelines" / atoll
    drawn_lines, truth = (
        geopandas.read_file(folder / name).to_crs(32643).geometry for name in (drawn, manual)
    )
    left, bottom, right, top = truth.total_bounds
    size = (int(top - bottom) // 10 + 20, int(right - left) // 10 + 20)
    geobox = GeoBox(size, Affine(10, 0, left - 100, 0, -10, top + 100), "EPSG:32643")
    plane = Plane(geobox)
    to_plane = plane.from_crs(geobox.crs.proj)
    line, reference = (
        Pieces.from_lines(shapely.boundary(s) if "Polygon" in s[0].geom_type else s)
        for s in (drawn_lines.values, truth.values)
    )
    points = points_along(line.transformed(to_plane), plane.pixel_m)
    matches = match_points(
        points, reference.transformed(to_plane), plane, within=50 * plane.pixel_m, directed=False
    )
    xy = plane.to_crs(geobox.crs.proj)(points.xy)
    outline = shapely.union_all([
        shapely.boundary(s) if "Polygon" in s.geom_type else s for s in truth.values
    ])  # fmt: skip
    expected = shapely.distance(shapely.points(xy), outline)
    assert matches.found.mean() > 0.9
    # UTM's own scale is off by up to 4e-4.
    near = pytest.approx(expected[matches.found], rel=5e-4, abs=1e-3)
    assert matches.distance_m[matches.found] == near
    assert (expected[~matches.found] > 49.9 * plane.pixel_m).all()
    scores = summarise(matches, plane.pixel_m)
    assert 0.5 < scores["metres"]["median"] < 30, "a few metres, as the authors found"


@pytest.mark.parametrize(("atoll", "drawn", "manual"), PAIRS)
def test_shorelines_are_evaluated_as_lines_against_lines(
    shared_data: Path, atoll, drawn, manual
) -> None:
    folder = shared_data / "maldives_shorelines" / atoll
    settings = EvaluateSettings(pixel_m=10)
    lines = evaluate_prediction(folder / drawn, [str(folder / manual)], settings)["lines"]
    assert lines["predicted"]["matched_share"] > 0.9
    for way in ("predicted", "truth"):
        low, high = lines[way]["interval"]["metres"]["median"]
        assert 0.5 < low <= lines[way]["metres"]["median"] <= high < 30
        assert high - low < 15

"""How far shorelines of two atolls lie apart that satellites saw and people drew from the air.

`make coastlines-tables` writes the table of docs/coastlines.md.
"""

from dataclasses import dataclass
from functools import cache

import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from documented import hold_table
from odc.geo.geobox import GeoBox
from pyproj import CRS

from geounet.distances import Pieces, Plane, match_points, nearest_on, points_along, summarise

ATOLLS = {
    "Isdhoo": {
        "manual": "Manual shoreline/Isdhoo_manual_shoreline.geojson",
        "Sentinel-2": "Sentinel shoreline/Sentinel_shoreline_20220101_0331.geojson",
        "Landsat": "Landsat shoreline/Landsat_shoreline_20220101_0301.geojson",
        "offshore": "Reference line/Isdhoo_reference_line.geojson",
    },
    "Fonadhoo, east": {
        "manual": "Manual shoreline/Fonadhoo_manual_shoreline_east.geojson",
        "Sentinel-2": "Sentinel shoreline/Sentinel_shoreline_20210801_1031_east.geojson",
        "Landsat": "Landsat shoreline/Landsat_shoreline_20210801_1031_east.geojson",
        "offshore": "Reference line/Fonadhoo_reference_line.geojson",
    },
}
PAIRS = (("Sentinel-2", "manual"), ("Landsat", "manual"), ("Landsat", "Sentinel-2"))
STEP_M, REACH_M = 10.0, 50.0
OFFSHORE_M = 500.0
COLUMNS = (("median", ".1f"), ("mean_signed", "+.1f"), ("rmse", ".1f"), ("p95", ".1f"))


@dataclass(frozen=True)
class Atoll:
    """Lines of one atoll on a plane, land on the left of all."""

    plane: Plane
    lines: dict[str, Pieces]

    def scores(self, drawn: str, truth: str):
        """Distances from points along one line to another, as `geounet evaluate` has them."""
        points = points_along(self.lines[drawn], STEP_M)
        matches = match_points(points, self.lines[truth], self.plane, within=REACH_M, directed=True)
        return summarise(matches, STEP_M), matches


@pytest.fixture(scope="module", params=ATOLLS)
def atoll(request, shared_data):
    return request.param, read_atoll(shared_data / "maldives_shorelines", request.param)


@cache
def read_atoll(folder, name):
    read = {
        line: geopandas.read_file(folder / name.partition(",")[0] / path)
        for line, path in ATOLLS[name].items()
    }
    west, south, east, north = read["manual"].total_bounds
    shape = (int(north - south) // 10 + 20, int(east - west) // 10 + 20)
    geobox = GeoBox(shape, Affine(10, 0, west - 100, 0, -10, north + 100), "EPSG:32643")
    plane = Plane(geobox)
    to_plane = plane.from_crs(CRS(32643))
    lines = {
        line: Pieces.from_lines(shapely.line_merge(shapes.to_crs(32643).geometry.values))
        .transformed(to_plane)
        for line, shapes in read.items()
    }  # fmt: skip
    offshore = points_along(lines.pop("offshore"), STEP_M).xy
    return Atoll(plane, {line: landward(pieces, offshore) for line, pieces in lines.items()})


def landward(pieces, offshore):
    """Turn a line so that a line in the water is on its right."""
    sides = nearest_on(pieces, offshore, within=OFFSHORE_M).side
    assert abs(sides.mean()) > 0.9, "the line offshore is on one side"
    return pieces if sides.mean() > 0 else pieces.reversed()


def test_satellites_are_as_near_to_what_people_drew_as_their_pixels_let_them(atoll):
    _, lines = atoll
    medians = {}
    for drawn, truth in PAIRS:
        scores, _ = lines.scores(drawn, truth)
        assert scores["matched_share"] > 0.9
        medians[drawn, truth] = scores["metres"]["median"]
    assert medians["Sentinel-2", "manual"] < 10
    assert medians["Landsat", "manual"] < 15


def test_distances_are_those_of_shapely(atoll):
    # UTM's scale is off by up to 4e-4.
    _, lines = atoll
    for drawn, truth in PAIRS:
        _, matches = lines.scores(drawn, truth)
        pieces = lines.lines[truth]
        other = shapely.union_all(shapely.linestrings(np.stack([pieces.start, pieces.end], axis=1)))
        expected = shapely.distance(shapely.points(matches.points.xy), other)[matches.found]
        assert matches.distance_m[matches.found] == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_the_page_says_how_far_apart_they_are(shared_data):
    within = (5, 10, 20)
    rows = [
        (
            *("atoll", "line", "from", "length", "median", "mean signed", "RMSE", "95 % within"),
            *(f"within {metres} m" for metres in within),
        )
    ]
    for name in ATOLLS:
        lines = read_atoll(shared_data / "maldives_shorelines", name)
        for drawn, truth in PAIRS:
            scores, matches = lines.scores(drawn, truth)
            found = scores["metres"]
            shares = [np.mean(matches.distance_m[matches.found] <= metres) for metres in within]
            near = scores["matched_share"]
            rows.append(
                (
                    *(name, drawn, truth),
                    f"{(scores['matched_m'] + scores['unmatched_m']) / 1000:.1f} km",
                    *(f"{found[key]:{form}} m" for key, form in COLUMNS),
                    *(f"{100 * share * near:.0f} %" for share in shares),
                )
            )
    hold_table("coastlines.md", "maldives", rows)

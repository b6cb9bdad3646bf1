"""Distances between lines, against known shifts, brute force and the ellipsoid."""

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import assume, given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer

from geounet import distances
from geounet.distances import (
    Matches,
    Pieces,
    Plane,
    Points,
    match_points,
    nearest_on,
    points_along,
    summarise,
)

GEOD = Geod(ellps="WGS84")


def grid(crs: str, x: float, y: float, res_x: float, res_y: float, size: int = 200) -> GeoBox:
    return GeoBox((size, size), Affine(res_x, 0, x, 0, -res_y, y), crs)


GRIDS = {
    "UTM": grid("EPSG:32630", 500_000, 5_400_000, 10, 10),
    "UTM, zone's edge": grid("EPSG:32630", 170_000, 5_400_000, 10, 10),
    "Fiji, zone's far edge": grid("EPSG:32701", 164_000, 8_000_000, 60, 60),
    "Mercator at 70° north": grid("EPSG:3857", 2_000_000, 11_000_000, 10, 10),
    "degrees": grid("EPSG:4326", -76.5, 34.6, 9e-5, 9e-5),
    "degrees at 65° north": grid("EPSG:4326", 20.0, 65.0, 9e-5, 9e-5),
    "degrees across 180°": grid("EPSG:4326", 179.99, -17.0, 1e-4, 1e-4),
    "polar": grid("EPSG:3413", 500_000, -600_000, 30, 30),
    "non-square": grid("EPSG:32628", 400_000, 1_200_000, 777, 761),
    "rotated": GeoBox((200, 200), Affine.translation(5e5, 5e6) @ Affine.rotation(30)
                      @ Affine.scale(10, -10), "EPSG:32633"),
}  # fmt: skip


@pytest.fixture(params=GRIDS.values(), ids=list(GRIDS))
def geobox(request) -> GeoBox:
    return request.param


def ring_around(geobox: GeoBox, radius: float) -> tuple[float, float, np.ndarray]:
    """A circle of `radius` metres about the centre of a grid, by geodesics, in the grid's CRS.

    Counter-clockwise: its inside, the land, is on its left.
    """
    height, width = geobox.shape
    x, y = geobox.transform @ (width / 2, height / 2)
    to_lonlat = Transformer.from_crs(geobox.crs.proj, 4326, always_xy=True)
    lon, lat = to_lonlat.transform(x, y)
    azimuth = -np.linspace(0, 360, 2001)
    azimuth[-1] = azimuth[0]  # closed to the last bit
    ones = np.ones_like(azimuth)
    lons, lats, _ = GEOD.fwd(lon * ones, lat * ones, azimuth, radius * ones)
    if geobox.crs.epsg == 4326:  # its degrees run on past 180
        return lon, lat, np.column_stack((lon + (lons - lon + 180) % 360 - 180, lats))
    from_lonlat = Transformer.from_crs(4326, geobox.crs.proj, always_xy=True)
    return lon, lat, np.column_stack(from_lonlat.transform(lons, lats))


def on_plane(plane: Plane, geobox: GeoBox, xy: np.ndarray) -> Pieces:
    lines = np.array([shapely.LineString(xy)])
    return Pieces.from_lines(lines).transformed(plane.from_crs(geobox.crs.proj))


@pytest.mark.parametrize("directed", [True, False])
@pytest.mark.parametrize("shift", [-0.37, 0.25, 1.8])
def test_a_line_moved_by_d_lies_at_d_and_plus_is_towards_water(geobox, shift, directed) -> None:
    plane = Plane(geobox)
    pixel, radius = plane.pixel_m, 60 * plane.pixel_m
    reference = on_plane(plane, geobox, ring_around(geobox, radius)[2])
    moved = on_plane(plane, geobox, ring_around(geobox, radius + shift * pixel)[2])
    if not directed:
        reference = Pieces(reference.end[::-1], reference.start[::-1], reference.line)
    points = points_along(moved, pixel)
    matches = match_points(points, reference, plane, within=5 * pixel, directed=directed)
    assert matches.found.all()
    # 2000 chords fall short of the circle by 1.2e-6 of its radius.
    assert matches.distance_m == pytest.approx(abs(shift) * pixel, abs=5e-4 * pixel)
    assert (matches.side == np.sign(shift)).all()
    scores = summarise(matches, pixel)
    for name in ("mean", "median", "rmse", "p95"):
        assert scores["pixels"][name] == pytest.approx(abs(shift), abs=5e-4)
    assert scores["pixels"]["mean_signed"] == pytest.approx(shift, abs=5e-4)
    assert scores["metres"]["mean_signed"] == pytest.approx(shift * pixel, abs=5e-4 * pixel)
    circumference = 2 * np.pi * (radius + shift * pixel)
    assert scores["matched_m"] == pytest.approx(circumference, rel=1e-3)
    assert scores["unmatched_m"] == 0


def test_beyond_reach_nothing_matches_and_the_length_is_kept_apart(geobox) -> None:
    plane = Plane(geobox)
    pixel = plane.pixel_m
    reference = on_plane(plane, geobox, ring_around(geobox, 50 * pixel)[2])
    moved = on_plane(plane, geobox, ring_around(geobox, 56 * pixel)[2])
    points = points_along(moved, pixel)
    for within, found in ((5.98, False), (6.02, True)):
        matches = match_points(points, reference, plane, within=within * pixel, directed=True)
        assert (matches.found == found).all()
    scores = summarise(match_points(points, reference, plane, within=1, directed=True), pixel)
    assert scores["matched_share"] == 0
    assert scores["unmatched_m"] == pytest.approx(2 * np.pi * 56 * pixel, rel=1e-3)
    assert set(scores["metres"].values()) == {None}


def test_the_size_of_a_pixel_is_that_on_the_ellipsoid(geobox) -> None:
    height, width = geobox.shape
    to_lonlat = Transformer.from_crs(geobox.crs.proj, 4326, always_xy=True)
    col, row = width // 2, height // 2
    corners = [geobox.transform @ at for at in ((col, row), (col + 1, row), (col, row + 1))]
    (lon, lat), right, below = (to_lonlat.transform(*xy) for xy in corners)
    wide, high = (GEOD.inv(lon, lat, *other)[2] for other in (right, below))
    assert Plane(geobox).pixel_m == pytest.approx(np.sqrt(wide * high), rel=1e-3)


def test_pixels_and_plane_lead_back_to_each_other(geobox) -> None:
    plane = Plane(geobox)
    pixels = np.array([[0.0, 0.0], [200.0, 0.0], [13.25, 187.5], [100.5, 3.75]])
    assert plane.to_pixels(plane.from_pixels(pixels)) == pytest.approx(pixels, abs=1e-6)
    left, bottom, right, top = plane.bounds(1.0)
    xy = plane.from_pixels(pixels)
    assert (xy > [left, bottom]).all()
    assert (xy < [right, top]).all()


coordinates = st.integers(-60, 60).map(lambda i: i / 4)
vertices = st.lists(st.tuples(coordinates, coordinates), min_size=2, max_size=8)


def polyline(points: list[tuple[float, float]]) -> shapely.LineString:
    return shapely.LineString(points)


@given(st.lists(vertices, min_size=1, max_size=4), st.lists(st.tuples(coordinates, coordinates)))
def test_the_nearest_point_is_that_of_brute_force(lines, asked) -> None:
    shapes = np.array([polyline(line) for line in lines], dtype=object)
    xy = np.array(asked, dtype=np.float64).reshape(-1, 2)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(distances, "ASKED", 3)
        near = nearest_on(Pieces.from_lines(shapes), xy, within=10.0)
    drawn = shapes[shapely.length(shapes) > 0]  # a line without length has no place
    if len(drawn) == 0:
        assert not near.found.any()
        return
    expected = shapely.distance(shapely.points(xy)[:, None], drawn).min(axis=1, initial=np.inf)
    assert (near.found == (expected <= 10.0)).all()
    found = near.found
    assert np.hypot(*(xy - near.xy)[found].T) == pytest.approx(expected[found], abs=1e-9)
    off_the_line = shapely.distance(
        shapely.points(near.xy[found])[:, None], drawn
    ).min(axis=1, initial=np.inf)  # fmt: skip
    assert off_the_line[np.isfinite(off_the_line)] == pytest.approx(0, abs=1e-9)


@given(
    st.lists(st.floats(0.2, 4), min_size=3, max_size=12),
    st.lists(st.tuples(st.floats(-5, 5), st.floats(-5, 5)), min_size=1),
    st.integers(0, 11),
    st.booleans(),
)
def test_the_side_is_the_polygons_inside_even_at_sharp_corners(radii, asked, first, hole) -> None:
    angle = np.linspace(0, 2 * np.pi, len(radii), endpoint=False)
    star = np.column_stack((np.cos(angle), np.sin(angle))) * np.array(radii)[:, None]
    star = np.roll(star, first, axis=0)  # counter-clockwise, so its inside is on the left
    land, xy = shapely.Polygon(star), np.array(asked)
    if hole:
        ring = np.array([shapely.LinearRing(star[::-1])])
    else:
        ring = np.array([shapely.LinearRing(star)])
    near = nearest_on(Pieces.from_lines(ring), xy, within=100.0)
    inside = shapely.contains_xy(land, xy[:, 0], xy[:, 1])
    clear = shapely.distance(shapely.points(xy), shapely.boundary(land)) > 1e-9
    assert near.found.all()
    assert (near.side[clear] == np.where(inside != hole, -1, 1)[clear]).all()


@given(st.lists(vertices, min_size=1, max_size=4), st.floats(0.1, 5))
def test_points_are_evenly_spread_over_each_line(lines, step) -> None:
    shapes = np.array([polyline(line) for line in lines], dtype=object)
    shapes = shapes[shapely.length(shapes) > 0]
    points = points_along(Pieces.from_lines(shapes), step)
    counts = np.maximum(1, np.rint(shapely.length(shapes) / step)).astype(int)
    expected = [
        shapely.line_interpolate_point(line, (np.arange(n) + 0.5) / n, normalized=True)
        for line, n in zip(shapes, counts, strict=True)
    ]
    expected_xy = shapely.get_coordinates(np.concatenate(expected)) if expected else []
    assert points.xy == pytest.approx(np.reshape(expected_xy, (-1, 2)), abs=1e-9)
    assert points.step.sum() == pytest.approx(shapely.length(shapes).sum())
    assert np.hypot(*points.right.T) == pytest.approx(1)


@given(vertices, st.floats(0.1, 5))
def test_the_order_of_vertices_does_not_matter(line, step) -> None:
    assume(polyline(line).length > 0)
    forth, back = np.array([polyline(line)]), np.array([polyline(line[::-1])])
    there = points_along(Pieces.from_lines(forth), step)
    again = points_along(Pieces.from_lines(back), step)
    assert again.xy[::-1] == pytest.approx(there.xy, abs=1e-9)
    vertex = shapely.distance(shapely.points(there.xy)[:, None], shapely.points(line)).min(axis=1)
    apart = vertex > 1e-6  # on a vertex, either piece gives the direction
    assert again.right[::-1][apart] == pytest.approx(-there.right[apart], abs=1e-6)


def test_right_of_a_line_to_the_east_is_south() -> None:
    line = np.array([shapely.LineString([(0, 0), (10, 0)])])
    assert points_along(Pieces.from_lines(line), 5).right == pytest.approx(
        np.array([[0, -1], [0, -1]])
    )


@given(st.lists(vertices, min_size=1, max_size=3), st.floats(0.3, 20))
def test_subdividing_keeps_the_line_and_its_joints(lines, longest) -> None:
    shapes = np.array([polyline(line) for line in lines], dtype=object)
    whole = Pieces.from_lines(shapes)
    cut = whole.subdivided(longest)
    assert (cut.length <= longest * (1 + 1e-9)).all()
    assert cut.length.sum() == pytest.approx(whole.length.sum())
    same_line = cut.line[1:] == cut.line[:-1]
    assert (cut.end[:-1][same_line] == cut.start[1:][same_line]).all(), "joints must stay exact"
    assert {tuple(xy) for xy in whole.end} <= {tuple(xy) for xy in cut.end}


def test_only_pieces_near_a_box_are_kept() -> None:
    pieces = Pieces.from_lines(np.array([shapely.LineString([(0, 0), (1, 0), (5, 5), (9, 0)])]))
    gone = pieces.transformed(lambda xy: np.where(xy == 9, np.inf, xy))
    assert pieces.near((4, 4, 6, 6)).start.tolist() == [[1, 0], [5, 5]]
    assert gone.near((4, 4, 6, 6)).start.tolist() == [[1, 0]], "what has no place is left out"
    assert len(pieces.near((20, 20, 30, 30))) == 0


def test_a_summary_has_the_textbook_values() -> None:
    steps = np.array([1.0, 1.0, 1.0, 2.0])
    points = Points(np.zeros((4, 2)), steps, np.zeros((4, 2)), np.zeros(4, np.intp))
    matches = Matches(
        points,
        np.array([True, True, True, False]),
        np.array([3.0, 4.0, 5.0, np.nan]),
        np.array([1, -1, 1, 0], dtype=np.int8),
    )
    scores = summarise(matches, pixel_m=2.0)
    assert scores["matched_m"] == 3
    assert scores["unmatched_m"] == 2
    assert scores["matched_share"] == pytest.approx(0.6)
    assert scores["points"] == 3
    assert scores["metres"] == pytest.approx(
        {
            "mean": 4, "median": 4, "rmse": np.sqrt(50 / 3), "p95": 4.9,
            "mean_signed": 4 / 3, "median_signed": 3,
        }
    )  # fmt: skip
    assert scores["pixels"]["p95"] == pytest.approx(2.45)


def test_nothing_to_compare_is_no_failure() -> None:
    nothing = Pieces.from_lines(np.array([], dtype=object))
    plane = Plane(GRIDS["UTM"])
    assert len(points_along(nothing, 1.0).xy) == 0
    matches = match_points(points_along(nothing, 1.0), nothing, plane, within=1, directed=True)
    scores = summarise(matches, 10.0)
    assert scores["matched_share"] is None
    assert scores["matched_m"] == scores["unmatched_m"] == 0

"""Shares of area, against shapely pixel by pixel and against areas known from geometry."""

import math

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from geounet.coverage import coverage

CRS = "EPSG:32630"
STRAIGHT = Affine(10, 0, 500_000, 0, -10, 5_000_000)
TURNED = STRAIGHT @ Affine.rotation(27)
GRIDS = {"north up": GeoBox((24, 31), STRAIGHT, CRS), "turned": GeoBox((24, 31), TURNED, CRS)}
grids = pytest.mark.parametrize("geobox", GRIDS.values(), ids=GRIDS)


def on_ground(geobox: GeoBox, col_row) -> shapely.Polygon:
    cols, rows = np.asarray(col_row, dtype=float).T
    return shapely.Polygon(np.column_stack(geobox.transform @ (cols, rows)))


def pixel_by_pixel(polygons, geobox: GeoBox):
    whole = shapely.union_all(polygons)
    shares = np.empty(geobox.shape)
    for row, col in np.ndindex(*shares.shape):
        corners = [(col, row), (col + 1, row), (col + 1, row + 1), (col, row + 1)]
        pixel = on_ground(geobox, corners)
        shares[row, col] = pixel.intersection(whole).area / pixel.area
    return shares


@given(
    corners=st.lists(
        st.tuples(st.floats(-9, 40), st.floats(-9, 33)), min_size=3, max_size=9, unique=True
    ),
    more=st.tuples(st.floats(0, 31), st.floats(0, 24), st.floats(0.1, 8)),
    turned=st.booleans(),
)
def test_it_is_the_area_of_the_intersection(corners, more, turned) -> None:
    geobox = GRIDS["turned" if turned else "north up"]
    hull = shapely.MultiPoint(corners).convex_hull
    if hull.geom_type != "Polygon" or hull.area < 1e-3:
        return
    col, row, radius = more
    # A hole in one, and a second that overlaps it.
    first = on_ground(geobox, hull.exterior.coords)
    first = first.difference(shapely.centroid(first).buffer(7))
    second = on_ground(geobox, shapely.Point(col, row).buffer(radius, quad_segs=3).exterior.coords)
    polygons = np.array([*shapely.get_parts([first]), second], dtype=object)
    found = coverage(polygons, geobox)
    np.testing.assert_allclose(found, pixel_by_pixel(polygons, geobox), atol=1e-6)


@grids
@pytest.mark.parametrize("slope", [0.0, 0.3, -1.7])
def test_beneath_a_straight_line_lies_what_geometry_says(geobox, slope) -> None:
    # Water is where row > 8.2371 + slope · (col − 15).
    ends = np.array([-50.0, 100.0])
    line = 8.2371 + slope * (ends - 15)
    far = 1000.0
    polygon = on_ground(geobox, [(ends[0], line[0]), (ends[1], line[1]), (100, far), (-50, far)])
    found = coverage(np.array([polygon], dtype=object), geobox)
    # The integral over a pixel of how much of each of its columns is beneath, fine enough.
    rows, cols = np.indices(geobox.shape)
    steps = (np.arange(2000) + 0.5) / 2000
    at = 8.2371 + slope * (cols[..., None] + steps - 15)
    expected = (rows[..., None] + 1 - at).clip(0, 1).mean(axis=-1)
    np.testing.assert_allclose(found, expected, atol=1e-6)
    # Where one straight line parts a pixel, its centre is in the greater part.
    beneath = rows + 0.5 > 8.2371 + slope * (cols + 0.5 - 15)
    np.testing.assert_array_equal(found >= 0.5, beneath)


@grids
def test_a_disc_has_its_area_whole_inside_and_nothing_outside(geobox) -> None:
    radius, col, row = 7.3, 15.2, 11.6
    angles = np.linspace(0, 2 * math.pi, 4001)[:-1]
    disc = on_ground(
        geobox, np.column_stack([col + radius * np.cos(angles), row + radius * np.sin(angles)])
    )
    found = coverage(np.array([disc], dtype=object), geobox)
    assert found.sum() == pytest.approx(math.pi * radius**2, abs=1e-3)
    rows, cols = np.indices(geobox.shape) + 0.5
    away = np.hypot(rows - row, cols - col)
    half = math.sqrt(0.5)
    assert (found[away < radius - half] == 1).all()
    assert (found[away > radius + half] == 0).all()


def test_no_polygons_cover_nothing() -> None:
    assert (coverage(np.empty(0, dtype=object), GRIDS["turned"]) == 0).all()


def test_what_is_there_twice_and_hardly_touches_itself_is_covered_once() -> None:
    # By 2e-10 pixels the corners of the hole miss the shell, and GEOS loses a corner of the union.
    east = 10.00000000023283
    shell = [(0, 0), (east, 0), (east, 10), (0, 10)]
    frame = shapely.make_valid(shapely.Polygon(shell, [[(0, 5), (5, 0), (east, 5), (5, 10)]]))
    other = shapely.Polygon([(-3.7, -1.96), (-4.57, 5.46), (5.49, 5.24)])
    grid = GeoBox((11, 11), Affine.identity(), CRS)
    parts = shapely.get_parts([frame, frame, other])
    np.testing.assert_allclose(coverage(parts, grid), pixel_by_pixel(parts, grid), atol=1e-6)
    corners = coverage(parts, grid)[[9, 9], [0, 9]]
    np.testing.assert_array_equal(corners, 1)

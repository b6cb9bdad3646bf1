"""Lines: where they are, which way they run, and that strips leave no trace."""

import numpy as np
import pytest
import shapely
from affine import Affine
from contouring import contour, coverage, rough_field
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rasterio.transform import rowcol

from geounet.coastline import median_widths
from geounet.contours import cut_strips, trace
from geounet.ground import Ground
from geounet.ragged import Lines
from geounet.rings import start_rings
from geounet.tracing import Scale

seeds = st.integers(0, 2**32 - 1)
SIZE = 24
GRIDS = {
    "utm": ("EPSG:32630", Affine(10, 0, 500_000, 0, -10, 4_500_000)),
    "degrees": ("EPSG:4326", Affine(1e-4, 0, -76.5, 0, -1e-4, 34.7)),
    "rotated, not square": (
        "EPSG:32630",
        Affine.translation(500_000, 4_500_000) @ Affine.rotation(33) @ Affine.scale(10, -16),
    ),
    "south up": ("EPSG:32630", Affine(10, 0, 500_000, 0, 10, 4_500_000)),
}


def grid(name):
    crs, transform = GRIDS[name]
    return GeoBox((SIZE, SIZE), transform, crs)


def half_plane(geobox, rng):
    """Water on one side of a line through the middle of the grid, somehow."""
    centre = np.array([SIZE / 2, SIZE / 2]) + rng.uniform(-2, 2, 2)
    angle = rng.uniform(0, 2 * np.pi)
    along, aside = (np.array([np.cos(a), np.sin(a)]) for a in (angle, angle + np.pi / 2))
    corners = [centre + 50 * (i * along + j * aside) for i, j in ((-1, 0), (1, 0), (1, 1), (-1, 1))]
    return shapely.Polygon([geobox.transform @ tuple(corner) for corner in corners])


def disc(geobox, rng):
    centre = np.array([SIZE / 2, SIZE / 2]) + rng.uniform(-1, 1, 2)
    turn = np.linspace(0, 2 * np.pi, 400, endpoint=False)
    circle = centre + rng.uniform(6, 9) * np.column_stack([np.cos(turn), np.sin(turn)])
    return shapely.Polygon([geobox.transform @ tuple(corner) for corner in circle])


def errors_px(geobox, water):
    """Signed distances in pixels of the drawn line from the true one, positive where in water."""
    values = coverage(geobox.shape, geobox.transform, water)
    lines = Ground(geobox).place(contour(values).lines)
    # Half a pixel from the border the field is carried straight on, and the truth is not.
    inside = shapely.transform(
        shapely.box(1, 1, SIZE - 1, SIZE - 1),
        lambda corners: np.column_stack(geobox.transform @ tuple(corners.T)),
    )
    drawn = shapely.intersection(shapely.MultiLineString(list(lines)), inside)
    pixel = np.sqrt(abs(geobox.transform.determinant))
    points = shapely.get_coordinates(shapely.segmentize(drawn, pixel / 10))
    spots = shapely.points(points)
    distance = shapely.distance(water.boundary, spots) / pixel
    return np.where(shapely.contains(water, spots), distance, -distance)


# A line of chords lies inside its arc, by a share of a pixel that falls with the radius.
@pytest.mark.parametrize(("shape", "bias"), [(half_plane, 0.01), (disc, 0.03)])
@pytest.mark.parametrize("name", GRIDS)
def test_a_known_line_comes_back_from_its_coverage(name, shape, bias):
    # Promise 3: the oracle clips each pixel's ground with the true water.
    geobox, rng = grid(name), np.random.default_rng(7)
    found = [errors_px(geobox, shape(geobox, rng)) for _ in range(12)]
    assert np.sqrt(np.mean(np.concatenate(found) ** 2)) < 0.1
    assert all(np.sqrt((one**2).mean()) < 0.1 for one in found)
    assert abs(np.mean([one.mean() for one in found])) < bias


@pytest.mark.parametrize("name", GRIDS)
def test_land_is_on_the_left_on_the_ground(name):
    geobox = grid(name)
    values = rough_field(np.random.default_rng(3), geobox.shape)
    lines = Ground(geobox).place(contour(values).lines)
    start, end = (
        np.concatenate([shapely.get_coordinates(line)[s] for line in lines])
        for s in (slice(None, -1), slice(1, None))
    )
    step = end - start
    to_left = np.column_stack([-step[:, 1], step[:, 0]])  # x to the east, y to the north
    pixel = np.sqrt(abs(geobox.transform.determinant))
    size = np.linalg.norm(step, axis=1)
    long = size > 0.4 * pixel
    spots = ((start + end) / 2 + 0.05 * pixel * to_left / size[:, None])[long]
    col, row = ~geobox.transform @ tuple(spots.T)
    inside = (np.minimum(col, row) > 0.5) & (np.maximum(col, row) < SIZE - 0.5)
    assert inside.sum() > 50
    assert (bilinear(values, row[inside], col[inside]) < 0.5).mean() > 0.9


def bilinear(values, row, col):
    """The field between pixel centres."""
    i, j = np.floor(row - 0.5).astype(int), np.floor(col - 0.5).astype(int)
    down, right = row - 0.5 - i, col - 0.5 - j
    above = values[i, j] * (1 - right) + values[i, j + 1] * right
    below = values[i + 1, j] * (1 - right) + values[i + 1, j + 1] * right
    return above * (1 - down) + below * down


@given(
    seed=seeds,
    height=st.integers(1, 30),
    width=st.integers(1, 30),
    rows=st.integers(1, 12),
    nodata=st.sampled_from([0, 0.03, 0.3, 0.7]),
    steps=st.sampled_from([None, 2, 4]),
)
def test_strips_of_any_height_give_the_same_lines_in_the_same_order(
    seed, height, width, rows, nodata, steps
):
    # Promise 9; with few steps many values are exactly the level.
    rng = np.random.default_rng(seed)
    values = rough_field(rng, (height, width), smooth=0.8, nodata=nodata, steps=steps)
    whole, strips = contour(values, rows=100).lines, contour(values, rows=rows).lines
    assert len(whole) == len(strips)
    assert shapely.equals_identical(whole, strips).all()


@given(seed=seeds, nodata=st.sampled_from([0.03, 0.3, 0.7]))
def test_lines_end_on_edges_of_the_outermost_valid_pixels_and_nowhere_else(seed, nodata):
    values = rough_field(np.random.default_rng(seed), (14, 17), smooth=1, nodata=nodata)
    lines = contour(values, rows=4).lines
    is_open = ~shapely.is_closed(lines)
    ends = np.concatenate(
        [shapely.get_coordinates(shapely.get_point(lines[is_open], i)) for i in (0, -1)]
    )
    valid = np.pad(np.isfinite(values), 1)
    on_edge = ends % 1 == 0
    assert (on_edge.sum(axis=1) == 1).all()
    beside = np.where(on_edge, 0.25, 0)
    (col_before, row_before), (col_after, row_after) = (ends - beside).T, (ends + beside).T
    before = valid[np.floor(row_before).astype(int) + 1, np.floor(col_before).astype(int) + 1]
    after = valid[np.floor(row_after).astype(int) + 1, np.floor(col_after).astype(int) + 1]
    assert (before != after).all()


@given(seed=seeds, nodata=st.sampled_from([0, 0.1, 0.5]), level=st.sampled_from([0.0, 1.0]))
def test_no_line_is_drawn_along_nodata_or_the_border(seed, nodata, level):
    # All land or all water, however ragged.
    values = rough_field(np.random.default_rng(seed), (12, 9), nodata=nodata)
    values = np.clip(values, 0.01, 0.99)
    assert len(contour(values, level=level, rows=5).lines) == 0


@given(seed=seeds)
def test_rings_start_at_their_smallest_row_and_col(seed):
    values = rough_field(np.random.default_rng(seed), (20, 20), smooth=1)
    lines = contour(values, rows=6).lines
    for ring in lines[shapely.is_closed(lines)]:
        points = shapely.get_coordinates(ring)[:, ::-1].tolist()
        assert points[0] == min(points)


def test_a_ring_that_starts_elsewhere_is_the_same_ring():
    square = np.array([[2, 1, 5], [2, 2, 6], [1, 2, 7], [1, 1, 8], [2, 1, 5]], dtype=float)
    lines = np.array([shapely.LineString(square[:3]), shapely.LineString(square)], dtype=object)
    unchanged, ring = start_rings(Lines.of(lines)).shapes()
    assert unchanged == lines[0]
    points = shapely.get_coordinates(ring, include_z=True).tolist()
    assert points == [[1, 1, 8], [2, 1, 5], [2, 2, 6], [1, 2, 7], [1, 1, 8]]


@settings(max_examples=20)
@given(slope=st.floats(0.05, 0.45), angle=st.floats(0, 2 * np.pi), seed=seeds)
def test_the_width_of_an_edge_is_how_far_the_quarter_lines_are_apart(slope, angle, seed):
    # The oracle: contours of a plane at 0.25 and 0.75 are 0.5 / slope apart.
    shift = np.random.default_rng(seed).uniform(-1, 1)
    row, col = np.indices((12, 12)) - 5.5
    res_m = (10.0, 20.0)
    metres = np.cos(angle) * col * res_m[0] + np.sin(angle) * row * res_m[1]
    values = 0.5 + slope * (metres / 10 + shift)
    for rows in (3, 50):
        lines = np.concatenate(
            [
                trace(strip, res_m).lines.shapes()
                for strip in cut_strips(
                    lambda a, b: values[a:b], (12, 12), scale=Scale.plain(0.5), rows=rows
                )
            ]
        )
        widths = shapely.get_coordinates(lines, include_z=True)[:, 2]
        assert (widths > 0).any()
        np.testing.assert_allclose(widths[widths > 0], 10 * 0.5 / slope, rtol=1e-6)


def test_the_median_is_over_the_vertices_that_have_a_width():
    lines = shapely.linestrings(
        [[0, 0, 3], [1, 0, 0], [2, 0, 1], [3, 0, 2], [0, 1, 4], [1, 1, 2], [5, 5, 0], [6, 6, 0]],
        indices=[0, 0, 0, 0, 1, 1, 2, 2],
    )
    np.testing.assert_array_equal(median_widths(Lines.of(lines)), [2, 3, np.nan])


def test_a_pixel_of_water_lies_over_its_pixel():
    # Against the half pixel: rasterio says which pixel the ring is in.
    geobox = grid("utm")
    values = np.zeros(geobox.shape)
    values[4, 17] = 1
    (ring,) = Ground(geobox).place(contour(values).lines)
    centre = shapely.centroid(shapely.Polygon(ring))
    assert rowcol(geobox.transform, centre.x, centre.y) == (4, 17)
    assert shapely.distance(centre, shapely.Point(geobox.transform @ (17.5, 4.5))) < 1e-6

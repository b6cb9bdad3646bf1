"""Strips, pieces, and what holds them together."""

import contourpy
import numpy as np
import pytest
import shapely
from contouring import contour, keep_off, rough_field
from hypothesis import given
from hypothesis import strategies as st

from geounet.contours import cut_strips
from geounet.joiner import Joiner, Strings, Waiting
from geounet.ragged import Lines
from geounet.tracing import NEAREST, Scale
from geounet.vertices import keep_vertices

seeds = st.integers(0, 2**32 - 1)
sides = st.integers(1, 40)


@given(height=sides, width=sides, rows=st.integers(1, 45))
def test_strips_share_one_row_of_centres_and_reach_half_a_pixel_beyond(height, width, rows):
    values = np.arange(height * width, dtype=float).reshape(height, width)
    strips = list(
        cut_strips(lambda a, b: values[a:b], values.shape, scale=Scale.plain(-1.0), rows=rows)
    )
    whole = np.pad(values, 2, constant_values=np.nan)[:, 1:-1]
    for strip in strips:
        np.testing.assert_array_equal(
            strip.values, whole[strip.top + 2 : strip.top + 2 + len(strip.values)]
        )
    # From the row of centres above the raster to the one below it, with none in between left out.
    starts = [strip.top + 1.5 for strip in strips]
    ends = [strip.sweep_row for strip in strips]
    assert starts[0] == -0.5
    assert ends[-1] == height + 0.5
    assert starts[1:] == ends[:-1]


@given(
    value=st.floats(-2, 2), near=st.floats(-2 * NEAREST, 2 * NEAREST), level=st.floats(-0.9, 0.9)
)
def test_values_are_kept_off_the_level_on_their_own_side(value, near, level):
    before = np.array([value, level + near, level, np.nan])
    after = keep_off(before.copy(), level)
    assert (np.abs(after[:3] - level) >= NEAREST * (1 - 1e-9)).all()
    assert ((after >= level) == (before >= level)).all()
    assert np.nanmax(np.abs(after - before)) <= NEAREST * (1 + 1e-9)
    assert np.isnan(after[3])


@given(seed=seeds, height=st.integers(2, 30), width=st.integers(2, 30))
def test_between_centres_the_line_is_that_of_the_whole_raster(seed, height, width):
    # The oracle is contourpy on the whole array at once.
    values = keep_off(rough_field(np.random.default_rng(seed), (height, width)), 0.5)
    whole = contourpy.contour_generator(z=values, line_type="Separate").lines(0.5)
    expected = shapely.MultiLineString([line + 0.5 for line in whole])
    inside = shapely.box(0.5, 0.5, width - 0.5, height - 0.5)
    found = shapely.MultiLineString(list(shapely.force_2d(contour(values, rows=5).lines)))
    found = shapely.intersection(found, inside)
    assert shapely.length(found) == pytest.approx(shapely.length(expected), abs=1e-5)
    if not shapely.is_empty(expected):
        assert shapely.hausdorff_distance(found, expected) < 1e-6


@given(seed=seeds, smooth=st.floats(0.1, 2), nodata=st.sampled_from([0, 0.05, 0.4]))
def test_beyond_outer_centres_the_field_is_carried_straight_outward(seed, smooth, nodata):
    # The oracle: the same field on a grid of half pixels everywhere, made node by node.
    values = rough_field(np.random.default_rng(seed), (9, 11), smooth=smooth, nodata=nodata)
    padded = np.pad(values, 1, constant_values=np.nan)
    quarters = []
    for row in range(9):
        for col in range(11):
            if np.isnan(values[row, col]):
                continue
            for down in (0, 1):
                for right in (0, 1):
                    quarters.append(_quarter(padded, row, col, down, right))
    expected = shapely.union_all(quarters)
    found = shapely.union_all(contour(values).areas)
    assert shapely.area(shapely.symmetric_difference(found, expected)) < 1e-5


def _quarter(padded, row, col, down, right):
    """Water in a quarter of a pixel, where the field runs straight along its edges."""
    around = padded[row + down : row + down + 2, col + right : col + right + 2]
    level = keep_off(np.array([padded[row + 1, col + 1]]), 0.5)[0]
    beside = np.nanmean(keep_off(around[1 - down], 0.5))
    below = np.nanmean(keep_off(around[:, 1 - right], 0.5))
    corner = np.nanmean(keep_off(around.copy(), 0.5))
    if np.isfinite(around).all():
        return _plain_quarter(around, row, col, down, right)
    nodes = np.array([[level, beside], [below, corner]])
    square = nodes[:: 1 if down else -1, :: 1 if right else -1]
    origin = (col + 0.5 * right, row + 0.5 * down)
    return _filled(keep_off(square.copy(), 0.5), origin, 0.5)


def _plain_quarter(around, row, col, down, right):
    """The same where all four pixels around the corner are valid: their cell, cut."""
    cell = _filled(around, (col + right - 0.5, row + down - 0.5), 1)
    left, top = col + 0.5 * right, row + 0.5 * down
    return shapely.intersection(cell, shapely.box(left, top, left + 0.5, top + 0.5))


def _filled(square, origin, size):
    x, y = np.array([0, size]) + origin[0], np.array([0, size]) + origin[1]
    generator = contourpy.contour_generator(x, y, square, fill_type="OuterOffset")
    points, offsets = generator.filled(0.5, np.inf)
    polygons = [shapely.polygons(p[o[0] : o[1]]) for p, o in zip(points, offsets, strict=True)]
    return shapely.union_all(polygons)


def test_vertices_are_left_out_of_rings_that_stay_closed():
    square = np.array([[0, 0], [1, 0], [2, 0], [2, 2], [0, 2], [0, 0]], dtype=float)
    points = np.concatenate([square, square + 10])
    kept = np.ones(12, dtype=bool)
    kept[[1, 6]] = False  # in the first ring halfway along a side; in the second where it starts
    points, offsets = keep_vertices(points, np.array([0, 6, 12]), kept)
    assert offsets.tolist() == [0, 5, 10]
    assert points[:5].tolist() == [[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]
    assert points[5:].tolist() == [[11, 10], [12, 10], [12, 12], [10, 12], [11, 10]]


def test_pieces_wait_until_their_group_is_whole():
    legs = Lines.of(shapely.linestrings([[[i, 0, 0], [i, 1, 0]] for i in (1, 5, 9)]))
    foot = Lines.of(shapely.linestrings([[[1, 1, 0], [5, 1, 0]]]))
    joiner, waiting = Joiner(), Waiting()
    # Two legs that meet only below, and one piece that ends above.
    grouped = joiner.add(3, np.arange(3), np.array([1 + 1j, 5 + 1j, 9 + 0.5j]), sweep_row=1.0)
    assert (grouped.open, grouped.total) == (2, 3)
    done = waiting.add([Strings(legs, grouped.new)], grouped)
    assert done.groups.tolist() == [0]
    assert done.lines.points.tolist() == [[9, 0, 0], [9, 1, 0]]
    grouped = joiner.add(1, np.zeros(2, int), np.array([1 + 1j, 5 + 1j]), sweep_row=2.0)
    done = waiting.add([Strings(foot, grouped.new)], grouped)
    assert done.groups.tolist() == [0, 0, 0]
    assert sorted(done.lines.points[:, :2].tolist()) == [
        [1, 0],
        [1, 1],
        [1, 1],
        [5, 0],
        [5, 1],
        [5, 1],
    ]


def test_pieces_are_tied_where_one_goes_on_from_another():
    pieces = Lines.of(
        shapely.linestrings(
            [[[2, 0, 7], [3, 0, 0]], [[5, 5, 1], [6, 5, 2]], [[1, 0, 0], [2, 0, 7]],
             [[6, 5, 2], [5, 6, 3]], [[5, 6, 3], [5, 5, 1]], [[8, 8, 0], [9, 8, 0]]]
        )
    )  # fmt: skip
    tied = Strings(pieces, np.array([4, 7, 4, 7, 7, 1])).tied()
    found = dict(zip(tied.groups, tied.lines.shapes(), strict=True))
    assert found[4].equals(shapely.LineString([[1, 0], [2, 0], [3, 0]]))
    assert shapely.get_coordinates(found[4], include_z=True)[:, 2].tolist() == [0, 7, 0]
    assert found[7].is_ring
    assert found[7].equals(shapely.LinearRing([[5, 5], [6, 5], [5, 6]]))
    assert found[1].equals(shapely.LineString([[8, 8], [9, 8]]))

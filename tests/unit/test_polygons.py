"""Areas: exactly what the lines and the edges of pixels enclose."""

from itertools import pairwise

import numpy as np
import pytest
import shapely
from contouring import contour, rough_field
from hypothesis import given
from hypothesis import strategies as st

from geounet import polygons, rims

seeds = st.integers(0, 2**32 - 1)
fields = {
    "seed": seeds,
    "height": st.integers(1, 24),
    "width": st.integers(1, 24),
    "rows": st.integers(1, 12),
    "nodata": st.sampled_from([0, 0.03, 0.3, 0.7]),
    "steps": st.sampled_from([None, 2, 4]),
}


def field(seed, height, width, nodata, steps):
    rng = np.random.default_rng(seed)
    return rough_field(rng, (height, width), smooth=0.8, nodata=nodata, steps=steps)


@given(**fields)
def test_strips_of_any_height_give_the_same_areas_in_the_same_order(
    seed, height, width, rows, nodata, steps
):
    values = field(seed, height, width, nodata, steps)
    whole, strips = contour(values, rows=100).areas, contour(values, rows=rows).areas
    assert len(whole) == len(strips)
    assert shapely.equals_identical(whole, strips).all()


@given(pixels=st.integers(1, 60), **fields)
def test_rims_in_parts_of_any_size_give_the_same_lines_and_areas(
    pixels, seed, height, width, rows, nodata, steps
):
    values = field(seed, height, width, nodata, steps)
    whole = contour(values, rows=100)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(rims, "RIM_PIXELS", pixels)
        parts = contour(values, rows=rows)
    for found, expected in zip(parts, whole, strict=True):
        assert len(found) == len(expected)
        assert shapely.equals_identical(found, expected).all()


@given(**fields)
def test_a_scene_of_water_has_exactly_the_area_of_its_valid_pixels(
    seed, height, width, rows, nodata, steps
):
    values = np.where(np.isnan(field(seed, height, width, nodata, steps)), np.nan, 1.0)
    areas = contour(values, rows=rows).areas
    assert shapely.area(areas).sum() == np.isfinite(values).sum()
    row, col = np.nonzero(np.isfinite(values))
    pixels = shapely.union_all(shapely.box(col, row, col + 1, row + 1))
    assert shapely.equals(shapely.union_all(areas), pixels)


@given(**{name: values for name, values in fields.items() if name != "steps"})
def test_water_and_land_share_out_the_valid_pixels(seed, height, width, rows, nodata):
    values = field(seed, height, width, nodata, steps=None)
    water, land = contour(values, rows=rows).areas, contour(1 - values, rows=rows).areas
    total = shapely.area(water).sum() + shapely.area(land).sum()
    assert total == pytest.approx(np.isfinite(values).sum(), abs=1e-6)
    overlap = shapely.intersection(shapely.union_all(water), shapely.union_all(land))
    assert shapely.area(overlap) < 1e-6


@given(**fields)
def test_areas_are_valid_and_hold_the_centres_that_reach_the_level(
    seed, height, width, rows, nodata, steps
):
    values = field(seed, height, width, nodata, steps)
    areas = contour(values, rows=rows).areas
    assert shapely.is_valid(areas).all()
    assert (shapely.get_type_id(areas) == shapely.GeometryType.POLYGON).all()
    row, col = np.indices(values.shape)
    inside = shapely.contains_xy(shapely.union_all(areas), col + 0.5, row + 0.5)
    np.testing.assert_array_equal(inside, values >= 0.5)
    assert shapely.area(shapely.union_all(areas)) == pytest.approx(shapely.area(areas).sum())


def segments(shapes):
    """Directed edges, as a set of (col, row, col, row)."""
    points, part = shapely.get_coordinates(shapes, return_index=True)
    same = part[1:] == part[:-1]
    return set(map(tuple, np.column_stack([points[:-1], points[1:]])[same].tolist()))


@given(**fields)
def test_outlines_are_the_lines_and_edges_of_pixels(seed, height, width, rows, nodata, steps):
    values = field(seed, height, width, nodata, steps)
    lines, areas = contour(values, rows=rows)
    _, points, (ring_offsets, _) = (
        shapely.to_ragged_array(areas) if len(areas) else (None, np.empty((0, 2)), ([0], [0]))
    )
    rings = [points[a:b] for a, b in pairwise(ring_offsets)]
    outlines = segments(np.array([shapely.LineString(ring) for ring in rings], dtype=object))
    drawn = segments(lines)
    assert drawn <= outlines  # to the last bit, and in the same direction
    valid = np.pad(np.isfinite(values), 1)
    for col, row, next_col, next_row in outlines - drawn:
        assert (col == next_col and col % 1 == 0) or (row == next_row and row % 1 == 0)
        x, y = (col + next_col) / 2, (row + next_row) / 2
        dx, dy = (0.1, 0) if col == next_col else (0, 0.1)
        beside = [valid[int(y + s * dy + 1), int(x + s * dx + 1)] for s in (-1, 1)]
        assert sorted(beside) == [False, True]


@pytest.mark.parametrize("rows", [2, 3, 100])
def test_straight_edges_have_no_vertices_in_between(rows):
    values = np.ones((9, 7))
    values[3:5, 2:4] = np.nan
    (area,) = contour(values, rows=rows).areas
    assert shapely.get_num_coordinates(area) == 10
    assert area.equals(shapely.box(0, 0, 7, 9) - shapely.box(2, 3, 4, 5))


def test_areas_that_touch_at_a_corner_of_nodata_are_two():
    values = np.array([[1, np.nan], [np.nan, 1]])
    assert len(contour(values).areas) == 2


def test_a_lake_on_an_island_in_a_lake_is_an_area_of_its_own():
    row, col = np.indices((40, 40)) - 19.5
    radius = np.hypot(row, col)
    values = 0.5 + 0.5 * np.sin(radius / 18 * 3 * np.pi)  # water within 6, and from 12 to 18
    values[radius > 18] = 0
    lake, sea = sorted(contour(values, rows=7).areas, key=shapely.area)
    assert shapely.get_num_interior_rings(lake) == 0
    assert shapely.get_num_interior_rings(sea) == 1


@pytest.mark.parametrize("land", [False, True])
def test_an_outline_that_touches_itself_falls_into_parts_that_have_their_own_holes(land):
    ring = [(0, 0), (30, 0), (30, 30), (40, 30), (40, 40), (30, 40), (30, 30), (0, 30)]
    holes = [shapely.Point(at).buffer(1.3).exterior for at in ((8.2, 9.1), (35.1, 34.6), (20.3, 5))]
    bow = shapely.orient_polygons(np.array([shapely.Polygon(ring, holes)]), exterior_cw=land)
    alone = shapely.orient_polygons(np.array([shapely.box(50, 1, 60, 50)]), exterior_cw=land)
    rings = polygons._rings_of(np.concatenate([bow, alone]))
    mended = polygons._mend(polygons._arrange(rings, land=land), land=land).shapes()
    squares = shapely.box(0, 0, 30, 30), shapely.box(30, 30, 40, 40)
    expected = [squares[0] - shapely.union_all([shapely.Polygon(holes[i]) for i in (0, 2)])]
    expected += [squares[1] - shapely.Polygon(holes[1]), alone[0]]
    assert shapely.is_valid(mended).all()
    assert shapely.equals(mended, np.array(expected)).all()

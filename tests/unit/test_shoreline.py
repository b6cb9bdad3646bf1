"""Lines, water and land drawn with options: one edge, in strips of any height."""

import numpy as np
import pytest
import scipy.ndimage
import shapely
from affine import Affine
from contouring import contour, rough_field
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from shorelines import GRIDS, OPTIONS, Shapes, draw, ground

from geounet.ground import Ground
from geounet.line_options import LineOptions
from geounet.shoreline import Shoreline
from geounet.tracing import Scale

fields = {
    "seed": st.integers(0, 2**32 - 1),
    "height": st.integers(2, 90),
    "width": st.integers(2, 40),
    "smooth": st.sampled_from([0.6, 1.5, 4]),
    "nodata": st.sampled_from([0, 0.01, 0.2]),
    "steps": st.sampled_from([None, 1, 4]),
}
grids = st.sampled_from(sorted(GRIDS))
options = st.sampled_from(sorted(OPTIONS))


def field(seed, height, width, smooth, nodata, steps):
    rng = np.random.default_rng(seed)
    return rough_field(rng, (height, width), smooth=smooth, nodata=nodata, steps=steps)


def same(one, other):
    return all(
        len(a) == len(b) and shapely.equals_identical(a, b).all()
        for a, b in zip(one, other, strict=True)
    )


@settings(max_examples=20)
@given(**fields, rows=st.integers(1, 100), option=options, grid=grids)
def test_strips_of_any_height_give_the_same_whatever_is_asked(
    seed, height, width, smooth, nodata, steps, rows, option, grid
):
    values = field(seed, height, width, smooth, nodata, steps)
    chosen = OPTIONS[option]
    assert same(draw(values, chosen, grid=grid), draw(values, chosen, grid=grid, rows=rows))


@settings(max_examples=20)
@given(**fields)
def test_without_options_nothing_is_other_than_the_contour(
    seed, height, width, smooth, nodata, steps
):
    values = field(seed, height, width, smooth, nodata, steps)
    plain, expected = draw(values, LineOptions()), contour(values)
    assert same(plain[:2], expected)
    assert not len(plain.land)


def edges(shapes):
    """Directed segments, (n, 4), col, row, col, row."""
    points, part = shapely.get_coordinates(
        shapely.get_rings(shapes) if (shapely.get_type_id(shapes) == 3).all() else shapes,
        return_index=True,
    )
    within = part[1:] == part[:-1]
    return set(map(tuple, np.column_stack([points[:-1], points[1:]])[within].tolist()))


@settings(max_examples=20)
@given(**fields, option=options)
def test_water_and_land_tile_what_is_valid_and_their_common_edges_are_the_lines(
    seed, height, width, smooth, nodata, steps, option
):
    values = field(seed, height, width, smooth, nodata, steps)
    lines, water, land = draw(values, OPTIONS[option])
    assert shapely.is_valid(water).all()
    assert shapely.is_valid(land).all()
    total = shapely.area(water).sum() + shapely.area(land).sum()
    assert total == pytest.approx(np.isfinite(values).sum(), rel=1e-9, abs=1e-12)
    both = np.concatenate([water, land])
    assert not len(both) or shapely.coverage_is_valid(both)
    around_water, around_land = edges(water), edges(land)
    turned = {(c, d, a, b) for a, b, c, d in around_land}
    assert edges(lines) == around_water & around_land  # the same way round, as land is on the left
    assert not around_water & turned


@settings(max_examples=20)
@given(**fields, option=options)
def test_lines_neither_cross_nor_touch(seed, height, width, smooth, nodata, steps, option):
    values = field(seed, height, width, smooth, nodata, steps)
    lines = shapely.force_2d(draw(values, OPTIONS[option]).lines)
    assert shapely.is_simple(lines).all()
    one, other = shapely.STRtree(lines).query(lines, predicate="intersects")
    assert (one == other).all()


@pytest.mark.parametrize("grid", GRIDS)
@settings(max_examples=20)
@given(**fields, tolerance=st.sampled_from([3, 15, 60]))
def test_simplified_lines_keep_ends_and_go_no_further_than_allowed(
    grid, seed, height, width, smooth, nodata, steps, tolerance
):
    values = field(seed, height, width, smooth, nodata, steps)
    plain = draw(values, grid=grid).lines
    simple = draw(values, LineOptions(simplify_m=tolerance), grid=grid).lines
    assert len(simple) == len(plain)
    assert shapely.get_num_coordinates(simple).sum() <= shapely.get_num_coordinates(plain).sum()
    on = ground(values.shape, grid)
    plane = [
        np.array([shapely.transform(shapely.force_2d(line), on._to_plane) for line in lines])
        for lines in (plain, simple)
    ]
    # In an order of their own each; both have lines where they were.
    tree = shapely.STRtree(plane[1])
    for line in plane[0]:
        apart = min(
            shapely.hausdorff_distance(line, plane[1][i])
            for i in tree.query(line.buffer(tolerance))
        )
        assert apart <= tolerance * (1 + 1e-6)


def test_a_coast_that_is_nearly_straight_becomes_a_few_vertices():
    row, col = np.indices((60, 200))
    values = 1 / (1 + np.exp(-(row - 30 + 0.2 * np.sin(col * 1.7))))
    (line,) = draw(values, LineOptions(simplify_m=5)).lines
    assert shapely.get_num_coordinates(line) == 2


def test_an_island_beside_a_coast_is_not_passed_over():
    """The island lies in a bay, between a coast and the chord across it."""
    values = np.ones((60, 60))
    values[40:] = 0
    values[40:44, 20:40] = 1
    values[41:43, 29:31] = 0
    lines, water, land = draw(values, LineOptions(simplify_m=100, land=True))
    assert len(lines) == 2
    assert shapely.coverage_is_valid(np.concatenate([water, land]))
    assert len(land) == 2
    (sea,) = water
    assert shapely.get_num_interior_rings(sea) == 1


@settings(max_examples=20)
@given(**fields, most=st.sampled_from([1.0, 4.0, 50.0]), grid=grids)
def test_smoothed_vertices_move_no_further_than_allowed_and_stay_between_their_centres(
    seed, height, width, smooth, nodata, steps, most, grid
):
    values = field(seed, height, width, smooth, nodata, steps)
    plain = draw(values, grid=grid).lines
    moved = draw(values, LineOptions(smooth_m=most), grid=grid).lines
    assert len(plain) == len(moved)
    old, new = edges(plain), edges(moved)
    assert len(old) == len(new)
    on = ground(values.shape, grid)
    here, there = (
        np.array(sorted(points, key=_grid_edge))
        for points in ({edge[:2] for edge in old}, {edge[:2] for edge in new})
    )
    if len(here):
        step = np.hypot(*(on._to_plane(here) - on._to_plane(there)).T)
        assert step.max() <= most * (1 + 1e-6)
        row, col = np.indices(values.shape) + 0.5
        inside = shapely.contains_xy(
            shapely.union_all(draw(values, LineOptions(smooth_m=most), grid=grid).water), col, row
        )
        np.testing.assert_array_equal(inside, values >= 0.5)


def _grid_edge(point):
    """What stays of a vertex that slides between two centres; of others, the place."""
    if (np.array(point) % 1 != 0.5).all():
        return point
    return tuple(np.floor(x - 0.5) if x % 1 != 0.5 else x for x in point)


def disc(radius, size=80, at=(40.3, 39.8)):
    row, col = np.indices((size, size)) + 0.5
    return radius - np.hypot(col - at[0], row - at[1])


@pytest.mark.parametrize(("radius", "share"), [(3, 0.03), (8, 0.005), (25, 0.001)])
def test_smoothing_leaves_islands_as_large_as_they_were(radius, share):
    island = -disc(radius)
    plain = draw(island, level=0.0).land
    smoothed = draw(island, LineOptions(smooth_m=10, land=True), level=0.0).land
    assert shapely.area(smoothed)[0] == pytest.approx(shapely.area(plain)[0], rel=share)


def test_smoothing_takes_the_steps_out_of_a_mask():
    mask = (disc(25) > 0).astype(float)
    edge = shapely.Point(40.3, 39.8).buffer(25, quad_segs=256).exterior

    def rmse(options):
        (line,) = draw(mask, options).lines
        places = shapely.points(shapely.get_coordinates(shapely.segmentize(line, 0.2)))
        return float(np.sqrt(np.mean(shapely.distance(places, edge) ** 2)))

    assert rmse(LineOptions(smooth_m=10)) < 0.8 * rmse(LineOptions())


@settings(max_examples=20)
@given(**fields)
def test_small_islands_and_ponds_are_filled_and_others_as_they_were(
    seed, height, width, smooth, nodata, steps
):
    """The oracle fills whole components of the mask, by what their lines enclose."""
    values = field(seed, height, width, smooth, nodata, steps)
    least_px = 20
    plain = draw(values)
    drawn = draw(values, LineOptions(min_area_m2=least_px * 100, land=True))
    rings = plain.lines[shapely.is_closed(plain.lines)]
    filled = [shapely.Polygon(ring) for ring in shapely.force_2d(rings)]
    row, col = np.indices(values.shape) + 0.5
    valid = np.isfinite(values)
    expected = values >= 0.5
    gone = 0
    # From the largest to the smallest, but what is small hides what is within.
    for polygon in filled:
        inside = shapely.contains_xy(polygon, col, row)
        if polygon.area < least_px * (1 - 1e-3) and valid[inside].all():
            around = scipy.ndimage.binary_dilation(inside) & ~inside & valid
            outer = [p for p in filled if p.area > polygon.area and p.contains(polygon)]
            assert around.any()
            gone += 1
            kept_outside = all(
                p.area >= least_px or not valid[shapely.contains_xy(p, col, row)].all()
                for p in outer
            )
            if kept_outside:
                expected[inside] = (values >= 0.5)[around].any() and not (
                    (values >= 0.5)[inside & scipy.ndimage.binary_dilation(around)].any()
                )
    assert len(drawn.lines) == len(plain.lines) - gone
    water = shapely.contains_xy(shapely.union_all(drawn.water), col, row)
    np.testing.assert_array_equal(water[valid], expected[valid])


TURNED = {
    **GRIDS,
    "west up": (Affine(0, 10, 5e5, 10, 0, 45e5), "EPSG:32630"),
    "mirrored": (Affine(-10, 0, 5e5, 0, -10, 45e5), "EPSG:32630"),
}


@pytest.mark.parametrize("grid", TURNED)
@given(**{name: fields[name] for name in ("seed", "smooth", "nodata")})
@settings(max_examples=5)
def test_land_is_on_the_left_on_the_ground_however_the_grid_lies(grid, seed, smooth, nodata):
    # Without values at the level, which put lines a millionth of a pixel from nodata.
    values = field(seed, 30, 25, smooth, nodata, None)
    transform, crs = TURNED[grid]
    on = Ground(GeoBox(values.shape, transform, crs))
    shoreline = Shoreline(values.shape, on, scale=Scale.plain(0.5), options=OPTIONS["all"])
    parts = list(shoreline.draw(lambda a, b: values[a:b], (1, 1)))
    lines, water, land = (on.place(shapes) for shapes in Shapes.of(parts))
    sea, ground_ = shapely.union_all(water), shapely.union_all(land)
    for line in lines:
        start, end = shapely.get_coordinates(line)[:2]
        middle, along = (start + end) / 2, end - start
        left = np.array([-along[1], along[0]]) * 1e-3
        assert shapely.intersects_xy(ground_, *(middle + left))
        assert shapely.intersects_xy(sea, *(middle - left))
    # Outlines run with the lines: of land as GeoJSON has them, of water the other way round.
    for areas, clockwise in ((water, True), (land, False)):
        rings = shapely.get_exterior_ring(areas)
        assert (shapely.is_ccw(rings) != clockwise).all()

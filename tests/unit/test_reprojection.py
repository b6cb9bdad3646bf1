"""Shapes in another CRS: in their place, whole, and cut at 180° where a format asks for it."""

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer

from geounet import reprojection
from geounet.errors import OutputError
from geounet.reprojection import Reprojection, densify, round_degrees, split_at_180

UTM60 = CRS.from_epsg(32760)
WGS84 = CRS.from_epsg(4326)
FIJI = GeoBox((2000, 2000), Affine(30, 0, 790_000, 0, -30, 8_180_000), "EPSG:32760")
"""From 179.7° E on past 180°."""


def shapes(*coordinates):
    return np.array([shapely.LineString(one) for one in coordinates], dtype=object)


def test_a_divided_edge_runs_through_the_same_places_whichever_way_it_is_walked() -> None:
    rng = np.random.default_rng(1)
    points = rng.uniform(0, 1e6, (40, 7, 2))
    forth = densify(shapely.linestrings(points), 3e4)
    back = densify(shapely.linestrings(points[:, ::-1]), 3e4)
    assert shapely.equals_identical(forth, shapely.reverse(back)).all()
    lengths = np.hypot(*np.diff(shapely.get_coordinates(forth[0]), axis=0).T)
    assert lengths.max() <= 3e4 * (1 + 1e-12)


def test_dividing_keeps_every_vertex_and_every_ring() -> None:
    outer, hole = shapely.box(0, 0, 100, 100).exterior, shapely.box(20, 20, 80, 80).exterior
    polygons = np.array(
        [shapely.Polygon(outer, [hole]), shapely.box(200, 0, 203, 3), shapely.Polygon(outer)]
    )
    dense = densify(polygons, 7)
    assert shapely.equals(dense, polygons).all()
    assert shapely.get_num_interior_rings(dense).tolist() == [1, 0, 0]
    assert shapely.get_num_coordinates(dense).tolist() == [4 * 15 + 1 + 4 * 9 + 1, 5, 61]
    assert shapely.equals_identical(densify(polygons, 1000), polygons).all()


@pytest.mark.parametrize("epsg", [4326, 3857, 32760, 3035])
def test_what_was_straight_on_the_grid_is_nowhere_off_by_a_tenth_of_a_pixel(epsg) -> None:
    grid = GeoBox((5000, 5000), Affine(20, 0, 400_000, 0, -20, 5_600_000), "EPSG:32632")
    rng = np.random.default_rng(epsg)
    ends = np.array([[400_000, 5_500_000]]) + rng.uniform(0, 100_000, (30, 2, 2))
    target = CRS.from_epsg(epsg)
    if epsg == 32760:
        target = CRS.from_epsg(32633)
    moved = Reprojection(CRS.from_epsg(32632), target, grid)(shapely.linestrings(ends))
    back = Transformer.from_crs(target, CRS.from_epsg(32632), always_xy=True)
    for (start, end), line in zip(ends, moved, strict=True):
        # Points along each edge in the new CRS, brought back, lie on the old straight one.
        along = shapely.get_coordinates(shapely.segmentize(line, line.length / 400))
        x, y = back.transform(*along.T)
        off = shapely.distance(shapely.LineString([start, end]), shapely.points(x, y))
        assert off.max() < 0.1 * 20
        assert shapely.get_num_coordinates(line) < 400


def test_longitudes_go_on_past_180_where_a_grid_does() -> None:
    (line,) = Reprojection(UTM60, WGS84, FIJI)(shapes([(800_000, 8_170_000), (840_000, 8_150_000)]))
    lon = shapely.get_coordinates(line)[:, 0]
    assert lon.min() < -180 < lon.max() < -179  # the grid's middle is east of 180°
    assert np.abs(np.diff(lon)).max() < 1


def test_a_crs_without_a_place_for_the_scene_is_refused() -> None:
    gnomonic = CRS.from_proj4("+proj=gnom +lat_0=60 +lon_0=0")
    with pytest.raises(OutputError, match="has no place for a part of the scene"):
        Reprojection(UTM60, gnomonic, FIJI)(shapes([(800_000, 8_170_000), (840_000, 8_150_000)]))


POLAR = GeoBox((400, 400), Affine(1000, 0, -200_000, 0, -1000, 200_000), "EPSG:3413")


@pytest.mark.parametrize(
    ("grid", "epsg"), [(FIJI, 6933), (FIJI, 3857), (POLAR, 3857), (POLAR, 6933), (POLAR, 4326)]
)
def test_a_crs_with_a_seam_or_a_pole_in_the_scene_is_refused(grid, epsg) -> None:
    source = CRS.from_user_input(str(grid.crs))
    with pytest.raises(OutputError, match="seam or a pole within the scene"):
        Reprojection(source, CRS.from_epsg(epsg), grid)


@pytest.mark.parametrize("epsg", [4326, 3832, 3460])
def test_a_crs_whose_seam_is_elsewhere_takes_a_scene_astride_180(epsg) -> None:
    Reprojection(UTM60, CRS.from_epsg(epsg), FIJI)


def test_a_line_across_180_becomes_two_that_meet_there() -> None:
    near = shapes([(170, 0), (175, 5)])
    jumping, going_on = shapes([(179, 10), (-179, 12), (-178, 12)]), shapes([(179, 10), (181, 12)])
    assert shapely.equals_identical(split_at_180(near), near).all()
    (one,) = split_at_180(jumping)
    assert one.wkt == ("MULTILINESTRING ((179 10, 180 11), (-180 11, -179 12, -178 12))")
    (other,) = split_at_180(going_on)
    assert other.wkt == "MULTILINESTRING ((179 10, 180 11), (-180 11, -179 12))"
    (back,) = split_at_180(shapes([(-179, 12), (179, 10)]))
    assert back.wkt == "MULTILINESTRING ((-179 12, -180 11), (180 11, 179 10))"


def test_a_line_that_ends_on_180_is_not_cut() -> None:
    for end in (180, -180):
        (line,) = split_at_180(shapes([(179, 10), (end, 11)]))
        assert line.wkt == "LINESTRING (179 10, 180 11)"
    (west,) = split_at_180(shapes([(180, 10), (-179, 11)]))
    assert west.wkt == "LINESTRING (-180 10, -179 11)"


box_sides = st.floats(0.5, 20)


@given(
    lon=st.floats(165, 195),
    lat=st.floats(-60, 60),
    width=box_sides,
    height=box_sides,
    hole=st.booleans(),
)
def test_areas_cut_at_180_keep_what_they_cover(lon, lat, width, height, hole) -> None:
    whole = shapely.box(lon, lat, lon + width, lat + height)
    if hole:
        inner = shapely.box(
            lon + 0.3 * width, lat + 0.3 * height, lon + 0.7 * width, lat + 0.7 * height
        )
        whole = shapely.difference(whole, inner)
    jumping = shapely.transform(
        whole, lambda xy: np.column_stack(((xy[:, 0] + 180) % 360 - 180, xy[:, 1]))
    )
    for shape in (whole, jumping):
        (cut,) = split_at_180(np.array([shape], dtype=object))
        assert cut.is_valid
        left, _, right, _ = cut.bounds
        assert -180 <= left <= right <= 180
        assert cut.area == pytest.approx(whole.area, rel=1e-9)
        for part in shapely.get_parts(cut):
            assert part.exterior.is_ccw
            assert not any(ring.is_ccw for ring in part.interiors)
        # Back where they were, the parts are the whole.
        parts = [
            shapely.transform(part, lambda xy: xy + np.array([360.0, 0.0]))
            if part.bounds[0] < 0
            else part
            for part in shapely.get_parts(cut)
        ]
        apart = shapely.symmetric_difference(shapely.union_all(parts), whole)
        assert apart.area < 1e-9


def test_a_ring_around_a_pole_comes_to_its_cap_and_its_hole_stays_one() -> None:
    lon = np.linspace(0, 360, 73)
    outer = np.column_stack(((lon + 180) % 360 - 180, np.full(73, 80.0)))
    hole = np.column_stack(((lon + 180) % 360 - 180, np.full(73, 85.0)))
    cap, ring = split_at_180(
        np.array([shapely.Polygon(outer), shapely.Polygon(outer, [hole])], dtype=object)
    )
    assert cap.is_valid
    assert ring.is_valid
    assert cap.area == pytest.approx(360 * 10)
    assert ring.area == pytest.approx(360 * 5)


def test_rounding_leaves_polygons_valid() -> None:
    # A neck much narrower than what is rounded to: rounded as they are, its sides would cross.
    neck = [(0, 0), (1, 0.00000004), (2, 0), (2, 1), (1, 0.00000006), (0, 1), (0, 0)]
    tiny = shapely.box(0, 0, 1e-9, 1e-9)
    rounded, kept = round_degrees(np.array([shapely.Polygon(neck), tiny], dtype=object))
    assert rounded.is_valid
    assert rounded.area == pytest.approx(shapely.Polygon(neck).area, abs=1e-6)
    assert kept.equals(tiny)
    (line,) = round_degrees(shapes([(0.12345678901, 1), (2, 3)]))
    assert line.coords[0] == (0.1234568, 1)


def test_what_falls_apart_is_mended_to_one_polygon_of_the_same_kind():
    # A bow tie with a spike: GEOS makes a collection of it, with a MultiPolygon inside.
    bow = shapely.Polygon([(0, 0), (4, 4), (4, 0), (0, 4), (0, 0), (-3, 0), (0, 0)])
    (mended,) = reprojection._mended(np.array([bow]), "here")
    assert mended.geom_type == "Polygon"
    assert mended.is_valid

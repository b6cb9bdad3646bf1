"""Vector files on a grid: what is read near it, and how straight its edges stay."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer

from geounet.errors import AreaError
from geounet.vectors import (
    bounds_touch,
    clip_around,
    crs_name,
    open_vectors,
    pieces_of,
    project,
    read_around,
)

GRID = GeoBox((200, 200), Affine(10, 0, 500_000, 0, -10, 5_000_000), "EPSG:32632")
UTM = CRS(32632)


@given(
    target=st.sampled_from([4326, 32631, 3035, 3857]),
    seed=st.integers(0, 1000),
)
@settings(max_examples=20)
def test_projected_edges_stay_within_a_twentieth_of_a_pixel(target, seed) -> None:
    rng = np.random.default_rng(seed)
    source = CRS(target)
    here = np.column_stack([rng.uniform(500_000, 502_000, 2), rng.uniform(4_998_000, 5_000_000, 2)])
    ends = np.column_stack(Transformer.from_crs(UTM, source, always_xy=True).transform(*here.T))
    moved = project(np.array([shapely.LineString(ends)]), source, UTM, GRID)[0]
    share = np.linspace(0, 1, 1001)[:, None]
    fine = ends[0] + share * (ends[1] - ends[0])
    true = shapely.LineString(
        np.column_stack(Transformer.from_crs(source, UTM, always_xy=True).transform(*fine.T))
    )
    assert shapely.hausdorff_distance(moved, true) <= 0.5


@pytest.mark.parametrize("target", [4326, 3035])
def test_edges_across_a_whole_tile_stay_within_a_twentieth_of_a_pixel_too(target) -> None:
    # 100 km of a parallel: its chord is 200 m off.
    tile = GeoBox((10980, 10980), Affine(10, 0, 600_000, 0, -10, 5_000_000), UTM)
    source = CRS(target)
    to_source = Transformer.from_crs(UTM, source, always_xy=True)
    ends = np.column_stack(to_source.transform([600_500, 709_000], [4_950_000, 4_951_000]))
    moved = project(np.array([shapely.LineString(ends)]), source, UTM, tile)[0]
    fine = ends[0] + np.linspace(0, 1, 5001)[:, None] * (ends[1] - ends[0])
    true = np.column_stack(Transformer.from_crs(source, UTM, always_xy=True).transform(*fine.T))
    chord = shapely.LineString(true[[0, -1]])
    assert shapely.distance(shapely.points(true), chord).max() > 10
    assert shapely.distance(shapely.points(true), moved).max() <= 0.5


def test_edges_are_not_cut_finer_than_they_need_be() -> None:
    line = shapely.LineString([(9.0, 45.14), (9.02, 45.15)])
    moved = project(np.array([line]), CRS(4326), UTM, GRID)[0]
    assert len(moved.coords) < 20


def test_only_what_lies_near_the_grid_is_read(tmp_path) -> None:
    boxes = [shapely.box(x, 4_999_000, x + 100, 4_999_100) for x in range(400_000, 600_000, 1_000)]
    gpd.GeoSeries(boxes, crs=UTM).to_file(tmp_path / "p.gpkg")
    vectors = open_vectors(str(tmp_path / "p.gpkg"), layer=None, where=None, error=AreaError)
    assert vectors.bounds == (400_000, 4_999_000, 599_100, 4_999_100)
    near = read_around(vectors, GRID)
    assert 2 <= len(near) <= 4
    assert len(read_around(vectors, GRID, margin_m=20_000)) >= 42


def test_an_ocean_is_cut_to_the_surroundings() -> None:
    angle = np.linspace(0, 2 * np.pi, 100_000, endpoint=False)
    ocean = shapely.Polygon(np.column_stack([9 + 80 * np.cos(angle), 45.14 + 40 * np.sin(angle)]))
    near = clip_around(np.array([ocean]), CRS(4326), GRID)
    assert shapely.get_num_coordinates(near).sum() < 20
    # Cut edges lie outside of the grid.
    there = project(near, CRS(4326), UTM, GRID)
    assert shapely.contains_properly(there[0], shapely.box(500_000, 4_998_000, 502_000, 5_000_000))


@given(seed=st.integers(0, 100), most=st.integers(8, 200))
@settings(max_examples=20)
def test_pieces_are_small_and_make_up_the_whole(seed, most) -> None:
    rng = np.random.default_rng(seed)
    angle = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
    ring = np.column_stack([np.cos(angle), np.sin(angle)]) * rng.uniform(50, 100, (1000, 1))
    star = shapely.Polygon(ring).difference(shapely.Point(0, 0).buffer(20))
    pieces = pieces_of(np.array([star, shapely.box(200, 0, 300, 1)]), most_vertices=most)
    assert shapely.get_num_coordinates(pieces).max() <= most
    assert shapely.area(pieces).sum() == pytest.approx(star.area + 100, rel=1e-9)
    assert shapely.symmetric_difference(
        shapely.union_all(pieces), shapely.union(star, shapely.box(200, 0, 300, 1))
    ).area == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("bounds", "crs", "touch"),
    [
        ((501_000, 4_999_000, 600_000, 5_100_000), 32632, True),
        ((502_100, 4_999_000, 600_000, 5_100_000), 32632, False),
        ((-180, -90, 180, 90), 4326, True),
        ((9.01, 45.14, 9.02, 45.15), 4326, True),
        ((9.03, 45.14, 9.04, 45.15), 4326, False),
        ((300_000, 0, 700_000, 9_000_000), 32650, False),
    ],
)
def test_bounds_touch_where_they_have_ground_in_common(bounds, crs, touch) -> None:
    assert bounds_touch(bounds, CRS(crs), GRID) == touch


def test_a_crs_is_called_by_its_code_where_it_has_one() -> None:
    assert crs_name(GRID) == "EPSG:32632"
    wkt = CRS(32701).to_wkt("WKT1_GDAL")
    assert crs_name(GeoBox((1, 1), Affine.identity(), wkt)) == "EPSG:32701"
    odd = "+proj=sinu +lon_0=17"
    assert "Sinusoidal" in crs_name(GeoBox((1, 1), Affine.identity(), odd))

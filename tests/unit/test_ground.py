"""Lengths and areas on the Earth."""

import numpy as np
import pytest
import shapely
from affine import Affine
from odc.geo.geobox import GeoBox
from pyproj import Geod, Transformer

from geounet.ground import Ground
from geounet.ragged import Areas, Lines

WGS84 = Geod(ellps="WGS84")
GRIDS = {
    "utm": ("EPSG:32630", Affine(10, 0, 500_000, 0, -10, 4_500_000)),
    "degrees": ("EPSG:4326", Affine(1e-4, 0, -76.5, 0, -1e-4, 34.7)),
    "mercator": ("EPSG:3857", Affine(30, 0, 0, 0, -30, 8_000_000)),
    "around the pole": ("EPSG:3031", Affine(30, 0, -4_000, 0, -30, 4_000)),
    "across 180°": ("EPSG:32701", Affine(10, 0, 165_000, 0, -10, 8_000_000)),
}
SIDE = 300


def to_lon_lat(name, shape):
    """The same on the ellipsoid, with vertices everywhere."""
    crs, transform = GRIDS[name]
    transformer = Transformer.from_crs(crs, 4326, always_xy=True)
    return shapely.transform(
        shapely.segmentize(shape, 0.5),
        lambda points: np.column_stack(transformer.transform(*transform @ tuple(points.T))),
    )


@pytest.mark.parametrize("name", GRIDS)
def test_areas_are_those_of_the_ellipsoid(name):
    ground = Ground(GeoBox((SIDE, SIDE), *GRIDS[name][::-1]))
    whole, hole = shapely.box(0, 0, SIDE, SIDE), shapely.box(10, 10, 120, 30)
    small = shapely.Polygon([(5, 5), (7, 5.5), (6, 8)])
    areas = shapely.orient_polygons(np.array([whole - hole, small], dtype=object))
    expected = [abs(WGS84.geometry_area_perimeter(to_lon_lat(name, area))[0]) for area in areas]
    np.testing.assert_allclose(ground.areas_m2(Areas.of(areas)), expected, rtol=1e-8, atol=2e-3)


@pytest.mark.parametrize("name", GRIDS)
def test_lengths_are_geodesic(name):
    ground = Ground(GeoBox((SIDE, SIDE), *GRIDS[name][::-1]))
    zigzag = np.column_stack([np.arange(0, 60, 0.5), 100 + np.arange(120) % 2])
    lines = np.array([shapely.LineString(zigzag), shapely.LineString(zigzag[:2])], dtype=object)
    expected = [WGS84.geometry_length(to_lon_lat(name, line)) for line in lines]
    np.testing.assert_allclose(ground.lengths_m(Lines.of(lines)), expected, rtol=1e-7)


FAR = {
    "utm": (10_980, GRIDS["utm"]),
    "degrees": (10_980, GRIDS["degrees"]),
    "mercator": (10_980, GRIDS["mercator"]),
    "to the pole in degrees": (300, ("EPSG:4326", Affine(0.01, 0, 10, 0, -0.01, 90))),
    "a continent": (2_000, ("EPSG:3035", Affine(2_000, 0, 2_500_000, 0, -2_000, 5_500_000))),
    "sheared": (10_980, ("EPSG:32630", Affine(10, 4, 5e5, -3, -16, 4.5e6))),
}


@pytest.mark.parametrize("name", FAR)
def test_lengths_are_geodesic_everywhere_whatever_the_step(name):
    # In corners of large grids, over short steps and long ones, and where a map has a pole.
    side, (crs, transform) = FAR[name]
    geobox = GeoBox((side, side), transform, crs)
    rng = np.random.default_rng(1)
    start = rng.uniform(0.02, 0.98, (200, 2)) * side
    turn, size = rng.uniform(0, 2 * np.pi, 200), rng.choice([0.3, 1.4, 3.9, 20, 200], 200)
    end = np.clip(start + size[:, None] * np.column_stack([np.cos(turn), np.sin(turn)]), 0, side)
    to_degrees = Transformer.from_crs(crs, 4326, always_xy=True)
    lon_lat = [to_degrees.transform(*transform @ tuple(points.T)) for points in (start, end)]
    expected = WGS84.inv(*lon_lat[0], *lon_lat[1])[2]
    lines = shapely.linestrings(np.stack([start, end], axis=1))
    np.testing.assert_allclose(
        Ground(geobox).lengths_m(Lines.of(lines)), expected, rtol=1e-7, atol=1e-6
    )


# A few pixels from a pole short edges count as straight on a plane, which they are not in degrees.
@pytest.mark.parametrize("name", [name for name in FAR if name != "to the pole in degrees"])
def test_areas_are_those_of_the_ellipsoid_everywhere_whatever_their_size(name):
    side, (crs, transform) = FAR[name]
    ground = Ground(GeoBox((side, side), transform, crs))
    rng = np.random.default_rng(2)
    sides = np.repeat([1.5, 12, 80, 0.3 * side], 25)[:, None]
    corner = rng.uniform(0.02, 0.65, (100, 2)) * side
    shape = rng.uniform(0, 1, (100, 3, 2)) * sides[:, None]
    triangles = shapely.orient_polygons(shapely.polygons(corner[:, None] + shape))
    to_degrees = Transformer.from_crs(crs, 4326, always_xy=True)
    expected = []
    for triangle, step in zip(triangles, sides[:, 0] / 300, strict=True):
        points = shapely.get_coordinates(shapely.segmentize(triangle, step))
        lon, lat = to_degrees.transform(*transform @ tuple(points.T))
        expected.append(abs(WGS84.polygon_area_perimeter(lon, lat)[0]))
    # Of small polygons pyproj's areas are off by some square centimetres.
    np.testing.assert_allclose(ground.areas_m2(Areas.of(triangles)), expected, rtol=2e-6, atol=0.05)


def test_nothing_has_no_length_and_no_area():
    ground = Ground(GeoBox((5, 5), *GRIDS["utm"][::-1]))
    nothing = np.empty(0, dtype=object)
    assert ground.lengths_m(Lines.none()).shape == (0,)
    assert ground.areas_m2(Areas.none()).shape == (0,)
    assert ground.place(nothing).shape == (0,)


def test_a_grid_without_crs_is_refused():
    with pytest.raises(ValueError, match="no CRS"):
        Ground(GeoBox((5, 5), Affine.identity(), None))


@pytest.mark.parametrize(
    ("crs", "transform", "pixel_m"),
    [
        ("EPSG:3413", Affine(5000, 0, -100_000, 0, -5000, 100_000), (5155, 5155)),
        ("EPSG:4326", Affine(9, 0, -180, 0, -4.5, 90), (1_001_875, 497_586)),
        ("EPSG:32630", Affine(10, 0, 500_000, 0, -10, 4_500_000), (10.004, 10.004)),
    ],
    ids=["the pole in the middle", "the whole Earth", "utm"],
)
def test_steps_are_measured_wherever_the_poles_are(crs, transform, pixel_m):
    metres = Ground(GeoBox((40, 40), transform, crs)).metres(-0.5, 40.5)
    np.testing.assert_allclose(np.hypot(*metres), pixel_m, rtol=1e-3)


@pytest.mark.parametrize("name", GRIDS)
def test_no_step_is_longer_than_said(name):
    crs, transform = GRIDS[name]
    ground = Ground(GeoBox((SIDE, SIDE), transform, crs))
    metres = ground.metres(0, SIDE)
    rng = np.random.default_rng(0)
    start, step = rng.uniform(1, SIDE - 1, (200, 2)), rng.uniform(-1, 1, (200, 2))
    steps = Lines.of(shapely.linestrings(np.stack([start, start + step], axis=1)))
    true = ground.lengths_m(steps)
    said = np.hypot(*(metres @ step.T))
    assert (true <= said * (1 + 1e-5)).all()
    assert (true >= said * 0.97).all()

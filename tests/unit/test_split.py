"""Blocks, gaps and their division, against geodesics and brute force."""

import math

import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import CRS, Geod, Transformer

from geounet.errors import ChipsError
from geounet.split import (
    GRID_CRS,
    GRID_WIDTH,
    BlockGrid,
    Ground,
    block_squares,
    default_block,
    divide,
    ground_of_chips,
    group_scenes,
    outline,
    split_of_chips,
)

GEOD = Geod(ellps="WGS84")
NO_TURN = 0.0


def grid_around(lon, lat, *, crs, res=10.0, shape=(400, 500), turn=NO_TURN, skew=0.0) -> GeoBox:
    """A grid whose middle is at a place; `res` is metres, also where the CRS has degrees."""
    crs = CRS(crs)
    x, y = Transformer.from_crs(4326, crs, always_xy=True).transform(lon, lat)
    x_res = y_res = res
    if crs.is_geographic:
        x_res, y_res = res / (111_320 * math.cos(math.radians(lat))), res / 110_574
    height, width = shape
    transform = (
        Affine.translation(x, y)
        @ Affine.rotation(turn)
        @ Affine(x_res, skew * x_res, 0, 0, -y_res, 0)
        @ Affine.translation(-width / 2, -height / 2)
    )
    return GeoBox(shape, transform, crs)


def utm_of(lon, lat, *, shift=0) -> int:
    zone = (math.floor(lon / 6) + 30 + shift) % 60 + 1
    return (32600 if lat >= 0 else 32700) + zone


def lonlat(geobox, rows, cols):
    x, y = geobox.transform @ (np.asarray(cols, float), np.asarray(rows, float))
    return Transformer.from_crs(CRS(str(geobox.crs)), 4326, always_xy=True).transform(x, y)


def local(lon, lat, middle):
    """Metres around a place, true to a millimetre in some kilometres."""
    crs = CRS.from_dict({"proj": "aeqd", "lon_0": middle[0], "lat_0": middle[1], "ellps": "WGS84"})
    return Transformer.from_crs(4326, crs, always_xy=True).transform(lon, lat)


def border(row, col, side, n=33):
    """Points along the border of a square of pixels: rows, cols."""
    share = np.linspace(0, side, n)
    zero, one = np.zeros(n), np.full(n, side)
    rows = np.concatenate([zero, share, one, side - share])
    cols = np.concatenate([share, one, side - share, zero])
    return row + rows, col + cols


lattice = st.tuples(st.integers(40, 80), st.integers(0, 20))  # size, context
places = st.tuples(st.floats(-180, 180), st.floats(-78, 78))


def chips_of(geobox, *, size, stride):
    height, width = geobox.shape
    rows, cols = np.meshgrid(
        np.arange(0, height - size + 1, stride),
        np.arange(0, width - size + 1, stride),
        indexing="ij",
    )
    return rows.ravel(), cols.ravel()


def test_the_grid_goes_around_the_earth() -> None:
    to_grid = Transformer.from_crs(4326, GRID_CRS, always_xy=True)
    west, east = (to_grid.transform(lon, 0)[0] for lon in (-180, 180))
    assert pytest.approx(east - west, abs=1e-3) == GRID_WIDTH
    for wanted in (1.0, 777.0, 31_000.0, 1e7, 1e9):
        grid = BlockGrid.nearest(wanted)
        assert grid.side * grid.columns == pytest.approx(GRID_WIDTH, abs=1e-3)


@given(place=places, turn=st.floats(-180, 180), wanted=st.floats(2_000, 40_000))
@settings(max_examples=20)
def test_touched_blocks_are_those_that_a_search_through_all_finds(place, turn, wanted) -> None:
    geobox = grid_around(*place, crs=utm_of(*place), turn=turn)
    rows, cols = chips_of(geobox, size=100, stride=150)
    polygons = outline(geobox, rows, cols, shape=(100, 100), grow_m=500).on_grid()
    grid = BlockGrid.nearest(wanted)
    chip, block = grid.touched(polygons)

    reach = np.floor(shapely.total_bounds(polygons) / grid.side).astype(int)
    expected = set()
    for i, polygon in enumerate(polygons):
        for col in range(reach[0] - 1, reach[2] + 2):
            for row in range(reach[1] - 1, reach[3] + 2):
                square = shapely.box(col, row, col + 1, row + 1)
                if shapely.transform(square, lambda xy: xy * grid.side).intersects(polygon):
                    expected.add((i, int(grid.code(np.int64(col), np.int64(row)))))
    assert set(zip(chip.tolist(), block.tolist(), strict=True)) == expected
    assert (np.diff(chip) >= 0).all()


@given(
    place=places,
    crs=st.sampled_from(["utm", "next utm", "degrees", "web", "sinusoidal", "albers"]),
    turn=st.floats(-180, 180),
    skew=st.floats(-0.5, 0.5),
    grow=st.floats(10, 5_000),
)
@settings(max_examples=40)
def test_a_grown_chip_holds_all_ground_that_is_so_near(place, crs, turn, skew, grow) -> None:
    codes = {
        "utm": utm_of(*place),
        "next utm": utm_of(*place, shift=1),
        "degrees": 4326,
        "web": 3857,
        "sinusoidal": f"+proj=sinu +lon_0={place[0] - 10}",
        "albers": f"+proj=aea +lat_1=40 +lat_2=50 +lon_0={place[0] - 20}",
    }
    geobox = grid_around(*place, crs=codes[crs], turn=turn, skew=skew, shape=(300, 300))
    side = 100
    zero = np.full(1, 50)
    grown = outline(geobox, zero, zero, shape=(side, side), grow_m=grow)
    middle = [float(a) for a in lonlat(geobox, 100, 100)]
    polygon = shapely.Polygon(np.column_stack(local(grown.lon[0], grown.lat[0], middle)))
    lon, lat = lonlat(geobox, *border(50, 50, side))
    ring = shapely.Polygon(np.column_stack(local(lon, lat, middle)))
    distance = polygon.exterior.distance(ring)
    assert polygon.contains(ring)
    assert distance >= grow
    # And not much more: pixels of an odd CRS differ in size from one side of the chip to another.
    assert distance <= grow * 1.2 + 0.1


@given(
    place=places,
    lattice=lattice,
    other=st.sampled_from(["next utm", "degrees", "another date", "turned"]),
    seed=st.integers(0, 100),
    offset=st.tuples(st.floats(-3_000, 3_000), st.floats(-3_000, 3_000)),
)
@settings(max_examples=15)
def test_chips_of_different_splits_are_the_gap_apart_on_the_ground(
    place, lattice, other, seed, offset
) -> None:
    size, context = lattice
    first = grid_around(*place, crs=utm_of(*place))
    moved = (place[0] + offset[0] / 111_320, place[1] + offset[1] / 110_574)
    second = {
        "next utm": grid_around(*moved, crs=utm_of(*place, shift=1)),
        "degrees": grid_around(*place, crs=4326),
        "another date": first,
        "turned": grid_around(*moved, crs=utm_of(*place), turn=30),
    }[other]
    side = size + 2 * context
    gap = (side + 1) * 10.0
    grid = BlockGrid.nearest(default_block(first, side_m=side * 10, gap_m=gap) * 0.8)
    parts, squares = [], []
    for geobox in (first, second):
        rows, cols = chips_of(geobox, size=size, stride=size)
        parts.append(
            ground_of_chips(geobox, rows - context, cols - context, side=side, gap_m=gap, grid=grid)
        )
        corners = border(rows[:, None] - context, cols[:, None] - context, side, n=9)
        squares.append(np.stack(local(*lonlat(geobox, *corners), place), axis=-1))
    ground = Ground.join(parts)
    shapes = shapely.polygons(np.concatenate(squares))
    amounts = np.ones((len(shapes), 1), dtype=np.int64)
    division = divide(ground, amounts, shares=(0.5, 0.25, 0.25), seed=seed)
    touched = np.array([division[code] for code in ground.block.tolist()])
    split = split_of_chips(touched, np.flatnonzero(np.diff(ground.chip, prepend=-1)))
    for one, two in ((0, 1), (0, 2), (1, 2)):
        a, b = shapely.union_all(shapes[split == one]), shapely.union_all(shapes[split == two])
        if not (a.is_empty or b.is_empty):
            assert a.distance(b) >= gap


def random_ground(rng, chips=300, blocks=40) -> Ground:
    home = np.sort(rng.integers(0, blocks, chips))
    second = np.where(rng.random(chips) < 0.3, (home + 1) % blocks, -1)
    chip = np.repeat(np.arange(chips), 1 + (second >= 0))
    block = np.concatenate([[h, s] if s >= 0 else [h] for h, s in zip(home, second, strict=True)])
    return Ground(chip, block, home)


def kept_split(ground, division):
    touched = np.array([division[code] for code in ground.block.tolist()])
    return split_of_chips(touched, np.flatnonzero(np.diff(ground.chip, prepend=-1)))


def test_the_split_of_a_block_does_not_depend_on_the_order_of_the_scenes() -> None:
    rng = np.random.default_rng(5)
    parts = [random_ground(rng) for _ in range(3)]
    amounts = [rng.integers(0, 10**9, (300, 3)) for _ in parts]
    divisions = [
        divide(
            Ground.join([parts[i] for i in order]),
            np.concatenate([amounts[i] for i in order]),
            shares=(0.7, 0.2, 0.1),
            seed=3,
        )
        for order in ((0, 1, 2), (2, 0, 1), (1, 2, 0))
    ]
    assert divisions[0] == divisions[1] == divisions[2]


def test_the_seed_decides() -> None:
    rng = np.random.default_rng(5)
    ground, amounts = random_ground(rng), rng.integers(0, 10**6, (300, 3))

    def division(seed):
        return divide(ground, amounts, shares=(0.7, 0.2, 0.1), seed=seed)

    assert division(1) == division(1)
    assert len({tuple(division(seed).values()) for seed in range(5)}) == 5


@pytest.mark.parametrize("shares", [(0.7, 0.15, 0.15), (0.5, 0.5, 0.0), (0.0, 0.0, 1.0)])
def test_everything_that_is_counted_is_shared_out_evenly(shares) -> None:
    rng = np.random.default_rng(7)
    ground = random_ground(rng, chips=600, blocks=60)
    # Coast in few blocks only, as on the map.
    coast = np.where(ground.home % 7 == 0, rng.integers(1, 1000, 600), 0)
    amounts = np.column_stack([rng.integers(0, 1000, 600), coast])
    split = kept_split(ground, divide(ground, amounts, shares=shares, seed=0))
    for column in amounts.T:
        got = np.array([column[split == s].sum() for s in range(3)])
        assert got / got.sum() == pytest.approx(shares, abs=0.05)
    assert all(((split == s).any()) == (share > 0) for s, share in enumerate(shares))


def test_every_split_gets_a_block_where_there_are_as_many() -> None:
    ground = Ground(np.arange(3), np.arange(3), np.arange(3))
    division = divide(ground, np.ones((3, 1), int), shares=(0.8, 0.1, 0.1), seed=0)
    assert sorted(division.values()) == [0, 1, 2]


@pytest.mark.parametrize("seed", range(5))
def test_land_that_is_in_three_of_thirty_blocks_is_in_every_split(seed) -> None:
    chips = np.arange(90)
    ground = Ground(chips, chips // 3, chips // 3)
    land = np.where(np.isin(chips // 3, [3, 11, 20]), 40, 0)
    amounts = np.column_stack([land, 1000 - land])
    split = kept_split(ground, divide(ground, amounts, shares=(0.7, 0.15, 0.15), seed=seed))
    assert [land[split == s].sum() for s in range(3)] == [120, 120, 120]
    assert (split == 0).mean() == pytest.approx(0.7, abs=0.15)


def test_a_chip_between_two_splits_has_none() -> None:
    assert split_of_chips(np.array([1, 1, 0, 1, 2]), np.array([0, 2, 4])).tolist() == [1, -1, 2]


def test_ground_on_both_sides_of_180_degrees_has_the_same_blocks_in_both_zones() -> None:
    grid = BlockGrid.nearest(15_000)
    found = []
    for zone in (32701, 32760):
        geobox = grid_around(179.97, -17.52, crs=zone, res=60, shape=(400, 400))
        rows, cols = chips_of(geobox, size=400, stride=400)
        found.append(ground_of_chips(geobox, rows, cols, side=400, gap_m=0.0, grid=grid))
    columns = {grid.name(code).split("_")[0] for code in found[0].block.tolist()}
    assert {"0", str(grid.columns - 1)} <= columns
    # The zones meet at an angle, so the squares differ at their corners.
    shared = set(found[0].block.tolist()) & set(found[1].block.tolist())
    assert len(shared) >= 0.7 * len(found[0].block)
    assert found[0].home.tolist() == found[1].home.tolist()


def test_footprints_across_180_degrees_are_in_two_parts() -> None:
    geobox = grid_around(180, -17.5, crs=32701, res=60, shape=(100, 100))
    zero = np.zeros(1, int)
    polygon = outline(geobox, zero, zero, shape=(100, 100)).polygons()[0]
    assert polygon.geom_type == "MultiPolygon"
    assert len(polygon.geoms) == 2
    area = sum(abs(GEOD.geometry_area_perimeter(part)[0]) for part in polygon.geoms)
    assert area == pytest.approx(6000**2, rel=2e-3)
    assert all(part.bounds[0] >= -180 and part.bounds[2] <= 180 for part in polygon.geoms)


def test_scenes_that_share_ground_are_one_group_in_any_order() -> None:
    scenes = [
        grid_around(10, 45, crs=32632),
        grid_around(10.01, 45, crs=32633),
        grid_around(10, 46, crs=32632),
        grid_around(179.999, -17, crs=32760),
        grid_around(-179.999, -17, crs=32701),
    ]
    groups = group_scenes(scenes, gap_m=100)
    assert groups[0] == groups[1]
    assert groups[3] == groups[4]
    assert len(set(groups)) == 3
    assert group_scenes(scenes[::-1], gap_m=100) == groups[::-1]
    # 0.1 degrees and 5 km: apart, unless the gap is wider.
    near = [grid_around(10, 45, crs=32632), grid_around(10.1, 45, crs=32632)]
    assert len(set(group_scenes(near, gap_m=1000))) == 2
    assert len(set(group_scenes(near, gap_m=4000))) == 1


@given(place=places, side=st.floats(300, 20_000))
def test_in_a_default_block_there_is_room_for_a_chip_and_its_gap(place, side) -> None:
    geobox = grid_around(*place, crs=utm_of(*place), res=10)
    block = default_block(geobox, side_m=side, gap_m=side)
    x, y = Transformer.from_crs(4326, GRID_CRS, always_xy=True).transform(0, place[1])
    to_lonlat = Transformer.from_crs(GRID_CRS, 4326, always_xy=True)
    ends = [(block / 2, 0), (0, block / 2)]
    for dx, dy in ends:
        west, east = to_lonlat.transform(x - dx, y - dy), to_lonlat.transform(x + dx, y + dy)
        assert GEOD.inv(*west, *east)[2] >= 4 * side * 0.99


def test_block_squares_lie_under_the_chips_named_after_them() -> None:
    geobox = grid_around(-179.9, 64, crs=32601)
    rows, cols = chips_of(geobox, size=50, stride=50)
    grid = BlockGrid.nearest(3_000)
    ground = ground_of_chips(geobox, rows, cols, side=50, gap_m=10.0, grid=grid)
    names = [grid.name(code) for code in ground.home.tolist()]
    squares = block_squares(sorted(set(names)), grid.side)
    x, y = geobox.transform @ (cols + 25.0, rows + 25.0)
    points = Transformer.from_crs(32601, GRID_CRS, always_xy=True).transform(x, y)
    inside = shapely.contains_xy(squares[names].values, *points)
    assert inside.all()
    assert squares.crs == GRID_CRS


def test_near_the_poles_there_are_no_blocks() -> None:
    geobox = grid_around(0, -88, crs=3031, res=60)
    zero = np.zeros(1, int)
    with pytest.raises(ChipsError, match="--split-by scene"):
        ground_of_chips(geobox, zero, zero, side=50, gap_m=0.0, grid=BlockGrid.nearest(5000))

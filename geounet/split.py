"""Which ground is trained on and which is held out, so that chips do not leak.

The Earth is divided into blocks of one equal-area grid (EPSG:6933, EASE-Grid 2.0). A block belongs
to one split, so the same ground on another date, in an overlapping tile or in another UTM zone has
the same split. A chip is kept if its ground, grown by half the gap on every side, touches blocks
of one split only; so chips of different splits are at least the gap apart.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import geopandas as gpd
import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS, Proj, Transformer
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from geounet.errors import ChipsError
from geounet.vectors import WGS84, Geometries, crs_of, shift_x

GRID_CRS = "EPSG:6933"
GRID_WIDTH = 2 * 17_367_530.445161372
"""Length of the grid around the Earth, in its metres."""
LAST_LATITUDE = 86.0
"""Beyond it the grid is not defined, and its blocks are needles."""
TRIES = 256
"""How many divisions are drawn, of which the most even is taken. With four times as many, shares
come a hundredth nearer, and of few blocks every seed would find the same division."""
_EQUATOR_M, _FLATTENING = 6_378_137.0, 1 / 298.257223563  # WGS 84

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Pixels = NDArray[np.floating[Any]]
"""Rows or columns, with fractions."""


@dataclass(frozen=True)
class Outlines:
    """Rectangles of pixels as they lie on the Earth, (n, vertices) each."""

    lon: Floats
    """Degrees; runs on past ±180 where a rectangle crosses it."""
    lat: Floats

    def polygons(self) -> Geometries:
        """Return them in WGS 84, in two parts where they cross 180°."""
        whole = _polygons(self.lon, self.lat)
        across = (self.lon.min(axis=1) < -180) | (self.lon.max(axis=1) > 180)
        world = shapely.box(-180, -90, 180, 90)
        for i in np.flatnonzero(across):  # few, if any
            turned = np.concatenate([shift_x(whole[i : i + 1], by) for by in (-360.0, 0.0, 360.0)])
            whole[i] = shapely.union_all(shapely.intersection(turned, world))
        return whole

    def on_grid(self) -> Geometries:
        """Return them in EPSG:6933, running on past its edge where they cross 180°."""
        return _polygons(*_to_grid(self.lon, self.lat))


def _polygons(x: Floats, y: Floats) -> Geometries:
    return np.asarray(shapely.polygons(np.stack([x, y], axis=-1)), dtype=object)


def outline(
    geobox: GeoBox,
    rows: Ints,
    cols: Ints,
    *,
    shape: Sequence[int],
    grow_m: float = 0.0,
    per_edge: int = 8,
) -> Outlines:
    """Return where rectangles of pixels lie on the Earth.

    Args:
        geobox: Grid of the scene.
        rows: First row of each rectangle, (n,).
        cols: First column, (n,).
        shape: (height, width) of all of them, in pixels.
        grow_m: By how much they are grown on every side, in metres on the ground.
        per_edge: Vertices per edge: straight edges of pixels are curves on the Earth.

    Returns:
        Outlines of n rectangles.
    """
    height, width = shape
    top, left = rows.astype(np.float64), cols.astype(np.float64)
    bottom, right = top + height, left + width
    if grow_m:
        # The second time at the corners that the first gave, as pixels differ in size on the way.
        grown = (top, left, bottom, right)
        for _ in range(2):
            height_m, width_m = _smallest_pixel(geobox, *grown)
            grow_rows = 1.001 * grow_m / height_m
            grow_cols = 1.001 * grow_m / width_m
            grown = (top - grow_rows, left - grow_cols, bottom + grow_rows, right + grow_cols)
        top, left, bottom, right = grown
    share = np.arange(per_edge) / per_edge
    zero, one = np.zeros(per_edge), np.ones(per_edge)
    # Once around, clockwise from the upper left.
    down = np.concatenate([zero, share, one, 1 - share])
    across = np.concatenate([share, one, 1 - share, zero])
    lon, lat = _lonlat(
        geobox,
        top[:, None] + (bottom - top)[:, None] * down,
        left[:, None] + (right - left)[:, None] * across,
    )
    middle, _ = _lonlat(geobox, (top + bottom) / 2, (left + right) / 2)
    return Outlines(middle[:, None] + _turned(lon - middle[:, None]), lat)


def _smallest_pixel(
    geobox: GeoBox, top: Floats, left: Floats, bottom: Floats, right: Floats
) -> tuple[Floats, Floats]:
    """Return how far one row, and one column, leads away on the ground, in metres, at least.

    Measured at right angles to the rows and columns, as a grid may be skewed on the ground.
    """
    rows = np.stack([top, top, bottom, bottom, (top + bottom) / 2])
    cols = np.stack([left, right, left, right, (left + right) / 2])
    lon, lat = _lonlat(geobox, rows, cols)
    metres_lat, metres_lon = _metres_per_degree(lat)

    def step(rows: Floats, cols: Floats) -> tuple[Floats, Floats]:
        there_lon, there_lat = _lonlat(geobox, rows, cols)
        return _turned(there_lon - lon) * metres_lon, (there_lat - lat) * metres_lat

    east_row, north_row = step(rows + 1, cols)
    east_col, north_col = step(rows, cols + 1)
    area = np.abs(east_col * north_row - east_row * north_col)
    height_m = area / np.hypot(east_col, north_col)
    width_m = area / np.hypot(east_row, north_row)
    return height_m.min(axis=0), width_m.min(axis=0)


def _metres_per_degree(lat: Floats) -> tuple[Floats, Floats]:
    """Return the length of a degree of latitude and of longitude on the ellipsoid."""
    e2 = _FLATTENING * (2 - _FLATTENING)
    phi = np.radians(lat)
    w = np.sqrt(1 - e2 * np.sin(phi) ** 2)
    degree = math.pi / 180
    return degree * _EQUATOR_M * (1 - e2) / w**3, degree * _EQUATOR_M * np.cos(phi) / w


def _lonlat(geobox: GeoBox, rows: Pixels, cols: Pixels) -> tuple[Floats, Floats]:
    pixels: Any = (cols, rows)  # affine's types know of single numbers only
    x, y = geobox.transform @ pixels
    transformer = Transformer.from_crs(crs_of(geobox), WGS84, always_xy=True)
    lon, lat = transformer.transform(x, y)
    return lon, lat


def _turned(degrees: Floats) -> Floats:
    """Return differences of longitude the short way around."""
    return (degrees + 180) % 360 - 180


def _to_grid(lon: Floats, lat: Floats) -> tuple[Floats, Floats]:
    transformer = Transformer.from_crs(WGS84, CRS(GRID_CRS), always_xy=True)
    _, y = transformer.transform(np.zeros_like(lat), lat)
    # x is proportional to longitude; PROJ would bring what runs on past 180° back.
    return lon / 360 * GRID_WIDTH, y


@dataclass(frozen=True)
class BlockGrid:
    """The grid of blocks."""

    side: float
    """Side of a block in metres of the grid; a whole number of them goes around the Earth."""

    @classmethod
    def nearest(cls, block_m: float) -> "BlockGrid":
        """Return the grid whose side is nearest to `block_m` and goes around the Earth."""
        return cls(GRID_WIDTH / max(round(GRID_WIDTH / block_m), 1))

    @property
    def columns(self) -> int:
        """Blocks around the Earth."""
        return round(GRID_WIDTH / self.side)

    def code(self, col: Ints, row: Ints) -> Ints:
        """Return one number for each block; columns are counted around the Earth."""
        return row * self.columns + (col + self.columns // 2) % self.columns

    def name(self, code: int) -> str:
        """Return what a block is called: column from 180° W, row from the equator."""
        row, col = divmod(code, self.columns)
        return f"{col}_{row}"

    def square(self, name: str) -> shapely.Polygon:
        """Return a block in EPSG:6933."""
        col, row = (int(part) for part in name.split("_"))
        left = (col - self.columns // 2) * self.side
        return shapely.box(left, row * self.side, left + self.side, (row + 1) * self.side)

    def touched(self, polygons: Geometries) -> tuple[Ints, Ints]:
        """Return which blocks polygons touch.

        Args:
            polygons: As `Outlines.on_grid` gives them, (n,).

        Returns:
            Pairs in the order of the polygons: index of the polygon, code of the block.
        """
        bounds = np.floor(shapely.bounds(polygons) / self.side).astype(np.int64)
        left, bottom, right, top = bounds.T
        wide, high = right - left + 1, top - bottom + 1
        chip = np.repeat(np.arange(len(polygons)), wide * high)
        first = np.repeat(np.cumsum(wide * high) - wide * high, wide * high)
        row, col = np.divmod(np.arange(len(chip)) - first, wide[chip])
        row, col = row + bottom[chip], col + left[chip]
        x, y = col * self.side, row * self.side
        squares = shapely.box(x, y, x + self.side, y + self.side)
        meet = shapely.intersects(polygons[chip], squares)
        return chip[meet], self.code(col[meet], row[meet])

    def of_points(self, x: Floats, y: Floats) -> Ints:
        """Return the codes of the blocks that points lie in."""
        col, row = (np.floor(a / self.side).astype(np.int64) for a in (x, y))
        return self.code(col, row)


def block_squares(names: Sequence[str], side: float) -> gpd.GeoSeries:
    """Return blocks as squares in EPSG:6933, by name; `side` is their side in metres."""
    grid = BlockGrid(side)
    return gpd.GeoSeries([grid.square(n) for n in names], index=list(names), crs=GRID_CRS)


def default_block(geobox: GeoBox, *, side_m: float, gap_m: float) -> float:
    """Choose the side of the blocks for chips of a scene, in metres of the grid.

    A chip and the gap around it take `side_m` + `gap_m`. In a block twice as wide there is room
    for a chip wherever the block begins, and of a block alone among others a quarter of the chips
    survives, more where its neighbours have the same split. Wider blocks would lose less, but
    there would be few of them, and few blocks cannot be divided evenly. Blocks of equal area are
    narrow in the far north and low near the equator, so the narrow side decides.

    Args:
        geobox: Grid of the scene.
        side_m: Side of a chip with its context, in metres on the ground.
        gap_m: Width of the gap.

    Returns:
        The side, rounded up to two digits.
    """
    height, width = geobox.shape
    rows: Floats = np.array([0, 0, height, height], dtype=np.float64)
    cols: Floats = np.array([0, width, 0, width], dtype=np.float64)
    lon, lat = _lonlat(geobox, rows, cols)
    factors = Proj(GRID_CRS).get_factors(lon, np.clip(lat, -LAST_LATITUDE, LAST_LATITUDE))
    stretch = max(np.max(factors.meridional_scale), np.max(factors.parallel_scale))
    needed = 2 * (side_m + gap_m) * float(stretch)
    digit = 10.0 ** (math.floor(math.log10(needed)) - 1)
    return math.ceil(needed / digit) * digit


@dataclass(frozen=True)
class Ground:
    """Which blocks (or groups of scenes) every chip touches, and which it is named after."""

    chip: Ints
    """(touches,), index of the chip, ascending."""
    block: Ints
    """(touches,), code of a block that it touches with the gap around it."""
    home: Ints
    """(chips,), code of the block that its centre lies in."""

    @classmethod
    def join(cls, parts: Sequence["Ground"]) -> "Ground":
        """Return the chips of several scenes as one."""
        counts = np.cumsum([0] + [len(part.home) for part in parts])
        return cls(
            np.concatenate([p.chip + n for p, n in zip(parts, counts, strict=False)]),
            np.concatenate([p.block for p in parts]),
            np.concatenate([p.home for p in parts]),
        )


def ground_of_chips(
    geobox: GeoBox, rows: Ints, cols: Ints, *, side: int, gap_m: float, grid: BlockGrid
) -> Ground:
    """Find the blocks under the chips of a scene.

    Args:
        geobox: Grid of the scene.
        rows: First row of each chip with its context, (chips,).
        cols: First column.
        side: Side of a chip with its context, in pixels.
        gap_m: Width of the gap between splits, in metres on the ground.
        grid: The blocks.

    Raises:
        ChipsError: A chip lies too near to a pole for the grid.
    """
    grown = outline(geobox, rows, cols, shape=(side, side), grow_m=gap_m / 2)
    if np.abs(grown.lat).max(initial=0) > LAST_LATITUDE:
        raise ChipsError(
            f"The scene reaches beyond {LAST_LATITUDE:g}° of latitude, where there are no blocks. "
            "Use --split-by scene."
        )
    chip, block = grid.touched(grown.on_grid())
    lon, lat = _lonlat(geobox, rows + side / 2, cols + side / 2)
    return Ground(chip, block, grid.of_points(*_to_grid(lon, lat)))


def group_scenes(geoboxes: Sequence[GeoBox], *, gap_m: float) -> list[int]:
    """Return a group for each scene: scenes that share ground, or nearly, are of one group.

    Groups are numbered by where they lie, whatever the order of the scenes.
    """
    zero = np.zeros(1, dtype=np.int64)
    shapes = np.array(
        [
            outline(g, zero, zero, shape=g.shape, grow_m=gap_m / 2, per_edge=64).on_grid()[0]
            for g in geoboxes
        ]
    )
    turns = [shift_x(shapes, by) for by in (-GRID_WIDTH, 0.0, GRID_WIDTH)]
    tree = shapely.STRtree(shapes)
    pairs = np.concatenate([tree.query(turned, predicate="intersects") for turned in turns], axis=1)
    links = coo_array((np.ones(pairs.shape[1]), (pairs[0], pairs[1])), shape=(len(shapes),) * 2)
    count, component = connected_components(links, directed=False)
    corners = shapely.bounds(shapes)[:, :2]
    first = [min(map(tuple, corners[component == i].tolist())) for i in range(count)]
    ranked = sorted(range(count), key=first.__getitem__)
    return [ranked.index(i) for i in component.tolist()]


def divide(ground: Ground, amounts: Ints, *, shares: Sequence[float], seed: int) -> dict[int, int]:
    """Divide blocks among splits so that what is kept is shared out evenly.

    Many divisions are drawn at random, and the one is taken whose kept chips come nearest to the
    shares in everything that is counted, and lose least to the gaps (rerandomisation [1]_, here to
    stratify by several things at once with few and unequal blocks).

    Args:
        ground: Blocks under the chips.
        amounts: (chips, things): what is shared out, for instance water and coast; whole numbers,
            so that sums do not depend on their order.
        shares: Of each split, summing to 1; 0 for a split that is not wanted.
        seed: Another one gives another division.

    Returns:
        Split (index in `shares`) of every block, by code. It does not depend on the order of the
        chips.

    References:
        .. [1] Morgan and Rubin (2012), "Rerandomization to improve covariate balance in
           experiments", doi:10.1214/12-AOS1008.
    """
    blocks = np.unique(np.concatenate([ground.block, ground.home]))
    position = np.searchsorted(blocks, ground.block)
    starts = np.flatnonzero(np.diff(ground.chip, prepend=-1))
    # How much of the whole each block is home to, everything counted alike.
    counted = np.column_stack([np.ones(len(amounts), dtype=np.int64), amounts])
    counted = counted[:, counted.sum(axis=0) > 0]
    home = np.zeros((len(blocks), counted.shape[1]))
    np.add.at(home, np.searchsorted(blocks, ground.home), counted)
    weight = (home / home.sum(axis=0)).mean(axis=1)

    best, least = np.zeros(len(blocks), dtype=np.int64), math.inf
    for attempt in range(TRIES):
        rng = np.random.default_rng(np.random.SeedSequence([seed, attempt]))
        drawn = _draw(weight, np.asarray(shares), rng)
        split = split_of_chips(drawn[position], starts)
        uneven = _unevenness(split, counted, np.asarray(shares))
        if uneven < least:
            best, least = drawn, uneven
    return dict(zip(blocks.tolist(), best.tolist(), strict=True))


def split_of_chips(split: Ints, starts: Ints) -> Ints:
    """Return the split of every chip, -1 where it touches more than one.

    Args:
        split: (touches,), split of every block that a chip touches, chip by chip.
        starts: (chips,), where each chip's begin.
    """
    lowest = np.minimum.reduceat(split, starts)
    return np.where(lowest == np.maximum.reduceat(split, starts), lowest, -1)


def _draw(weight: Floats, shares: Floats, rng: np.random.Generator) -> Ints:
    """Return a split for each block: blocks in random order, cut where the shares are used up."""
    # Small splits lose more to the gaps than large ones, by an amount that only trying tells.
    tilted = shares * rng.lognormal(sigma=0.5, size=len(shares))
    order = rng.permutation(len(weight))
    middle = np.cumsum(weight[order]) - weight[order] / 2
    ends = np.cumsum(tilted / tilted.sum())[:-1] * weight.sum()
    split = np.empty(len(weight), dtype=np.int64)
    split[order] = np.searchsorted(ends, middle, side="right")
    return split


def _unevenness(split: Ints, counted: Ints, shares: Floats) -> float:
    """Return how far the kept chips are from the shares, and how many are lost; 0 is best."""
    wanted = shares > 0
    kept = np.stack([counted[split == s].sum(axis=0) for s in np.flatnonzero(wanted)])
    lost = 1 - kept[:, 0].sum() / counted[:, 0].sum()
    got = kept / np.maximum(kept.sum(axis=0), 1)
    off = got / shares[wanted, None] - 1  # (splits, things)
    # A split without any chip is no split at all, and one without land or water hardly is.
    lacking = (kept[:, 1:] == 0).sum() + 100 * (kept[:, 0] == 0).sum()
    return float(np.sqrt((off**2).mean()) + lost + lacking)

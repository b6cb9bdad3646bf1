"""Promise 3, measured: how far drawn lines lie from true ones, and what of these they miss.

Everything is drawn from exact coverage, the share of each pixel that is water, which is contoured
as it is. `make coastlines-tables` writes the tables of docs/coastlines.md.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache

import contourpy
import geopandas
import numpy as np
import pytest
import shapely
from affine import Affine
from contouring import contour, make_products
from contouring import coverage as coverage_by_clipping
from documented import hold_table
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geounet.coverage import coverage
from geounet.ground import Ground
from geounet.synthetic.noise import derive_key, smooth_noise

GRIDS = {
    "UTM": ("EPSG:32630", Affine(10, 0, 500_000, 0, -10, 4_500_000)),
    "British National Grid": ("EPSG:27700", Affine(10, 0, 430_000, 0, -10, 90_000)),
    "web Mercator": ("EPSG:3857", Affine(10, 0, -8_500_000, 0, -10, 4_100_000)),
    "degrees": ("EPSG:4326", Affine(1e-4, 0, -76.5, 0, -1e-4, 34.7)),
    "rotated, not square": (
        "EPSG:32630",
        Affine.translation(500_000, 4_500_000) @ Affine.rotation(33) @ Affine.scale(10, -16),
    ),
}
OFFSETS = 50
RIM = 2
"""Pixels along the border that are left out: there the field is carried on, not the truth."""


@dataclass(frozen=True)
class Measured:
    """One line drawn from the coverage of a known one, in pixels."""

    errors: NDArray[np.float64]
    """From points along the drawn line to the true one, positive where in the water."""
    missed: NDArray[np.float64]
    """From points along the true line to the drawn one."""
    areas: int
    """How many areas of water are drawn."""


def measure(
    geobox: GeoBox,
    water: shapely.Geometry,
    change: Callable[[NDArray[np.float64]], NDArray[np.float64]] | None = None,
) -> Measured:
    """Draw the outline of `water`, in the CRS, from its coverage, and compare on the map."""
    values = coverage(np.array([water]), geobox)
    drawn = contour(values if change is None else change(values))
    lines = Ground(geobox).place(drawn.lines)
    return Measured(*compare(geobox, lines, water), areas=len(drawn.areas))


def compare(geobox, lines, water):
    """Return errors and what was missed, as `Measured` has them."""
    height, width = geobox.shape
    corners = [(RIM, RIM), (width - RIM, RIM), (width - RIM, height - RIM), (RIM, height - RIM)]
    inside = shapely.Polygon(on_map(geobox, corners))
    drawn = shapely.intersection(shapely.MultiLineString(list(lines)), inside)
    true = shapely.intersection(water.boundary, inside)
    pixel = np.sqrt(abs(geobox.transform.determinant))
    spots, places = (
        shapely.points(shapely.get_coordinates(shapely.segmentize(line, pixel / 5)))
        for line in (drawn, true)
    )
    shapely.prepare(water)
    distance = distances(water.boundary, spots) / pixel
    errors = np.where(shapely.contains(water, spots), distance, -distance)
    return errors, distances(drawn, places) / pixel


def distances(line, points):
    """From each point to a line, by way of its straight pieces: all at once takes minutes."""
    vertices, part = shapely.get_coordinates(shapely.get_parts([line]), return_index=True)
    pieces = np.stack([vertices[:-1], vertices[1:]], axis=1)[part[1:] == part[:-1]]
    tree = shapely.STRtree(shapely.linestrings(pieces))
    _, found = tree.query_nearest(points, all_matches=False, return_distance=True)
    return found


def on_map(geobox, points):
    return np.column_stack(geobox.transform @ tuple(np.asarray(points, dtype=float).T))


def grid(name, side):
    crs, transform = GRIDS[name]
    return GeoBox((side, side), transform, crs)


def centres(rng, side, count=OFFSETS):
    """Near the middle of a grid, spread evenly over the positions within a pixel."""
    share = [(rng.permutation(count) + rng.random(count)) / count for _ in range(2)]
    return side / 2 - 0.5 + np.column_stack(share)


def half_planes(name, angle=None):
    """Water on one side of a straight line; at any angle if none is given, in degrees."""
    side, rng = 32, np.random.default_rng(1)
    geobox = grid(name, side)
    for centre in centres(rng, side):
        turn = rng.uniform(0, 2 * np.pi) if angle is None else np.radians(angle)
        along, aside = (
            np.array([np.cos(turn), np.sin(turn)]),
            np.array([-np.sin(turn), np.cos(turn)]),
        )
        ends = ((-1, 0), (1, 0), (1, 1), (-1, 1))
        corners = [centre + 3 * side * (i * along + j * aside) for i, j in ends]
        yield geobox, shapely.Polygon(on_map(geobox, corners))


def rings(name, radius, width=None):
    """A disc of water, or a ring of which `radius` is in the middle of its width, all in pixels."""
    side, rng = int(2 * radius) + 14, np.random.default_rng(2)
    geobox = grid(name, side)
    turn = np.linspace(0, 2 * np.pi, 1000, endpoint=False)
    circle = np.column_stack([np.cos(turn), np.sin(turn)])
    for centre in centres(rng, side, 20):
        outer, *inner = (
            on_map(geobox, centre + r * circle)
            for r in ((radius,) if width is None else (radius + width / 2, radius - width / 2))
        )
        yield geobox, shapely.Polygon(outer, inner)


def fractal_coasts(name, roughness=0.7, fine=8):
    """Water where fractal noise is above 0 that has nothing shorter than four pixels.

    Its coasts have a fractal dimension of 2 - `roughness` above that, islands, lakes and straits.
    The truth is the contour on a grid that is finer by a factor of `fine`.
    """
    side = 128
    geobox, along = grid(name, side), np.arange(side * fine + 1) / fine
    for seed in range(3):
        field = np.zeros((len(along), len(along)))
        for spacing in (2.0, 4.0, 8.0, 16.0, 32.0, 64.0):
            key = derive_key(seed, f"coast {spacing}")
            field += spacing**roughness * smooth_noise(along, along, spacing=spacing, key=key)
        generator = contourpy.contour_generator(along, along, field, fill_type="OuterOffset")
        parts = []
        for points, offsets in zip(*generator.filled(0.0, np.inf), strict=True):
            outer, *holes = np.split(on_map(geobox, points), offsets[1:-1])
            parts.append(shapely.Polygon(outer, holes))
        yield geobox, shapely.MultiPolygon(parts)


def as_mask(values):
    return (values >= 0.5).astype(np.float64)


CASES = {
    "straight, along the rows": (lambda name: half_planes(name, 0), None),
    "straight, 1 in 2": (lambda name: half_planes(name, np.degrees(np.arctan(0.5))), None),
    "straight, diagonal": (lambda name: half_planes(name, 45), None),
    "straight, at any angle": (half_planes, None),
    "disc, radius 10": (lambda name: rings(name, 10), None),
    "disc, radius 20": (lambda name: rings(name, 20), None),
    "ring, 3 wide": (lambda name: rings(name, 14, 3), None),
    "ring, 2 wide": (lambda name: rings(name, 14, 2), None),
    "ring, 1 wide": (lambda name: rings(name, 14, 1), None),
    "fractal coast, nothing shorter than 4": (fractal_coasts, None),
    "mask 0/1: straight, at any angle": (half_planes, as_mask),
    "mask 0/1: disc, radius 10": (lambda name: rings(name, 10), as_mask),
    "mask 0/1: fractal coast": (fractal_coasts, as_mask),
}


@cache
def measured(case: str, name: str) -> tuple[Measured, ...]:
    """All lines of a case on a grid."""
    make, change = CASES[case]
    return tuple(measure(geobox, water, change) for geobox, water in make(name))


def rmse(found: Sequence[Measured]) -> float:
    return float(np.sqrt(np.mean(np.concatenate([one.errors for one in found]) ** 2)))


def bias(found: Sequence[Measured]) -> float:
    """Mean over lines of their mean signed error."""
    return float(np.mean([one.errors.mean() for one in found]))


# What is allowed of the RMSE and of the bias, in pixels.
ALLOWED = {
    "straight": (0.09, 0.01),
    "disc": (0.06, 0.02),
    "ring, 3 wide": (0.06, 0.01),
    "ring, 2 wide": (0.06, 0.01),
    "fractal": (0.10, 0.01),
    "mask": (0.25, None),
}


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("case", [case for case in CASES if case != "ring, 1 wide"])
def test_lines_lie_where_the_truth_is(case, name):
    most, most_bias = next(limits for key, limits in ALLOWED.items() if case.startswith(key))
    found = measured(case, name)
    assert rmse(found) <= most
    assert most_bias is None or abs(bias(found)) <= most_bias


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("case", [case for case in CASES if case.startswith(("str", "disc"))])
def test_all_of_a_wide_coast_is_drawn_and_nothing_else(case, name):
    found = measured(case, name)
    assert max(one.missed.max() for one in found) < 0.5
    assert max(np.abs(one.errors).max() for one in found) < 0.5
    assert {one.areas for one in found} == {1}


@pytest.mark.parametrize("name", GRIDS)
def test_a_disc_comes_back_from_the_geopackage(tmp_path, name):
    # Through all files, with coverage by another way: each pixel's ground clipped by shapely.
    (geobox, water), *_ = rings(name, 10)
    values = coverage_by_clipping(geobox.shape, geobox.transform, water)
    crs, transform = GRIDS[name]
    out = make_products(tmp_path, values, quantity="index", crs=crs, transform=transform)
    lines = geopandas.read_file(out / "coast.gpkg", layer="coastline")
    assert lines.crs.to_epsg() == int(crs.removeprefix("EPSG:"))
    errors, missed = compare(geobox, lines.geometry.array, water)
    assert np.sqrt(np.mean(errors**2)) <= 0.06
    assert abs(errors.mean()) <= 0.02
    assert missed.max() < 0.5
    (area,) = geopandas.read_file(out / "coast.gpkg", layer="water").geometry
    assert area.area == pytest.approx(water.area, rel=0.005)


GAPS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)


@cache
def merged_shares() -> dict[float, float]:
    """For each gap between two discs of radius 10, in pixels, how often they are drawn as one."""
    side, rng = 48, np.random.default_rng(5)
    geobox = grid("UTM", side)
    shares = {}
    for gap in GAPS:
        merged = 0
        for centre in centres(rng, side, 25):
            turn = rng.uniform(0, 2 * np.pi)
            apart = (10 + gap / 2) * np.array([np.cos(turn), np.sin(turn)])
            discs = [
                shapely.Point(on_map(geobox, [middle])[0]).buffer(100, quad_segs=100)
                for middle in (centre - apart, centre + apart)
            ]
            values = coverage(np.array(discs), geobox)
            merged += len(contour(values).areas) == 1
        shares[gap] = merged / 25
    return shares


def test_waters_that_touch_are_one_and_those_more_than_a_pixel_apart_are_two():
    shares = merged_shares()
    assert shares[0.0] == 1
    assert shares[1.25] == shares[1.5] == 0
    assert list(shares.values()) == sorted(shares.values(), reverse=True)


def test_the_page_says_how_exact_lines_are():
    rows = [("true line", "RMSE", "bias", "95 % within", "worst", "of the true line within 0.5 px")]
    for case in CASES:
        found = [one for name in GRIDS for one in measured(case, name)]
        sizes = np.abs(np.concatenate([one.errors for one in found]))
        missed = np.concatenate([one.missed for one in found])
        rows.append(
            (
                case,
                f"{rmse(found):.3f}",
                f"{bias(found):+z.3f}",
                f"{np.percentile(sizes, 95):.2f}",
                f"{sizes.max():.2f}",
                f"{100 * np.mean(missed <= 0.5):.1f} %",
            )
        )
    hold_table("coastlines.md", "accuracy", rows)


def test_the_page_says_when_waters_merge():
    shares = merged_shares()
    rows = [
        ("land between them, pixels", *(f"{gap:g}" for gap in GAPS)),
        ("drawn as one", *(f"{100 * shares[gap]:.0f} %" for gap in GAPS)),
    ]
    hold_table("coastlines.md", "merging", rows)

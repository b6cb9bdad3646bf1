"""Contours along nodata and the raster's border, on a grid of half pixels.

Nodes are at centres, edges and corners of pixels; an edge or a corner has the mean of the valid
pixels it belongs to. contourpy finds which lines are crossed; where is computed from the two nodes
alone, and between centres as `tracing` computes it, so that both meet exactly.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

import contourpy
import numpy as np
import shapely
from numpy.typing import NDArray

from geounet.compiled import compiled_to_run_beside
from geounet.ragged import Geometries, Lines
from geounet.tracing import Scale, Values, measure_values
from geounet.vertices import keep_vertices

RIM_PIXELS = 2**16
"""Bounds memory: of what is contoured at a time each pixel takes about 200 bytes."""


class Rims(NamedTuple):
    """What lies in cells along nodata and the border of one strip."""

    lines: Lines
    water: Geometries
    """Polygons (col, row), not always valid on their own."""
    land: Geometries
    """The same of land, if it was asked for."""
    sides: NDArray[np.complex128]
    """Vertices, col + 1j·row, on straight edges of valid pixels, where the strip ends or what is
    contoured at a time."""


def trace_rims(
    values: Values,
    scale: Scale,
    first_row: float,
    per_slope: tuple[float, float],
    *,
    land: bool,
) -> Rims:
    """Contour the cells of a strip that have both valid and invalid corners.

    Args:
        values: As `tracing.follow` takes them.
        scale: Likewise.
        first_row: Likewise.
        per_slope: Likewise.
        land: Likewise.
    """
    valid = np.isfinite(values[1:-1])
    lines: list[Lines] = []
    water, dry = [], []
    sides = [_sides(valid[-1:]) + 1j * (first_row + len(valid) - 1)]
    for rows, cols in _rims(valid):
        part = _Rim.of(values, scale, first_row, rows, cols)
        known = valid[rows, cols]
        nodes, masked, turns = _double(part.pixels, known, scale.level)
        along = _contour(np.where(masked, np.nan, nodes), scale.level)
        crossings = _Crossings.of(along.points, part)
        place = np.column_stack([crossings.place(nodes), crossings.width(per_slope)])
        lines.append(Lines(place, along.offsets))
        water.append(_settle_areas(_fill(along, above=True), part, nodes, turns))
        if land:
            dry.append(_settle_areas(_fill(along, above=False), part, nodes, turns))
        if len(known) < len(valid):
            for row, where in ((known[:1], part.first_row), (known[-1:], part.last_row)):
                sides.append(_sides(row) + (cols.start + 1j * where))
    nothing = np.empty(0, dtype=object)
    return Rims(
        Lines.joined(lines),
        np.concatenate([nothing, *water]),
        np.concatenate([nothing, *dry]),
        np.concatenate(sides),
    )


class _Filled(NamedTuple):
    """What contourpy says of areas: points, counted in nodes, and where each part ends."""

    points: NDArray[np.float64]
    ring_offsets: NDArray[np.int64]
    area_offsets: NDArray[np.int64]


class _Found(NamedTuple):
    """What contourpy says of lines: points, counted in nodes, and where each ends."""

    points: NDArray[np.float64]
    offsets: NDArray[np.int64]
    generator: Any
    level: float


def _contour(values: NDArray[np.float64], level: float) -> _Found:
    """Contour a grid of nodes, but not where they are NaN."""
    x, y = _node_numbers(values.shape)
    generator = contourpy.contour_generator(
        x=x,
        y=y,
        z=values,
        # With one thread and one chunk it does what "serial" does, and lets other threads run.
        name="threaded",
        thread_count=1,
        corner_mask=False,
        line_type="ChunkCombinedOffset",
        fill_type="ChunkCombinedOffsetOffset",
    )
    points, offsets = _combined(generator.lines(level))
    return _Found(points, offsets, generator, level)


def _fill(found: _Found, *, above: bool) -> _Filled:
    """Return the areas on one side of the lines that were found."""
    limits = (found.level, np.inf) if above else (-np.inf, found.level)
    return _Filled(*_combined(found.generator.filled(*limits)))


def _combined(found: Any) -> tuple[NDArray[Any], ...]:
    """Return points and offsets of the only chunk, also where there is nothing in it."""
    (points,), *offsets = found
    if points is None:
        return np.empty((0, 2)), *(np.zeros(1, dtype=np.int64) for _ in offsets)
    return points, *(one.astype(np.int64) for (one,) in offsets)


@lru_cache(maxsize=2)
def _node_numbers(shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y of a grid of nodes, which contourpy would make anew for each strip."""
    row, col = np.indices(shape, dtype=np.float64)
    return col, row


@dataclass(frozen=True)
class _Rim:
    """Some rows and columns of a strip that are contoured on a grid of half pixels."""

    values: NDArray[np.float64]
    """What those pixels count, with a row, and as far as there is one a column, more around."""
    left: int
    """Column in the strip of the first of those pixels."""
    margin: int
    """Columns of `values` before it."""
    width: int
    """Of those pixels."""
    first_row: float
    """Position of the first row of their centres."""
    level: float

    @classmethod
    def of(cls, values: Values, scale: Scale, first_row: float, rows: slice, cols: slice) -> "_Rim":
        start, stop = max(cols.start - 1, 0), cols.stop + 1
        return cls(
            measure_values(values[rows.start : rows.stop + 2, start:stop], scale),
            cols.start,
            cols.start - start,
            cols.stop - cols.start,
            first_row + rows.start,
            scale.level,
        )

    @property
    def pixels(self) -> NDArray[np.float64]:
        """Of `values`, those that are contoured between."""
        return self.values[1:-1, self.margin : self.margin + self.width]

    @property
    def last_row(self) -> float:
        """Position of the last row of centres."""
        return self.first_row + len(self.values) - 3


def _sides(valid: NDArray[np.bool_]) -> NDArray[np.complex128]:
    """Return the columns of edges between valid and invalid pixels of one row, (1, width)."""
    return np.flatnonzero(valid[0, 1:] != valid[0, :-1]).astype(np.complex128)


def _rims(valid: NDArray[np.bool_], top: int = 0, left: int = 0) -> Iterator[tuple[slice, slice]]:
    """Yield rows and columns of pixels between which cells have valid and invalid corners.

    Each such cell is in one of them, and no more than `RIM_PIXELS` pixels are in one.
    """
    columns = np.flatnonzero(_at_rim(valid))
    if not columns.size:
        return
    height = len(valid)
    # Runs less than 16 columns apart are one: each costs more than the cells between.
    for run in np.split(columns, np.flatnonzero(np.diff(columns) > 16) + 1):
        first, last = int(run[0]), int(run[-1]) + 2
        if height <= 3 or height * (last - first) <= RIM_PIXELS:
            yield slice(top, top + height), slice(left + first, left + last)
            continue
        half = height // 2
        yield from _rims(valid[: half + 1, first:last], top, left + first)
        yield from _rims(valid[half:, first:last], top + half, left + first)


@compiled_to_run_beside
def _at_rim(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return in which columns cells have valid and invalid corners, (width - 1,)."""
    rows, width = valid.shape
    mixed = np.zeros(width - 1, dtype=np.bool_)
    for row in range(rows - 1):
        for col in range(width - 1):
            first = valid[row, col]
            mixed[col] |= (
                (valid[row, col + 1] ^ first)
                | (valid[row + 1, col] ^ first)
                | (valid[row + 1, col + 1] ^ first)
            )
    return mixed


def _double(
    values: NDArray[np.float64], valid: NDArray[np.bool_], level: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_]]:
    """Double a grid of pixels, for the cells along its rim.

    Returns:
        Values at centres, edges and corners; the nodes whose cells are not contoured here: centres
        of invalid pixels, and corners of four valid ones; and the nodes at which an area's outline
        may turn: all others in an outline are halfway along a straight.
    """
    totals = _sum_of_neighbours(np.where(valid, values, 0.0))
    counts = _sum_of_neighbours(valid.astype(np.float64))
    nodes = measure_values(totals / np.maximum(counts, 1), Scale.plain(level))
    masked = np.zeros(nodes.shape, dtype=bool)
    masked[::2, ::2] = ~valid
    masked[1::2, 1::2] = counts[1::2, 1::2] == 4
    turns = np.zeros(nodes.shape, dtype=bool)
    turns[::2, ::2] = True
    turns[1::2, 1::2] = turning(valid)
    ends = [0, -1]  # where the strip ends, so does the edge of a pixel
    turns[ends, 1::2] = valid[ends, 1:] != valid[ends, :-1]
    return nodes, masked, turns


def turning(valid: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return at which corners between four pixels the edge of the valid ones turns."""
    upper_left, upper_right, lower_left, lower_right = (
        valid[:-1, :-1],
        valid[:-1, 1:],
        valid[1:, :-1],
        valid[1:, 1:],
    )
    odd = upper_left ^ upper_right ^ lower_left ^ lower_right
    diagonal = (upper_left == lower_right) & (upper_right == lower_left)
    return odd | (diagonal & (upper_left != upper_right))


def _sum_of_neighbours(pixels: NDArray[np.float64]) -> NDArray[np.float64]:
    """Sum at each node the pixels that it belongs to: 1 at centres, 2 at edges, 4 at corners."""
    height, width = pixels.shape
    rows = np.empty((height, 2 * width - 1))
    rows[:, ::2] = pixels
    rows[:, 1::2] = pixels[:, :-1] + pixels[:, 1:]
    nodes = np.empty((2 * height - 1, 2 * width - 1))
    nodes[::2] = rows
    nodes[1::2] = rows[:-1] + rows[1:]
    return nodes


def _settle_areas(
    filled: _Filled,
    rim: _Rim,
    nodes: NDArray[np.float64],
    turns: NDArray[np.bool_],
) -> Geometries:
    """Give areas along the rim their exact place in the raster."""
    on_areas = _Crossings.of(filled.points, rim)
    col, row = on_areas.node.T
    kept = on_areas.moving.any(axis=1) | turns[row, col]
    place, ring_offsets = keep_vertices(on_areas.place(nodes), filled.ring_offsets, kept)
    return shapely.from_ragged_array(
        shapely.GeometryType.POLYGON, place, (ring_offsets, filled.area_offsets)
    )


@dataclass(frozen=True)
class _Crossings:
    """Points on lines between nodes that are half a pixel apart; columns first, as in (x, y)."""

    rim: _Rim
    node: NDArray[np.intp]
    """(n, 2), the node before."""
    moving: NDArray[np.bool_]
    """(n, 2), in which direction from it the point lies; in none where it is the node itself."""
    full: NDArray[np.intp]
    """Which points lie between the centres of two valid pixels."""
    before: NDArray[np.float64]
    after: NDArray[np.float64]
    """The values of these pixels."""

    @classmethod
    def of(cls, points: NDArray[np.float64], rim: _Rim) -> "_Crossings":
        # contourpy interpolates both coordinates, so the one that stays is an integer nearly only.
        near = np.rint(points)
        away = np.abs(points - near)
        moving = np.column_stack([away[:, 0] > away[:, 1], away[:, 0] < away[:, 1]])
        node = np.where(moving, np.floor(points), near).astype(np.intp)
        through_centres = np.flatnonzero(
            (moving[:, 0] & (node[:, 1] % 2 == 0)) | (moving[:, 1] & (node[:, 0] % 2 == 0))
        )
        pixel = node[through_centres] // 2 + (rim.margin, 1)
        before, after = _ends(rim.values, pixel, moving[through_centres])
        valid = np.isfinite(before + after)
        full = through_centres[valid]
        return cls(rim, node, moving, full, before[valid], after[valid])

    def place(self, nodes: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2), (col, row) in the raster."""
        level = self.rim.level
        origin = np.array([self.rim.left - 0.5, self.rim.first_row])  # of the first node
        start = origin + self.node / 2
        share = np.zeros(len(start))
        # An integer and a half, exactly; so that adding the share rounds once, to one number.
        start[self.full] = origin + self.node[self.full] // 2
        share[self.full] = (level - self.before) / (self.after - self.before)
        half = np.setdiff1d(np.flatnonzero(self.moving.any(axis=1)), self.full, assume_unique=True)
        before, after = _ends(nodes, self.node[half], self.moving[half])
        share[half] = (level - before) / (after - before) / 2
        return start + self.moving * share[:, None]

    def width(self, per_slope: tuple[float, float]) -> NDArray[np.float64]:
        """(n,), width of the line at the point, in metres; 0 on edges of pixels."""
        level, moving = self.rim.level, self.moving[self.full]
        pixel = self.node[self.full] // 2 + (self.rim.margin, 1)
        along = self.after - self.before
        share = (level - self.before) / along
        above, below = (
            (1 - share) * before + share * after
            for before, after in (
                _ends(self.rim.values, pixel + sideways * moving[:, ::-1], moving)
                for sideways in (-1, 1)
            )
        )
        slopes = np.array([level - above, below - level])
        known = np.isfinite(slopes)
        across = np.where(known, slopes, 0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
        wide_along, wide_across = np.where(moving[:, :1], per_slope, per_slope[::-1]).T
        width = np.zeros(len(self.node))
        width[self.full] = 1 / np.sqrt((along / wide_along) ** 2 + (across / wide_across) ** 2)
        return width


def _ends(
    values: NDArray[np.float64], start: NDArray[np.intp], step: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the values at places (col, row) and a step from there."""
    col, row = start.T
    next_col, next_row = (start + step).T
    return values[row, col], values[next_row, next_col]

"""Where land and water are on a coast that never was, exactly.

The ground is one smooth surface, a cubic B-spline over nodes that are half of the coast's smallest
wavelength apart: positive is land. Everything rough or sudden is decided at the nodes, so the
line where the surface is zero has a length and can be traced to any fineness.
Positions are (row, col) in pixels from the scene's upper left corner: pixel 0 is from 0 to 1.
"""

from collections.abc import Iterator
from typing import NamedTuple, cast

import contourpy
import numpy as np
from contourpy import FillType, LineType
from numpy.typing import NDArray
from rasterio.windows import Window

from geounet.coverage import enclosed_area
from geounet.synthetic.noise import (
    derive_key,
    derive_rng,
    evaluate_spline,
    node_indexes,
    smooth_noise,
)

ON_GRID = 1e-9
"""Distance, in samples, within which a vertex is on a row or column of them."""
FINENESS = 8
"""Samples per pixel side from which the line is traced."""
LONG_PX = 48.0
"""Octaves from this spacing of nodes on make the outline of the coast, shorter ones its details."""
CELL = 64
"""Side, in pixels, of the squares in which the line is traced; they lie at multiples of it."""


class Ground(NamedTuple):
    """The surface at the centres of a window's pixels."""

    height: NDArray[np.float64]
    """(height, width), positive on land; near the waterline about the distance to it in pixels."""
    sea: NDArray[np.float64]
    """(height, width), the same for the outline of the open sea, without its details."""
    rough: NDArray[np.float64]
    """(height, width), 0 where the shore is a smooth beach to 1 where it is rocky."""


class Coast:
    """A coast with bays, spits, islands, lakes and channels, the same wherever it is looked at."""

    def __init__(self, height: int, width: int, *, seed: int, min_wavelength_px: float) -> None:
        self.height, self.width, self.seed = height, width, seed
        self.spacing = min_wavelength_px / 2
        rng = derive_rng(seed, "coast")
        direction = rng.uniform(0, 2 * np.pi)
        self._seaward = np.sin(direction), np.cos(direction)  # rows, cols
        widest = max(self.spacing, max(height, width) / 3)
        octaves = int(np.floor(np.log2(widest / self.spacing))) + 1
        self._octaves = [self.spacing * 2**i for i in range(octaves)]
        # The coast passes about the middle of the scene, so that small ones have some too.
        middle = np.array([height / 2]), np.array([width / 2])
        self._level = 0.0
        self._level = float(self.outline(*middle)[0, 0])

    def ground(self, window: Window) -> Ground:
        """Return the surface under a window, which may reach beyond the scene."""
        rows = np.arange(window.row_off, window.row_off + window.height) + 0.5
        cols = np.arange(window.col_off, window.col_off + window.width) + 0.5
        surface = self._surface(rows, cols)
        sea = self.outline(rows, cols)
        rough = self._roughness(rows, cols)
        return Ground(surface.at(rows, cols), sea, rough)

    def is_water(self, row: float, col: float) -> bool:
        """Return whether a position is below the waterline."""
        rows, cols = np.array([row]), np.array([col])
        return bool(self._surface(rows, cols).at(rows, cols)[0, 0] < 0)

    def coverage(self, window: Window) -> NDArray[np.float64]:
        """Return how much of each pixel is water, exactly.

        Args:
            window: May reach beyond the scene.

        Returns:
            (height, width), 0 to 1: the area within the pixel of what `water` encloses.
        """
        covered = np.empty((window.height, window.width))
        for cell, samples in self._cells(window, whole_cells=True):
            top, left = cell.row_off - window.row_off, cell.col_off - window.col_off
            rows = slice(max(top, 0), min(top + CELL, window.height))
            cols = slice(max(left, 0), min(left + CELL, window.width))
            if samples.ndim == 0:
                covered[rows, cols] = samples < 0
            else:
                share = _covered_area(-samples, (CELL, CELL))
                covered[rows, cols] = share[
                    rows.start - top : rows.stop - top, cols.start - left : cols.stop - left
                ]
        return covered

    def lines(self, window: Window) -> Iterator[NDArray[np.float64]]:
        """Trace the waterline cell by cell.

        Args:
            window: Not traced beyond; lines end at its border and at borders of cells, with
                exactly the same vertex on both sides.

        Yields:
            (vertices, 2) as (col, row) in pixels, with land on the left seen on a map whose rows
            run southward.
        """
        for cell, samples in self._cells(window, whole_cells=False):
            if samples.ndim:
                generator = contourpy.contour_generator(z=-samples, line_type=LineType.Separate)
                for line in cast("list[NDArray[np.float64]]", generator.lines(0.0)):
                    # contourpy interpolates along rows and columns of samples, which its result
                    # is on but for the last digit; where lines end that decides which border.
                    near = np.rint(line)
                    exact = np.where(np.abs(line - near) < ON_GRID, near, line)
                    yield exact / FINENESS + np.array([cell.col_off, cell.row_off])

    def _cells(
        self, window: Window, *, whole_cells: bool
    ) -> Iterator[tuple[Window, NDArray[np.float64]]]:
        """Yield cells with the surface's samples at their grid, or one value if its sign is one."""
        top, left = window.row_off, window.col_off
        bottom, right = top + window.height, left + window.width
        if whole_cells:
            top, left = top // CELL * CELL, left // CELL * CELL
            bottom, right = -(-bottom // CELL) * CELL, -(-right // CELL) * CELL
        surface = self._surface(np.array([top, bottom], float), np.array([left, right], float))
        for row in range(top // CELL * CELL, bottom, CELL):
            for col in range(left // CELL * CELL, right, CELL):
                start_row, start_col = max(row, top), max(col, left)
                cell = Window(
                    row_off=start_row,
                    col_off=start_col,
                    height=min(row + CELL, bottom) - start_row,
                    width=min(col + CELL, right) - start_col,
                )
                rows = cell.row_off + np.arange(cell.height * FINENESS + 1) / FINENESS
                cols = cell.col_off + np.arange(cell.width * FINENESS + 1) / FINENESS
                lowest, highest = surface.bounds(rows, cols)
                one_sign = lowest > 0 or highest < 0
                yield cell, np.array(lowest) if one_sign else surface.at(rows, cols)

    def _surface(self, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> "_Surface":
        """Return the part of the surface between the first and the last position."""
        node_rows, node_cols = node_indexes(rows, self.spacing), node_indexes(cols, self.spacing)
        nodes = self._shape(
            np.multiply(node_rows, self.spacing), np.multiply(node_cols, self.spacing)
        )
        return _Surface(nodes, (int(node_rows[0]), int(node_cols[0])), self.spacing)

    def outline(self, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the height of the coast's large shape: a slope and the longer wavelengths."""
        down, right = self._seaward
        height = -0.5 * (
            (rows - self.height / 2)[:, None] * down + (cols - self.width / 2)[None, :] * right
        )
        for spacing in self._octaves:
            if spacing >= LONG_PX:
                height += 0.28 * spacing * self._noise("octave", spacing, rows, cols)
        return height - self._level

    def _roughness(
        self, rows: NDArray[np.float64], cols: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        where = self._noise("rough", 90.0, rows, cols)
        return ramp(where, -0.3, 1.0)

    def _shape(self, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the height of the ground, with all that makes a coast interesting."""
        height = sea = self.outline(rows, cols)
        rough = self._roughness(rows, cols)
        for spacing in self._octaves:
            if spacing < LONG_PX:
                noise = self._noise("octave", spacing, rows, cols)
                smooth = 0.6 if spacing > 12 else 0.2  # how much of it a beach has
                height = height + 0.34 * spacing * (smooth + (1 - smooth) * rough) * noise
        height = np.maximum(height, self._islands(rows, cols))
        height = np.maximum(height, self._bars(rows, cols, sea))
        height = np.minimum(height, self._lakes(rows, cols))
        return np.minimum(height, self._creeks(rows, cols, sea))

    def _bars(
        self,
        rows: NDArray[np.float64],
        cols: NDArray[np.float64],
        sea: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return the height of sand bars: narrow, along the coast, some way off it."""
        where = self._noise("bar", 60.0, rows, cols)
        half_width = 7 * ramp(where, 0.5, 1.5) - 2
        offshore = 24 + 9 * self._noise("bar", 40.0, rows, cols)
        return half_width - 0.8 * np.abs(sea + offshore)

    def _islands(self, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a surface that is above zero where an island lies off the coast."""
        where = 1.2 * self._noise("isles here", 110.0, rows, cols)
        for spacing, share in ((24.0, 0.8), (11.0, 0.45), (5.0, 0.2)):
            where += share * self._noise("isles", spacing, rows, cols)
        return 12 * (where - 2.5)

    def _lakes(self, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return a surface that is below zero where a lake is."""
        where = self._noise("lake", 30.0, rows, cols)
        where += 0.35 * self._noise("lake edge", 9.0, rows, cols)
        return 16 * (1.95 - where)

    def _creeks(
        self,
        rows: NDArray[np.float64],
        cols: NDArray[np.float64],
        sea: NDArray[np.float64],
    ) -> NDArray[np.float64]:
        """Return a surface that is below zero in creeks, which end a way inland."""
        middle = 45 * self._noise("creek", 60.0, rows, cols)
        middle += 4 * self._noise("creek", 14.0, rows, cols)
        where = self._noise("creek here", 150.0, rows, cols)
        half_width = 6 * ramp(where, -0.2, 0.8) * ramp(-sea, -160, 0) - 1
        return np.abs(middle) - half_width

    def _noise(
        self, name: str, spacing: float, rows: NDArray[np.float64], cols: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        key = derive_key(self.seed, f"{name} {spacing}")
        return smooth_noise(rows, cols, spacing=spacing, key=key)


class _Surface(NamedTuple):
    """A piece of the surface."""

    nodes: NDArray[np.float64]
    first: tuple[int, int]
    spacing: float

    def at(self, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the height at a grid of positions, (rows, cols)."""
        return evaluate_spline(self.nodes, self.first, self.spacing, rows, cols)

    def bounds(self, rows: NDArray[np.float64], cols: NDArray[np.float64]) -> tuple[float, float]:
        """Return what the surface cannot leave between the first and last position."""
        node_rows = node_indexes(rows, self.spacing) - self.first[0]
        node_cols = node_indexes(cols, self.spacing) - self.first[1]
        part = self.nodes[node_rows[0] : node_rows[-1] + 1, node_cols[0] : node_cols[-1] + 1]
        return float(part.min()), float(part.max())


def ramp(values: NDArray[np.float64], start: float, stop: float) -> NDArray[np.float64]:
    """Return 0 up to `start`, 1 from `stop` on, and a smooth step between."""
    t = np.clip((values - start) / (stop - start), 0, 1)
    return t * t * (3 - 2 * t)


def _covered_area(samples: NDArray[np.float64], shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return how much of each pixel lies where linearly interpolated samples are positive.

    Every edge lies within one square of samples and so within one pixel.

    Args:
        samples: (height × FINENESS + 1, width × FINENESS + 1), at the corners of the sub-pixels.
        shape: (height, width) in pixels.

    Returns:
        (height, width), 0 to 1.
    """
    generator = contourpy.contour_generator(z=samples, fill_type=FillType.ChunkCombinedOffset)
    filled = generator.filled(0.0, np.inf)
    if filled[0][0] is None:
        return np.zeros(shape)
    points = filled[0][0]
    ring_ends = cast("NDArray[np.uint32]", filled[1][0])[1:].astype(np.intp)
    starts = np.delete(np.arange(len(points)), ring_ends - 1)
    start, end = points[starts] / FINENESS, points[starts + 1] / FINENESS
    return enclosed_area(start, end, shape)

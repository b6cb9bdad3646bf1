"""From a field to whole lines, water and land that share their edges, strip by strip."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from geounet.coastline import LineSweep, start_rings
from geounet.contours import (
    Contours,
    Geometries,
    Strip,
    cut_strip,
    strip_ends,
    strip_rows,
    trace,
)
from geounet.ground import Ground
from geounet.line_options import LineOptions
from geounet.polygons import AreaSweep, in_order
from geounet.simplification import band_rows, simplify
from geounet.small_rings import SmallRings
from geounet.smoothing import REACH, smooth
from geounet.stitch import read_ahead
from geounet.vertices import as_complex

Read = Callable[[int, int], NDArray[np.floating[Any]]]
"""Returns rows `start` to `stop` of a field, (rows, width), NaN where invalid."""


class Drawn(NamedTuple):
    """What has become whole; all of it (col, row), and in one order whatever the strips."""

    lines: Geometries
    """LineStrings with widths, land on the left."""
    water: Geometries
    land: Geometries
    """Polygons; none of land unless it is asked for."""


class Shoreline:
    """Draws the lines and areas of a field.

    With `simplify_m` what is traced is held for a band of rows (`band_rows`), lines and areas, not
    pixels; with `smooth_m` each strip is traced with some rows more. Else nothing is held but what
    `LineSweep`, `AreaSweep` and `SmallRings` say.
    """

    def __init__(
        self,
        shape: tuple[int, int],
        ground: Ground,
        *,
        level: float,
        options: LineOptions,
        spread: float = 0.5,
        rows: int | None = None,
    ) -> None:
        """Prepare for a field.

        Args:
            shape: Its height and width.
            ground: What lies under its pixels.
            level: Where water begins, in what is read.
            options: How to draw; of them `simplify_m`, `smooth_m`, `min_area_m2` and `land`.
            spread: By how much the values of two lines differ that a width lies between.
            rows: Rows contoured at a time; `strip_rows` if None. It changes nothing but memory.
        """
        self._shape, self._ground, self._level = shape, ground, level
        self._options, self._spread = options, spread
        self._rows = rows or strip_rows(shape[1])
        self._band = None
        if options.simplify_m:
            pixel_m = np.hypot(*ground.metres(0, shape[0])).min()
            self._band = band_rows(options.simplify_m / float(pixel_m))
        self._small = SmallRings(options.min_area_m2, ground) if options.min_area_m2 else None
        self._lines, self._water = LineSweep(), AreaSweep()
        self._land = AreaSweep(land=True) if options.land else None

    def draw(self, read: Read, res_m: tuple[float, float]) -> Iterator[Drawn]:
        """Draw a field; once. The next strip is traced while one is joined.

        Args:
            read: Gives rows of it; called in another thread.
            res_m: Size of a pixel along a row and down a column, in metres, for widths.

        Yields:
            What is whole after each strip, or each band.
        """

        def traced(ends: tuple[int, int]) -> tuple[Strip, Contours]:
            strip = cut_strip(read, self._shape, *ends, level=self._level)
            contours = trace(strip, res_m, self._spread, land=self._land is not None)
            if self._options.smooth_m:
                contours = self._smooth(contours, strip, read)
            return strip, contours

        height = self._shape[0]
        held: list[tuple[Strip, Contours]] = []
        ends = strip_ends(self._shape, rows=self._rows, band=self._band)
        for strip, contours in read_ahead(traced, ends, threads=1):
            held.append((strip, contours))
            last = strip.top + len(strip.values) - 2
            if self._band is None or (last + 1) % self._band == 0 or last == height:
                yield self._join(held)
                held = []

    def steps(self) -> int:
        """Return how many times `draw` yields."""
        height = self._shape[0]
        if self._band is None:
            return len(range(-1, height, self._rows))
        return -(-(height + 1) // self._band)

    def _smooth(self, contours: Contours, strip: Strip, read: Read) -> Contours:
        first, last = strip.top + 1, strip.top + len(strip.values) - 2
        start, stop = max(first - REACH, -1), min(last + REACH, self._shape[0])
        around = cut_strip(read, self._shape, start, stop, level=self._level)
        # Of the whole field: a vertex goes as far whichever strip it is met in.
        metres = self._ground.metres(0, self._shape[0])
        return smooth(around, trace(around).lines, self._options.smooth_m, metres).apply(contours)

    def _join(self, held: Sequence[tuple[Strip, Contours]]) -> Drawn:
        """Hand on what was traced, simplified if it is to be."""
        last, contours = held[-1]
        left_out = None
        if self._band is not None:
            lines, left_out = self._simplify(held)
            contours = Contours(lines)
        lines = self._lines.add(contours, last.sweep_row)
        water, land = (
            self._areas(sweep, held, left_out) if sweep else lines[:0]
            for sweep in (self._water, self._land)
        )
        drawn = Drawn(lines, water, land)
        if self._small is None:
            return drawn
        self._small.see(np.concatenate([strip.holes() for strip, _ in held]))
        return Drawn(
            self._small.of_lines(drawn.lines),
            self._small.of_areas(drawn.water),
            self._small.of_areas(drawn.land),
        )

    def _areas(
        self,
        sweep: AreaSweep,
        held: Sequence[tuple[Strip, Contours]],
        left_out: NDArray[np.complex128] | None,
    ) -> Geometries:
        """Return the areas that are whole now."""
        whole = np.concatenate([sweep.add(one, strip, left_out) for strip, one in held])
        if left_out is None:
            return whole
        # Each came with the strip in which it ended before vertices were left out.
        return in_order(whole, shapely.bounds(whole)[:, 3], land=sweep is self._land)

    def _simplify(
        self, held: Sequence[tuple[Strip, Contours]]
    ) -> tuple[Geometries, NDArray[np.complex128]]:
        """Return the lines of a band with fewer vertices, and the vertices left out, ascending."""
        pieces = np.concatenate([contours.lines for _, contours in held])
        if not len(pieces):
            return pieces, np.empty(0, dtype=np.complex128)
        merged = shapely.line_merge(shapely.multilinestrings(pieces), directed=True)
        lines = start_rings(shapely.get_parts(merged))
        corners = np.concatenate([strip.corners() for strip, _ in held])
        kept = simplify(
            lines,
            self._options.simplify_m,
            self._ground.metres(held[0][0].first_row, held[-1][0].sweep_row),
            np.column_stack([corners.real, corners.imag]),
        )
        points, line = shapely.get_coordinates(lines, include_z=True, return_index=True)
        fewer = np.asarray(shapely.linestrings(points[kept], indices=line[kept]))
        return fewer, np.unique(as_complex(points[~kept]))

"""From a field to whole lines, water and land that share their edges, strip by strip."""

from collections.abc import Generator, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geounet.coastline import LineSweep
from geounet.contours import (
    Contours,
    Read,
    Strip,
    cut_strip,
    strip_ends,
    strip_rows,
    trace,
)
from geounet.ground import Ground
from geounet.joiner import Strings
from geounet.line_options import LineOptions
from geounet.polygons import AreaSweep, in_order
from geounet.ragged import Areas, Lines
from geounet.rings import start_rings
from geounet.simplification import band_rows, simplify
from geounet.small_rings import SmallRings
from geounet.smoothing import REACH, smooth
from geounet.threads import read_ahead
from geounet.tracing import Scale
from geounet.vertices import as_complex

TRACERS = 2
"""Threads that trace strips: joining and writing take as long as tracing, half of it to be seen in
time with a thread more."""


class _Traced(NamedTuple):
    """A strip, less its pixels."""

    last: int
    """The row of pixels at whose centres it ends."""
    first_row: float
    sweep_row: float
    contours: Contours
    corners: NDArray[np.complex128]
    """`Strip.corners`, where lines are simplified."""
    holes: NDArray[np.complex128]
    """`Strip.holes`, where small rings are left out."""


class Drawn(NamedTuple):
    """What has become whole; all of it (col, row), and in one order whatever the strips."""

    lines: Lines
    """Land on the left."""
    water: Areas
    land: Areas
    """None unless it is asked for."""


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
        scale: Scale,
        options: LineOptions,
        spread: float = 0.5,
        rows: int | None = None,
    ) -> None:
        """Prepare for a field.

        Args:
            shape: Its height and width.
            ground: What lies under its pixels.
            scale: Where water begins, and what values count.
            options: How to draw; of them `simplify_m`, `smooth_m`, `min_area_m2` and `land`.
            spread: By how much the values of two lines differ that a width lies between.
            rows: Rows contoured at a time; `strip_rows` if None. It changes nothing but memory.
        """
        self._shape, self._ground, self._scale = shape, ground, scale
        self._options, self._spread = options, spread
        self._rows = rows or strip_rows(shape[1])
        self._band = None
        if options.simplify_m:
            pixel_m = np.hypot(*ground.metres(0, shape[0])).min()
            self._band = band_rows(options.simplify_m / float(pixel_m))
        self._small = SmallRings(options.min_area_m2, ground) if options.min_area_m2 else None
        self._lines, self._water = LineSweep(), AreaSweep()
        self._land = AreaSweep(land=True) if options.land else None

    def draw(self, read: Read, res_m: tuple[float, float]) -> Generator[Drawn, None, None]:
        """Draw a field; once. The next strips are traced while one is joined.

        Args:
            read: Gives rows of it; called in other threads, and by several at a time.
            res_m: Size of a pixel along a row and down a column, in metres, for widths.

        Yields:
            What is whole after each strip, or each band.
        """

        def traced(ends: tuple[int, int]) -> _Traced:
            strip = cut_strip(read, self._shape, *ends, self._scale)
            contours = trace(strip, res_m, self._spread, land=self._land is not None)
            if self._options.smooth_m:
                contours = self._smooth(contours, strip, read)
            nothing = np.empty(0, dtype=np.complex128)
            return _Traced(
                ends[1],
                strip.first_row,
                strip.sweep_row,
                contours,
                nothing if self._band is None else strip.corners(),
                nothing if self._small is None else strip.holes(),
            )

        height = self._shape[0]
        held: list[_Traced] = []
        ends = strip_ends(self._shape, rows=self._rows, band=self._band)
        for one in read_ahead(traced, ends, threads=TRACERS):
            held.append(one)
            last = one.last
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
        around = cut_strip(read, self._shape, start, stop, self._scale)
        # Of the whole field: a vertex goes as far whichever strip it is met in.
        metres = self._ground.metres(0, self._shape[0])
        return smooth(around, trace(around).lines.shapes(), self._options.smooth_m, metres).apply(
            contours
        )

    def _join(self, held: Sequence[_Traced]) -> Drawn:
        """Hand on what was traced, simplified if it is to be."""
        contours, sweep_row = held[-1].contours, held[-1].sweep_row
        left_out = None
        if self._band is not None:
            lines, left_out = self._simplify(held)
            contours = Contours(lines, Lines.none())
        lines = self._lines.add(contours, sweep_row)
        water, land = (
            self._areas(sweep, held, left_out) if sweep else Areas.none()
            for sweep in (self._water, self._land)
        )
        if self._small is None:
            return Drawn(lines, water, land)
        self._small.see(np.concatenate([one.holes for one in held]))
        return Drawn(
            Lines.of(self._small.of_lines(lines.shapes())),
            Areas.of(self._small.of_areas(water.shapes())),
            Areas.of(self._small.of_areas(land.shapes())),
        )

    def _areas(
        self,
        sweep: AreaSweep,
        held: Sequence[_Traced],
        left_out: NDArray[np.complex128] | None,
    ) -> Areas:
        """Return the areas that are whole now."""
        whole = Areas.joined([sweep.add(one.contours, one.sweep_row, left_out) for one in held])
        # Each came with the strip in which it ended before vertices were left out.
        return whole if left_out is None else in_order(whole)

    def _simplify(self, held: Sequence[_Traced]) -> tuple[Lines, NDArray[np.complex128]]:
        """Return the lines of a band with fewer vertices, and the vertices left out, ascending."""
        parts = [(one.contours.lines, one.contours.rim_lines) for one in held]
        pieces = Lines.joined(list(chain.from_iterable(parts)))
        if not len(pieces):
            return pieces, np.empty(0, dtype=np.complex128)
        lines = start_rings(Strings(pieces, np.zeros(len(pieces), dtype=np.int64)).tied().lines)
        corners = np.concatenate([one.corners for one in held])
        kept = simplify(
            lines.shapes(),
            self._options.simplify_m,
            self._ground.metres(held[0].first_row, held[-1].sweep_row),
            np.column_stack([corners.real, corners.imag]),
        )
        offsets = np.append(0, np.cumsum(kept))[lines.offsets]
        fewer = Lines(lines.points[kept], offsets)
        return fewer, np.unique(as_complex(lines.points[~kept]))

"""Where a field crosses a level, in strips of rows that join exactly.

Positions are (col, row) in pixels from the raster's outer corner, so that a pixel's centre is at
+ 0.5 and `transform @ (col, row)` is its place on the ground.

Between four valid pixels the field is interpolated between their centres. At the raster's border
and at nodata it is carried half a pixel outward, to the edge of the outermost valid pixels: there,
along the rim, the grid is doubled, with nodes at centres, edges and corners of pixels. An edge or a
corner has the mean of the valid pixels it belongs to. The two grids meet on lines between centres
of valid pixels, and strips meet on rows of centres. `tracing` follows lines between four valid
pixels, contourpy those along the rim; *where* they cross an edge is computed from its two pixels
alone, and so is the same number on both sides.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from geounet.ragged import Geometries, Lines
from geounet.rims import trace_rims, turning
from geounet.tracing import Links, Scale, Values, follow

Read = Callable[[int, int], Values]
"""Returns rows `start` to `stop` of a field, (rows, width), NaN where invalid."""

PIXELS_IN_STRIP = 2**20
"""Bounds memory: contouring takes about 15 bytes for each, more where there are many lines. Of
smaller strips there are more, and each costs a millisecond of the interpreter, for which threads
wait."""


@dataclass(frozen=True)
class Strip:
    """Some rows of a field, with what is needed to contour them as part of the whole."""

    values: Values
    """(rows + 2, width + 2), as they are read. NaN where invalid and beyond the raster.

    What is contoured lies between the centres of the second row and the last but one; the outer
    two rows serve slopes only. The first and the last column are beyond the raster.
    """
    top: int
    """Row in the raster of the first row of `values`."""
    scale: Scale

    @property
    def sweep_row(self) -> float:
        """Position of the row of centres where the next strip begins."""
        return self.top + len(self.values) - 1.5

    @property
    def first_row(self) -> float:
        """Position of the row of centres where the strip begins."""
        return self.top + 1.5

    def corners(self) -> NDArray[np.complex128]:
        """Return where the edge between valid and invalid pixels turns, col + 1j·row."""
        row, col = np.nonzero(turning(np.isfinite(self.values[1:-1])))
        return col + 1j * (row + self.top + 2)

    def holes(self) -> NDArray[np.complex128]:
        """Return a corner at least of all nodata that valid pixels surround, col + 1j·row.

        It is the upper left one of a pixel beyond three valid ones, as the first in the uppermost
        row of such nodata is.
        """
        valid = np.isfinite(self.values[1:-1])
        alone = valid[:-1, :-1] & valid[:-1, 1:] & valid[1:, :-1] & ~valid[1:, 1:]
        row, col = np.nonzero(alone)
        return col + 1j * (row + self.top + 2)


class Contours(NamedTuple):
    """Pieces of lines and areas within one strip."""

    lines: Lines
    """Higher values on the right as one looks at the picture.

    Width is how far apart, in metres, two lines are whose values differ by `spread`, going by the
    slope at this one; 0 (unknown) on edges of pixels. These are the lines in cells between four
    valid pixels.
    """
    rim_lines: Lines
    """Those in cells along nodata and the border."""
    rims: Geometries = np.empty(0, dtype=object)
    """Polygons (col, row) of values above the level in cells along nodata and the border, not
    always valid on their own."""
    land_rims: Geometries = np.empty(0, dtype=object)
    """The same below the level, if land was asked for."""
    links: Links | None = None
    """Which of `lines` bound the same area above the level."""
    land_links: Links | None = None
    """The same below it, if land was asked for."""
    sides: NDArray[np.complex128] = np.empty(0, dtype=np.complex128)
    """Vertices of areas, col + 1j·row, on straight edges of valid pixels, that are there only
    because the strip, or what is contoured of its rim at a time, ends there."""


def strip_rows(width: int) -> int:
    """Return how many rows to contour at a time."""
    return max(16, PIXELS_IN_STRIP // width)


def cut_strips(
    read: Read,
    shape: tuple[int, int],
    *,
    scale: Scale,
    rows: int | None = None,
) -> Iterator[Strip]:
    """Cut a field into strips that share one row of pixels with the next.

    Args:
        read: Returns rows `start` to `stop` of the field, (rows, width), NaN where invalid.
        shape: Height and width of the field.
        scale: What is to be contoured.
        rows: Rows contoured at a time; `strip_rows` if None.

    Yields:
        Strips from the top down, the first and the last reaching half a pixel beyond the raster.
    """
    for first, last in strip_ends(shape, rows=rows):
        yield cut_strip(read, shape, first, last, scale)


def strip_ends(
    shape: tuple[int, int], *, rows: int | None = None, band: int | None = None
) -> Iterator[tuple[int, int]]:
    """Yield the rows of pixels at whose centres strips begin and end, as `cut_strip` takes them.

    Args:
        shape: Height and width of the field.
        rows: Rows contoured at a time; `strip_rows` if None.
        band: Strips end with each so many rows, too; None where they need not.
    """
    height, width = shape
    rows = rows or strip_rows(width)
    first = -1
    while first < height:
        last = min(first + rows, height)
        if band is not None:
            last = min(last, ((first + 1) // band + 1) * band - 1)
        yield first, last
        first = last


def cut_strip(read: Read, shape: tuple[int, int], first: int, last: int, scale: Scale) -> Strip:
    """Cut one strip out of a field, as `cut_strips` does.

    Args:
        read: As there.
        shape: Height and width of the field.
        first: The row of pixels at whose centres it begins; -1 is beyond the raster.
        last: The row of pixels at whose centres it ends; `height` is beyond the raster.
        scale: What is to be contoured.
    """
    height, width = shape
    # A row more on both sides for slopes.
    start, stop = max(first - 1, 0), min(last + 2, height)
    found = read(start, stop)
    values = np.full((last - first + 3, width + 2), np.nan, dtype=found.dtype)
    offset = start - (first - 1)
    values[offset : offset + stop - start, 1:-1] = found
    return Strip(values, first - 1, scale)


def trace(
    strip: Strip,
    res_m: tuple[float, float] = (1, 1),
    spread: float = 0.5,
    *,
    land: bool = False,
) -> Contours:
    """Contour one strip.

    Args:
        strip: What to contour.
        res_m: Size of a pixel along a row and down a column, in metres, for widths.
        spread: By how much the values of two lines differ that a width lies between.
        land: Whether the areas below the level are wanted, too.

    Returns:
        Pieces whose ends and edges are exactly those of their neighbours, in this strip and others.
    """
    per_slope = spread * res_m[0], spread * res_m[1]
    found = follow(strip.values, strip.scale, strip.first_row, per_slope, land=land)
    rim = trace_rims(strip.values, strip.scale, strip.first_row, per_slope, land=land)
    return Contours(found.lines, rim.lines, rim.water, rim.land, found.water, found.land, rim.sides)

"""The window plan: how a raster is covered so that tiling cannot be seen in the result."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window


class HaloWindow(NamedTuple):
    """A part of a raster that is kept, and the larger part that is read to predict it."""

    read: Window
    """What the network sees; may reach beyond the raster, where it is mirrored."""
    core: Window
    """What is kept of it; lies inside the raster."""

    @property
    def keep(self) -> tuple[slice, slice]:
        """Where `core` lies, (rows, cols), in an array read with `read`."""
        return self.keep_inside(0)

    def keep_inside(self, margin: int) -> tuple[slice, slice]:
        """Return where `core` lies, (rows, cols), in one that lacks `margin` on each side."""
        top = self.core.row_off - self.read.row_off - margin
        left = self.core.col_off - self.read.col_off - margin
        return slice(top, top + self.core.height), slice(left, left + self.core.width)


def plan_windows(
    height: int, width: int, *, core: int, halo: int, stride: int = 1, remainder: int = 0
) -> Iterator[HaloWindow]:
    """Cover a raster so that every pixel is predicted with context around it.

    A network sees less context near the edge of its input and errs more there, so each window
    reads `halo` pixels more on every side than it keeps [1]_. Networks that pool give the same
    answer at a pixel only if windows start on the same phase of the pooling grid: origins and
    sizes of what is read are therefore multiples of `stride` apart, windows reaching further than
    their halo below and on the right where they must. A network of the paper's, without padding,
    that gives 388 pixels for 572 is stepped by 384 with a halo of 92, and 4 are dropped.

    Args:
        height: Rows of the raster.
        width: Columns of the raster.
        core: Side of the part of each window that is kept, in pixels; a multiple of `stride`.
        halo: Pixels read beyond it on each side.
        stride: Total stride of the network, in pixels.
        remainder: What sides that the network takes leave when divided by the stride.

    Yields:
        Windows in row-major order whose cores partition the raster.

    Raises:
        ValueError: `core` is not a positive multiple of `stride`, or `halo` is negative.

    References:
        .. [1] Ronneberger et al. (2015), "U-Net" (overlap-tile strategy), arXiv:1505.04597.
    """
    if core <= 0 or core % stride:
        raise ValueError(f"core {core} is not a positive multiple of the stride {stride}")
    if halo < 0:
        raise ValueError(f"halo {halo} is negative")

    def spans(size: int) -> list[tuple[int, int, int]]:
        """(start of the core, its length, length read) along one side."""
        starts = range(0, size, core)
        lengths = [min(core, size - start) for start in starts]
        return [
            (start, length, round_up(length + 2 * halo - remainder, stride) + remainder)
            for start, length in zip(starts, lengths, strict=True)
        ]

    for row, rows, rows_read in spans(height):
        for col, cols, cols_read in spans(width):
            yield HaloWindow(
                read=Window(
                    col_off=col - halo, row_off=row - halo, width=cols_read, height=rows_read
                ),
                core=Window(col_off=col, row_off=row, width=cols, height=rows),
            )


def round_up(number: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is not below `number`."""
    return -(-number // multiple) * multiple


def mirror_indexes(start: int, stop: int, size: int) -> NDArray[np.intp]:
    """Return where to read positions `start` to `stop` of an axis of `size`, mirrored at its ends.

    The same as `np.pad(mode="reflect")`: the edge itself is not repeated, and a short axis is
    folded as often as needed. An axis of one repeats it.
    """
    if size == 1:
        return np.zeros(stop - start, dtype=np.intp)
    period = 2 * (size - 1)
    folded = np.arange(start, stop) % period
    return np.where(folded < size, folded, period - folded)

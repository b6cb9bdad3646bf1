"""The window plan: how a raster is covered so that tiling cannot be seen in the result."""

import math
from collections.abc import Iterator
from itertools import pairwise
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
    height: int,
    width: int,
    *,
    core: int,
    halo: int,
    stride: int = 1,
    remainder: int = 0,
    first: tuple[int, int] | None = None,
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
        first: Height of the cores of the first row and width of those of the first column, where
            they are to be smaller than the others (`first_core`).

    Yields:
        Windows in row-major order whose cores partition the raster.

    Raises:
        ValueError: `core` is not a positive multiple of `stride`, one of `first` is not or is
            larger, or `halo` is negative.

    References:
        .. [1] Ronneberger et al. (2015), "U-Net" (overlap-tile strategy), arXiv:1505.04597.
    """
    if core <= 0 or core % stride:
        raise ValueError(f"core {core} is not a positive multiple of the stride {stride}")
    if halo < 0:
        raise ValueError(f"halo {halo} is negative")

    for side in first or ():
        if not 0 < side <= core or side % stride:
            raise ValueError(f"a first core of {side} does not go with {core} and stride {stride}")

    def spans(size: int, begin: int) -> list[tuple[int, int, int]]:
        """(start of the core, its length, length read) along one side."""
        bounds = [0, *range(begin, size, core), size]
        return [
            (start, stop - start, round_up(stop - start + 2 * halo - remainder, stride) + remainder)
            for start, stop in pairwise(bounds)
        ]

    first_rows, first_cols = first or (core, core)
    for row, rows, rows_read in spans(height, first_rows):
        for col, cols, cols_read in spans(width, first_cols):
            yield HaloWindow(
                read=Window(
                    col_off=col - halo, row_off=row - halo, width=cols_read, height=rows_read
                ),
                core=Window(col_off=col, row_off=row, width=cols, height=rows),
            )


def first_core(core: int, *, halo: int, stride: int, block: int) -> int:
    """Return how long the first core of a side is to be, so that reads end with a file's blocks.

    A window is read to its halo beyond its core. Where the first core is shorter by a halo, reads
    end where blocks do, or at the same few places within them, and little of a block has to wait
    for the next window.

    Args:
        core: Length of the others, in pixels.
        halo: Pixels read around a core.
        stride: What cores are multiples of.
        block: Length of the file's blocks.
    """
    shorter = core - halo % math.gcd(core, block)
    return shorter if shorter > 0 and shorter % stride == 0 else core


def plan_overlapping(
    height: int, width: int, *, window: int, overlap: int, stride: int = 1
) -> Iterator[HaloWindow]:
    """Cover a raster with windows of one size that overlap, for results that are to be blended.

    The grid of windows is regular and lies over the middle of the raster, so that what it reaches
    beyond is the same on opposite sides, to a stride, and half an overlap at least: at the
    raster's edge, too, there is something around what counts.

    Args:
        height: Rows of the raster.
        width: Columns of the raster.
        window: Side of every window, in pixels.
        overlap: Pixels that neighbours share.
        stride: Origins are multiples of it.

    Yields:
        Windows in row-major order. `core` is what of a window lies inside the raster; cores
        overlap, and every pixel is in one at least.

    Raises:
        ValueError: `overlap` is not within 1 and `window` - 1, or the step between windows is no
            multiple of `stride`.
    """
    step = window - overlap
    if not 0 < overlap < window or step % stride:
        raise ValueError(
            f"windows of {window} that overlap by {overlap} do not go with the stride {stride}"
        )

    def spans(size: int) -> list[tuple[int, int, int]]:
        """(origin, start of what lies inside, its end) along one side."""
        rim = round_up(overlap // 2, stride)
        count = 1 + max(0, -(-(size + 2 * rim - window) // step))
        beyond = window + (count - 1) * step - size
        first = -(beyond // 2 // stride) * stride
        origins = range(first, first + count * step, step)
        return [(at, max(at, 0), min(at + window, size)) for at in origins]

    for row, top, bottom in spans(height):
        for col, left, right in spans(width):
            yield HaloWindow(
                read=Window(col_off=col, row_off=row, width=window, height=window),
                core=Window(col_off=left, row_off=top, width=right - left, height=bottom - top),
            )


def blend_overlap(window: int, stride: int) -> int:
    """Return by how much windows that are blended overlap: a quarter of them, in whole strides."""
    return round_up(-(-window // 4), stride)


def round_up(number: int, multiple: int) -> int:
    """Return the smallest multiple of `multiple` that is not below `number`."""
    return -(-number // multiple) * multiple


def inside_span(start: int, stop: int, size: int) -> tuple[int, int]:
    """Return from where to where an axis of `size` is read for its positions `start` to `stop`.

    As `mirror_indexes` has it, where they reach beyond the axis.
    """
    if start >= 0 and stop <= size:
        return start, stop
    positions = mirror_indexes(start, stop, size)
    return int(positions.min()), int(positions.max()) + 1


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

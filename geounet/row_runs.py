"""Which pieces of lines bound one area, by the runs of pixels between them in each row.

A run is pixels next to each other in a row, all of them water or all of them land, whose centres
are joined by edges of cells that have four valid corners. What bounds a run on its left and what
bounds it on its right bound one area; and all that bounds an area within a strip hangs together so:
from the leftmost pixel beside a hole a run leads to something farther left, and in the end to the
outline.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Links(NamedTuple):
    """Centres of pixels that lie within the area that a piece of line bounds."""

    owners: NDArray[np.intp]
    """(n,), numbers of pieces; from the number of pieces on, of runs that no line bounds."""
    points: NDArray[np.complex128]
    """(n,), col + 1j·row."""
    bare: int
    """How many runs no line bounds."""


class Crossed(NamedTuple):
    """Where lines cross edges between pixels in a row."""

    pieces: NDArray[np.intp]
    """(n,), numbers of pieces of lines."""
    row: NDArray[np.intp]
    col: NDArray[np.intp]
    """(n,), the pixel before each, in the field's strip."""


def link_runs(
    side: NDArray[np.bool_],
    valid: NDArray[np.bool_],
    crossed: Crossed,
    count: int,
    origin: complex,
) -> Links:
    """Link pieces of lines by the runs of one side.

    Args:
        side: (rows, width), which valid pixels are on it.
        valid: (rows, width), not in the first and the last column.
        crossed: Where lines cross edges of rows.
        count: How many pieces of lines there are.
        origin: col + 1j·row of the centre of the first pixel.

    Returns:
        Links by which, with the ends of lines and the areas along nodata, pieces of one area are
        found, within the strip and on its first and last row.
    """
    pairs = valid[:, 1:] & valid[:, :-1]
    cells = pairs[1:] & pairs[:-1]
    edges = np.zeros_like(pairs)  # of cells with four valid corners
    edges[1:] = cells
    edges[:-1] |= cells
    # Before and after each pixel; the outermost have none.
    on_left, on_right = np.zeros_like(side), np.zeros_like(side)
    on_left[:, 1:] = on_right[:, :-1] = edges
    member = side & (on_left | on_right)
    same = np.zeros_like(side)
    same[:, 1:] = member[:, 1:] & member[:, :-1] & edges
    starts = np.flatnonzero(member & ~same)
    same[:, :-1] = same[:, 1:].copy()
    same[:, -1] = False
    ends = np.flatnonzero(member & ~same)
    width = side.shape[1]
    piece = np.empty(side.size, dtype=np.intp)
    piece[crossed.row * width + crossed.col] = crossed.pieces
    # -1 where it is not a line that ends the run, but the rim.
    left = np.where(on_left.ravel()[starts], piece[starts - 1], -1)
    right = np.where(on_right.ravel()[ends], piece[ends], -1)
    return _links(left, right, (starts, ends), side.shape, count, origin)


def _links(
    left: NDArray[np.intp],
    right: NDArray[np.intp],
    runs: tuple[NDArray[np.intp], NDArray[np.intp]],
    shape: tuple[int, ...],
    count: int,
    origin: complex,
) -> Links:
    """Return what runs link; of those that link the same pieces inside the strip, one."""
    height, width = shape
    pair = left * count + right
    needed = (runs[0] < width) | (runs[0] >= (height - 1) * width) | (left < 0) | (right < 0)
    inside = np.flatnonzero(~needed & (left != right))
    needed[inside[np.unique(pair[inside], return_index=True)[1]]] = True
    left, right = left[needed], right[needed]
    first, last = (origin + run[needed] % width + 1j * (run[needed] // width) for run in runs)
    by_left, by_right, at_rim = left >= 0, right >= 0, right < 0
    bare = ~by_left & at_rim
    left[bare] = count + np.arange(np.count_nonzero(bare))
    # The area along the rim has all centres on it: a run that ends there is linked to its last.
    owners = [left[by_left | bare], right[by_right], left[at_rim]]
    points = [first[by_left | bare], first[by_right], last[at_rim]]
    return Links(np.concatenate(owners), np.concatenate(points), int(np.count_nonzero(bare)))

"""Reading a scene for windows that overlap, so that nothing is read or decoded twice."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geounet.scene import Pixels
from geounet.stitch import read_ahead
from geounet.windows import HaloWindow, inside_span, mirror_indexes, round_up

Span = tuple[int, int]
"""From where to where, along one side of a scene."""


@dataclass(frozen=True)
class Side:
    """How the windows along one side of a scene get what they need, each part of it read once."""

    size: int
    """Of the scene, in pixels."""
    reads: tuple[Span, ...]
    """What each window sees; may reach beyond the scene, where it is mirrored."""
    needs: tuple[Span, ...]
    """What of the scene that is made of."""
    fresh: tuple[Span, ...]
    """What is read for each, to the end of a block; these touch, and some may be empty."""
    keep: tuple[int, ...]
    """From where on what has been read is kept, as later windows need it too."""

    @classmethod
    def of(cls, reads: Sequence[Span], *, size: int, block: int) -> "Side":
        """Plan it for windows in order along a side of `size`, of a file with such blocks."""
        needs = tuple(inside_span(start, stop, size) for start, stop in reads)
        done = min(start for start, _ in needs)
        fresh, keep = [], []
        for number, (_, stop) in enumerate(needs):
            end = max(done, min(size, round_up(stop, block)))
            fresh.append((done, end))
            done = end
            keep.append(min((start for start, _ in needs[number + 1 :]), default=done))
        return cls(size, tuple(reads), needs, tuple(fresh), tuple(keep))

    @property
    def begins(self) -> tuple[int, ...]:
        """From where on a window has what has been read, with what is fresh for it."""
        return (self.fresh[0][0], *self.keep[:-1])

    @property
    def most_held(self) -> int:
        """Pixels of the side that are in memory for one window, at most."""
        return max(stop - begin for begin, (_, stop) in zip(self.begins, self.fresh, strict=True))

    @property
    def most_kept(self) -> int:
        """Pixels of the side that wait for later windows, at most."""
        return max(stop - keep for keep, (_, stop) in zip(self.keep, self.fresh, strict=True))

    def place(self, number: int) -> slice | NDArray[np.intp]:
        """Return where a window lies in what is in memory for it: as a slice, if in order."""
        start, stop = self.reads[number]
        begin = self.begins[number]
        if (start, stop) == self.needs[number]:
            return slice(start - begin, stop - begin)
        return mirror_indexes(start, stop, self.size) - begin


def plan_sides(
    windows: Sequence[HaloWindow], shape: tuple[int, int], block: tuple[int, int]
) -> tuple[Side, Side]:
    """Return how the rows and the columns of a grid of windows are read.

    Args:
        windows: In row-major order, of a regular grid.
        shape: Of the scene, (height, width).
        block: Of the file's blocks, (height, width).
    """
    spans = [window.read.toranges() for window in windows]
    rows, cols = (list(dict.fromkeys(span[axis] for span in spans)) for axis in (0, 1))
    assert len(rows) * len(cols) == len(windows)
    return (
        Side.of(rows, size=shape[0], block=block[0]),
        Side.of(cols, size=shape[1], block=block[1]),
    )


def read_once(
    windows: Sequence[HaloWindow],
    read: Callable[[Window], Pixels],
    sides: tuple[Side, Side],
    *,
    threads: int,
) -> Iterator[tuple[HaloWindow, Pixels]]:
    """Yield windows with their pixels, mirrored beyond the scene; no pixel is read twice.

    Of what has been read, the columns that the next window needs too are kept, and the rows that
    the next row of windows does: as many as two halos, and what lies on to the end of a block.

    Args:
        windows: In row-major order, of a regular grid.
        read: Reads inside the scene; called from threads, in order.
        sides: As `plan_sides` gives them.
        threads: How many read.
    """
    rows, cols = sides
    places = [
        Window.from_slices(row, col) if row[0] < row[1] and col[0] < col[1] else None
        for row, col in product(rows.fresh, cols.fresh)
    ]
    parts = read_ahead(lambda at: None if at is None else read(at), places, threads=threads)
    with closing(parts):
        yield from zip(windows, _assemble(parts, rows, cols), strict=True)


def _assemble(parts: Iterable[Pixels | None], rows: Side, cols: Side) -> Iterator[Pixels]:
    """Put what is fresh beside what has been kept, window by window."""
    fresh = iter(parts)
    strip: Pixels | None = None
    for i, top in enumerate(rows.begins):
        (middle, bottom), left = rows.fresh[i], None
        for j, begin in enumerate(cols.begins):
            (start, stop), part = cols.fresh[j], next(fresh)
            if strip is None:
                assert part is not None  # the first of all
                strip = _empty(part, rows.most_kept, cols.size)
            held = _empty(strip, bottom - top, stop - begin)
            new, waiting = slice(start - begin, None), slice(start, stop)
            for have, old, kept, got in zip(held, left or held, strip, part or held, strict=True):
                if left is not None:
                    have[..., : start - begin] = old
                have[..., : middle - top, new] = kept[..., : middle - top, waiting]
                if part is not None:
                    have[..., middle - top :, new] = got
                kept[..., : bottom - rows.keep[i], waiting] = have[..., rows.keep[i] - top :, new]
            left = Pixels(*(have[..., cols.keep[j] - begin :].copy() for have in held))
            del part
            yield _take(held, rows.place(i), cols.place(j))


def _empty(like: Pixels, height: int, width: int) -> Pixels:
    values, valid = like
    return Pixels(
        np.empty((len(values), height, width), values.dtype), np.empty((height, width), valid.dtype)
    )


def _take(held: Pixels, rows: Any, cols: Any) -> Pixels:
    """Return a part; one that is mirrored is a copy."""
    values, valid = held.values[:, rows], held.valid[rows]
    return Pixels(values[:, :, cols], valid[:, cols])

"""Reading a scene for windows that overlap, so that nothing is read or decoded twice."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geounet.scene import Pixels
from geounet.threads import read_ahead
from geounet.windows import HaloWindow, inside_span, mirror_indexes, round_up

Span = tuple[int, int]
"""From where to where, along one side of a scene."""
CHUNK_BYTES = 32 << 20
"""What is read at once, at most, if it is more than one row of blocks."""


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
        return max(
            stop - begin
            for begin, (start, stop) in zip(self.begins, self.fresh, strict=True)
            if start < stop
        )

    @property
    def most_kept(self) -> int:
        """Pixels of the side that wait for later windows, at most."""
        return max(stop - keep for keep, (_, stop) in zip(self.keep, self.fresh, strict=True))

    @property
    def most_fresh(self) -> int:
        """Pixels of the side that are read for one window, at most."""
        return max(stop - start for start, stop in self.fresh)

    @property
    def longest(self) -> int:
        """Length of the longest window."""
        return max(stop - start for start, stop in self.reads)

    def place(self, number: int, begin: int) -> slice | NDArray[np.intp]:
        """Return where a window lies in what is held from `begin` on: as a slice, if in order."""
        start, stop = self.reads[number]
        if (start, stop) == self.needs[number]:
            return slice(start - begin, stop - begin)
        return mirror_indexes(start, stop, self.size) - begin


@dataclass(frozen=True)
class Grid:
    """How the windows of a regular grid get what they need."""

    rows: Side
    cols: Side
    chunk: int
    """Rows that are read at once, whole blocks: few of a file whose blocks are whole rows."""

    @classmethod
    def of(
        cls,
        windows: Sequence[HaloWindow],
        shape: tuple[int, int],
        block: tuple[int, int],
        *,
        pixel_bytes: int,
    ) -> "Grid":
        """Plan it.

        Args:
            windows: In row-major order.
            shape: Of the scene, (height, width).
            block: Of the file's blocks, (height, width).
            pixel_bytes: Of all bands of a pixel.
        """
        spans = [window.read.toranges() for window in windows]
        rows, cols = (list(dict.fromkeys(span[axis] for span in spans)) for axis in (0, 1))
        assert len(rows) * len(cols) == len(windows)
        return cls.of_spans((rows, cols), shape, block, pixel_bytes=pixel_bytes)

    @classmethod
    def of_spans(
        cls,
        spans: tuple[Sequence[Span], Sequence[Span]],
        shape: tuple[int, int],
        block: tuple[int, int],
        *,
        pixel_bytes: int,
    ) -> "Grid":
        """Plan it for windows whose rows and columns are `spans`."""
        rows, cols = (
            Side.of(along, size=size, block=step)
            for along, size, step in zip(spans, shape, block, strict=True)
        )
        at_once = CHUNK_BYTES // (cols.most_fresh * pixel_bytes) // block[0] * block[0]
        return cls(rows, cols, chunk=max(at_once, block[0]))

    @property
    def windows(self) -> int:
        """How many there are."""
        return len(self.rows.reads) * len(self.cols.reads)

    @property
    def copied(self) -> bool:
        """Whether windows are copied out of what is held, because they are a lesser part of it."""
        held = self.rows.most_held * self.cols.most_held
        return held > 1.5 * self.rows.longest * self.cols.longest

    def pixels(self, waiting: int, *, threads: int) -> int:
        """Return how many pixels are in memory at most, with so many windows in use or waiting."""
        rows, cols = self.rows, self.cols
        held, window = rows.most_held * cols.most_held, rows.longest * cols.longest
        part = min(self.chunk, rows.most_fresh) * cols.most_fresh
        strip = rows.most_kept * cols.size
        if self.windows == 1:
            return held + window
        windows = held + waiting * window if self.copied else (waiting + 1) * held
        return strip + part * (threads + 2) + windows


def read_once(
    windows: Sequence[HaloWindow],
    read: Callable[[Window], Pixels],
    grid: Grid,
    *,
    threads: int,
) -> Iterator[tuple[HaloWindow, Pixels]]:
    """Yield windows with their pixels, mirrored beyond the scene; no pixel is read twice.

    Of what has been read, the columns that the next window needs too are kept, and the rows that
    the next row of windows does: as many as two halos, and what lies on to the end of a block.

    Args:
        windows: In row-major order.
        read: Reads inside the scene; called from threads, in order.
        grid: Of the windows.
        threads: How many read.
    """
    places = [
        Window.from_slices(rows, cols)
        for fresh, cols in product(grid.rows.fresh, grid.cols.fresh)
        for rows in _chunks(fresh, grid.chunk)
        if cols[0] < cols[1]
    ]
    with closing(read_ahead(read, places, threads=threads)) as parts:
        yield from zip(windows, _assemble(parts, grid), strict=True)


def _chunks(span: Span, length: int) -> list[Span]:
    start, stop = span
    return [(at, min(at + length, stop)) for at in range(start, stop, length)]


def _assemble(parts: Iterator[Pixels], grid: Grid) -> Iterator[Pixels]:
    """Put what is fresh beside what has been kept, window by window."""
    strip = _Strip(grid)
    for i, top in enumerate(grid.rows.begins):
        held, origin = None, 0
        for j, begin in enumerate(grid.cols.begins):
            start, stop = grid.cols.fresh[j]
            if start < stop:  # else what is held has it all
                new = strip.columns(i, j, parts)
                if held is not None:
                    for old, have in zip(held, new, strict=True):
                        have[..., : start - begin] = old[..., begin - origin : start - origin]
                held, origin = new, begin
            assert held is not None  # the first of a row has columns of its own
            taken = _take(held, grid.rows.place(i, top), grid.cols.place(j, origin), grid.copied)
            if j == len(grid.cols.begins) - 1:
                held = None  # not to be in memory while the next row is waited for
            yield taken
            del taken


class _Strip:
    """The rows of the whole width of a scene that later windows need."""

    def __init__(self, grid: Grid) -> None:
        self._grid = grid
        self._kept: Pixels | None = None

    def columns(self, i: int, j: int, parts: Iterator[Pixels]) -> Pixels:
        """Return all rows of a window, its fresh columns filled in; keep what is needed of them."""
        rows, (start, stop) = self._grid.rows, self._grid.cols.fresh[j]
        top, begin = rows.begins[i], self._grid.cols.begins[j]
        (middle, bottom), keep = rows.fresh[i], rows.keep[i]
        held: Pixels | None = None
        fresh, mine = slice(start - begin, None), slice(start, stop)
        for first, last in _chunks((middle, bottom), self._grid.chunk):
            part = next(parts)
            self._kept = self._kept or _empty(part, rows.most_kept, self._grid.cols.size)
            held = held or _empty(part, bottom - top, stop - begin)
            for have, got in zip(held, part, strict=True):
                have[..., first - top : last - top, fresh] = got
        assert self._kept is not None
        held = held or _empty(self._kept, bottom - top, stop - begin)  # rows read before
        for have, kept in zip(held, self._kept, strict=True):
            have[..., : middle - top, fresh] = kept[..., : middle - top, mine]
            kept[..., : bottom - keep, mine] = have[..., keep - top :, fresh]
        return held


def _empty(like: Pixels, height: int, width: int) -> Pixels:
    values, valid = like
    return Pixels(
        np.empty((len(values), height, width), values.dtype), np.empty((height, width), valid.dtype)
    )


def _take(held: Pixels, rows: Any, cols: Any, copied: bool) -> Pixels:
    """Return a part; one that is mirrored is a copy in any case."""
    values, valid = held.values[:, rows][:, :, cols], held.valid[rows][:, cols]
    return Pixels(values.copy(), valid.copy()) if copied else Pixels(values, valid)

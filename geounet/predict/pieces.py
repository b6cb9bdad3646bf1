"""Reading a scene piece by piece for the network."""

import math
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby
from typing import Any, NamedTuple, Self

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window
from shapely.geometry.base import BaseGeometry

from geounet.aoi import aoi_mask
from geounet.bands import Band
from geounet.clock import Clock
from geounet.predict.reading import Grid, read_once
from geounet.scene import Pixels, Scaling, Scene
from geounet.threads import draw_ahead, read_ahead
from geounet.windows import HaloWindow, round_up

WORTH_CUTTING = 0.9
"""Share of a window above which cutting it down to its data is not worth another shape."""


class Piece(NamedTuple):
    """What is read of a window."""

    window: HaloWindow
    pixels: Pixels
    """Of `window.read`, as the file has them."""
    wanted: NDArray[np.bool_]
    """Of `window.core`: where there is data and a result is asked for."""


@dataclass(frozen=True)
class Reader:
    """Reads the windows of a scene for the network."""

    scene: Scene
    bands: Sequence[Band]
    aoi: BaseGeometry | None
    clock: Clock

    def pieces(
        self, windows: Sequence[HaloWindow], *, threads: int
    ) -> Generator[Piece | None, None, None]:
        """Yield what there is of windows, in order; None where there is nothing to predict.

        The next ones are read in threads meanwhile. Every pixel is read once. Within an area of
        interest only what its windows see is read, of neighbours twice where they overlap: what
        lies between them may be most of the scene.

        Args:
            windows: In row-major order, of a regular grid.
            threads: How many read.
        """
        if self.aoi is not None:
            return read_ahead(self._alone, windows, threads=threads)
        height, width = self.scene.geobox.shape
        grid = Grid.of(
            windows,
            (height, width),
            self.scene.blocksize,
            pixel_bytes=len(self.bands) * np.dtype(self.scene.dtype).itemsize,
        )
        return draw_ahead(self._put_together(windows, grid, threads))

    def _put_together(
        self, windows: Sequence[HaloWindow], grid: Grid, threads: int
    ) -> Generator[Piece | None, None, None]:
        for window, pixels in read_once(windows, self._read, grid, threads=threads):
            wanted = pixels.valid[window.keep]
            yield Piece(window, pixels, wanted) if wanted.any() else None

    def _alone(self, window: HaloWindow) -> Piece | None:
        assert self.aoi is not None
        wanted = aoi_mask(self.aoi, crop(self.scene.geobox, window.core))
        if not wanted.any():
            return None
        pixels = self._read(window.read)
        wanted = wanted & pixels.valid[window.keep]
        return Piece(window, pixels, wanted) if wanted.any() else None

    def _read(self, window: Window) -> Pixels:
        with self.clock.timed("reading"):
            return self.scene.read_dn(self.bands, window)


def cut_to_data(piece: Piece, *, stride: int, remainder: int) -> Piece:
    """Return as much of a window as it takes to predict what is wanted of it.

    Its origin keeps its phase on the pooling grid, and its core the halo around it, so the answer
    is the same. As it is where little would be saved.

    Args:
        piece: What is read of a window.
        stride: Of the network, in pixels.
        remainder: What sides that it takes leave when divided by the stride.
    """
    read, core = piece.window
    spans = []
    for axis, (first, (begin, _)) in enumerate(
        zip((core.row_off, core.col_off), read.toranges(), strict=True)
    ):
        (there,) = np.nonzero(piece.wanted.any(axis=1 - axis))
        start, stop = int(there[0]) // stride * stride, int(there[-1]) + 1
        length = round_up(stop - start + 2 * (first - begin) - remainder, stride) + remainder
        spans.append((start, stop, length))
    (top, bottom, height), (left, right, width) = spans
    if height * width > WORTH_CUTTING * read.height * read.width:
        return piece
    seen, kept = (
        (slice(top, top + height), slice(left, left + width)),
        (slice(top, bottom), slice(left, right)),
    )
    values, valid = piece.pixels
    return Piece(
        HaloWindow(
            read=Window(read.col_off + left, read.row_off + top, width, height),
            core=Window(core.col_off + left, core.row_off + top, right - left, bottom - top),
        ),
        Pixels(values[:, *seen], valid[seen]),
        piece.wanted[kept],
    )


def crop(geobox: GeoBox, window: Window) -> GeoBox:
    """Return the grid of a window; slicing a `GeoBox` uses what affine is about to deprecate."""
    shift = Affine.translation(window.col_off, window.row_off)
    return GeoBox((window.height, window.width), geobox.transform @ shift, geobox.crs)


class Survey:
    """Means and spreads over what passes by, from a sixteenth of it.

    Sums of pieces are added exactly, so that it does not matter which came first.
    """

    def __init__(self, scaling: Scaling, *, from_row: int) -> None:
        """Begin.

        Args:
            scaling: Of the scene.
            from_row: Pieces that are read from further up belong to another survey.
        """
        self._scaling, self._from_row = scaling, from_row
        self.seen = Seen.nothing(len(scaling.scale))

    def watch(self, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Yield `pieces` unchanged."""
        for piece in pieces:
            if piece.window.read.row_off < self._from_row:
                yield piece
                continue
            few = (slice(None, None, 4),) * 2
            wanted = piece.wanted[few]
            core = piece.pixels.values[:, *piece.window.keep][:, *few]
            dn = core[:, wanted][:, :, None]  # (bands, pixels, 1)
            reflectance = self._scaling.reflectance(dn)
            self.seen += Seen.of(
                reflectance.sum(axis=(1, 2), dtype=np.float64),
                np.square(reflectance, dtype=np.float64).sum(axis=(1, 2)),
                dn.shape[1],
            )
            yield piece


@dataclass(frozen=True)
class Seen:
    """What a survey has seen, exactly."""

    pieces: int
    count: int
    """Pixels that were sampled."""
    sums: tuple[Fraction, ...]
    """Of reflectance, by band."""
    squares: tuple[Fraction, ...]

    @classmethod
    def nothing(cls, bands: int) -> Self:
        """Return what there is before anything was seen."""
        return cls(0, 0, (Fraction(),) * bands, (Fraction(),) * bands)

    @classmethod
    def of(cls, sums: NDArray[np.float64], squares: NDArray[np.float64], count: int) -> Self:
        """Return what one piece shows; nothing but itself where its values are beyond measure.

        That is told by who runs the network over it.
        """
        if not (np.isfinite(sums).all() and np.isfinite(squares).all()):
            return replace(cls.nothing(len(sums)), pieces=1)
        return cls(1, count, tuple(map(Fraction, sums)), tuple(map(Fraction, squares)))

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.pieces + other.pieces,
            self.count + other.count,
            tuple(a + b for a, b in zip(self.sums, other.sums, strict=True)),
            tuple(a + b for a, b in zip(self.squares, other.squares, strict=True)),
        )

    def mean(self) -> list[float]:
        """Return the mean reflectance of each band; empty where nothing was sampled."""
        return [float(total / self.count) for total in self.sums] if self.count else []

    def std(self) -> list[float]:
        """Return the standard deviation of each band likewise."""
        if not self.count:
            return []
        variances = (
            of_squares / self.count - (total / self.count) ** 2
            for total, of_squares in zip(self.sums, self.squares, strict=True)
        )
        return [math.sqrt(max(float(variance), 0.0)) for variance in variances]


def batches(
    pieces: Iterable[Piece], size: int, prepare: Callable[[Piece], Piece]
) -> Iterator[list[Piece]]:
    """Group pieces that follow each other, are of one shape, and of one row of windows.

    What a network says of a piece may depend on what is beside it in a batch, to the last bit: so
    that depends on nothing but the row.

    Args:
        pieces: As they are read.
        size: How many are together at most.
        prepare: Makes of a piece what the network is given.
    """
    for _, row in groupby(pieces, key=lambda piece: int(piece.window.read.row_off)):
        batch: list[Piece] = []
        for piece in map(prepare, row):
            if batch and piece.pixels.values.shape != batch[0].pixels.values.shape:
                yield batch
                batch = []
            batch.append(piece)
            if len(batch) == size:  # before the next piece is asked for, which may be as large
                yield batch
                batch = []
        if batch:
            yield batch


def stack(batch: Sequence[Piece]) -> tuple[NDArray[Any], NDArray[np.bool_]]:
    """Return numbers (B, bands, height, width) and valid (B, height, width) of a batch."""
    if len(batch) == 1:  # as they are: a large window is not copied
        return batch[0].pixels.values[None], batch[0].pixels.valid[None]
    values = np.stack([piece.pixels.values for piece in batch])
    return values, np.stack([piece.pixels.valid for piece in batch])

"""Windows that overlap to one result, in a strip that rolls down the scene."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from rasterio.windows import Window

from geounet.windows import HaloWindow

WEIGHTS = "raised cosine over the overlap, from 0.001"
"""What `window_weights` gives, for the record."""
FLOOR = 1e-3
"""Weight at a window's very edge, along one side; in its corners it is the square of it."""
STEPS = 1000
"""Differences between windows are counted in steps of one part in so many."""
PARTS = 1 << 32
"""They are added up in whole ones of so many parts, so that it does not matter in which order."""


class Answer(NamedTuple):
    """What the network says of one window."""

    window: HaloWindow
    probs: NDArray[np.float32]
    """(classes, height, width) of `window.core`."""
    wanted: NDArray[np.bool_]
    """(height, width) of it: where there is data and a result is asked for."""


class Finished(NamedTuple):
    """Rows that no later window touches."""

    window: Window
    """Of the whole width of the scene."""
    probs: NDArray[np.float32]
    """(classes, height, width)."""
    wanted: NDArray[np.bool_]
    """(height, width), where there is a result."""


def window_weights(window: int, overlap: int) -> NDArray[np.float32]:
    """Return how much each pixel of a window counts, (window, window), above 0 and up to 1.

    What a network says near the edge of what it is given is worth least, so a window fades in and
    out over its overlap. Nowhere to 0, so that a pixel that no other window saw has a result.
    """
    # Of a pixel's centre, from the nearer edge.
    depth = np.minimum(np.arange(window) + 0.5, window - 0.5 - np.arange(window))
    side = FLOOR + (1 - FLOOR) * np.sin(np.pi / 2 * np.minimum(depth / overlap, 1)) ** 2
    return np.outer(side, side).astype(np.float32)


@dataclass
class Seams:
    """How far windows that saw the same pixel disagreed; gathered as rows are finished.

    Of each pixel that more than one window saw, the greatest difference between their
    probabilities of water counts.
    """

    pixels: int = 0
    largest: float = 0.0
    _sum: int = 0
    """In parts of `PARTS`."""
    _histogram: NDArray[np.int64] = field(default_factory=lambda: np.zeros(STEPS + 1, np.int64))
    """Of differences, rounded up to whole steps."""

    def add(self, differences: NDArray[np.float32]) -> None:
        """Count differences of probabilities, 0–1, of any shape."""
        if not differences.size:
            return
        steps = np.minimum(np.ceil(differences.astype(np.float64) * STEPS), STEPS)
        self._histogram += np.bincount(steps.astype(np.int64).ravel(), minlength=STEPS + 1)
        self._sum += int(np.rint(differences.astype(np.float64) * PARTS).astype(np.int64).sum())
        self.pixels += differences.size
        self.largest = max(self.largest, float(differences.max()))

    @property
    def mean(self) -> float:
        """Of the differences."""
        return self._sum / PARTS / self.pixels

    @property
    def p95(self) -> float:
        """Difference that 95 % of the pixels do not exceed, rounded up to a thousandth."""
        reached = np.cumsum(self._histogram) >= 0.95 * self.pixels
        return int(reached.argmax()) / STEPS

    def __str__(self) -> str:
        if not self.pixels:
            return "no pixel was seen by two"
        return (
            f"where they overlap, their probabilities of water differ by {self.largest:.2g} at "
            f"most, by {self.p95:.2g} or less at 95 % of the pixels, by {self.mean:.2g} on average"
        )

    def __add__(self, other: Self) -> Self:
        return type(self)(
            self.pixels + other.pixels,
            max(self.largest, other.largest),
            self._sum + other._sum,
            self._histogram + other._histogram,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return all that is known, to be added to others later."""
        steps = {str(step): int(self._histogram[step]) for step in self._histogram.nonzero()[0]}
        return {
            "pixels": self.pixels, "largest": self.largest, "sum": self._sum, "histogram": steps,
        }  # fmt: skip

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Self:
        """Return what `to_dict` has written."""
        seams = cls(said["pixels"], said["largest"], said["sum"])
        for step, times in said["histogram"].items():
            seams._histogram[int(step)] = times
        return seams

    def record(self) -> dict[str, Any]:
        """Return what `NAME.json` says of them; only the number of pixels where there are none."""
        if not self.pixels:
            return {"pixels": 0}
        return {
            "pixels": self.pixels,
            "largest_difference": self.largest,
            "difference_p95": self.p95,
            "difference_mean": self.mean,
        }


class Strip:
    """As many rows of the scene as a window has, in which windows are blended.

    What it holds is the weighted mean of what windows said so far, moved by each that comes: where
    all say the same the mean is that, to the last bit, whatever the weights, and nothing has to be
    divided in the end.
    """

    def __init__(
        self,
        width: int,
        *,
        window: int,
        overlap: int,
        is_water: NDArray[np.bool_],
        rows: tuple[int, int],
    ) -> None:
        """Make room for a row of windows.

        Args:
            width: Of the scene, in pixels.
            window: Side of a window, in pixels.
            overlap: Pixels that neighbours share.
            is_water: (classes,), whose probabilities' sum is that of water.
            rows: First row that is asked for, and the one after the last. What windows say of
                others counts for nothing.
        """
        self.seams = Seams()
        self._rows = rows
        self._weights, self._is_water = window_weights(window, overlap), is_water
        self._top = 0
        """Row of the scene that is the strip's first."""
        self._mean = np.zeros((len(is_water), window, width), np.float32)
        self._weight = np.zeros((window, width), np.float32)
        self._low = np.zeros((window, width), np.float32)
        """The least probability of water that a window gave, and the greatest."""
        self._high = np.zeros((window, width), np.float32)
        self._times = np.zeros((window, width), np.uint8)
        """How many windows saw a pixel."""

    @property
    def nbytes(self) -> int:
        """Bytes that it holds; as many for any number of rows of the scene."""
        return sum(array.nbytes for array in self._arrays)

    @property
    def _arrays(self) -> tuple[NDArray[Any], ...]:
        return self._mean, self._weight, self._low, self._high, self._times

    def blend(self, answers: Iterable[Answer]) -> Iterator[Finished]:
        """Take windows in row-major order, and yield rows as soon as no later one touches them."""
        for answer in answers:
            row = answer.window.core.row_off
            yield from self._finish_above(row)
            self._add(answer)
        yield from self._finish_above(self._top + self._mean.shape[1])

    def _add(self, answer: Answer) -> None:
        rows, cols = answer.window.core.toslices()
        rows = slice(rows.start - self._top, rows.stop - self._top)
        wanted = answer.wanted
        mean, weight, low, high, times = (array[..., rows, cols] for array in self._arrays)
        weights = np.where(wanted, self._weights[answer.window.keep], np.float32(0))
        weight += weights
        share = np.divide(weights, weight, out=np.zeros_like(weights), where=wanted)
        # Where nothing is wanted the network may have said anything, even NaN.
        mean += np.where(wanted, answer.probs - mean, np.float32(0)) * share
        water = answer.probs[self._is_water].sum(axis=0)
        first = times == 0
        np.copyto(low, np.where(first, water, np.minimum(low, water)), where=wanted)
        np.copyto(high, np.where(first, water, np.maximum(high, water)), where=wanted)
        times += wanted

    def _finish_above(self, row: int) -> Iterator[Finished]:
        """Yield what lies above a row of the scene, if any of it was seen, and roll down to it."""
        height, width = self._weight.shape
        done = min(row - self._top, height)
        if done <= 0:
            return
        first, last = (min(max(at - self._top, 0), done) for at in self._rows)
        asked = slice(first, last)
        times = self._times[asked]
        seen = times > 0
        if seen.any():
            self.seams.add((self._high[asked] - self._low[asked])[times > 1])
            yield Finished(
                Window(col_off=0, row_off=self._top + first, width=width, height=last - first),
                self._mean[:, asked].copy(),
                seen,
            )
        for array in self._arrays:
            array[..., : height - done, :] = array[..., done:, :].copy()
            array[..., height - done :, :] = 0
        self._top = row

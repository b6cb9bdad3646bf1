"""Blocks of ground, a kilometre wide, and what scores would be on other ground of the kind."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geounet.distances import Coordinates

EARTH_RADIUS_M = 6_371_008.8
"""Mean radius, of the IUGG."""
REPLICATES = 1000
LEAST_BLOCKS = 3
"""Of two blocks there are three different draws, and the outer 2.5 % of them are no estimate."""
FEW_BLOCKS = 10
"""Of fewer an interval is rough, and too narrow rather than too wide."""
_ROW = 2**32
"""More than there are columns."""

Name = tuple[str, ...]
Figures = Mapping[Name, float]
"""Scores by name, ("metres", "mean") for instance; NaN where nothing defines one."""
Weights = NDArray[np.int64]
"""(blocks,), how often each block is drawn."""


@dataclass(frozen=True)
class BlockGrid:
    """A division of the Earth into near-squares of one size, the same for every scene.

    Rows are of equal latitude; each is divided into as many columns as make its blocks squarest,
    so that neither poles nor 180° are special.
    """

    side_m: float

    def numbers(self, lon: NDArray[np.float64], lat: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the block of each place, in degrees, as a number that no other block has."""
        rows = max(1, round(np.pi * EARTH_RADIUS_M / self.side_m))
        row = np.clip(np.floor((lat + 90) * (rows / 180)), 0, rows - 1)
        middle = np.radians((row + 0.5) * (180 / rows) - 90)
        around = 2 * np.pi * EARTH_RADIUS_M * np.cos(middle)
        cols = np.maximum(1, np.rint(around / self.side_m))
        col = np.minimum(np.floor((lon + 180) % 360 * (cols / 360)), cols - 1)
        return (row * _ROW + col).astype(np.int64)

    def numbers_of(self, lon_lat: Coordinates) -> NDArray[np.int64]:
        """Return the block of each place, (n, 2) in degrees."""
        return self.numbers(lon_lat[:, 0], lon_lat[:, 1])


class Interval(NamedTuple):
    """Where a score lies in 95 % of all draws."""

    low: float
    high: float


def bootstrap(
    figures: Callable[[Weights], Figures], blocks: int, *, seed: int
) -> dict[Name, Interval]:
    """Return between what each figure lies in 95 % of all draws of blocks.

    Neighbouring points, and neighbouring pixels, err together. So blocks of ground are drawn
    instead, as many as there are, with replacement, and figures counted anew, and so `REPLICATES`
    times: the percentile interval of Efron & Tibshirani [1]_ with the blocks of Künsch [2]_. What
    errs together over more than a block (a tide, a shift of the scene) is not in it.

    Args:
        figures: Gives the figures when each block counts as often as it was drawn.
        blocks: How many there are.
        seed: Of the draws.

    Returns:
        Nothing where there are fewer than `LEAST_BLOCKS`; else what is defined in any draw.

    References:
        .. [1] Efron & Tibshirani (1993), "An introduction to the bootstrap", chapter 13.
        .. [2] Künsch (1989), "The jackknife and the bootstrap for general stationary
           observations", doi:10.1214/aos/1176347265; for areas, Hall (1985), "Resampling a
           coverage pattern", doi:10.1016/0304-4149(85)90028-1.
    """
    if blocks < LEAST_BLOCKS:
        return {}
    rng = np.random.default_rng(seed)
    drawn: list[list[float]] = []
    names: list[Name] = []
    for _ in range(REPLICATES):
        times = np.bincount(rng.integers(blocks, size=blocks), minlength=blocks)
        found = figures(times)
        names = list(found)
        drawn.append(list(found.values()))
    table = np.array(drawn)  # (draws, figures)
    intervals = {}
    for name, values in zip(names, table.T, strict=True):
        if np.isfinite(values).any():
            low, high = np.nanpercentile(values, [2.5, 97.5])
            intervals[name] = Interval(float(low), float(high))
    return intervals


def quantile(values: NDArray[np.float64], times: Weights, share: float) -> float:
    """Return a quantile of values that each count several times, as `numpy.quantile` has it.

    Args:
        values: (n,), rising.
        times: (n,), how often each counts.
        share: Between 0 and 1.

    Returns:
        NaN where nothing counts.
    """
    last = np.cumsum(times)
    if not len(last) or not last[-1]:
        return np.nan
    place = share * (last[-1] - 1)
    below = values[np.searchsorted(last, np.floor(place), side="right")]
    above = values[np.searchsorted(last, np.ceil(place), side="right")]
    return float(below + (place - np.floor(place)) * (above - below))


def ratio(part: float, whole: float) -> float:
    """Return a share; NaN where there is nothing to share."""
    return float(part / whole) if whole else np.nan


def nested(values: Mapping[Name, Any]) -> dict[str, Any]:
    """Return values by name as records have them, a level for each part of a name."""
    record: dict[str, Any] = {}
    for (*groups, last), value in values.items():
        place = record
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = list(value) if isinstance(value, Interval) else _or_none(value)
    return record


def _or_none(value: float) -> float | None:
    return value if np.isfinite(value) else None


def about(blocks: int, *, side_m: float, seed: int) -> dict[str, Any]:
    """Return how intervals were made, as records have it."""
    return {
        "side_km": side_m / 1000,
        "blocks": blocks,
        "few": blocks < FEW_BLOCKS,
        "replicates": REPLICATES,
        "seed": seed,
    }

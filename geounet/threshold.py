"""A threshold between land and water, found in a histogram."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

BINS = 4000
"""Of the histogram over [-1, 1]: finer than any noise of an index."""
TWO_PEAKED = 0.7
"""Share of the variance that lies between two classes. A single Gaussian peak cut in two has 2/π
= 0.64 of it, so what is hardly above is no sign of land and water."""


class Threshold(NamedTuple):
    """What divides a histogram in two."""

    value: float
    separability: float | None
    """Share of the variance that lies between the two classes, 0–1; None for a given value."""


def count_values(values: NDArray[np.float32]) -> NDArray[np.int64]:
    """Count values, which lie in [-1, 1], in `BINS` bins of equal width."""
    bins = ((values.astype(np.float64) + 1) * (BINS / 2)).astype(np.intp)
    return np.bincount(np.minimum(bins, BINS - 1), minlength=BINS)


def otsu(histogram: NDArray[np.int64]) -> Threshold:
    """Divide a histogram over [-1, 1] so that the variance between the two classes is greatest.

    Where a gap between two peaks leaves the choice open, the middle of the gap is taken: at its
    edge, as other implementations have it, half a bin of one class would fall to the other.

    Args:
        histogram: Counts in bins of equal width, at least two of them not 0.

    References:
        Otsu (1979), "A threshold selection method from gray-level histograms",
        doi:10.1109/TSMC.1979.4310076.
    """
    bins = len(histogram)
    centres = (np.arange(bins) + 0.5) * 2 / bins - 1
    total, mean = histogram.sum(), np.average(centres, weights=histogram)
    variance = np.average((centres - mean) ** 2, weights=histogram)
    # For each inner edge of a bin: how many values are below it, and their sum.
    below, sums = np.cumsum(histogram)[:-1], np.cumsum(histogram * centres)[:-1]
    weight = below * (total - below).astype(np.float64)
    distance = mean * below - sums
    between = np.divide(distance**2, weight, out=np.zeros(bins - 1), where=weight > 0)
    first = int(between.argmax())
    lower = np.flatnonzero(between[first:] < between[first])
    last = first + (int(lower[0]) - 1 if lower.size else bins - 2 - first)
    edge = 1 + (first + last) / 2
    return Threshold(edge * 2 / bins - 1, float(between[first] / variance))


def doubt_of(threshold: Threshold, what: str) -> str | None:
    """Return what is to be said of a threshold that hardly divides anything; None of others.

    Args:
        threshold: As it was found, or given.
        what: What was divided, `NDWI`.
    """
    if threshold.separability is None or threshold.separability >= TWO_PEAKED:
        return None
    return (
        f"{what} has no two clear peaks (separability {threshold.separability:.2f}), so Otsu's "
        f"threshold {threshold.value:.3f} may divide water or land itself"
    )

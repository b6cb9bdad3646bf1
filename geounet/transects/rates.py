"""How fast a coast moves along a transect, and how far that can be relied on."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

CONFIDENCE = 0.95
DAYS_PER_YEAR = 365.25
FEWEST = 3
"""Dates; through fewer, a line says nothing of its error."""
OUTLYING = 3.0
"""Studentised residual beyond which a position counts as an outlier."""

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """A straight line through positions by least squares."""

    rate: float
    """Metres a year, + towards the sea."""
    intercept: float
    """Metres, at year 0 of the times given."""
    low: float
    high: float
    """95 % interval of the rate, from Student's t with n - 2 degrees of freedom."""
    r2: float
    """Share of the variance that the line explains; NaN where positions are all the same."""
    p: float
    """Of so steep a line where there is no trend."""
    residual_m: float
    """Standard deviation about the line, metres."""


@dataclass(frozen=True)
class Trend:
    """What the positions on one transect say of its rate."""

    n: int
    span_years: float
    ordinary: Fit
    weighted: Fit | None
    """By 1 / u95², where each position has one."""
    theil_sen: float
    """Median of the slopes between all pairs of dates, metres a year: outliers hardly move it."""
    outlying: NDArray[np.bool_]
    """(n,), in the order given: positions whose externally studentised residual is beyond 3. None
    is removed."""
    lag1: float
    """Correlation of residuals of dates that follow one another, whatever time lies between."""
    durbin_watson: float
    n_effective: float
    """As many independent positions as these say: n (1 - lag1) / (1 + lag1), n at most."""
    low_serial: float
    high_serial: float
    """95 % interval of the rate with `n_effective` in the place of n; infinite where that is not
    above 2."""

    @property
    def outliers(self) -> int:
        """How many positions are outlying."""
        return int(self.outlying.sum())


def fit_line(years: Values, position_m: Values, weights: Values | None = None) -> Fit:
    """Fit a line by (weighted) least squares.

    Weights are relative: the scatter about the line says how large errors are.

    Args:
        years: (n,), three at least, not all the same.
        position_m: (n,).
        weights: (n,), positive; None is all the same.
    """
    w = np.ones(len(years)) if weights is None else weights / weights.mean()
    x = years - np.average(years, weights=w)
    y = position_m - np.average(position_m, weights=w)
    spread, total = (w * x**2).sum(), (w * y**2).sum()
    rate = (w * x * y).sum() / spread
    free = len(years) - 2
    left = float((w * (y - rate * x) ** 2).sum())
    error = np.sqrt(left / free / spread)
    half = stats.t.ppf((1 + CONFIDENCE) / 2, free) * error
    p = 2 * stats.t.sf(abs(rate) / error, free) if error > 0 else float(rate == 0)
    return Fit(
        rate=float(rate),
        intercept=float(np.average(position_m - rate * years, weights=w)),
        low=float(rate - half),
        high=float(rate + half),
        r2=float(1 - left / total) if total > 0 else np.nan,
        p=float(p),
        residual_m=float(np.sqrt(left / free)),
    )


def find_trend(years: Values, position_m: Values, u95_m: Values) -> Trend | None:
    """Find how fast positions move, and what speaks against believing it.

    Neighbours in time are alike (storms, seasons, the model's own habits), so that an interval that
    takes them for independent is too narrow: the wider one counts as many as there would be with
    the lag-1 correlation of the residuals [1]_. It takes dates for even in time; where they are
    not, it says how alike neighbours are and not how that fades. Few dates give too low a
    correlation.

    Args:
        years: (n,), in any order.
        position_m: (n,).
        u95_m: (n,), 95 % of the errors of each, NaN where not known.

    Returns:
        None where there are fewer than three different dates.

    References:
        .. [1] Santer et al. (2000), "Statistical significance of trends and trend differences in
           layer-average atmospheric temperature time series", doi:10.1029/1999JD901105.
    """
    if len(np.unique(years)) < FEWEST:
        return None
    order = np.argsort(years, kind="stable")
    years, position_m, u95_m = years[order], position_m[order], u95_m[order]
    fit = fit_line(years, position_m)
    known = bool((u95_m > 0).all())  # NaN is not
    residual = position_m - (fit.intercept + fit.rate * years)
    squares = float((residual**2).sum())
    negligible = squares <= (1e-9 * max(1.0, float(np.abs(position_m).max()))) ** 2 * len(years)
    lag1 = np.nan if negligible else float((residual[1:] * residual[:-1]).sum() / squares)
    watson = np.nan if negligible else float((np.diff(residual) ** 2).sum() / squares)
    n = len(years)
    likeness = max(lag1, 0.0) if np.isfinite(lag1) else 0.0
    effective = n * (1 - likeness) / (1 + likeness)
    half = np.inf
    if effective > 2:
        spread = ((years - years.mean()) ** 2).sum()
        t = stats.t.ppf((1 + CONFIDENCE) / 2, effective - 2)
        half = float(t * np.sqrt(squares / (effective - 2) / spread))
    outlying = np.zeros(n, dtype=np.bool_)
    if not negligible:
        outlying[order] = _outlying(years, residual)
    return Trend(
        n=n,
        span_years=float(years[-1] - years[0]),
        ordinary=fit,
        weighted=fit_line(years, position_m, (u95_m.min() / u95_m) ** 2) if known else None,
        theil_sen=_theil_sen(years, position_m),
        outlying=outlying,
        lag1=lag1,
        durbin_watson=watson,
        n_effective=effective,
        low_serial=fit.rate - half,
        high_serial=fit.rate + half,
    )


def _theil_sen(years: Values, position_m: Values) -> float:
    """Return the median slope of all pairs of different dates; Sen (1968)."""
    first, second = np.triu_indices(len(years), 1)
    apart = years[second] - years[first]
    slopes = (position_m[second] - position_m[first])[apart > 0] / apart[apart > 0]
    return float(np.median(slopes))


def _outlying(years: Values, residual: Values) -> NDArray[np.bool_]:
    """Return which residuals are too large for the scatter of the others.

    Each is divided by its standard deviation as the line without it has it [1]_; that needs four.

    References:
        .. [1] Cook & Weisberg (1982), "Residuals and influence in regression" (externally
           studentised).
    """
    n = len(years)
    if n <= FEWEST:
        return np.zeros(n, dtype=np.bool_)
    x = years - years.mean()
    free_share = 1 - 1 / n - x**2 / (x**2).sum()
    squares = (residual**2).sum()
    # A date that alone decides the line has no residual, and cannot be told from an outlier.
    others = np.maximum(squares * free_share - residual**2, 0.0)  # of the line without it
    beyond = residual**2 * (n - 3) > OUTLYING**2 * others
    return np.asarray(beyond & (free_share > 1e-9))


def confidence_band(years: Values, fit: Fit, at: Values) -> Values:
    """Return half the width of the 95 % band of the fitted line at some times, metres."""
    free, middle = len(years) - 2, years.mean()
    spread = ((years - middle) ** 2).sum()
    t = stats.t.ppf((1 + CONFIDENCE) / 2, free)
    return np.asarray(t * fit.residual_m * np.sqrt(1 / len(years) + (at - middle) ** 2 / spread))

"""Rates and what is said of them, against scipy and known data."""

import numpy as np
import pytest
from scipy.stats import linregress, t, theilslopes

from geounet.transects.rates import confidence_band, find_trend, fit_line

UNKNOWN = np.nan


def series(seed: int, n: int = 20, rate: float = -1.3, noise: float = 5.0):
    rng = np.random.default_rng(seed)
    years = np.sort(rng.uniform(2000, 2024, n))
    return years, 300 + rate * (years - 2000) + rng.normal(0, noise, n)


@pytest.mark.parametrize("seed", range(5))
def test_a_fit_is_that_of_scipy(seed) -> None:
    years, position = series(seed, n=3 + 4 * seed)
    fit, expected = fit_line(years, position), linregress(years, position)
    half = t.ppf(0.975, len(years) - 2) * expected.stderr
    assert fit.rate == pytest.approx(expected.slope, rel=1e-9)
    assert fit.intercept == pytest.approx(expected.intercept, rel=1e-9)
    assert (fit.low, fit.high) == pytest.approx(
        (expected.slope - half, expected.slope + half), rel=1e-7
    )
    assert fit.r2 == pytest.approx(expected.rvalue**2, abs=1e-9)
    assert fit.p == pytest.approx(expected.pvalue, rel=1e-6)


def test_a_weighted_fit_is_that_of_the_normal_equations() -> None:
    years, position = series(1)
    u95 = np.random.default_rng(2).uniform(2, 20, len(years))
    trend = find_trend(years, position, u95)
    assert trend is not None
    assert trend.weighted is not None
    design = np.column_stack((np.ones_like(years), years - 2010))
    w = np.diag(1 / u95**2)
    inverse = np.linalg.inv(design.T @ w @ design)
    coefficients = inverse @ design.T @ w @ position
    left = position - design @ coefficients
    variance = left @ w @ left / (len(years) - 2)
    half = t.ppf(0.975, len(years) - 2) * np.sqrt(variance * inverse[1, 1])
    assert trend.weighted.rate == pytest.approx(coefficients[1], rel=1e-7)
    assert trend.weighted.high - trend.weighted.rate == pytest.approx(half, rel=1e-7)


def test_weights_need_every_position_to_have_an_error() -> None:
    years, position = series(1)
    u95 = np.full(len(years), 5.0)
    u95[3] = np.nan
    trend = find_trend(years, position, u95)
    assert trend is not None
    assert trend.weighted is None


def test_equal_weights_are_no_weights() -> None:
    years, position = series(4)
    assert fit_line(years, position, np.full(len(years), 7.0)) == fit_line(years, position)


def test_the_median_of_slopes_is_scipys_and_outliers_hardly_move_it() -> None:
    years, position = series(0, noise=2)
    position[-1] += 150
    trend = find_trend(years, position, np.full(len(years), UNKNOWN))
    assert trend is not None
    assert trend.theil_sen == pytest.approx(theilslopes(position, years).slope, rel=1e-9)
    assert abs(trend.theil_sen + 1.3) < 0.3
    assert abs(trend.ordinary.rate + 1.3) > 1
    assert trend.outliers == 1
    assert trend.n == len(years), "none is removed"


def test_outliers_are_those_of_leaving_each_out() -> None:
    years, position = series(8, n=30)
    position[[4, 20]] += [35, -40]
    studentised = []
    for i in range(30):
        others = np.arange(30) != i
        x, y = years[others], position[others]
        fit = linregress(x, y)
        left = y - fit.intercept - fit.slope * x
        sigma2 = left @ left / (29 - 2)
        spread = ((x - x.mean()) ** 2).sum()
        error = np.sqrt(sigma2 * (1 + 1 / 29 + (years[i] - x.mean()) ** 2 / spread))
        studentised.append((position[i] - fit.intercept - fit.slope * years[i]) / error)
    expected = int((np.abs(studentised) > 3).sum())
    trend = find_trend(years, position, np.full(30, UNKNOWN))
    assert trend is not None
    assert trend.outliers == expected == 2


def test_serial_correlation_is_that_of_residuals_and_widens_the_interval() -> None:
    rng = np.random.default_rng(5)
    red = np.zeros(200)
    for i in range(1, 200):
        red[i] = 0.7 * red[i - 1] + rng.normal(0, 3)
    years = 2000 + np.arange(200) / 12
    trend = find_trend(years, 50 + 0.5 * (years - 2000) + red, np.full(200, UNKNOWN))
    assert trend is not None
    fit = linregress(years, 50 + 0.5 * (years - 2000) + red)
    left = 50 + 0.5 * (years - 2000) + red - fit.intercept - fit.slope * years
    assert trend.lag1 == pytest.approx(left[1:] @ left[:-1] / (left @ left), abs=1e-9)
    assert trend.durbin_watson == pytest.approx(2 * (1 - trend.lag1), abs=0.05)
    assert trend.n_effective == pytest.approx(200 * (1 - trend.lag1) / (1 + trend.lag1))
    free = trend.n_effective - 2
    spread = ((years - years.mean()) ** 2).sum()
    half = t.ppf(0.975, free) * np.sqrt(left @ left / free / spread)
    assert (trend.low_serial, trend.high_serial) == pytest.approx(
        (fit.slope - half, fit.slope + half), rel=1e-6
    )
    wider = (trend.high_serial - trend.low_serial) / (trend.ordinary.high - trend.ordinary.low)
    assert 1.9 < wider < 3.2, "about the root of 200 / n_effective"


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    held, held_red, held_serial = 0, 0, 0
    for seed in range(400):
        rng = np.random.default_rng(1000 + seed)
        years = 2000 + np.sort(rng.uniform(0, 10, 60))
        white = find_trend(years, 2 * years + rng.normal(0, 4, 60), np.full(60, UNKNOWN))
        red = np.convolve(rng.normal(0, 4, 63), [1, 0.8, 0.6, 0.4], mode="valid")
        alike = find_trend(years, 2 * years + red, np.full(60, UNKNOWN))
        assert white is not None
        assert alike is not None
        held += white.ordinary.low <= 2 <= white.ordinary.high
        held_red += alike.ordinary.low <= 2 <= alike.ordinary.high
        held_serial += alike.low_serial <= 2 <= alike.high_serial
    assert held / 400 == pytest.approx(0.95, abs=0.03)
    assert held_red / 400 < 0.8, "independence is what the ordinary interval supposes"
    assert held_serial / 400 > held_red / 400 + 0.1


@pytest.mark.parametrize("years", [[2000.0, 2001.0], [2000.0, 2000.0, 2001.0, 2001.0]])
def test_fewer_than_three_dates_have_no_rate(years) -> None:
    assert (
        find_trend(np.array(years), np.arange(len(years)) * 1.0, np.full(len(years), 1.0)) is None
    )


def test_a_perfect_line_has_no_error_and_no_outliers() -> None:
    years = np.arange(2000.0, 2010)
    trend = find_trend(years, 3 * years, np.full(10, UNKNOWN))
    assert trend is not None
    assert (trend.ordinary.low, trend.ordinary.high) == pytest.approx((3, 3), abs=1e-6)
    assert trend.outliers == 0
    assert np.isnan(trend.lag1)


def test_a_coast_that_stays_has_a_rate_of_nothing() -> None:
    trend = find_trend(np.arange(2000.0, 2010), np.full(10, 42.0), np.full(10, UNKNOWN))
    assert trend is not None
    assert trend.ordinary.rate == pytest.approx(0, abs=1e-12)
    assert trend.ordinary.p == 1


def test_the_band_is_the_error_of_the_fitted_mean() -> None:
    years, position = series(3)
    fit, at = fit_line(years, position), np.array([2000.0, 2012.0])
    design = np.column_stack((np.ones_like(years), years - 2010))
    inverse = np.linalg.inv(design.T @ design)
    rows = np.column_stack((np.ones(2), at - 2010))
    error = fit.residual_m * np.sqrt(np.einsum("ij,jk,ik->i", rows, inverse, rows))
    expected = t.ppf(0.975, len(years) - 2) * error
    assert confidence_band(years, fit, at) == pytest.approx(expected, rel=1e-7)

"""What people look at: positions against time, and rates along the coast.

Figures are made without pyplot, which keeps state and wants a screen.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.dates import AutoDateLocator, ConciseDateFormatter
from matplotlib.figure import Figure
from numpy.typing import NDArray

from geounet.figure import save_png
from geounet.styles import SEAWARD_COLORMAP
from geounet.transects.casting import Transects
from geounet.transects.rates import Trend, confidence_band

_POINT, _LINE, _WEIGHTED = "#1f4e79", "#d62728", "#7f7f7f"
_LABELS = 12
"""Transects that are numbered on the map, about."""


@dataclass(frozen=True)
class TransectPicture:
    """What is drawn of one transect."""

    title: str
    time: pd.Series
    """UTC, n of them."""
    years: NDArray[np.float64]
    position_m: NDArray[np.float64]
    u95_m: NDArray[np.float64]
    """NaN where not known."""
    trend: Trend | None
    corrected: bool
    """Whether positions are brought to one level of water."""


def draw_transect(picture: TransectPicture, path: Path) -> None:
    """Draw positions against time with the fitted line and its 95 % band; a PNG."""
    figure = Figure(figsize=(8.5, 4.6), layout="constrained")
    axes = figure.subplots()
    when = picture.time.dt.tz_localize(None).to_numpy()
    known = np.isfinite(picture.u95_m)
    if known.any():
        axes.errorbar(
            when[known], picture.position_m[known], picture.u95_m[known],
            fmt="none", ecolor="0.75", elinewidth=1, zorder=1, label="95 % of its error",
        )  # fmt: skip
    axes.plot(when, picture.position_m, "o", color=_POINT, markersize=4, zorder=3)
    if picture.trend is not None:
        _draw_fit(axes, picture, when)
    level = "brought to one level" if picture.corrected else "at the tide of each scene"
    axes.set(title=picture.title, ylabel=f"metres from the baseline\n({level}; + is seaward)")
    locator = AutoDateLocator()
    axes.xaxis.set_major_locator(locator)
    axes.xaxis.set_major_formatter(ConciseDateFormatter(locator))
    axes.grid(color="0.92", zorder=0)
    if axes.get_legend_handles_labels()[1]:
        # Below: within the axes it would hide points.
        figure.legend(fontsize=8, loc="outside lower center", ncols=2)
    save_png(figure, path, dpi=110)


def _draw_fit(axes: Axes, picture: TransectPicture, when: NDArray[np.datetime64]) -> None:
    trend = picture.trend
    assert trend is not None
    fit = trend.ordinary
    first, last = when.min(), when.max()
    at = first + (last - first) * np.linspace(0, 1, 101)
    years = np.interp(np.linspace(0, 1, 101), [0, 1], [picture.years.min(), picture.years.max()])
    line = fit.intercept + fit.rate * years
    band = confidence_band(picture.years, fit, years)
    name = "rate" if picture.corrected else "rate, uncorrected"
    interval = f"95 %: {fit.low:+.2f} to {fit.high:+.2f}"
    if trend.n_effective < trend.n:
        interval += f"; dates being alike: {trend.low_serial:+.2f} to {trend.high_serial:+.2f}"
    axes.fill_between(at, line - band, line + band, color=_LINE, alpha=0.15, linewidth=0)
    axes.plot(
        at, line, color=_LINE,
        label=f"{name} {fit.rate:+.2f} m/year ({interval})",
    )  # fmt: skip
    middle = np.median(picture.position_m - trend.theil_sen * picture.years)
    axes.plot(
        at, middle + trend.theil_sen * years, color=_WEIGHTED, linestyle="--", linewidth=1,
        label=f"Theil–Sen {trend.theil_sen:+.2f} m/year",
    )  # fmt: skip
    if trend.outliers:
        axes.plot(
            when[trend.outlying], picture.position_m[trend.outlying], "o", color=_LINE, zorder=2,
            markersize=9, markerfacecolor="none", label=f"outliers, {trend.outliers} of {trend.n}",
        )  # fmt: skip


def draw_overview(transects: Transects, rates: pd.DataFrame, path: Path) -> None:
    """Draw where transects lie, coloured by their rates, and rates along the baseline; a PNG.

    Args:
        transects: All of them.
        rates: A row for each, as the table of rates has them.
        path: Where.
    """
    value = rates["rate"].fillna(rates["rate_uncorrected"]).to_numpy(dtype=np.float64)
    known = np.isfinite(value)
    figure = Figure(figsize=(13, 5.5), layout="constrained")
    ends = [transects.plane.place(transects.at(metres)) / 1000 for metres in transects.reach]
    segments = np.stack(ends, axis=1)
    middle, half = _limits(segments.reshape(-1, 2))
    shape = float(np.clip(half[0] / half[1], 0.5, 1.5))
    where, along = figure.subplots(1, 2, width_ratios=[shape, 1.5])
    where.set_facecolor("0.9")  # small rates are nearly white
    most = float(np.abs(value[known]).max()) if known.any() else 1.0
    norm = Normalize(-most or -1.0, most or 1.0)
    where.add_collection(LineCollection(list(segments[~known]), colors="0.75", linewidths=1))
    colored = LineCollection(
        list(segments[known]), cmap=SEAWARD_COLORMAP, norm=norm, linewidths=1.8
    )
    colored.set_array(value[known])
    where.add_collection(colored)
    tips = segments[known, 1]
    where.scatter(*tips.T, c=value[known], cmap=SEAWARD_COLORMAP, norm=norm, s=22, edgecolors="0.4",
                  linewidths=0.4, zorder=3)  # fmt: skip
    base = transects.plane.place(transects.origin) / 1000
    for part in np.unique(transects.baseline):
        where.plot(*base[transects.baseline == part].T, color="0.3", linewidth=0.8)
    for i in range(0, len(transects), -(-len(transects) // _LABELS)):
        where.annotate(str(transects.number[i]), segments[i, 1], fontsize=7, color="0.2",
                       xytext=(6, 2), textcoords="offset points")  # fmt: skip
    where.set(xlabel="km east", ylabel="km north", aspect="equal")
    where.set_xlim(middle[0] - half[0], middle[0] + half[0])
    where.set_ylim(middle[1] - half[1], middle[1] + half[1])
    said = "rate" if rates["rate"].notna().any() else "rate, uncorrected for tide"
    where.set_title(f"Transects by {said}; grey: none")
    figure.colorbar(colored, ax=where, label="m/year, + is seaward", shrink=0.8)

    axis = transects.number.astype(np.float64)
    low, high = (rates[f"ci95_{end}_serial"].to_numpy(np.float64) for end in ("low", "high"))
    bounded = np.isfinite(low) & np.isfinite(high)
    along.axhline(0, color="0.6", linewidth=0.8)
    along.vlines(axis[bounded], low[bounded], high[bounded], color="0.75", linewidth=1)
    along.scatter(axis[known], value[known], c=value[known], cmap=SEAWARD_COLORMAP, norm=norm, s=18,
                  edgecolors="0.4", linewidths=0.4, zorder=3)  # fmt: skip
    along.set(xlabel="transect", ylabel="m/year, with 95 % interval", title=said.capitalize())
    if not known.any():
        along.annotate("no rates", (0.5, 0.5),
                       xycoords="axes fraction", ha="center")  # fmt: skip
    save_png(figure, path, dpi=110)


def _limits(places: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return middle and half the sides (x, y) of a map that shows all places.

    A coast that runs straight north or east is not shown as a thread.
    """
    low, high = places.min(axis=0), places.max(axis=0)
    middle, half = (low + high) / 2, (high - low) / 2 * 1.08
    return middle, np.maximum(half, half.max() / 2.5) + 1e-3


def choose_transects(with_trend: Sequence[int], most: int) -> list[int]:
    """Return at most `most` of some transects, spread evenly along the coast."""
    if len(with_trend) <= most:
        return list(with_trend)
    return [with_trend[round(i)] for i in np.linspace(0, len(with_trend) - 1, most)]

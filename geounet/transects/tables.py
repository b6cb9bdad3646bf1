"""The tables of positions and of rates."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geounet.errors import TransectError
from geounet.progress import Progress
from geounet.transects.casting import Transects
from geounet.transects.crossings import pick_crossings
from geounet.transects.rates import DAYS_PER_YEAR, Trend, find_trend
from geounet.transects.settings import TransectSettings
from geounet.transects.tide import WITHOUT_LEVELS, reduce_positions

POSITION_COLUMNS = (
    "transect", "baseline", "chainage_m", "scene", "time", "position_m", "position_u95_m",
    "edge_width_m", "water_level_m", "level_datum", "slope", "corrected_m", "crossings",
)  # fmt: skip
RATE_COLUMNS = (
    "rate", "rate_uncorrected", "ci95_low", "ci95_high", "r2", "p", "residual_m", "weighted_rate",
    "weighted_low", "weighted_high", "theil_sen", "outliers", "lag1", "durbin_watson",
    "n_effective", "ci95_low_serial", "ci95_high_serial",
)  # fmt: skip


def position_table(
    transects: Transects,
    rows: pd.DataFrame,
    slopes: NDArray[np.float64],
    settings: TransectSettings,
    notes: list[str],
) -> pd.DataFrame:
    """Return the table of positions, sorted by transect and time; `index` is from 0."""
    picked = pick_crossings(rows, settings.pick)
    scenes = rows[rows["time"].notna()].groupby(["transect", "moment"])["seen_in"].nunique()
    if settings.pick != "all" and (several := int((scenes > 1).sum())):
        notes.append(
            f"{several} times a transect was seen in several scenes or results of one second; they "
            f"count as one position (--pick {settings.pick})"
        )
    suspect = picked["cloud_suspect"].to_numpy(dtype=bool)
    if suspect.any() and not settings.keep_suspect:
        # After picking: another crossing of the same line would be another shore.
        notes.append(
            f"{int(suspect.sum())} of {len(picked)} positions are under suspicion of cloud and "
            "left out (--keep-suspect keeps them)"
        )
        picked = picked[~suspect].reset_index(drop=True)
        if not len(picked):
            raise TransectError(
                "Every position is under suspicion of cloud. --keep-suspect takes them."
            )
    index = picked["transect"].to_numpy()
    picked["index"], picked["slope"] = index, slopes[index]
    picked["transect"], picked["baseline"] = transects.number[index], transects.baseline[index]
    picked["chainage_m"] = transects.chainage_m[index]
    picked["corrected_m"] = np.nan
    if settings.reduction is not None:
        picked["corrected_m"] = reduce_positions(
            picked["position_m"].to_numpy(),
            picked["water_level_m"].to_numpy(),
            picked["slope"].to_numpy(),
            datum_m=settings.reduction.datum_m,
        )
    order = ["transect", "time", "scene", "position_m"]
    return picked.sort_values(order, kind="stable", ignore_index=True)


def rate_table(
    transects: Transects,
    positions: pd.DataFrame,
    settings: TransectSettings,
    notes: list[str],
    progress: Progress,
) -> tuple[pd.DataFrame, dict[int, Trend]]:
    """Return the table of rates, a row for each transect, and what they are made of by index.

    On a transect where positions are brought to one level, those that are not are left out.
    """
    dated = positions["time"].notna().to_numpy()
    corrected = positions["corrected_m"].notna().to_numpy()
    by_transect = np.zeros(len(transects), dtype=np.bool_)
    by_transect[positions["index"].to_numpy()[corrected & dated]] = True
    level = by_transect[positions["index"].to_numpy()]
    used = dated & (corrected | ~level)
    value = np.where(level, positions["corrected_m"], positions["position_m"])
    positions["used"], positions["value"], positions["years"] = used, value, _years(positions)
    trends: dict[int, Trend] = {}
    if settings.pick != "all":
        groups = positions[used].groupby("index", sort=True)
        for index, rows in progress(groups, label="rates", total=groups.ngroups):
            columns = (rows[c].to_numpy(np.float64) for c in ("years", "value", "position_u95_m"))
            if (trend := find_trend(*columns)) is not None:
                trends[int(index)] = trend
    notes.extend(_notes_on_rates(positions, by_transect, trends, settings))
    return _table(transects, positions[used], trends, by_transect), trends


def _years(positions: pd.DataFrame) -> NDArray[np.float64]:
    """Return times as years since 1970, NaN where not known."""
    days = (positions["time"] - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)
    return np.asarray(days.to_numpy(dtype=np.float64) / DAYS_PER_YEAR)


def _notes_on_rates(
    positions: pd.DataFrame,
    corrected: NDArray[np.bool_],
    trends: dict[int, Trend],
    settings: TransectSettings,
) -> list[str]:
    notes = []
    timeless = int(positions["time"].isna().sum())
    if timeless:
        notes.append(
            f"{timeless} of {len(positions)} positions have no time and no part in a rate; "
            "--time-field names the column that has it"
        )
    if settings.pick == "all":
        notes.append("--pick all gives positions only: a rate needs one for each date")
    elif not trends:
        notes.append("no transect has positions of three dates, so there are no rates")
    uncorrected = [index for index in trends if not corrected[index]]
    if uncorrected:
        where = "" if len(uncorrected) == len(trends) else f" on {len(uncorrected)} transects"
        missing = "no --slope and --datum" if settings.reduction is None else "no level or no slope"
        notes.append(f"{missing}{where}: {WITHOUT_LEVELS}")
    left = int((positions["time"].notna() & ~positions["used"]).sum())
    if left:
        notes.append(
            f"{left} positions without a water level are left out of rates that are brought to one"
        )
    short = sum(trend.span_years < 1 for trend in trends.values())
    if short:
        notes.append(f"{short} rates are from less than a year: they hold seasons and storms")
    return notes


def _table(
    transects: Transects,
    used: pd.DataFrame,
    trends: dict[int, Trend],
    corrected: NDArray[np.bool_],
) -> pd.DataFrame:
    index = pd.RangeIndex(len(transects))
    table = pd.DataFrame(
        {
            "transect": transects.number,
            "baseline": transects.baseline,
            "chainage_m": transects.chainage_m,
            "lon": (transects.origin[:, 0] + 180) % 360 - 180,
            "lat": transects.origin[:, 1],
        }
    )
    groups = used.groupby("index")
    table["n"] = groups.size().reindex(index, fill_value=0)
    table["first"] = groups["time"].min().reindex(index)
    table["last"] = groups["time"].max().reindex(index)
    table["span_years"] = (groups["years"].max() - groups["years"].min()).reindex(index)
    found = {i: _rate_row(trend, corrected=bool(corrected[i])) for i, trend in trends.items()}
    rows = pd.DataFrame.from_dict(found, orient="index", columns=list(RATE_COLUMNS))
    rows = rows.reindex(index).astype(np.float64)
    rows["outliers"] = rows["outliers"].astype("Int64")
    return pd.concat([table, rows], axis=1)


def _rate_row(trend: Trend, *, corrected: bool) -> tuple[float, ...]:
    """Return what stands under `RATE_COLUMNS`."""
    fit, weighted = trend.ordinary, trend.weighted
    rate = (fit.rate, np.nan) if corrected else (np.nan, fit.rate)
    of_weighted = (np.nan,) * 3
    if weighted is not None:
        of_weighted = (weighted.rate, weighted.low, weighted.high)
    return (
        *rate, fit.low, fit.high, fit.r2, fit.p, fit.residual_m, *of_weighted, trend.theil_sen,
        trend.outliers, trend.lag1, trend.durbin_watson, trend.n_effective, trend.low_serial,
        trend.high_serial,
    )  # fmt: skip

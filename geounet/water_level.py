"""How high the water stood when a scene was taken, by what the user knows."""

from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd

from geounet.errors import ConfigError, reason

LONGEST_GAP = pd.Timedelta(hours=3)
"""Between two times of a table, over which its levels are joined by a straight line. A tide turns
every six hours; half of that is the most over which a straight line is near it at all."""


class WaterLevel(NamedTuple):
    """A level of the water, and what it means."""

    metres: float | None
    """Above `datum`; None where not known."""
    datum: str | None
    source: str | None


def read_levels(path: Path) -> "pd.Series[float]":
    """Read a table of water levels: columns `time` (UTC) and `level_m`.

    Returns:
        Levels in metres by time, ascending.

    Raises:
        ConfigError: It cannot be read, lacks a column, or has what is no time or number.
    """
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read as CSV: {reason(error)}.") from None
    if missing := [name for name in ("time", "level_m") if name not in table]:
        there = ", ".join(str(name) for name in table.columns) or "none"
        raise ConfigError(
            f"{path} has no column {' and '.join(missing)}; it has {there}. "
            "Give time, in UTC, and level_m, in metres."
        )
    time = pd.to_datetime(table["time"], utc=True, errors="coerce", format="ISO8601")
    level = pd.to_numeric(table["level_m"], errors="coerce").astype(np.float64)
    bad = np.flatnonzero(time.isna() | ~np.isfinite(level))
    if bad.size:
        row = table.iloc[int(bad[0])]
        raise ConfigError(
            f"{path}, line {bad[0] + 2}: time {row['time']}, level_m {row['level_m']} is no time "
            "as 2021-06-01T10:11:12Z and number. Correct it, or take the line out."
        )
    levels = pd.Series(level.to_numpy(), index=pd.DatetimeIndex(time)).sort_index()
    if levels.empty or not levels.index.is_unique:
        what = (
            f"has {levels.index[levels.index.duplicated()][0]} twice" if len(levels) else "is empty"
        )
        raise ConfigError(f"{path} {what}. Give each time one level.")
    levels.name = str(path)
    return levels


def level_at(levels: "pd.Series[float]", time: datetime | None, *, name: str) -> float:
    """Return the level at a time, on the straight line between the two times next to it.

    Args:
        levels: As `read_levels` gives them.
        time: When the scene was taken; None where not known.
        name: What the scene is called.

    Raises:
        ConfigError: The time is not known, outside the table, or in a gap of it.
    """
    if time is None:
        raise ConfigError(
            f"{name} does not say when it was taken, so {levels.name} cannot tell its water level. "
            "Give --water-level."
        )
    when = pd.Timestamp(time.replace(tzinfo=UTC) if time.tzinfo is None else time).tz_convert("UTC")
    first, last = levels.index[0], levels.index[-1]
    if not first <= when <= last:
        raise ConfigError(
            f"{name} was taken at {when:%Y-%m-%dT%H:%M:%SZ}, and {levels.name} goes from "
            f"{first:%Y-%m-%dT%H:%M:%SZ} to {last:%Y-%m-%dT%H:%M:%SZ}. Give --water-level, or a "
            "table of that time."
        )
    after = int(levels.index.searchsorted(when))
    if levels.index[after] == when:
        return float(levels.iloc[after])
    start, end = levels.index[after - 1], levels.index[after]
    if end - start > LONGEST_GAP:
        raise ConfigError(
            f"{name} was taken at {when:%Y-%m-%dT%H:%M:%SZ}, in a gap of {levels.name} from "
            f"{start:%Y-%m-%dT%H:%M:%SZ} to {end:%Y-%m-%dT%H:%M:%SZ}; over more than "
            f"{LONGEST_GAP / pd.Timedelta(hours=1):g} hours nothing is guessed. Give --water-level."
        )
    share = (when - start) / (end - start)
    return float((1 - share) * levels.iloc[after - 1] + share * levels.iloc[after])

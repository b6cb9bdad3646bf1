"""Waterlines of different tides brought to one level, by the slope of the beach."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from geounet.errors import TransectError
from geounet.transects.casting import Transects

WITHOUT_LEVELS = (
    "positions are those of the tide at each scene's second, and rates are written as "
    "`rate_uncorrected`: at a slope of 1:50, a metre of tide is fifty metres"
)


@dataclass(frozen=True)
class Reduction:
    """The level that positions are brought to."""

    slope: str
    """Tangent of the beach's slope, as 0.02 for 1:50; or a column of the baseline that has it, or a
    CSV file with the columns transect and slope."""
    datum_m: float
    """Level in the vertical datum of the coastlines, metres."""


def read_slopes(text: str, transects: Transects, baseline: pd.DataFrame) -> NDArray[np.float64]:
    """Return the slope of the beach at each transect, (n,); NaN where not known.

    Args:
        text: A number, a column of `baseline`, or a CSV file.
        transects: The transects.
        baseline: A row for each feature of the baseline.

    Raises:
        TransectError: It is none of these, or slopes are not positive numbers.
    """
    try:
        slopes = np.full(len(transects), float(text))
    except ValueError:
        if text in baseline.columns:
            values = pd.to_numeric(baseline[text], errors="coerce").to_numpy(dtype=np.float64)
            slopes = values[transects.feature]
        elif Path(text).is_file():
            slopes = _from_table(Path(text), transects)
        else:
            columns = ", ".join(str(c) for c in baseline.columns if c != "geometry") or "none"
            raise TransectError(
                f"--slope {text} is neither a number, nor a file, nor a column of the baseline; "
                f"its columns are {columns}."
            ) from None
    known = ~np.isnan(slopes)
    if not known.any():
        raise TransectError(f"--slope {text} has no slope for any transect.")
    wrong = known & ~((slopes > 0) & (slopes < 10))
    if wrong.any():
        raise TransectError(
            f"--slope {text}: {slopes[wrong][0]:g} at transect {transects.number[wrong][0]} is no "
            "slope of a beach. Give its tangent, rise over run, as 0.02 for 1:50."
        )
    return slopes


def _from_table(path: Path, transects: Transects) -> NDArray[np.float64]:
    try:
        table = pd.read_csv(path)
    except (ValueError, OSError) as error:
        why = " ".join(str(error).split()).rstrip(".")
        raise TransectError(f"{path} cannot be read as CSV: {why}.") from error
    if missing := {"transect", "slope"} - set(table.columns):
        raise TransectError(
            f"{path} has no column {' and '.join(sorted(missing))}; slopes by transect need the "
            "columns transect and slope."
        )
    number = pd.to_numeric(table["transect"], errors="coerce")
    slope = pd.to_numeric(table["slope"], errors="coerce")
    if number.duplicated().any():
        twice = number[number.duplicated()].iloc[0]
        raise TransectError(f"{path} has transect {twice:g} twice. Give each one slope.")
    by_number = pd.Series(slope.to_numpy(dtype=np.float64), index=number)
    return by_number.reindex(transects.number).to_numpy(dtype=np.float64)


def common_datum(about: pd.DataFrame) -> str | None:
    """Return the vertical datum of all lines whose water level is known; None if they name none.

    Args:
        about: Columns `water_level_m` and `level_datum`.

    Raises:
        TransectError: They are of several datums, which nothing here can turn into one another.
    """
    leveled = about.loc[about["water_level_m"].notna(), "level_datum"]
    datums = sorted({"none named" if pd.isna(one) else str(one) for one in leveled})
    if len(datums) > 1:
        raise TransectError(
            f"Water levels are above different datums: {', '.join(datums)}. "
            "Bring them to one before, or give only coastlines of one."
        )
    return datums[0] if datums and datums[0] != "none named" else None


def reduce_positions(
    position_m: NDArray[np.float64],
    water_level_m: NDArray[np.float64],
    slope: NDArray[np.float64],
    *,
    datum_m: float | NDArray[np.float64],
) -> NDArray[np.float64]:
    """Return where waterlines would be at another level, on a plane beach.

    A waterline at `water_level_m` lies (datum - level) / slope seaward of where it would be at the
    datum, so that much is taken off: high water is moved towards the sea.

    Args:
        position_m: (n,), + towards the sea.
        water_level_m: (n,), NaN where not known.
        slope: (n,), tangent, NaN where not known.
        datum_m: The level to bring them to, one for all or (n,).

    Returns:
        (n,), NaN where level or slope are not known.
    """
    return position_m - (datum_m - water_level_m) / slope

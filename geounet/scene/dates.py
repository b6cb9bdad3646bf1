"""Several acquisitions in one file: a scene is one, so such files are refused and explained.

Stacks of two dates are made for change detection and by exports of collections. Read as one scene,
every other band would be of another tide.
"""

import re
from collections.abc import Container, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from geounet.bands import COMMON_NAMES
from geounet.scene import names

FIRST_YEAR = 1972
"""Of Landsat 1: earlier dates are other numbers."""
FEWEST = 6
"""Bands: in fewer, nothing can be seen to begin again."""
EXAMPLES: Mapping[int, tuple[str, ...]] = {
    3: ("B04", "B03", "B02"),
    4: ("B04", "B03", "B02", "B08"),
    6: ("B02", "B03", "B04", "B08", "B11", "B12"),
    10: ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12"),
}
"""What stacks of so many Sentinel-2 bands mostly hold, in order."""

_DATE = re.compile(r"(?<!\d)(\d{4})[-_.]?(\d\d)[-_.]?(\d\d)(?:\d{6})?(?!\d)")
_SIZE = re.compile(r"\d+ ?(?:m|nm|km)\b|\d+(?:\.\d+)? ?(?:um|µm|μm)", re.IGNORECASE)


class Dated(NamedTuple):
    """Which bands of a file belong to which acquisition, as far as their names tell."""

    label: str
    """`20200101`, `first`."""
    bands: Mapping[int, str]
    """Names by index."""


def split_by_date(texts: Mapping[int, str]) -> list[Dated]:
    """Return the acquisitions that the names of a file's bands tell of; none if it is only one.

    They tell by different dates (`B02_20200101`), or by names that all come back (`B02,B03,B02,
    B03`, `B02,B03,B02_1,B03_1`).

    Args:
        texts: Names or descriptions by index.
    """
    all_texts = {text.strip().upper() for text in texts.values()}
    parts = {index: _part(text, all_texts) for index, text in texts.items()}
    days = {day for _, label in parts.values() if (day := _date(label))}
    if len(days) > 1:
        groups: dict[str, dict[int, str]] = {}
        for index, (band, label) in parts.items():
            groups.setdefault(_date(label) or "no date", {})[index] = band
        return [Dated(label, bands) for label, bands in sorted(groups.items())]
    if any(_SIZE.search(label) for _, label in parts.values()):
        return []  # one band at two resolutions
    return split_by_name({index: band for index, (band, _) in parts.items()})


def split_by_name(bands: Mapping[int, str]) -> list[Dated]:
    """Return the acquisitions that names tell of by coming back, all of them; none if not.

    Args:
        bands: Names by index, of nothing but bands.
    """
    rounds: list[dict[int, str]] = []
    for index, band in bands.items():
        free = next((r for r in rounds if band.upper() not in map(str.upper, r.values())), None)
        if free is None:
            rounds.append(free := {})
        free[index] = band
    sets = {frozenset(map(str.upper, group.values())) for group in rounds}
    if len(rounds) < 2 or len(sets) > 1 or len(rounds[0]) < 2:
        return []
    labels = ["first", "second", "third", *(f"number {i}" for i in range(4, len(rounds) + 1))]
    return [Dated(label, group) for label, group in zip(labels, rounds, strict=False)]


def _part(text: str, all_texts: Container[str]) -> tuple[str, str]:
    """Return the band in a name, and what else stands there.

    Args:
        text: The name.
        all_texts: All names of the file, in upper case: `VV_1` is another `VV` where there is one.
    """
    found = names.band_in_name(text)
    if found is None:
        words = re.split(r"[^A-Za-z0-9]+", text)
        found = next((word for word in words if word.lower() in COMMON_NAMES), None)
    if found is not None:
        return found, re.sub(re.escape(found), "", text, count=1, flags=re.IGNORECASE)
    bare = re.sub(r"[_ .-]+\d{1,2}$", "", text.strip())
    if bare != text.strip() and bare.upper() in all_texts:
        return bare, text
    day = _date(text)
    return (_DATE.sub("", text).strip("_ .-") or text if day else text.strip()), text


def _date(text: str) -> str | None:
    for match in _DATE.finditer(text):
        digits = "".join(match.groups())
        try:
            day = datetime.strptime(digits, "%Y%m%d")
        except ValueError:
            continue
        if day.year >= FIRST_YEAR:
            return digits
    return None


def choice_of(group: Mapping[int, str], indexes: Sequence[int]) -> str:
    """Return what to type after `--bands` to take only some bands of a file.

    Args:
        group: Names of those, by index.
        indexes: Of all bands of the file, in its order.
    """
    return ",".join(group.get(index, "-") for index in indexes)


def explain(groups: Sequence[Dated], indexes: Sequence[int], sensor: str | None) -> str:
    """Return what to say of a file with several acquisitions, and what to type.

    Args:
        groups: What `split_by_date` or `split_by_name` found.
        indexes: Of all bands of the file, in its order.
        sensor: Whose bands they are, where it is known.
    """
    said = "; ".join(f"{', '.join(g.bands.values())} ({g.label})" for g in groups[:3])
    more = f"; and {len(groups) - 3} more" if len(groups) > 3 else ""
    lines = " or ".join(f"--bands {choice_of(group.bands, indexes)}" for group in groups[:2])
    whose = "" if sensor else " (with --sensor s2 if they are Sentinel-2's)"
    return (
        f"holds {len(groups)} dates, it seems, and a scene is one: {said}{more}. "
        f"Take one at a time: {lines}{whose}."
    )


def example_of(period: int, count: int) -> str:
    """Return an example of what to type to take the first date of a stack without names.

    Args:
        period: Bands of a date.
        count: Bands of the file.
    """
    first = EXAMPLES.get(period, tuple(f"NAME{i}" for i in range(1, period + 1)))
    return ",".join((*first, *("-",) * (count - period)))


def repeated_after(samples: NDArray[Any]) -> int | None:
    """Return after how many bands a stack without names begins again; None if it does not seem to.

    Bands of one date vary together in the same way at every date (visible bands alike, near
    infrared against them), are bright in the same order, and go less with those of other dates.

    Args:
        samples: (bands, pixels), numbers as they are in the file.
    """
    count = len(samples)
    if count < FEWEST or samples.shape[1] < 100 or (samples.std(axis=1) == 0).any():
        return None
    together = np.corrcoef(samples)  # (bands, bands)
    medians = np.median(samples, axis=1)
    for period in range(3, count // 2 + 1):
        if count % period == 0 and _begins_again(together, medians, period):
            return period
    return None


def _begins_again(together: NDArray[Any], medians: NDArray[Any], period: int) -> bool:
    dates = len(together) // period
    # (date, date, band, band): how bands of one date go with those of another.
    blocks = together.reshape(dates, period, dates, period).swapaxes(1, 2)
    orders = np.argsort(medians.reshape(dates, period), axis=1)
    if (orders != orders[0]).any():
        return False
    own = blocks[np.arange(dates), np.arange(dates)]  # (date, band, band)
    apart = ~np.eye(period, dtype=bool)
    alike = np.abs(own - own[0])[:, apart].max() < 0.4
    within = np.abs(own[:, apart]).mean()
    between = np.abs(blocks[~np.eye(dates, dtype=bool)]).mean()
    return bool(alike and between < within - 0.15)

"""Lists of band names that lie beside a raster whose own bands have none.

`X.bands.txt`, `X.txt` or `X.csv` beside `X.tif`: a name on each line, all on one line with commas,
or a table with a column of names; and ENVI's `X.hdr` with its `band names`. What GDAL keeps in
`X.tif.aux.xml` it reads itself.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from geounet.bands import COMMON_NAMES, is_quality
from geounet.scene import names

LARGEST = 2**20
"""Bytes of a list; what is larger is none."""
LONGEST_NAME = 80
"""Characters; what is longer is a sentence."""

_HEADINGS = {"name", "names", "band", "bands", "band name", "band_name", "description"}
_OTHER_HEADINGS = {"index", "number", "nr", "no", "id", "#", "wavelength", "resolution", "unit"}
_ENVI_NAMES = re.compile(
    r"^\s*band\s+names\s*=\s*\{(?P<names>[^}]*)\}", re.IGNORECASE | re.MULTILINE
)
_NUMBERED_LINE = re.compile(
    r"(?:band\s*)?(?P<number>\d{1,4})\s*[:=.)]\s*(?P<name>\S.*)", re.IGNORECASE
)


class BandList(NamedTuple):
    """Names in file order, and where they are from."""

    names: tuple[str, ...]
    source: str
    """Name of the file."""


def find_band_lists(raster: str | Path) -> Iterator[BandList]:
    """Find the lists of names beside a raster file, the most explicit first.

    Args:
        raster: A file; of anything else that GDAL opens there is nothing beside.

    Yields:
        What may be one; whether it is, the number of names tells.
    """
    path = Path(raster)
    if not path.is_file():
        return
    beside = [path.with_suffix(ending) for ending in (".bands.txt", ".txt", ".csv", ".hdr")]
    beside[1:1] = [path.with_name(path.name + ".bands.txt")]
    beside.append(path.with_name(path.name + ".hdr"))
    for file in beside:
        try:
            if file == path or not file.is_file() or file.stat().st_size > LARGEST:
                continue
            text = file.read_bytes().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError):
            continue  # nobody says that it is a list
        found = parse_envi(text) if file.suffix == ".hdr" else parse_list(text)
        if found:
            yield BandList(found, file.name)


def parse_envi(text: str) -> tuple[str, ...]:
    """Return the band names of an ENVI header; none if it has none."""
    if not text.lstrip().upper().startswith("ENVI"):
        return ()
    match = _ENVI_NAMES.search(text)
    return _plausible([name.strip() for name in match["names"].split(",")]) if match else ()


def parse_list(text: str) -> tuple[str, ...]:
    """Return the names in a text or table, in order; none if it is something else."""
    lines = [line.strip() for line in text.splitlines()]
    lines = [line for line in lines if line and line[0] != "#"]
    if not lines:
        return ()
    numbered = [_NUMBERED_LINE.fullmatch(line) for line in lines]
    if all(numbered):
        pairs = [(int(match["number"]), match["name"]) for match in numbered if match]
        return _plausible(_in_order(pairs))
    delimiter = max(",;\t", key=lines[0].count)
    try:
        rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=delimiter)]
    except csv.Error:
        return ()
    if len(rows) == 1:
        return _plausible([cell for cell in rows[0] if cell])
    return _plausible(_column(rows))


def _column(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the column of a table that holds the names, in the order of its numbers if it has any.

    No names if its rows differ in length, or none is known as a band's name where there are
    several columns.
    """
    if len({len(row) for row in rows}) > 1:
        return []
    headings = [cell.lower() for cell in rows[0]]
    has_headings = bool(set(headings) & _HEADINGS) and set(headings) <= _HEADINGS | _OTHER_HEADINGS
    columns = list(zip(*(rows[1:] if has_headings else rows), strict=True))
    if len(columns) == 1:
        return list(columns[0])
    best = max(columns, key=lambda column: sum(map(_is_known, column)))
    if not any(map(_is_known, best)):
        return []
    numbers = next((c for c in columns if c is not best and all(map(str.isdecimal, c))), None)
    if numbers is None or sorted(map(int, numbers)) != list(range(1, len(best) + 1)):
        return list(best)
    return _in_order([(int(n), name) for n, name in zip(numbers, best, strict=True)])


def _in_order(pairs: Sequence[tuple[int, str]]) -> list[str]:
    """Return names in the order of their numbers, which have to be 1, 2, 3 …; else none."""
    ordered = sorted(pairs)
    if [number for number, _ in ordered] != list(range(1, len(ordered) + 1)):
        return []
    return [name for _, name in ordered]


def _is_known(text: str) -> bool:
    """Return whether a text is what bands are called by, and not only some word."""
    return bool(names.band_in_name(text)) or is_quality(text) or text.lower() in COMMON_NAMES


def _plausible(found: Sequence[str]) -> tuple[str, ...]:
    """Return names if all may be some: a licence or a report beside a raster is no list."""
    if any(not name or len(name) > LONGEST_NAME for name in found):
        return ()
    single_words = all(re.fullmatch(r"[\w:.+\-]+", name) for name in found)
    return tuple(found) if single_words or all(map(_is_known, found)) else ()

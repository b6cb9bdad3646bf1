"""What the names and tags of files say: sensor, level, time, and which band a file holds."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

from geounet.bands import SENSORS, is_quality

PARENTS_LOOKED_AT = 6
"""Folders above a file whose names count: R60m, IMG_DATA, the granule, GRANULE, the product."""

_SENTINEL2 = re.compile(
    r"(?:S2[A-D]_MSIL(?P<product>1C|2A)_"  # S2A_MSIL2A_20190809T220921_N0213_R129_…
    r"|(?<![A-Z0-9])L(?P<granule>1C|2A)_T\d\d[A-Z]{3}_A\d{6}_"  # L2A_T01KCV_A021576_2019…
    r"|S2[A-D]_OPER_[A-Z]{3}_L(?P<old>1C|2A)"
    r"|SENTINEL-?2[A-D]?(?:[ _,]+L(?P<browser>1C|2A))?(?![A-Z0-9])"  # Sentinel-2B L1C
    r"|S2[A-D]_\d\d?[A-Z]{3}_\d{8}_\d_L(?P<cog>1C|2A)"  # S2A_29RKH_20200219_0_L2A
    r"|(?<![A-Z0-9])T\d\d[A-Z]{3}_\d{8}T\d{6}(?![A-Z0-9]))"  # T01KCV_20190809T220921_B03_60m
)
_LANDSAT = re.compile(
    r"(?<![A-Z0-9])L[COTEM]0(?P<number>[4-9])(?:_L(?P<level>[12])[A-Z]{2})?_"
    r"|LANDSAT[-_ ]?(?P<spelled>[4-9])(?![0-9])"
)
_LANDSAT_SENSORS = {"4": "l5", "5": "l5", "7": "l7", "8": "l8", "9": "l9"}
_BASELINE = re.compile(r"S2[A-D]_MSIL(?:1C|2A)_\d{8}T\d{6}_N(\d\d)(\d\d)_")
_SECOND = re.compile(r"(?<!\d)(\d{8})T(\d{6})(?!\d)")
_GRANULE_SECOND = re.compile(r"L(?:1C|2A)_T\d\d[A-Z]{3}_A\d{6}_(\d{8})T(\d{6})")
_DAY = re.compile(r"(?<![0-9A-Z])(\d{4})-?(\d\d)-?(\d\d)(?![0-9A-Z])")
_BAND_TOKEN = re.compile(
    r"(?<![A-Z0-9])(?:B(?:\d\d?|0?8A)(?:_VCID_[12])?|(?:SR|TOA|BT)_BAND\d\d?)(?![A-Z0-9])",
    re.IGNORECASE,
)
_RESOLUTION = re.compile(r"_[126]0m$", re.IGNORECASE)


@dataclass(frozen=True)
class Found:
    """A fact, and where it was found."""

    value: str
    source: str


def name_parts(path: Path) -> Iterator[tuple[str, str]]:
    """Yield the names that may tell of a file, its own first, each with what to call it."""
    absolute = path.absolute()
    yield absolute.name, "file name" if absolute.is_file() else "folder name"
    for parent in absolute.parents[:PARENTS_LOOKED_AT]:
        yield parent.name, f"folder name {parent.name}"


def find_sensor(tags: Mapping[str, str], parts: Sequence[tuple[str, str]]) -> Found | None:
    """Return the sensor that tags or names tell of.

    Args:
        tags: Of the file, those of its IMAGERY domain included.
        parts: What `name_parts` gives.
    """
    for tag in ("sensor", "SATELLITEID"):
        text = tags.get(tag, "").strip()
        # Other programs have a tag `sensor` too, with other words in it.
        if sensor := text if text in SENSORS else _sensor_in(text):
            return Found(sensor, f"tag {tag}")
    for part, source in parts:
        if sensor := _sensor_in(part):
            return Found(sensor, source)
    return None


def _sensor_in(text: str) -> str | None:
    if _SENTINEL2.search(text.upper()):
        return "s2"
    if match := _LANDSAT.search(text.upper()):
        return _LANDSAT_SENSORS.get(match["number"] or match["spelled"])
    return None


def find_level(tags: Mapping[str, str], parts: Sequence[tuple[str, str]]) -> Found | None:
    """Return the processing level that tags or names tell of."""
    if (text := tags.get("level", "").strip().upper()) in {"L1C", "L2A", "L1", "L2"}:
        return Found(text, "tag level")
    for part, source in parts:
        for pattern in (_SENTINEL2, _LANDSAT):
            if match := pattern.search(part.upper()):
                groups = match.groupdict()
                level = [groups.get(k) for k in ("product", "granule", "old", "browser", "cog")]
                level.append(groups.get("level"))
                if said := [text for text in level if text]:
                    return Found(f"L{said[0]}", source)
    return None


def find_baseline(parts: Sequence[tuple[str, str]]) -> tuple[int, int] | None:
    """Return the Sentinel-2 processing baseline that a product's name tells of: (5, 0)."""
    for part, _ in parts:
        if match := _BASELINE.search(part):
            return int(match[1]), int(match[2])
    return None


def find_time(
    tags: Mapping[str, str], parts: Sequence[tuple[str, str]]
) -> tuple[datetime | date, str] | None:
    """Return when a scene was taken (UTC) and where that was found; or only the day.

    A granule's time is nearest to its pixels: the product's and the files' are the start of the
    whole datatake.
    """
    if found := _tagged_time(tags.get("ACQUISITIONDATETIME", "")):
        return found, "tag ACQUISITIONDATETIME"
    for pattern in (_GRANULE_SECOND, _SECOND):
        for part, source in parts:
            match = pattern.search(part)
            if match and (second := _parse(f"{match[1]}{match[2]}", "%Y%m%d%H%M%S")):
                return second.replace(tzinfo=UTC), source
    for part, source in parts:
        match = _DAY.search(part.upper())
        day = _parse("".join(match.groups()), "%Y%m%d") if match else None
        if day and day.year >= 1972:  # Landsat 1
            return day.date(), source
    return None


def _tagged_time(text: str) -> datetime | None:
    """Return GDAL's acquisition time, which is UTC."""
    try:
        time = datetime.fromisoformat(text.strip())
    except ValueError:
        return None
    time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    # What GDAL writes where the metadata beside the file could not be understood.
    return None if time.timestamp() == 0 else time


def _parse(text: str, pattern: str) -> datetime | None:
    try:
        return datetime.strptime(text, pattern)
    except ValueError:
        return None


def band_in_name(stem: str) -> str | None:
    """Return the band that the stem of a file name ends on or holds, as it is written there.

    `T01KCV_20190809T220921_B03_60m` holds `B03`. A quality layer's name holds none, nor does one
    that holds several.
    """
    if is_quality(stem):
        return None
    tokens = [re.sub(r"(?i).*_BAND", "B", token) for token in _BAND_TOKEN.findall(stem)]
    return tokens[0] if len({token.upper() for token in tokens}) == 1 else None


def band_in_description(text: str) -> str | None:
    """Return the band that a band's description means; None where it says nothing.

    Descriptions are names (`B04`, `SR_B4`, `red`) or begin with one ("B4, central wavelength 665
    nm"). "Band 4" is only what some programs write for the fourth.
    """
    text = text.strip()
    if not text or re.fullmatch(r"(?i)(band|layer)?[ _]?\d+|gr[ae]y|undefined", text):
        return None
    if is_quality(text):
        return text
    return band_in_name(text) or text


def common_name_in(stem: str) -> str:
    """Return what a file would be called by if not by number: `red` of `scene_red_10m`."""
    return re.split(r"[^A-Za-z0-9]+", _RESOLUTION.sub("", stem))[-1].lower()


def safe_name(text: str) -> str:
    """Return a name that can begin file names everywhere."""
    return re.sub(r"[^\w.\-]+", "_", text).strip("_.") or "scene"

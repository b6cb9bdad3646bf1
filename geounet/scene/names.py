"""What the names and tags of files say: sensor, level, time, and which band a file holds."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import NamedTuple

from geounet.bands import SENSORS, is_quality

LONGEST_NAME = 100
"""Characters of a scene's name; of four bytes, at the most, each."""
PARENTS_LOOKED_AT = 6
"""Folders above a file whose names count: R60m, IMG_DATA, the granule, GRANULE, the product."""

_SENTINEL2 = re.compile(
    r"(?:S2[A-D]_MSIL(?P<product>1C|2A)_"  # S2A_MSIL2A_20190809T220921_N0213_R129_…
    r"|(?<![A-Z0-9])L(?P<granule>1C|2A)_T\d\d[A-Z]{3}_A\d{6}_"  # L2A_T01KCV_A021576_2019…
    r"|S2[A-D]_OPER_[A-Z]{3}_L(?P<old>1C|2A)"
    r"|S2[A-D]_\d\d?[A-Z]{3}_\d{8}_\d_L(?P<cog>1C|2A)"  # S2A_29RKH_20200219_0_L2A
    r"|(?<![A-Z0-9])T\d\d[A-Z]{3}_\d{8}T\d{6}(?![A-Z0-9]))"  # T01KCV_20190809T220921_B03_60m
)
# LM05 is MSS, whose bands are others than those of TM on the same spacecraft.
_LANDSAT = re.compile(r"(?<![A-Z0-9])L[COTE]0(?P<number>[4-9])(?:_L(?P<level>[12])[A-Z]{2})?_")
SURFACE = re.compile(r"(?<![A-Z0-9])S[RT]_B(?:AND)?\d")
"""In the name of a file of Landsat's level 2, in capitals: in Collection 1 it goes on with the name
of the level 1 product that it was made of."""
_LANDSAT_SCENE = re.compile(  # LC82040522019124LGN00: path, row, year and day of the year
    r"(?<![A-Z0-9])L[COTE](?P<number>[4-9])\d{6}(?P<day>(?:19|20)\d{5})[A-Z]{3}\d\d(?![A-Z0-9])"
)
_SENTINEL2_SPELLED = re.compile(
    r"SENTINEL[-_ ]?2[A-D]?(?:[ _,]+L(?P<level>1C|2A))?(?![A-Z0-9])"  # Sentinel-2B L1C, B03
)
_LANDSAT_SPELLED = re.compile(r"LANDSAT[-_ ]?(?P<number>[4-9])(?![0-9])")
_LANDSAT_SENSORS = {"4": "l5", "5": "l5", "7": "l7", "8": "l8", "9": "l9"}
_BASELINE = re.compile(r"S2[A-D]_MSIL(?:1C|2A)_\d{8}T\d{6}_N(\d\d)(\d\d)_")
_SECOND = re.compile(r"(?<!\d)(\d{8})T(\d{6})(?!\d)")
_PRODUCT_SECOND = re.compile(r"S2[A-D]_MSIL(?:1C|2A)_(\d{8})T(\d{6})")
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


class NamePart(NamedTuple):
    """A name that may tell of a scene."""

    text: str
    source: str
    """What to call it, for people."""
    own: bool
    """Whether it is the scene's own. A folder further up may be called after anything, so of
    those only the names of products count."""


def name_parts(path: Path, *, in_folder: bool) -> list[NamePart]:
    """Return the names that may tell of a scene, the nearest first.

    Args:
        path: A file of it.
        in_folder: Whether the scene is the folder that the file lies in.
    """
    absolute = path.absolute()
    parts = [NamePart(absolute.name, f"file name {absolute.name}", own=True)]
    for i, parent in enumerate(absolute.parents[:PARENTS_LOOKED_AT]):
        parts.append(NamePart(parent.name, f"folder name {parent.name}", own=in_folder and i == 0))
    return parts


def find_sensor(tags: Mapping[str, str], parts: Sequence[NamePart]) -> Found | None:
    """Return the sensor that tags or names tell of.

    Args:
        tags: Of the file, those of its IMAGERY domain included.
        parts: What `name_parts` gives.
    """
    for tag in ("sensor", "SATELLITEID"):
        text = tags.get(tag, "").strip()
        # Other programs have a tag `sensor` too, with other words in it.
        if sensor := text if text in SENSORS else _product_in(text, own=True)[0]:
            return Found(sensor, f"tag {tag}")
    for part in parts:
        if sensor := _product_in(part.text, own=part.own)[0]:
            return Found(sensor, part.source)
    return None


def find_level(tags: Mapping[str, str], parts: Sequence[NamePart]) -> Found | None:
    """Return the processing level that tags or names tell of."""
    if (text := tags.get("level", "").strip().upper()) in {"L1C", "L2A", "L1", "L2"}:
        return Found(text, "tag level")
    for part in parts:
        if level := _product_in(part.text, own=part.own)[1]:
            return Found(level, part.source)
    return None


def _product_in(text: str, *, own: bool) -> tuple[str | None, str | None]:
    """Return the sensor and the level that a name tells of."""
    text = text.upper()
    if match := _SENTINEL2.search(text) or (_SENTINEL2_SPELLED.search(text) if own else None):
        level = next((group for group in match.groups() if group), None)
        return "s2", level and f"L{level}"
    if match := _LANDSAT.search(text):
        level = "2" if SURFACE.search(text) else match["level"]
        return _LANDSAT_SENSORS.get(match["number"]), level and f"L{level}"
    if match := _LANDSAT_SCENE.search(text):
        return _LANDSAT_SENSORS.get(match["number"]), None
    if own and (match := _LANDSAT_SPELLED.search(text)):
        return _LANDSAT_SENSORS.get(match["number"]), None
    return None, None


def find_baseline(parts: Sequence[NamePart]) -> tuple[int, int] | None:
    """Return the Sentinel-2 processing baseline that a product's name tells of: (5, 0)."""
    for part in parts:
        if match := _BASELINE.search(part.text):
            return int(match[1]), int(match[2])
    return None


def find_time(
    tags: Mapping[str, str], parts: Sequence[NamePart]
) -> tuple[datetime | date, str] | None:
    """Return when a scene was taken (UTC), or only the day, and where that was found.

    A granule's time is nearest to its pixels: the product's and the files' are the start of the
    whole datatake.
    """
    if found := _tagged_time(tags.get("ACQUISITIONDATETIME", "")):
        return found, "tag ACQUISITIONDATETIME"
    for pattern in (_GRANULE_SECOND, _PRODUCT_SECOND, _SECOND):
        for part in parts:
            if pattern is _SECOND and not part.own:
                continue
            match = pattern.search(part.text)
            if match and (second := _parse(f"{match[1]}{match[2]}", "%Y%m%d%H%M%S")):
                return second.replace(tzinfo=UTC), part.source
    for part in parts:
        match = _DAY.search(part.text.upper()) if part.own else None
        day = _parse("".join(match.groups()), "%Y%m%d") if match else None
        if day and day.year >= 1972:  # Landsat 1
            return day.date(), part.source
    for part in parts:
        match = _LANDSAT_SCENE.search(part.text.upper())
        if match and (day := _parse(match["day"], "%Y%j")):
            return day.date(), part.source
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
    """Return the band that the stem of a file name holds, as it is written there.

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
    if is_quality(text) or text.partition(":")[0].lower() in SENSORS:
        return text
    return band_in_name(text) or text


def common_name_in(stem: str) -> str:
    """Return what a file would be called by if not by number: `red` of `scene_red_10m`."""
    return re.split(r"[^A-Za-z0-9]+", _RESOLUTION.sub("", stem))[-1].lower()


def safe_name(text: str) -> str:
    """Return a name that can begin file names everywhere."""
    name = re.sub(r"[^\w.\-]+", "_", text).strip("_.") or "scene"
    if len(name) <= LONGEST_NAME:
        return name
    # File systems take 255 bytes, and an ending follows; what is cut off keeps names apart.
    return f"{name[:LONGEST_NAME]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"

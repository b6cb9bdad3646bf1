"""What a Landsat product's MTL file says: who, when, where, and how numbers become reflectance.

Collections 1 and 2 say the same under other group names, and Collection 2 in three formats. Level 2
files hold the groups of level 1 too, with the same keys in them: a key means nothing without its
group.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from geounet.bands import Band
from geounet.errors import SceneError
from geounet.scene.reflectance import LayerScaling, from_gdal

Groups = Mapping[str, Mapping[str, str]]
"""Values by key by group."""
Lines = Mapping[str, tuple[float, float]]
"""(factor, summand) of value = DN × factor + summand, by band: `4`, `6_VCID_1`, `ST_B10`."""

MTL_ENDINGS = ("_MTL.txt", "_MTL.json", "_MTL.xml")
"""How the names of such files end; where there are several they say the same."""
LARGEST = 4 * 2**20
"""Bytes of an MTL file; real ones have 40 kB."""

_ROOTS = frozenset({"L1_METADATA_FILE", "LANDSAT_METADATA_FILE"})
_LINE = re.compile(r"(?P<key>[A-Za-z0-9_]+)\s*=\s*(?P<value>.*)")
_SENSORS = {
    ("LANDSAT_4", "TM"): "l5",  # the same instrument on both
    ("LANDSAT_5", "TM"): "l5",
    ("LANDSAT_7", "ETM"): "l7",
    ("LANDSAT_8", "OLI"): "l8",
    ("LANDSAT_9", "OLI"): "l9",
}
_SURFACE = "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS"
_TEMPERATURE = "LEVEL2_SURFACE_TEMPERATURE_PARAMETERS"
_TOP = ("LEVEL1_RADIOMETRIC_RESCALING", "RADIOMETRIC_RESCALING")
_CONTENTS = ("PRODUCT_CONTENTS", "PRODUCT_METADATA", "METADATA_FILE_INFO")
_ATTRIBUTES = ("IMAGE_ATTRIBUTES", "PRODUCT_METADATA")
_PIXEL_VALUES = ("LEVEL1_MIN_MAX_PIXEL_VALUE", "MIN_MAX_PIXEL_VALUE", _SURFACE)


@dataclass(frozen=True)
class Mtl:
    """A Landsat product, as its MTL file tells of it."""

    where: str
    """Name of the file, for people."""
    product: str
    """`LC08_L1TP_204052_20190504_20190520_01_T1`; empty where it is not said."""
    sensor: str
    """A key of `SENSORS`."""
    level: str
    """`L1` or `L2`."""
    time: datetime | None
    """Of the middle of the scene, UTC."""
    date: date | None
    tile: str | None
    """Path and row, `204052`."""
    sun_elevation: float | None
    """In degrees, at the middle of the scene."""
    fill: float | None
    """0 where calibrated numbers begin at 1."""
    surface: Lines = field(default_factory=dict)
    """Level 2: surface reflectance."""
    top: Lines = field(default_factory=dict)
    """Level 1: reflectance at the top of the atmosphere times the sine of the sun's elevation."""
    radiance: Lines = field(default_factory=dict)
    """Level 1, in W/(m² sr µm)."""
    temperature: Lines = field(default_factory=dict)
    """Level 2: surface temperature, in kelvin."""

    def scaling(self, band: Band, stem: str) -> LayerScaling:
        """Return how a file's numbers become reflectance; a thermal band's its own quantity.

        Args:
            band: What the file holds.
            stem: Of its name: `…_SR_B4` and `…_B4` are scaled in different ways.
        """
        number = band.name.removeprefix("B")
        thermal = (band.common_name or "").startswith("lwir")
        if _level_of(stem, self.level) == "L2":
            if thermal:
                return self._line(self.temperature, f"ST_B{number}", "TEMPERATURE_MULT, _ADD")
            return self._line(self.surface, number, "REFLECTANCE_MULT, _ADD (level 2)")
        if thermal:
            return self._line(self.radiance, number, "RADIANCE_MULT, _ADD")
        return self._top_of_atmosphere(number)

    def _line(self, lines: Lines, key: str, what: str, divisor: float = 1.0) -> LayerScaling:
        if key not in lines:
            return LayerScaling()
        factor, summand = lines[key]
        source = f"{what} in {self.where}"
        return from_gdal(factor / divisor, summand / divisor, where=self.where, source=source)

    def _top_of_atmosphere(self, number: str) -> LayerScaling:
        """Return the scaling to reflectance at the top of the atmosphere.

        What the MTL file's factors give has to be divided by the sine of the sun's elevation [1]_.

        References:
            .. [1] USGS, "Using the USGS Landsat Level-1 Data Product".
        """
        if self.sun_elevation is None or self.sun_elevation <= 0:
            return LayerScaling()
        return self._line(
            self.top,
            number,
            f"REFLECTANCE_MULT, _ADD over the sine of SUN_ELEVATION {self.sun_elevation:g}°",
            math.sin(math.radians(self.sun_elevation)),
        )

    @property
    def complaint(self) -> str | None:
        """What keeps numbers from becoming reflectance; None where nothing does."""
        if self.level == "L2":
            return None if self.surface else f"{self.where} has no factors of surface reflectance"
        if not self.top:
            return f"{self.where} has no factors of reflectance"
        if self.sun_elevation is None:
            return f"{self.where} has no SUN_ELEVATION, without which there is no reflectance"
        if self.sun_elevation <= 0:
            return f"{self.where} has the SUN_ELEVATION {self.sun_elevation:g}°: it was night"
        return None


def _level_of(stem: str, otherwise: str) -> str:
    """Return which level's numbers a file holds, by its name where that says it."""
    name = stem.upper()
    if re.search(r"(?<![A-Z0-9])S[RT]_B(?:AND)?\d", name):
        return "L2"
    match = re.search(r"(?<![A-Z0-9])L[A-Z]0\d_(L[12])[A-Z]{2}_", name)
    return match[1] if match else otherwise


def is_mtl(name: str) -> bool:
    """Return whether a file is called as an MTL file is."""
    return name.upper().endswith(tuple(ending.upper() for ending in MTL_ENDINGS))


def parse_mtl(text: str | bytes, where: str = "MTL.txt") -> Mtl:
    """Understand an MTL file: text, JSON or XML.

    Args:
        text: What is in it.
        where: What to call it, for people.

    Raises:
        SceneError: It is none, incomplete, or of a sensor that is not supported.
    """
    groups = _parse_groups(text, where)
    sensor = _sensor(groups, where)
    level = _find(groups, _CONTENTS, "PROCESSING_LEVEL", "DATA_TYPE", "PRODUCT_TYPE") or ""
    if level[:2] not in {"L1", "L2"}:
        raise SceneError(
            f"{where} is of level {level or 'nothing it says'}, not L1 or L2. Take the file away "
            "and give --level, --scale and --offset if its bands are to be read all the same."
        )
    day = _day(_find(groups, _ATTRIBUTES, "DATE_ACQUIRED", "ACQUISITION_DATE") or "")
    clock = _clock(_find(groups, _ATTRIBUTES, "SCENE_CENTER_TIME", "SCENE_CENTER_SCAN_TIME") or "")
    minima = [_number(groups, _PIXEL_VALUES, f"QUANTIZE_CAL_MIN_BAND_{n}") for n in range(1, 8)]
    known = [minimum for minimum in minima if minimum is not None]
    return Mtl(
        where=where,
        product=_find(groups, _CONTENTS, "LANDSAT_PRODUCT_ID", "LANDSAT_SCENE_ID") or "",
        sensor=sensor,
        level=level[:2],
        time=datetime.combine(day, clock, tzinfo=UTC) if day and clock else None,
        date=day,
        tile=_path_row(groups),
        sun_elevation=_number(groups, ("IMAGE_ATTRIBUTES", "PRODUCT_PARAMETERS"), "SUN_ELEVATION"),
        fill=0.0 if known and min(known) >= 1 else None,
        surface=_lines(groups, (_SURFACE,), "REFLECTANCE"),
        top=_lines(groups, _TOP, "REFLECTANCE"),
        radiance=_lines(groups, _TOP, "RADIANCE"),
        temperature=_lines(groups, (_TEMPERATURE,), "TEMPERATURE"),
    )


def _sensor(groups: Groups, where: str) -> str:
    craft = (
        (_find(groups, _ATTRIBUTES, "SPACECRAFT_ID") or "").upper().replace("LANDSAT-", "LANDSAT_")
    )
    craft = re.sub(r"LANDSAT(?=\d)", "LANDSAT_", craft)
    instrument = (_find(groups, _ATTRIBUTES, "SENSOR_ID") or "").upper().rstrip("+")
    sensor = _SENSORS.get((craft, instrument.partition("_")[0]))
    if sensor is None:
        raise SceneError(
            f"{where} is of {craft or 'no spacecraft it names'}, instrument "
            f"{instrument or 'not named'}. Supported are TM of Landsat 4 and 5, ETM of 7, OLI of 8 "
            "and 9. Take the file away and name the bands with --bands if they are to be read."
        )
    return sensor


def _path_row(groups: Groups) -> str | None:
    path, row = (_number(groups, _ATTRIBUTES, key) for key in ("WRS_PATH", "WRS_ROW"))
    if path is None or row is None or not (1 <= path <= 251 and 1 <= row <= 248):
        return None
    return f"{int(path):03}{int(row):03}"


def _lines(groups: Groups, names: Sequence[str], what: str) -> dict[str, tuple[float, float]]:
    """Return factors and summands by band; a band without a number for both has none."""
    found: dict[str, tuple[float, float]] = {}
    prefix = f"{what}_MULT_BAND_"
    for name in names:
        for key in groups.get(name, {}):
            band = key.removeprefix(prefix)
            factor = _number(groups, (name,), key) if band != key else None
            summand = _number(groups, (name,), f"{what}_ADD_BAND_{band}")
            if factor is not None and summand is not None:
                found.setdefault(band, (factor, summand))
    return found


def _find(groups: Groups, names: Sequence[str], *keys: str) -> str | None:
    """Return the first that is there of `keys` in the groups called `names`."""
    for name in names:
        for key in keys:
            if value := groups.get(name, {}).get(key):
                return value
    return None


def _number(groups: Groups, names: Sequence[str], key: str) -> float | None:
    try:
        value = float(_find(groups, names, key) or "")
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _day(text: str) -> date | None:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return None


def _clock(text: str) -> time | None:
    match = re.fullmatch(r"(\d\d):(\d\d):(\d\d)(?:\.(\d{1,6})\d*)?Z?", text)
    if not match:
        return None
    hour, minute, second = (int(match[i]) for i in (1, 2, 3))
    try:
        return time(hour, minute, second, int((match[4] or "0").ljust(6, "0")))
    except ValueError:
        return None


def _parse_groups(text: str | bytes, where: str) -> Groups:
    """Return the groups of an MTL file in any of its formats.

    Raises:
        SceneError: It is none of them, or cut off.
    """
    if len(text) > LARGEST:
        raise SceneError(f"{where} has {len(text)} bytes: that is no MTL file. Take it away.")
    if isinstance(text, bytes):
        # Old files are padded with zeros; nothing in them is beyond ASCII that matters.
        text = text.decode("utf-8-sig", errors="replace")
    text = text.strip("\0 \t\r\n\ufeff")
    if text.startswith("{"):
        groups = _groups_of_json(text, where)
    elif text.startswith("<"):
        groups = _groups_of_xml(text, where)
    else:
        groups = _groups_of_text(text, where)
    if not groups:
        raise SceneError(
            f"{where} is no Landsat MTL file: it has no group that such files have. Download it "
            "again, or take it away and give --scale and --offset."
        )
    return groups


def _groups_of_text(text: str, where: str) -> Groups:
    groups: dict[str, dict[str, str]] = {}
    names: list[str] = []
    for line in text.splitlines():
        match = _LINE.fullmatch(line.strip())
        if not match:
            continue
        key, value = match["key"].upper(), match["value"].strip().strip('"')
        if key == "GROUP":
            names.append(value.upper())
        elif key == "END_GROUP" and names:
            names.pop()
        elif names:
            groups.setdefault(names[-1], {}).setdefault(key, value)
    if names:
        raise SceneError(
            f"{where} ends within its group {names[-1]}: it is incomplete. Download it again, or "
            "take it away and give --scale and --offset."
        )
    return groups


def _groups_of_json(text: str, where: str) -> Groups:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _broken(where, "JSON", error) from error
    root = next((content[name] for name in _ROOTS if name in content), None)
    if not isinstance(root, dict):
        return {}
    return {
        name.upper(): {key.upper(): str(value) for key, value in group.items()}
        for name, group in root.items()
        if isinstance(group, dict)
    }


def _groups_of_xml(text: str, where: str) -> Groups:
    try:
        root: Element = fromstring(text, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, RecursionError) as error:
        raise _broken(where, "XML", error) from error
    if root.tag.upper() not in _ROOTS:
        return {}
    return {
        group.tag.upper(): {item.tag.upper(): (item.text or "").strip() for item in group}
        for group in root
    }


def _broken(where: str, form: str, error: Exception) -> SceneError:
    why = " ".join(str(error).split())[:200]
    return SceneError(
        f"{where} is not valid {form} ({why}). Download it again, or take it away and give --scale "
        "and --offset."
    )

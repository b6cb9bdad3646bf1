"""What a Landsat product's MTL file says: who, when, where, and how numbers become reflectance.

Collections 1 and 2 say the same under other group names, and Collection 2 in three formats. Level 2
files hold the groups of level 1 too, with the same keys in them: a key means nothing without its
group.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring

from geounet.bands import Band, parse_level
from geounet.errors import SceneError, reason
from geounet.scene.names import SURFACE, Found
from geounet.scene.product import Identity, SceneOptions, settle
from geounet.scene.reflectance import LayerScaling, from_gdal

Groups = Mapping[str, Mapping[str, str]]
"""Values by key by group."""
Lines = Mapping[str, tuple[float, float]]
"""(factor, summand) of value = DN × factor + summand, by band: `4`, `6_VCID_1`, `ST_B10`."""

LARGEST = 4 * 2**20
"""Bytes of an MTL file; real ones have 40 kB."""

_NAME = re.compile(r"(?:^|[_.-])MTL\.(?:txt|json|xml)$", re.IGNORECASE)
_ROOTS = frozenset({"L1_METADATA_FILE", "LANDSAT_METADATA_FILE"})
_FILE_KEY = re.compile(r"FILE_NAME_BAND_(?:S[RT]_B)?(\d{1,2}(?:_VCID_[12])?)")
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
    files: Mapping[str, str] = field(default_factory=dict)
    """Band by the name of its file, in lower case: `B4`, `B6_VCID_1`."""
    surface: Lines = field(default_factory=dict)
    """Level 2: surface reflectance."""
    top: Lines = field(default_factory=dict)
    """Level 1: reflectance at the top of the atmosphere times the sine of the sun's elevation."""
    radiance: Lines = field(default_factory=dict)
    """Level 1, in W/(m² sr µm)."""
    level_from: str = ""
    """Who says the level, for people, where that is not the file."""
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
        if level_of(stem, self.level) == "L2":
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
            if self.surface:
                return None
            return f"{self.where} has no factors of surface reflectance (0.0001 in Collection 1)"
        if not self.top:
            return f"{self.where} has no factors of reflectance"
        if self.sun_elevation is None:
            return f"{self.where} has no SUN_ELEVATION, without which there is no reflectance"
        if self.sun_elevation <= 0:
            return f"{self.where} has the SUN_ELEVATION {self.sun_elevation:g}°: it was night"
        return None


def level_of(stem: str, otherwise: str) -> str:
    """Return which level's numbers a file holds, by its name where that says it."""
    name = stem.upper()
    if SURFACE.search(name):
        return "L2"
    match = re.search(r"(?<![A-Z0-9])L[A-Z]0\d_(L[12])[A-Z]{2}_", name)
    return match[1] if match else otherwise


def is_mtl(name: str) -> bool:
    """Return whether a file is called as an MTL file is."""
    return _NAME.search(name) is not None


def choose_mtl(files: Iterable[str], source: str) -> str | None:
    """Return the MTL file of the one product in a folder; None where there is no such file.

    Collection 2 says the same in three formats, of which the text is as old as the files.

    Args:
        files: Names of all files.
        source: The folder, for the message.

    Raises:
        SceneError: The folder holds several products.
    """
    found = sorted(filter(is_mtl, files), key=lambda name: (name.lower()[-3:] != "txt", name))
    products = dict.fromkeys(_NAME.sub("", name).upper() for name in found)
    if len(products) > 1:
        raise SceneError(
            f"{source} holds {len(products)} Landsat products: {', '.join(list(products)[:3])}. "
            "Each scene has to have its folder, or a YAML file that names the bands and files."
        )
    return found[0] if found else None


def identify_by(mtl: Mtl, options: SceneOptions) -> Identity:
    """Return who took a scene and when, by its MTL file; what the user says counts more."""
    found = Found(mtl.sensor, mtl.where)
    sensor, sensor_from = settle("sensor", options, found, mtl.where)
    found = Found(mtl.level, mtl.level_from or mtl.where)
    level, level_from = settle("level", options, found, mtl.where)
    sources = {"sensor": sensor_from, "level": level_from}
    if mtl.date:
        sources["time" if mtl.time else "date"] = mtl.where
    return Identity(
        sensor=sensor,
        level=level and parse_level(level, sensor),
        time=mtl.time,
        date=mtl.date,
        baseline=None,
        sources=sources,
        tile=mtl.tile,
    )


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
        files=_files(groups),
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


def _files(groups: Groups) -> dict[str, str]:
    """Return bands by the names of their files, as the product has them."""
    contents = next((groups[name] for name in _CONTENTS[:2] if name in groups), {})
    bands = {key: _FILE_KEY.fullmatch(key) for key in contents}
    return {contents[key].lower(): f"B{match[1]}" for key, match in bands.items() if match}


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
    if not isinstance(content, dict):
        return {}
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
    return SceneError(
        f"{where} is not valid {form} ({reason(error)}). Download it again, or take it away and "
        "give --scale and --offset."
    )

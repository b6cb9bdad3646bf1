"""Bands by name: a band is a sensor and a number, with a wavelength and a common name.

`B5` is red edge on Sentinel-2, near infrared on Landsat 8 and short-wave infrared on Landsat 5 and
7. So a bare `Bn` means nothing without its sensor, and between sensors only common names match.
"""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, Self

from geounet.errors import BandError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Band:
    """One band of a sensor, or an extra layer that is no sensor's."""

    name: str
    """As geounet writes it: `B08` (Sentinel-2), `B5` (Landsat 8), or an extra layer's own name."""
    sensor: str | None
    """A key of `SENSORS`; None for an extra layer."""
    wavelength_nm: float | None
    """Centre of the band, in nanometres."""
    common_name: str | None
    """As STAC's eo extension has it: `green`, `nir`, `swir16`."""

    @property
    def id(self) -> str:
        """Sensor and name, `s2:B08`; the bare name of an extra layer."""
        return f"{self.sensor}:{self.name}" if self.sensor else self.name

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as JSON has them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, fields: Mapping[str, Any]) -> Self:
        """Return the band that `to_dict` wrote."""
        return cls(**fields)


def _table(sensor: str, *rows: tuple[str, float, str | None]) -> tuple[Band, ...]:
    return tuple(Band(name, sensor, nm, common) for name, nm, common in rows)


_OLI_TIRS = (
    ("B1", 443.0, "coastal"),
    ("B2", 482.0, "blue"),
    ("B3", 561.4, "green"),
    ("B4", 654.6, "red"),
    # STAC calls it nir08, as it does B8A; to match nir of the other Landsats it is nir here.
    ("B5", 864.7, "nir"),
    ("B6", 1608.9, "swir16"),
    ("B7", 2200.7, "swir22"),
    ("B8", 589.5, "pan"),
    ("B9", 1373.4, "cirrus"),
    ("B10", 10895.0, "lwir11"),
    ("B11", 12005.0, "lwir12"),
)

SENSORS: Mapping[str, tuple[Band, ...]] = MappingProxyType(
    {
        # Sentinel-2A, ESA "S2-SRF" 3.0; L2A has all but B10.
        "s2": _table(
            "s2",
            ("B01", 442.7, "coastal"),
            ("B02", 492.4, "blue"),
            ("B03", 559.8, "green"),
            ("B04", 664.6, "red"),
            ("B05", 704.1, "rededge071"),
            ("B06", 740.5, "rededge075"),
            ("B07", 782.8, "rededge078"),
            ("B08", 832.8, "nir"),
            ("B8A", 864.7, "nir08"),
            ("B09", 945.1, "nir09"),
            ("B10", 1373.5, "cirrus"),
            ("B11", 1613.7, "swir16"),
            ("B12", 2202.4, "swir22"),
        ),
        # Landsat 4 and 5 TM, middle of the band passes that the USGS gives.
        "l5": _table(
            "l5",
            ("B1", 485.0, "blue"),
            ("B2", 560.0, "green"),
            ("B3", 660.0, "red"),
            ("B4", 830.0, "nir"),
            ("B5", 1650.0, "swir16"),
            ("B6", 11450.0, "lwir"),
            ("B7", 2215.0, "swir22"),
        ),
        # Landsat 7 ETM+; the thermal band comes at two gains, as two files.
        "l7": _table(
            "l7",
            ("B1", 485.0, "blue"),
            ("B2", 560.0, "green"),
            ("B3", 660.0, "red"),
            ("B4", 835.0, "nir"),
            ("B5", 1650.0, "swir16"),
            ("B6", 11450.0, "lwir"),
            ("B6_VCID_1", 11450.0, "lwir"),
            ("B6_VCID_2", 11450.0, "lwir"),
            ("B7", 2220.0, "swir22"),
            ("B8", 710.0, "pan"),
        ),
        # Landsat 8 and 9 OLI and TIRS, Barsi et al. (2014), doi:10.3390/rs61010232.
        "l8": _table("l8", *_OLI_TIRS),
        "l9": _table("l9", *_OLI_TIRS),
    }
)

LEVELS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {"s2": ("L1C", "L2A"), "l5": ("L1", "L2"), "l7": ("L1", "L2")}
    | {"l8": ("L1", "L2"), "l9": ("L1", "L2")}
)
"""Processing levels of a sensor: top of atmosphere, surface."""

QUALITY_NAMES = frozenset(
    [
        *("QA10", "QA20", "QA60", "SCL", "CLD", "SNW", "CLDPRB", "SNWPRB", "CLOUDS", "CLOUDMASK"),
        *("AOT", "WVP", "TCI", "PVI"),
        *("BQA", "QA", "QA_PIXEL", "QA_RADSAT", "QA_AEROSOL", "PIXEL_QA", "RADSAT_QA"),
        *("SR_AEROSOL", "SR_QA_AEROSOL", "SR_CLOUD_QA", "SR_ATMOS_OPACITY", "ATMOS_OPACITY"),
        *("CLOUD_QA", "ST_QA", "ST_CDIST", "ST_EMIS", "ST_EMSD", "ST_ATRAN", "ST_DRAD"),
        *("ST_TRAD", "ST_URAD", "SAA", "SZA", "VAA", "VZA", "FMASK"),
    ]
)
"""Layers that come with the bands and are none: classes, masks, aerosol, water vapour, angles,
pictures."""

_QUALITY = re.compile(
    r"(?:^|[^A-Z0-9])(?:MSK_\w+|" + "|".join(sorted(QUALITY_NAMES)) + r")(?:_[126]0M)?$"
)
_NUMBERED = re.compile(r"B(?:0*([1-9]\d?)|0?8(A))((?:_VCID_[12])?)", re.IGNORECASE)
_OTHER_COMMON_NAMES = {
    "rededge1": "rededge071",
    "rededge2": "rededge075",
    "rededge3": "rededge078",
    "swir1": "swir16",
    "swir2": "swir22",
}
"""What catalogues call bands besides the names in `SENSORS`."""
COMMON_NAMES = frozenset(
    {band.common_name for bands in SENSORS.values() for band in bands if band.common_name}
    | set(_OTHER_COMMON_NAMES)
)
"""All that bands may be called by besides their numbers, in lower case."""


def is_quality(text: str) -> bool:
    """Return whether a band name, description or the stem of a file name is a quality layer's."""
    text = text.strip().upper()
    # A description goes on: "SCL, Scene Classification", "QA60 bitmask".
    first = re.split(r"[\s,;:()]", text, maxsplit=1)[0]
    return first in QUALITY_NAMES or _QUALITY.search(text) is not None


def parse_sensor(text: str) -> str:
    """Return a sensor's key in `SENSORS`.

    Raises:
        BandError: There is no such sensor.
    """
    sensor = text.strip().lower()
    if sensor not in SENSORS:
        raise BandError(f"There is no sensor {text!r}; there are {', '.join(SENSORS)}.")
    return sensor


def parse_level(text: str, sensor: str | None) -> str:
    """Return a processing level as geounet writes it: `L1C`, `L2A`, `L1`, `L2`.

    Raises:
        BandError: The sensor has no such level.
    """
    level = text.strip().upper().removeprefix("LEVEL-")
    level = level if level.startswith("L") else f"L{level}"
    if sensor is not None and sensor != "s2":
        level = level[:2]  # L1TP, L1GT and L2SP differ in nothing that matters to reflectance
    known = LEVELS[sensor] if sensor else tuple(dict.fromkeys(sum(LEVELS.values(), ())))
    if level not in known:
        raise BandError(
            f"There is no level {text!r}{f' of {sensor}' if sensor else ''}; "
            f"there are {', '.join(known)}."
        )
    return level


def parse_band(text: str, sensor: str | None) -> Band:
    """Return the band that a name means.

    Args:
        text: `B08`, `B8` or `nir` with a sensor, `s2:B08` or `B8A` without, or an extra layer's
            name.
        sensor: Key of `SENSORS` whose names are meant where `text` does not say it.

    Raises:
        BandError: The name is empty or a quality layer's, the sensor has no such band, or the
            sensor is not known.
    """
    name = text.strip()
    prefix, colon, rest = name.partition(":")
    if colon and prefix.strip().lower() in SENSORS:
        sensor, name = parse_sensor(prefix), rest.strip()
    if not name:
        raise BandError("A band has an empty name. Use - for a band to leave out.")
    if is_quality(name):
        raise BandError(f"{name} is a quality band, not a spectral one. Leave it out with -.")
    numbered = _NUMBERED.fullmatch(name)
    if numbered and numbered[2] and sensor is None:
        sensor = "s2"  # no other sensor has a B8A
    if numbered or name.lower() in COMMON_NAMES:
        if sensor is None:
            raise BandError(
                f"Band {name} is another on every sensor. "
                f"Say whose it is with --sensor {'|'.join(SENSORS)}."
            )
        return _band_of(name, sensor)
    return Band(name=name, sensor=None, wavelength_nm=None, common_name=None)


def _band_of(name: str, sensor: str) -> Band:
    bands = SENSORS[parse_sensor(sensor)]
    found = [band for band in bands if _folded(name, sensor) in _keys(band)]
    if not found:
        raise BandError(
            f"{sensor} has no band {name}; it has {', '.join(band.name for band in bands)}."
        )
    return found[0]


def _folded(text: str, sensor: str | None) -> str:
    """Return a name in the form that compares equal: case and leading zeros do not count."""
    folded = text.strip().lower()
    if sensor is not None and (match := _NUMBERED.fullmatch(folded)):
        return f"b{match[1] or '8a'}{match[3]}"
    folded = _OTHER_COMMON_NAMES.get(folded, folded)
    if folded == "nir08" and sensor not in (None, "s2"):
        return "nir"  # the USGS catalogue's name of Landsat's near infrared
    return folded


def _keys(band: Band) -> set[str]:
    """Return all that a band may be asked for by, folded."""
    keys = {_folded(band.name, band.sensor), band.id.lower()}
    if band.sensor:
        keys.add(f"{band.sensor}:{_folded(band.name, band.sensor)}")
    if band.common_name:
        keys.add(band.common_name)
    return keys


def find_band(name: str, bands: Sequence[Band]) -> int:
    """Return the index in `bands` of the one called `name`.

    Args:
        name: A name (`B08`, `B8`), an id (`s2:B08`) or a common name (`nir`).
        bands: What there is.

    Raises:
        BandError: None is called so, or more than one.
    """
    prefix, colon, rest = name.strip().partition(":")

    def key(sensor: str | None) -> str:
        if colon and sensor and prefix.lower() == sensor:
            return f"{sensor}:{_folded(rest, sensor)}"
        return _folded(name, sensor)

    found = [i for i, band in enumerate(bands) if key(band.sensor) in _keys(band)]
    if not found:
        raise BandError(f"There is no band {name}; there are {list_bands(bands)}.")
    if len(found) > 1:
        several = ", ".join(bands[i].id for i in found)
        raise BandError(f"Band {name} may be {several}. Say which by its full name.")
    return found[0]


def match_bands(
    wanted: Sequence[Band], present: Sequence[Band], *, where: str, accept_sensor: bool
) -> list[int]:
    """Return where in `present` each of the `wanted` bands is.

    Within a sensor bands match by name. Bands of another sensor match by common name, if that is
    accepted, and it is said.

    Args:
        wanted: Bands that are needed, for instance a model's.
        present: Bands that there are.
        where: Whose they are, for messages: the scene's path.
        accept_sensor: Whether bands of another sensor may stand in.

    Raises:
        BandError: Some are missing, or may be had only from another sensor and that is not
            accepted.
    """
    by_id = {band.id: i for i, band in enumerate(present)}
    found = [by_id.get(band.id) for band in wanted]
    stand_ins = [
        _stand_in(band, present) if i is None else None
        for band, i in zip(wanted, found, strict=True)
    ]
    missing = [
        band
        for band, i, other in zip(wanted, found, stand_ins, strict=True)
        if i is None and other is None
    ]
    exchanged = exchanged_bands(
        (band, present[i]) for band, i in zip(wanted, stand_ins, strict=True) if i is not None
    )
    if missing:
        raise BandError(
            f"{where} {_what_lacks(missing, wanted, present)}; it has {list_bands(present)}. "
            + (f"By common name --accept-sensor would take {exchanged}. " if exchanged else "")
            + "Use a scene that has them, or a model of other bands."
        )
    if exchanged and not accept_sensor:
        raise BandError(
            f"{where} is of another sensor: it has {exchanged}. Use --accept-sensor to take them."
        )
    if exchanged:
        logger.warning("%s: bands of another sensor are taken: %s", where, exchanged)
    either = (other if i is None else i for i, other in zip(found, stand_ins, strict=True))
    return [i for i in either if i is not None]


def exchanged_bands(pairs: Iterable[tuple[Band, Band]]) -> str:
    """Return, for people, where of (wanted, taken) another sensor's is taken; empty if nowhere."""
    return ", ".join(
        f"{taken.id} for {wanted.id} ({wanted.common_name})"
        for wanted, taken in pairs
        if taken.id != wanted.id
    )


def _what_lacks(missing: Sequence[Band], wanted: Sequence[Band], present: Sequence[Band]) -> str:
    """Return what is to be said of a scene that has some bands not even of another sensor."""
    sensors = {band.sensor for band in wanted} - {None}
    others = dict.fromkeys(band.sensor for band in present if band.sensor)
    if not others or sensors & others.keys():
        return f"has no band {', '.join(band.id for band in missing)}"
    return f"is of another sensor ({', '.join(others)}) and has no {list_bands(missing)}"


def _stand_in(band: Band, present: Sequence[Band]) -> int | None:
    """Return the one band of another sensor with the same common name."""
    if band.sensor is None or band.common_name is None:
        return None
    found = [
        i
        for i, other in enumerate(present)
        if other.sensor not in (None, band.sensor) and other.common_name == band.common_name
    ]
    return found[0] if len(found) == 1 else None


def list_bands(bands: Sequence[Band]) -> str:
    """Return the names of bands for a message, with their common names."""
    return ", ".join(f"{b.id} ({b.common_name})" if b.common_name else b.id for b in bands)

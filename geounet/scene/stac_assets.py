"""The assets of a STAC item: which of them are bands, and how their numbers become reflectance.

Catalogues say the same things in different ways: bands in `eo:bands`, in STAC 1.1's `bands`, in
keys or in file names; offsets in `raster:bands`, in a flag that they are applied, or nowhere.
"""

import logging
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote

from geounet.bands import COMMON_NAMES, SENSORS, Band, is_quality, parse_band
from geounet.errors import BandError, SceneError
from geounet.scene import names
from geounet.scene.product import Identity
from geounet.scene.reflectance import LayerScaling, from_gdal

logger = logging.getLogger(__name__)

OFFSET_BASELINE = (4, 0)
"""From it on, Sentinel-2's numbers have an offset of −1000."""
S2_SCALE, S2_OFFSET = 1e-4, -1000.0
LANDSAT_SCALE, LANDSAT_OFFSET = 2.75e-5, -0.2
"""Of Collection 2, level 2: reflectance = DN × scale + offset."""
APPLIED_FLAGS = ("earthsearch:boa_offset_applied", "sentinel:boa_offset_applied")

_PICTURES = frozenset({"visual", "overview", "thumbnail", "metadata", "tiles"})
"""Roles of assets that are looked at, not measured with; keys may be called so too."""
_PICTURE_KEYS = re.compile(r"(?i)(?:visual|overview|thumbnail|preview|rendered_preview)(?:-jp2)?")
_RASTER_TYPE = re.compile(r"(?i)image/(?:tiff|jp2|jpx|jpeg2000|vnd\.stac\.geotiff)\b")
_RASTER_SUFFIXES = frozenset({".tif", ".tiff", ".jp2", ".vrt"})
_AROUND = re.compile(r"(?i)^(?:OLI|TIRS|ETM|TM|MSI|SR|ST|TOA|BT)_(?=B)|(?:[-_][126]0m)?(?:-jp2)?$")
"""What catalogues put before and after a band's name: `OLI_B4`, `B02_10m`, `red-jp2`."""
_WAVELENGTH_TOLERANCE_NM = 25.0
"""Catalogues round, and give either satellite's; neighbours are 30 nm apart and more."""
_SENTINEL2_NAME = re.compile(r"S2[A-D]_(?:MSIL(?:1C|2A)|OPER)_")


@dataclass(frozen=True)
class Asset:
    """One raster band of an item."""

    item: str
    """The item, as the user gave it, for messages."""
    key: str
    href: str
    alternates: tuple[str, ...]
    """Where else it is."""
    index: int
    """In that file, from 1."""
    fields: Mapping[str, Any]
    """What the item says of this band, the more special over the more general."""
    several: bool
    """Whether it is one of several bands of its file."""
    media_type: str

    @property
    def stem(self) -> str:
        """Name of the file without its ending."""
        return PurePosixPath(unquote(self.href.partition("?")[0])).stem

    @property
    def picture(self) -> bool:
        """Whether it is to be looked at, not measured with."""
        roles = self.fields.get("roles")
        given = set(roles) if isinstance(roles, list) and _all_text(roles) else set()
        return bool(given & _PICTURES) or _PICTURE_KEYS.fullmatch(self.key) is not None

    @property
    def quality(self) -> bool:
        """Whether it is of classes, masks, aerosol or the like."""
        return any(is_quality(text) for text in (_bare(self.key), self.stem))

    @property
    def rank(self) -> tuple[float, int]:
        """Of assets with the same band the first is taken: the finest, and rather a COG."""
        kind = 2 if "jp" in self.media_type.lower() else 0
        if not kind and "cloud-optimized" not in self.media_type.lower():
            kind = 1
        return self._ground_sample(), kind

    def _ground_sample(self) -> float:
        for name in ("gsd", "spatial_resolution", "raster:spatial_resolution"):
            if (value := self.number(name)) is not None:
                return value
        match = re.search(r"(?i)[-_]([126]0)m(?:$|-)", self.key)
        return float(match[1]) if match else math.inf

    def number(self, name: str) -> float | None:
        """Return a field that is a number; None where it is not said.

        Raises:
            SceneError: It is something else.
        """
        value = self.fields.get(name)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise SceneError(
                f"{self.item}: {name} of asset {self.key} is {value!r:.40}, which is no number. "
                "Mend the item."
            )
        return float(value)

    def nodata(self) -> float | None:
        """Return nodata; STAC writes NaN and infinity as words."""
        value = self.fields.get("nodata")
        if isinstance(value, str) and value.lower() in {"nan", "inf", "-inf"}:
            return float(value)
        return self.number("nodata")


def raster_assets(assets: Mapping[str, Mapping[str, Any]], item: str) -> list[Asset]:
    """Return the bands of all assets that are rasters, in their order.

    Args:
        assets: By key; each has a link.
        item: The item, for messages.

    Raises:
        SceneError: The bands of one are no list.
    """
    rasters = {key: asset for key, asset in assets.items() if _is_raster(asset)}
    return [part for key, asset in rasters.items() for part in _parts(key, asset, item)]


def _is_raster(asset: Mapping[str, Any]) -> bool:
    media_type = asset.get("type")
    if isinstance(media_type, str) and media_type:
        return _RASTER_TYPE.match(media_type) is not None
    return PurePosixPath(asset["href"].partition("?")[0]).suffix.lower() in _RASTER_SUFFIXES


def _parts(key: str, asset: Mapping[str, Any], item: str) -> list[Asset]:
    lists = [
        _listed(asset, name, f"{item}: {name} of asset {key}")
        for name in ("eo:bands", "raster:bands", "bands")
    ]
    count = max(1, *map(len, lists))
    alternate = asset.get("alternate")
    others = alternate.values() if isinstance(alternate, dict) else ()
    hrefs = [other.get("href") for other in others if isinstance(other, dict)]
    common = {name: value for name, value in asset.items() if name not in ("eo:bands", "bands")}
    media_type = asset.get("type")
    return [
        Asset(
            item=item,
            key=key,
            href=asset["href"],
            alternates=tuple(href for href in hrefs if isinstance(href, str)),
            index=i + 1,
            fields=common | _merged(part[i] for part in lists if i < len(part)),
            several=count > 1,
            media_type=media_type if isinstance(media_type, str) else "",
        )
        for i in range(count)
    ]


def _listed(asset: Mapping[str, Any], name: str, where: str) -> list[dict[str, Any]]:
    found = asset.get(name) or []
    if not isinstance(found, list) or not all(isinstance(part, dict) for part in found):
        raise SceneError(f"{where} is no list of bands. Mend the item.")
    return found


def _merged(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what several extensions say of a band, with STAC 1.1's names as those before it."""
    merged: dict[str, Any] = {}
    for part in parts:
        merged |= part
    for name in ("common_name", "center_wavelength"):
        if f"eo:{name}" in merged:
            merged[name] = merged[f"eo:{name}"]
    return merged


def _all_text(values: Iterable[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _bare(text: str) -> str:
    return _AROUND.sub("", text.strip())


def band_of(asset: Asset, identity: Identity) -> Band | None:
    """Return which band an asset is; None where it is none that is known.

    Its number counts first, in the band's name, the key, or the file's name: catalogues call
    several bands by one common name, and B8A by a wrong one. A common name is believed where the
    wavelength agrees.

    Raises:
        BandError: It is called by a number or a common name, and the sensor is not known.
    """
    name = asset.fields.get("name")
    texts = [_bare(text) for text in (name, asset.key) if isinstance(text, str)]
    in_file = None if asset.several else names.band_in_name(asset.stem)
    for text in [*texts, in_file or ""]:
        if re.fullmatch(r"(?i)B(?:\d\d?|0?8A)(?:_VCID_[12])?", text) and (
            band := _parsed(text, identity.sensor)
        ):
            return band
    common = asset.fields.get("common_name")
    called = [*texts, common] if isinstance(common, str) else texts
    known = [text for text in called if text.lower() in COMMON_NAMES]
    by_name = _parsed(known[0], identity.sensor) if known else None
    return _by_wavelength(asset, identity.sensor, by_name)


def _parsed(text: str, sensor: str | None) -> Band | None:
    try:
        return parse_band(text, sensor)
    except BandError:
        if sensor is None:
            raise
        return None  # the sensor has none that is called so


def _by_wavelength(asset: Asset, sensor: str | None, by_name: Band | None) -> Band | None:
    """Return the band that a common name means, put right by the wavelength."""
    micrometres = asset.number("center_wavelength")
    if sensor is None or micrometres is None:
        return by_name
    wanted = micrometres * 1000

    def off(band: Band) -> float:
        return math.inf if band.wavelength_nm is None else abs(band.wavelength_nm - wanted)

    nearest = min(SENSORS[sensor], key=off)
    if off(nearest) > _WAVELENGTH_TOLERANCE_NM:
        return by_name
    return by_name if by_name and off(by_name) <= _WAVELENGTH_TOLERANCE_NM else nearest


def scaling_of(
    asset: Asset,
    band: Band,
    identity: Identity,
    properties: Mapping[str, Any],
    in_file: LayerScaling,
    dtype: str,
) -> LayerScaling:
    """Return how the numbers of a band become reflectance; an offset is applied once.

    The item counts most, then what the file says itself, then what the product is known to have.

    Args:
        asset: The band in its item.
        band: Which it is.
        identity: Of the item.
        properties: Of the item.
        in_file: What GDAL finds in the file.
        dtype: Of the file.
    """
    flag, applied = _applied(properties)
    reflective = band.sensor == "s2"
    shifted = reflective and (identity.baseline or (0, 0)) >= OFFSET_BASELINE
    scale, offset = (
        asset.number(name) if asset.fields.get(name) is not None else asset.number(f"raster:{name}")
        for name in ("scale", "offset")
    )
    if scale is not None:
        key = "raster:bands" if "raster:bands" in asset.fields else "bands"
        source = f"{key} of the item"
        if reflective and applied:
            return LayerScaling(scale, 0.0, f"{source}; offset applied already ({flag})")
        if shifted and (offset is None or (offset == 0 and applied is False)):
            why = f"{flag} is false, " if flag else ""
            return LayerScaling(scale, S2_OFFSET, f"{source}; {why}{_baseline(identity)}")
        return from_gdal(scale, offset or 0.0, where=f"asset {asset.key}", source=source)
    if in_file.scale is not None:
        return _as_in_file(in_file, identity, properties) if shifted else in_file
    return _of_product(asset, identity, properties, dtype)


def _as_in_file(
    in_file: LayerScaling, identity: Identity, properties: Mapping[str, Any]
) -> LayerScaling:
    """Return the scaling that a file says of numbers with an offset.

    GDAL cannot tell an offset of 0 from one that was forgotten. Where the item does not know
    either, the offset is None.
    """
    flag, applied = _applied(properties)
    if in_file.offset or applied:
        return in_file
    if applied is None:
        return LayerScaling(in_file.scale, None, in_file.source)
    source = f"{in_file.source}; {flag} is false, {_baseline(identity)}"
    return LayerScaling(in_file.scale, S2_OFFSET, source)


def _of_product(
    asset: Asset, identity: Identity, properties: Mapping[str, Any], dtype: str
) -> LayerScaling:
    """Return the scaling that a product is known to have where nobody says it."""
    if dtype not in {"uint16", "int16"}:
        return LayerScaling()
    flag, applied = _applied(properties)
    if is_esa_product(identity, properties):
        source = "Sentinel-2's quantification value (the item says none)"
        if applied:
            return LayerScaling(S2_SCALE, 0.0, f"{source}; offset applied already ({flag})")
        shifted = (identity.baseline or (0, 0)) >= OFFSET_BASELINE
        offset = S2_OFFSET if shifted else 0.0
        return LayerScaling(S2_SCALE, offset, f"{source}; {_baseline(identity)}")
    landsat = identity.sensor in {"l5", "l7", "l8", "l9"} and identity.level == "L2"
    if landsat and re.search(r"_02_(?:T1|T2|RT)_SR_B\d$", asset.stem):
        return from_gdal(
            LANDSAT_SCALE, LANDSAT_OFFSET, where=asset.key,
            source="Landsat Collection 2, level 2 (the item says none)",
        )  # fmt: skip
    return LayerScaling()


def is_esa_product(identity: Identity, properties: Mapping[str, Any]) -> bool:
    """Whether the numbers are those of ESA's product, and its baseline is known."""
    said = (properties.get(key) for key in ("s2:product_uri", "sentinel:product_id"))
    named = any(isinstance(text, str) and _SENTINEL2_NAME.match(text) for text in said)
    keys = ("s2:processing_baseline", "sentinel:processing_baseline", "processing:version")
    based = any(isinstance(properties.get(key), str) for key in keys)
    return identity.sensor == "s2" and identity.baseline is not None and (named or based)


def _applied(properties: Mapping[str, Any]) -> tuple[str, bool | None]:
    """Return the flag that says whether the offset is applied, and what it says."""
    for flag in APPLIED_FLAGS:
        if isinstance(value := properties.get(flag), bool):
            return flag, value
    return "", None


def _baseline(identity: Identity) -> str:
    if identity.baseline is None:
        return "no baseline known"
    shifted = identity.baseline >= OFFSET_BASELINE
    number = f"{identity.baseline[0]:02}.{identity.baseline[1]:02}"
    return f"offset {'-1000' if shifted else '0'} of baseline {number}"

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
LANDSAT_KELVIN = 0.00341802, 149.0
"""Likewise for surface temperature."""
SURFACE_CORRECTED = ("nbart_", "nbar_", "lambertian_")
"""What Digital Earth Australia puts before the names of bands, the best first: surface reflectance
of its own making, with and without terrain, and for ground that scatters evenly."""
CORRECTED_SCALE = 1e-4
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
_OTHER_NAMES = {
    "s2": {
        "coastal_aerosol": "coastal",
        "red_edge_1": "rededge1",
        "red_edge_2": "rededge2",
        "red_edge_3": "rededge3",
        "nir_1": "nir",
        "nir_2": "nir08",
    },
    "landsat": {
        "coastal_aerosol": "coastal",
        "panchromatic": "pan",
        "swir_1": "swir16",
        "swir_2": "swir22",
    },
}
"""What some catalogues call bands, by common name."""
_CORRECTED_NAMES = {"swir_2": "swir16", "swir_3": "swir22"}
"""Of Sentinel-2 after one of `SURFACE_CORRECTED`; Digital Earth Africa calls B12 swir_2."""


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
    def jpeg2000(self) -> bool:
        """Whether it is a JPEG 2000 file, as ESA makes them."""
        name = self.href.partition("?")[0].lower()
        return "jp" in self.media_type.lower() or name.endswith((".jp2", ".j2k"))

    @property
    def corrected(self) -> str:
        """Which of `SURFACE_CORRECTED` its key begins with; empty for none."""
        return next((p for p in SURFACE_CORRECTED if self.key.lower().startswith(p)), "")

    @property
    def rank(self) -> tuple[float, int, int]:
        """Of assets with the same band the first is taken: the finest, and rather a COG."""
        kind = 2 if self.jpeg2000 else 0
        if not kind and "cloud-optimized" not in self.media_type.lower():
            kind = 1
        made = SURFACE_CORRECTED.index(self.corrected) if self.corrected else 0
        return self._ground_sample(), kind, made

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
    called = [_common_name(text, identity.sensor) for text in called]
    known = [text for text in called if text.lower() in COMMON_NAMES]
    by_name = _parsed(known[0], identity.sensor) if known else None
    return _by_wavelength(asset, identity.sensor, by_name)


def _common_name(text: str, sensor: str | None) -> str:
    """Return the common name that a name of Digital Earth Australia means; others as they are."""
    text = text.lower()
    prefix = next((prefix for prefix in SURFACE_CORRECTED if text.startswith(prefix)), "")
    name = text.removeprefix(prefix)
    if sensor == "s2" and prefix and name in _CORRECTED_NAMES:
        return _CORRECTED_NAMES[name]
    return _OTHER_NAMES["s2" if sensor == "s2" else "landsat"].get(name, name)


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
    flag, applied = _applied(asset, properties)
    scale, offset = (
        asset.number(name) if asset.fields.get(name) is not None else asset.number(f"raster:{name}")
        for name in ("scale", "offset")
    )
    if scale is not None:
        key = "raster:bands" if "raster:bands" in asset.fields else "bands"
        source = f"{key} of the item"
        if _is_esa_band(asset, band, identity, dtype, scale):
            if applied:
                return LayerScaling(scale, 0.0, f"{source}; offset applied already ({flag})")
            if _is_shifted(identity) and (offset is None or (offset == 0 and applied is False)):
                why = f"{flag} is false, " if flag else ""
                return LayerScaling(scale, S2_OFFSET, f"{source}; {why}{_baseline(identity)}")
        said = from_gdal(scale, offset or 0.0, where=f"asset {asset.key}", source=source)
        if said.scale is not None:  # else it is what is meant where nothing is said
            return said
    if in_file.scale is not None:
        if not (
            _is_esa_band(asset, band, identity, dtype, in_file.scale) and _is_shifted(identity)
        ):
            return in_file
        return _as_in_file(in_file, identity, flag, applied)
    return _of_product(asset, band, identity, (flag, applied), dtype)


def _is_shifted(identity: Identity) -> bool:
    return (identity.baseline or (0, 0)) >= OFFSET_BASELINE


def _is_esa_band(
    asset: Asset, band: Band, identity: Identity, dtype: str, scale: float = S2_SCALE
) -> bool:
    """Whether numbers are ESA's own: those that others have made of them have no offset."""
    return (
        band.sensor == "s2"
        and is_esa_product(identity)
        and not asset.corrected
        and dtype in {"uint16", "int16"}
        and math.isclose(scale, S2_SCALE, rel_tol=1e-3)
    )


def _as_in_file(
    in_file: LayerScaling, identity: Identity, flag: str, applied: bool | None
) -> LayerScaling:
    """Return the scaling that a file says of numbers with an offset.

    GDAL cannot tell an offset of 0 from one that was forgotten. Where the item does not know
    either, the offset is None.
    """
    if in_file.offset or applied:
        return in_file
    if applied is None:
        return LayerScaling(in_file.scale, None, in_file.source)
    source = f"{in_file.source}; {flag} is false, {_baseline(identity)}"
    return LayerScaling(in_file.scale, S2_OFFSET, source)


def _of_product(
    asset: Asset, band: Band, identity: Identity, flag: tuple[str, bool | None], dtype: str
) -> LayerScaling:
    """Return the scaling that a product is known to have where nobody says it."""
    if dtype not in {"uint16", "int16"}:
        return LayerScaling()
    if asset.corrected:
        source = f"Digital Earth Australia's {asset.corrected}* (the item says none)"
        return LayerScaling(CORRECTED_SCALE, 0.0, source)
    if _is_esa_band(asset, band, identity, dtype):
        source = "Sentinel-2's quantification value (the item says none)"
        if flag[1]:
            return LayerScaling(S2_SCALE, 0.0, f"{source}; offset applied already ({flag[0]})")
        offset = S2_OFFSET if _is_shifted(identity) else 0.0
        return LayerScaling(S2_SCALE, offset, f"{source}; {_baseline(identity)}")
    landsat = identity.sensor in {"l5", "l7", "l8", "l9"} and identity.level == "L2"
    match = re.search(r"_02_(?:T1|T2|RT)_S([RT])_B\d\d?$", asset.stem)
    if landsat and match:
        factor, summand = LANDSAT_KELVIN if match[1] == "T" else (LANDSAT_SCALE, LANDSAT_OFFSET)
        return from_gdal(
            factor, summand, where=asset.key,
            source="Landsat Collection 2, level 2 (the item says none)",
        )  # fmt: skip
    return LayerScaling()


def is_esa_product(identity: Identity) -> bool:
    """Whether the numbers are those of ESA's product: then its baseline is known."""
    return identity.sensor == "s2" and identity.baseline is not None


def baseline_of(name: str, properties: Mapping[str, Any]) -> tuple[tuple[int, int], str] | None:
    """Return Sentinel-2's processing baseline, and which field says it.

    Everybody's `processing:version` is that of their own software; it is a baseline where the
    item is called after ESA's product.

    Args:
        name: The item's id.
        properties: Of the item.
    """
    for key in ("s2:processing_baseline", "sentinel:processing_baseline"):
        text = properties.get(key)
        if isinstance(text, str) and (match := re.fullmatch(r"(\d\d?)\.(\d\d?)", text.strip())):
            return (int(match[1]), int(match[2])), key
    called = [name, *(properties.get(key) for key in ("s2:product_uri", "sentinel:product_id"))]
    text = properties.get(key := "processing:version")
    if (
        any(isinstance(text, str) and _SENTINEL2_NAME.match(text) for text in called)
        and isinstance(text, str)
        and (match := re.fullmatch(r"(\d\d)\.(\d\d)", text.strip()))
    ):
        return (int(match[1]), int(match[2])), key
    return None


def _applied(asset: Asset, properties: Mapping[str, Any]) -> tuple[str, bool | None]:
    """Return the flag that says whether the offset is applied, and what it says.

    It is about the COGs that Earth Search makes. The JPEG 2000 files that its items link to beside
    them are ESA's own, which have the offset in them.

    Raises:
        SceneError: It is neither true nor false.
    """
    for flag in APPLIED_FLAGS:
        value = properties.get(flag)
        if value is None:
            continue
        if not isinstance(value, bool):
            raise SceneError(
                f"{asset.item}: {flag} is {value!r:.40}, neither true nor false. Mend the item."
            )
        return ("", None) if asset.jpeg2000 else (flag, value)
    return "", None


def _baseline(identity: Identity) -> str:
    if identity.baseline is None:
        return "no baseline known"
    shifted = identity.baseline >= OFFSET_BASELINE
    number = f"{identity.baseline[0]:02}.{identity.baseline[1]:02}"
    return f"offset {'-1000' if shifted else '0'} of baseline {number}"

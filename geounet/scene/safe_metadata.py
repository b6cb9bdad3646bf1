"""What the metadata files of a Sentinel-2 product say, in every layout of the format.

A product has metadata of its own (`MTD_MSIL2A.xml`: baseline, offsets, list of files) and some for
each granule, its tile (`MTD_TL.xml`: time and grid). Trees as the AWS archive has them keep the
second as `metadata.xml`, with `tileInfo.json` beside it, and often lack the first.
"""

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from xml.etree.ElementTree import Element, ParseError

from affine import Affine
from defusedxml.common import DefusedXmlException
from defusedxml.ElementTree import fromstring
from odc.geo.geobox import GeoBox

from geounet.bands import SENSORS
from geounet.errors import SceneError, reason

OFFSETS_SINCE = (4, 0)
"""Baseline from which numbers have an offset (2022-01-25), and metadata a list of them."""

BAND_NAMES = tuple(band.name for band in SENSORS["s2"])
"""In the order of `band_id`: 8 is B8A, 9 is B09."""

_LEVEL = re.compile(r"Level-(1C|2A)_(User_Product|Tile_ID)")
_TILE = re.compile(r"(?:^|_)T(\d\d[A-Z]{3})(?=_|\.|$)")
_TILE_BASELINE = re.compile(r"_N(\d\d)\.(\d\d)$")
_NAME = re.compile(
    r"S2[A-D]_MSIL(?:1C|2A)_(?P<start>\d{8}T\d{6})"
    r"(?:_N(?P<baseline>\d{4}))?_R(?P<orbit>\d{3})_T(?P<tile>\d\d[A-Z]{3})_\d{8}T\d{6}"
)
_GRANULE_NAME = re.compile(r"(?:^|/)L(?:1C|2A)_T(\d\d[A-Z]{3})_A\d{6}_(\d{8}T\d{6})(?:/|$)")
_QUANTIFICATION = {
    "L1C": ("QUANTIFICATION_VALUE",),
    "L2A": ("BOA_QUANTIFICATION_VALUE", "L2A_BOA_QUANTIFICATION_VALUE"),
}
_OFFSET = {"L1C": "RADIO_ADD_OFFSET", "L2A": "BOA_ADD_OFFSET"}
_IMAGES = {"IMAGE_FILE", "IMAGE_ID", "IMAGE_FILE_2A", "IMAGE_ID_2A"}


@dataclass(frozen=True)
class Document:
    """A metadata file."""

    name: str
    content: bytes = field(repr=False)
    place: str = ""
    """Where it lies, for errors; its name says it for records."""


@dataclass(frozen=True)
class SafeMetadata:
    """What is known of a granule; None or empty is: nobody says it."""

    name: str | None
    """Of the product: `S2A_MSIL2A_20190809T220921_N0213_R129_T01KCV_20190809T235948`."""
    level: str | None
    baseline: tuple[int, int] | None
    time: datetime | None
    """When the granule was sensed, UTC; the datatake began up to some minutes before."""
    tile: str | None
    orbit: int | None
    """Relative."""
    scale: float | None
    """1 / quantification value."""
    offsets: Mapping[str, float]
    """By band (`B8A`), in digital numbers, added before scaling."""
    nodata: float | None
    grids: Mapping[int, GeoBox]
    """By resolution in metres."""
    images: tuple[str, ...]
    """Files that the product should have, without folder and ending."""
    sources: Mapping[str, str]
    """Where each of these was found, by name of the field."""
    contradictions: tuple[str, ...] = ()
    """What names say otherwise."""

    @property
    def lacks_offsets(self) -> bool:
        """Whether there are offsets that nobody tells: the scale alone would be wrong."""
        return not self.offsets and self.baseline is not None and self.baseline >= OFFSETS_SINCE


def parse_safe_metadata(
    product: Document | None,
    granule: Document | None,
    *,
    tile_info: Document | None = None,
    folders: Sequence[str] = (),
) -> SafeMetadata:
    """Put together what the metadata files of one granule say, and else the names of its folders.

    Args:
        product: `MTD_MSIL1C.xml`, or what it is called.
        granule: `MTD_TL.xml`, likewise.
        tile_info: `tileInfo.json`, as AWS has it.
        folders: Names of the product's and the granule's folder.

    Raises:
        SceneError: One is not such a file, or says what cannot be.
    """
    facts = _Facts()
    xml = None if product is None else _Xml(product)
    if xml is not None:
        _read_product(facts, xml)
    if granule is not None:
        _read_granule(facts, _Xml(granule))
    if tile_info is not None:
        _read_tile_info(facts, tile_info)
    if name := facts.values.get("name"):
        _read_name(facts, name, facts.sources["name"])
    for folder in folders:
        _read_name(facts, folder, f"folder name {folder}")
    if xml is not None:  # last, for where nothing of the granule tells its time
        facts.add("time", _time(xml.text("DATATAKE_SENSING_START")), f"datatake in {xml.name}")
    values = facts.values
    images = values.get("images", ())
    of_tile = tuple(image for image in images if f"T{values.get('tile')}_" in image)
    return SafeMetadata(
        name=values.get("name"),
        level=values.get("level"),
        baseline=values.get("baseline"),
        time=values.get("time"),
        tile=values.get("tile"),
        orbit=values.get("orbit"),
        scale=values.get("scale"),
        offsets=values.get("offsets", {}),
        nodata=values.get("nodata"),
        grids=values.get("grids", {}),
        images=of_tile or images,
        sources=facts.sources,
        contradictions=tuple(facts.contradictions),
    )


class _Facts:
    """Facts with their sources; the first to say one counts."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}
        self.contradictions: list[str] = []

    def add(self, what: str, value: Any, source: str) -> None:
        """Keep a fact, unless it is None or known already."""
        if value is None:
            return
        if what == "baseline" and self.values.get(what, value) != value:
            self._contradict(value, source)
        if what not in self.values:
            self.values[what], self.sources[what] = value, source

    def _contradict(self, baseline: tuple[int, int], source: str) -> None:
        known, its_source = self.values["baseline"], self.sources["baseline"]
        self.contradictions.append(
            f"{its_source} says baseline {known[0]:02}.{known[1]:02}, the {source} "
            f"{baseline[0]:02}.{baseline[1]:02}"
        )
        if baseline > known and not self.values.get("offsets"):
            # Better to ask for an offset than to forget it.
            self.values["baseline"], self.sources["baseline"] = baseline, source


class _Xml:
    """An XML file, asked for elements by their names without namespaces."""

    def __init__(self, document: Document) -> None:
        self.name = document.name
        place = document.place or self.name
        try:
            self._root = fromstring(document.content, forbid_dtd=True)
        except DefusedXmlException as error:
            raise SceneError(
                f"{place} defines entities, which no Sentinel-2 metadata does. "
                "Download the product again, from a source you trust."
            ) from error
        except (ParseError, ValueError, LookupError, RecursionError) as error:
            raise SceneError(
                f"{place} is not valid XML ({reason(error)}). Download the product again."
            ) from error
        match = _LEVEL.fullmatch(_local(self._root))
        if match is None:
            raise SceneError(
                f"{place} is no metadata of Sentinel-2 level 1C or 2A: it begins with "
                f"<{_local(self._root)[:60]}>. Give a product of one of these levels."
            )
        self.level = f"L{match[1]}"
        self.is_product = match[2] == "User_Product"

    def all(self, *names: str, below: Element | None = None) -> Iterator[Element]:
        """Yield the elements called so."""
        top = self._root if below is None else below
        return (element for element in top.iter() if _local(element) in names)

    def text(self, *names: str, below: Element | None = None) -> str | None:
        """Return the text of the first element called so that has any."""
        texts = ((element.text or "").strip() for element in self.all(*names, below=below))
        return next(filter(None, texts), None)

    def number(self, *names: str, below: Element | None = None) -> float | None:
        """Return the number in the first element called so.

        Raises:
            SceneError: It is none.
        """
        text = self.text(*names, below=below)
        return None if text is None else self.as_number(text, names[0])

    def as_number(self, text: str | None, name: str) -> float:
        """Return a text as a number.

        Raises:
            SceneError: It is none.
        """
        try:
            value = float(text or "")
        except ValueError:
            value = math.nan
        if not math.isfinite(value):
            raise SceneError(
                f"{self.name} says {name} {(text or '')[:40]!r}, which is no number. "
                "Download the product again."
            )
        return value


def _local(element: Element) -> str:
    return element.tag.rpartition("}")[2]


def _read_product(facts: _Facts, xml: _Xml) -> None:
    if not xml.is_product:
        raise SceneError(f"{xml.name} is of a tile, where the product's metadata should be.")
    facts.add("level", xml.level, xml.name)
    uri = xml.text("PRODUCT_URI", "PRODUCT_URI_2A")
    if uri and re.fullmatch(r"[\w.-]{1,120}", uri, re.ASCII):  # it begins names of outputs
        facts.add("name", uri.removesuffix(".SAFE"), xml.name)
    facts.add("baseline", _baseline(xml.text("PROCESSING_BASELINE")), xml.name)
    facts.add("orbit", _orbit(xml.text("SENSING_ORBIT_NUMBER")), xml.name)
    quantification = xml.number(*_QUANTIFICATION[xml.level])
    if quantification is not None:
        if quantification <= 0:
            raise SceneError(f"{xml.name} says the impossible quantification {quantification}.")
        facts.add("scale", 1 / quantification, f"quantification value in {xml.name}")
    tag = _OFFSET[xml.level]
    offsets = dict[str, float]()
    for element in xml.all(tag):
        number = element.get("band_id", "")
        if not re.fullmatch(r"\d{1,2}", number, re.ASCII) or int(number) >= len(BAND_NAMES):
            raise SceneError(f"{xml.name} has a {tag} of the unknown band_id {number[:40]!r}.")
        offsets[BAND_NAMES[int(number)]] = xml.as_number(element.text, tag)
    facts.add("offsets", offsets or None, f"quantification value and {tag} in {xml.name}")
    for special in xml.all("Special_Values"):
        if xml.text("SPECIAL_VALUE_TEXT", below=special) == "NODATA":
            value = xml.number("SPECIAL_VALUE_INDEX", below=special)
            facts.add("nodata", value, f"special values in {xml.name}")
    images = [(element.text or "").strip().rpartition("/")[2] for element in xml.all(*_IMAGES)]
    facts.add("images", tuple(filter(None, images)) or None, xml.name)
    granules = {element.get("granuleIdentifier", "") for element in xml.all("Granule", "Granules")}
    if len(granules) == 1:  # of several, which one is meant is not for this file to say
        _read_tile_id(facts, granules.pop(), xml.name)


def _read_granule(facts: _Facts, xml: _Xml) -> None:
    if xml.is_product:
        raise SceneError(f"{xml.name} is of a product, where a tile's metadata should be.")
    facts.add("level", xml.level, xml.name)
    facts.add("time", _time(xml.text("SENSING_TIME")), f"SENSING_TIME in {xml.name}")
    if tile_id := xml.text("TILE_ID", "TILE_ID_2A"):
        _read_tile_id(facts, tile_id, xml.name)
    facts.add("grids", _grids(xml) or None, xml.name)


def _read_tile_id(facts: _Facts, text: str, source: str) -> None:
    if match := _TILE.search(text):
        facts.add("tile", match[1], source)
    if (match := _TILE_BASELINE.search(text)) and "baseline" not in facts.values:
        # Reprocessing by others keeps the identifier of the tile that it is made from.
        facts.add("baseline", (int(match[1]), int(match[2])), source)


def _grids(xml: _Xml) -> dict[int, GeoBox]:
    """Return the grids of a tile by resolution, as far as they make sense: rasters have theirs."""
    crs = (xml.text("HORIZONTAL_CS_CODE") or "").upper()
    if not re.fullmatch(r"EPSG:32[67]\d\d", crs):
        return {}
    sizes, places = (
        {element.get("resolution"): element for element in xml.all(name)}
        for name in ("Size", "Geoposition")
    )
    grids = dict[int, GeoBox]()
    for res in (10, 20, 60):
        size, place = sizes.get(str(res)), places.get(str(res))
        if size is None or place is None:
            continue
        height, width = (xml.number(name, below=size) for name in ("NROWS", "NCOLS"))
        x, y = (xml.number(name, below=place) for name in ("ULX", "ULY"))
        if height and width and x is not None and y is not None and min(height, width) >= 1:
            shape = int(height), int(width)
            grids[res] = GeoBox(shape, Affine(res, 0, x, 0, -res, y), crs)
    return grids


def _read_tile_info(facts: _Facts, document: Document) -> None:
    try:
        content = json.loads(document.content)
    except (ValueError, RecursionError) as error:
        raise SceneError(f"{document.name} is not valid JSON. Download it again.") from error
    if not isinstance(content, dict):
        return
    name, timestamp = content.get("productName"), content.get("timestamp")
    if isinstance(name, str) and _NAME.fullmatch(name):
        facts.add("name", name, document.name)
    if isinstance(timestamp, str):
        facts.add("time", _time(timestamp), document.name)


def _read_name(facts: _Facts, text: str, source: str) -> None:
    """Take what the name of a product or a granule tells."""
    if match := _NAME.search(text):
        name_source = source if source.startswith("folder") else f"product's name in {source}"
        facts.add("name", match[0], name_source)
        facts.add("level", "L1C" if "MSIL1C" in match[0] else "L2A", name_source)
        if digits := match["baseline"]:
            facts.add("baseline", (int(digits[:2]), int(digits[2:])), name_source)
        facts.add("orbit", _orbit(match["orbit"]), name_source)
        facts.add("tile", match["tile"], name_source)
    elif match := _GRANULE_NAME.search(text):
        facts.add("tile", match[1], source)
        facts.add("time", _time(match[2]), source)


def _baseline(text: str | None) -> tuple[int, int] | None:
    match = re.fullmatch(r"(\d\d)\.(\d\d)", text or "", re.ASCII)
    return (int(match[1]), int(match[2])) if match else None


def _orbit(text: str | None) -> int | None:
    if text is None or not re.fullmatch(r"\d{1,3}", text, re.ASCII):
        return None
    return int(text) if 1 <= int(text) <= 143 else None


def _time(text: str | None) -> datetime | None:
    try:
        time = datetime.fromisoformat(text or "")
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None

"""The clouds of Sentinel-2 L1C before baseline 04.00: polygons in GML, drawn on their pixels."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from xml.etree.ElementTree import Element, ParseError

import numpy as np
import shapely
from affine import Affine
from defusedxml import DefusedXmlException
from defusedxml.ElementTree import fromstring
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.features import rasterize

from geounet.errors import SceneError, reason

PIXEL_M = 60.0
"""The polygons are outlines of pixels of that size: masks are made from the 60 m bands."""
MOST_PIXELS = 4096
"""Along a side: a tile has 1830. More is no cloud mask."""
MOST_BYTES = 64 << 20
_EOP = "{http://www.opengis.net/eop/2.0}"
_GML = "{http://www.opengis.net/gml/3.2}"


def read_polygons(
    path: str, content: bytes | None, codes: Mapping[str, int]
) -> tuple[GeoBox | None, NDArray[np.uint8]]:
    """Draw the polygons of a `MSK_CLOUDS_B00.gml`.

    Args:
        path: Of the file, for messages and, without `content`, to be read.
        content: What is in it.
        codes: Type of a polygon (`OPAQUE`, `CIRRUS`) → value to draw; the first wins where two
            types overlap. Other types are passed over.

    Returns:
        A grid just large enough and the values on it, 1 where there is no polygon; None and no
        pixels where there are no polygons.

    Raises:
        SceneError: It cannot be read, or is no such file.
    """
    root = _parse(path, _content(path) if content is None else content)
    shapes = [
        (shape, codes[kind])
        for kind in codes
        for member in root.iter(f"{_EOP}MaskFeature")
        if _type_of(member) == kind
        for shape in _polygons(path, member)
    ]
    if not shapes:
        return None, np.ones((0, 0), dtype=np.uint8)
    left, bottom, right, top = shapely.total_bounds([shape for shape, _ in shapes])
    width, height = np.ceil(np.array([right - left, top - bottom]) / PIXEL_M - 1e-6)
    if not (0 < width <= MOST_PIXELS and 0 < height <= MOST_PIXELS):  # not with NaN either
        raise SceneError(
            f"{path} spans {right - left:.4g} × {top - bottom:.4g} m, which is no tile of "
            "Sentinel-2. Download it again, or give another mask by --cloud-mask."
        )
    transform = Affine(PIXEL_M, 0, left, 0, -PIXEL_M, top)
    shape = (int(height), int(width))
    drawn = rasterize(
        reversed(shapes), out_shape=shape, transform=transform, fill=1, dtype=np.uint8
    )
    return GeoBox(shape, transform, _crs(path, root)), drawn


def _content(path: str) -> bytes:
    try:
        with Path(path).open("rb") as file:
            content = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise SceneError(f"{path} cannot be read: {error.strerror}.") from None
    return content


def _parse(path: str, content: bytes) -> Element:
    if len(content) > MOST_BYTES:
        raise SceneError(f"{path} is larger than {MOST_BYTES >> 20} MiB: no cloud mask is.")
    try:
        root: Element = fromstring(content, forbid_dtd=True)
    except (ParseError, DefusedXmlException, ValueError, LookupError) as error:
        raise SceneError(
            f"{path} is no GML ({reason(error)}). Download the product again."
        ) from None
    return root


def _type_of(member: Element) -> str:
    return (member.findtext(f"{_EOP}maskType") or "").strip().upper()


def _polygons(path: str, member: Element) -> Iterator[shapely.Polygon]:
    for polygon in member.iter(f"{_GML}Polygon"):
        outer = [ring for part in polygon.iter(f"{_GML}exterior") for ring in _rings(path, part)]
        holes = [ring for part in polygon.iter(f"{_GML}interior") for ring in _rings(path, part)]
        for shell in outer[:1]:
            yield shapely.Polygon(shell, holes)


def _rings(path: str, part: Element) -> Iterator[NDArray[np.float64]]:
    """Yield the rings of a boundary, (n, 2), in metres."""
    for positions in part.iter(f"{_GML}posList"):
        try:
            numbers = np.array((positions.text or "").split(), dtype=np.float64)
            points = numbers.reshape(-1, int(positions.get("srsDimension", "2")))[:, :2]
        except (ValueError, ZeroDivisionError):
            points = np.empty((0, 2))
        if len(points) < 4 or points.shape[1] != 2 or not np.isfinite(points).all():
            raise SceneError(
                f"{path} has a polygon that is none. Download the product again, or give another "
                "mask by --cloud-mask."
            )
        yield points


def _crs(path: str, root: Element) -> str:
    """Return the CRS of the envelope: `urn:ogc:def:crs:EPSG:8.7:32701` is EPSG:32701."""
    for envelope in root.iter(f"{_GML}Envelope"):
        if found := re.fullmatch(r".*EPSG:.*?(\d{4,5})", envelope.get("srsName", "").strip()):
            return f"EPSG:{found[1]}"
    raise SceneError(
        f"{path} does not say its CRS. Download the product again, or give another mask by "
        "--cloud-mask."
    )

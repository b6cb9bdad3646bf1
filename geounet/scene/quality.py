"""Quality layers: what a product itself says of clouds, and how good that source is.

Products say it in many ways: classes (Sentinel-2's SCL), bits (Landsat's QA_PIXEL, BQA and
pixel_qa, QA60), masks (MSK_CLASSI_B00), polygons (MSK_CLOUDS_B00.gml). Past this module it is a
`CloudClass` for every pixel, on the layer's own grid.
"""

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geounet.errors import SceneError
from geounet.scene.cloud_polygons import read_polygons
from geounet.scene.grid import res_in_metres
from geounet.scene.raster import Handles, open_raster, read_or_say
from geounet.scene.remote import scrub, without_query

logger = logging.getLogger(__name__)

Codes = NDArray[np.uint8]
"""Values of `CloudClass`."""


class CloudClass(IntEnum):
    """What is above, or on, the ground of a pixel, as far as a quality layer knows."""

    UNKNOWN = 0
    CLEAR = 1
    """No cloud; whether land or water is not said."""
    CLEAR_LAND = 2
    CLEAR_WATER = 3
    CLOUD_MEDIUM = 4
    """Cloud of medium probability."""
    CLOUD_HIGH = 5
    """Cloud of high probability, or where a layer knows one kind only."""
    CIRRUS = 6
    SHADOW = 7
    SNOW = 8


Kind = Literal["mask", "scl", "qa_pixel", "pixel_qa", "bqa", "classi", "gml", "qa60"]

NAMES: tuple[tuple[Kind, str], ...] = (
    ("scl", r"SCL"),
    ("qa_pixel", r"QA_PIXEL"),
    ("pixel_qa", r"PIXEL_QA"),
    ("bqa", r"BQA"),
    ("classi", r"MSK_CLASSI(?:_B00)?"),
    ("gml", r"MSK_CLOUDS(?:_B00)?"),
    ("qa60", r"QA60"),
)
"""How layers are called, best first. A layer of classes is better than one of cloud and no cloud,
masks than polygons; QA60 is last because it is often empty or resampled."""

_NAME = {
    kind: re.compile(rf"(?:^|[^A-Z0-9]){text}(?:[_-]?[126]0M)?(?=$|[\s,;:().])", re.IGNORECASE)
    for kind, text in NAMES
}
_RANK = {"mask": -1} | {kind: rank for rank, (kind, _) in enumerate(NAMES)}


@dataclass(frozen=True)
class QualityCandidate:
    """A layer of a product that may say what is cloud."""

    name: str
    """As the product calls it: `SCL`, `T01KCV_…_SCL_20m`, `QA_PIXEL`, `MSK_CLOUDS_B00`."""
    path: str
    """What GDAL opens, or where the polygons are."""
    index: int = 1
    """In that file, from 1; `MSK_CLASSI_B00` has three from there on."""
    content: bytes | None = field(default=None, repr=False)
    """Of `MSK_CLOUDS_B00.gml`, where it is not a file of its own (but in a zip or tar)."""


@dataclass(frozen=True)
class QualityLayer:
    """Where a scene's clouds are said."""

    kind: Kind
    path: str
    index: int
    geobox: GeoBox | None
    """Its own grid; None for polygons of which there are none."""
    source: str
    """For people: `SCL (T01KCV_…_SCL_20m.jp2)`."""
    dtype: str = "uint8"
    nodata: float | None = None
    codes: Codes | None = field(default=None, repr=False, compare=False)
    """Of polygons, on `geobox`; they are small, and drawn once."""

    @property
    def knows_all(self) -> bool:
        """Whether what it does not cover is clear, as with polygons, and not unknown."""
        return self.kind == "gml"


def quality_kind(name: str) -> Kind | None:
    """Return which kind of layer a name is of; None for one that says nothing of clouds."""
    stem = name.strip()
    return next((kind for kind, pattern in _NAME.items() if pattern.search(stem)), None)


def choose_quality(candidates: Sequence[QualityCandidate]) -> QualityLayer | None:
    """Return the best layer there is, and the finest of its kind.

    A layer that cannot be read or placed is left out, and that is said.

    Args:
        candidates: Layers of a product; those that say nothing of clouds are passed over.
    """
    ranked: dict[Kind, list[QualityCandidate]] = {}
    for candidate in candidates:
        if (kind := quality_kind(candidate.name)) is not None:
            ranked.setdefault(kind, []).append(candidate)
    for kind in sorted(ranked, key=_RANK.__getitem__):
        layers = []
        for candidate in ranked[kind]:
            try:
                layers.append(_open_layer(kind, candidate))
            except SceneError as error:
                logger.warning("%s is not used: %s", candidate.name, scrub(str(error)))
        if layers:
            return min(layers, key=_pixel_area)
    return None


def open_mask(path: str) -> QualityLayer:
    """Return a user's own mask: cloud where it is not 0, unknown where it is nodata.

    Raises:
        SceneError: It is not a raster, or nobody knows where it lies.
    """
    return _open_layer("mask", QualityCandidate(name="--cloud-mask", path=path))


def _open_layer(kind: Kind, candidate: QualityCandidate) -> QualityLayer:
    shown = without_query(candidate.path)
    filename = Path(shown).name
    name = candidate.name if kind == "mask" else dict(NAMES)[kind].split("(", maxsplit=1)[0]
    source = f"{name} ({filename})"
    if kind == "gml":
        geobox, codes = read_polygons(candidate.path, candidate.content, _POLYGON_CODES)
        return QualityLayer(kind, candidate.path, 1, geobox, source, codes=codes)
    with open_raster(candidate.path) as dataset:
        if dataset.crs is None or dataset.transform.is_identity:
            raise SceneError(
                f"{shown} has no {'CRS' if dataset.crs is None else 'geotransform'}: "
                "nobody knows where its pixels lie. Add it: rio edit-info --crs EPSG:NUMBER "
                f"--transform '[A, B, C, D, E, F]' {shown}"
            )
        if not dataset.transform.determinant or not np.isfinite(dataset.transform).all():
            raise SceneError(
                f"{shown} has a geotransform that leads nowhere. Correct it: "
                f"rio edit-info --transform '[A, B, C, D, E, F]' {shown}"
            )
        last = candidate.index + (2 if kind == "classi" else 0)
        if last > dataset.count:
            raise SceneError(
                f"{shown} has {dataset.count} bands, and band {last} would be needed of a "
                f"{name}. Download it again, or give another by --cloud-mask."
            )
        geobox = GeoBox(dataset.shape, dataset.transform, dataset.crs)
        if not all(0 < side < np.inf for side in res_in_metres(geobox)):  # nor NaN
            raise SceneError(
                f"{shown} lies nowhere on Earth by its CRS and geotransform. Correct "
                f"them: rio edit-info --crs EPSG:NUMBER {shown}"
            )
        return QualityLayer(
            kind=kind,
            path=candidate.path,
            index=candidate.index,
            geobox=geobox,
            source=source,
            dtype=dataset.dtypes[candidate.index - 1],
            nodata=dataset.nodatavals[candidate.index - 1],
        )


_POLYGON_CODES = {"OPAQUE": CloudClass.CLOUD_HIGH, "CIRRUS": CloudClass.CIRRUS}


def _pixel_area(layer: QualityLayer) -> float:
    """Return the area of a pixel in square metres."""
    if layer.geobox is None:
        return 0.0
    width, height = res_in_metres(layer.geobox)
    return width * height


def why_useless(handles: Handles, layer: QualityLayer) -> str | None:
    """Return why a layer says nothing of clouds after all; None if it does.

    Bits survive no resampling. QA60 is empty in products of years, cloudy or not.

    Args:
        handles: Where the files are opened.
        layer: All of it is looked at if it is QA60; nothing is read otherwise.

    Raises:
        SceneError: It is damaged.
    """
    if layer.kind in ("mask", "gml"):
        return None
    if np.dtype(layer.dtype).kind not in "iu":
        return (
            f"{layer.source} is {layer.dtype}: it was resampled or converted, which its "
            f"{'classes' if layer.kind == 'scl' else 'bits'} do not survive"
        )
    return _why_qa60_useless(handles, layer) if layer.kind == "qa60" else None


def _why_qa60_useless(handles: Handles, layer: QualityLayer) -> str | None:
    any_bits = False
    for window in _squares(layer.geobox):
        values = read_values(handles, layer, window)[0]
        known = values[values != layer.nodata] if layer.nodata is not None else values.ravel()
        if (odd := known[~np.isin(known, QA60_VALUES)]).size:
            return (
                f"{layer.source} holds {odd[0]}, which is no combination of its bits 10 and 11: "
                "it was resampled"
            )
        any_bits = any_bits or bool((known != 0).any())
    if any_bits:
        return None
    return f"{layer.source} is 0 everywhere, which means unknown as often as clear"


def _squares(geobox: GeoBox | None, side: int = 2048) -> Iterator[Window]:
    """Cover a grid with windows."""
    height, width = geobox.shape if geobox is not None else (0, 0)
    for row in range(0, height, side):
        for col in range(0, width, side):
            yield Window(
                col_off=col,
                row_off=row,
                width=min(side, width - col),
                height=min(side, height - row),
            )


def read_values(handles: Handles, layer: QualityLayer, window: Window) -> NDArray[Any]:
    """Read what is in the file under a window that lies inside the layer, (bands, height, width).

    Raises:
        SceneError: The file is damaged there.
    """
    dataset = handles.get(layer.path, placed=True)
    bands = [layer.index + i for i in range(3 if layer.kind == "classi" else 1)]
    return read_or_say(layer.path, window, lambda: dataset.read(bands, window=window))


def read_own(handles: Handles, layer: QualityLayer, window: Window) -> Codes:
    """Read the classes under a window of the layer's own grid, which may reach beyond it.

    Returns:
        (height, width); beyond the layer unknown, or clear for polygons.

    Raises:
        SceneError: The file is damaged there.
    """
    beyond = CloudClass.CLEAR if layer.knows_all else CloudClass.UNKNOWN
    result = np.full((int(window.height), int(window.width)), beyond, dtype=np.uint8)
    if layer.geobox is None:
        return result
    height, width = layer.geobox.shape
    (top, bottom), (left, right) = window.toranges()
    rows = slice(max(top, 0), min(bottom, height))
    cols = slice(max(left, 0), min(right, width))
    if rows.start >= rows.stop or cols.start >= cols.stop:
        return result
    if layer.codes is not None:
        inside = layer.codes[rows, cols]
    else:
        part = Window.from_slices((rows.start, rows.stop), (cols.start, cols.stop))
        values = read_values(handles, layer, part)
        inside = CLASSES[layer.kind](values)
        if layer.kind == "mask":
            data = handles.get(layer.path, placed=True).read_masks(layer.index, window=part) != 0
            inside[~data | ~np.isfinite(values[0])] = CloudClass.UNKNOWN
        elif layer.nodata is not None:
            inside[values[0] == layer.nodata] = CloudClass.UNKNOWN
    result[rows.start - top : rows.stop - top, cols.start - left : cols.stop - left] = inside
    return result


SCL = np.full(256, CloudClass.UNKNOWN, dtype=np.uint8)
"""Sen2Cor's classes: 0 no data and 1 saturated or defective are unknown; 2 is dark ground, 7 was
"cloud of low probability" once and is "unclassified" now: surf and turbid water, mostly."""
SCL[2:12] = (
    *(CloudClass.CLEAR, CloudClass.SHADOW, CloudClass.CLEAR_LAND, CloudClass.CLEAR_LAND),
    *(CloudClass.CLEAR_WATER, CloudClass.CLEAR, CloudClass.CLOUD_MEDIUM, CloudClass.CLOUD_HIGH),
    *(CloudClass.CIRRUS, CloudClass.SNOW),
)
QA60_VALUES = (0, 1 << 10, 1 << 11, 1 << 10 | 1 << 11)
"""Opaque cloud is bit 10, cirrus bit 11; there are no others."""


def _from_scl(values: NDArray[Any]) -> Codes:
    return SCL[np.where((values[0] >= 0) & (values[0] < 256), values[0], 0).astype(np.uint8)]


def _from_qa60(values: NDArray[Any]) -> Codes:
    return _first_of(
        values.shape[1:],
        (_bits(values[0], 10) == 1, CloudClass.CLOUD_HIGH),
        (_bits(values[0], 11) == 1, CloudClass.CIRRUS),
    )


def _from_classi(values: NDArray[Any]) -> Codes:
    """Opaque cloud, cirrus, snow: a band each, 1 where it is."""
    opaque, cirrus, snow = values
    return _first_of(
        opaque.shape,
        (opaque > 0, CloudClass.CLOUD_HIGH),
        (cirrus > 0, CloudClass.CIRRUS),
        (snow > 0, CloudClass.SNOW),
    )


def _from_mask(values: NDArray[Any]) -> Codes:
    return _first_of(values.shape[1:], (values[0] != 0, CloudClass.CLOUD_HIGH))


HIGH, MEDIUM = 3, 2
"""Landsat's confidence, two bits."""


def _from_qa_pixel(values: NDArray[Any]) -> Codes:
    """Landsat Collection 2. Bit 1, "dilated cloud", is a margin and no cloud.

    References:
        USGS, LSDS-1619, Landsat 8-9 Collection 2 Level 2 Science Product Guide, table 6-3.
    """
    qa = values[0]
    return _first_of(
        qa.shape,
        (_bits(qa, 0) == 1, CloudClass.UNKNOWN),  # fill
        ((_bits(qa, 3) == 1) | (_bits(qa, 8, 2) == HIGH), CloudClass.CLOUD_HIGH),
        (_bits(qa, 8, 2) == MEDIUM, CloudClass.CLOUD_MEDIUM),
        ((_bits(qa, 2) == 1) | (_bits(qa, 14, 2) == HIGH), CloudClass.CIRRUS),
        (_bits(qa, 4) == 1, CloudClass.SHADOW),
        (_bits(qa, 5) == 1, CloudClass.SNOW),
        (_bits(qa, 7) == 1, CloudClass.CLEAR_WATER),
        otherwise=CloudClass.CLEAR_LAND,
    )


def _from_pixel_qa(values: NDArray[Any]) -> Codes:
    """Landsat Collection 1, level 2.

    References:
        USGS, LSDS-1368, Landsat 8 Surface Reflectance Code (LaSRC) Product Guide, table 7-4.
    """
    qa = values[0]
    return _first_of(
        qa.shape,
        (_bits(qa, 0) == 1, CloudClass.UNKNOWN),
        ((_bits(qa, 5) == 1) | (_bits(qa, 6, 2) == HIGH), CloudClass.CLOUD_HIGH),
        (_bits(qa, 6, 2) == MEDIUM, CloudClass.CLOUD_MEDIUM),
        (_bits(qa, 8, 2) == HIGH, CloudClass.CIRRUS),
        (_bits(qa, 3) == 1, CloudClass.SHADOW),
        (_bits(qa, 4) == 1, CloudClass.SNOW),
        (_bits(qa, 2) == 1, CloudClass.CLEAR_WATER),
        otherwise=CloudClass.CLEAR_LAND,
    )


def _from_bqa(values: NDArray[Any]) -> Codes:
    """Landsat Collection 1, level 1, which knows no water.

    References:
        USGS, LSDS-1656, Landsat Collection 1 Level 1 Quality Assessment Band.
    """
    qa = values[0]
    return _first_of(
        qa.shape,
        (_bits(qa, 0) == 1, CloudClass.UNKNOWN),
        ((_bits(qa, 4) == 1) | (_bits(qa, 5, 2) == HIGH), CloudClass.CLOUD_HIGH),
        (_bits(qa, 5, 2) == MEDIUM, CloudClass.CLOUD_MEDIUM),
        (_bits(qa, 11, 2) == HIGH, CloudClass.CIRRUS),
        (_bits(qa, 7, 2) == HIGH, CloudClass.SHADOW),
        (_bits(qa, 9, 2) == HIGH, CloudClass.SNOW),
    )


CLASSES: dict[Kind, Callable[[NDArray[Any]], Codes]] = {
    "mask": _from_mask,
    "scl": _from_scl,
    "qa_pixel": _from_qa_pixel,
    "pixel_qa": _from_pixel_qa,
    "bqa": _from_bqa,
    "classi": _from_classi,
    "qa60": _from_qa60,
}
"""Values (bands, height, width) → classes."""


def _bits(values: NDArray[Any], first: int, count: int = 1) -> NDArray[Any]:
    """Return some bits of integers as numbers, the lowest being bit 0."""
    return (values.astype(np.int64) >> first) & ((1 << count) - 1)


def _first_of(
    shape: tuple[int, ...],
    *rules: tuple[NDArray[np.bool_], CloudClass],
    otherwise: CloudClass = CloudClass.CLEAR,
) -> Codes:
    """Return for each pixel the class of the first rule that holds."""
    result = np.full(shape, otherwise, dtype=np.uint8)
    for where, code in reversed(rules):
        result[where] = code
    return result

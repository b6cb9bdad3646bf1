"""STAC items: an acquisition as a JSON document that links to one raster for each band."""

import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from math import isnan
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from pystac.utils import make_absolute_href

from geounet.bands import SENSORS, Band, is_quality
from geounet.errors import BandError, SceneError
from geounet.scene import names
from geounet.scene.product import (
    Identity,
    Product,
    SceneOptions,
    choose_bands,
    identify,
    layer_of,
    nodata_source,
)
from geounet.scene.quality import QualityCandidate, QualityLayer, choose_quality, quality_kind
from geounet.scene.raster import Layer, is_there, open_raster
from geounet.scene.reflectance import from_gdal
from geounet.scene.remote import is_remote, scrub, to_gdal, without_query
from geounet.scene.stac_assets import (
    Asset,
    band_of,
    baseline_of,
    is_esa_product,
    raster_assets,
    scaling_of,
)
from geounet.scene.stac_documents import (
    Item,
    expand_sources,
    find_item,
    is_stac,
)

__all__ = ["expand_sources", "is_stac", "read_item"]

logger = logging.getLogger(__name__)


def read_item(source: str, options: SceneOptions) -> Product:
    """Find out what a STAC item holds.

    Args:
        source: Path or address of an item, or `items.json#ID` for one of a collection of items.
        options: What the user says about it.

    Raises:
        BandError: None of its assets is a band, or `--bands` asks for one that is not there.
        SceneError: It is not an item, or an asset cannot be read.
    """
    item = find_item(source)
    parts = raster_assets(item.assets, source)
    identity = _identity(item, options, parts)
    named, left_out = _bands(item, parts, identity, options)
    bands = dict(enumerate(band for _, band in named))
    chosen = choose_bands(bands, _with_keys_named(options, named), source)
    links = _Links(item)
    layers, drivers = list[Layer](), list[str]()
    for i, band in chosen.items():
        layer, driver = _layer(named[i][0], band, item, identity, options, links)
        layers.append(layer)
        drivers.append(driver)
    taken = [named[i][0] for i in chosen]
    return Product(
        name=names.safe_name(item.id),
        source=source,
        kind="stac",
        layers=tuple(layers),
        options=options,
        driver=drivers[0],
        identity=identity,
        left_out=left_out,
        sources={"bands": "assets of the item", "nodata": _nodata_source(layers, taken, options)},
        notes=(*links.notes, *_nodata_notes(layers, taken, options, source)),
        quality=_quality(parts, links),
    )


def _identity(item: Item, options: SceneOptions, parts: Sequence[Asset]) -> Identity:
    """Return who took an item and when: by its fields, then by the names in it."""
    keys = ("s2:product_uri", "sentinel:product_id", "landsat:product_id", "platform")
    fields = {key: item.properties.get(key) for key in (*keys, "eo:platform", "constellation")}
    texts = {"id": item.id} | fields | {"collection": item.collection}
    called = [
        names.NamePart(text, f"{key} of the item", own=True)
        for key, text in texts.items()
        if isinstance(text, str)
    ]
    written = [text for part in parts if isinstance(text := part.fields.get("name"), str)]
    found = identify(called, {}, options, [*written, *(part.key for part in parts)])
    sources = dict(found.sources)
    level = found.level
    if level is None and (said := _level(item, found.sensor, parts)):
        level, sources["level"] = said
    sources.pop("date", None)
    sources.pop("time", None)
    if item.time is not None:
        sources["time"] = item.time_source
    baseline = found.baseline
    if found.sensor == "s2" and (based := baseline_of(item.id, item.properties)):
        baseline, sources["baseline"] = based[0], f"{based[1]} of the item"
    return replace(
        found,
        level=level,
        time=item.time,
        date=None if item.time is None else item.time.date(),
        baseline=baseline,
        tile=_tile(item),
        orbit=_orbit(item),
        sources=sources,
    )


def _level(item: Item, sensor: str | None, parts: Sequence[Asset]) -> tuple[str, str] | None:
    """Return the processing level that fields other than names tell of."""
    keys = ("s2:product_type", "product:type", "processing:level", "landsat:correction")
    texts = {key: item.properties.get(key) for key in keys} | {"collection": item.collection}
    for key, text in texts.items():
        if not isinstance(text, str):
            continue
        if sensor == "s2" and (match := re.search(r"(?i)(?<![a-z0-9])(?:S2MSI|L)(1C|2A)", text)):
            return f"L{match[1].upper()}", f"{key} of the item"
        if sensor in {"l5", "l7", "l8", "l9"} and (
            match := re.match(r"(?i)L([12])|.*c2-?l([12])", text)
        ):
            return f"L{match[1] or match[2]}", f"{key} of the item"
    if sensor and (corrected := [part.key for part in parts if part.corrected]):
        return "L2A" if sensor == "s2" else "L2", f"asset {corrected[0]} of the item"
    return None


def _tile(item: Item) -> str | None:
    """Return the tile of Sentinel-2's grid, or Landsat's path and row."""

    def of(key: str) -> str:
        value = item.properties.get(key)
        whole = isinstance(value, int) and not isinstance(value, bool)
        return value if isinstance(value, str) else str(value) if whole else ""

    path, row = of("landsat:wrs_path"), of("landsat:wrs_row")
    if path.isdecimal() and row.isdecimal():
        return f"{int(path):03}{int(row):03}"
    for prefix in ("mgrs", "sentinel"):
        zone, band, square = (
            of(f"{prefix}:{part}") for part in ("utm_zone", "latitude_band", "grid_square")
        )
        if zone.isdecimal() and band and square:
            return f"{int(zone):02}{band}{square}"
    for text in (of("s2:mgrs_tile"), of("grid:code"), of("s2:product_uri"), item.id):
        if match := re.search(r"(?:^|[-_]T?)(\d\d[C-X][A-Z]{2})(?=$|_)", text):
            return match[1]
    return None


def _orbit(item: Item) -> int | None:
    orbit = item.properties.get("sat:relative_orbit")
    if isinstance(orbit, int) and not isinstance(orbit, bool):
        return orbit
    for text in (item.properties.get(k) for k in ("s2:product_uri", "sentinel:product_id")):
        if isinstance(text, str) and (match := re.search(r"_R(\d{3})_", text)):
            return int(match[1])
    return None


def _bands(
    item: Item, parts: Sequence[Asset], identity: Identity, options: SceneOptions
) -> tuple[list[tuple[Asset, Band]], tuple[tuple[str, str], ...]]:
    """Return assets with their bands, in the sensor's order, and what is left out and why.

    Raises:
        BandError: None is a band, or the sensor is not known.
    """
    best: dict[str, tuple[Asset, Band]] = {}
    left_out = list[tuple[str, str]]()
    asked = {name.lower() for name in options.bands or ()}
    # A file of several bands is taken where there is none of each.
    for part in sorted(parts, key=lambda part: (part.several, part.rank)):
        if why := _why_not(part):
            left_out.append((part.key, why))
            continue
        try:
            band = band_of(part, identity)
        except BandError as error:
            raise BandError(f"{item.source}: {error}") from error
        if band is None and part.key.lower() in asked and not part.several:
            band = Band(name=part.key, sensor=None, wavelength_nm=None, common_name=None)
        if band is None:
            left_out.append((part.key, "none of the sensor's bands"))
        elif band.id in best:
            left_out.append((part.key, f"{band.name} is taken from {best[band.id][0].key}"))
        else:
            best[band.id] = part, band
    if not best:
        there = ", ".join(list(item.assets)[:8]) or "none"
        raise BandError(
            f"{item.source} has no asset that is known as a band; its assets: {there}. "
            "Give the sensor with --sensor, or one of its rasters as a scene."
        )
    return sorted(best.values(), key=_sensor_order), tuple(dict.fromkeys(left_out))


def _with_keys_named(options: SceneOptions, named: Sequence[tuple[Asset, Band]]) -> SceneOptions:
    """Return options in which `--bands` has a band's name in place of its asset's key."""
    if options.bands is None:
        return options
    keys = {asset.key.lower(): band.id for asset, band in named if not asset.several}
    return replace(options, bands=tuple(keys.get(b.lower(), b) for b in options.bands))


def _why_not(part: Asset) -> str:
    if part.picture:
        return "a picture"
    return "quality band" if part.quality else ""


def _sensor_order(named: tuple[Asset, Band]) -> int:
    band = named[1]
    order = [known.name for known in SENSORS.get(band.sensor or "", ())]
    return order.index(band.name) if band.name in order else len(order)


class _Links:
    """Opens assets, at another address where the first does not do."""

    def __init__(self, item: Item) -> None:
        self._item = item
        self._first = 0
        """Which link of an asset is tried first."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of it."""
        return ("assets are read from their alternate links",) if self._first else ()

    def paths(self, asset: Asset) -> dict[int, str]:
        """Return what GDAL may open for an asset, by the number of the link, the best first.

        Raises:
            SceneError: It links to nothing that is read.
        """
        hrefs = [asset.href, *asset.alternates]
        found = {i: path for i, href in enumerate(hrefs) if (path := self._path(href))}
        if not found:
            raise SceneError(
                f"Asset {asset.key} of {self._item.source} links to {scrub(asset.href)[:100]}, "
                "which is no address that is read. Leave it out with --bands, or download it."
            )
        return dict(sorted(found.items(), key=lambda link: link[0] != self._first))

    def _path(self, href: str) -> str | None:
        """Return what GDAL opens for a link, from where the item is; None for what is no file."""
        place, own = self._item.place, self._item.self_href
        try:
            path = to_gdal(make_absolute_href(href.strip(), place, start_is_dir=False))
            elsewhere = own and to_gdal(make_absolute_href(href.strip(), own, start_is_dir=False))
        except ValueError:  # "http://["
            return None
        if is_remote(path):
            return path
        # An item from the net has no business with files here; GDAL's own ways of naming data
        # (NETCDF:…, <VRTDataset>…) are no links.
        if is_remote(place) or re.match(r"[A-Za-z][\w+.-]+:|<|/vsi", path):
            return None
        # In a catalogue's links a space is %20, as in addresses; in a file's name it may be either.
        if not is_there(path) and is_there(unquote(path)):
            return unquote(path)
        # An item may have been downloaded without what it links to, but not without a part of it.
        if elsewhere and is_remote(elsewhere) and not is_there(path) and not self._downloaded:
            return elsewhere
        return path

    @cached_property
    def _downloaded(self) -> bool:
        """Whether a raster that the item links to lies beside it."""
        folder = Path(self._item.place).parent
        links = [str(asset["href"]).strip() for asset in self._item.assets.values()]
        rasters = [link for link in links if re.search(r"(?i)\.(?:tiff?|jp2)$", link)]
        return any(is_there(str(folder / link)) for link in rasters if not is_remote(link))

    def open(self, asset: Asset) -> Any:
        """Return the asset's raster, opened.

        Raises:
            SceneError: None of its links can be opened; it says why the first cannot.
        """
        errors = list[SceneError]()
        for i, path in self.paths(asset).items():
            if not is_remote(path) and not is_there(path):
                errors.append(
                    SceneError(
                        f"{path} is not there: asset {asset.key} of {self._item.source} links to "
                        "it. Put it there, or leave the band out with --bands."
                    )
                )
                continue
            try:
                dataset = open_raster(path)
            except SceneError as error:
                errors.append(error)
                continue
            self._first = i
            return dataset
        raise errors[0]


def _layer(
    asset: Asset,
    band: Band,
    item: Item,
    identity: Identity,
    options: SceneOptions,
    links: _Links,
) -> tuple[Layer, str]:
    """Return the layer of a band, and the driver that reads its file."""
    with links.open(asset) as dataset:
        if asset.index > dataset.count:
            raise SceneError(
                f"{without_query(dataset.name)} has {dataset.count} bands, but the item says "
                f"{asset.index}."
            )
        i = asset.index - 1
        shown = without_query(dataset.name)
        in_file = from_gdal(dataset.scales[i], dataset.offsets[i], where=shown)
        scaling = scaling_of(asset, band, identity, item.properties, in_file, dataset.dtypes[i])
        if scaling.scale is not None and scaling.offset is None and options.offset is None:
            raise SceneError(
                f"{item.source} is of a baseline whose numbers have an offset, and "
                f"{without_query(dataset.name)} "
                "has a scale without one. Give --offset -1000, or --offset 0 if it is taken off "
                "already."
            )
        # Items are written from a template; what fills up a file was put there by who wrote it.
        nodata = asset.nodata() if dataset.nodatavals[i] is None else dataset.nodatavals[i]
        integers = np.dtype(dataset.dtypes[i]).kind in "iu"
        if nodata is None and integers and band.sensor == "s2" and not asset.corrected:
            nodata = 0.0 if is_esa_product(identity) else None
        layer = layer_of(dataset, asset.index, band, scaling=scaling, nodata=nodata)
        return layer, dataset.driver


def _odd_nodata(layers: Sequence[Layer], assets: Sequence[Asset]) -> dict[str, str]:
    """Return what is to be said of bands whose file has another nodata than the item says."""
    odd = dict[str, list[str]]()
    for layer, asset in zip(layers, assets, strict=True):
        said, taken = asset.nodata(), layer.nodata
        if said is None or taken is None or said == taken or (isnan(said) and isnan(taken)):
            continue
        odd.setdefault(f"{said:g} where the file's is {taken:g}", []).append(layer.band.name)
    return {", ".join(bands): said for said, bands in odd.items()}


def _nodata_notes(
    layers: Sequence[Layer], assets: Sequence[Asset], options: SceneOptions, source: str
) -> tuple[str, ...]:
    if options.nodata is not None:
        return ()
    notes = tuple(
        f"nodata of {bands} is said by the item to be {said}; the file's is taken"
        for bands, said in _odd_nodata(layers, assets).items()
    )
    for note in notes:
        logger.warning("%s: %s. Give --nodata if the other is meant", without_query(source), note)
    return notes


def _nodata_source(layers: Sequence[Layer], assets: Sequence[Asset], options: SceneOptions) -> str:
    said = options.nodata is None and any(asset.nodata() is not None for asset in assets)
    if said and not _odd_nodata(layers, assets):
        return "raster:bands of the item"
    return nodata_source(layers, options)


def _quality(parts: Sequence[Asset], links: _Links) -> QualityLayer | None:
    """Return the item's layer of clouds."""
    best: dict[str, QualityCandidate] = {}
    for part in sorted(parts, key=lambda part: part.rank):
        name = part.stem if is_quality(part.stem) else part.key
        kind = quality_kind(name)
        # The same layer again, at another resolution or in another format, is not asked for.
        if kind is None or kind in best or part.picture or part.several:
            continue
        try:
            path = next(iter(links.paths(part).values()))
        except SceneError as error:
            logger.warning("%s", error)
            continue
        best[kind] = QualityCandidate(name, path, part.index)
    return choose_quality(list(best.values()))

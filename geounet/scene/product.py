"""What every kind of scene is brought to: layers on one grid, and who took them when.

A reader for a kind of product (one file, a folder, and those to come) returns a `Product`;
`open_scene` makes a `Scene` of it.
"""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from typing import Self, TypeVar

import rasterio
from odc.geo.geobox import GeoBox

from geounet.bands import LEVELS, Band, find_band, parse_level, parse_sensor
from geounet.errors import BandError, SceneError
from geounet.scene import names
from geounet.scene.clouds import CloudOptions
from geounet.scene.grid import finest_grid
from geounet.scene.quality import QualityLayer
from geounet.scene.raster import Layer, mask_of
from geounet.scene.reflectance import LayerScaling, from_gdal

logger = logging.getLogger(__name__)

K = TypeVar("K")

FARTHEST = 1e12
"""Of coordinates, in units of the CRS; the Earth is 4e7 metres around."""
MOST_DEGREES = 720
"""Of longitudes that some count on beyond 360."""


@dataclass(frozen=True)
class SceneOptions:
    """What the user says about a scene; None is: find out."""

    bands: tuple[str, ...] | None = None
    """Of one file: a name for every band, in its order; `-` leaves one out. Of a product whose
    bands have names: those to take."""
    sensor: str | None = None
    level: str | None = None
    scale: float | None = None
    offset: float | None = None
    """In digital numbers, added before scaling."""
    nodata: float | None = None
    res: float | None = None
    """Side of a pixel of the grid that all bands are brought to, in units of the CRS; None is the
    finest band's."""
    clouds: CloudOptions = CloudOptions()  # noqa: RUF009  frozen
    origins: tuple[tuple[str, str], ...] = ()
    """Facts above that are no command-line options, each with what it is from."""

    def __post_init__(self) -> None:
        if self.scale is not None and not (math.isfinite(self.scale) and self.scale > 0):
            raise SceneError(f"{self.origin('scale')} {self.scale} is not a positive number.")
        if self.res is not None and not (math.isfinite(self.res) and self.res > 0):
            raise SceneError(f"--res {self.res} is not a positive number.")
        if self.offset is not None and not math.isfinite(self.offset):
            raise SceneError(f"{self.origin('offset')} {self.offset} is not a number.")

    def origin(self, fact: str) -> str:
        """Return, for people, where a fact is from: `--scale`."""
        return dict(self.origins).get(fact, f"--{fact}")

    @classmethod
    def from_text(
        cls,
        *,
        bands: str | None,
        sensor: str | None,
        level: str | None,
        scale: float | None,
        offset: float | None,
        nodata: str | None,
        res: float | None = None,
        clouds: CloudOptions = CloudOptions(),  # noqa: B008  frozen
    ) -> Self:
        """Return the options as the command line has them.

        Raises:
            BandError: There is no such sensor or level, or a band has an empty name.
            SceneError: A number is none, or makes no sense.
        """
        names_given = None if bands is None else tuple(name.strip() for name in bands.split(","))
        if names_given is not None and "" in names_given:
            raise BandError(f"--bands {bands} has an empty name. Use - for a band to leave out.")
        try:
            value = None if nodata is None else float(nodata)
        except ValueError:
            raise SceneError(f"--nodata {nodata} is not a number; nan is one.") from None
        key = None if sensor is None else parse_sensor(sensor)
        return cls(
            bands=names_given,
            sensor=key,
            level=None if level is None else parse_level(level, key),
            scale=scale,
            offset=offset,
            nodata=value,
            res=res,
            clouds=clouds,
        )


@dataclass(frozen=True)
class Identity:
    """Who took a scene and when, as far as that is known."""

    sensor: str | None
    level: str | None
    time: datetime | None
    """UTC."""
    date: date | None
    """Known also where the time of day is not."""
    baseline: tuple[int, int] | None
    """Sentinel-2's processing baseline."""
    sources: Mapping[str, str]
    """Where each of these was found."""
    tile: str | None = None
    """Of Sentinel-2's grid, `30TXR`, or Landsat's path and row, `204052`."""
    orbit: int | None = None
    """Relative orbit of Sentinel-2."""


@dataclass(frozen=True)
class Product:
    """A scene on disk, understood but not yet read."""

    name: str
    """Safe as the beginning of file names."""
    source: str
    """As the user gave it: a path, a URL, `items.json#ID`."""
    kind: str
    """`file`, `folder`, `yaml`, `safe`, `stac` or `landsat`."""
    layers: tuple[Layer, ...]
    options: SceneOptions
    """What the user says, by the command line or a YAML file."""
    driver: str
    """GDAL's, of its first file."""
    identity: Identity
    left_out: tuple[tuple[str, str], ...] = ()
    """Bands or files that are not taken, and why."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where names, scaling and nodata were found."""
    notes: tuple[str, ...] = ()
    """What was put right on the way, and said."""
    quality: QualityLayer | None = None
    """What it says of clouds."""


def identify(
    parts: Sequence[names.NamePart],
    tags: Mapping[str, str],
    options: SceneOptions,
    band_names: Iterable[str],
) -> Identity:
    """Find out who took a scene and when.

    What the user says counts most; a contradiction by the file is said.

    Args:
        parts: Names that may tell of it.
        tags: Of its first file, those of the IMAGERY domain included.
        options: What the user says.
        band_names: As they are written, because B8A is on Sentinel-2 only.
    """
    sources: dict[str, str] = {}
    found = names.find_sensor(tags, parts)
    if found is None and any(name.upper() in {"B8A", "B08A"} for name in band_names):
        found = names.Found("s2", "band name B8A")
    sensor, sources["sensor"] = settle("sensor", options, found, parts[0].text)
    found = names.find_level(tags, parts)
    if found and sensor and found.value not in LEVELS[sensor]:
        found = None
    level, sources["level"] = settle("level", options, found, parts[0].text)
    if level is not None:
        level = parse_level(level, sensor)
    when = names.find_time(tags, parts)
    if when is not None:
        sources["time" if isinstance(when[0], datetime) else "date"] = when[1]
    moment = when[0] if when else None
    return Identity(
        sensor=sensor,
        level=level,
        time=moment if isinstance(moment, datetime) else None,
        date=moment.date() if isinstance(moment, datetime) else moment,
        baseline=names.find_baseline(parts) if sensor == "s2" else None,
        sources=sources,
    )


def settle(
    what: str, options: SceneOptions, found: names.Found | None, where: str
) -> tuple[str | None, str]:
    """Return what the user said, else what was found; and where it is from.

    Args:
        what: `sensor` or `level`.
        options: What the user says; that something else was found is said.
        found: In the product.
        where: The product, for the warning.
    """
    said: str | None = getattr(options, what)
    if said is not None:
        if found is not None and found.value != said:
            logger.warning(
                "%s: %s %s is taken, although the %s says %s",
                *(where, options.origin(what), said, found.source, found.value),
            )
        return said, options.origin(what)
    return (found.value, found.source) if found else (None, "not known")


def tags_of(dataset: rasterio.DatasetReader) -> dict[str, str]:
    """Return the tags of a file, those of GDAL's IMAGERY domain included."""
    return {**dataset.tags(), **dataset.tags(ns="IMAGERY")}


def layer_of(
    dataset: rasterio.DatasetReader,
    index: int,
    band: Band,
    *,
    geobox: GeoBox | None = None,
    scaling: LayerScaling | None = None,
    nodata: float | None = None,
) -> Layer:
    """Return what is known of one band of a file.

    Args:
        dataset: The file.
        index: Of the band in it, from 1.
        band: Which it is.
        geobox: Its grid, where the file itself does not say it.
        scaling: What the product says; None takes the file's word.
        nodata: Likewise.

    Raises:
        SceneError: It says nowhere where it lies, declares a scale of zero, or holds complex
            numbers.
    """
    dtype = dataset.dtypes[index - 1]
    if dtype.startswith("complex"):
        raise SceneError(f"{dataset.name} holds complex numbers, which are no reflectance.")
    if nodata is None:
        nodata = dataset.nodatavals[index - 1]
    if scaling is None:
        scaling = from_gdal(
            dataset.scales[index - 1], dataset.offsets[index - 1], where=dataset.name
        )
        if scaling.offset == 0:  # which GDAL says where nothing is said
            scaling = replace(scaling, offset=None)
    return Layer(
        band=band,
        path=dataset.name,
        index=index,
        dtype=dtype,
        nodata=nodata,
        mask=mask_of(dataset, index),
        placed=not dataset.transform.is_identity,
        scaling=scaling,
        geobox=geobox_of(dataset) if geobox is None else geobox,
        blocksize=dataset.block_shapes[index - 1],
    )


def geobox_of(dataset: rasterio.DatasetReader) -> GeoBox:
    """Return the grid of a file.

    Raises:
        SceneError: It has no CRS or no geotransform, or one that makes no grid.
    """
    if dataset.transform.is_identity:
        if dataset.gcps[0]:
            raise SceneError(
                f"{dataset.name} has ground control points instead of a geotransform. "
                f"Bring it to a grid: rio warp {dataset.name} OUT.tif --dst-crs EPSG:NUMBER"
            )
        raise SceneError(
            f"{dataset.name} has no geotransform: nobody knows where its pixels lie. Add the one "
            f"it has: rio edit-info --transform '[A, B, C, D, E, F]' {dataset.name}"
        )
    check_place(dataset)
    if dataset.crs is None:
        raise SceneError(
            f"{dataset.name} has no CRS: nobody knows what its coordinates mean. "
            f"Add the one it is in: rio edit-info --crs EPSG:NUMBER {dataset.name}"
        )
    return GeoBox(dataset.shape, dataset.transform, dataset.crs)


def check_place(dataset: rasterio.DatasetReader) -> None:
    """Refuse a file whose geotransform or CRS gives pixels no place on the Earth.

    Raises:
        SceneError: It has numbers that are none or far too large, pixels of no size, or a CRS that
            is neither geographic nor projected.
    """
    numbers = list(dataset.transform)[:6]
    # So written that what is no number is not below.
    if dataset.transform.determinant == 0 or not all(abs(n) < FARTHEST for n in numbers):
        raise SceneError(
            f"{dataset.name} has the geotransform {', '.join(f'{n:g}' for n in numbers)}, in which "
            "pixels have no place. Set it right: rio edit-info --transform '[A, B, C, D, E, F]' "
            f"{dataset.name}"
        )
    crs, bounds = dataset.crs, dataset.bounds
    if crs is not None and crs.is_geographic and max(map(abs, bounds)) > MOST_DEGREES:
        raise SceneError(
            f"{dataset.name} reaches from {bounds.left:g}, {bounds.bottom:g} to {bounds.right:g}, "
            f"{bounds.top:g}, but its CRS {crs.to_string()[:60]} is in degrees. "
            f"Set the right one: rio edit-info --crs EPSG:NUMBER {dataset.name}"
        )
    if crs is not None and not (crs.is_geographic or crs.is_projected):
        raise SceneError(
            f"{dataset.name} has the CRS {crs.to_string()[:60]}, which is neither geographic nor "
            f"projected. Set the right one: rio edit-info --crs EPSG:NUMBER {dataset.name}"
        )


def nodata_source(layers: Iterable[Layer], options: SceneOptions) -> str:
    """Return, for people, what says which pixels are data."""
    layers = list(layers)
    said = []
    if options.nodata is not None:
        said.append(options.origin("nodata"))
    elif any(layer.nodata is not None for layer in layers):
        said.append("file")
    masks = {"alpha": "alpha band", "file": "mask of the file", "band": "masks of the bands"}
    said += [masks[mask] for mask in sorted({layer.mask for layer in layers if layer.mask})]
    return ", ".join(said) or "nothing declared"


def choose_bands(named: Mapping[K, Band], options: SceneOptions, source: str) -> dict[K, Band]:
    """Return the bands that `--bands` asks for, in its order; all where it is not given.

    For products whose bands have names of their own.

    Raises:
        BandError: It asks for one that is not there; it says which there are.
    """
    if options.bands is None:
        return dict(named)
    places, present = list(named), list(named.values())
    chosen: dict[K, Band] = {}
    for name in options.bands:
        try:
            found = find_band(name, present)
        except BandError as error:
            raise BandError(f"--bands chooses from the bands of {source}. {error}") from error
        chosen[places[found]] = present[found]
    return chosen


def refuse_duplicates(named: Iterable[tuple[Band, str]], source: str) -> None:
    """Check that no band is there twice.

    Args:
        named: Bands, each with where it is.
        source: The scene, for the message.

    Raises:
        BandError: One is, and where.
    """
    first: dict[str, str] = {}
    for band, place in named:
        if band.id in first:
            raise BandError(
                f"{source} has band {band.id} twice: {first[band.id]} and {place}. Leave one out: "
                "with - in --bands, or by a YAML file that names the bands and files to take."
            )
        first[band.id] = place


def is_reflective(band: Band) -> bool:
    """Whether a band's values can be reflectance: extra layers and the thermal bands' are not."""
    return band.sensor is not None and not (band.common_name or "").startswith("lwir")


def grid_of(layers: Sequence[Layer], options: SceneOptions) -> GeoBox:
    """Return the grid of the finest layer, or of `--res`; a height or radar decides none."""
    grids = [layer.geobox for layer in layers if is_reflective(layer.band)]
    return finest_grid(grids or [layer.geobox for layer in layers], res=options.res)


def with_nodata_said(product: Product) -> Product:
    """Return a product with the user's nodata in the bands of sensors, or in all where none is.

    An extra layer keeps its own: 0 is a height, and no decibel is none.
    """
    nodata = product.options.nodata
    if nodata is None:
        return product
    only_extra = all(layer.band.sensor is None for layer in product.layers)
    layers = tuple(
        replace(layer, nodata=nodata) if only_extra or layer.band.sensor else layer
        for layer in product.layers
    )
    return replace(product, layers=layers)

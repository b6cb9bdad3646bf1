"""What every kind of scene is brought to: layers on one grid, and who took them when.

A reader for a kind of product (one file, a folder, and those to come) returns a `Product`;
`open_scene` makes a `Scene` of it.
"""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path
from typing import Self

import rasterio
from odc.geo.geobox import GeoBox

from geounet.bands import LEVELS, Band, parse_level, parse_sensor
from geounet.errors import BandError, SceneError
from geounet.scene import names
from geounet.scene.raster import Layer, mask_of
from geounet.scene.reflectance import from_gdal

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class SceneOptions:
    """What the user says about a scene; None is: find out."""

    bands: tuple[str, ...] | None = None
    """A name for every band of the file, in its order; `-` leaves one out."""
    sensor: str | None = None
    level: str | None = None
    scale: float | None = None
    offset: float | None = None
    """In digital numbers, added before scaling."""
    nodata: float | None = None
    origins: tuple[tuple[str, str], ...] = ()
    """Facts above that are no command-line options, each with what it is from."""

    def __post_init__(self) -> None:
        if self.scale is not None and not (math.isfinite(self.scale) and self.scale > 0):
            raise SceneError(f"{self.origin('scale')} {self.scale} is not a positive number.")
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


@dataclass(frozen=True)
class Product:
    """A scene on disk, understood but not yet read."""

    name: str
    """Safe as the beginning of file names."""
    source: Path
    kind: str
    """`file`, `folder` or `yaml`."""
    layers: tuple[Layer, ...]
    options: SceneOptions
    """What the user says, by the command line or a YAML file."""
    geobox: GeoBox
    blocksize: tuple[int, int]
    """(rows, cols) of the blocks of its first file."""
    driver: str
    identity: Identity
    left_out: tuple[tuple[str, str], ...] = ()
    """Bands or files that are not taken, and why."""
    sources: Mapping[str, str] = field(default_factory=dict)
    """Where names, grid and nodata were found."""
    notes: tuple[str, ...] = ()
    """What was put right on the way, and said."""


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
    sensor, sources["sensor"] = _settle("sensor", options, found, parts[0].text)
    found = names.find_level(tags, parts)
    if found and sensor and found.value not in LEVELS[sensor]:
        found = None
    level, sources["level"] = _settle("level", options, found, parts[0].text)
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


def _settle(
    what: str, options: SceneOptions, found: names.Found | None, where: str
) -> tuple[str | None, str]:
    """Return what the user said, else what was found; and where it is from."""
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
    dataset: rasterio.DatasetReader, index: int, band: Band, options: SceneOptions
) -> Layer:
    """Return what a file says about one of its bands, with the user's nodata where given.

    Raises:
        SceneError: The file declares a scale of zero, or holds complex numbers.
    """
    nodata, dtype = dataset.nodatavals[index - 1], dataset.dtypes[index - 1]
    if dtype.startswith("complex"):
        raise SceneError(f"{dataset.name} holds complex numbers, which are no reflectance.")
    return Layer(
        band=band,
        path=dataset.name,
        index=index,
        dtype=dtype,
        nodata=nodata if options.nodata is None else options.nodata,
        mask=mask_of(dataset, index),
        placed=not dataset.transform.is_identity,
        scaling=from_gdal(
            dataset.scales[index - 1], dataset.offsets[index - 1], where=dataset.name
        ),
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


def refuse_duplicates(named: Iterable[tuple[Band, str]], source: Path) -> None:
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

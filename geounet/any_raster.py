"""A raster of anyone's that says where water is: a probability, an index or a mask."""

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, Self

import numpy as np
import rasterio
from defusedxml import ElementTree
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS
from rasterio.enums import ColorInterp
from rasterio.errors import RasterioError
from rasterio.windows import Window

from geounet.cog import PROBABILITY_STEPS
from geounet.errors import ResultError, SceneError, UnrecognisedError
from geounet.outputs import COMMANDS, read_record
from geounet.scene.clouds import CloudOptions, Clouds
from geounet.scene.grid import res_in_metres
from geounet.scene.names import find_time, safe_name
from geounet.scene.quality import QualityLayer
from geounet.scene.raster import Handles, one_line, open_raster

logger = logging.getLogger(__name__)

Quantity = Literal["probability", "index", "mask"]
OWN: Mapping[str, Quantity] = {
    "probability of water": "probability",
    "index": "index",
    "class": "mask",
}
"""How bands of geounet's own rasters are described."""
MOST_VALUES = 256
"""Different values that are counted: a raster with more is no mask."""


@dataclass(frozen=True)
class RasterOptions:
    """What the user says about a raster; None is: nothing."""

    band: int | None = None
    """Number of the band, from 1."""
    quantity: Quantity | None = None
    water: str | None = None
    """Of a mask, the values that are water, or the names of classes, by commas."""
    invert: bool = False
    """Whether high values are land."""
    nodata: float | None = None
    """Where the file does not say it; NaN is one."""
    time: datetime | None = None
    name: str | None = None
    """What the results are called; else the file."""
    clouds: CloudOptions = CloudOptions()  # noqa: RUF009  frozen
    """Where clouds are, which the raster itself does not say."""

    @classmethod
    def from_text(cls, *, time: str | None, nodata: str | None, **said: Any) -> Self:
        """Return the options as the command line has them.

        Raises:
            SceneError: The time is none, or nodata no number.
        """
        try:
            value = None if nodata is None else float(nodata)
        except ValueError:
            raise SceneError(f"--nodata {nodata} is no number. Give one, or nan.") from None
        try:
            when = None if time is None else datetime.fromisoformat(time)
        except ValueError:
            raise SceneError(
                f"--time {time} is no date and time. Give it in UTC as 2021-06-01T10:11:12."
            ) from None
        if when is not None:
            when = when.replace(tzinfo=when.tzinfo or UTC).astimezone(UTC)
        return cls(nodata=value, time=when, **said)


class AnyRaster:
    """One band of an open raster, in the unit that its scale and offset make of it."""

    def __init__(self, source: str | Path, options: RasterOptions) -> None:
        """Open it.

        Raises:
            SceneError: It cannot be opened, has no such band, or nobody knows where it lies.
        """
        self.source = str(source)
        self._options = options
        try:
            self._src = src = open_raster(source)
        except UnrecognisedError as error:
            if not Path(source).is_dir():
                raise
            raise SceneError(
                f"{source} is a folder, and lines are drawn of one raster. Give a file in it, or "
                "the folder to `geounet baseline` if it is a scene."
            ) from error
        try:
            self._index = _choose_band(src, options.band, self.source)
            self.geobox = _grid_of(src, self.source)
            self._handles = Handles()
            self.clouds = Clouds(None, options.clouds, self.geobox, self._handles, self.source)
            """What is known of clouds over it."""
        except SceneError:
            src.close()
            raise
        # GDAL takes one for a mask only where it holds integers.
        self._alphas = [i for i in src.indexes if src.colorinterp[i - 1] == ColorInterp.alpha]
        self.dtype = str(src.dtypes[self._index - 1])
        self.scale, self.offset = src.scales[self._index - 1], src.offsets[self._index - 1]
        path = Path(self.source)
        self.name = safe_name(options.name or path.stem)
        self.res_m = res_in_metres(self.geobox)
        self.record = _record_of(path)
        """Of the result that the raster is of, or empty."""
        self.time = options.time or self._time()
        self.notes: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._src.close()
        self._handles.close()

    @property
    def quality(self) -> QualityLayer | None:
        """What says where clouds are, if anything does."""
        return self.clouds.layer

    def warn(self, text: str) -> None:
        """Warn of something, and note it for the record."""
        logger.warning("%s: %s", self.source, text)
        if text not in self.notes:
            self.notes.append(text)

    def inform(self, text: str) -> None:
        """Note something for the record that is no reason to worry."""
        logger.info("%s: %s", self.source, text)
        self.notes.append(text)

    @property
    def own(self) -> Quantity | None:
        """What geounet wrote into it; None where that is not known."""
        return OWN.get(self._src.descriptions[self._index - 1] or "")

    @property
    def has_palette(self) -> bool:
        """Whether each value has a colour of its own, as classes have."""
        return self._src.colorinterp[self._index - 1] == ColorInterp.palette

    @property
    def in_steps(self) -> bool:
        """Whether it holds probabilities as geounet writes them, in steps of 1/253."""
        step = 1 / PROBABILITY_STEPS
        return self.dtype == "uint8" and abs(self.scale - step) < 1e-9 and self.offset == 0

    def _time(self) -> datetime | None:
        scene = self.record.get("scene")
        said = scene.get("time") if isinstance(scene, dict) else None
        if isinstance(said, str):
            return datetime.fromisoformat(said).astimezone(UTC)
        # The time of a file (TIFFTAG_DATETIME) is when it was written, not what it shows.
        found = find_time({**self._src.tags(), **self._src.tags(ns="IMAGERY")}, [])
        return found[0] if found and isinstance(found[0], datetime) else None

    def read(self, window: Window) -> NDArray[np.float32]:
        """Return the values under a window, (height, width), NaN where there is no data.

        Raises:
            SceneError: The file is damaged.
        """
        try:
            stored = self._src.read(self._index, window=window)
            valid = self._src.read_masks(self._index, window=window) != 0
            for alpha in self._alphas:
                valid &= self._src.read(alpha, window=window) != 0
        except RasterioError as error:
            raise SceneError(
                f"{self.source} cannot be read: it is damaged or incomplete "
                f"({one_line(error.__cause__ or error)}). Download or make it again."
            ) from error
        if self._options.nodata is not None:
            valid &= stored != self._options.nodata
        values = stored * np.float64(self.scale) + self.offset
        # Beyond float32 there is no water level.
        with np.errstate(over="ignore"):
            small = values.astype(np.float32)
        return np.where(valid & np.isfinite(small), small, np.float32(np.nan))

    def class_names(self) -> dict[str, float]:
        """Return what the values of a mask are called: name in lower case → value."""
        classes = self.record.get("classes")
        if isinstance(classes, list):
            return {str(one["name"]).lower(): float(one["value"]) for one in classes}
        sidecar = Path(f"{self.source}.aux.xml")
        if not sidecar.is_file():
            return {}
        try:
            root = ElementTree.parse(sidecar).getroot()
        except (OSError, ValueError, ElementTree.ParseError):
            return {}
        if root is None:
            return {}
        names = root.findall(f"PAMRasterBand[@band='{self._index}']/CategoryNames/Category")
        return {one.text.strip().lower(): float(i) for i, one in enumerate(names) if one.text}


def _choose_band(src: rasterio.DatasetReader, asked: int | None, source: str) -> int:
    if asked is not None and not 1 <= asked <= src.count:
        raise SceneError(f"{source} has no band {asked}; it has {src.count}, counted from 1.")
    colors = src.colorinterp
    bands = [i for i in src.indexes if colors[i - 1] != ColorInterp.alpha]
    if asked is None and len(bands) != 1:
        named = ", ".join(
            f"{i} ({src.descriptions[i - 1]})" if src.descriptions[i - 1] else str(i) for i in bands
        )
        raise SceneError(
            f"{source} has {len(bands)} bands: {named}. Say with --band which is the probability, "
            "index or mask. (`geounet baseline` draws the coastline of a scene.)"
        )
    index = asked or bands[0]
    if "complex" in str(src.dtypes[index - 1]):
        raise SceneError(f"{source} has complex values. Give their amplitude, for instance.")
    return index


def _grid_of(src: rasterio.DatasetReader, source: str) -> GeoBox:
    if src.crs is None and src.gcps[0]:
        raise SceneError(
            f"{source} has ground control points and no grid. Bring it onto one, for instance with "
            "`gdalwarp -t_srs EPSG:32630`."
        )
    if src.crs is None:
        raise SceneError(
            f"{source} has no CRS, so nobody knows where it lies, and lengths have no metres. "
            "Set it, for instance with `gdal_edit.py -a_srs EPSG:32630`."
        )
    if src.transform.is_identity:
        raise SceneError(
            f"{source} has no geotransform, so nobody knows where it lies. Set its corners "
            "with `gdal_edit.py -a_ullr LEFT TOP RIGHT BOTTOM`."
        )
    if CRS.from_wkt(src.crs.to_wkt()).geodetic_crs is None:
        raise SceneError(
            f"{source} has a CRS that is not tied to the Earth, so lengths have no metres. "
            "Set the true one, for instance with `gdal_edit.py -a_srs EPSG:32630`."
        )
    return GeoBox(src.shape, src.transform, src.crs)


def _record_of(path: Path) -> dict[str, Any]:
    """Return the record beside a raster of ours; empty where there is none."""
    match = re.fullmatch(r"(.+)_(mask|probability|index)", path.stem)
    record_path = path.with_name(f"{match[1]}.json") if match else path
    if not match or not record_path.is_file():
        return {}
    try:
        record = read_record(record_path)
    except ResultError:
        return {}
    return record if record["command"] in COMMANDS and path.name in record["files"] else {}


@dataclass
class Values:
    """What passes by of a raster's values, counted."""

    least: float = np.inf
    most: float = -np.inf
    pixels: int = 0
    """With data."""
    different: frozenset[float] | None = frozenset()
    """None where there are more than `MOST_VALUES`."""

    def add(self, values: NDArray[np.float32]) -> None:
        """Count the values of a block; NaN is none."""
        known = values[np.isfinite(values)]
        if not known.size:
            return
        self.pixels += known.size
        self.least = min(self.least, float(known.min()))
        self.most = max(self.most, float(known.max()))
        if self.different is not None:
            found = self.different | set(np.unique(known).tolist())
            self.different = found if len(found) <= MOST_VALUES else None

    def __str__(self) -> str:
        if self.different is not None and len(self.different) <= 8:
            return "values " + ", ".join(f"{value:g}" for value in sorted(self.different))
        return f"values {self.least:.4g} to {self.most:.4g}"


def recognise(raster: AnyRaster, values: Values, options: RasterOptions) -> Quantity:
    """Return what a raster holds; where it is judged by its values, that is said.

    Raises:
        SceneError: Options do not go together, or the values are no probabilities.
    """
    if options.water is not None and options.quantity not in {None, "mask"}:
        raise SceneError(
            f"--water names values of a mask, and --quantity says {options.quantity}. Give one."
        )
    asked = options.quantity or ("mask" if options.water is not None else None)
    in_range = values.least >= 0 and values.most <= 1
    if asked == "probability" and not in_range:
        raise SceneError(
            f"{raster.source} has {values}, and probabilities are 0 to 1. Set its scale with "
            "`gdal_edit.py -scale 0.01` if they are percent, or give --quantity index."
        )
    if asked or raster.own:
        return asked or raster.own or "index"
    different = values.different
    is_whole = np.issubdtype(np.dtype(raster.dtype), np.integer)
    scaled = (raster.scale, raster.offset) != (1.0, 0.0)
    found: Quantity
    if raster.has_palette or (not scaled and _is_mask(raster, different)):
        found = "mask"
    elif in_range and (scaled or not is_whole):
        found = "probability"
    else:
        found = "index"
    raster.warn(f"its {values} are taken for {_WITH_ARTICLE[found]}; --quantity says otherwise")
    return found


_WITH_ARTICLE: Mapping[Quantity, str] = {
    "probability": "a probability of water",
    "index": "an index that is higher over water",
    "mask": "a mask",
}


def _is_mask(raster: AnyRaster, different: frozenset[float] | None) -> bool:
    if different is None:
        return False
    return different <= {0, 1} or (
        raster.dtype in {"uint8", "int8", "bool"} and len(different) <= 2
    )


FOR_NODATA = (-9999.0, -99999.0, -32768.0, -32767.0, float(np.finfo(np.float32).min), 9999.0)
"""Values that mean no data in many files, and hardly ever anything else."""


def note_nodata(raster: AnyRaster, values: Values) -> None:
    """Warn of an extreme value that looks like nodata that nobody declared."""
    if (raster.scale, raster.offset) != (1.0, 0.0):
        return  # what is stored is another
    for value in {values.least, values.most} & set(FOR_NODATA):
        raster.warn(
            f"{value:g} is among its values and often means no data; if it does here, say --nodata "
            f"{value:.17g}"
        )


def water_values(raster: AnyRaster, values: Values, options: RasterOptions) -> frozenset[float]:
    """Return which values of a mask are water.

    Raises:
        SceneError: Nobody says it, or it is said of a value that is not there.
    """
    names = raster.class_names()
    classes = raster.record.get("classes")
    if options.water is None:
        if raster.own == "mask" and isinstance(classes, list):
            return frozenset(float(one["value"]) for one in classes if one["water"])
        if "water" in names:
            return frozenset({names["water"]})
        if values.different is not None and values.different <= {0, 1}:
            return frozenset({1.0})
        raise SceneError(
            f"{raster.source} has {values}. Say which of them are water, as in --water 1 or "
            f"--water 1,3{_or_names(names)}."
        )
    found = set()
    for text in options.water.split(","):
        try:
            found.add(names[text.strip().lower()] if text.strip().lower() in names else float(text))
        except ValueError:
            raise SceneError(
                f"--water {text.strip()} is neither a value of {raster.source} nor the name of a "
                f"class; it has {values}{_or_names(names)}."
            ) from None
    if values.different is not None and not found & values.different:
        raise SceneError(
            f"{raster.source} has no pixel of --water {options.water}; it has "
            f"{values}{_or_names(names)}."
        )
    return frozenset(found)


def _or_names(names: Mapping[str, float]) -> str:
    return f", and classes {', '.join(names)}" if names else ""

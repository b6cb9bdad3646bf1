"""A scene, opened: reflectance by band name and a boolean `valid`, whatever lies on disk."""

import copy
import logging
import math
import threading
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any, Self

import numpy as np
from odc.geo.geobox import GeoBox
from rasterio.windows import Window

from geounet.bands import Band, find_band
from geounet.errors import BandError, GeounetError, SceneError
from geounet.scene import advice
from geounet.scene.clouds import Clouds
from geounet.scene.grid import reaches_beyond, res_in_metres, same_grid
from geounet.scene.hearing import heard, unheard
from geounet.scene.kinds import read_product
from geounet.scene.product import (
    Product,
    SceneOptions,
    grid_of,
    is_reflective,
    with_nodata_said,
)
from geounet.scene.quality import Codes, QualityLayer
from geounet.scene.raster import Handles, Layer, Pixels, read_layers
from geounet.scene.reflectance import (
    BRIGHTEST_MEDIAN,
    LayerScaling,
    Scaling,
    settle_scaling,
)
from geounet.scene.remote import scrub, without_query
from geounet.vectors import crs_name

logger = logging.getLogger(__name__)

SAMPLE_SIDE = 64
SAMPLE_GRIDS = (3, 9)
"""How many samples along each side of a scene: first few, then more if those hold no data."""


def open_scene(
    source: str | Path,
    options: SceneOptions = SceneOptions(),  # noqa: B008  frozen
    *,
    advise: bool = True,
    first: bool = False,
) -> "Scene":
    """Open a scene: a raster file, a folder of single-band files, or a YAML file naming them.

    Args:
        source: Path, or anything GDAL opens (`/vsizip/…`).
        options: What the user says about it.
        advise: Whether to warn of what is odd about it, and to look at it for nodata that nobody
            declared and for a wrong scale or offset; for one who opens a scene again it has been
            said.
        first: Whether it is opened for the first time even without advice, so that its readers
            are to be heard.

    Raises:
        BandError: Bands have no names, the same name, or names whose sensor is not known.
        SceneError: It is missing, not a raster, damaged, or nobody knows where it lies.
    """
    shown = without_query(str(source))
    try:
        with heard() if advise or first else unheard() as said:
            scene = Scene(read_product(str(source), options))
    except GeounetError as error:
        said_of_it = scrub(str(error).replace(str(source), shown))
        if said_of_it == str(error):
            raise
        raise type(error)(said_of_it) from error
    texts = (*(text.removeprefix(f"{shown}: ") for text in said), *scene.notes)
    scene.notes[:] = dict.fromkeys(text.removesuffix(".") for text in texts)
    if advise:
        try:
            scene.warn_of_cropping(scene.bands)
            advice.advise(scene)
        except BaseException:
            scene.close()
            raise
    return scene


class Scene:
    """An acquisition on disk, as reflectance by band name on one grid.

    May be read from several threads at once.
    """

    def __init__(
        self,
        product: Product,
        geobox: GeoBox | None = None,
        handles: Handles | None = None,
        clouds: Clouds | None = None,
        notes: list[str] | None = None,
    ) -> None:
        self._product = product = with_nodata_said(product)
        self._handles = handles or Handles()
        self._scalings: dict[tuple[int, ...], Scaling] = {}
        self._scaling_lock = threading.Lock()
        self.name = product.name
        """Safe as the beginning of file names."""
        self.source = without_query(product.source)
        """As the user gave it, for people: without a signature, which would be a key."""
        self.address = product.source
        """To open it again."""
        self.bands: tuple[Band, ...] = tuple(layer.band for layer in product.layers)
        self.geobox = geobox or grid_of(product.layers, product.options)
        """The grid that all bands are read on."""
        self.level = product.identity.level
        """`L1C`, `L2A`, `L1`, `L2`, or None where it is not known."""
        sensors = {band.sensor for band in self.bands if band.sensor}
        self.sensor = sensors.pop() if len(sensors) == 1 else product.identity.sensor
        """A key of `SENSORS`, or None where it is not known."""
        self.time = product.identity.time
        """When it was taken, UTC; None where that is not known to the second."""
        self.date = product.identity.date
        """The day it was taken, UTC; known also where the time is not."""
        in_place = [la for la in product.layers if same_grid(la.geobox, self.geobox)]
        self.blocksize = (in_place or product.layers)[0].blocksize
        """(rows, cols) of the blocks of the first file on that grid."""
        self.dtype = str(np.result_type(*(la.dtype_on(self.geobox) for la in product.layers)))
        """Of what `read_dn` returns for all bands."""
        self.res_m = res_in_metres(self.geobox)
        """Size of a pixel (x, y) in metres, at the centre."""
        self.clouds = clouds or Clouds(
            product.quality, product.options.clouds, self.geobox, self._handles, product.source
        )
        """What is known of its clouds."""
        self._masks_clouds = self.clouds.options.mask
        self.notes = list(product.notes) if notes is None else notes
        """What a person should know of what is made of it; the same list on every grid."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the files, of all threads and of all grids."""
        self._handles.close()

    def on_grid_of(self, bands: Sequence[str | Band]) -> Self:
        """Return this scene on the grid of the finest of some bands, or of `--res`.

        Extra layers have a say only among themselves.

        It has all bands as before, and is closed together with this one.

        Raises:
            BandError: A band is missing.
        """
        geobox = grid_of(self._layers(bands), self._product.options)
        if same_grid(geobox, self.geobox):
            return self
        clouds = self.clouds.on(geobox)
        there = type(self)(self._product, geobox, self._handles, clouds, self.notes)
        there.warn_of_cropping(bands)
        return there

    def warn_of_cropping(self, bands: Sequence[str | Band]) -> None:
        """Say so where bands reach further than the grid: what lies beyond it is left out."""
        if cropped := self._cropped(self._layers(bands)):
            self.warn(cropped)

    def warn(self, text: str) -> None:
        """Warn of something, and note it for the record of what is made of this scene."""
        logger.warning("%s: %s", self.source, text)
        if text not in self.notes:
            self.notes.append(text)

    def _cropped(self, layers: Sequence[Layer]) -> str | None:
        beyond = [la.band.name for la in layers if reaches_beyond(la.geobox, self.geobox)]
        if not beyond:
            return None
        return (
            f"{', '.join(beyond)} cover more ground than the finest band, whose extent the scene "
            "has; what lies beyond it is left out"
        )

    def unmasked(self) -> Self:
        """Return this scene as it is where clouds are not masked; closed together with this one."""
        scene = copy.copy(self)
        scene._masks_clouds = False
        return scene

    @property
    def quality(self) -> QualityLayer | None:
        """What says where clouds are; None where nothing does."""
        return self.clouds.layer

    @property
    def wished_res(self) -> float | None:
        """Side of a pixel that the user wants, in units of the CRS; None is the finest band's."""
        return self._product.options.res

    def files(self) -> list[str]:
        """Return what its pixels are read from, as GDAL has it, each once."""
        paths = [layer.path for layer in self._product.layers]
        return list(dict.fromkeys([*paths, *([self.quality.path] if self.quality else [])]))

    def read_quality(self, window: Window) -> Codes:
        """Return the `CloudClass` of each pixel of a window, mirrored beyond the edge as bands are.

        Raises:
            SceneError: The quality layer is damaged there.
        """
        return self.clouds.classes(window)

    def band_indexes(self, bands: Sequence[str | Band]) -> list[int]:
        """Return where in `Scene.bands` the bands are.

        Args:
            bands: Names (`B08`, `s2:B08`, `nir`) or bands, which match by sensor and name.

        Raises:
            BandError: Some are not there; it says which there are.
        """
        found, missing = list[int](), list[str]()
        by_id = {band.id: i for i, band in enumerate(self.bands)}
        for band in bands:
            index = by_id.get(band.id) if isinstance(band, Band) else self._find(band)
            if index is None:
                missing.append(band.id if isinstance(band, Band) else band)
            else:
                found.append(index)
        if missing:
            there = ", ".join(band.id for band in self.bands)
            raise BandError(f"{self.source} has no band {', '.join(missing)}; it has {there}.")
        return found

    def _find(self, name: str) -> int | None:
        try:
            return find_band(name, self.bands)
        except BandError as error:
            if "may be" in str(error):
                raise
            return None

    def read(self, bands: Sequence[str | Band], window: Window) -> Pixels:
        """Read reflectance; beyond the edge the scene is mirrored as `np.pad(mode="reflect")` does.

        Args:
            bands: Which, in the order they are wanted.
            window: Where, in whole pixels; may reach beyond the scene.

        Returns:
            Reflectance (bands, height, width), float32, NaN where not valid; and `valid`.

        Raises:
            BandError: A band is missing.
            SceneError: The file is damaged there, or its scale is not known.
        """
        scaling = self.scaling(bands)
        dn, valid = self.read_dn(bands, window)
        values = scaling.reflectance(dn)
        if not valid.all():
            np.copyto(values, np.nan, where=~valid)
        return Pixels(values, valid)

    def read_dn(self, bands: Sequence[str | Band], window: Window) -> Pixels:
        """Read values as they are in the file, with the same `valid` as `read`.

        Raises:
            BandError: A band is missing.
            SceneError: The file is damaged there.
        """
        pixels = read_layers(self._handles, self._layers(bands), self.geobox, window)
        if self._masks_clouds:
            return Pixels(pixels.values, pixels.valid & ~self.clouds.mask(window))
        return pixels

    def _layers(self, bands: Sequence[str | Band]) -> list[Layer]:
        return [self._product.layers[i] for i in self.band_indexes(bands)]

    def scaling(self, bands: Sequence[str | Band]) -> Scaling:
        """Return how the values of these bands become reflectance.

        Raises:
            BandError: A band is missing.
            SceneError: Nothing says the scale of integers, or floats are too large to be
                reflectance.
        """
        indexes = tuple(self.band_indexes(bands))
        with self._scaling_lock:
            if indexes not in self._scalings:
                self._scalings[indexes] = self._find_scaling(
                    [self._product.layers[i] for i in indexes]
                )
            return self._scalings[indexes]

    def _find_scaling(self, layers: Sequence[Layer]) -> Scaling:
        facts = self._scaling_facts(layers)
        if settled := self._settled(layers, facts):
            self._refuse_forgotten_offset(layers)
            return settled
        bare = [layer for layer, fact in zip(layers, facts, strict=True) if fact.scale is None]
        integers = [layer for layer in bare if np.dtype(layer.dtype).kind not in "fc"]
        if integers:
            raise SceneError(
                f"{self.source} holds integers ({integers[0].dtype}) in "
                f"{', '.join(layer.band.name for layer in integers)} and nothing says their scale. "
                f"{self._scale_advice(integers[0].dtype)}"
            )
        self._refuse_large_floats([layer for layer in bare if is_reflective(layer.band)])
        plain = LayerScaling(scale=1, source="float values, taken as reflectance")
        facts = [plain if fact.scale is None else fact for fact in facts]
        settled = self._settled(layers, facts)
        assert settled is not None
        return settled

    def _scaling_facts(self, layers: Sequence[Layer]) -> list[LayerScaling]:
        """Return what the product says; what is no reflectance is taken as it is otherwise."""
        as_it_is = LayerScaling(scale=1, source="no reflectance, taken as it is")
        return [
            as_it_is if layer.scaling.scale is None and not self._takes(layer) else layer.scaling
            for layer in layers
        ]

    def _takes(self, layer: Layer) -> bool:
        """Whether the user's scale and offset are meant for a layer.

        They are for reflectance, so a temperature or a height keeps its own; unless there is
        nothing else.
        """
        return is_reflective(layer.band) or not any(map(is_reflective, self.bands))

    def _settled(self, layers: Sequence[Layer], facts: Sequence[LayerScaling]) -> Scaling | None:
        options = self._product.options
        said = LayerScaling(options.scale, options.offset)
        return settle_scaling(
            facts,
            said=[said if self._takes(layer) else LayerScaling() for layer in layers],
            origins=(options.origin("scale"), options.origin("offset")),
        )

    def _refuse_forgotten_offset(self, layers: Sequence[Layer]) -> None:
        """Refuse a scale without the −1000 that goes with it: water at +0.1 looks like land."""
        baseline, options = self._product.identity.baseline, self._product.options
        if options.offset is not None or baseline is None or baseline < (4, 0):
            return
        silent = [
            layer.band.name
            for layer in layers
            if self._takes(layer) and layer.scaling.offset is None and self._has_offset(layer)
        ]
        if silent:
            raise SceneError(
                f"{self.source} is of baseline {baseline[0]:02}.{baseline[1]:02}, whose numbers "
                f"have an offset, and there is only a scale for {', '.join(silent)}. Give "
                "--offset -1000 with --scale 0.0001, or --offset 0 if it is taken off already."
            )

    def _has_offset(self, layer: Layer) -> bool:
        """Whether the numbers of a layer are such as come with an offset: floats need no scale."""
        said = self._product.options.scale is not None or layer.scaling.scale is not None
        return said and self.sensor == "s2"

    def _refuse_large_floats(self, layers: Sequence[Layer]) -> None:
        for layer, median in zip(layers, self._medians(layers), strict=True):
            if median > BRIGHTEST_MEDIAN:
                raise SceneError(
                    f"{self.source} holds values with a median of {median:.4g} in "
                    f"{layer.band.name}: that is not reflectance, and nothing says their scale. "
                    f"{self._scale_advice(layer.dtype)}"
                )

    def _medians(self, layers: Sequence[Layer]) -> list[float]:
        """Return the medians of sampled data; NaN where there is none."""
        if not layers:
            return []
        for per_side in SAMPLE_GRIDS:
            parts = [
                pixels.values[:, pixels.valid]
                for window in self._sample_windows(per_side)
                if (pixels := read_layers(self._handles, layers, self.geobox, window)).valid.any()
            ]
            if parts:
                return [float(m) for m in np.median(np.concatenate(parts, axis=1), axis=1)]
        return [math.nan] * len(layers)

    def _sample_windows(self, per_side: int) -> list[Window]:
        """Return small windows spread evenly over the scene."""
        height, width = self.geobox.shape
        rows, cols = min(SAMPLE_SIDE, height), min(SAMPLE_SIDE, width)
        return [
            Window(col_off=int(col), row_off=int(row), width=cols, height=rows)
            for row in np.unique(np.linspace(0, height - rows, per_side, dtype=int))
            for col in np.unique(np.linspace(0, width - cols, per_side, dtype=int))
        ]

    def _scale_advice(self, dtype: str) -> str:
        """Return what to type, by what is known of the product."""
        if self.sensor == "s2" and dtype != "uint8":
            baseline = self._product.identity.baseline
            if baseline is None:
                return (
                    "For Sentinel-2 give --scale 0.0001, and --offset -1000 with it if the product "
                    "is of baseline 04.00 or later (since 2022-01-25)."
                )
            offset = " --offset -1000" if baseline >= (4, 0) else ""
            return f"Give --scale 0.0001{offset} (baseline {baseline[0]:02}.{baseline[1]:02})."
        if self.sensor is not None and self.level == "L2" and dtype == "int16":
            return "Give --scale 0.0001 for Landsat Collection 1, level 2."
        if self.sensor is not None and self.level == "L2":
            return "Give --scale 0.0000275 --offset -7272.7273 for Landsat Collection 2, level 2."
        if self.sensor in {"l8", "l9"} and dtype == "uint16":
            return "Give --scale 0.00002 --offset -5000 for Landsat 8 and 9, level 1."
        if dtype == "uint8":
            return "Give --scale, for instance --scale 0.003922 if 255 stands for reflectance 1."
        return "Give --scale and, if there is one, --offset: reflectance = (DN + offset) × scale."

    def describe(self) -> dict[str, Any]:
        """Return what the scene is, as JSON has it, with where each fact is from."""
        product, identity = self._product, self._product.identity
        height, width = self.geobox.shape
        sources = {**identity.sources, **product.sources}
        return {
            "name": self.name,
            "source": without_query(self.source),
            "kind": product.kind,
            "driver": product.driver,
            "sensor": self.sensor,
            "level": self.level,
            "baseline": None
            if identity.baseline is None
            else f"{identity.baseline[0]:02}.{identity.baseline[1]:02}",
            "time": None if self.time is None else self.time.isoformat(),
            "date": None if self.date is None else self.date.isoformat(),
            "tile": identity.tile,
            "orbit": identity.orbit,
            "crs": crs_name(self.geobox),
            "shape": [height, width],
            "transform": list(self.geobox.transform)[:6],
            "res_m": list(self.res_m),
            "dtype": self.dtype,
            "blocksize": list(self.blocksize),
            "bands": [
                {
                    "id": layer.band.id,
                    **layer.band.to_dict(),
                    "file": PurePosixPath(without_query(layer.path)).name,
                    "index": layer.index,
                    "dtype": layer.dtype,
                    "res_m": list(res_in_metres(layer.geobox)),
                    "resampled": not same_grid(layer.geobox, self.geobox),
                    **self._described_scaling(layer),
                    "nodata": json_number(layer.nodata),
                    "mask": layer.mask,
                }
                for layer in product.layers
            ],
            "left_out": [{"what": what, "why": why} for what, why in product.left_out],
            "sources": {**sources, "scale": self._scale_source()},
            "quality": None if self.quality is None else self.quality.source,
            "notes": [*product.notes, *filter(None, [self._cropped(product.layers)])],
        }

    def _described_scaling(self, layer: Layer) -> dict[str, Any]:
        """Return scale and offset of a layer as far as anybody says them, and who does."""
        (fact,) = self._scaling_facts([layer])
        settled = self._settled([layer], [fact])
        if settled is not None:
            (scale,), (offset,) = settled.scale, settled.offset
            return {"scale": scale, "offset": offset, "scale_from": settled.source}
        options = self._product.options
        offset_said = fact.offset if options.offset is None else options.offset
        return {"scale": None, "offset": offset_said, "scale_from": "not known"}

    def _scale_source(self) -> str:
        layers = self._product.layers
        settled = self._settled(layers, self._scaling_facts(layers))
        return "not known" if settled is None else settled.source


def json_number(value: float | None) -> float | str | None:
    """Return a number as JSON can have it, which knows no NaN."""
    return value if value is None or math.isfinite(value) else str(value)

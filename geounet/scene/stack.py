"""Single-band files put together to one scene: which bands they are, where each lies."""

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import rasterio
from affine import Affine
from odc.geo.geobox import GeoBox

from geounet.bands import Band
from geounet.errors import SceneError
from geounet.scene import names
from geounet.scene.landsat import Mtl, identify_by
from geounet.scene.product import (
    Identity,
    Product,
    SceneOptions,
    check_place,
    choose_bands,
    identify,
    layer_of,
    nodata_source,
    refuse_duplicates,
    tags_of,
)
from geounet.scene.quality import QualityCandidate, choose_quality
from geounet.scene.raster import Layer, alpha_index, open_raster
from geounet.scene.single import parse_of

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class BandFiles:
    """Files of one scene and which band each holds, as somebody names them."""

    texts: Mapping[str, str]
    """Names of bands by what GDAL opens."""
    named_by: str
    """Who names them, for people."""
    quality: tuple[QualityCandidate, ...] = ()
    """Files that may say what is cloud."""
    left_out: tuple[tuple[str, str], ...] = ()
    """Files that are not taken, and why."""
    mtl: Mtl | None = None
    """What a Landsat product says of itself."""


def read_stack(
    files: BandFiles,
    source: str,
    options: SceneOptions,
    *,
    kind: str,
    name: str,
    parts: list[names.NamePart],
) -> Product:
    """Make a product of single-band files.

    Args:
        files: At least one.
        source: What the user gave.
        options: What the user says.
        kind: Of product.
        name: Of the scene.
        parts: Names that may tell who took it and when.

    Raises:
        BandError: A name means no band, or two the same.
        SceneError: A file is not a single-band raster, or none says where it lies.
    """
    with open_raster(next(iter(files.texts))) as dataset:
        identity = _identify(files, dataset, parts, options)
        driver = dataset.driver
    named = {path: parse_of(text, source, identity) for path, text in files.texts.items()}
    refuse_duplicates(((band, Path(path).name) for path, band in named.items()), source)
    bands = choose_bands(named, options, source)
    grids, notes = _grids(bands, source)
    layers = [_layer(path, band, grids[path], files.mtl) for path, band in bands.items()]
    if options.bands is None:
        # As the sensor has them, whatever order the files come in.
        layers = _in_sensor_order(layers)
    notes += _notes_of(files.mtl, source, options)
    sources = {"bands": files.named_by, "nodata": _nodata_source(layers, options, files.mtl)}
    unasked = [Path(path).name for path in named if path not in bands]
    return Product(
        name=names.safe_name(name),
        source=source,
        kind=kind,
        layers=tuple(layers),
        options=options,
        driver=driver,
        identity=identity,
        left_out=(*files.left_out, *((file, "not asked for with --bands") for file in unasked)),
        sources=sources,
        notes=notes,
        quality=choose_quality(files.quality),
    )


def _identify(
    files: BandFiles,
    dataset: rasterio.DatasetReader,
    parts: list[names.NamePart],
    options: SceneOptions,
) -> Identity:
    if files.mtl is not None:
        return identify_by(files.mtl, options)
    return identify(parts, tags_of(dataset), options, files.texts.values())


def _layer(path: str, band: Band, geobox: GeoBox, mtl: Mtl | None) -> Layer:
    with open_raster(path) as dataset:
        index = 2 if alpha_index(dataset) == 1 else 1
        # Of floats somebody has made reflectance, or something else, already.
        if mtl is None or np.dtype(dataset.dtypes[index - 1]).kind not in "iu":
            return layer_of(dataset, index, band, geobox=geobox)
        scaling = mtl.scaling(band, Path(path).stem)
        fill = mtl.fill if dataset.nodatavals[index - 1] is None else None
        return layer_of(
            *(dataset, index, band),
            geobox=geobox,
            scaling=scaling if scaling.scale is not None else None,
            nodata=fill,
        )


def _notes_of(mtl: Mtl | None, source: str, options: SceneOptions) -> tuple[str, ...]:
    if mtl is None or mtl.complaint is None or options.scale is not None:
        return ()
    note = f"{mtl.complaint}; give --scale and --offset"
    logger.warning("%s: %s", source, note)
    return (note,)


def _nodata_source(layers: Iterable[Layer], options: SceneOptions, mtl: Mtl | None) -> str:
    said = nodata_source(layers, options)
    if mtl is None or mtl.fill is None or options.nodata is not None:
        return said
    return f"{said}; 0 is below QUANTIZE_CAL_MIN in {mtl.where}".removeprefix("file; ")


def _in_sensor_order(layers: Iterable[Layer]) -> list[Layer]:
    def order(layer: Layer) -> tuple[bool, float, str]:
        number = layer.band.name.removeprefix("B").replace("8A", "8.5").partition("_")[0]
        extra = layer.band.sensor is None
        return extra, 0.0 if extra else float(number), layer.band.name

    return sorted(layers, key=order)


def _grids(paths: Iterable[str], source: str) -> tuple[dict[str, GeoBox], tuple[str, ...]]:
    """Return the grid of each file, and what is to be said about them.

    Files without a CRS, or without any georeference, are taken to lie where others do: those of
    the same size, or, where only the CRS is missing, any other.

    Raises:
        SceneError: A file has more than one band, or nothing says where it lies.
    """
    placed, unplaced = dict[str, GeoBox](), dict[str, Affine | None]()
    shapes: dict[str, tuple[int, int]] = {}
    for path in paths:
        with open_raster(path) as dataset:
            if dataset.count - (alpha_index(dataset) is not None) != 1:
                raise SceneError(
                    f"{path} has {dataset.count} bands; the files of {source} are to have one "
                    "each. Give it as a scene by itself."
                )
            check_place(dataset)
            transform = None if dataset.transform.is_identity else dataset.transform
            if transform is not None and dataset.crs is not None:
                placed[path] = GeoBox(dataset.shape, transform, dataset.crs)
            else:
                unplaced[path] = transform
                shapes[path] = dataset.shape
    if not placed:
        raise SceneError(
            f"No file of {source} has both a CRS and a geotransform: nobody knows where its pixels "
            "lie. Add them to one: rio edit-info --crs EPSG:NUMBER --transform '[A, B, C, D, E, F]'"
            f" {next(iter(unplaced))}"
        )
    found = {path: _place(path, shapes[path], unplaced[path], placed) for path in unplaced}
    if not found:
        return placed, ()
    models = ", ".join(dict.fromkeys(Path(model).name for model, _ in found.values()))
    unplaced_names = ", ".join(Path(path).name for path in found)
    note = (
        f"{len(found)} of {len(found) + len(placed)} files have no CRS or geotransform "
        f"({unplaced_names}); those of {models}, of the same size, are taken"
    )
    logger.warning("%s: %s", source, note)
    return placed | {path: grid for path, (_, grid) in found.items()}, (note,)


def _place(
    path: str,
    shape: tuple[int, int],
    transform: Affine | None,
    placed: dict[str, GeoBox],
) -> tuple[str, GeoBox]:
    """Return where a file lies that does not say it, and which other one tells."""
    like = [other for other, grid in placed.items() if grid.shape == shape]
    if transform is not None:
        model = (like or list(placed))[0]
        return model, GeoBox(shape, transform, placed[model].crs)
    if not like:
        sizes = ", ".join(dict.fromkeys(f"{g.width} × {g.height}" for g in placed.values()))
        raise SceneError(
            f"{path} has no geotransform, and no other file has its {shape[1]} × {shape[0]} "
            f"pixels; there are {sizes}. Add the one it has: rio edit-info --crs EPSG:NUMBER "
            f"--transform '[A, B, C, D, E, F]' {path}"
        )
    return like[0], placed[like[0]]

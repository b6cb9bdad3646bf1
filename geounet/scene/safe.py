"""Sentinel-2 products as ESA and its copies hand them out: folder or archive, L1C or L2A.

Bands are those that the metadata lists and that are really there: products get trimmed. Rasters
count more than metadata where the two disagree on the grid, for the same reason.
"""

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from odc.geo.geobox import GeoBox
from rasterio import DatasetReader

from geounet.bands import Band, is_quality, parse_band
from geounet.errors import BandError, SceneError
from geounet.scene import names
from geounet.scene.folder import SIDECARS
from geounet.scene.grid import res_in_metres, same_grid
from geounet.scene.product import (
    Identity,
    Product,
    SceneOptions,
    choose_bands,
    layer_of,
    nodata_source,
    settle,
)
from geounet.scene.quality import QualityCandidate, QualityLayer, choose_quality
from geounet.scene.raster import Layer, open_raster
from geounet.scene.reflectance import LayerScaling
from geounet.scene.safe_layout import (
    band_of,
    by_band,
    find_granule,
    find_safe,
    images,
    res_in_name,
)
from geounet.scene.safe_metadata import BAND_NAMES, SafeMetadata
from geounet.scene.tree import Tree

logger = logging.getLogger(__name__)

_OLD_NAMES = {
    "MSK_CLOUDS_B00": re.compile(r"S2\w_OPER_MSK_CLOUDS?_\w*B00_MSIL1C", re.IGNORECASE),
    "SCL": re.compile(r"S2\w_USER_SCL_L2A_TL_\w*", re.IGNORECASE),
}
"""Of the layers that say what is cloud, until 2016."""
_CLOUD_LAYER = re.compile(r"(?:^|_)(?:SCL|MSK_CLASSI(?:_B00)?|MSK_CLOUDS(?:_B00)?)$", re.IGNORECASE)


def read_safe(
    tree: Tree, options: SceneOptions, *, root: str | None = None, source: str | None = None
) -> Product:
    """Find out what a Sentinel-2 product holds.

    Args:
        tree: Its files.
        options: What the user says.
        root: Folder of the product or the granule in the tree; None is: find it.
        source: What the user gave, where that is not the tree.

    Raises:
        BandError: It has no bands, or not those that the user asks for.
        SceneError: Its metadata or rasters are damaged, or it has several granules.
    """
    source = tree.source if source is None else source
    if root is None:
        root = find_safe(tree)
    if root is None:
        raise SceneError(f"{source} holds no Sentinel-2 product: no MTD_MSIL1C.xml or the like.")
    granule = find_granule(tree, root, source)
    metadata = granule.read_metadata(tree)
    for contradiction in metadata.contradictions:
        logger.warning("%s: %s", source, contradiction)
    files = {name: _finest(tree, there) for name, there in by_band(granule.files).items()}
    if not files:
        raise BandError(
            f"{source} has the metadata of a Sentinel-2 product, but no raster of a band. "
            "Download it with its images (IMG_DATA)."
        )
    named = {file: parse_band(name, "s2") for name, file in files.items()}
    bands = choose_bands(named, options, source)
    if options.bands is None:
        bands = dict(sorted(bands.items(), key=lambda item: BAND_NAMES.index(item[1].name)))
    layers, notes = _read_layers(tree, bands, metadata)
    quality = _quality(tree, granule.files)
    with open_raster(layers[0].path) as dataset:
        driver = dataset.driver
    return Product(
        name=names.safe_name(granule.scene_name(metadata, tree)),
        source=source,
        kind="safe",
        layers=tuple(layers),
        options=options,
        driver=driver,
        identity=_identify(metadata, options, source),
        left_out=tuple(
            (PurePosixPath(file).name, "not asked for with --bands")
            for file in named
            if file not in bands
        )
        + _not_taken(tree, granule.files, files, quality)
        + _not_there(metadata, granule.files, files),
        sources={
            "bands": "names of the files that are there",
            "nodata": _nodata_source(layers, metadata, options),
            "grid": "the rasters",
        },
        notes=metadata.contradictions + notes,
        quality=quality,
    )


def _finest(tree: Tree, files: Sequence[str]) -> str:
    """Return the file of the smallest pixels."""
    told = {file: res for file in files if (res := res_in_name(file)) is not None}
    if len(files) == 1 or len(told) == len(files):
        return min(files, key=lambda file: (told.get(file, 0), file))

    def area(file: str) -> float:
        with open_raster(tree.gdal_path(file)) as dataset:
            return abs(dataset.transform.determinant)

    return min(files, key=area)


def _read_layers(
    tree: Tree, bands: Mapping[str, Band], metadata: SafeMetadata
) -> tuple[list[Layer], tuple[str, ...]]:
    """Return layers, and what is to be said of their grids."""
    layers, notes = list[Layer](), dict[str, None]()
    for file, band in bands.items():
        with open_raster(tree.gdal_path(file)) as dataset:
            if dataset.count != 1:
                raise SceneError(
                    f"{file} in {tree.source} has {dataset.count} bands instead of one. "
                    "Download the product again."
                )
            geobox, note = _grid(dataset, metadata)
            integer = dataset.dtypes[0].startswith(("uint", "int"))
            layer = layer_of(
                dataset,
                1,
                band,
                geobox=geobox,
                scaling=_scaling(band, metadata),
                # No pixel of Sentinel-2 is 0 but for want of data, whoever says so.
                nodata=(metadata.nodata or 0.0) if integer else None,
            )
        layers.append(layer)
        note = note or _grid_note(layer.geobox, metadata)
        if note:
            notes[note] = None
    return layers, tuple(notes)


def _grid(dataset: DatasetReader, metadata: SafeMetadata) -> tuple[GeoBox | None, str | None]:
    """Return the metadata's grid for a raster that has none, and what to say of it."""
    if dataset.crs is not None and not dataset.transform.is_identity:
        return None, None
    for res, grid in metadata.grids.items():
        if grid.shape == dataset.shape:
            note = f"rasters without a grid are taken to lie as {metadata.sources['grids']} says"
            return grid, f"{note} ({res} m)"
    return None, None


def _grid_note(geobox: GeoBox, metadata: SafeMetadata) -> str | None:
    """Return how a raster's grid differs from what the metadata says of it."""
    if not metadata.grids:
        return None
    res = res_in_metres(geobox)
    said = metadata.grids.get(round(res[0])) or next(iter(metadata.grids.values()))
    if same_grid(geobox, said):
        return None
    return (
        f"rasters have {_grid_in_words(geobox)}, {metadata.sources['grids']} says "
        f"{_grid_in_words(said)}; the rasters count"
    )


def _grid_in_words(geobox: GeoBox) -> str:
    corner = geobox.transform
    crs = geobox.crs and (f"EPSG:{geobox.crs.epsg}" if geobox.crs.epsg else "a CRS of its own")
    return (
        f"{geobox.height} × {geobox.width} pixels of {corner.a:g} m from "
        f"({corner.c:.10g}, {corner.f:.10g}) in {crs}"
    )


def _scaling(band: Band, metadata: SafeMetadata) -> LayerScaling | None:
    """Return what the metadata says of a band's scaling; None lets the file say it."""
    if metadata.lacks_offsets:
        return LayerScaling()  # a scale without the offset would be wrong
    if metadata.scale is None:
        return None
    if not metadata.offsets:
        source = metadata.sources["scale"]
        return LayerScaling(metadata.scale, 0.0, f"{source}, no offset")
    if band.name not in metadata.offsets:
        return LayerScaling()
    offset = metadata.offsets[band.name]
    return LayerScaling(metadata.scale, offset, metadata.sources["offsets"])


def _quality(tree: Tree, files: Iterable[str]) -> QualityLayer | None:
    """Return the layer that says best what is cloud."""
    candidates = []
    for place in map(PurePosixPath, files):
        polygons = place.suffix.lower() == ".gml"
        if place.suffix.lower() in SIDECARS and not polygons:
            continue
        stem = re.sub(r"_[126]0m$", "", place.stem)
        old = next((name for name, pattern in _OLD_NAMES.items() if pattern.fullmatch(stem)), None)
        if old is None and not _CLOUD_LAYER.search(stem):
            continue
        candidates.append(
            QualityCandidate(
                name=old or place.stem,
                path=tree.gdal_path(str(place)),
                content=tree.read(str(place)) if polygons and tree.kind != "folder" else None,
            )
        )
    return choose_quality(candidates)


def _not_taken(
    tree: Tree, there: Iterable[str], taken: Mapping[str, str], quality: QualityLayer | None
) -> tuple[tuple[str, str], ...]:
    """Return images that are no bands of the scene, and why."""
    left_out = []
    for place in images(there):
        band = band_of(place.stem)
        if band is not None and taken[band] != str(place):
            res = res_in_name(taken[band])
            at = f"at {res} m" if res else f"from {taken[band]}"
            left_out.append((place.name, f"{band} is taken {at}"))
        elif is_quality(place.stem) and (
            quality is None or quality.path != tree.gdal_path(str(place))
        ):
            left_out.append((place.name, "quality band"))
    return tuple(left_out)


def _not_there(
    metadata: SafeMetadata, there: Iterable[str], taken: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    """Return bands that the metadata lists, and that are not there, or not so fine."""
    present = {(band_of(place.stem), res_in_name(str(place))) for place in images(there)}
    missing: dict[str, list[int]] = {}
    for image in metadata.images:
        band, res = band_of(image), res_in_name(image)
        if band is None or (band, res) in present:
            continue
        if band not in taken:
            missing.setdefault(band, [])
        elif res is None or res >= (res_in_name(taken[band]) or 0):
            continue
        if res is not None:
            missing.setdefault(band, []).append(res)
    why = f"listed in {metadata.sources.get('images')}, but not there"
    return tuple(
        (band + (f" at {', '.join(map(str, sorted(res)))} m" if res else ""), why)
        for band, res in sorted(missing.items(), key=lambda item: BAND_NAMES.index(item[0]))
    )


def _identify(metadata: SafeMetadata, options: SceneOptions, source: str) -> Identity:
    said = metadata.sources
    sources = {key: said[key] for key in ("time", "baseline", "tile", "orbit") if key in said}
    found = names.Found("s2", "product's metadata")
    sensor, sources["sensor"] = settle("sensor", options, found, source)
    level_found = names.Found(metadata.level, said["level"]) if metadata.level else None
    level, sources["level"] = settle("level", options, level_found, source)
    return Identity(
        sensor=sensor,
        level=level,
        time=metadata.time,
        date=metadata.time and metadata.time.date(),
        baseline=metadata.baseline,
        sources=sources,
        tile=metadata.tile,
        orbit=metadata.orbit,
    )


def _nodata_source(layers: Iterable[Layer], metadata: SafeMetadata, options: SceneOptions) -> str:
    if options.nodata is not None:
        return nodata_source(layers, options)
    return metadata.sources.get("nodata", "0, as in all Sentinel-2 products")

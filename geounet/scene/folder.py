"""A scene of single-band files: a folder, or a YAML file that names band and path."""

import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import yaml
from affine import Affine
from odc.geo.geobox import GeoBox

from geounet.bands import COMMON_NAMES, is_quality, parse_level, parse_sensor
from geounet.errors import BandError, SceneError
from geounet.scene import names
from geounet.scene.product import (
    Product,
    SceneOptions,
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

SIDECARS = frozenset(
    [
        *(".xml", ".aux", ".ovr", ".msk", ".hdr", ".tfw", ".tifw", ".tiffw", ".j2w", ".jgw"),
        *(".jpw", ".pgw", ".wld", ".prj", ".rpb", ".imd", ".met", ".enp", ".gfs", ".gml"),
        *(".txt", ".json", ".geojson", ".yaml", ".yml", ".md", ".csv", ".html", ".pdf"),
        *(".qml", ".qgz", ".gpkg", ".shp", ".shx", ".dbf"),
    ]
)
"""Endings of files that lie beside rasters and are none."""
MANIFEST_KEYS = ("bands", "sensor", "level", "scale", "offset", "nodata")
IMAGE_FOLDERS = ("R10m", "R20m", "R60m", "IMG_DATA")
"""Folders of Sentinel-2 products that are called the same in all of them."""


def read_folder(source: str, options: SceneOptions) -> Product:
    """Find out what a folder of single-band files holds; their names say which band each is.

    Raises:
        BandError: No file is named by a band, or two by the same.
        SceneError: A file is not a single-band raster, or none says where it lies.
    """
    folder = Path(source)
    texts, left_out = _band_files(folder)
    if not texts:
        raise BandError(_why_no_bands(folder, left_out))
    _refuse_several_dates(texts, folder)
    product = _stack(texts, source, options, kind="folder")
    return replace(
        product,
        name=_folder_name(folder, list(texts)),
        left_out=left_out + product.left_out,
        sources={"bands": "file names", **product.sources},
        quality=choose_quality(
            [QualityCandidate(p.stem, str(p)) for p in _candidates(folder) if is_quality(p.stem)]
        ),
    )


def _band_files(folder: Path) -> tuple[dict[Path, str], tuple[tuple[str, str], ...]]:
    """Return files with the band names in theirs, and what is left out with the reason."""
    numbered, common = dict[Path, str](), dict[Path, str]()
    left_out = list[tuple[str, str]]()
    for path in _candidates(folder):
        if is_quality(path.stem):
            left_out.append((path.name, "quality band"))
        elif name := names.band_in_name(path.stem):
            numbered[path] = name
        elif (name := names.common_name_in(path.stem)) in COMMON_NAMES:
            common[path] = name
        else:
            left_out.append((path.name, "no band in its name"))
    if not numbered:
        return common, tuple(left_out)
    left_out += [(path.name, "other files are named by number") for path in common]
    return numbered, tuple(left_out)


def _refuse_several_dates(files: Iterable[Path], folder: Path) -> None:
    """Check that the names of files do not tell of different times."""
    times = dict[object, Path]()
    for path in files:
        if found := names.find_time({}, [names.NamePart(path.name, "", own=True)]):
            times[found[0]] = path
    if len(times) > 1:
        one, another, *_ = times.values()
        raise SceneError(
            f"{folder} holds bands of different dates: {one.name} and {another.name}. Each scene "
            "has to have its folder, or a YAML file that names the bands and files to take."
        )


def _candidates(folder: Path) -> Iterable[Path]:
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise SceneError(f"{folder} cannot be listed: {error.strerror}.") from error
    return (
        path
        for path in paths
        if path.suffix.lower() not in SIDECARS and path.name[0] != "." and path.is_file()
    )


def _why_no_bands(folder: Path, left_out: Sequence[tuple[str, str]]) -> str:
    """Return what to say of a folder without band files, and where they may be."""
    deeper = dict.fromkeys(
        str(path.parent)
        for path in islice(folder.rglob("*"), 20_000)
        if path.suffix.lower() not in SIDECARS and names.band_in_name(path.stem) and path.is_file()
    )
    if deeper:
        return (
            f"{folder} holds no band files itself. Give the folder that does: "
            f"{' or '.join(list(deeper)[:3])}."
        )
    there = ", ".join(name for name, _ in left_out[:5]) or "none that may be a raster"
    return (
        f"{folder} holds no file with a band in its name (…_B03.tif); its files: {there}. "
        "Name the files by band, write a YAML file that names band and path, or give one file."
    )


def _folder_name(folder: Path, files: Sequence[Path]) -> str:
    """Return the folder's name, or what its files' names begin with where that says more."""
    absolute = folder.absolute()
    if absolute.name in IMAGE_FOLDERS:
        stems = [path.stem.split("_B")[0] for path in files]
        if len(set(stems)) == 1 and stems[0]:
            return names.safe_name(stems[0])
    return names.safe_name(absolute.name)


def read_manifest(source: str, options: SceneOptions) -> Product:
    """Find out what the single-band files hold that a YAML file names.

    It has `bands:`, a mapping of band to path (from the YAML file's folder), and may have
    `sensor`, `level`, `scale`, `offset` and `nodata`, which options override. Without `bands:`,
    what is left is that mapping.

    Raises:
        BandError: A band is not known or there twice.
        SceneError: It is not such a file, or a file it names is missing or of another grid.
    """
    path = Path(source)
    settings = _load_manifest(path)
    bands = settings.pop("bands")
    options = _with_settings(options, settings, path)
    texts, left_out = dict[Path, str](), list[tuple[str, str]]()
    quality = list[QualityCandidate]()
    for text, file in bands.items():
        if not isinstance(text, str) or not isinstance(file, str):
            raise SceneError(f"{source}: {text}: {file} is not a band's name and a path.")
        place = path.parent / file
        if place in texts:
            raise BandError(f"{source} names {file} twice, as {texts[place]} and {text}.")
        if is_quality(text):
            left_out.append((f"{text} ({file})", "quality band"))
            quality.append(QualityCandidate(text, str(place)))
        else:
            texts[place] = text
    if not texts:
        raise BandError(f"{source} names no spectral band, only {', '.join(map(str, bands))}.")
    product = _stack(texts, source, options, kind="yaml")
    sources = {"bands": path.name, **product.sources}
    return replace(
        product,
        left_out=tuple(left_out) + product.left_out,
        sources=sources,
        quality=choose_quality(quality),
    )


def _load_manifest(source: Path) -> dict[str, Any]:
    """Return what a YAML file says, with the mapping of bands under `bands`."""
    try:
        text = source.read_text(encoding="utf-8")
        content = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SceneError(f"{source} is not valid YAML: {' '.join(str(error).split())}") from error
    except OSError as error:
        raise SceneError(f"{source} cannot be read: {error.strerror}.") from error
    if repeated := _repeated_key(yaml.compose(text, yaml.SafeLoader)):
        raise BandError(f"{source} has {repeated} twice. Leave one out.")
    if not isinstance(content, dict):
        raise SceneError(f"{source} does not name bands and paths: write lines of `B03: file.tif`.")
    if "bands" not in content:
        settings = {key: value for key, value in content.items() if key in MANIFEST_KEYS}
        bands = {key: value for key, value in content.items() if key not in MANIFEST_KEYS}
        content = {**settings, "bands": bands}
    if unknown := [str(key) for key in content if key not in MANIFEST_KEYS]:
        raise SceneError(
            f"{source} has the unknown key {', '.join(unknown)}; it may have "
            f"{', '.join(MANIFEST_KEYS)}."
        )
    if not isinstance(content["bands"], dict) or not content["bands"]:
        raise SceneError(f"{source} names no bands: write lines of `B03: file.tif` under bands.")
    return content


def _repeated_key(node: yaml.Node | None) -> str | None:
    """Return a key that a mapping has twice; PyYAML would take the last in silence."""
    if not isinstance(node, yaml.MappingNode):
        return None
    keys = [str(key.value) for key, _ in node.value]
    own = next((key for key in keys if keys.count(key) > 1), None)
    return own or next(filter(None, (_repeated_key(value) for _, value in node.value)), None)


def _with_settings(options: SceneOptions, settings: dict[str, Any], source: Path) -> SceneOptions:
    """Return options filled up with what the YAML file says."""
    for key in ("scale", "offset", "nodata"):
        value = settings.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise SceneError(f"{source}: {key} {value} is not a number (nan is written .nan).")
    if settings.get("sensor") is not None:
        settings["sensor"] = parse_sensor(str(settings["sensor"]))
    if settings.get("level") is not None:
        settings["level"] = parse_level(
            str(settings["level"]), options.sensor or settings.get("sensor")
        )
    fresh = {
        key: value
        for key, value in settings.items()
        if value is not None and getattr(options, key) is None
    }
    origins = tuple((key, f"{key} in {source.name}") for key in fresh)
    return replace(options, **fresh, origins=origins)


def _stack(texts: dict[Path, str], source: str, options: SceneOptions, *, kind: str) -> Product:
    """Make a product of single-band files with the names of their bands."""
    in_folder = kind == "folder"
    first = next(iter(texts))
    parts = names.name_parts(first if in_folder else Path(source), in_folder=in_folder)
    with open_raster(first) as dataset:
        identity = identify(parts, tags_of(dataset), options, texts.values())
        driver = dataset.driver
    named = {path: parse_of(text, source, identity) for path, text in texts.items()}
    refuse_duplicates(((band, path.name) for path, band in named.items()), source)
    bands = choose_bands(named, options, source)
    grids, notes = _grids(bands, source)
    layers = list[Layer]()
    for path, band in bands.items():
        with open_raster(path) as dataset:
            index = 2 if alpha_index(dataset) == 1 else 1
            layers.append(layer_of(dataset, index, band, options, geobox=grids[path]))
    if options.bands is None:
        # As the sensor has them, whatever order the files come in.
        layers = _in_sensor_order(layers)
    return Product(
        name=names.safe_name(Path(source).absolute().stem),
        source=source,
        kind=kind,
        layers=tuple(layers),
        options=options,
        driver=driver,
        identity=identity,
        left_out=tuple(
            (path.name, "not asked for with --bands") for path in named if path not in bands
        ),
        sources={"nodata": nodata_source(layers, options)},
        notes=notes,
    )


def _in_sensor_order(layers: Iterable[Layer]) -> list[Layer]:
    def order(layer: Layer) -> tuple[bool, float, str]:
        number = layer.band.name.removeprefix("B").replace("8A", "8.5").partition("_")[0]
        extra = layer.band.sensor is None
        return extra, 0.0 if extra else float(number), layer.band.name

    return sorted(layers, key=order)


def _grids(paths: Iterable[Path], source: str) -> tuple[dict[Path, GeoBox], tuple[str, ...]]:
    """Return the grid of each file, and what is to be said about them.

    Files without a CRS, or without any georeference, are taken to lie where others do: those of
    the same size, or, where only the CRS is missing, any other.

    Raises:
        SceneError: A file has more than one band, or nothing says where it lies.
    """
    placed, unplaced = dict[Path, GeoBox](), dict[Path, Affine | None]()
    shapes: dict[Path, tuple[int, int]] = {}
    for path in paths:
        with open_raster(path) as dataset:
            if dataset.count - (alpha_index(dataset) is not None) != 1:
                raise SceneError(
                    f"{path} has {dataset.count} bands; the files of {source} are to have one "
                    "each. Give it as a scene by itself."
                )
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
    models = ", ".join(dict.fromkeys(model.name for model, _ in found.values()))
    note = (
        f"{len(found)} of {len(found) + len(placed)} files have no CRS or geotransform "
        f"({', '.join(path.name for path in found)}); those of {models}, of the same size, are "
        "taken"
    )
    logger.warning("%s: %s", source, note)
    return placed | {path: grid for path, (_, grid) in found.items()}, (note,)


def _place(
    path: Path,
    shape: tuple[int, int],
    transform: Affine | None,
    placed: dict[Path, GeoBox],
) -> tuple[Path, GeoBox]:
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

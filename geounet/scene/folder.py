"""A scene of single-band files: a folder or archive of them, or a YAML file that names them."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from geounet.bands import COMMON_NAMES, is_quality, parse_band, parse_level, parse_sensor
from geounet.errors import BandError, SceneError, reason
from geounet.scene import landsat, names
from geounet.scene.landsat import Mtl, choose_mtl, parse_mtl
from geounet.scene.product import Product, SceneOptions
from geounet.scene.quality import QualityCandidate
from geounet.scene.raster import alpha_index, open_raster
from geounet.scene.remote import to_gdal
from geounet.scene.stack import BandFiles, read_stack
from geounet.scene.tree import Tree

SIDECARS = frozenset(
    [
        *(".xml", ".aux", ".ovr", ".msk", ".hdr", ".tfw", ".tifw", ".tiffw", ".j2w", ".jgw"),
        *(".jpw", ".pgw", ".wld", ".prj", ".rpb", ".imd", ".met", ".enp", ".gfs", ".gml"),
        *(".txt", ".json", ".geojson", ".yaml", ".yml", ".md", ".csv", ".html", ".pdf"),
        *(".qml", ".qgz", ".gpkg", ".shp", ".shx", ".dbf"),
        # Sums of bytes, downloads that are not done, and what editors leave.
        *(".md5", ".sha1", ".sha256", ".part", ".crdownload", ".tmp", ".bak", ".log"),
    ]
)
"""Endings of files that lie beside rasters and are none."""
MANIFEST_KEYS = ("bands", "sensor", "level", "scale", "offset", "nodata")
LARGEST_MANIFEST = 2**20
"""Characters of a YAML file."""
QUALITY = "quality band"
LOOKED_INTO = 20
"""Files without a band in their names that are opened to tell what to do."""
IMAGE_FOLDERS = ("R10m", "R20m", "R60m", "IMG_DATA")
"""Folders of Sentinel-2 products that are called the same in all of them."""


@dataclass(frozen=True)
class _Listing:
    """The files of a folder, or of one folder in an archive."""

    where: str
    """For people."""
    files: Mapping[str, str]
    """What GDAL opens, by name."""
    read: Callable[[str], bytes]
    """Returns the content of a file, by name."""


def read_folder(source: str, options: SceneOptions) -> Product:
    """Find out what a folder of single-band files holds; their names say which band each is.

    Where a Landsat product's MTL file lies with them, it says who took it, when, and how numbers
    become reflectance.

    Args:
        source: The folder.
        options: What the user says; `--bands` chooses, and may name a file by another word in its
            name (`VV`, `DEM`).

    Raises:
        BandError: No file is named by a band, or two by the same.
        SceneError: A file is not a single-band raster, none says where it lies, or there are
            several products.
    """
    folder = Path(source)
    return _read(_list_folder(folder), source, folder.absolute().name, options)


def read_tree(tree: Tree, options: SceneOptions) -> Product:
    """Find out what an archive of single-band files holds, as `read_folder` does.

    Raises:
        BandError: No file is named by a band, two by the same, or files in several folders.
        SceneError: As with a folder.
    """
    return _read(_list_tree(tree), tree.source, tree.name, options)


def _read(listing: _Listing, source: str, name: str, options: SceneOptions) -> Product:
    mtl = _read_mtl(listing)
    files = _band_files(listing, mtl, options)
    if not files.texts:
        raise BandError(_why_no_bands(listing, files.left_out))
    _refuse_several_dates(files.texts, listing.where)
    _refuse_duplicates(files.texts, listing.where)
    if mtl:
        level = _level_of_files(files.texts, mtl, listing.where)
        if level != mtl.level:
            mtl = replace(mtl, level=level, level_from="file names")
            files = replace(files, mtl=mtl)
    first = Path(listing.where) / Path(next(iter(files.texts))).name
    return read_stack(
        files,
        source,
        options,
        kind="landsat" if mtl else "folder",
        name=_folder_name(name, files.texts),
        parts=names.name_parts(first, in_folder=True),
    )


def _list_folder(folder: Path) -> _Listing:
    def read(name: str) -> bytes:
        try:
            with (folder / name).open("rb") as stream:
                return stream.read(landsat.LARGEST + 1)
        except OSError as error:
            raise SceneError(f"{folder / name} cannot be read: {error.strerror}.") from error

    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise SceneError(f"{folder} cannot be listed: {error.strerror}.") from error
    return _Listing(str(folder), {p.name: str(p) for p in paths if p.is_file()}, read)


def _list_tree(tree: Tree) -> _Listing:
    """Return the one folder of a tree that has band files, or its top if none has.

    Raises:
        BandError: Several have.
    """
    folders: dict[str, list[str]] = {}
    for file in tree.files:
        place = PurePosixPath(file)
        folders.setdefault("" if len(place.parts) == 1 else str(place.parent), []).append(file)
    banded = [name for name, files in folders.items() if any(map(_is_band_file, files))]
    if len(banded) > 1 and "" not in banded:
        raise BandError(
            f"{tree.source} holds band files in {len(banded)} folders: {', '.join(banded[:3])}. "
            "Unpack it, and give the folder of one scene."
        )
    folder = banded[0] if len(banded) == 1 else ""
    inside = {PurePosixPath(file).name: file for file in folders.get(folder, ())}
    return _Listing(
        where=f"{tree.source}/{folder}".rstrip("/"),
        files={name: tree.gdal_path(file) for name, file in inside.items()},
        read=lambda name: tree.read(inside[name], landsat.LARGEST),
    )


def _is_band_file(file: str) -> bool:
    place = PurePosixPath(file)
    return place.suffix.lower() not in SIDECARS and names.band_in_name(place.stem) is not None


def _read_mtl(listing: _Listing) -> Mtl | None:
    name = choose_mtl(listing.files, listing.where)
    if name is None:
        return None
    try:
        return parse_mtl(listing.read(name), name)
    except SceneError as error:
        raise SceneError(f"{listing.where}: {error}") from error


def _band_files(listing: _Listing, mtl: Mtl | None, options: SceneOptions) -> BandFiles:
    """Find out which files are bands, which say what is cloud, and what is left out."""
    listed = mtl.files if mtl else {}
    numbered, common = dict[str, str](), dict[str, str]()
    quality, left_out, others = list[QualityCandidate](), list[tuple[str, str]](), list[str]()
    for name, path in _rasters(listing):
        stem = PurePosixPath(name).stem
        if band := listed.get(name.lower()):
            numbered[path] = band
        elif is_quality(stem):
            quality.append(QualityCandidate(stem, path))
            left_out.append((name, QUALITY))
        elif band := names.band_in_name(stem):
            numbered[path] = band
        elif (word := names.common_name_in(stem)) in COMMON_NAMES:
            common[path] = word
        else:
            others.append(name)
    extra = _asked_for(others, options.bands or (), named=bool(numbered or common))
    left_out += [(name, "no band in its name") for name in others if name not in extra]
    if numbered:
        left_out += [(Path(path).name, "other files are named by number") for path in common]
    texts = (numbered or common) | {listing.files[name]: text for name, text in extra.items()}
    if mtl:
        left_out += _missing(mtl, listing, texts)
    named_by = f"{mtl.where}, file names" if mtl else "file names"
    return BandFiles(texts, named_by, tuple(quality), tuple(left_out), mtl)


def _rasters(listing: _Listing) -> Iterator[tuple[str, str]]:
    for name, path in listing.files.items():
        if PurePosixPath(name).suffix.lower() not in SIDECARS and name[0] != ".":
            yield name, path


def _asked_for(files: Iterable[str], bands: Sequence[str], *, named: bool) -> dict[str, str]:
    """Return files that `--bands` asks for by a word in their names, with that word.

    A radar image or a height model beside the bands is taken only if it is asked for.

    Args:
        files: Names that tell of no band.
        bands: What is asked for.
        named: Whether other files tell of bands; then only those are `red` and `B04`.
    """
    words = {name: _words(PurePosixPath(name).stem) for name in files}
    asked = {}
    for band in bands:
        if named and (names.band_in_name(band) or band.lower() in COMMON_NAMES):
            continue
        found = [name for name, inside in words.items() if band.lower() in inside]
        if len(found) == 1:
            asked[found[0]] = band
    return asked


def _words(stem: str) -> set[str]:
    return {word for word in re.split(r"[^a-z0-9]+", stem.lower()) if word}


def _missing(mtl: Mtl, listing: _Listing, texts: Mapping[str, str]) -> list[tuple[str, str]]:
    """Return the files of bands that an MTL file lists and that are not there."""
    there = {name.lower() for name in listing.files}
    if not there & set(mtl.files):
        return []  # renamed: by their new names nothing can be missed
    taken = {text.upper() for text in texts.values()}
    return [
        (name.upper(), f"listed in {mtl.where}, not there")
        for name, band in mtl.files.items()
        if name not in there and band not in taken
    ]


def _refuse_several_dates(files: Mapping[str, str], where: str) -> None:
    """Check that the names of files do not tell of different times."""
    times = dict[object, str]()
    for path, text in files.items():
        name = Path(path).name
        # What is no spectral band may be of another time: a radar image, a height model.
        if text.lower() not in COMMON_NAMES and names.band_in_name(text) is None:
            continue
        if found := names.find_time({}, [names.NamePart(name, "", own=True)]):
            times[found[0]] = name
    if len(times) > 1:
        one, another, *_ = times.values()
        raise SceneError(
            f"{where} holds bands of different dates: {one} and {another}. Each scene "
            "has to have its folder, or a YAML file that names the bands and files to take."
        )


def _refuse_duplicates(files: Mapping[str, str], where: str) -> None:
    """Check that no two files are of one band.

    Raises:
        BandError: Two are.
    """
    first = dict[str, str]()
    for path, text in files.items():
        name, key = Path(path).name, re.sub(r"^b0+", "b", text.lower())
        if key in first:
            raise BandError(
                f"{where} holds band {text} twice: {first[key]} and {name}. Take one away, or "
                "write a YAML file that names the bands and the files to take."
            )
        first[key] = name


def _level_of_files(files: Mapping[str, str], mtl: Mtl, where: str) -> str:
    """Return the level of a Landsat product's files, by their names where those say it.

    Surface reflectance of Collection 1 comes with the MTL file of the level 1 product that it was
    made of. Thermal bands do not count: beside surface reflectance they stay at level 1.

    Raises:
        SceneError: Some are of another level than others.
    """
    levels = dict[str, str]()
    for path, text in files.items():
        try:
            common = parse_band(text, mtl.sensor).common_name or "lwir"
        except BandError:
            continue  # said better, when bands are made of them
        if not common.startswith("lwir"):
            levels.setdefault(landsat.level_of(Path(path).stem, mtl.level), Path(path).name)
    if len(levels) > 1:
        raise SceneError(
            f"{where} holds bands of both levels: {levels['L1']} of L1 and {levels['L2']} of L2. "
            "Give each level its folder, or write a YAML file that names the bands and files."
        )
    return next(iter(levels), mtl.level)


def _why_no_bands(listing: _Listing, left_out: Sequence[tuple[str, str]]) -> str:
    """Return what to say of a folder without band files, and where they may be."""
    deeper = dict.fromkeys(
        str(path.parent)
        for path in islice(Path(listing.where).rglob("*"), 20_000)  # none in an archive
        if _is_band_file(path.name) and path.is_file()
    )
    if deeper:
        return (
            f"{listing.where} holds no band files itself. Give the folder that does: "
            f"{' or '.join(list(deeper)[:3])}."
        )
    others = [listing.files[name] for name, why in left_out if why != QUALITY][:LOOKED_INTO]
    stacks = [(path, count) for path in others if (count := _count(path)) > 1]
    if stacks:
        said = ", ".join(f"{Path(path).name} with {count}" for path, count in stacks[:3])
        which = "that file" if len(stacks) == 1 else "one of those"
        return (
            f"{listing.where} holds no file of one band, but {said}. Give {which} instead of the "
            f"folder: {stacks[0][0]}"
        )
    there = ", ".join(name for name, _ in left_out[:5]) or "none that may be a raster"
    return (
        f"{listing.where} holds no file with a band in its name (…_B03.tif); its files: {there}. "
        "Name the files by band, write a YAML file that names band and path, or give one file."
    )


def _count(path: str) -> int:
    """Return how many bands a raster has; 0 for something else."""
    try:
        with open_raster(path) as dataset:
            return dataset.count - (alpha_index(dataset) is not None)
    except SceneError:
        return 0


def _folder_name(name: str, files: Iterable[str]) -> str:
    """Return the folder's name, or what its files' names begin with where that says more."""
    if name in IMAGE_FOLDERS:
        stems = {Path(path).stem.split("_B")[0] for path in files}
        if len(stems) == 1 and (stem := stems.pop()):
            return stem
    return name


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
    texts, left_out = dict[str, str](), list[tuple[str, str]]()
    quality = list[QualityCandidate]()
    for text, file in bands.items():
        if not isinstance(text, str) or not isinstance(file, str):
            raise SceneError(
                f"{source}: {text}: {file} is not a band's name and a path.{_meant(str(text))}"
            )
        elsewhere = file.startswith("/vsi") or "://" in file
        place = to_gdal(file) if elsewhere else str(path.parent / file)
        if place in texts:
            raise BandError(f"{source} names {file} twice, as {texts[place]} and {text}.")
        if is_quality(text):
            quality.append(QualityCandidate(text, place))
            left_out.append((f"{text} ({file})", QUALITY))
        else:
            texts[place] = text
    if not texts:
        raise BandError(f"{source} names no spectral band, only {', '.join(map(str, bands))}.")
    return read_stack(
        BandFiles(texts, path.name, tuple(quality), tuple(left_out)),
        source,
        options,
        kind="yaml",
        name=path.absolute().stem,
        parts=names.name_parts(path, in_folder=False),
    )


def _load_manifest(source: Path) -> dict[str, Any]:
    """Return what a YAML file says, with the mapping of bands under `bands`."""
    try:
        with source.open("rb") as file:
            text = file.read(LARGEST_MANIFEST + 1).decode()
        if len(text) > LARGEST_MANIFEST:
            raise SceneError(f"{source} is longer than 1 MiB, too long for a list of bands.")
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.SafeLoader)):
            raise SceneError(f"{source} refers to parts of itself (*). Write them out.")
        content = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, ValueError, RecursionError) as error:
        raise SceneError(f"{source} is not valid YAML: {reason(error)}.") from error
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
            f"{', '.join(MANIFEST_KEYS)}.{_meant(unknown[0])}"
        )
    if not isinstance(content["bands"], dict) or not content["bands"]:
        raise SceneError(f"{source} names no bands: write lines of `B03: file.tif` under bands.")
    return content


def _meant(key: str) -> str:
    """Return which key seems to be meant, as a sentence; empty if none."""
    close = get_close_matches(key.lower(), MANIFEST_KEYS, n=1)
    return f" Did you mean {close[0]}?" if close else ""


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

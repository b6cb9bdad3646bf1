"""Where the files of a Sentinel-2 product lie: new and old layouts, folders and archives."""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath

from geounet.bands import is_quality, parse_band
from geounet.errors import BandError, SceneError
from geounet.scene import names
from geounet.scene.folder import SIDECARS
from geounet.scene.safe_metadata import Document, SafeMetadata, parse_safe_metadata
from geounet.scene.tree import Tree, is_archive, open_tree

MOST_LISTED = 1000
"""Folders in a folder that are looked into for a product."""
DEEPEST_ROOT = 2
"""Folders around a product in an archive that are looked into."""

_PRODUCT_XML = re.compile(
    r"MTD_MSIL(1C|2A)\.xml|S2\w_\w{4}_MTD_(SAF|DMP)L(1C|2A)_\S+\.xml|product_metadata\.xml",
    re.IGNORECASE,
)
_GRANULE_XML = re.compile(
    r"MTD_TL\.xml|S2\w_\w{4}_MTD_L(1C|2A)_TL_\S+\.xml|metadata\.xml", re.IGNORECASE
)
_SAFE_HEAD = re.compile(rb"<(?:\w+:)?Level-(?:1C|2A)_(User_Product|Tile_ID)[\s>]")
_AWS_NEIGHBOURS = {"tileInfo.json", "product_metadata.xml", "R10m", "R20m", "R60m", "B02.jp2"}
"""Beside any of these, `metadata.xml` is Sentinel-2's."""
_NO_IMAGES = {"QI_DATA", "QI", "AUX_DATA", "AUXILIARY", "PREVIEW", "HTML", "REP_INFO", "DATASTRIP"}
"""Folders of a granule without bands."""
_RES = re.compile(r"(?:^|/)R([126]0)m/|_([126]0)m(?:\.\w+)?$", re.IGNORECASE)


def safe_of(path: Path) -> tuple[Tree, str] | None:
    """Return the Sentinel-2 product that a path is, or is part of; None where it is none.

    Args:
        path: The folder of a product, of one of its granules, or one that holds a single product;
            an archive of it; or one of its main metadata files.

    Returns:
        Its files, and which of their folders is the product or the granule: `""` is all.

    Raises:
        SceneError: It holds several products, or is damaged.
    """
    if path.is_dir():
        return _safe_around(path.absolute(), path)
    if is_archive(path):
        tree = open_tree(path)
        root = find_safe(tree)
        return None if root is None else (tree, root)
    if not path.is_file():
        return None
    if path.name.lower() == "manifest.safe":
        return _safe_around(path.absolute().parent, path.parent)
    try:
        with path.open("rb") as stream:
            head = stream.read(2048)
    except OSError as error:
        raise SceneError(f"{path} cannot be read: {error.strerror}.") from error
    if _SAFE_HEAD.search(head):
        return _safe_around(path.absolute().parent, path.parent) or (open_tree(path.parent), "")
    return None


def _safe_around(absolute: Path, path: Path) -> tuple[Tree, str] | None:
    """Return the product that a folder is, is the granule of, or holds alone.

    Args:
        absolute: The folder, for the names above it.
        path: As the user gave it.
    """
    if absolute.name.upper() == "GRANULE":
        absolute, path = absolute.parent, absolute.parent
    above = absolute.parent
    if above.name.upper() == "GRANULE" and any(map(_PRODUCT_XML.fullmatch, _names(above.parent))):
        return open_tree(above.parent), f"{above.name}/{absolute.name}"
    inside = _names(path)
    if _is_root(inside):
        return open_tree(path), ""
    if any(map(_may_be_band, inside)):
        return None
    # Only names are listed here: a folder of anything may hold more than a product does.
    folders = (path / name for name in inside if name[0] != "." and (path / name).is_dir())
    found = [folder for folder in islice(folders, MOST_LISTED) if _is_root(_names(folder))]
    if len(found) > 1:
        raise SceneError(_several_products(str(path), [str(folder) for folder in found]))
    return (open_tree(found[0]), "") if found else None


def _names(folder: Path) -> list[str]:
    """Return what lies in a folder; nothing where that is not to be known."""
    try:
        return sorted(place.name for place in folder.iterdir())
    except OSError:  # said by whoever needs it: this only looks whether there is a product
        return []


def find_safe(tree: Tree) -> str | None:
    """Return the folder within a tree that is a Sentinel-2 product: `""` is all of it.

    Raises:
        SceneError: It holds several.
    """
    inside: dict[str, set[str]] = {"": set()}
    for file in tree.files:
        folder, *parts = "", *PurePosixPath(file).parts
        for part in parts[: DEEPEST_ROOT + 1]:
            inside.setdefault(folder, set()).add(part)
            folder = f"{folder}/{part}" if folder else part
    for depth in range(DEEPEST_ROOT + 1):
        level = [folder for folder in inside if folder.count("/") + bool(folder) == depth]
        found = sorted(folder for folder in level if _is_root(inside[folder]))
        if len(found) > 1:
            raise SceneError(_several_products(tree.source, found))
        if found:
            return found[0]
        if any(_may_be_band(name) for folder in level for name in inside[folder]):
            return None
    return None


def _is_root(inside: Collection[str]) -> bool:
    """Return whether a folder is a product, or a granule alone, by the names in it."""
    if "metadata.xml" in inside and not _AWS_NEIGHBOURS.isdisjoint(inside):
        return True
    if any(name.upper() == "GRANULE" for name in inside):
        return True
    own = [name for name in inside if not name.lower().endswith("metadata.xml")]
    return any(_PRODUCT_XML.fullmatch(name) or _GRANULE_XML.fullmatch(name) for name in own)


def _several_products(where: str, found: Sequence[str]) -> str:
    return (
        f"{where} holds {len(found)} Sentinel-2 products: {', '.join(found[:3])}"
        f"{', …' if len(found) > 3 else ''}. Give one of them; each is a scene."
    )


def _may_be_band(name: str) -> bool:
    place = PurePosixPath(name)
    return (
        place.suffix.lower() not in SIDECARS
        and bool(place.suffix)
        and not is_quality(place.stem)
        and names.band_in_name(place.stem) is not None
    )


@dataclass(frozen=True)
class Granule:
    """Where a granule's files lie, and the metadata that goes with them."""

    files: tuple[str, ...]
    product_xml: str | None
    granule_xml: str | None
    tile_info: str | None
    folders: tuple[str, ...]
    """Names that may tell of it: the product's, and the granule's."""
    one_of_several: bool

    def read_metadata(self, tree: Tree) -> SafeMetadata:
        """Read what the metadata files say."""
        product, granule, tile_info = (
            file and Document(PurePosixPath(file).name, tree.read(file), f"{tree.source}/{file}")
            for file in (self.product_xml, self.granule_xml, self.tile_info)
        )
        return parse_safe_metadata(
            product or None, granule or None, tile_info=tile_info or None, folders=self.folders
        )

    def scene_name(self, metadata: SafeMetadata, tree: Tree) -> str:
        """Return what to call the scene, the same for a folder and its archive."""
        name = metadata.name or (self.folders[0] if self.folders else tree.name)
        name = name.removesuffix(".SAFE")
        return f"{name}_T{metadata.tile}" if self.one_of_several else name


def find_granule(tree: Tree, root: str, source: str) -> Granule:
    """Return the one granule of a product, or the one that is given.

    Raises:
        SceneError: It has several.
    """
    place = PurePosixPath(root)
    is_granule = place.parent.name.upper() == "GRANULE"
    top = str(place.parent.parent) if is_granule else root
    top = "" if top == "." else f"{top}/".lstrip("/")
    inside = tuple(file for file in tree.files if file.startswith(top))
    granules: dict[str, list[str]] = {}
    for file in inside:
        parts = PurePosixPath(file.removeprefix(top)).parts
        if len(parts) > 2 and parts[0].upper() == "GRANULE":
            granules.setdefault(f"{top}{parts[0]}/{parts[1]}", []).append(file)
    given = root if is_granule else _only_granule(granules, tree, source)
    files = tuple(granules.get(given, inside))
    own = {PurePosixPath(file).name: file for file in files if _lies_in(file, given)}
    around = {file.removeprefix(top): file for file in inside if "/" not in file.removeprefix(top)}
    product_folder = PurePosixPath(top).name or Path(tree.source).absolute().name
    return Granule(
        files=files,
        product_xml=_first(_PRODUCT_XML, around),
        granule_xml=_first(_GRANULE_XML, own) or _first(_GRANULE_XML, around),
        tile_info=around.get("tileInfo.json"),
        folders=tuple(filter(None, (product_folder, PurePosixPath(given).name))),
        one_of_several=len(granules) > 1,
    )


def _only_granule(granules: Mapping[str, Sequence[str]], tree: Tree, source: str) -> str:
    """Return the folder of the one granule that has bands; `""` where there are no granules."""
    if len(granules) < 2:
        return next(iter(granules), "")
    with_bands = [folder for folder, files in granules.items() if by_band(files)]
    if len(with_bands) == 1:
        return with_bands[0]
    shown = [PurePosixPath(folder).name for folder in granules]
    if tree.kind == "folder":
        advice = f"Give the folder of one: {Path(tree.source) / next(iter(granules))}"
    else:
        advice = "Unpack it, and give the folder of one."
    raise SceneError(
        f"{source} has {len(shown)} granules, each a scene of its own: {', '.join(shown[:3])}"
        f"{', …' if len(shown) > 3 else ''}. {advice}"
    )


def _lies_in(file: str, folder: str) -> bool:
    return str(PurePosixPath(file).parent) == (folder or ".")


def _first(pattern: re.Pattern[str], files: Mapping[str, str]) -> str | None:
    return next((files[name] for name in sorted(files) if pattern.fullmatch(name)), None)


def images(files: Iterable[str]) -> Iterator[PurePosixPath]:
    """Yield what may be images of the ground, whatever their names end in."""
    for place in map(PurePosixPath, files):
        folders = {part.upper() for part in place.parts[:-1]}
        if place.suffix.lower() not in SIDECARS and _NO_IMAGES.isdisjoint(folders):
            yield place


def band_of(stem: str) -> str | None:
    """Return the band of Sentinel-2 that a file is named by."""
    name = names.band_in_name(stem)
    try:
        return None if name is None else parse_band(name, "s2").name
    except BandError:
        return None


def by_band(files: Iterable[str]) -> dict[str, list[str]]:
    """Return the images of each band, at whatever resolutions there are."""
    found: dict[str, list[str]] = {}
    for place in images(files):
        if name := band_of(place.stem):
            found.setdefault(name, []).append(str(place))
    return found


def res_in_name(file: str) -> int | None:
    """Return the resolution in metres that a path tells: `R10m/B02.jp2`, `…_B02_10m`."""
    match = _RES.search(file)
    return match and int(match[1] or match[2])

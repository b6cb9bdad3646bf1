"""What kind of product a source is, found by its content, and the reader for it."""

import re
from collections.abc import Sequence
from pathlib import Path

from geounet.errors import SceneError, UnrecognisedError
from geounet.scene import remote
from geounet.scene.folder import read_folder, read_manifest, read_tree
from geounet.scene.landsat import is_mtl
from geounet.scene.product import Product, SceneOptions
from geounet.scene.raster import is_there, open_raster
from geounet.scene.safe import read_safe
from geounet.scene.safe_layout import safe_of
from geounet.scene.single import read_file
from geounet.scene.stac import read_item
from geounet.scene.stac_documents import is_stac, split_source
from geounet.scene.tree import is_archive, open_tree

START = 512
"""Bytes that tell what a file is."""
_YAML = {".yaml", ".yml"}
_DOCUMENT = re.compile(rb"^(?:\xef\xbb\xbf)?\s*[{\[]")


def read_product(source: str, options: SceneOptions) -> Product:
    """Find out what a source is, and read what it says of itself.

    Args:
        source: A path, an address, or `items.json#ID`.
        options: What the user says about it.

    Raises:
        BandError: Bands have no names, the same name, or names whose sensor is not known.
        SceneError: It is missing, nothing that is known, damaged, or nobody knows where it lies.
    """
    if remote.is_remote(source):
        return _read_remote(source, options)
    if split_source(source)[1]:
        return read_item(source, options)
    if not is_there(source):
        return read_file(source, options)  # which says so, or knows it by another name
    path = Path(source)
    if path.is_file() and is_mtl(path.name):  # first: it may be JSON or XML
        return read_folder(str(path.parent), options)
    if path.is_dir() or is_archive(path) or _is_markup(path):
        return _read_many(path, source, options)
    if path.is_file():
        if path.suffix.lower() in _YAML:  # nothing in a YAML file tells that it is one
            return read_manifest(source, options)
        if _DOCUMENT.match(_start(path)):
            return _read_document(path, source, options)
    return read_file(source, options)


def _read_many(path: Path, source: str, options: SceneOptions) -> Product:
    """Read a product of several files: Sentinel-2's, or single-band files."""
    if found := safe_of(path):
        tree, root = found
        return read_safe(tree, options, root=root, source=source)
    if path.is_dir():
        return read_folder(source, options)
    if is_archive(path):
        return read_tree(open_tree(path), options)
    return read_file(source, options)  # a VRT is XML too


def _is_markup(path: Path) -> bool:
    return path.is_file() and _start(path).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<")


def _start(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(START)
    except OSError as error:
        raise SceneError(f"{path} cannot be read: {error.strerror}.") from error


def _read_remote(source: str, options: SceneOptions) -> Product:
    address, _, item = source.partition("#")
    if source.startswith("/vsi"):
        return read_file(source, options)
    try:
        document = item or _DOCUMENT.match(remote.fetch_start(address, START))
    except SceneError:
        if address.lower().startswith("http"):
            raise
        document = None  # GDAL has the credentials for a bucket, a plain request has not
    if document:
        return read_item(source, options)
    return read_file(source, options)


def _read_document(path: Path, source: str, options: SceneOptions) -> Product:
    """Read a JSON file."""
    content = path.read_bytes() if path.stat().st_size <= remote.DOCUMENT_LIMIT else b""
    if is_stac(content):
        return read_item(source, options)
    raise UnrecognisedError(
        f"{source} is JSON, but no STAC item. Give an item, a collection of items, or a raster."
    )


def check_scene_arguments(paths: Sequence[str | Path]) -> None:
    """Check that the arguments are scenes each, not the band files of one.

    Raises:
        SceneError: They are single-band files of one folder.
    """
    files = [Path(path) for path in paths]
    folders = {path.absolute().parent for path in files}
    if len(files) < 2 or len(folders) > 1 or not all(path.is_file() for path in files):
        return
    for path in files:
        try:
            with open_raster(path) as dataset:
                if dataset.count != 1:
                    return
        except SceneError:
            return  # said better when it is its turn
    raise SceneError(
        f"The {len(files)} arguments are single-band files of one folder, but each argument is one "
        f"scene. Give the folder: {files[0].parent}"
    )

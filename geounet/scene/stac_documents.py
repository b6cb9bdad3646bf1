"""STAC documents: an item, or one of a collection of items, found and checked."""

import json
import re
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any

import pystac
from pystac.utils import str_to_datetime

from geounet.errors import SceneError, reason
from geounet.scene.raster import is_there
from geounet.scene.remote import DOCUMENT_LIMIT, fetch, fetch_start, is_remote

_DOCUMENT = re.compile(rb"^(?:\xef\xbb\xbf)?\s*\{")
Key = tuple[str | int, ...]
MOST_KEPT = 8
"""Documents that are kept when they were read."""
LARGEST_KEPT = 32 * 2**20
"""Bytes of all of them; what JSON becomes is several times as large."""
KEPT_SECONDS = 600
"""For which an address is taken to have the same document."""
_NO_DOCUMENT = re.compile(r"(?i)\.(?:tiff?|jp2|vrt|img|nc|zip|tar|t?gz|safe|ya?ml)(?:$|\?)")
"""How addresses end that need not be asked whether they are JSON."""


def is_stac(content: bytes) -> bool:
    """Return whether a document is one of STAC's: an item, several, a collection, a catalogue."""
    try:
        data = json.loads(content)
    except (ValueError, RecursionError):
        return False
    return _is_stac(data)


def _is_stac(data: Any) -> bool:
    if not isinstance(data, dict):
        return False
    features = data.get("features")
    first = features[0] if isinstance(features, list) and features else data
    return "stac_version" in data or (isinstance(first, dict) and "stac_version" in first)


def expand_sources(sources: Sequence[str]) -> list[str]:
    """Return sources with each collection of items as its items, `items.json#ID`.

    A collection that is damaged stays what it is, and is refused when it is opened.
    """
    return [part for source in sources for part in _expand(str(source))]


def _expand(source: str) -> list[str]:
    try:
        data = _load(source) if _may_be_document(source) else {}
        if not (_is_stac(data) and data.get("type") == "FeatureCollection"):
            return [source]
        return [f"{source}#{name}" for name in _items(data, source)]
    except SceneError:
        return [source]  # said again when its turn comes, and the others are done


def _items(data: Mapping[str, Any], place: str) -> dict[str, dict[str, Any]]:
    """Return the items of a collection by their ids.

    Raises:
        SceneError: It is damaged, or two have one id.
    """
    items: dict[str, dict[str, Any]] = {}
    for item in _features(data, place):
        name = _id_of(item, place)
        if name in items:
            raise SceneError(f"{place} has two items {name}. Leave one out.")
        items[name] = item
    return items


def split_source(source: str) -> tuple[str, str]:
    """Return the document that a source is in, and the id of the item behind a `#`, if any.

    Folders and ids may have a `#` in their names too: the document ends at the first one that has
    a file before it.
    """
    if "#" not in source or is_remote(source):
        place, _, wanted = source.partition("#")
        return place, wanted
    ends = [i for i, char in enumerate(source) if char == "#"]
    places = ((source, ""), *((source[:end], source[end + 1 :]) for end in ends))
    return next((parts for parts in places if is_there(parts[0])), (source, ""))


def _may_be_document(source: str) -> bool:
    if is_remote(source):
        if source.startswith("/vsi") or "#" in source or _NO_DOCUMENT.search(source):
            return False
        return _DOCUMENT.match(fetch_start(source)) is not None
    path = Path(source)
    try:
        if not path.is_file() or path.stat().st_size > DOCUMENT_LIMIT:
            return False
        with path.open("rb") as file:
            return _DOCUMENT.match(file.read(512)) is not None
    except OSError:
        return False  # said better when it is opened


class _Documents:
    """Documents read lately: a collection of items is asked for once for each of them."""

    def __init__(self) -> None:
        self._kept: OrderedDict[Key, tuple[float, int, dict[str, Any]]] = OrderedDict()
        """When each was read, how long it is, and what is in it; the latest used last."""
        self._lock = Lock()

    def get(self, key: Key, read: Callable[[], bytes], place: str) -> dict[str, Any]:
        """Return a document, read if it is not kept.

        Args:
            key: Another one for another content, as far as that can be known.
            read: Returns its content.
            place: Where it is, for messages.

        Raises:
            SceneError: It cannot be read, or is no JSON object.
        """
        with self._lock:
            if (found := self._kept.get(key)) and monotonic() - found[0] < KEPT_SECONDS:
                self._kept.move_to_end(key)
                return found[2]
        content = read()
        data = _parsed(content, place)
        with self._lock:
            self._kept[key] = monotonic(), len(content), data
            self._kept.move_to_end(key)
            while len(self._kept) > MOST_KEPT or sum(n for _, n, _ in self._kept.values()) > (
                LARGEST_KEPT
            ):
                self._kept.popitem(last=False)
        return data


_documents = _Documents()


def _load(place: str) -> dict[str, Any]:
    """Return a JSON document, which is not to be changed.

    Raises:
        SceneError: It is not there, too long, or no JSON object.
    """
    if is_remote(place):
        return _documents.get((place,), lambda: fetch(place), place)
    path = Path(place)
    try:
        status = path.stat()
        if status.st_size > DOCUMENT_LIMIT:
            raise SceneError(
                f"{place} is longer than {DOCUMENT_LIMIT / 2**20:g} MiB: that is no item."
            )
        key = (str(path.absolute()), status.st_mtime_ns, status.st_size)
        return _documents.get(key, path.read_bytes, place)
    except OSError as error:
        raise SceneError(f"{place} cannot be read: {error.strerror}.") from error


def _parsed(content: bytes, place: str) -> dict[str, Any]:
    try:
        data = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise SceneError(
            f"{place} is not valid JSON: {reason(error)}. Download it again."
        ) from error
    if not isinstance(data, dict):
        raise SceneError(f"{place} is JSON, but no STAC item. Give an item.")
    return data


def _features(data: Mapping[str, Any], place: str) -> list[dict[str, Any]]:
    items = data.get("features")
    if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
        raise SceneError(f"{place} is no collection of STAC items: its features are no list.")
    if not items:
        raise SceneError(f"{place} holds no items: the search found nothing.")
    return items


def _id_of(item: Mapping[str, Any], place: str) -> str:
    name = item.get("id")
    if not isinstance(name, str) or not name:
        raise SceneError(f"{place} holds an item without an id. Give each its own.")
    return name


@dataclass(frozen=True)
class Item:
    """An item, checked as far as it is used."""

    source: str
    """As the user gave it."""
    place: str
    """The document it is in, a path or an address."""
    id: str
    properties: Mapping[str, Any]
    assets: Mapping[str, Mapping[str, Any]]
    self_href: str | None
    time: datetime | None
    time_source: str
    collection: str


def find_item(source: str) -> Item:
    """Return the item that a source means.

    Raises:
        SceneError: It is none, or one of several and not said which.
    """
    place, wanted = split_source(source)
    data = _load(place)
    kind = data.get("type")
    if kind == "FeatureCollection" and _is_stac(data):
        items = _items(data, place)
        if not wanted and len(items) > 1:
            raise SceneError(
                f"{source} holds {len(items)} items. Give one as {place}#{next(iter(items))}."
            )
        if wanted and wanted not in items:
            some = ", ".join(list(items)[:3]) + (" …" if len(items) > 3 else "")
            raise SceneError(f"{place} has no item {wanted}; it has {some}.")
        data = items[wanted or next(iter(items))]
    elif kind in ("Collection", "Catalog") or ("stac_version" in data and "assets" not in data):
        raise SceneError(
            f"{source} is a STAC {str(kind or 'catalogue').lower()}, not an acquisition. Give an "
            "item, or the items that a search of it finds (pystac-client), as a file."
        )
    if data.get("type") != "Feature" or "stac_version" not in data:
        raise SceneError(f"{source} is JSON, but no STAC item. Give an item.")
    return _checked(data, source, place)


def _checked(data: dict[str, Any], source: str, place: str) -> Item:
    """Return an item as pystac understands it.

    Raises:
        SceneError: It is damaged.
    """
    _check_shape(data, source)
    try:
        item = pystac.Item.from_dict(data, migrate=False)
        time, time_source = item.datetime, "datetime of the item"
        if time is None and isinstance(start := item.properties.get("start_datetime"), str):
            time, time_source = str_to_datetime(start), "start_datetime of the item"
        if time is not None:
            time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
        href = item.get_self_href()
    except (
        pystac.STACError, KeyError, TypeError, ValueError, AttributeError, OverflowError,
        RecursionError,
    ) as error:  # fmt: skip
        raise SceneError(
            f"{source} is a damaged STAC item: {reason(error)}. Download it again."
        ) from error
    return Item(
        source=source,
        place=place,
        id=item.id,
        properties=item.properties,
        assets=data["assets"],
        self_href=href,
        time=time,
        time_source=time_source,
        collection=item.collection_id or "",
    )


def _check_shape(data: Mapping[str, Any], source: str) -> None:
    """Check those parts of an item that are used here and not by pystac."""

    def refuse(what: str) -> SceneError:
        return SceneError(f"{source} is a damaged STAC item: {what}. Download it again.")

    assets, links = data.get("assets"), data.get("links", [])
    if not isinstance(data.get("id"), str) or not isinstance(data.get("properties"), dict):
        raise refuse("it has no id or no properties")
    if not isinstance(assets, dict) or not assets:
        raise refuse("it has no assets")
    for key, asset in assets.items():
        if not isinstance(asset, dict) or not isinstance(asset.get("href"), str):
            raise refuse(f"asset {key} has no link")
    if not isinstance(links, list) or not all(isinstance(link, dict) for link in links):
        raise refuse("its links are no list")
    if not isinstance(data.get("collection") or "", str):
        raise refuse("its collection is no name")

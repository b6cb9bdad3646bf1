"""Which water is the sea, and which lines bound it: by what the user says, never guessed."""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS

from geounet.errors import AreaError
from geounet.ragged import Areas, Geometries, Lines
from geounet.small_rings import ring_keys
from geounet.vectors import (
    POLYGON_TYPES,
    WGS84,
    clip_around,
    crs_of,
    of_type,
    open_vectors,
    project,
    read_around,
    repair,
    split_layer,
)
from geounet.vertices import as_complex

SEA, LAKE, UNKNOWN = "sea", "lake", "unknown"
KINDS = (UNKNOWN, SEA, LAKE)
"""Kinds of water, as they are numbered here."""
_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)"


def read_sea(text: str, geobox: GeoBox) -> Geometries:
    """Return where the sea is, as shapes (col, row).

    Args:
        text: A file of polygons, lines or points in any CRS, `file|layer` for one of its layers; or
            longitude and latitude, as -76.5,34.6.
        geobox: Grid of the scene.

    Returns:
        Shapes near the scene; there may be none.

    Raises:
        AreaError: The file cannot be read or has no CRS; or the place is none on Earth, or in the
            scene only when latitude and longitude change places.
    """
    if found := re.fullmatch(rf"\s*({_NUMBER})\s*,\s*({_NUMBER})\s*", text):
        return _read_place(found[1], found[2], geobox)
    if not (text.strip() and (text.startswith("/vsi") or split_layer(text)[0].exists())):
        raise AreaError(
            f"--sea {text!r} is neither a file that is there nor a place. Give a file of shapes, "
            "or longitude and latitude as -76.5,34.6."
        )
    vectors = open_vectors(text, layer=None, where=None, error=AreaError)
    shapes = read_around(vectors, geobox)
    polygons = repair(of_type(shapes, POLYGON_TYPES), name=text)
    others = shapes[~np.isin(shapely.get_type_id(shapes), POLYGON_TYPES)]
    shapes = np.concatenate([clip_around(polygons, vectors.crs, geobox), others])
    return _to_pixels(shapes, vectors.crs, geobox)


def _read_place(first: str, second: str, geobox: GeoBox) -> Geometries:
    """Return a place by its longitude and latitude; refuse what was surely meant the other way."""
    lon, lat = float(first), float(second)
    if not (-180 <= lon <= 360 and -90 <= lat <= 90):
        raise AreaError(
            f"--sea {first},{second} is no place: longitude first, from -180 to 180, then latitude."
        )
    place, turned = (
        _to_pixels(np.array([shapely.Point(at)], dtype=object), WGS84, geobox)
        for at in ((lon, lat), (lat, lon))
    )
    scene = shapely.box(0, 0, geobox.width, geobox.height)
    if shapely.intersects(turned, scene).any() and not shapely.intersects(place, scene).any():
        raise AreaError(
            f"--sea {first},{second} lies outside the scene, and {second},{first} in it. Give the "
            "longitude first."
        )
    return place


def _to_pixels(shapes: Geometries, crs: CRS, geobox: GeoBox) -> Geometries:
    """Return shapes (col, row)."""
    inverse = ~geobox.transform

    def move(places: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.column_stack(inverse @ tuple(places.T))

    return np.asarray(shapely.transform(project(shapes, crs, crs_of(geobox), geobox), move))


@dataclass
class _Lines:
    """Lines whose water is not whole yet."""

    key: NDArray[np.complex128]
    closed: NDArray[np.bool_]
    feature: NDArray[np.int64]
    """The first of the features that were made of each."""
    count: NDArray[np.int64]
    """How many there are."""

    def take(self, which: NDArray[Any]) -> "_Lines":
        return _Lines(self.key[which], self.closed[which], self.feature[which], self.count[which])


class WaterBodies:
    """Tells sea from lakes as water is whole, and which features of the lines bound which.

    Sea is the water that touches what `read_sea` gives; a lake is other water that neither nodata
    nor the scene's border cuts. Of the rest nobody knows.

    What is held is a few numbers for each line whose water goes on below, and two for each line of
    a kind that is known.
    """

    def __init__(self, sea: Geometries) -> None:
        self._sea = sea
        self._tree = shapely.STRtree(sea)
        self._touched = np.zeros(len(sea), dtype=bool)
        nothing = np.empty(0, dtype=np.int64)
        self._open = _Lines(nothing.astype(complex), nothing.astype(bool), nothing, nothing)
        self._known: dict[str, list[NDArray[np.int64]]] = {SEA: [], LAKE: []}
        self._features = 0

    def add_lines(self, lines: Lines, pieces: NDArray[np.int64]) -> None:
        """Take lines that are whole, before the water that they bound is.

        Args:
            lines: (n,), in the order in which their features were written.
            pieces: (n,), how many features each has become; 0 where it is not drawn.
        """
        ends = self._features + np.cumsum(pieces)
        starts = as_complex(lines.points[lines.offsets[:-1]])
        more = _Lines(starts, lines.closed, ends - pieces, pieces)
        self._features += int(pieces.sum())
        held = self._open
        self._open = _Lines(
            *(
                np.concatenate([getattr(held, name), getattr(more, name)])
                for name in ("key", "closed", "feature", "count")
            )
        )

    def add_areas(self, areas: Areas) -> NDArray[np.str_]:
        """Take water that is whole, and return the kind of each."""
        kinds = np.full(len(areas), UNKNOWN, dtype="U7")
        if not len(areas):
            return kinds
        points, rings, offsets = areas.points, areas.rings, areas.offsets
        order = np.argsort(self._open.key, kind="stable")
        lines = self._open.take(order)
        # Rings that are lines, and other lines by the vertex that they start at.
        line_of_ring = _find(lines.key, ring_keys(points, rings))
        is_line = (
            (line_of_ring >= 0) & lines.closed[line_of_ring]
            if len(lines.key)
            else (line_of_ring >= 0)
        )
        whole = np.logical_and.reduceat(is_line, offsets[:-1])
        kinds[whole] = LAKE
        if len(self._sea):
            touching, sea = self._tree.query(areas.shapes(), predicate="intersects")
            kinds[touching] = SEA
            self._touched[sea] = True
        area_of_point = np.repeat(np.arange(len(areas)), np.diff(rings[offsets]))
        line_of_point = _find(lines.key, as_complex(points))
        found = np.flatnonzero(line_of_point >= 0)
        for kind in (SEA, LAKE):
            of_kind = found[kinds[area_of_point[found]] == kind]
            which = np.unique(line_of_point[of_kind])
            self._known[kind].append(_spread(lines.feature[which], lines.count[which]))
        still = np.ones(len(lines.key), dtype=bool)
        still[line_of_point[found]] = False
        self._open = lines.take(still)
        return kinds

    def features(self, kind: str) -> NDArray[np.int64]:
        """Return the features of lines of a kind, sea or lake, numbered from 0, ascending."""
        known = self._known[kind]
        return np.sort(np.concatenate(known)) if known else np.empty(0, dtype=np.int64)

    def note(self, height: int, width: int) -> str | None:
        """Return what to say where something that is to be sea touches no water."""
        missed = self._sea[~self._touched]
        if len(self._sea) and not len(missed):
            return None
        if not len(self._sea):
            return "--sea has nothing in this scene, so no water in it is called sea"
        outside = ~shapely.intersects(missed, shapely.box(0, 0, width, height))
        where = (
            "lies outside the scene"
            if outside.all()
            else "touches no water: land, nodata or cloud is there"
        )
        some = "it" if len(self._sea) == 1 else f"{len(missed)} of its {len(self._sea)} shapes"
        then = "" if self._touched.any() else ", so no water is called sea"
        return f"--sea: {some} {where}{then}"


def _find(keys: NDArray[np.complex128], sought: NDArray[np.complex128]) -> NDArray[np.intp]:
    """Return where each number is in ascending keys; -1 where it is not."""
    if not len(keys):
        return np.full(len(sought), -1)
    index = np.minimum(np.searchsorted(keys, sought), len(keys) - 1)
    return np.where(keys[index] == sought, index, -1)


def _spread(first: NDArray[np.int64], count: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return first, first + 1, … of each run."""
    ends = np.cumsum(count)
    return np.repeat(first - (ends - count), count) + np.arange(ends[-1] if len(ends) else 0)

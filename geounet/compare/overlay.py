"""What became land and what became water: polygons laid over one another, tile by tile."""

from itertools import pairwise
from typing import NamedTuple

import numpy as np
import shapely
from numpy.typing import NDArray

from geounet.vectors import POLYGON_TYPES, Geometries, of_type, simple_parts

TILE_PX = 2048
"""Side of the tiles in which polygons are overlaid: what is in memory twice is one tile's."""
OFF_CENTRE = 0.4877
"""Where joins of tiles run between pixel edges: no vertex of a line drawn on the grid lies there,
so that what does is of the joins and can be taken out again."""

Lines = NDArray[np.float64]


class Change(NamedTuple):
    """Polygons in (col, row), each kind in a fixed order."""

    gained: Geometries
    """Land where there was water."""
    lost: Geometries
    """Water where there was land."""


def overlay(a: Geometries, b: Geometries, known: Geometries, *, tile: int = TILE_PX) -> Change:
    """Return where water became land and where land became water.

    The work is done in tiles, so that memory is for one of them besides the polygons. Edges get a
    vertex where they cross a join, before anything is cut, so that both sides of the join have the
    same; parts are merged across joins, and those vertices are taken out again. The result is
    that of the whole to 1e-9 of a pixel, which is all that the order of arithmetic leaves.

    Args:
        a: Water before, valid polygons in (col, row).
        b: Water after.
        known: The ground on which both are known.
        tile: Side of the tiles, in pixels.
    """
    every = np.concatenate([a, b])
    if not len(every) or not len(known):
        none = np.empty(0, dtype=object)
        return Change(none, none)
    bounds = shapely.total_bounds(known)
    cols, rows = _joins(bounds[0], bounds[2], tile), _joins(bounds[1], bounds[3], tile)
    layers = [_with_vertices_on(one, cols, rows) for one in (a, b, known)]
    trees = [shapely.STRtree(one) for one in layers]
    gained: list[Geometries] = []
    lost: list[Geometries] = []
    for top, bottom in pairwise(rows):
        for left, right in pairwise(cols):
            box = shapely.box(left, top, right, bottom)
            before, after, ground = (
                shapely.union_all(shapely.intersection(one[np.sort(tree.query(box))], box))
                for one, tree in zip(layers, trees, strict=True)
            )
            for found, first, second in ((gained, before, after), (lost, after, before)):
                apart = shapely.intersection(shapely.difference(first, second), ground)
                found.append(of_type(simple_parts(np.array([apart])), POLYGON_TYPES))
    return Change(_joined(gained, cols, rows), _joined(lost, cols, rows))


def _joins(low: float, high: float, tile: int) -> Lines:
    """Return where joins are along one axis, the first and last beyond everything."""
    first = np.floor((low - OFF_CENTRE) / tile)
    last = max(np.ceil((high - OFF_CENTRE) / tile), first + 1)
    return np.arange(first, last + 1) * tile + OFF_CENTRE


def _with_vertices_on(polygons: Geometries, cols: Lines, rows: Lines) -> Geometries:
    """Give edges a vertex, with exactly that coordinate, where they cross joins of tiles."""
    if not len(polygons):
        return polygons
    kind, vertices, (rings, parts) = shapely.to_ragged_array(polygons)
    edge = np.delete(np.arange(len(vertices)), rings[1:] - 1)
    start, end = vertices[edge], vertices[edge + 1]
    # From the same end whichever way an edge runs, so that its crossing is the same to the bit.
    turned = (start[:, 0] > end[:, 0]) | ((start[:, 0] == end[:, 0]) & (start[:, 1] > end[:, 1]))
    low = np.where(turned[:, None], end, start)
    high = np.where(turned[:, None], start, end)
    of_edge, shares, places = [np.arange(len(vertices))], [np.zeros(len(vertices))], [vertices]
    for axis, lines in enumerate((cols, rows)):
        least, most = np.minimum(low, high)[:, axis], np.maximum(low, high)[:, axis]
        first = np.searchsorted(lines, least, side="right")
        times = np.maximum(np.searchsorted(lines, most, side="left") - first, 0)
        which = np.repeat(np.arange(len(edge)), times)
        nth = np.arange(len(which)) - np.repeat(np.cumsum(times) - times, times)
        line = lines[first[which] + nth]
        span = (high - low)[which]
        share = (line - low[which, axis]) / span[:, axis]
        crossing = low[which] + share[:, None] * span
        crossing[:, axis] = line
        of_edge.append(edge[which])
        shares.append(np.where(turned[which], 1 - share, share))
        places.append(crossing)
    owner = np.concatenate(of_edge)
    order = np.lexsort((np.concatenate(shares), owner))
    added = np.sort(np.concatenate(of_edge[1:]))
    rings = rings + np.searchsorted(added, rings, side="left")
    return shapely.from_ragged_array(kind, np.concatenate(places)[order], (rings, parts))


def _joined(pieces: list[Geometries], cols: Lines, rows: Lines) -> Geometries:
    """Merge polygons across joins of tiles, and put them in an order that tiles do not decide."""
    parts = np.concatenate(pieces)
    left, top, right, bottom = shapely.bounds(parts).T
    cut = np.isin(left, cols) | np.isin(right, cols) | np.isin(top, rows) | np.isin(bottom, rows)
    if cut.any():
        whole = simple_parts(np.array([shapely.union_all(parts[cut])]))
        parts = np.concatenate([parts[~cut], _without_vertices_on(whole, cols, rows)])
    parts = shapely.normalize(parts)
    order = np.lexsort(np.round(shapely.bounds(parts), 6).T)
    return np.asarray(parts[order], dtype=object)


def _without_vertices_on(polygons: Geometries, cols: Lines, rows: Lines) -> Geometries:
    """Take vertices on joins of tiles out of rings."""
    kind, vertices, (rings, parts) = shapely.to_ragged_array(polygons)
    closing = np.zeros(len(vertices), dtype=np.bool_)
    closing[rings[1:] - 1] = True
    ring = np.repeat(np.arange(len(rings) - 1), np.diff(rings))
    keep = ~(np.isin(vertices[:, 0], cols) | np.isin(vertices[:, 1], rows)) & ~closing
    # A ring of which nothing would be left is narrower than arithmetic is exact.
    keep |= (np.bincount(ring[keep], minlength=len(rings) - 1) < 3)[ring] & ~closing
    sizes = np.bincount(ring[keep], minlength=len(rings) - 1)
    ends = np.cumsum(sizes)
    kept = vertices[keep]
    closed = np.insert(kept, ends, kept[ends - sizes], axis=0)
    offsets = np.concatenate([[0], ends + np.arange(1, len(ends) + 1)])
    return shapely.from_ragged_array(kind, closed, (offsets, parts))

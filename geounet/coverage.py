"""How much of each pixel polygons cover: areas added up edge by edge, exactly."""

import logging

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox

from geounet.vectors import POLYGON_TYPES, Geometries, of_type, repair, simple_parts

_FINEST = 1e-7
"""Vertices are moved by less, in pixels, where polygons are joined."""

Points = NDArray[np.float64]
"""(n, 2) as (col, row) in pixels; pixel 0 is from 0 to 1."""


def coverage(polygons: Geometries, geobox: GeoBox) -> NDArray[np.float64]:
    """Return how much of each pixel's area lies in any of the polygons.

    Nothing is sampled: it is the area of the intersection, to a millionth of a pixel.

    Args:
        polygons: In the CRS of `geobox`; they may overlap.
        geobox: Grid of the result; it may be turned.

    Returns:
        (height, width), 0 to 1.
    """
    height, width = geobox.shape
    to_pixels = ~geobox.transform
    # An affine map keeps shares of areas, and behind this one pixels are unit squares.
    moved = shapely.transform(
        polygons, lambda xy: np.column_stack(to_pixels @ (xy[:, 0], xy[:, 1]))
    )
    moved = repair(moved, name="the labels on the grid", level=logging.DEBUG)
    near = shapely.intersection(moved, shapely.box(0, 0, width, height))
    # What two polygons cover is covered once; not on a grid, GEOS loses parts of polygons that
    # are there twice and hardly touch themselves. Normalised, all rings run the same way round.
    parts = of_type(simple_parts(near), POLYGON_TYPES)
    whole = shapely.normalize(shapely.union_all(parts, grid_size=_FINEST))
    points, ring = shapely.get_coordinates(
        shapely.get_rings(of_type(shapely.get_parts([whole]), POLYGON_TYPES)), return_index=True
    )
    first = np.flatnonzero(ring[:-1] == ring[1:])
    return enclosed_area(*_split(points[first], points[first + 1]), (height, width))


def enclosed_area(start: Points, end: Points, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Return how much of each pixel rings enclose, whose edges are given.

    Signed areas under the edges are added up, as font rasterisers do.

    Args:
        start: Where each edge begins. Rings run one way round, those of holes the other way.
        end: Where it ends, in the same pixel or on its border.
        shape: (height, width) in pixels; no edge leaves it.

    Returns:
        (height, width), 0 to 1.
    """
    height, width = shape
    # What lies on the right or lower border belongs to the last pixels.
    middle = (start + end) / 2
    col = np.floor(middle[:, 0]).clip(0, width - 1).astype(int)
    row = np.floor(middle[:, 1]).clip(0, height - 1).astype(int)
    drop = end[:, 1] - start[:, 1]
    pixel = row * (width + 1) + col
    size = height * (width + 1)
    # To the right of an edge, the area of its own pixel and then all of the pixels after it.
    own = np.bincount(pixel, drop * (col + 1 - middle[:, 0]), minlength=size)
    later = np.bincount(pixel + 1, drop * (middle[:, 0] - col), minlength=size + 1)[:size]
    area = (own + later).reshape(height, width + 1).cumsum(axis=1)[:, :width]
    # What is covered whole is whole, whatever vertices and sums were rounded to on the way.
    return np.abs(area).round(6).clip(0, 1)


def _split(start: Points, end: Points) -> tuple[Points, Points]:
    """Cut edges where they cross from pixel to pixel."""
    edges, shares = [np.arange(len(start))], [np.zeros(len(start))]
    for axis in (0, 1):
        begin, span = start[:, axis], end[:, axis] - start[:, axis]
        low, high = np.minimum(begin, begin + span), np.maximum(begin, begin + span)
        # Whole numbers strictly between the two ends.
        first = np.floor(low) + 1
        count = np.maximum(np.ceil(high) - first, 0).astype(int)
        edge = np.repeat(np.arange(len(start)), count)
        nth = np.arange(len(edge)) - np.repeat(count.cumsum() - count, count)
        edges.append(edge)
        shares.append((first[edge] + nth - begin[edge]) / span[edge])
    edge, share = np.concatenate(edges), np.concatenate(shares)
    order = np.lexsort([share, edge])
    edge, share = edge[order], share[order]
    cuts = start[edge] + share[:, None] * (end - start)[edge]
    goes_on = np.append(edge[1:] == edge[:-1], False)
    ends = np.where(goes_on[:, None], np.roll(cuts, -1, axis=0), end[edge])
    return cuts, ends

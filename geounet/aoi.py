"""The area of interest: the part of a scene that somebody asked for."""

from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS
from shapely.geometry.base import BaseGeometry

from geounet.errors import AreaError
from geounet.vectors import (
    POLYGON_TYPES,
    clip_around,
    covered,
    crs_of,
    describe_bounds,
    grid_bounds,
    lonlat_bounds,
    of_type,
    open_vectors,
    project,
    read_around,
    repair,
    simple_parts,
)


def read_aoi(path: str | Path, geobox: GeoBox, *, buffer_m: float | None) -> BaseGeometry:
    """Read the area of interest of a scene.

    Args:
        path: Polygons, or lines or points to be widened, in any format and CRS; `file|layer`
            names a layer.
        geobox: Grid of the scene.
        buffer_m: By how much the shapes are widened on every side, in metres on the ground; None
            for polygons as they are.

    Returns:
        A polygon or several in the CRS of `geobox`, cut to the scene's surroundings.

    Raises:
        AreaError: It cannot be read, has no CRS, is no area, or does not touch the scene.
    """
    vectors = open_vectors(str(path), layer=None, where=None, error=AreaError)
    margin_m = buffer_m or 0.0
    grid_crs = crs_of(geobox)
    shapes = read_around(vectors, geobox, margin_m=margin_m)
    if buffer_m is None and len(shapes) and not len(of_type(shapes, POLYGON_TYPES)):
        raise AreaError(
            f"{path} has lines or points and no polygons, so it is no area. "
            "Widen them with --aoi-buffer METRES."
        )
    polygons = repair(of_type(shapes, POLYGON_TYPES), name=str(path))
    polygons = clip_around(polygons, vectors.crs, geobox, margin_m=margin_m)
    if buffer_m is None:
        area = project(polygons, vectors.crs, grid_crs, geobox)
    else:
        others = shapes[~np.isin(shapely.get_type_id(shapes), POLYGON_TYPES)]
        metric = _metric_crs(geobox)
        near = project(np.concatenate([polygons, others]), vectors.crs, metric, geobox)
        wide = simple_parts(shapely.buffer(near, buffer_m, quad_segs=32))
        area = project(wide, metric, grid_crs, geobox)
    union = shapely.union_all(area)
    if not shapely.intersects(union, shapely.box(*grid_bounds(geobox))):
        raise AreaError(
            f"The area of interest does not touch the scene: {path} has "
            f"{describe_bounds(vectors.bounds, vectors.crs)}, the scene "
            f"{describe_bounds(grid_bounds(geobox), grid_crs)}. Give another --aoi."
        )
    return union


def aoi_mask(aoi: BaseGeometry, geobox: GeoBox) -> NDArray[np.bool_]:
    """Return which pixels have their centre in an area of interest.

    Args:
        aoi: As `read_aoi` gives it, in the CRS of `geobox`.
        geobox: Grid of the result: the scene's, or a window of it.

    Returns:
        (height, width).
    """
    left, bottom, right, top = grid_bounds(geobox)
    # A margin, so that cut edges do not decide about pixels at the border.
    x, y = (right - left) / geobox.shape[1], (top - bottom) / geobox.shape[0]
    near = shapely.intersection(aoi, shapely.box(left - x, bottom - y, right + x, top + y))
    parts = simple_parts(np.array([near], dtype=object))
    return covered(of_type(parts, POLYGON_TYPES), geobox)


def _metric_crs(geobox: GeoBox) -> CRS:
    """Return a CRS around a grid whose unit is a metre on the ground.

    Azimuthal equidistant from its middle: 100 km away lengths are 0.004 % too long.
    """
    left, bottom, right, top = lonlat_bounds(grid_bounds(geobox), crs_of(geobox))
    longitude = left + ((right - left) % 360) / 2
    return CRS.from_dict(
        {"proj": "aeqd", "lat_0": (bottom + top) / 2, "lon_0": longitude, "datum": "WGS84"}
    )

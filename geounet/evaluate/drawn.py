"""Lines and polygons of anyone's as a prediction: they bring no grid, so one is laid over them."""

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from odc.geo.geobox import GeoBox
from pyproj import CRS

from geounet.classes import LAND, LAND_WATER, LabelClass
from geounet.errors import ResultError
from geounet.vectors import WGS84, VectorFile, lonlat_bounds, transformer

AROUND_PX = 2
"""Ground around the outermost points that still counts, in pixels."""
WIDEST_M = 2_000_000.0
"""Over which one plane is true enough."""


class NoMask:
    """Stands for the mask of lines that come without one: no ground is left out."""

    classes: tuple[LabelClass, ...] = LAND_WATER

    def prepare(self, geobox: GeoBox, *, scene: str) -> None:
        """There is nothing to be checked."""

    def read(self, geobox: GeoBox) -> NDArray[np.uint8]:
        """Return some class, known everywhere, (height, width)."""
        return np.full(geobox.shape, LAND.value, dtype=np.uint8)

    def read_shares(self, geobox: GeoBox) -> NDArray[np.float32]:
        """Return the same as shares of water, (height, width)."""
        return np.zeros(geobox.shape, dtype=np.float32)


def grid_around(vectors: VectorFile, pixel_m: float) -> GeoBox:
    """Return a grid that covers a layer, true to scale in its middle.

    Args:
        vectors: The layer.
        pixel_m: Side of its pixels, in metres.

    Raises:
        ResultError: The layer is too large for one plane.
    """
    left, bottom, right, top = lonlat_bounds(vectors.bounds, vectors.crs)
    middle = left + (right - left) % 360 / 2
    crs = CRS.from_proj4(
        f"+proj=tmerc +lat_0={(bottom + top) / 2:.9f} +lon_0={middle:.9f} +k=1 +datum=WGS84 "
        "+units=m"
    )
    side = np.linspace(0, 1, 33)
    lon, lat = np.meshgrid(left + side * ((right - left) % 360), bottom + side * (top - bottom))
    x, y = transformer(WGS84, crs).transform(lon.ravel(), lat.ravel())
    width, height = np.ptp(x), np.ptp(y)
    if not max(width, height) < WIDEST_M:
        raise ResultError(
            f"{vectors.path} is larger than {WIDEST_M / 1000:.0f} km, too large for one plane. "
            "Give a part of it at a time."
        )
    margin = AROUND_PX * pixel_m
    shape = (int(height / pixel_m) + 2 * AROUND_PX + 1, int(width / pixel_m) + 2 * AROUND_PX + 1)
    corner = (float(x.min()) - margin, float(y.max()) + margin)
    return GeoBox(shape, Affine(pixel_m, 0, corner[0], 0, -pixel_m, corner[1]), crs.to_wkt())

"""Grids, ways to draw, and whole lines and areas of arrays."""

from typing import NamedTuple

from affine import Affine
from contouring import UTM
from odc.geo.geobox import GeoBox

from geounet.ground import Ground
from geounet.line_options import LineOptions
from geounet.ragged import Geometries
from geounet.shoreline import Shoreline
from geounet.tracing import Scale

UTM_10 = (UTM, "EPSG:32630")
GRIDS = {
    "utm": UTM_10,
    "degrees": (Affine(2e-4, 0, 10.0, 0, -1e-4, 60.0), "EPSG:4326"),
    "mercator": (Affine(20, 0, 1e6, 0, -20, 8e6), "EPSG:3857"),
    "south up": (Affine(10, 0, 500_000, 0, 10, 4_400_000), "EPSG:32630"),
    "rotated": (
        Affine.translation(5e5, 45e5) @ Affine.rotation(25) @ Affine.scale(12, -7),
        "EPSG:32630",
    ),
}
OPTIONS = {
    "plain": LineOptions(land=True),
    "simplified": LineOptions(simplify_m=25, land=True),
    "coarse": LineOptions(simplify_m=200, land=True),
    "smoothed": LineOptions(smooth_m=5, land=True),
    "without small": LineOptions(min_area_m2=3000, land=True),
    "all": LineOptions(simplify_m=15, smooth_m=8, min_area_m2=1500, land=True),
}


def ground(shape, grid="utm"):
    transform, crs = GRIDS[grid]
    return Ground(GeoBox(shape, transform, crs))


class Shapes(NamedTuple):
    """What is drawn, as shapely has it."""

    lines: Geometries
    water: Geometries
    land: Geometries

    @classmethod
    def of(cls, parts):
        joined = (type(kind[0]).joined(kind) for kind in zip(*parts, strict=True))
        return cls(*(kind.shapes() for kind in joined))


def draw(values, options=OPTIONS["plain"], *, grid="utm", rows=None, level=0.5) -> Shapes:
    on = ground(values.shape, grid)
    shoreline = Shoreline(values.shape, on, scale=Scale.plain(level), options=options, rows=rows)
    parts = list(shoreline.draw(lambda a, b: values[a:b], (1, 1)))
    assert rows is not None or len(parts) == shoreline.steps()
    return Shapes.of(parts)

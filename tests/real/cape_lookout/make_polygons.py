"""Draw the land of Cape Lookout: NDWI for most of the shore, corrections by hand for the rest.

python make_polygons.py FOLDER_OF_THE_BANDS
"""

import json
import sys
from pathlib import Path

import numpy as np
import rasterio
import shapely
from rasterio.features import shapes, sieve

BAND = "2018-10-13, Sentinel-2B L1C, {}.tiff"
OUTSIDE = 255  # outside of the polygon that the image was cut to; also saturation
LAND_BELOW = 0.15
"""NDWI halfway between land and water, for sand (-0.03) and for marsh (-0.1) against water (0.6):
half a pixel of sand gives 0.09, half a pixel of marsh 0.2."""
SMALLEST = 25
"""In pixels, 0.2 ha: boats, wakes and piers are smaller."""
BRIGHT = 60
"""Red above which a hole in the land is sand or roofs, which are brighter in green than in NIR."""
TOLERANCE = 1.0
"""Of the simplification, in pixels."""

# Looked at twice to eight times enlarged in B08, B04, B03; (column, row) of the image.
NOT_LAND = {
    "railway bridge to Radio Island": [(240, 116), (320, 112), (320, 121), (262, 127), (240, 127)],
    "bridge to Beaufort": [
        (504, 76), (505, 70), (512, 65), (537, 40), (546, 40), (546, 45), (508, 76),
    ],
    "old bridge to Beaufort": [(513, 100), (533, 100), (533, 106), (513, 106)],
    "ships at Morehead City": [(224, 53), (239, 53), (239, 79), (224, 79)],
    "ships at Radio Island": [(270, 157), (286, 157), (286, 188), (270, 188)],
    "bar under water off Shackleford": [(1951, 1264), (1962, 1264), (1962, 1283), (1951, 1283)],
    "watermark": [(0, 2120), (220, 2120), (220, 2201), (0, 2201)],
}  # fmt: skip


def main(folder: Path) -> None:
    bands = []
    for name in ("B03", "B04", "B08"):
        with rasterio.open(folder / BAND.format(name)) as src:
            bands.append(src.read(1).astype(float))
            transform = src.transform
    green, red, nir = bands
    outside = (green == OUTSIDE) & (red == OUTSIDE) & (nir == OUTSIDE)
    ndwi = (green - nir) / (green + nir + 1e-9)
    land = sieve(((ndwi < LAND_BELOW) & ~outside).astype(np.uint8), SMALLEST)
    land[outside] = 0
    found = [shapely.geometry.shape(g) for g, value in shapes(land) if value == 1]
    found = shapely.simplify([without_bright_holes(one, red) for one in found], TOLERANCE)
    wrong = shapely.union_all([shapely.Polygon(corners) for corners in NOT_LAND.values()])
    parts = shapely.get_parts(shapely.difference(found, wrong))
    parts = parts[shapely.area(parts) >= SMALLEST]
    # Five decimals are a tenth of a pixel.
    on_earth = shapely.transform(
        parts, lambda xy: np.round(np.column_stack(transform @ (xy[:, 0], xy[:, 1])), 5)
    )
    on_earth = shapely.get_parts(shapely.make_valid(on_earth))
    on_earth = on_earth[shapely.get_type_id(on_earth) == 3]
    features = [
        {"type": "Feature", "properties": {}, "geometry": json.loads(shapely.to_geojson(one))}
        for one in on_earth
    ]
    lines = ",\n".join(json.dumps(feature, separators=(",", ":")) for feature in features)
    out = Path(__file__).with_name("land.geojson")
    out.write_text('{"type":"FeatureCollection","features":[\n' + lines + "\n]}\n")


def without_bright_holes(polygon: shapely.Polygon, red: np.ndarray) -> shapely.Polygon:
    """Return a polygon without the holes in which the ground is bright."""
    holes = []
    for ring in polygon.interiors:
        left, top, right, bottom = (int(b) for b in ring.bounds)
        rows, cols = np.mgrid[top:bottom, left:right]
        inside = shapely.contains_xy(shapely.Polygon(ring), cols + 0.5, rows + 0.5)
        if red[rows, cols][inside].mean() < BRIGHT:
            holes.append(ring)
    return shapely.Polygon(polygon.exterior, holes)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

"""A delta of many channels and islands: its mask drawn as areas and lines, counted another way."""

import json

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
from contouring import contour, make_products
from scipy import ndimage

from geounet.drawing import draw_coastline

ISLANDS = 99
"""Besides the mainland; pixels that touch at a corner are one, and water parts there."""


@pytest.fixture(scope="module")
def delta(shared_data):
    """The mask, 1 over water, and its grid as rasterio has it."""
    with rasterio.open(shared_data / "colville_delta_mask" / "Colville_mask.tif") as src:
        return src.read(1), {"crs": src.crs, "transform": src.transform}


def test_areas_of_the_delta_are_its_pixels_and_its_islands_are_counted(delta, tmp_path):
    mask, grid = delta
    land, count = ndimage.label(mask == 0, np.ones((3, 3)))
    border = np.concatenate([land[0], land[-1], land[:, 0], land[:, -1]])
    outer = set(np.unique(border)) - {0}
    assert count - len(outer) == ISLANDS

    out = make_products(tmp_path, mask.astype(np.float64), quantity="index", **grid)
    water = geopandas.read_file(out / "coast.gpkg", layer="water")
    assert water.is_valid.all()
    pixels_m2 = np.count_nonzero(mask) * 30.0**2
    assert water.area.sum() == pytest.approx(pixels_m2, rel=5e-4)
    # True metres are not UTM's: its scale squared, in the middle of this scene.
    assert water["area_m2"].sum() == pytest.approx(pixels_m2, rel=2e-3)
    assert shapely.get_num_interior_rings(water.geometry.array).sum() == ISLANDS

    lines = geopandas.read_file(out / "coast.gpkg", layer="coastline")
    assert lines.is_ring.all(), "nothing is cut: no water reaches the border"
    assert len(lines) == ISLANDS + len(water)
    outlines = shapely.union_all(shapely.boundary(water.geometry.array))
    assert shapely.equals(outlines, shapely.union_all(lines.geometry.array))


@pytest.mark.parametrize("rows", [64, 100, 256])
def test_the_delta_is_the_same_by_strips(delta, rows):
    values = delta[0].astype(np.float64)
    whole, strips = contour(values, rows=2000), contour(values, rows=rows)
    for one, other in zip(whole, strips, strict=True):
        assert len(one) == len(other)
        assert shapely.equals_identical(one, other).all()


def test_the_frame_of_land_around_the_delta_is_warned_of(shared_data, tmp_path):
    path = shared_data / "colville_delta_mask" / "Colville_mask.tif"
    notes = json.loads(draw_coastline(path, tmp_path).read_text())["notes"]
    assert any("runs along row 20 over 1465 pixels" in note for note in notes)

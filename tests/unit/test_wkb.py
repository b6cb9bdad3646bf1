"""Well-known binary: what shapely makes of the same shapes, byte for byte."""

import numpy as np
import pyarrow as pa
import pytest
import shapely
from affine import Affine
from contouring import contour, rough_field
from hypothesis import given
from hypothesis import strategies as st

from geounet.ragged import Areas, Lines
from geounet.wkb import areas_as_wkb, lines_as_wkb

fields = {
    "seed": st.integers(0, 2**32 - 1),
    "side": st.integers(1, 25),
    "nodata": st.sampled_from([0, 0.2]),
}

TRANSFORM = Affine(8, 6, 5e5, 6, -8, 4.5e6)


def placed(points):
    return np.column_stack(TRANSFORM @ tuple(points.T))


@pytest.mark.parametrize("backwards", [False, True])
@given(**fields)
def test_shapes_are_encoded_as_shapely_encodes_them(backwards, seed, side, nodata):
    found = contour(rough_field(np.random.default_rng(seed), (side, side + 3), nodata=nodata))
    lines, areas = Lines.of(found.lines), Areas.of(found.areas)
    for encoded, shapes in (
        (lines_as_wkb(lines, TRANSFORM, backwards=backwards), found.lines),
        (areas_as_wkb(areas, TRANSFORM, backwards=backwards), found.areas),
    ):
        expected = shapely.transform(shapes, placed)
        expected = shapely.reverse(expected) if backwards else expected
        assert encoded.to_pylist() == list(shapely.to_wkb(expected, byte_order=1))


@pytest.mark.parametrize("backwards", [False, True])
def test_long_shapes_are_as_short_ones(backwards):
    outline = shapely.Point(60, 50).buffer(40, quad_segs=700)
    ring = shapely.Polygon(
        outline.exterior, [shapely.Point(61, 52).buffer(9, quad_segs=300).exterior]
    )
    line = shapely.force_3d(outline.exterior, 1.0)
    lines = Lines.of(np.array([shapely.LineString(line)]))
    areas = Areas.of(np.array([ring]))
    for encoded, shape in (
        (lines_as_wkb(lines, TRANSFORM, backwards=backwards), shapely.LineString(outline.exterior)),
        (areas_as_wkb(areas, TRANSFORM, backwards=backwards), ring),
    ):
        expected = shapely.transform(shape, placed)
        expected = shapely.reverse(expected) if backwards else expected
        assert encoded.to_pylist() == [shapely.to_wkb(expected, byte_order=1)]


def test_nothing_is_an_empty_column():
    for encoded in (
        lines_as_wkb(Lines.none(), TRANSFORM, backwards=False),
        areas_as_wkb(Areas.none(), TRANSFORM, backwards=True),
    ):
        assert encoded.type == pa.binary()
        assert len(encoded) == 0

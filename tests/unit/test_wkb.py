"""Well-known binary: what shapely makes of the same shapes, byte for byte."""

import numpy as np
import pyarrow as pa
import pytest
import shapely
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


def placed(points):
    return np.column_stack([5e5 + 10 * points[:, 0], 4.5e6 - 10 * points[:, 1]])


@pytest.mark.parametrize("backwards", [False, True])
@given(**fields)
def test_shapes_are_encoded_as_shapely_encodes_them(backwards, seed, side, nodata):
    found = contour(rough_field(np.random.default_rng(seed), (side, side + 3), nodata=nodata))
    lines, areas = Lines.of(found.lines), Areas.of(found.areas)
    for encoded, shapes in (
        (lines_as_wkb(lines, placed(lines.points), backwards=backwards), found.lines),
        (areas_as_wkb(areas, placed(areas.points), backwards=backwards), found.areas),
    ):
        expected = shapely.transform(shapes, placed)
        expected = shapely.reverse(expected) if backwards else expected
        assert encoded.to_pylist() == list(shapely.to_wkb(expected, byte_order=1))


def test_nothing_is_an_empty_column():
    for encoded in (
        lines_as_wkb(Lines.none(), np.empty((0, 2)), backwards=False),
        areas_as_wkb(Areas.none(), np.empty((0, 2)), backwards=True),
    ):
        assert encoded.type == pa.binary()
        assert len(encoded) == 0

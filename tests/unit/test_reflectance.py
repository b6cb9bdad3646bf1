from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from geounet.errors import SceneError
from geounet.scene import Scaling
from geounet.scene.reflectance import LayerScaling, from_gdal, settle_scaling

scales = st.sampled_from([0.0001, 0.0000275, 1 / 255, 0.00002, 1.0])
offsets = st.sampled_from([0.0, -1000.0, -7272.7273, -5000.0])


def test_minus_the_offset_is_exactly_zero():
    scaling = Scaling(scale=(0.0001, 0.0000275), offset=(-1000.0, -7272.0), source="test")
    dn = np.array([[[1000]], [[7272]]], dtype=np.uint16)
    assert (scaling.reflectance(dn) == 0).all()
    below = scaling.reflectance(dn - 1)
    assert (below < 0).all(), "unsigned numbers wrapped round"


@given(
    dn=hnp.arrays(st.sampled_from([np.uint8, np.uint16, np.int16, np.float32]), (2, 3, 4)),
    scale=st.tuples(scales, scales),
    offset=st.tuples(offsets, offsets),
)
def test_reflectance_is_dn_plus_offset_times_scale(dn, scale, offset):
    dn = np.nan_to_num(dn.astype(np.float64), posinf=0, neginf=0).clip(-32768, 65535)
    dn = dn.astype(np.float32)
    scaling = Scaling(scale, offset, "test")
    values = scaling.reflectance(dn)
    assert values.dtype == np.float32
    slope, intercept = scaling.coefficients()
    on_device = dn * slope[:, None, None] + intercept[:, None, None]
    for band in range(2):
        for index in np.ndindex(3, 4):
            exact = float(
                (Fraction(float(dn[band][index])) + Fraction(offset[band])) * Fraction(scale[band])
            )
            # Half a digital number in a thousand: rounding of float32 at 65535.
            tolerance = 0.01 * scale[band]
            assert abs(values[band][index] - exact) <= tolerance
            assert abs(on_device[band][index] - exact) <= tolerance


def test_the_array_read_is_not_changed():
    dn = np.full((1, 2, 2), 5, dtype=np.float32)
    Scaling((2.0,), (1.0,), "test").reflectance(dn)
    assert (dn == 5).all()
    values = Scaling((1.0,), (0.0,), "test").reflectance(dn)
    assert values is not dn
    assert (values == 5).all()


@given(dn=st.integers(0, 65535), scale=scales.filter(lambda s: s != 1), offset=offsets)
def test_gdal_says_the_same_in_its_own_way(dn, scale, offset):
    layer = from_gdal(scale, offset * scale, where="x")
    by_gdal = dn * scale + offset * scale
    assert (dn + layer.offset) * layer.scale == pytest.approx(by_gdal, abs=1e-9)


@pytest.mark.parametrize("kind", [np.float64, np.float32])
def test_an_offset_of_whole_numbers_survives_gdal(kind):
    layer = from_gdal(float(kind(0.0001)), float(kind(-0.1)), where="x")
    assert layer.offset == -1000


def test_scale_one_and_offset_zero_say_nothing():
    assert from_gdal(1.0, 0.0, where="x") == LayerScaling()
    assert from_gdal(1.0, -0.2, where="x").scale == 1


@pytest.mark.parametrize(("scale", "offset"), [(0.0, 0.0), (np.nan, 0.0), (1.0, np.inf)])
def test_an_impossible_scale_is_refused(scale, offset):
    with pytest.raises(SceneError, match="x declares the impossible scale"):
        from_gdal(scale, offset, where="x")


def settle(layers, scale=None, offset=None):
    return settle_scaling(layers, said=[LayerScaling(scale, offset)] * len(layers))


def test_the_user_counts_more_than_the_file_fact_by_fact():
    known = [LayerScaling(0.0001, -1000.0, "GDAL metadata"), LayerScaling(0.0002, 0.0)]
    assert settle(known).scale == (0.0001, 0.0002)
    said = settle(known, scale=0.5)
    assert (said.scale, said.offset) == ((0.5, 0.5), (-1000.0, 0.0))
    assert said.source == "--scale, offset from GDAL metadata; --scale"
    said = settle(known, offset=7)
    assert (said.scale, said.offset) == ((0.0001, 0.0002), (7, 7))
    assert settle(known, scale=1, offset=2).source == "--scale, --offset"


def test_one_band_without_a_scale_is_enough_to_ask():
    assert settle([LayerScaling(1e-4, 0.0), LayerScaling()], offset=5) is None

"""COGs: valid, true to what was written, and blind to nodata."""

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from rio_cogeo import cog_validate

from geounet.cog import CogProfile, blocks, encode_mask, encode_probability, new_cog

UTM = Affine(10, 0, 500_000, 0, -10, 4_500_000)
MASK = CogProfile("uint8", 255, ("class",), "mode", colors={0: "#decba4", 1: "#1f77b4"})
PROBABILITY = CogProfile("uint8", 255, ("probability of water",), "average", scale=1 / 253)
PICTURE = CogProfile("uint8", 0, ("B04", "B03", "B02"), "average")
FLOATS = CogProfile("float32", np.nan, ("index",), "average")


def write(path, geobox, profile, values):
    with new_cog(path, geobox, profile, draft=path.with_suffix(".draft")) as dst:
        for window in blocks(geobox):
            dst.write(values[:, *window.toslices()], window=window)
    return path


@pytest.mark.parametrize("profile", [MASK, PROBABILITY, PICTURE, FLOATS])
@pytest.mark.parametrize("shape", [(3, 3), (700, 1100)])
def test_what_is_written_is_a_valid_cog_with_the_same_pixels(tmp_path, profile, shape):
    rng = np.random.default_rng(1)
    values = rng.integers(0, 2, (len(profile.descriptions), *shape)).astype(profile.dtype)
    path = write(tmp_path / "a.tif", GeoBox(shape, UTM, "EPSG:32630"), profile, values)
    valid, errors, warnings = cog_validate(path, strict=True)
    assert valid, (errors, warnings)
    with rasterio.open(path) as src:
        np.testing.assert_array_equal(src.read(), values)
        assert src.crs.to_epsg() == 32630
        assert src.transform == UTM
        assert src.descriptions == profile.descriptions
        np.testing.assert_equal(src.nodata, profile.nodata)
        assert src.scales == (profile.scale or 1,) * src.count
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.tif"]


@pytest.mark.parametrize(
    ("crs", "transform"),
    [
        ("EPSG:4326", Affine(1e-4, 0, -76.5, 0, -1e-4, 34.7)),
        ("EPSG:32630", UTM @ Affine.rotation(30) @ Affine.scale(1, 1.5)),
        ("EPSG:32630", Affine(10, 0, 500_000, 0, 10, 4_500_000)),
    ],
)
def test_any_grid_stays_where_it_is(tmp_path, crs, transform):
    geobox = GeoBox((600, 30), transform, crs)
    values = np.zeros((1, 600, 30), np.uint8)
    with rasterio.open(write(tmp_path / "a.tif", geobox, MASK, values)) as src:
        assert src.transform.almost_equals(transform, 1e-12)
        assert src.crs == rasterio.CRS.from_user_input(crs)


@pytest.mark.parametrize("profile", [MASK, PROBABILITY, PICTURE, FLOATS])
def test_nodata_has_no_say_in_overviews(tmp_path, profile):
    # Columns of one value between columns of nodata: nothing else may appear in between.
    values = np.full((len(profile.descriptions), 1200, 1200), 1, profile.dtype)
    values[:, :, ::2] = profile.nodata
    geobox = GeoBox((1200, 1200), UTM, "EPSG:32630")
    path = write(tmp_path / "a.tif", geobox, profile, values)
    with rasterio.open(path) as src:
        factors = src.overviews(1)
        assert factors
    for level in range(len(factors)):
        with rasterio.open(path, overview_level=level) as overview:
            assert set(np.unique(overview.read(1, masked=True).compressed())) == {1}


def test_a_mask_has_a_palette(tmp_path):
    geobox = GeoBox((20, 20), UTM, "EPSG:32630")
    with rasterio.open(
        write(tmp_path / "a.tif", geobox, MASK, np.zeros((1, 20, 20), np.uint8))
    ) as src:
        assert src.colorinterp == (rasterio.enums.ColorInterp.palette,)
        assert src.colormap(1)[0] == (0xDE, 0xCB, 0xA4, 255)
        assert src.colormap(1)[1] == (0x1F, 0x77, 0xB4, 255)


def test_the_same_pixels_give_the_same_bytes(tmp_path):
    geobox = GeoBox((700, 700), UTM, "EPSG:32630")
    values = np.random.default_rng(2).integers(0, 254, (1, 700, 700)).astype(np.uint8)
    one, two = (write(tmp_path / name, geobox, PROBABILITY, values) for name in ("1.tif", "2.tif"))
    assert one.read_bytes() == two.read_bytes()


def test_nothing_takes_the_name_when_writing_fails(tmp_path):
    path, geobox = tmp_path / "a.tif", GeoBox((20, 20), UTM, "EPSG:32630")
    with (
        pytest.raises(ZeroDivisionError),
        new_cog(path, geobox, MASK, draft=tmp_path / "draft.tif"),
    ):
        raise ZeroDivisionError
    assert not path.exists()


@given(height=st.integers(1, 2000), width=st.integers(1, 5000))
def test_blocks_partition_the_raster(height, width):
    seen = np.zeros((height, width), dtype=np.uint8)
    for window in blocks(GeoBox((height, width), UTM, "EPSG:32630")):
        seen[window.toslices()] += 1
        assert window.height * window.width <= 2**20
    assert (seen == 1).all()


@given(probability=st.floats(0, 1, width=32))
def test_probabilities_come_back_within_half_a_step_on_their_side_of_one_half(probability):
    (step,) = encode_probability(np.array([probability], np.float32))
    assert abs(step / 253 - probability) <= 0.5 / 253 + 1e-6
    assert (step / 253 >= 0.5) == (probability >= 0.5)


def test_the_sides_of_one_half_are_told_apart_to_the_last_bit():
    half = np.float32(0.5)
    values = np.array([np.nextafter(half, np.float32(0)), half, np.nan], np.float32)
    assert encode_probability(values).tolist() == [126, 127, 255]
    assert encode_mask(values, 0.5).tolist() == [0, 1, 255]


@given(level=st.floats(-0.9, 0.9))
def test_the_mask_compares_with_the_level_itself_and_not_its_nearest_float32(level):
    values = np.array([level, np.nextafter(np.float32(level), np.float32(1))], np.float32)
    expected = [int(float(value) >= level) for value in values]
    assert encode_mask(values, level).tolist() == expected

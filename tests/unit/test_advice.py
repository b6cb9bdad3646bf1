"""What a look at a scene finds, and what it leaves alone."""

import math

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.enums import Resampling

from geounet.errors import SceneError
from geounet.scene import SceneOptions, open_scene
from geounet.scene import glance as looking
from geounet.scene.advice import advise, find_advice
from geounet.scene.glance import glance
from geounet.synthetic import CoastSettings, write_coast

NAMES = ("B02", "B03", "B04", "B08", "B11")
LAND, WATER = (0.05, 0.08, 0.1, 0.3, 0.25), (0.04, 0.03, 0.02, 0.008, 0.004)
SCALE = SceneOptions(scale=1e-4)


def coast(height=300, width=400, *, offset=0, seed=1):
    """Return DN (bands, height, width): water in the right half, dark and not quite even."""
    rng = np.random.default_rng(seed)
    cover = np.where(np.arange(width) < width // 2, 0, 1)[None, None, :]
    mean = np.where(cover == 0, np.array(LAND)[:, None, None], np.array(WATER)[:, None, None])
    noise = rng.normal(1, 0.1, (len(NAMES), height, width))
    return np.maximum(1, mean * noise * 10_000 + offset).round().astype(np.uint16)


def write(path, dn, *, names=NAMES, tags=None, overviews=(), **profile):
    profile = {"tiled": True, "blockxsize": 64, "blockysize": 64, **profile}
    with rasterio.open(
        path, "w", driver="GTiff", count=len(dn), height=dn.shape[1], width=dn.shape[2],
        dtype=dn.dtype, crs="EPSG:32630", transform=Affine(10, 0, 5e5, 0, -10, 54e5), **profile,
    ) as dst:  # fmt: skip
        dst.write(dn)
        dst.descriptions = names
        dst.update_tags(**(tags or {"sensor": "s2", "level": "L2A"}))
        if overviews:
            dst.build_overviews(overviews, Resampling.average)
    return path


def advice_of(path, options=SCALE):
    with open_scene(path, options, advise=False) as scene:
        return find_advice(glance(scene), sensor=scene.sensor, level=scene.level)


@pytest.fixture
def in_windows(monkeypatch):
    """Let small files be looked at as large ones are."""
    monkeypatch.setattr(looking, "SMALL", 0)


# The look


@pytest.mark.parametrize("shape", [(1, 1), (41, 900), (300, 400), (700, 90)])
@pytest.mark.parametrize("limit", [2**22, 0])
def test_a_look_reaches_all_four_borders_and_stands_for_all(tmp_path, monkeypatch, shape, limit):
    monkeypatch.setattr(looking, "SMALL", limit)
    rows, cols = np.indices(shape)
    path = write(tmp_path / "a.tif", np.stack([rows, cols]).astype(np.uint16) + 1, names=NAMES[:2])
    with open_scene(path, SCALE, advise=False) as scene:
        seen = glance(scene)
    assert seen.how == ("overviews" if limit else "windows")
    assert max(seen.dn.shape) <= 256
    near = max(shape) / 256
    for found, size in zip(seen.dn, shape, strict=True):
        assert found.min() <= 1 + near
        assert found.max() >= size - near
    assert seen.weights.sum() == pytest.approx(1)
    # Rows and columns stand for as much on one side of the middle as on the other.
    for found, size in zip(seen.dn, shape, strict=True):
        assert (found * seen.weights).sum() == pytest.approx((size + 1) / 2, rel=0.02, abs=0.5)


@pytest.mark.usefixtures("in_windows")
def test_windows_lie_as_they_do_in_the_scene(tmp_path):
    rows, cols = np.mgrid[:300, :700].astype(np.uint16)
    path = write(tmp_path / "s.tif", np.stack([rows + 1, cols + 1]), names=("B03", "B08"))
    with open_scene(path, SCALE, advise=False) as scene:
        down, across = glance(scene).dn.astype(int)
    assert (np.diff(down, axis=0) > 0).all()
    assert (np.diff(down, axis=1) == 0).all()
    assert (np.diff(across, axis=1) > 0).all()
    assert (np.diff(across, axis=0) == 0).all()
    assert (down[0, 0], down[-1, 0], across[0, 0], across[0, -1]) == (1, 300, 1, 700)


@pytest.mark.usefixtures("in_windows")
def test_overviews_are_taken_where_there_are_some(tmp_path):
    path = write(tmp_path / "a.tif", coast(), overviews=(2, 4))
    with open_scene(path, SCALE, advise=False) as scene:
        assert glance(scene).how == "overviews"
    bare = write(tmp_path / "b.tif", coast())
    with open_scene(bare, SCALE, advise=False) as scene:
        assert glance(scene).how == "windows"


def test_what_has_data_is_told_by_nodata_and_mask(tmp_path):
    dn = coast()
    dn[:, :75] = 7
    path = write(tmp_path / "a.tif", dn, nodata=7)
    with open_scene(path, SCALE, advise=False) as scene:
        assert glance(scene).valid_share == pytest.approx(0.25 * 3, abs=0.01)
    path = write(tmp_path / "b.tif", coast())
    with rasterio.open(path, "r+") as dst:
        dst.write_mask(np.arange(300)[:, None] * np.ones(400) < 30)
    with open_scene(path, SCALE, advise=False) as scene:
        assert glance(scene).valid_share == pytest.approx(0.1, abs=0.01)


def test_a_damaged_file_is_one_line(tmp_path):
    path = write(tmp_path / "a.tif", coast(800, 800), compress="deflate")
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes(50_000) + content[middle + 50_000 :])
    with (
        open_scene(path, SCALE, advise=False) as scene,
        pytest.raises(SceneError, match=r"cannot be read at rows 0–800, columns 0–800.*") as caught,
    ):
        glance(scene)
    assert "\n" not in str(caught.value)


# Nodata that nobody declared


@pytest.mark.parametrize("look", ["whole", "windows"])
@pytest.mark.parametrize(
    ("value", "dtype"),
    [
        *((0, np.uint16), (65535, np.uint16), (0, np.float32), (255, np.uint8)),
        *((-9999, np.int16), (-32768, np.int16), (-9999, np.float32)),
    ],
)
def test_a_swath_edge_is_found_with_its_share(tmp_path, monkeypatch, look, value, dtype):
    if look == "windows":
        monkeypatch.setattr(looking, "SMALL", 0)
    dn = (coast() // 40 + 1).astype(dtype)
    # A slanting edge, as of a swath: 20 % on the left.
    rows, cols = np.indices(dn.shape[1:])
    outside = cols < 120 - rows / 300 * 80
    dn[:, outside] = value
    options = SceneOptions(scale=0.004)
    (text,) = advice_of(write(tmp_path / "a.tif", dn), options)
    share = float(text.removeprefix("about ").split(" %")[0])
    assert share == pytest.approx(100 * outside.mean(), abs=0.6 if look == "whole" else 5)
    assert f"is {value} in all 5 bands" in text
    assert text.endswith(f"Give --nodata {value} if that means no data")
    assert "\n" not in text
    declared = write(tmp_path / "b.tif", dn, nodata=value)
    assert advice_of(declared, options) == []
    assert advice_of(tmp_path / "a.tif", SceneOptions(scale=0.004, nodata=value)) == []


def test_another_nodata_does_not_hide_zeros(tmp_path):
    dn = coast().astype(np.int16)
    dn[:, :, :100] = 0
    (text,) = advice_of(write(tmp_path / "a.tif", dn, nodata=-32768))
    assert "is 0 in all 5 bands, and only other values are declared as nodata" in text
    assert "Give --nodata 0" in text
    assert advice_of(write(tmp_path / "a.tif", dn, nodata=0)) == []


def test_an_extra_layer_neither_hides_zeros_nor_counts_among_the_bands(tmp_path):
    dn = coast()
    dn[:, :, :100] = 0
    for name, band in zip(NAMES[:4], dn, strict=False):
        write(tmp_path / f"x_{name}.tif", band[None], names=(name,))
    heights = np.full((1, 300, 400), 12.5, dtype=np.float32)
    write(tmp_path / "x_DEM.tif", heights, names=("DEM",), nodata=-9999)
    options = SceneOptions(sensor="s2", scale=1e-4, bands=("B02", "B03", "B04", "B08", "DEM"))
    (text,) = advice_of(tmp_path, options)
    assert "is 0 in all 4 bands, and nothing declares nodata" in text


def test_a_value_that_only_happens_to_be_common_is_no_edge(tmp_path):
    dn = coast()
    dn[:, :, :200] = 1  # as Sentinel-2 has over deep water
    assert advice_of(write(tmp_path / "a.tif", dn)) == []


def test_one_dark_band_is_no_edge(tmp_path):
    dn = coast()
    dn[:4, :, :100] = 0
    assert advice_of(write(tmp_path / "a.tif", dn)) == []


def test_zeros_inside_are_no_edge(tmp_path):
    dn = coast()
    dn[:, 20:280, 20:200] = 0
    assert advice_of(write(tmp_path / "a.tif", dn)) == []


@settings(max_examples=15)
@given(share=st.floats(0.01, 0.4), seed=st.integers(0, 99))
def test_scattered_zeros_are_no_edge(tmp_path_factory, share, seed):
    dn = coast(256, 256)
    dark = np.random.default_rng(seed).random(dn.shape[1:]) < share
    dn[:, dark] = 0  # also at the border, where some of them touch
    path = write(tmp_path_factory.mktemp("a") / "a.tif", dn)
    assert not any("--nodata" in text for text in advice_of(path))


def test_a_small_dark_corner_is_no_edge(tmp_path):
    dn = coast()
    dn[:, :15, :20] = 0
    assert advice_of(write(tmp_path / "a.tif", dn)) == []


def test_all_of_nothing_is_said_too(tmp_path):
    (text,) = advice_of(write(tmp_path / "a.tif", np.zeros_like(coast())))
    assert text.startswith("about 100 % of it")


# Scale and offset


def test_a_good_scene_is_left_alone(tmp_path):
    assert advice_of(write(tmp_path / "a.tif", coast())) == []
    shifted = write(tmp_path / "b.tif", coast(offset=1000))
    assert advice_of(shifted, SceneOptions(scale=1e-4, offset=-1000)) == []


def test_without_a_scale_nothing_is_said_of_reflectance(tmp_path):
    assert advice_of(write(tmp_path / "a.tif", coast()), SceneOptions()) == []


def test_digital_numbers_are_known(tmp_path):
    path = write(tmp_path / "a.tif", coast())
    (text,) = advice_of(path, SceneOptions(scale=1))
    medians = {name: np.median(band) for name, band in zip(NAMES, coast(), strict=True)}
    brightest = max(medians, key=medians.get)
    assert f"({brightest}) after scaling by 1," in text
    shown = float(text.split("up to ")[1].split(" ")[0])
    assert shown == pytest.approx(medians[brightest], rel=0.1)
    assert "--scale 0.0001" in text


@pytest.mark.parametrize(
    ("tags", "dtype", "advice"),
    [
        ({"sensor": "l8", "level": "L2"}, np.uint16, "--scale 0.0000275 --offset -7272.7273"),
        ({"sensor": "l7", "level": "L1"}, np.uint16, "another --scale"),
        ({"sensor": "l7", "level": "L1"}, np.uint8, "0.003922 if 255 stands for 1"),
    ],
)
def test_digital_numbers_of_landsat_have_their_own_scale(tmp_path, tags, dtype, advice):
    dn = (coast() // (1 if dtype is np.uint16 else 40) + 10).astype(dtype)
    names = ("B1", "B2", "B3", "B4", "B5")
    (text,) = advice_of(
        write(tmp_path / "a.tif", dn, names=names, tags=tags), SceneOptions(scale=1)
    )
    assert advice in text


def test_landsats_collection_1_has_no_offset_and_another_scale(tmp_path):
    tags = {"sensor": "l8", "level": "L2"}
    dn = coast(offset=2000).astype(np.int16)
    path = write(tmp_path / "a.tif", dn, names=("B2", "B3", "B4", "B5", "B6"), tags=tags)
    assert advice_of(path) == []
    (text,) = advice_of(path, SceneOptions(scale=1, offset=0))
    assert "0.0001 if 10000 does" in text


def test_floats_without_a_scale_are_refused_later_and_not_advised(tmp_path):
    path = write(tmp_path / "a.tif", coast().astype(np.float32))
    assert advice_of(path, SceneOptions()) == []
    reflectance = write(tmp_path / "b.tif", (coast() * 1e-4).astype(np.float32))
    assert advice_of(reflectance, SceneOptions()) == []


@pytest.mark.parametrize("haze", [0, 200, 300])
def test_an_offset_that_is_not_taken_off_is_known_with_what_to_paste(tmp_path, haze):
    path = write(tmp_path / "a.tif", coast(offset=1000 + haze))
    (text,) = advice_of(path)
    assert "darkest pixels of B08, B11" in text
    assert text.endswith("Give --scale 0.0001 --offset -1000")
    assert advice_of(path, SceneOptions(scale=1e-4, offset=-1000)) == []


def test_reflectance_in_floats_has_its_offset_in_reflectance(tmp_path):
    path = write(tmp_path / "a.tif", (coast(offset=1000) * 1e-4).astype(np.float32))
    (text,) = advice_of(path, SceneOptions())
    assert text.endswith("Give --scale 1 --offset -0.1")
    assert advice_of(path, SceneOptions(scale=1, offset=-0.1)) == []


def test_an_offset_taken_off_twice_is_known(tmp_path):
    path = write(
        tmp_path / "a.tif",
        coast(),
    )
    (text,) = advice_of(path, SceneOptions(scale=1e-4, offset=-1000))
    assert "none below 0" in text
    assert text.endswith("Give --scale 0.0001 --offset 0")


def test_undeclared_zeros_do_not_hide_or_feign_an_offset(tmp_path):
    dn = coast(offset=1000)
    dn[:, :, :80] = 0
    path = write(tmp_path / "a.tif", dn)
    assert ["--nodata 0" in text or "--offset -1000" in text for text in advice_of(path)] == [
        True
    ] * 2
    (text,) = advice_of(path, SceneOptions(scale=1e-4, offset=-1000))
    assert "--nodata 0" in text
    assert advice_of(path, SceneOptions(scale=1e-4, offset=-1000, nodata=0)) == []


def test_a_band_of_nothing_but_zeros_does_not_keep_the_others_from_being_judged(tmp_path):
    dn = np.concatenate([coast(offset=1000), np.zeros((1, 300, 400), np.uint16)])
    names = (*NAMES, "depth")
    (text,) = advice_of(write(tmp_path / "a.tif", dn, names=names))
    assert "--offset -1000" in text


def test_a_desert_without_anything_dark_is_left_alone(tmp_path):
    rng = np.random.default_rng(2)
    sand = np.array([0.14, 0.22, 0.31, 0.36, 0.45])[:, None, None]
    dn = (sand * rng.normal(1, 0.08, (5, 200, 200)) * 10_000).astype(np.uint16)
    assert advice_of(write(tmp_path / "a.tif", dn)) == []


def test_lava_is_dark_in_the_infrared_and_darker_in_blue(tmp_path):
    rng = np.random.default_rng(3)
    lava = np.array([0.06, 0.075, 0.09, 0.12, 0.125])[:, None, None]
    dn = (lava * rng.normal(1, 0.03, (5, 200, 200)) * 10_000).astype(np.uint16)
    assert advice_of(write(tmp_path / "a.tif", dn)) == []


def test_air_lifts_blue_at_the_top_and_that_is_no_offset(tmp_path):
    dn = coast()[:2] + 1000  # B02 and B03 of L1C, over the sea
    tags = {"sensor": "s2", "level": "L1C"}
    assert advice_of(write(tmp_path / "a.tif", dn, names=NAMES[:2], tags=tags)) == []


@pytest.mark.parametrize(
    ("tags", "scale", "offset", "line"),
    [
        ({"sensor": "l8", "level": "L2"}, 2.75e-5, -0.2, "--scale 0.0000275 --offset -7272.7273"),
        ({"sensor": "l9", "level": "L1"}, 2e-5, -0.1, "--scale 0.00002 --offset -5000"),
    ],
)
def test_landsats_offsets_are_known(tmp_path, tags, scale, offset, line):
    dn = ((coast() * 1e-4 - offset) / scale).round().astype(np.uint16)
    names = ("B2", "B3", "B4", "B5", "B6")
    path = write(tmp_path / "a.tif", dn, names=names, tags=tags)
    (text,) = advice_of(path, SceneOptions(scale=scale))
    assert text.endswith(f"Give {line}")
    right = SceneOptions(scale=scale, offset=offset / scale)
    assert advice_of(path, right) == []
    (text,) = advice_of(path, SceneOptions(scale=scale, offset=2 * offset / scale))
    assert text.endswith(f"Give {line}")


def test_extra_layers_are_not_judged(tmp_path):
    dn = np.concatenate([coast(), np.full((1, 300, 400), 40_000, np.uint16)])
    path = write(tmp_path / "a.tif", dn, names=(*NAMES, "depth"))
    assert advice_of(path) == []


def test_pictures_of_8_bits_have_no_offset(tmp_path):
    dn = (coast(offset=1000) // 40).astype(np.uint8)
    assert advice_of(write(tmp_path / "a.tif", dn), SceneOptions(scale=0.004)) == []


# Said


def test_each_finding_is_one_warning_with_the_scene(tmp_path, caplog):
    dn = coast(offset=1000)
    dn[:, :, :80] = 0
    path = write(tmp_path / "a.tif", dn)
    with open_scene(path, SCALE, advise=False) as scene:
        assert not caplog.records
        advise(scene)
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 2
    for record in caplog.records:
        assert record.getMessage().startswith(f"{path}: ")
        assert "\n" not in record.getMessage()


def test_nothing_is_said_of_a_scene_of_nothing_but_nan(tmp_path, caplog):
    dn = np.full((5, 50, 60), math.nan, np.float32)
    with open_scene(write(tmp_path / "a.tif", dn), SCALE, advise=False) as scene:
        advise(scene)
    assert not caplog.records


def test_the_synthetic_coast_is_right_as_it_is_and_known_to_be_wrong_otherwise(tmp_path):
    scene = write_coast(tmp_path / "coast.tif", CoastSettings(200, 250, seed=4)).scene
    assert advice_of(scene, SceneOptions()) == []
    for offset, said in ((0, "not to be taken off"), (-2000, "or twice")):
        (text,) = advice_of(scene, SceneOptions(offset=offset))
        assert said in text
        assert text.endswith("Give --scale 0.0001 --offset -1000")

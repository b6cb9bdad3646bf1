"""Scenes that users have, oddities included; their README says what each is."""

from datetime import UTC, date, datetime

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window

from geounet.errors import BandError, SceneError
from geounet.scene import SceneOptions, check_scene_arguments, gdal_environment, open_scene


@pytest.fixture(autouse=True)
def _as_commands_do():
    with gdal_environment():
        yield


@pytest.fixture
def fiji(shared_data):
    (folder,) = shared_data.glob("fiji_s2_l2a_safe/*.SAFE/GRANULE/*/IMG_DATA/R60m")
    return folder


@pytest.fixture
def lookout(shared_data):
    return shared_data / "cape_lookout_s2_l1c_uint8"


def middle(scene, side=200):
    """Return a window in the middle of a scene, at most all of it."""
    height, width = scene.geobox.shape
    rows, cols = min(side, height), min(side, width)
    return Window(
        col_off=(width - cols) // 2, row_off=(height - rows) // 2, width=cols, height=rows
    )


def whole(scene):
    height, width = scene.geobox.shape
    return Window(col_off=0, row_off=0, width=width, height=height)


def read_with_rasterio(path, window, index=1):
    with rasterio.open(path) as src:
        return src.read(index, window=window)


def test_fiji_has_eleven_reflectance_bands_and_no_quality_layer(fiji):
    with open_scene(fiji, SceneOptions(scale=1e-4, nodata=0)) as scene:
        names = "B01 B02 B03 B04 B05 B06 B07 B8A B09 B11 B12"
        assert [band.name for band in scene.bands] == names.split()
        left_out = {item["what"].split("_")[2] for item in scene.describe()["left_out"]}
        assert left_out == {"AOT", "SCL", "WVP"}
        assert (scene.sensor, scene.level) == ("s2", "L2A")
        assert scene.time == datetime(2019, 8, 9, 22, 9, 22, tzinfo=UTC)
        assert scene.geobox.crs == "EPSG:32701"
        assert scene.res_m == (60, 60)
        window = middle(scene)
        values, valid = scene.read(["swir16", "B8A"], window)
        for band, name in zip(values, ("B11", "B8A"), strict=True):
            (file,) = fiji.glob(f"*_{name}_60m.jp2")
            expected = read_with_rasterio(file, window) * 1e-4
            np.testing.assert_allclose(band[valid], expected[valid], atol=1e-6)


def test_fiji_says_what_to_type(fiji):
    with open_scene(fiji) as scene, pytest.raises(SceneError, match=r"--scale 0\.0001 \(baseline"):
        scene.scaling(["green"])


def test_fijis_files_as_arguments_are_one_scene(fiji):
    with pytest.raises(SceneError, match=f"11 arguments.*Give the folder: {fiji}"):
        check_scene_arguments(sorted(fiji.glob("*_B*_60m.jp2")))


def test_cape_lookout_is_valid_inside_its_polygon(lookout, caplog):
    with open_scene(lookout, SceneOptions(scale=1 / 255, nodata=255)) as scene:
        assert [band.name for band in scene.bands] == [f"B0{i}" for i in range(1, 9)]
        assert (scene.sensor, scene.level) == ("s2", "L1C")
        assert (scene.date, scene.time) == (date(2018, 10, 13), None)
        assert scene.geobox.crs == "EPSG:4326"
        # A browser's download at about 10 m, given in degrees.
        assert scene.res_m == pytest.approx((8.24, 8.20), abs=0.01)
        values, valid = scene.read(["B02", "B03", "B04", "B08"], whole(scene))
        assert np.isfinite(values[:, valid]).all()
        assert 0.6 < valid.mean() < 0.7  # the README says that 31 % lie outside
        assert np.nanmax(values) <= 254 / 255 + 1e-6
    assert not caplog.records
    with open_scene(lookout, SceneOptions(scale=1 / 255)):
        assert "--nodata 255" in caplog.text


@pytest.mark.parametrize("name", ["20231217.tif", "20240101.tif"])
def test_parana_leaves_out_qa60_and_its_border(shared_data, name):
    path = shared_data / "parana_s2_l2a" / name
    with open_scene(path, SceneOptions(scale=1e-4, offset=-1000)) as scene:
        assert scene.sensor == "s2"  # B8A is on no other
        assert len(scene.bands) == 11
        assert scene.describe()["left_out"] == [{"what": "QA60", "why": "quality band"}]
        assert f"{scene.date:%Y%m%d}.tif" == name
        values, valid = scene.read(["B03", "swir22"], whole(scene))
        expected = (read_with_rasterio(path, whole(scene), [3, 11]) - 1000) / 10_000
        np.testing.assert_array_equal(valid, np.isfinite(expected).all(axis=0))
        np.testing.assert_allclose(values[:, valid], expected[:, valid], atol=1e-6)
        # The border is of the bands that were 20 m once.
        assert 0.98 < valid.mean() < 1
        assert scene.read(["B03", "B08"], whole(scene)).valid.all()
    with open_scene(path) as scene, pytest.raises(SceneError, match=r"median of .*--scale"):
        scene.read(["green"], whole(scene))


def test_inn_has_no_names_and_takes_them(shared_data):
    path = shared_data / "inn_s2_rgbn" / "inference-img.tif"
    with pytest.raises(BandError, match=r"does not say which its 8 bands are.*--bands"):
        open_scene(path)
    with pytest.raises(BandError, match=r"names 4 bands, but .* has 8"):
        open_scene(path, SceneOptions(bands=("B04", "B03", "B02", "B08"), sensor="s2"))
    options = SceneOptions.from_text(
        bands="-,-,-,-,B04,B03,B02,B08", sensor="s2", level=None, scale=1e-4, offset=0, nodata=None
    )
    with open_scene(path, options) as scene:
        nir = scene.read(["nir"], middle(scene)).values[0]
        np.testing.assert_allclose(
            nir, read_with_rasterio(path, middle(scene), 8) * 1e-4, atol=1e-6
        )


def test_olinda_is_landsats_where_the_user_says_so(shared_data):
    path = shared_data / "olinda_landsat7" / "L7_ETMs.tif"
    bands = ("B1", "B2", "B3", "B4", "B5", "B7")
    with pytest.raises(BandError, match=r"B1 is another on every sensor.*--sensor"):
        open_scene(path, SceneOptions(bands=bands))
    with open_scene(path, SceneOptions(bands=bands, sensor="l7", scale=1 / 255)) as scene:
        green, swir16, swir22 = scene.read_dn(["green", "swir16", "swir22"], whole(scene)).values
        for index, band in ((2, green), (5, swir16), (6, swir22)):
            assert (band == read_with_rasterio(path, whole(scene), index)).all()


def test_bijagos_has_two_sizes(shared_data):
    folder = shared_data / "bijagos_landsat8"
    with open_scene(folder, SceneOptions(scale=2e-5, offset=-5000, nodata=0)) as scene:
        assert scene.geobox.shape == (600, 600)
        small = scene.on_grid_of(["green", "nir", "swir16"])
        assert small.geobox.shape == (300, 300)
        assert small.res_m == pytest.approx((761.1, 777.1))
        values, valid = small.read(["green", "nir", "swir16"], whole(small))
        assert 0.6 < valid.mean() < 0.8
        assert (np.nanmedian(values, axis=(1, 2)) < 0.5).all()


def test_st_lawrence_lies_where_three_of_its_files_do(shared_data, caplog):
    with open_scene(
        shared_data / "st_lawrence_s2_l1c_160m", SceneOptions(scale=1e-4, nodata=0)
    ) as scene:
        assert len(scene.bands) == 13
        assert scene.geobox.crs == "EPSG:32619"
        assert scene.geobox.transform.c == 399_960
        assert "10 of 13 files have no CRS" in caplog.text
        valid = scene.read(scene.bands, whole(scene)).valid
        assert 0.55 < valid.mean() < 0.68


def test_gironde_is_geotiff_under_another_name(shared_data):
    (folder,) = shared_data.glob("gironde_s2_l1c_safe/*.SAFE/GRANULE/*/IMG_DATA")
    with open_scene(folder) as scene:
        assert scene.describe()["driver"] == "GTiff"
        assert scene.describe()["baseline"] == "05.00"
        with pytest.raises(SceneError, match=r"Give --scale 0\.0001 --offset -1000 \(baseline 05"):
            scene.read(["B02"], middle(scene))
    options = SceneOptions(scale=1e-4, offset=-1000, nodata=0)
    with open_scene(folder, options) as scene:
        assert scene.time == datetime(2020, 6, 22, 10, 56, 47, tzinfo=UTC)
        assert 0.03 < np.nanmedian(scene.read(["red"], whole(scene)).values) < 0.1


def test_pyrenees_swath_is_noticed(shared_data, caplog):
    (folder,) = shared_data.glob("pyrenees_s2_l1c_safe/*.SAFE/GRANULE/*/IMG_DATA")
    with open_scene(folder, SceneOptions(scale=1e-4)):
        assert "--nodata 0" in caplog.text
    with open_scene(folder, SceneOptions(scale=1e-4, nodata=0)) as scene:
        assert scene.read(["B01"], whole(scene)).valid.mean() == pytest.approx(0.59, abs=0.01)


def test_sahara_has_three_resolutions(shared_data):
    folder = shared_data / "sahara_s2_l2a_cog_stac"
    with open_scene(folder, SceneOptions(sensor="s2", scale=1e-4)) as scene:
        sizes = {tuple(band["res_m"]): band["name"] for band in scene.describe()["bands"]}
        assert len(sizes) == 3
        assert scene.geobox.shape == (1098, 1098)
        assert scene.on_grid_of(["B11", "B01"]).geobox.shape == (549, 549)
    with open_scene(folder / "B03.tif", SceneOptions(sensor="s2", scale=1e-4)) as scene:
        assert scene.describe()["bands"][0]["nodata"] == 0
        assert scene.blocksize == (512, 512)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("README.md", "is not a raster"),
        ("maldives_shorelines", "holds no file with a band in its name"),
        ("colville_delta_mask/Colville_shoreline.shp", "is not a raster"),
        ("colville_delta_mask/Colville_mask.tif", "looks like a mask"),
    ],
)
def test_what_is_no_scene_is_said(shared_data, name, message):
    with pytest.raises((SceneError, BandError), match=message):
        open_scene(shared_data / name)

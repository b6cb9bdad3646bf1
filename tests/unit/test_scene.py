import gc
import json
import logging
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from rasterio.control import GroundControlPoint
from rasterio.enums import ColorInterp
from rasterio.errors import NotGeoreferencedWarning
from rasterio.windows import Window

from geounet.errors import BandError, SceneError
from geounet.scene import SceneOptions, check_scene_arguments, gdal_environment, open_scene
from geounet.scene.raster import CACHE_BYTES

NAMES = ("B02", "B03", "B04", "B08")
GRID = Affine(10, 0, 500_000, 0, -10, 5_000_000)
SAID = SceneOptions(scale=0.0001, nodata=0)


def write(path, values, *, names=NAMES, tags=None, scale=None, offset=None, **profile):
    """Write a scene of `values`, (bands, height, width), and return its path."""
    count, height, width = values.shape
    profile = {"crs": "EPSG:32630", "transform": GRID, "driver": "GTiff", **profile}
    # An identity that is written is a geotransform; one that is not is none.
    profile = {key: value for key, value in profile.items() if value is not None}
    with warnings.catch_warnings():
        # Of rasterio, when a file is made without georeference; not to be had when it is read.
        warnings.simplefilter("ignore", NotGeoreferencedWarning)
        with rasterio.open(
            *(path, "w"), count=count, height=height, width=width, dtype=values.dtype, **profile
        ) as dst:
            dst.write(values)
            for index, name in enumerate(names or (), start=1):
                dst.set_band_description(index, name)
            dst.update_tags(**({"sensor": "s2", "level": "L2A"} if tags is None else tags))
            if scale is not None:
                dst.scales, dst.offsets = [scale] * count, [offset or 0] * count
    return path


@pytest.fixture
def numbers():
    """DN of 4 bands, 37 × 52, without 0."""
    return np.random.default_rng(1).integers(1, 10_000, (4, 37, 52), dtype=np.uint16)


def whole(scene, margin=0):
    height, width = scene.geobox.shape
    return Window(
        col_off=-margin, row_off=-margin, width=width + 2 * margin, height=height + 2 * margin
    )


# What is read


@pytest.fixture(scope="module", params=["pixel", "band", "folder"])
def padded(request, tmp_path_factory):
    """A scene with some nodata, its values and valid mask padded by 150, and the padding."""
    rng, pad = np.random.default_rng(2), 150
    dn = rng.integers(0, 12, (4, 19, 33), dtype=np.uint16)  # 0, which is nodata, is frequent
    folder = tmp_path_factory.mktemp("padded")
    if request.param == "folder":
        source = folder
        for name, band in zip(NAMES, dn, strict=True):
            write(folder / f"{name}.tif", band[None], names=[name])
    else:
        source = write(
            *(folder / "scene.tif", dn),
            interleave=request.param,
            tiled=True,
            blockxsize=16,
            blockysize=16,
        )
    around = ((0, 0), (pad, pad), (pad, pad))
    with open_scene(source, SAID) as scene:
        yield scene, np.pad(dn, around, mode="reflect"), pad


@given(
    rows=st.tuples(st.integers(-150, 100), st.integers(1, 60)),
    cols=st.tuples(st.integers(-150, 100), st.integers(1, 60)),
    bands=st.permutations(range(4)).flatmap(
        lambda order: st.integers(1, 4).map(lambda count: order[:count])
    ),
)
def test_every_window_is_cut_from_the_mirrored_scene(padded, rows, cols, bands):
    scene, expected, pad = padded
    (row, height), (col, width) = rows, cols
    window = Window(col_off=col, row_off=row, width=width, height=height)
    cut = expected[bands, pad + row : pad + row + height, pad + col : pad + col + width]
    names = [NAMES[i] for i in bands]
    dn, valid = scene.read_dn(names, window)
    assert (dn == cut).all()
    assert dn.dtype == np.uint16
    assert (valid == (cut != 0).all(axis=0)).all()
    values, also_valid = scene.read(names, window)
    assert (also_valid == valid).all()
    assert values.dtype == np.float32
    np.testing.assert_array_equal(np.isnan(values), np.broadcast_to(~valid, values.shape))
    np.testing.assert_allclose(values[:, valid], cut[:, valid] * 1e-4, rtol=1e-6)


def test_valid_looks_at_the_bands_asked_for_only(tmp_path, numbers):
    numbers[3, 5, 7] = 0
    with open_scene(write(tmp_path / "s.tif", numbers), SAID) as scene:
        assert scene.read(["B02", "B03"], whole(scene)).valid.all()
        (row,), (col,) = np.nonzero(~scene.read(["red", "nir"], whole(scene)).valid)
        assert (row, col) == (5, 7)


def test_threads_read_the_same_with_their_own_files(tmp_path, numbers):
    path = write(tmp_path / "s.tif", numbers)
    with open_scene(path, SAID) as scene:
        expected = scene.read(NAMES, whole(scene, 5)).values
        with ThreadPoolExecutor(4) as pool:
            reads = [pool.submit(scene.read, NAMES, whole(scene, 5)) for _ in range(40)]
            assert all((read.result().values == expected).all() for read in reads)
        assert len(open_files(path)) > 1
    assert not open_files(path)
    with pytest.raises(ValueError, match="closed"):
        scene.read(NAMES, whole(scene))


def open_files(path):
    """Return descriptors of this process on a file."""
    gc.collect()
    links = []
    for entry in os.scandir("/proc/self/fd"):
        try:
            links.append(os.readlink(entry.path))  # noqa: PTH115  a descriptor, not a path
        except FileNotFoundError:
            continue
    return [link for link in links if link == str(path)]


@pytest.mark.parametrize("side", [1, 2, 3])
def test_tiny_scenes_are_read_and_mirrored(tmp_path, side):
    dn = np.arange(1, side * side + 1, dtype=np.uint16).reshape(1, side, side)
    with open_scene(write(tmp_path / "s.tif", dn, names=["B03"]), SAID) as scene:
        values = scene.read_dn(["green"], whole(scene, 7)).values
    mode = "edge" if side == 1 else "reflect"
    assert (values == np.pad(dn, ((0, 0), (7, 7), (7, 7)), mode=mode)).all()


@pytest.mark.parametrize(
    "window",
    [
        Window(col_off=0.5, row_off=0, width=3, height=3),
        Window(col_off=0, row_off=0, width=0, height=3),
        Window(col_off=0, row_off=0, width=3.2, height=3),
    ],
)
def test_windows_are_of_whole_pixels(tmp_path, numbers, window):
    with (
        open_scene(write(tmp_path / "s.tif", numbers), SAID) as scene,
        pytest.raises(ValueError, match="whole pixels"),
    ):
        scene.read(NAMES, window)


# Nodata


def valid_of(path, options=SAID, names=NAMES):
    with open_scene(path, options) as scene:
        return scene.read(names, whole(scene)).valid


def test_nodata_is_the_files_or_the_users(tmp_path, numbers):
    numbers[:, :9] = 7
    declared = write(tmp_path / "a.tif", numbers, nodata=7)
    undeclared = write(tmp_path / "b.tif", numbers)
    scale = SceneOptions(scale=1e-4)
    with rasterio.open(declared) as src:
        expected = src.read_masks().all(axis=0)
    assert (valid_of(declared, scale) == expected).all()
    assert (valid_of(undeclared, SceneOptions(scale=1e-4, nodata=7)) == expected).all()
    assert valid_of(undeclared, scale).all()


@pytest.mark.parametrize("nodata", [-9999, 1e30, 0.5, np.nan])
def test_nodata_that_integers_cannot_have_is_nowhere(tmp_path, numbers, nodata):
    path = write(tmp_path / "a.tif", numbers)
    assert valid_of(path, SceneOptions(scale=1e-4, nodata=nodata)).all()


@pytest.mark.parametrize("nodata", [None, np.nan, -9999.0, np.finfo(np.float32).min])
def test_what_is_not_finite_is_nodata_whatever_is_declared(tmp_path, nodata):
    values = np.random.default_rng(3).random((2, 8, 9), dtype=np.float32)
    values[0, 1, 2], values[1, 3, 4] = np.nan, np.inf
    expected = np.ones((8, 9), dtype=bool)
    expected[1, 2] = expected[3, 4] = False
    if nodata is not None and np.isfinite(nodata):
        values[0, 5, 6] = nodata
        expected[5, 6] = False
    path = write(tmp_path / "a.tif", values, names=["B03", "B08"], nodata=nodata)
    assert (valid_of(path, SceneOptions(), ["B03", "B08"]) == expected).all()


@pytest.mark.parametrize("beside", [True, False])
def test_a_mask_of_the_file_counts(tmp_path, numbers, beside):
    mask = np.random.default_rng(4).random(numbers.shape[1:]) < 0.5
    path = write(tmp_path / "a.tif", numbers)
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=not beside), rasterio.open(path, "r+") as dst:
        dst.write_mask(mask)
    assert (tmp_path / "a.tif.msk").exists() == beside
    with gdal_environment():
        assert (valid_of(path) == mask).all()
        assert (valid_of(path, names=["B08"]) == mask).all()


def test_an_alpha_band_is_a_mask_and_no_band(tmp_path, numbers):
    numbers[3] = np.where(np.random.default_rng(5).random(numbers.shape[1:]) < 0.5, 65535, 0)
    numbers[0, 2, 2] = 9  # nodata of the file counts too
    path = write(tmp_path / "a.tif", numbers, names=["B02", "B03", "B04"], nodata=9)
    with rasterio.open(path, "r+") as dst:
        dst.colorinterp = [*[ColorInterp.gray] * 3, ColorInterp.alpha]
    expected = (numbers[3] != 0) & (numbers[:3] != 9).all(axis=0)
    for bands in (None, ("B02", "B03", "B04"), ("B02", "B03", "B04", "-")):
        options = SceneOptions(scale=1e-4, bands=bands)
        assert (valid_of(path, options, ["B02", "B03", "B04"]) == expected).all()
    with open_scene(path, SAID) as scene, pytest.raises(BandError, match="no band B08"):
        scene.band_indexes(["B08"])


def test_masks_of_each_band_count_for_that_band(tmp_path, numbers):
    write(tmp_path / "a.tif", numbers)
    masks = np.random.default_rng(7).choice([0, 255], numbers.shape).astype(np.uint8)
    write(tmp_path / "masks.tif", masks)
    source = (
        "<SimpleSource><SourceFilename relativeToVRT='1'>{}</SourceFilename>"
        "<SourceBand>{}</SourceBand></SimpleSource>"
    )
    bands = "".join(
        f"<VRTRasterBand dataType='UInt16' band='{i}'><Description>{name}</Description>"
        f"{source.format('a.tif', i)}<MaskBand><VRTRasterBand dataType='Byte'>"
        f"{source.format('masks.tif', i)}</VRTRasterBand></MaskBand></VRTRasterBand>"
        for i, name in enumerate(NAMES, start=1)
    )
    (tmp_path / "a.vrt").write_text(
        "<VRTDataset rasterXSize='52' rasterYSize='37'><SRS>EPSG:32630</SRS>"
        f"<GeoTransform>500000, 10, 0, 5000000, 0, -10</GeoTransform>{bands}</VRTDataset>"
    )
    options = SceneOptions(scale=1e-4, sensor="s2")
    assert (valid_of(tmp_path / "a.vrt", options, ["B03"]) == (masks[1] != 0)).all()
    both = (masks[[0, 3]] != 0).all(axis=0)
    assert (valid_of(tmp_path / "a.vrt", options, ["B02", "B08"]) == both).all()


def test_undeclared_black_borders_are_mentioned(tmp_path, numbers, caplog):
    numbers[:, :12] = 0
    path = write(tmp_path / "a.tif", numbers)
    with open_scene(path, SceneOptions(scale=1e-4)), open_scene(path, SAID):
        pass
    (record,) = caplog.records
    assert "--nodata 0" in record.getMessage()
    caplog.clear()
    numbers[1:, :12] = 1  # dark in some bands is no nodata
    with open_scene(write(tmp_path / "b.tif", numbers)):
        assert not caplog.records


# Scale


def test_the_files_scale_and_offset_are_converted(tmp_path, numbers):
    numbers[:, 0, 0] = 1000
    path = write(tmp_path / "a.tif", numbers, scale=0.0001, offset=-0.1)
    with open_scene(path) as scene:
        scaling = scene.scaling(NAMES)
        values = scene.read(NAMES, whole(scene)).values
    assert scaling.offset == (-1000.0,) * 4
    assert scaling.source == "GDAL metadata"
    assert (values[:, 0, 0] == 0).all()
    np.testing.assert_allclose(values, numbers * 0.0001 - 0.1, atol=1e-6)


def test_the_users_scale_and_offset_count_more(tmp_path, numbers):
    path = write(tmp_path / "a.tif", numbers, scale=0.5, offset=3)
    with open_scene(path, SceneOptions(scale=0.0001, offset=-1000)) as scene:
        values = scene.read(NAMES, whole(scene)).values
        assert scene.describe()["sources"]["scale"] == "--scale, --offset"
    np.testing.assert_allclose(values, (numbers - 1000.0) * 0.0001, atol=1e-6)


def test_metadata_beside_the_file_count(tmp_path, numbers):
    path = write(tmp_path / "a.tif", numbers)
    bands = "".join(
        f'<PAMRasterBand band="{i}"><Description>{name}</Description><NoDataValue>3</NoDataValue>'
        "<Offset>-0.1</Offset><Scale>0.0001</Scale></PAMRasterBand>"
        for i, name in enumerate(("B05", "B06", "B07", "B8A"), start=1)
    )
    (tmp_path / "a.tif.aux.xml").write_text(f"<PAMDataset>{bands}</PAMDataset>")
    with gdal_environment(), open_scene(path) as scene:
        assert scene.scaling(["rededge071"]).offset == (-1000.0,)
        assert scene.describe()["bands"][3]["nodata"] == 3


def test_integers_without_a_scale_ask_for_it(tmp_path, numbers):
    with open_scene(write(tmp_path / "a.tif", numbers)) as scene:
        assert scene.read_dn(NAMES, whole(scene)).valid.all()
        with pytest.raises(SceneError, match=r"a\.tif holds integers \(uint16\).*--scale 0\.0001"):
            scene.read(NAMES, whole(scene))


@pytest.mark.parametrize("nodata", [None, np.nan])
def test_floats_are_reflectance_up_to_a_median_of_two(tmp_path, nodata):
    bright = np.full((1, 200, 200), np.nan, dtype=np.float32)
    bright[:, 100:104, 100:104] = 1.9  # snow, on an island of data
    with open_scene(write(tmp_path / "a.tif", bright, names=["B03"], nodata=nodata)) as scene:
        assert scene.scaling(["B03"]).scale == (1.0,)
    path = write(tmp_path / "b.tif", bright * 1000, names=["B03"], nodata=nodata)
    with (
        open_scene(path) as scene,
        pytest.raises(SceneError, match=r"median of 1900 in B03.*--scale"),
    ):
        scene.read(["B03"], whole(scene))
    with open_scene(path, SceneOptions(scale=0.001)) as scene:
        assert np.nanmax(scene.read(["B03"], whole(scene)).values) == pytest.approx(1.9)


def test_extra_layers_and_thermal_bands_need_not_look_like_reflectance(tmp_path):
    values = np.full((3, 5, 5), 300, dtype=np.float32)
    values[0] = 0.1
    path = write(tmp_path / "a.tif", values, names=["B3", "B10", "depth"], tags={"sensor": "l8"})
    with open_scene(path) as scene:
        assert (scene.read(["green", "lwir11", "depth"], whole(scene)).values[1:] == 300).all()


def test_a_scene_without_any_data_still_opens(tmp_path):
    nothing = np.full((1, 20, 20), np.nan, dtype=np.float32)
    with open_scene(write(tmp_path / "a.tif", nothing, names=["B03"])) as scene:
        assert not scene.read(["B03"], whole(scene)).valid.any()


# Where it lies


@pytest.mark.parametrize(
    ("crs", "transform", "metres"),
    [
        ("EPSG:32630", GRID, (10, 10)),
        ("EPSG:32628", Affine(761.1, 0, 305_085, 0, -777.1, 1_395_015), (761.1, 777.1)),
        ("EPSG:32630", GRID @ Affine.rotation(30) @ Affine.scale(2, 3), (20, 30)),
        ("EPSG:2263", GRID, (10 * 1200 / 3937, 10 * 1200 / 3937)),  # US survey feet
        # A degree along the equator, and along a meridian there, on WGS 84.
        ("EPSG:4326", Affine(1e-3, 0, -0.0185, 0, -1e-3, 0.026), (111.3195, 110.5743)),
    ],
)
def test_any_grid_is_kept_and_measured(tmp_path, numbers, crs, transform, metres):
    path = write(tmp_path / "a.tif", numbers, crs=crs, transform=transform)
    with open_scene(path, SAID) as scene:
        assert scene.geobox.transform.almost_equals(transform)
        assert scene.geobox.crs == crs
        assert tuple(scene.geobox.shape) == (37, 52)
        assert scene.res_m == pytest.approx(metres, rel=1e-4)


def test_what_we_write_says_who_took_it_and_when(tmp_path, numbers):
    path = write(tmp_path / "A coast, 1.tif", numbers, tiled=True, blockxsize=16, blockysize=32)
    with rasterio.open(path, "r+") as dst:
        dst.update_tags(ns="IMAGERY", ACQUISITIONDATETIME="2021-06-05 11:12:13")
    with open_scene(path, SAID) as scene:
        assert scene.name == "A_coast_1"
        assert (scene.sensor, scene.level) == ("s2", "L2A")
        assert scene.time == datetime(2021, 6, 5, 11, 12, 13, tzinfo=UTC)
        assert scene.blocksize == (32, 16)
        assert scene.dtype == "uint16"


def test_a_description_is_json_and_says_where_facts_are_from(tmp_path, numbers):
    path = write(tmp_path / "20210605.tif", numbers)
    with open_scene(path, SceneOptions(scale=1e-4, nodata=np.nan)) as scene:
        told = json.loads(json.dumps(scene.describe(), allow_nan=False))
    assert told["shape"] == [37, 52]
    assert told["date"] == "2021-06-05"
    assert told["time"] is None
    assert [band["id"] for band in told["bands"]] == [f"s2:{name}" for name in NAMES]
    assert told["bands"][0]["nodata"] == "nan"
    assert told["sources"] == {
        "sensor": "tag sensor",
        "level": "tag level",
        "date": "file name 20210605.tif",
        "bands": "band descriptions",
        "nodata": "--nodata",
        "scale": "--scale",
    }


def test_the_users_word_counts_against_the_files_and_that_is_said(tmp_path, numbers, caplog):
    path = write(tmp_path / "a.tif", numbers)
    with open_scene(path, SceneOptions(level="L1C", scale=1e-4)) as scene:
        assert scene.level == "L1C"
    assert "a.tif: --level L1C is taken, although the tag level says L2A" in caplog.text


def test_a_level_of_another_sensor_is_not_taken(tmp_path, numbers):
    path = write(tmp_path / "S2A_MSIL1C_20190809T220921_x.tif", numbers, tags={})
    with open_scene(path, SceneOptions(sensor="l8", scale=1e-4)) as scene:
        assert (scene.sensor, scene.level) == ("l8", None)


# Which band is which


def test_bands_are_found_in_descriptions_without_quality_layers(tmp_path, numbers):
    path = write(tmp_path / "a.tif", numbers, names=["B8A", "QA60", "B02", "VV"], tags={})
    with open_scene(path, SAID) as scene:
        assert [band.id for band in scene.bands] == ["s2:B8A", "s2:B02", "VV"]
        assert (scene.read_dn(["VV", "blue"], whole(scene)).values == numbers[[3, 2]]).all()
        assert scene.describe()["left_out"] == [{"what": "QA60", "why": "quality band"}]


def test_bands_are_named_in_file_order_or_left_out(tmp_path, numbers):
    path = write(tmp_path / "a.tif", numbers, names=None, tags={})
    options = SceneOptions.from_text(
        bands="B04, -,B02,SCL", sensor="S2", level=None, scale=1e-4, offset=None, nodata="0"
    )
    with open_scene(path, options) as scene:
        assert (scene.read_dn(["blue", "red"], whole(scene)).values == numbers[[2, 0]]).all()
        assert len(scene.bands) == 2


@pytest.mark.parametrize(
    ("options", "names", "tags", "message"),
    [
        (SceneOptions(), None, {}, r"does not say which its 4 bands are\. .*--bands"),
        (SceneOptions(), ["B02", "", "B04", ""], {}, r"bands are \(number 2, 4\).*--bands"),
        (SceneOptions(), NAMES, {}, "B02 is another on every sensor.*--sensor"),
        (SceneOptions(bands=("B02",)), NAMES, None, "names 1 bands, but .* has 4"),
        (SceneOptions(bands=("-", "-", "-", "SCL")), NAMES, None, "no spectral band"),
        (SceneOptions(), ["B02", "B03", "B2", "B04"], None, "s2:B02 twice: number 1 and number 3"),
        (SceneOptions(sensor="l5"), ["B02", "B8", "B4", "B1"], {}, "l5 has no band B8; it has B1"),
    ],
)
def test_unclear_bands_are_an_error_that_says_what_to_do(
    tmp_path, numbers, options, names, tags, message
):
    path = write(tmp_path / "a.tif", numbers, names=names, tags=tags)
    with pytest.raises(BandError, match=message) as caught:
        open_scene(path, options)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_single_band_is_named_by_its_file(tmp_path, numbers):
    path = write(tmp_path / "T30TXR_20200622T105631_B04.tif", numbers[:1], names=None, tags={})
    with open_scene(path, SAID) as scene:
        assert [band.id for band in scene.bands] == ["s2:B04"]


def test_a_missing_band_is_named_with_what_there_is(tmp_path, numbers):
    with open_scene(write(tmp_path / "a.tif", numbers), SAID) as scene:
        with pytest.raises(BandError, match=r"no band B11, cirrus; it has s2:B02, s2:B03"):
            scene.read(["B11", "B02", "cirrus"], whole(scene))
        with pytest.raises(ValueError, match="no bands"):
            scene.read_dn([], whole(scene))


# What is wrong with files


def test_content_decides_the_format(tmp_path, numbers):
    path = write(tmp_path / "a.jp2", numbers)
    with open_scene(path, SAID) as scene:
        assert scene.describe()["driver"] == "GTiff"
        assert (scene.read_dn(NAMES, whole(scene)).values == numbers).all()


def test_a_vrt_is_a_scene(tmp_path, numbers):
    write(tmp_path / "a.tif", numbers)
    (tmp_path / "a.vrt").write_text(
        '<VRTDataset rasterXSize="20" rasterYSize="10"><SRS>EPSG:32630</SRS>'
        "<GeoTransform>500100, 10, 0, 4999900, 0, -10</GeoTransform>"
        '<VRTRasterBand dataType="UInt16" band="1"><Description>s2:B03</Description>'
        '<SimpleSource><SourceFilename relativeToVRT="1">a.tif</SourceFilename>'
        '<SourceBand>2</SourceBand><SrcRect xOff="10" yOff="10" xSize="20" ySize="10"/>'
        '<DstRect xOff="0" yOff="0" xSize="20" ySize="10"/></SimpleSource>'
        "</VRTRasterBand></VRTDataset>"
    )
    with open_scene(tmp_path / "a.vrt", SAID) as scene, ThreadPoolExecutor(3) as pool:
        reads = [pool.submit(scene.read_dn, ["green"], whole(scene)) for _ in range(9)]
        assert all((read.result().values == numbers[1:2, 10:20, 10:30]).all() for read in reads)


@pytest.mark.parametrize("driver", ["COG", "JP2OpenJPEG"])
def test_a_truncated_file_is_named_with_the_place(tmp_path, driver):
    dn = np.random.default_rng(6).integers(1, 9999, (1, 600, 700), dtype=np.uint16)
    path = write(tmp_path / "a.tif", dn, names=None, tags={}, driver=driver)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with (
        pytest.raises(SceneError, match=r"a\.tif cannot be read at rows \d+–\d+, col") as caught,
        open_scene(path, SceneOptions(bands=("s2:B03",), scale=1e-4)) as scene,
    ):
        scene.read(["B03"], whole(scene))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.unlink(), "is not there"),
        (lambda path: path.write_text("no raster"), "is not a raster that GDAL can read"),
        (lambda path: path.write_bytes(b""), "is not a raster that GDAL can read"),
        (lambda path: path.write_bytes(path.read_bytes()[:1500]), "cannot be opened"),
    ],
)
def test_what_is_no_raster_is_said_in_one_line(tmp_path, numbers, damage, message):
    path = write(tmp_path / "a.tif", numbers)
    damage(path)
    with pytest.raises(SceneError, match=message) as caught:
        open_scene(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("profile", "message"),
    [
        ({"crs": None}, "has no CRS.*rio edit-info --crs"),
        ({"transform": None}, "has no geotransform.*rio edit-info --transform"),
        ({"transform": Affine.identity()}, "has no geotransform"),
        ({"crs": None, "transform": None}, "has no geotransform"),
    ],
)
def test_a_scene_that_lies_nowhere_is_refused(tmp_path, numbers, profile, message):
    path = write(tmp_path / "a.tif", numbers, **profile)
    with pytest.raises(SceneError, match=message):
        open_scene(path)


def test_control_points_are_no_grid(tmp_path, numbers):
    points = [GroundControlPoint(r, c, c * 10.0, r * -10.0) for r in (0, 37) for c in (0, 52)]
    path = write(tmp_path / "a.tif", numbers, transform=None, gcps=points)
    with pytest.raises(SceneError, match=r"ground control points .*rio warp .*a\.tif"):
        open_scene(path)


def test_complex_numbers_are_refused(tmp_path):
    path = write(tmp_path / "a.tif", np.ones((1, 4, 4), dtype=np.complex64), names=["B03"])
    with pytest.raises(SceneError, match="complex"):
        open_scene(path)


# What the user says


@pytest.mark.parametrize(
    ("said", "error"),
    [
        ({"bands": "B02,,B03"}, BandError),
        ({"sensor": "modis"}, BandError),
        ({"level": "L9"}, BandError),
        ({"sensor": "l8", "level": "L2A"}, None),  # L2A of Landsat is L2
        ({"scale": 0.0}, SceneError),
        ({"scale": -1.0}, SceneError),
        ({"offset": float("nan")}, SceneError),
        ({"nodata": "none"}, SceneError),
        ({"nodata": "NaN"}, None),
    ],
)
def test_options_are_checked_as_the_command_line_has_them(said, error):
    nothing = dict.fromkeys(["bands", "sensor", "level", "scale", "offset", "nodata"])
    if error is None:
        SceneOptions.from_text(**{**nothing, **said})
    else:
        with pytest.raises(error):
            SceneOptions.from_text(**{**nothing, **said})


def test_band_files_as_arguments_are_noticed(tmp_path, numbers):
    files = [
        write(tmp_path / f"{name}.tif", band[None], names=None)
        for name, band in zip(NAMES, numbers, strict=True)
    ]
    with pytest.raises(SceneError, match=f"Give the folder: {tmp_path}"):
        check_scene_arguments(files)
    check_scene_arguments(files[:1])
    check_scene_arguments([write(tmp_path / "all.tif", numbers), *files])
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    check_scene_arguments([files[0], write(elsewhere / "B02.tif", numbers[:1], names=None)])
    check_scene_arguments([tmp_path, elsewhere])
    (tmp_path / "broken.tif").write_text("")
    check_scene_arguments([files[0], tmp_path / "broken.tif"])


def test_gdals_cache_is_bounded_and_given_back():
    get = rasterio.env.get_gdal_config
    before = get("GDAL_CACHEMAX")
    with gdal_environment():
        assert get("GDAL_CACHEMAX") == CACHE_BYTES
    assert get("GDAL_CACHEMAX") == before


def test_opening_says_nothing_where_nothing_is_wrong(tmp_path, numbers, caplog):
    with (
        caplog.at_level(logging.INFO, logger="geounet"),
        open_scene(write(tmp_path / "a.tif", numbers), SAID) as scene,
    ):
        scene.read(NAMES, whole(scene))
    assert not caplog.records


def test_a_scale_without_the_offset_of_its_baseline_is_refused(tmp_path) -> None:
    path = tmp_path / "S2A_MSIL2A_20240517T105621_N0510_R094_T30TXR_20240517T170000.tif"
    profile = {
        "driver": "GTiff", "count": 1, "height": 8, "width": 8, "dtype": "uint16",
        "crs": "EPSG:32630", "transform": rasterio.Affine(10, 0, 5e5, 0, -10, 5e6),
    }  # fmt: skip
    with rasterio.open(path, "w", **profile) as dst:
        dst.write(np.full((1, 8, 8), 1200, np.uint16))
        dst.descriptions = ("B03",)
    window = Window(0, 0, 8, 8)
    with (
        open_scene(path, SceneOptions(scale=1e-4)) as scene,
        pytest.raises(SceneError, match="--offset -1000"),
    ):
        scene.read(["B03"], window)
    for offset, reflectance in ((-1000, 0.02), (0, 0.12)):
        with open_scene(path, SceneOptions(scale=1e-4, offset=offset)) as scene:
            np.testing.assert_allclose(scene.read(["B03"], window).values, reflectance, rtol=1e-5)

"""Layers of different grids on one: where pixels land, and that windows cannot be seen."""

import math
from contextlib import ExitStack

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.enums import ColorInterp
from rasterio.windows import Window
from scipy.ndimage import map_coordinates

from geounet.errors import SceneError
from geounet.scene import SceneOptions, open_scene, raster
from geounet.scene.grid import finest_grid, same_grid

CRS = "EPSG:32633"
CORNER = (600_000.0, 4_000_000.0)
SAID = SceneOptions(sensor="s2", scale=1e-4)


def grid(shape, res, shift=(0.0, 0.0), *, crs=CRS):
    x, y = CORNER[0] + shift[0], CORNER[1] + shift[1]
    return GeoBox(shape, Affine(res, 0, x, 0, -res, y), crs)


def write(path, geobox, values, *, dtype="uint16", nodata=0, **profile):
    values = np.asarray(values, dtype=dtype).reshape(-1, *geobox.shape)
    with rasterio.open(
        path,
        "w",
        driver="GTiff",
        height=geobox.height,
        width=geobox.width,
        count=len(values),
        dtype=dtype,
        crs=geobox.crs.to_wkt(),
        transform=geobox.transform,
        nodata=nodata,
        **profile,
    ) as dst:
        dst.write(values)
    return path


def positions(target, source):
    """Return where the centres of a grid's pixels lie in another, in pixels between its centres."""
    cols, rows = np.meshgrid(np.arange(target.width) + 0.5, np.arange(target.height) + 0.5)
    x, y = target.transform @ (cols, rows)
    inverse = ~source.transform
    return (
        inverse.d * x + inverse.e * y + inverse.f - 0.5,
        inverse.a * x + inverse.b * y + inverse.c - 0.5,
    )


def bilinear(values, valid, target, source):
    """Interpolate another way: SciPy, over what is valid; NaN where the nearest pixel is not."""
    rows, cols = positions(target, source)
    good = np.where(valid, values, 0).astype(np.float64)
    sums = map_coordinates(good, [rows, cols], order=1, mode="nearest")
    weights = map_coordinates(valid.astype(np.float64), [rows, cols], order=1, mode="nearest")
    near_row, near_col = np.floor(rows + 0.5).astype(int), np.floor(cols + 0.5).astype(int)
    height, width = values.shape
    inside = (near_row >= 0) & (near_row < height) & (near_col >= 0) & (near_col < width)
    nearest = valid[near_row.clip(0, height - 1), near_col.clip(0, width - 1)] & inside
    return np.where(nearest, sums / np.maximum(weights, 1e-9), np.nan)


def holes(rng, shape):
    """Return numbers with no data here and there, and over a whole corner."""
    values = rng.integers(1, 10_000, shape)
    values[rng.random(shape) < 0.05] = 0
    values[: shape[0] // 4, : shape[1] // 5] = 0
    return values


@pytest.mark.parametrize(
    ("res", "shift"),
    [
        (20, (0, 0)),
        (60, (0, 0)),
        (20, (10, -10)),  # Landsat's panchromatic band begins half a pixel beside the others
        (20, (-7, 3)),
        (10, (4, -3)),
        (7, (100, -150)),
    ],
)
def test_a_coarse_or_shifted_band_lies_where_an_independent_resampling_puts_it(
    tmp_path, res, shift
):
    rng = np.random.default_rng(res)
    fine, other = grid((90, 120), 10), grid((900 // res + 2, 1200 // res + 2), res, shift)
    if res < 10:
        fine, other = other, grid((90, 120), 10, shift=(3, 2))
    values = holes(rng, other.shape)
    write(tmp_path / "B02.tif", fine, rng.integers(1, 9, fine.shape))
    write(tmp_path / "B05.tif", other, values)
    with open_scene(tmp_path, SAID) as scene:
        assert same_grid(scene.geobox, fine)
        found = scene.read(["B05"], Window(0, 0, fine.width, fine.height))
    expected = bilinear(values, values != 0, fine, other) * 1e-4
    np.testing.assert_array_equal(found.valid, np.isfinite(expected))
    np.testing.assert_allclose(found.values[0], expected, atol=1e-6)


def test_a_shore_that_is_a_straight_ramp_stays_where_it_is(tmp_path):
    """Half a pixel of 20 m would move it by 10 m."""
    fine, coarse = grid((60, 60), 10), grid((30, 30), 20)
    for path, there in ((tmp_path / "B03.tif", fine), (tmp_path / "B11.tif", coarse)):
        cols, rows = np.meshgrid(np.arange(there.width) + 0.5, np.arange(there.height) + 0.5)
        x, y = there.transform @ (cols, rows)
        write(path, there, 5000 + 3 * (x - CORNER[0]) + 2 * (y - CORNER[1]))
    with open_scene(tmp_path, SAID) as scene:
        values, valid = scene.read_dn(["B03", "B11"], Window(1, 1, 58, 58))
    assert valid.all()
    np.testing.assert_allclose(values[0], values[1], atol=1e-3)


def downsample(values, factor):
    """Weigh pixels by a triangle as wide as two pixels of the coarse grid, as GDAL says it does."""
    height, width = (side // factor for side in values.shape)
    result = np.zeros((height, width))
    for row, col in np.ndindex(height, width):
        centre = np.array([row + 0.5, col + 0.5]) * factor
        weights = [
            np.maximum(0, 1 - np.abs(np.arange(side) + 0.5 - middle) / factor)
            for side, middle in zip(values.shape, centre, strict=True)
        ]
        result[row, col] = weights[0] @ values @ weights[1] / weights[0].sum() / weights[1].sum()
    return result


@pytest.mark.parametrize("factor", [2, 3])
def test_a_coarser_res_averages_and_keeps_the_corner(tmp_path, factor):
    values = np.random.default_rng(0).integers(1, 9999, (48, 60))
    write(tmp_path / "B03.tif", grid((48, 60), 10), values)
    options = SceneOptions(sensor="s2", scale=1e-4, res=10.0 * factor)
    with open_scene(tmp_path / "B03.tif", options) as scene:
        assert scene.geobox.shape == (48 // factor, 60 // factor)
        assert (scene.geobox.transform.c, scene.geobox.transform.f) == CORNER
        found, valid = scene.read(["B03"], Window(0, 0, *scene.geobox.shape[::-1]))
    assert valid.all()
    np.testing.assert_allclose(found[0], downsample(values, factor) * 1e-4, atol=1e-6)


@given(data=st.data())
def test_a_window_is_cut_from_what_reading_everything_gives(tmp_path_factory, data):
    """Any resolutions, shifts, windows and halos, beyond the edges included."""
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    folder = tmp_path_factory.mktemp("scene")
    names = ["B02", "B05", "B09", "B11"][: draw(st.integers(2, 4))]
    for name in names:
        res = draw(st.sampled_from([10, 15, 20, 30, 60]))
        shift = draw(st.tuples(*[st.sampled_from([0, 5, 10, -7.5, 3.3])] * 2))
        height, width = draw(st.tuples(*[st.integers(4, 400 // res)] * 2))
        there = grid((height, width), res, shift)
        write(folder / f"{name}.tif", there, holes(rng, there.shape))
    res = draw(st.sampled_from([None, None, 10.0, 25.0, 40.0]))
    with open_scene(folder, SceneOptions(sensor="s2", scale=1e-4, res=res), advise=False) as scene:
        height, width = scene.geobox.shape
        whole = scene.read(names, Window(0, 0, width, height))
        halo = draw(st.integers(0, 90))
        row, col = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        rows, cols = draw(st.integers(1, height - row)), draw(st.integers(1, width - col))
        window = Window(col - halo, row - halo, cols + 2 * halo, rows + 2 * halo)
        part = scene.read(names, window)
    mode = "reflect"
    padding = [(halo, halo)] * 2
    values = np.stack([np.pad(one, padding, mode=mode) for one in whole.values])
    here = np.s_[row : row + rows + 2 * halo, col : col + cols + 2 * halo]
    np.testing.assert_array_equal(part.valid, np.pad(whole.valid, padding, mode=mode)[here])
    np.testing.assert_allclose(part.values, values[:, *here], atol=1e-6)


def test_nodata_of_one_band_of_a_stack_is_not_the_others(tmp_path):
    """Both bands are brought to another grid from one file."""
    rng = np.random.default_rng(1)
    fine, coarse = grid((40, 40), 10), grid((20, 20), 20)
    stack = rng.integers(1, 999, (2, 20, 20))
    stack[1, 5:9, 5:12] = 0
    write(tmp_path / "fine.tif", fine, rng.integers(1, 999, fine.shape))
    path = write(tmp_path / "stack.tif", coarse, stack)
    with rasterio.open(path, "r+") as dst:
        dst.descriptions = ("B05", "B06")
    options = SceneOptions(sensor="s2", scale=1e-4, res=10)
    with open_scene(path, options) as scene:
        window = Window(0, 0, 40, 40)
        for i, band in enumerate(["B05", "B06"]):
            expected = bilinear(stack[i], stack[i] != 0, fine, coarse) * 1e-4
            found = scene.read([band], window)
            np.testing.assert_array_equal(found.valid, np.isfinite(expected))
            np.testing.assert_allclose(found.values[0], expected, atol=1e-6)
        both = scene.read(["B05", "B06"], window).valid
        np.testing.assert_array_equal(both, found.valid)


@pytest.mark.parametrize("how", ["alpha", "mask of the file", "nan"])
def test_other_ways_to_say_nodata_hold_between_pixels_too(tmp_path, how):
    rng = np.random.default_rng(2)
    fine, coarse = grid((40, 40), 10), grid((20, 20), 20)
    values, valid = rng.integers(1, 250, (20, 20)), np.ones((20, 20), bool)
    valid[3:9, 4:15] = valid[15, 2] = False
    path = tmp_path / "B05.tif"
    if how == "alpha":
        write(path, coarse, [values, valid * 255], dtype="uint8", nodata=None)
        with rasterio.open(path, "r+") as dst:
            dst.colorinterp = (ColorInterp.gray, ColorInterp.alpha)
            dst.descriptions = ("B05", "")
    elif how == "nan":
        write(path, coarse, np.where(valid, values, np.nan), dtype="float32", nodata=None)
    else:
        with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True):
            write(path, coarse, values, dtype="uint8", nodata=None)
            with rasterio.open(path, "r+") as dst:
                dst.write_mask(valid)
    with open_scene(path, SceneOptions(sensor="s2", scale=1e-2, res=10), advise=False) as scene:
        found = scene.read(["B05"], Window(0, 0, 40, 40))
    expected = bilinear(values, valid, fine, coarse) * 1e-2
    np.testing.assert_array_equal(found.valid, np.isfinite(expected))
    np.testing.assert_allclose(found.values[0], expected, atol=1e-5)


def test_a_band_in_another_crs_lies_where_it_belongs(tmp_path):
    """A height model in degrees under a scene in metres."""
    fine = grid((60, 60), 10)
    to_degrees = Transformer.from_crs(CRS, "EPSG:4326", always_xy=True)
    lon, lat = to_degrees.transform(*CORNER)
    degrees = GeoBox((30, 30), Affine(0.0003, 0, lon - 1e-3, 0, -0.0003, lat + 1e-3), "EPSG:4326")
    cols, rows = np.meshgrid(np.arange(30) + 0.5, np.arange(30) + 0.5)
    x, y = degrees.transform @ (cols, rows)
    write(tmp_path / "B03.tif", fine, np.ones(fine.shape))
    heights = 1e4 * (x - lon) + 2e4 * (lat - y)
    write(tmp_path / "dem.tif", degrees, heights, dtype="float32", nodata=None)
    (tmp_path / "scene.yaml").write_text("sensor: s2\nscale: 0.0001\nB03: B03.tif\nDEM: dem.tif\n")
    with open_scene(tmp_path / "scene.yaml") as scene:
        found = scene.read(["DEM"], Window(0, 0, 60, 60))
    cols, rows = np.meshgrid(np.arange(60) + 0.5, np.arange(60) + 0.5)
    x, y = to_degrees.transform(*(fine.transform @ (cols, rows)))
    expected = 1e4 * (x - lon) + 2e4 * (lat - y)
    assert found.valid.all()
    np.testing.assert_allclose(found.values[0], expected, atol=1e-2)  # metres of height


def test_a_rotated_scene_keeps_its_rotation_at_another_res():
    turned = GeoBox(
        (40, 60), Affine.translation(*CORNER) @ Affine.rotation(30) @ Affine.scale(10, -10), CRS
    )
    there = finest_grid([turned], res=20)
    assert there.shape == (20, 30)
    middle = np.array(turned.transform @ (30, 20))
    np.testing.assert_allclose(there.transform @ (15, 10), middle, atol=1e-6)


def test_the_finest_grid_is_the_first_of_equals():
    first, second = grid((10, 10), 10), grid((10, 10), 10, (5, 5))
    assert finest_grid([grid((5, 5), 20), first, second]) is first


def test_a_last_row_may_reach_beyond_the_scene():
    assert finest_grid([grid((100, 101), 10)], res=20).shape == (50, 51)
    assert finest_grid([grid((100, 101), 10)], res=10.0) == grid((100, 101), 10)


@pytest.mark.parametrize("res", [1e7, 1e-9])
def test_a_res_in_other_units_than_the_crs_is_an_error(res):
    with pytest.raises(SceneError, match=r"--res .* 100 × 100 of 10 × 10 metres"):
        finest_grid([grid((100, 100), 10)], res=res)


@pytest.mark.parametrize("res", [0, -10, math.nan, math.inf])
def test_a_res_is_a_positive_number(res):
    with pytest.raises(SceneError, match="not a positive number"):
        SceneOptions(res=res)


def test_only_what_a_window_needs_is_read_of_a_coarse_band(tmp_path):
    """Damage elsewhere in the file goes unnoticed, because nobody looks there."""
    fine, coarse = grid((2048, 2048), 10), grid((1024, 1024), 20)
    rng = np.random.default_rng(3)
    write(tmp_path / "B03.tif", fine, np.ones(fine.shape), compress="deflate")
    path = write(
        *(tmp_path / "B11.tif", coarse, rng.integers(1, 9999, coarse.shape)),
        tiled=True,
        blockxsize=128,
        blockysize=128,
        compress="deflate",
    )
    with rasterio.open(path) as src:
        values = src.read(1)
    content = bytearray(path.read_bytes())
    content[len(content) // 2 :] = bytes(len(content) - len(content) // 2)
    path.write_bytes(content)
    with ExitStack() as stack:
        scene = stack.enter_context(open_scene(tmp_path, SAID, advise=False))
        part = scene.read(["B11"], Window(0, 0, 256, 256))
        assert np.isfinite(part.values).all()
        assert abs(part.values.mean() - values[:128, :128].mean() * 1e-4) < 1e-3
        with pytest.raises(SceneError, match=r"B11\.tif cannot be read at rows"):
            scene.read(["B11"], Window(0, 1900, 100, 100))


def test_bands_of_one_file_with_different_nodata_are_read_alike_in_any_order(tmp_path):
    """A view on another grid knows one nodata: with the other band's, 0.3 became 6.5."""
    coarse = grid((20, 20), 20)
    stack = np.full((2, 20, 20), 3000)
    stack[0, :10], stack[1, :10] = 0, 65535
    paths = [
        write(tmp_path / f"{name}.tif", coarse, values, nodata=nodata)
        for name, values, nodata in (("B05", stack[0], 0), ("B06", stack[1], 65535))
    ]
    vrt = tmp_path / "stack.vrt"
    bands = "".join(
        f'<VRTRasterBand dataType="UInt16" band="{i}"><Description>{path.stem}</Description>'
        f"<NoDataValue>{nodata}</NoDataValue><SimpleSource><SourceFilename>{path}</SourceFilename>"
        "<SourceBand>1</SourceBand></SimpleSource></VRTRasterBand>"
        for i, (path, nodata) in enumerate(zip(paths, (0, 65535), strict=True), start=1)
    )
    a, b, c, d, e, f, *_ = coarse.transform
    vrt.write_text(
        f'<VRTDataset rasterXSize="20" rasterYSize="20"><SRS>{CRS}</SRS><GeoTransform>'
        f"{c},{a},{b},{f},{d},{e}</GeoTransform>{bands}</VRTDataset>"
    )
    window = Window(0, 0, 40, 40)
    with open_scene(vrt, SceneOptions(sensor="s2", scale=1e-4, res=10), advise=False) as scene:
        for order in (["B05"], ["B06"], ["B06", "B05"]):
            values, valid = scene.read(order, window)
            assert valid.mean() == 0.5, order
            assert np.nanmax(values) == pytest.approx(0.3)


def test_what_is_no_number_stays_where_it_is_beside_a_declared_nodata(tmp_path):
    fine, coarse = grid((20, 20), 10), grid((10, 10), 20)
    values = np.full((10, 10), 0.25)
    values[2, 2], values[6, 6], values[8, 3] = -9999, np.nan, np.inf
    write(tmp_path / "B03.tif", fine, np.full(fine.shape, 0.1), dtype="float32", nodata=None)
    write(tmp_path / "B11.tif", coarse, values, dtype="float32", nodata=-9999)
    with open_scene(tmp_path, SceneOptions(sensor="s2"), advise=False) as scene:
        found = scene.read(["B11"], Window(0, 0, 20, 20))
    expected = np.kron(np.isfinite(values) & (values != -9999), np.ones((2, 2))) != 0
    np.testing.assert_array_equal(found.valid, expected)
    np.testing.assert_allclose(found.values[0][expected], 0.25, atol=1e-6)


def test_an_extra_layer_decides_no_grid_and_keeps_its_zeros(tmp_path):
    fine, coarse = grid((50, 50), 2), grid((10, 10), 10)
    write(tmp_path / "B03.tif", coarse, np.arange(100))
    heights = np.zeros(fine.shape)
    write(tmp_path / "DEM.tif", fine, heights, dtype="float32", nodata=-9999)
    options = SceneOptions(sensor="s2", scale=1e-4, nodata=0, bands=("B03", "DEM"))
    with open_scene(tmp_path, options, advise=False) as scene:
        assert same_grid(scene.on_grid_of(["B03", "DEM"]).geobox, coarse)
        assert scene.read(["DEM"], Window(0, 0, 10, 10)).valid.all(), "0 is a height"
        assert (~scene.read(["B03"], Window(0, 0, 10, 10)).valid).sum() == 1


def test_what_the_finest_band_does_not_cover_is_said_to_be_left_out(tmp_path, caplog):
    write(tmp_path / "B03.tif", grid((16, 16), 10), np.ones(256))
    write(tmp_path / "B11.tif", grid((32, 32), 20), np.ones(1024))
    write(tmp_path / "B12.tif", grid((9, 9), 20, (-5, 5)), np.ones(81))  # half a pixel more
    with open_scene(tmp_path, SAID) as scene:
        assert scene.geobox.shape == (16, 16)
        assert "B11 cover more ground than the finest band" in caplog.text
        assert any("B11 cover" in note for note in scene.describe()["notes"])
        assert "B12" not in caplog.text
        caplog.clear()
        scene.on_grid_of(["B11", "B12"])
        assert not caplog.text


def test_a_pixel_is_not_made_of_more_than_can_be_held(tmp_path):
    write(tmp_path / "B03.tif", grid((400, 400), 10), np.ones(160_000))
    options = SceneOptions(sensor="s2", scale=1e-4, res=500)
    with (
        open_scene(tmp_path, options, advise=False) as scene,
        pytest.raises(SceneError, match=r"B03\.tif has pixels 50 times smaller .* smaller --res"),
    ):
        scene.read(["B03"], Window(0, 0, 2, 2))


def test_bands_of_one_file_are_interpolated_in_one_reading_whatever_their_nodata(
    tmp_path, monkeypatch
):
    """NaN is not equal to itself: each band was warped by itself, and the file decoded anew."""
    path = write(
        *(tmp_path / "stack.tif", grid((20, 20), 20), np.ones((3, 20, 20))),
        dtype="float32",
        nodata=math.nan,
    )
    with rasterio.open(path, "r+") as dst:
        dst.descriptions = ("B05", "B06", "B07")
    readings, warped = [], raster._read_warped
    monkeypatch.setattr(raster, "_read_warped", lambda *a: readings.append(a) or warped(*a))
    with open_scene(path, SceneOptions(sensor="s2", scale=1, res=10), advise=False) as scene:
        assert scene.read(["B05", "B06", "B07"], Window(0, 0, 40, 40)).valid.all()
    assert len(readings) == 1

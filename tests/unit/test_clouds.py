"""What is masked and what is suspect, held against computations on whole scenes at once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from affine import Affine
from contouring import UTM, write_raster, write_scene
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import Transformer
from rasterio.windows import Window
from scipy import ndimage
from scipy.spatial.distance import cdist

from geounet.errors import SceneError
from geounet.scene import CloudOptions, SceneOptions, gdal_environment, open_scene
from geounet.scene.clouds import CLEAR, SUSPECT, UNKNOWN, Clouds, spread
from geounet.scene.quality import CloudClass, QualityLayer
from geounet.scene.raster import Handles

EIGHT = np.ones((3, 3))


def layer_on(geobox, scl):
    """A quality layer in memory, as polygons have it; beyond it all is clear."""
    from geounet.scene.quality import SCL

    return QualityLayer("gml", "x", 1, geobox, "SCL (x)", codes=SCL[scl])


def grid(shape, *, res=20.0, left=500_000.0, top=4_500_000.0, crs="EPSG:32630"):
    return GeoBox(shape, Affine(res, 0, left, 0, -res, top), crs)


def clouds_of(scl, *, own=None, scene=None, **options):
    own = own or grid(scl.shape)
    scene = scene or own
    return Clouds(
        layer_on(own, scl), CloudOptions(mask=True, **options), scene, Handles(), "scene.tif"
    )


def whole(geobox):
    return Window(col_off=0, row_off=0, width=geobox.width, height=geobox.height)


def random_scl(seed, shape, *, spread=1.2):
    """Smooth noise cut into land, water, surf, clouds of two kinds, cirrus and unknown."""
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), spread)
    ranks = noise.ravel().argsort().argsort().reshape(shape) / noise.size
    scl = np.array([4, 4, 9, 6, 6, 8, 10, 0, 7, 6])[(ranks * 9.999).astype(int)].astype(np.uint8)
    return np.where(np.random.default_rng(seed + 1).random(shape) < 0.03, 8, scl).astype(np.uint8)


def expected_mask(scl, *, cirrus, smallest, buffer_px):
    """The same on the whole layer, another way."""
    kinds = (8, 9, 10) if cirrus else (8, 9)
    cloud = np.isin(scl, kinds)
    padded = np.pad(cloud, 1)
    full = ndimage.minimum_filter(padded, 3, mode="constant", cval=0)
    thick = ndimage.maximum_filter(full, 3, mode="constant", cval=0)[1:-1, 1:-1]
    near_land = ndimage.maximum_filter(np.isin(scl, (4, 5)), 5, mode="constant", cval=0)
    near_water = ndimage.maximum_filter(scl == 6, 5, mode="constant", cval=0)
    cloud &= ~(~thick & near_land & near_water)
    labels, count = ndimage.label(cloud, EIGHT)
    for number in range(1, count + 1):
        if (labels == number).sum() < smallest:
            cloud[labels == number] = False
    if buffer_px and cloud.any():
        here = np.argwhere(np.ones_like(cloud))
        near = cdist(here, np.argwhere(cloud)).min(axis=1) <= buffer_px + 1e-9
        cloud = near.reshape(cloud.shape)
    return cloud


@given(
    seed=st.integers(0, 10_000),
    cirrus=st.booleans(),
    smallest=st.sampled_from([0, 1, 2, 5, 9, 40]),
    buffer_px=st.sampled_from([0, 1, 2.5]),
)
@settings(max_examples=40)
def test_the_mask_is_what_the_whole_layer_gives(seed, cirrus, smallest, buffer_px):
    scl = random_scl(seed, (31, 43))
    clouds = clouds_of(scl, cirrus=cirrus, min_area_m2=smallest * 400, buffer_m=buffer_px * 20)
    expected = expected_mask(scl, cirrus=cirrus, smallest=smallest, buffer_px=buffer_px)
    assert np.array_equal(clouds.mask(whole(grid(scl.shape))), expected)


@st.composite
def scenes(draw):
    """A grid near that of the layer, of another resolution, place, or CRS."""
    res = draw(st.sampled_from([7.0, 10.0, 20.0, 33.0, 60.0]))
    left = 500_000 + draw(st.integers(-300, 300))
    top = 4_500_000 + draw(st.integers(-300, 300))
    shape = draw(st.integers(3, 40)), draw(st.integers(3, 40))
    kind = draw(st.sampled_from(["same", "rotated", "zone"]))
    if kind == "same":
        return grid(shape, res=res, left=left, top=top)
    if kind == "rotated":
        return GeoBox(
            shape, Affine.translation(left, top) @ Affine.rotation(30) @ Affine.scale(res, -res),
            "EPSG:32630",
        )  # fmt: skip
    x, y = Transformer.from_crs(32630, 32631, always_xy=True).transform(left, top)
    return GeoBox(shape, Affine(res, 0, x, 0, -res, y), "EPSG:32631")


def near_tie(scene, own):
    """Whether a centre of the scene falls on an edge of the layer's pixels, to a millionth."""
    cols, rows = np.meshgrid(np.arange(scene.width) + 0.5, np.arange(scene.height) + 0.5)
    x, y = scene.transform @ (cols, rows)
    if scene.crs != own.crs:
        x, y = Transformer.from_crs(scene.crs.proj, own.crs.proj, always_xy=True).transform(x, y)
    places = np.array(~own.transform @ (x, y))
    return np.floor(places + 1e-6).astype(int), places


@given(seed=st.integers(0, 10_000), scene=scenes(), smallest=st.sampled_from([1, 4, 12]))
@settings(max_examples=60)
def test_each_pixel_of_the_scene_takes_the_nearest_of_the_layer(seed, scene, smallest):
    scl = random_scl(seed, (29, 37))
    own = grid(scl.shape)
    clouds = clouds_of(scl, own=own, scene=scene, min_area_m2=smallest * 400)
    mask = np.pad(expected_mask(scl, cirrus=False, smallest=smallest, buffer_px=0), 1)
    (cols, rows), _ = near_tie(scene, own)
    at = np.clip(rows + 1, 0, own.height + 1), np.clip(cols + 1, 0, own.width + 1)
    assert np.array_equal(clouds.mask(whole(scene)), mask[at])


@given(
    seed=st.integers(0, 10_000),
    scene=scenes(),
    buffer_m=st.sampled_from([0, 30, 70]),
    smallest=st.sampled_from([1, 6, 30]),
    data=st.data(),
)
@settings(max_examples=60)
def test_windows_are_the_whole_cut_out_mirrored_edges_included(
    seed, scene, buffer_m, smallest, data
):
    scl = random_scl(seed, (29, 37))
    clouds = clouds_of(scl, scene=scene, min_area_m2=smallest * 400, buffer_m=buffer_m)
    height, width = scene.shape
    pad = 2 * max(scene.shape)
    row, col = data.draw(st.integers(-pad, height)), data.draw(st.integers(-pad, width))
    size = data.draw(st.integers(1, pad)), data.draw(st.integers(1, pad))
    window = Window(col_off=col, row_off=row, width=size[1], height=size[0])
    for read in (clouds.mask, clouds.classes, clouds.suspect):
        mirrored = np.pad(read(whole(scene)), 2 * pad, mode="reflect")
        part = mirrored[2 * pad + row :, 2 * pad + col :][: size[0], : size[1]]
        assert np.array_equal(read(window), part)


def test_a_large_window_is_worked_on_in_parts(monkeypatch):
    scl = random_scl(3, (120, 150))
    clouds = clouds_of(scl, min_area_m2=12 * 400, buffer_m=45)
    at_once = clouds.mask(whole(grid(scl.shape)))
    monkeypatch.setattr("geounet.scene.clouds.CHUNK", 32)
    assert np.array_equal(clouds.mask(whole(grid(scl.shape))), at_once)
    assert at_once.any()


def test_shadow_surf_snow_and_cirrus_are_not_masked():
    scl = np.repeat(np.arange(12, dtype=np.uint8), 12).reshape(12, 12)  # a row each
    plain = clouds_of(scl, min_area_m2=0).mask(whole(grid(scl.shape)))
    assert np.flatnonzero(plain.all(axis=1)).tolist() == [8, 9]
    assert not np.delete(plain, [8, 9], axis=0).any()
    cirrus = clouds_of(scl, min_area_m2=0, cirrus=True).mask(whole(grid(scl.shape)))
    assert np.flatnonzero(cirrus.all(axis=1)).tolist() == [8, 9, 10]


def test_a_beach_between_land_and_water_is_left_alone_and_a_band_of_cloud_over_water_is_not():
    scl = np.full((20, 30), 6, np.uint8)
    scl[:6] = 4
    scl[6:8] = 9  # a beach along the shore
    scl[14:16] = 9  # two pixels wide as well, over open water
    mask = clouds_of(scl, min_area_m2=0).mask(whole(grid(scl.shape)))
    assert not mask[:14].any()
    assert mask[14:16].all()


def test_where_water_is_not_known_nothing_counts_as_a_beach(tmp_path):
    bqa = np.full((20, 30), 2720, np.uint16)
    bqa[6:8] = 2800
    path = write_scene(tmp_path / "scene.tif", np.ones((20, 30), bool))
    handles = Handles()
    layer = QualityLayer(
        "bqa", str(write_raster(tmp_path / "bqa.tif", bqa[None])), 1,
        GeoBox((20, 30), UTM, "EPSG:32630"), "BQA", dtype="uint16",
    )  # fmt: skip
    clouds = Clouds(layer, CloudOptions(mask=True, min_area_m2=0), layer.geobox, handles, str(path))
    assert clouds.mask(whole(layer.geobox))[6:8].all()
    handles.close()


def test_suspect_is_a_pixel_of_the_layer_around_any_cloud():
    scl = np.full((9, 9), 6, np.uint8)
    scl[4, 4] = 10
    scl[0, :] = 0
    scl[1, 8] = 3
    suspect = clouds_of(scl).suspect(whole(grid(scl.shape)))
    expected = np.full((9, 9), CLEAR)
    expected[0, :] = UNKNOWN
    expected[3:6, 3:6] = SUSPECT
    assert np.array_equal(suspect, expected)


@given(
    seed=st.integers(0, 10_000),
    res=st.sampled_from([65.0, 60.0, 130.0, 250.0]),
    shift=st.tuples(st.integers(0, 60), st.integers(0, 60)),
)
@settings(max_examples=40)
def test_no_cloud_falls_between_the_middles_of_large_pixels(seed, res, shift):
    scl = np.full((60, 70), 6, np.uint8)
    scl[tuple(np.random.default_rng(seed).integers(14, 46, (2, 3)))] = [8, 9, 10]
    own = grid(scl.shape)
    scene = grid((4, 4), res=res, left=500_000.0 + shift[0], top=4_500_000.0 - shift[1])
    suspect = clouds_of(scl, own=own, scene=scene).suspect(whole(scene))
    for row, col in np.ndindex(*scene.shape):
        top, left = (shift[1] + row * res) / 20, (shift[0] + col * res) / 20
        rows = slice(int(top), int(np.ceil(top + res / 20)))
        cols = slice(int(left), int(np.ceil(left + res / 20)))
        if (scl[rows, cols] != 6).any():
            assert suspect[row, col] == SUSPECT
        far = np.s_[max(rows.start - 2, 0) : rows.stop + 2, max(cols.start - 2, 0) : cols.stop + 2]
        if (scl[far] == 6).all():
            assert suspect[row, col] == CLEAR


@given(seed=st.integers(0, 1000), px=st.integers(0, 12))
def test_pixels_are_spread_over_a_square(seed, px):
    pixels = np.random.default_rng(seed).random((9, 17)) < 0.05
    expected = ndimage.maximum_filter(pixels, 2 * px + 1, mode="constant", cval=0)
    assert np.array_equal(spread(pixels, px), expected)


def elsewhere(folder: Path, transform: Affine, crs: str = "EPSG:32630") -> CloudOptions:
    values = np.ones((1, 40, 50), np.uint8)
    path = write_raster(folder / "mask.tif", values, transform=transform, crs=crs)
    return CloudOptions(mask=True, min_area_m2=0, file=str(path))


@pytest.mark.parametrize("shift", [(50, 0), (0, -40), (-50, 40), (9000, 0)])
def test_a_mask_of_another_place_is_refused_or_said(scene_path, tmp_path, shift, caplog):
    options = elsewhere(tmp_path, UTM @ Affine.translation(*shift))
    with pytest.raises(SceneError, match=r"mask\.tif lies elsewhere than .*scene\.tif: .*CRS"):
        open_scene(scene_path, SceneOptions(clouds=options))
    with open_scene(scene_path, SceneOptions(clouds=replace(options, mask=False))) as scene:
        scene.on_grid_of(["B03"])
    (told,) = [r.message for r in caplog.records if "lies elsewhere" in r.message]
    assert "clouds are not known" in told


def test_a_mask_of_another_zone_is_refused(scene_path, tmp_path):
    options = elsewhere(tmp_path, UTM, crs="EPSG:32601")
    with pytest.raises(SceneError, match="lies elsewhere"):
        open_scene(scene_path, SceneOptions(clouds=options))


@pytest.mark.parametrize("shift", [(0, 0), (49, 39), (-49, 0)])
def test_a_mask_that_overlaps_at_all_is_taken(scene_path, tmp_path, shift):
    options = elsewhere(tmp_path, UTM @ Affine.translation(*shift))
    with open_scene(scene_path, SceneOptions(clouds=options)) as scene:
        assert scene.clouds.layer is not None


@pytest.mark.parametrize(
    ("transform", "crs"),
    [
        (Affine(7.2, 0, -180, 0, -4.5, 90), "EPSG:4326"),
        (UTM @ Affine.translation(21.3, 17.2) @ Affine.scale(1e-3), "EPSG:32630"),
    ],
)
def test_a_mask_of_the_whole_world_or_of_one_spot_is_taken(scene_path, tmp_path, transform, crs):
    options = elsewhere(tmp_path, transform, crs)
    with open_scene(scene_path, SceneOptions(clouds=options)) as scene:
        assert scene.clouds.layer is not None


def test_without_a_layer_nothing_is_known():
    clouds = Clouds(None, CloudOptions(), grid((4, 5)), Handles(), "scene.tif")
    assert (clouds.classes(whole(grid((4, 5)))) == CloudClass.UNKNOWN).all()
    assert (clouds.suspect(whole(grid((4, 5)))) == UNKNOWN).all()
    assert clouds.describe() is None


def test_what_cannot_be_looked_at_is_refused_with_what_can():
    scl = random_scl(1, (10, 10))
    with pytest.raises(
        SceneError, match=r"--cloud-min-area 5e\+06 is 12500 pixels .* Give"
    ) as told:
        clouds_of(scl, min_area_m2=5e6)
    most = float(str(told.value).rsplit("Give ", maxsplit=1)[1].split()[0])
    clouds_of(scl, min_area_m2=most * 0.999)
    with pytest.raises(SceneError, match="--cloud-buffer 30000 reaches 1500 pixels"):
        clouds_of(scl, buffer_m=30_000)


@pytest.mark.parametrize("options", [{"min_area_m2": -1.0}, {"buffer_m": float("nan")}])
def test_sizes_are_sizes(options):
    with pytest.raises(SceneError, match="is no size"):
        CloudOptions(**options)


def test_a_mask_that_is_described_and_not_asked_for_is_refused():
    nothing = {"mask": False, "cirrus": False, "min_area": None, "buffer": None, "file": None}
    for more, name in (({"cirrus": True}, "cirrus"), ({"min_area": 0.0}, "min-area")):
        with pytest.raises(SceneError, match=f"--cloud-{name} has no effect without --mask-clouds"):
            CloudOptions.from_text(**nothing | more)
    assert CloudOptions.from_text(**nothing) == CloudOptions()
    assert CloudOptions.from_text(**nothing | {"file": "x.tif"}) == CloudOptions(file="x.tif")


@pytest.fixture
def scene_path(tmp_path) -> Path:
    """A scene of 40 × 50 pixels of 10 m, with two pixels of nodata."""
    valid = np.ones((40, 50), dtype=bool)
    valid[0, :2] = False
    return write_scene(tmp_path / "scene.tif", valid)


def clouded(folder: Path) -> str:
    """A mask of 20 m pixels, cloud in 10 × 12 of the scene's."""
    values = np.zeros((1, 20, 25), np.uint8)
    values[0, 5:10, 8:14] = 1
    grid20 = UTM @ Affine.scale(2)
    return str(write_raster(folder / "mask.tif", values, transform=grid20))


def test_masked_pixels_are_invalid_in_all_that_is_read(scene_path, tmp_path):
    options = SceneOptions(clouds=CloudOptions(mask=True, min_area_m2=0, file=clouded(tmp_path)))
    expected = np.ones((40, 50), bool)
    expected[0, :2] = False
    expected[10:20, 16:28] = False
    with gdal_environment(), open_scene(scene_path, options) as scene:
        window = whole(scene.geobox)
        values, valid = scene.read(["B03", "B08"], window)
        assert np.array_equal(valid, expected)
        assert np.array_equal(np.isnan(values).all(axis=0), ~expected)
        assert np.array_equal(scene.read_dn(["B03"], window).valid, expected)
        beyond = Window(col_off=-20, row_off=-10, width=90, height=60)
        mirrored = np.pad(expected, ((10, 10), (20, 20)), mode="reflect")
        assert np.array_equal(scene.read(["B03"], beyond).valid, mirrored)
        unmasked = scene.unmasked().read(["B03"], window)
        assert unmasked.valid.sum() == 40 * 50 - 2
        assert np.array_equal(scene.read(["B03"], window).valid, expected)  # is as it was


def test_a_users_mask_alone_masks_nothing(scene_path, tmp_path):
    options = SceneOptions(clouds=CloudOptions(file=clouded(tmp_path)))
    with gdal_environment(), open_scene(scene_path, options) as scene:
        assert scene.read(["B03"], whole(scene.geobox)).valid.sum() == 40 * 50 - 2
        assert (scene.read_quality(whole(scene.geobox)) == CloudClass.CLOUD_HIGH).sum() == 120
        assert scene.quality is not None
        assert scene.quality.kind == "mask"


def test_a_quality_band_of_a_stack_is_found_and_a_scene_without_one_is_refused(
    scene_path, tmp_path
):
    masked = SceneOptions(clouds=CloudOptions(mask=True))
    with pytest.raises(
        SceneError, match=r"has no layer that says where clouds are\. .*--cloud-mas"
    ):
        open_scene(scene_path, masked)
    stack = tmp_path / "stack.tif"
    write_scene(stack, np.ones((6, 7), bool), bands=("B03", "B08", "SCL"))
    with open_scene(stack, SceneOptions()) as scene:
        assert scene.quality is not None
        assert (scene.quality.kind, scene.quality.index) == ("scl", 3)
        assert [band.name for band in scene.bands] == ["B03", "B08"]


def test_a_useless_layer_is_said_once_and_none(tmp_path, caplog):
    path = tmp_path / "stack.tif"
    write_scene(path, np.ones((6, 7), bool), bands=("B03", "B08", "QA60"))
    with open_scene(path) as scene:
        assert scene.quality is None
        assert scene.quality is None
        assert scene.on_grid_of(["B03"]).quality is None
    assert [r.message for r in caplog.records if "clouds are not known" in r.message][1:] == []
    assert sum("clouds are not known" in r.message for r in caplog.records) == 1
    with pytest.raises(SceneError, match=r"\(QA60 \(stack.tif\) holds .*resampled\)\. Give one by"):
        open_scene(path, SceneOptions(clouds=CloudOptions(mask=True)))


def test_options_are_for_another_grid_too():
    scl = random_scl(4, (30, 30))
    clouds = clouds_of(scl, min_area_m2=4 * 400)
    fine = grid((60, 60), res=10)
    mask = clouds.on(fine).mask(whole(fine))
    assert np.array_equal(mask, np.kron(clouds.mask(whole(grid((30, 30)))), np.ones((2, 2))) > 0)
    assert clouds.on(fine).options == replace(clouds.options, file=None)


@pytest.mark.parametrize(
    ("crs", "complaint"),
    [
        ('LOCAL_CS["x",UNIT["metre",1]]', "cannot be brought to the CRS"),
        ("EPSG:4326", "lies nowhere on Earth"),  # by a geotransform in metres
    ],
)
def test_a_mask_of_no_place_gives_one_line(scene_path, tmp_path, crs, complaint):
    mask = write_raster(tmp_path / "mask.tif", np.ones((1, 5, 5), np.uint8), crs=crs)
    options = SceneOptions(clouds=CloudOptions(mask=True, file=str(mask)))
    with (
        pytest.raises(SceneError, match=complaint) as told,
        open_scene(scene_path, options) as scene,
    ):
        scene.read(["B03"], whole(scene.geobox))
    assert "\n" not in str(told.value)

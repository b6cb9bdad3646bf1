"""Clouds of real scenes: what their layers are known to get wrong, and what masking does."""

import json

import numpy as np
import pytest
import rasterio
from rasterio.windows import Window
from scipy import ndimage

from geounet.errors import SceneError
from geounet.scene import CloudOptions, SceneOptions, gdal_environment, open_scene
from geounet.scene.quality import CloudClass, QualityCandidate, choose_quality, read_own
from geounet.scene.raster import Handles

FOUR = ndimage.generate_binary_structure(2, 1)
MASKED = SceneOptions(scale=1e-4, clouds=CloudOptions(mask=True))


@pytest.fixture(autouse=True)
def _as_commands_do():
    with gdal_environment():
        yield


@pytest.fixture
def fiji(shared_data):
    (granule,) = shared_data.glob("fiji_s2_l2a_safe/*.SAFE/GRANULE/*")
    return granule


def whole(scene):
    height, width = scene.geobox.shape
    return Window(col_off=0, row_off=0, width=width, height=height)


def read(path):
    with rasterio.open(path) as src:
        return src.read(1)


def edge_share(vegetation, masked):
    """Which share of the edge of vegetated land has a masked pixel beside it."""
    edge = vegetation & ~ndimage.binary_erosion(vegetation, FOUR, border_value=1)
    return (edge & ndimage.binary_dilation(masked, FOUR)).sum() / edge.sum()


def test_on_fiji_the_mask_leaves_most_of_the_edge_that_scl_would_hide(fiji):
    scl = read(next(fiji.glob("IMG_DATA/R60m/*_SCL_60m.jp2")))
    raw = np.isin(scl, (8, 9, 10))
    assert raw.mean() == pytest.approx(0.0074, abs=1e-4)
    with open_scene(fiji / "IMG_DATA" / "R60m", MASKED) as scene:
        mask = scene.clouds.mask(whole(scene))
    assert not mask[~raw].any()  # nothing but what SCL calls cloud
    shares = edge_share(scl == 4, raw), edge_share(scl == 4, mask)
    assert shares == pytest.approx((0.259, 0.094), abs=0.001)
    assert mask.mean() == pytest.approx(0.0050, abs=1e-4)


def test_the_same_on_fijis_scl_of_20_m(fiji):
    path = next(fiji.glob("IMG_DATA/R20m/*_SCL_20m.jp2"))
    scl = read(path)
    raw = np.isin(scl, (8, 9, 10))
    with open_scene(
        fiji / "IMG_DATA" / "R60m",
        SceneOptions(scale=1e-4, res=20, clouds=CloudOptions(mask=True)),
    ) as scene:
        layer = choose_quality([QualityCandidate("SCL_20m", str(path))])
        fine = type(scene.clouds)(layer, scene.clouds.options, scene.geobox, Handles(), "fiji")
        mask = fine.mask(whole(scene))
    shares = edge_share(scl == 4, raw), edge_share(scl == 4, mask)
    assert shares == pytest.approx((0.144, 0.033), abs=0.001)


def test_fijis_clouds_of_l1c_are_polygons_in_the_same_places(fiji):
    candidate = QualityCandidate("MSK_CLOUDS_B00", str(fiji / "QI_DATA" / "MSK_CLOUDS_B00.gml"))
    layer = choose_quality([candidate])
    assert layer is not None
    assert layer.geobox is not None
    scl_path = next(fiji.glob("IMG_DATA/R60m/*_SCL_60m.jp2"))
    with rasterio.open(scl_path) as src:
        scl, transform = src.read(1), src.transform
    col, row = ~transform @ (layer.geobox.transform.c, layer.geobox.transform.f)
    assert (col, row) == (int(col), int(row))  # the same pixels
    tile = Window(col_off=-int(col), row_off=-int(row), width=1830, height=1830)
    own = read_own(Handles(), layer, tile)
    opaque = own == CloudClass.CLOUD_HIGH
    assert opaque.sum() == 2765
    # Opaque cloud of the coarser mask is cloud for Sen2Cor, mostly.
    assert np.isin(scl[opaque], (8, 9, 10)).mean() > 0.5


def test_fijis_flags_are_those_of_the_raw_classes(fiji, tmp_path, geounet):
    bands = fiji / "IMG_DATA" / "R60m"
    ran = geounet(
        *("baseline", bands, "--scale", "0.0001", "--index", "mndwi", "--out", tmp_path / "out")
    )
    assert ran.status == 0
    assert "0.74% of the scene is under cloud" in ran.err
    clouds = json.loads(next((tmp_path / "out").glob("*.json")).read_text())["clouds"]
    assert clouds["share_of_scene"] == pytest.approx(0.00737, abs=1e-5)
    assert 0.02 < clouds["share_of_coast"] < 0.2
    assert clouds["masked"] is None


def test_bijagos_bqa_by_its_bits(shared_data):
    folder = shared_data / "bijagos_landsat8"
    bqa = read(next(folder.glob("*_BQA.TIF")))
    options = SceneOptions(scale=1e-4, nodata=0, clouds=CloudOptions(mask=True, min_area_m2=0))
    with open_scene(folder, options) as scene:
        assert scene.quality is not None
        assert scene.quality.kind == "bqa"
        same_grid = scene.on_grid_of(["B3"])  # the panchromatic band is finer
        window = whole(same_grid)
        codes, mask = same_grid.read_quality(window), same_grid.clouds.mask(window)
    # Counted by hand from its values: 2752, 2976 and 3008 hold medium confidence or shadow.
    assert np.array_equal(codes == CloudClass.UNKNOWN, bqa == 1)
    assert np.array_equal(mask, np.isin(bqa, (2752, 2800, 3008)))
    assert np.array_equal(codes == CloudClass.SHADOW, bqa == 2976)


def test_paranas_qa60_is_useless_and_that_is_said(shared_data, caplog):
    path = shared_data / "parana_s2_l2a" / "20240101.tif"
    plain = SceneOptions(scale=1e-4, offset=-1000)
    with open_scene(path, plain) as scene:
        assert scene.quality is None
        assert (scene.read_quality(whole(scene)) == CloudClass.UNKNOWN).all()
    told = [r.message for r in caplog.records if "clouds are not known" in r.message]
    assert len(told) == 1
    assert "QA60 (20240101.tif) is float32" in told[0]
    with pytest.raises(SceneError, match=r"\(QA60 .*is float32.*--cloud-mask FILE"):
        open_scene(path, MASKED)


@pytest.mark.parametrize("name", ["pyrenees_s2_l1c_safe", "gironde_s2_l1c_safe"])
def test_where_a_product_has_no_usable_layer_nothing_is_known(shared_data, name):
    (images,) = shared_data.glob(f"{name}/*.SAFE/GRANULE/*/IMG_DATA")
    with open_scene(images, SceneOptions(scale=1e-4, offset=0)) as scene:
        assert scene.quality is None
    with pytest.raises(SceneError, match="has no layer that says where clouds are"):
        open_scene(images, MASKED)

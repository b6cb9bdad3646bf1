"""Quality layers of every kind, against classes written down by hand from their handbooks."""

import logging
from pathlib import Path

import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from contouring import write_raster
from rasterio.windows import Window
from shapely.geometry import box

from geounet.errors import SceneError
from geounet.scene.quality import (
    CloudClass,
    QualityCandidate,
    choose_quality,
    open_mask,
    quality_kind,
    read_own,
    why_useless,
)
from geounet.scene.raster import Handles

C = CloudClass


@pytest.fixture
def handles():
    opened = Handles()
    yield opened
    opened.close()


def layer_of(folder: Path, name: str, values, **profile):
    """Write a quality layer and choose it."""
    values = np.asarray(values)
    path = write_raster(
        folder / f"{name}.tif", values if values.ndim == 3 else values[None], **profile
    )
    chosen = choose_quality([QualityCandidate(name, str(path))])
    assert chosen is not None
    return chosen


def classes_of(handles, layer, shape=None):
    height, width = shape or layer.geobox.shape
    return read_own(handles, layer, Window(col_off=0, row_off=0, width=width, height=height))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("SCL", "scl"),
        ("T01KCV_20190809T220921_SCL_20m", "scl"),
        ("T01KCV_20190809T220921_SCL_20m.jp2", "scl"),
        ("scl", "scl"),
        ("SCL_20m", "scl"),
        ("SCL, Scene Classification", "scl"),
        ("scl-jp2", None),
        ("LC09_L2SP_204052_20220101_20220103_02_T1_QA_PIXEL", "qa_pixel"),
        ("qa_pixel", "qa_pixel"),
        ("LC08_L1TP_204052_20190504_20190520_01_T1_DS_BQA", "bqa"),
        ("LC08_204052_pixel_qa", "pixel_qa"),
        ("QA60", "qa60"),
        ("QA60 bitmask", "qa60"),
        ("MSK_CLASSI_B00", "classi"),
        ("MSK_CLOUDS_B00", "gml"),
        ("MSK_CLOUDS_B00.gml", "gml"),
        ("MSK_DETFOO_B02", None),
        ("AOT_20m", None),
        ("QA_RADSAT", None),
        ("SR_QA_AEROSOL", None),
        ("B02", None),
        ("MUSCLE", None),
    ],
)
def test_names_say_which_layer_it_is(name, kind):
    assert quality_kind(name) == kind


def test_scl_by_class(tmp_path, handles):
    layer = layer_of(tmp_path, "SCL", np.arange(13, dtype=np.uint8)[None])
    assert classes_of(handles, layer)[0].tolist() == [
        *(C.UNKNOWN, C.UNKNOWN, C.CLEAR, C.SHADOW, C.CLEAR_LAND, C.CLEAR_LAND, C.CLEAR_WATER),
        *(C.CLEAR, C.CLOUD_MEDIUM, C.CLOUD_HIGH, C.CIRRUS, C.SNOW, C.UNKNOWN),
    ]


QA_PIXEL = {
    # Values and meanings as USGS lists them for Collection 2 (LSDS-1619, table 6-4).
    1: C.UNKNOWN,
    21824: C.CLEAR_LAND,
    21826: C.CLEAR_LAND,  # dilated cloud over land
    21888: C.CLEAR_WATER,
    21890: C.CLEAR_WATER,  # dilated cloud over water
    22080: C.CLOUD_MEDIUM,
    22144: C.CLOUD_MEDIUM,
    22280: C.CLOUD_HIGH,
    23888: C.SHADOW,
    23952: C.SHADOW,
    24088: C.CLOUD_HIGH,  # with shadow; of medium confidence, but the cloud bit is set
    24216: C.CLOUD_HIGH,
    24344: C.CLOUD_HIGH,
    24472: C.CLOUD_HIGH,
    30048: C.SNOW,
    54596: C.CIRRUS,
    54852: C.CLOUD_MEDIUM,  # with cirrus
    55052: C.CLOUD_HIGH,
}


def test_landsat_qa_pixel_by_the_values_of_its_handbook(tmp_path, handles):
    values = np.array([list(QA_PIXEL)], dtype=np.uint16)
    codes = classes_of(handles, layer_of(tmp_path, "QA_PIXEL", values))[0]
    assert dict(zip(QA_PIXEL, map(C, codes), strict=True)) == QA_PIXEL


def test_landsat_bqa_and_pixel_qa_by_the_values_of_their_handbooks(tmp_path, handles):
    bqa = {
        1: C.UNKNOWN,
        2720: C.CLEAR,
        2752: C.CLOUD_MEDIUM,
        2800: C.CLOUD_HIGH,
        2976: C.SHADOW,
        3744: C.SNOW,
        6816: C.CIRRUS,
    }
    codes = classes_of(handles, layer_of(tmp_path, "BQA", np.array([list(bqa)], np.uint16)))[0]
    assert dict(zip(bqa, map(C, codes), strict=True)) == bqa
    pixel_qa = {
        1: C.UNKNOWN,
        322: C.CLEAR_LAND,
        324: C.CLEAR_WATER,
        328: C.SHADOW,
        336: C.SNOW,
        386: C.CLOUD_MEDIUM,
        480: C.CLOUD_HIGH,
        834: C.CIRRUS,
    }
    layer = layer_of(tmp_path, "pixel_qa", np.array([list(pixel_qa)], np.uint16))
    assert dict(zip(pixel_qa, map(C, classes_of(handles, layer)[0]), strict=True)) == pixel_qa


def test_classi_has_a_band_for_each_kind(tmp_path, handles):
    opaque, cirrus, snow = np.array([[[1, 0, 0, 0, 1]], [[0, 1, 0, 0, 1]], [[0, 0, 1, 0, 0]]])
    layer = layer_of(tmp_path, "MSK_CLASSI_B00", np.stack([opaque, cirrus, snow]).astype(np.uint8))
    assert classes_of(handles, layer)[0].tolist() == [
        *(C.CLOUD_HIGH, C.CIRRUS, C.SNOW, C.CLEAR, C.CLOUD_HIGH)
    ]


def test_qa60_by_its_two_bits(tmp_path, handles):
    layer = layer_of(tmp_path, "QA60", np.array([[0, 1024, 2048, 3072]], np.uint16))
    assert why_useless(handles, layer) is None
    assert classes_of(handles, layer)[0].tolist() == [
        *(C.CLEAR, C.CLOUD_HIGH, C.CIRRUS, C.CLOUD_HIGH)
    ]


@pytest.mark.parametrize(
    ("values", "why"),
    [
        (np.array([[0, 512, 1024]], np.uint16), "holds 512"),
        (np.array([[0, 1024, 2048]], np.float32), "is float32"),
        (np.zeros((5, 5), np.uint16), "0 everywhere"),
    ],
)
def test_a_qa60_that_says_nothing_is_found(tmp_path, handles, values, why):
    assert why in why_useless(handles, layer_of(tmp_path, "QA60", values))


def test_a_resampled_scl_is_useless(tmp_path, handles):
    layer = layer_of(tmp_path, "SCL", np.array([[4, 5.5, 6]], np.float32))
    assert "classes do not survive" in why_useless(handles, layer)


def test_the_best_kind_is_taken_and_the_finest_of_it(tmp_path):
    paths = {}
    for name, res in (("SCL_60m", 60), ("SCL_20m", 20), ("QA60", 10), ("MSK_CLASSI_B00", 5)):
        transform = Affine(res, 0, 500_000, 0, -res, 4_500_000)
        bands = 3 if "CLASSI" in name else 1
        values = np.full((bands, 4, 4), 1, np.uint8)
        paths[name] = str(write_raster(tmp_path / f"{name}.tif", values, transform=transform))
    candidates = [QualityCandidate(name, path) for name, path in paths.items()]
    assert choose_quality(candidates).path == paths["SCL_20m"]
    assert choose_quality(candidates[2:]).path == paths["MSK_CLASSI_B00"]
    assert choose_quality(candidates[2:3]).path == paths["QA60"]
    assert choose_quality([]) is None


def test_a_layer_that_cannot_be_read_gives_way_and_that_is_said(tmp_path, caplog):
    (tmp_path / "SCL.tif").write_bytes(b"II*\0 and no more")
    good = write_raster(tmp_path / "QA60.tif", np.array([[[0, 1024]]], np.uint16))
    bare = tmp_path / "BQA.tif"
    with (
        pytest.warns(rasterio.errors.NotGeoreferencedWarning),
        rasterio.open(bare, "w", driver="GTiff", height=2, width=2, count=1, dtype="uint16") as dst,
    ):
        dst.write(np.ones((1, 2, 2), np.uint16))
    with caplog.at_level(logging.WARNING):
        chosen = choose_quality(
            [
                QualityCandidate("SCL", str(tmp_path / "SCL.tif")),
                QualityCandidate("BQA", str(bare)),
                QualityCandidate("QA60", str(good)),
                QualityCandidate("MSK_CLASSI_B00", str(good)),  # has no three bands
            ]
        )
    assert chosen is not None
    assert chosen.kind == "qa60"
    assert [r.message.split(" is not used")[0] for r in caplog.records] == [
        *("SCL", "BQA", "MSK_CLASSI_B00")
    ]


def test_a_users_mask_is_cloud_where_not_zero_and_unknown_where_nodata(tmp_path, handles):
    values = np.array([[[0, 1, 7, 255]]], np.uint8)
    layer = open_mask(str(write_raster(tmp_path / "mine.tif", values, nodata=255)))
    assert classes_of(handles, layer)[0].tolist() == [
        *(C.CLEAR, C.CLOUD_HIGH, C.CLOUD_HIGH, C.UNKNOWN)
    ]
    floats = np.array([[[0, 0.5, np.nan]]], np.float32)
    layer = open_mask(str(write_raster(tmp_path / "floats.tif", floats)))
    assert classes_of(handles, layer)[0].tolist() == [C.CLEAR, C.CLOUD_HIGH, C.UNKNOWN]


def test_beyond_a_layer_nothing_is_known(tmp_path, handles):
    layer = layer_of(tmp_path, "SCL", np.full((3, 4), 8, np.uint8))
    codes = read_own(handles, layer, Window(col_off=-1, row_off=2, width=6, height=3))
    expected = np.full((3, 6), C.UNKNOWN)
    expected[0, 1:5] = C.CLOUD_MEDIUM
    assert np.array_equal(codes, expected)
    assert not read_own(handles, layer, Window(col_off=50, row_off=2, width=6, height=3)).any()


GML = """<?xml version="1.0" encoding="UTF-8"?>
<eop:Mask xmlns:eop="http://www.opengis.net/eop/2.0" xmlns:gml="http://www.opengis.net/gml/3.2">
  <gml:boundedBy><gml:Envelope srsName="urn:ogc:def:crs:EPSG:8.7:32701">
    <gml:lowerCorner>0 0</gml:lowerCorner><gml:upperCorner>1 1</gml:upperCorner>
  </gml:Envelope></gml:boundedBy>
  <eop:maskMembers>{members}</eop:maskMembers>
</eop:Mask>"""


def member(kind, polygon):
    def boundary(tag, ring):
        positions = " ".join(f"{x:.0f} {y:.0f}" for x, y in ring.coords)
        return (
            f'<gml:{tag}><gml:LinearRing><gml:posList srsDimension="2">{positions}</gml:posList>'
            f"</gml:LinearRing></gml:{tag}>"
        )

    rings = boundary("exterior", polygon.exterior)
    rings += "".join(boundary("interior", ring) for ring in polygon.interiors)
    return (
        f"<eop:MaskFeature><eop:maskType>{kind}</eop:maskType><eop:extentOf><gml:Polygon>{rings}"
        "</gml:Polygon></eop:extentOf></eop:MaskFeature>"
    )


def gml_layer(folder, members):
    path = folder / "MSK_CLOUDS_B00.gml"
    path.write_text(GML.format(members="".join(members)), encoding="utf-8")
    return choose_quality([QualityCandidate("MSK_CLOUDS_B00", str(path))])


def test_polygons_are_drawn_on_their_pixels(tmp_path, handles):
    left, top = 300_000, 8_000_020
    cloud = box(left + 120, top - 600, left + 480, top - 60) - box(
        left + 240, top - 300, left + 300, top - 180
    )
    cirrus = box(left + 420, top - 1200, left + 900, top - 540)
    layer = gml_layer(tmp_path, [member("CIRRUS", cirrus), member("OPAQUE", cloud)])
    assert layer.geobox.crs == "EPSG:32701"
    codes = classes_of(handles, layer)
    for (row, col), code in np.ndenumerate(codes):
        centre = shapely.Point(*(layer.geobox.transform @ (col + 0.5, row + 0.5)))
        inside = [C.CLOUD_HIGH] * cloud.contains(centre) + [C.CIRRUS] * cirrus.contains(centre)
        assert code == (inside or [C.CLEAR])[0]
    around = read_own(handles, layer, Window(col_off=-2, row_off=0, width=2, height=2))
    assert (around == C.CLEAR).all()


def test_no_polygons_is_no_cloud(tmp_path, handles):
    layer = gml_layer(tmp_path, [])
    assert layer is not None
    assert (classes_of(handles, layer, (3, 4)) == C.CLEAR).all()


BOMB = (
    '<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><eop:Mask '
    'xmlns:eop="http://www.opengis.net/eop/2.0">&b;</eop:Mask>'
)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe\x00",
        b"<a><b></a>",
        BOMB.encode(),
        GML.format(members=member("OPAQUE", box(0, 0, 1e9, 60))).encode(),
        GML.format(members=member("OPAQUE", box(0, 0, 60, 60)).replace("60 60", "x y")).encode(),
        GML.format(members=member("OPAQUE", box(0, 0, 60, 60)).replace("60 60", "nan 1")).encode(),
        GML.format(members=member("OPAQUE", box(0, 0, 60, 60)).replace('"2"', '"0"')).encode(),
        GML.format(members=member("OPAQUE", box(0, 0, 60, 60))).replace("EPSG", "OGC").encode(),
    ],
    ids=["empty", "bytes", "not-nested", "bomb", "huge", "text", "nan", "no-dimension", "no-crs"],
)
def test_polygons_that_are_none_give_one_line(tmp_path, caplog, content):
    path = str(tmp_path / "MSK_CLOUDS_B00.gml")
    with caplog.at_level(logging.WARNING):
        assert choose_quality([QualityCandidate("MSK_CLOUDS_B00", path, content=content)]) is None
    assert len(caplog.records) == 1
    assert "\n" not in caplog.records[0].message


def test_a_mask_that_is_nowhere_is_refused(tmp_path):
    with pytest.raises(SceneError, match="is not there"):
        open_mask(str(tmp_path / "absent.tif"))
    path = write_raster(tmp_path / "bare.tif", np.zeros((1, 2, 2), np.uint8), crs=None)
    with pytest.raises(SceneError, match="has no CRS"):
        open_mask(str(path))
    flat = write_raster(
        tmp_path / "flat.tif", np.zeros((1, 2, 2), np.uint8), transform=Affine(10, 0, 5, 0, 0, 5)
    )
    with pytest.raises(SceneError, match="leads nowhere"):
        open_mask(str(flat))

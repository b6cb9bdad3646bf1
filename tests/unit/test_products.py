"""What is made of a field: rasters, lines, areas and styles that agree with one another."""

import json
import threading
from datetime import UTC, datetime

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import pytest
import rasterio
import shapely
from contouring import UTM, contour, make_products, rough_field, write_scene
from odc.geo.geobox import GeoBox
from rio_cogeo import cog_validate

from geounet import products
from geounet.classes import LabelClass
from geounet.ground import Ground
from geounet.line_options import LineOptions
from geounet.products import picture_bands
from geounet.scene import open_scene
from geounet.tracing import Scale

NAMES = {
    "coast.gpkg",
    "coast.json",
    "coast.qgz",
    "coast_mask.qml",
    "coast_mask.tif",
    "coast_mask.tif.aux.xml",
    "coast_probability.qml",
    "coast_probability.tif",
    "coast_rgb.qml",
    "coast_rgb.tif",
}


@pytest.fixture
def values():
    field = rough_field(np.random.default_rng(1), (40, 50), smooth=2, nodata=0.02)
    field[:, :6] = np.nan
    return np.clip(field, 0, 1).astype(np.float32)


def read(path):
    with rasterio.open(path) as src:
        return src.read(), src.profile


def layer(out, name):
    return geopandas.read_file(out / "coast.gpkg", layer=name)


def test_the_set_is_complete_and_its_rasters_are_cogs(tmp_path, values):
    out = make_products(tmp_path, values)
    assert {p.name for p in out.iterdir()} == NAMES
    assert set(json.loads((out / "coast.json").read_text())["files"]) == NAMES - {"coast.json"}
    for path in out.glob("*.tif"):
        assert cog_validate(path, strict=True)[0]


def test_mask_and_probability_are_the_field(tmp_path, values):
    out = make_products(tmp_path, values, level=0.3)
    (mask,), profile = read(out / "coast_mask.tif")
    np.testing.assert_array_equal(mask, np.where(np.isnan(values), 255, values >= np.float64(0.3)))
    assert profile["nodata"] == 255
    assert profile["transform"] == UTM
    (steps,), profile = read(out / "coast_probability.tif")
    np.testing.assert_array_equal(steps == 255, np.isnan(values))
    back = np.where(steps == 255, np.nan, steps / 253)
    np.testing.assert_allclose(back, values, atol=0.51 / 253)


def test_float32_keeps_all_there_is(tmp_path, values):
    (back,), profile = read(
        make_products(tmp_path, values, dtype="float32") / "coast_probability.tif"
    )
    np.testing.assert_array_equal(back, values)
    assert np.isnan(profile["nodata"])


def test_vectors_are_those_of_the_field_on_the_ground(tmp_path, values):
    out = make_products(tmp_path, values)
    ground = Ground(GeoBox(values.shape, UTM, "EPSG:32630"))
    expected = contour(values.astype(np.float32), scale=Scale.log_odds(0.5))
    for name, shapes in (("coastline", expected.lines), ("water", expected.areas)):
        found = layer(out, name)
        assert found.crs.to_epsg() == 32630
        assert shapely.equals_identical(found.geometry.array, ground.place(shapes)).all()


@pytest.mark.parametrize("slope", [1.0, 4.0, 12.0])
@pytest.mark.parametrize("level", [0.5, 0.2])
def test_the_line_of_a_sure_network_is_not_drawn_to_the_middle_between_pixels(
    tmp_path, slope, level
):
    # Log-odds go up by `slope` a pixel from an edge at a known place in every row; where they are
    # steep, probability jumps from 0 to 1 and, as such, says only between which pixels the edge is.
    edge = 25 + np.linspace(-0.9, 0.9, 40)
    odds = slope * (np.arange(50) + 0.5 - edge[:, None]) + np.log(level / (1 - level))
    probability = (1 / (1 + np.exp(-odds))).astype(np.float32)
    (line,) = layer(make_products(tmp_path, probability, level=level), "coastline").geometry
    col, row = ~UTM @ shapely.get_coordinates(line).T
    inside = (row > 1) & (row < 39)
    found = np.interp(row[inside], np.arange(40) + 0.5, edge)
    np.testing.assert_allclose(col[inside], found, atol=0.01 if slope < 8 else 0.08)


def test_a_level_near_0_or_1_has_its_line_too(tmp_path, values):
    for level in (1e-6, 1 - 1e-6):
        field = np.where(
            np.isnan(values), values, np.where(values < 0.5, level / 2, (1 + level) / 2)
        )
        out = make_products(tmp_path / str(level), field.astype(np.float32), level=level)
        (mask,), _ = read(out / "coast_mask.tif")
        assert layer(out, "water").area.sum() == pytest.approx((mask == 1).sum() * 100, rel=0.2)


def test_lines_carry_what_is_known_of_them(tmp_path, values):
    lines = layer(make_products(tmp_path, values), "coastline")
    assert set(lines["kind"]) == {"unknown"}
    assert set(lines["scene"]) == {"coast"}
    assert set(lines["model"]) == {"net.safetensors"}
    assert set(lines["level"]) == {0.5}
    assert set(lines["position_u95_m"]) == {4.5}
    assert set(lines["time"]) == {pd.Timestamp(datetime(2021, 6, 1, 10, 11, 12, tzinfo=UTC))}
    assert lines["cloud_suspect"].isna().all()
    # In UTM, near the central meridian, the map is 0.04 % too small.
    np.testing.assert_allclose(lines["length_m"], lines.length / 0.9996, rtol=1e-5)
    assert (lines["edge_width_m"].dropna() > 0).all()
    assert lines["edge_width_m"].notna().mean() > 0.8


def test_areas_carry_their_area(tmp_path, values):
    water = layer(make_products(tmp_path, values), "water")
    np.testing.assert_allclose(water["area_m2"], water.area / 0.9996**2, rtol=1e-5)
    assert "position_u95_m" not in water.columns


def test_what_is_not_known_is_null_and_of_its_type(tmp_path, values):
    out = make_products(
        tmp_path,
        values,
        attributes={"model": None, "position_u95_m": None},
        lines=LineOptions(water_level_m=1.25, level_datum="MSL"),
    )
    info = pyogrio.read_info(out / "coast.gpkg", layer="coastline")
    kinds = dict(zip(info["fields"], info["ogr_types"], strict=True))
    assert kinds["model"] == "OFTString"
    assert kinds["position_u95_m"] == kinds["water_level_m"] == "OFTReal"
    assert dict(zip(info["fields"], info["ogr_subtypes"], strict=True))["cloud_suspect"] == (
        "OFSTBoolean"
    )
    lines = layer(out, "coastline")
    assert lines["model"].isna().all()
    assert lines["position_u95_m"].isna().all()
    assert set(lines["water_level_m"]) == {1.25}
    assert set(lines["level_datum"]) == {"MSL"}
    assert lines["level_source"].isna().all()


@pytest.mark.parametrize(("value", "lines", "areas"), [(0.1, 0, 0), (0.9, 0, 1)])
def test_all_land_and_all_water_give_layers_all_the_same(tmp_path, value, lines, areas):
    out = make_products(tmp_path, np.full((20, 30), value))
    for name, kind, count in (("coastline", "LineString", lines), ("water", "Polygon", areas)):
        info = pyogrio.read_info(out / "coast.gpkg", layer=name)
        assert info["geometry_type"] == kind
        assert info["features"] == count
        assert info["crs"] == "EPSG:32630"
    if areas:
        (scene,) = layer(out, "water").geometry
        assert scene.equals(shapely.box(500_000, 4_499_800, 500_300, 4_500_000))


def test_a_scene_of_three_by_three_pixels_works(tmp_path):
    values = np.array([[0, 0, 1], [0, 1, 1], [1, 1, 1]])
    out = make_products(tmp_path, values)
    (line,) = layer(out, "coastline").geometry
    assert line.is_simple
    ends = shapely.get_coordinates(line)[[0, -1]]
    np.testing.assert_allclose(ends, [[500_000, 4_499_980], [500_020, 4_500_000]], atol=1e-6)


def test_an_index_has_its_own_level_and_no_edge_width(tmp_path, values):
    index = values * 2 - 1
    out = make_products(tmp_path, index, quantity="index", level=0.12)
    (back,), _ = read(out / "coast_index.tif")
    np.testing.assert_array_equal(back, index)
    (mask,), _ = read(out / "coast_mask.tif")
    np.testing.assert_array_equal(mask == 1, index >= np.float64(0.12))
    lines = layer(out, "coastline")
    assert lines["edge_width_m"].isna().all()
    assert set(lines["level"]) == {0.12}
    assert not (out / "coast_probability.tif").exists()


def test_with_more_classes_the_mask_is_the_most_probable_one(tmp_path, values):
    classes = [
        LabelClass(0, "land", "#decba4", water=False),
        LabelClass(1, "water", "#1f77b4", water=True),
        LabelClass(2, "ice", "#ffffff", water=True),
    ]
    best = np.where(np.isnan(values), 255, np.arange(50) % 3).astype(np.uint8)
    out = make_products(tmp_path, values, classes=classes, best=best)
    (mask,), _ = read(out / "coast_mask.tif")
    np.testing.assert_array_equal(mask, best)
    assert "ice" in (out / "coast_mask.tif.aux.xml").read_text()


def test_the_picture_is_zero_where_the_scene_is_invalid_and_nowhere_else(tmp_path, values):
    out = make_products(tmp_path, values)
    picture, profile = read(out / "coast_rgb.tif")
    assert profile["nodata"] == 0
    np.testing.assert_array_equal((picture == 0).all(axis=0), np.isnan(values))
    assert ((picture == 0).any(axis=0) == np.isnan(values)).all()
    for band in picture:
        seen = band[band > 0]
        assert seen.min() == 1
        assert seen.max() == 255
        assert 0.01 < (seen == 1).mean() < 0.06  # 2 % are darkest, and what rounds to it
        assert 0.01 < (seen == 255).mean() < 0.06


@pytest.mark.parametrize(
    ("bands", "expected"),
    [
        (("B02", "B03", "B04", "B08"), ["B04", "B03", "B02"]),
        (("B03", "B04", "B08"), ["B08", "B04", "B03"]),
        (("B03", "B08", "B11"), ["B11", "B08", "B03"]),
        (("B03", "B08"), ["B03", "B08", "B08"]),
        (("B08",), ["B08", "B08", "B08"]),
    ],
)
def test_the_picture_is_of_the_bands_there_are(tmp_path, bands, expected):
    path = write_scene(tmp_path / "a.tif", np.ones((4, 4), bool), bands=bands)
    with open_scene(path) as scene:
        assert picture_bands(scene) == [f"s2:{band}" for band in expected]


def test_the_same_input_gives_the_same_bytes(tmp_path, values):
    one, two = (make_products(tmp_path / name, values) for name in ("1", "2"))
    for name in NAMES:
        assert (one / name).read_bytes() == (two / name).read_bytes(), name


def test_progress_counts_what_there_is_to_do(tmp_path, values):
    told = {}

    def progress(items, *, label, total):
        items = list(items)
        told[label] = (len(items), total)
        return items

    make_products(tmp_path, values, progress=progress)
    assert told == {"quicklook": (1, 1), "coastline": (1, 1)}


def test_an_error_of_the_thread_that_writes_rasters_ends_the_work(tmp_path, values, monkeypatch):
    def full(*_: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr(products, "write_rasters", full)
    with pytest.raises(OSError, match="the disk is full"):
        make_products(tmp_path, values)
    assert not [t for t in threading.enumerate() if t.name.startswith("write")]

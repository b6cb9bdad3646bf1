"""Labels on a grid, against pixel centres looked up one by one."""

import logging

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer
from shapely.affinity import rotate, scale

from geounet.classes import LAND, WATER
from geounet.errors import LabelError
from geounet.labels import open_labels, parse_values

UTM = "EPSG:32632"
GRID = GeoBox((60, 80), Affine(10, 0, 500_000, 0, -10, 5_000_000), UTM)
ONE_FOLDER = settings(
    max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)  # files of the same name are written anew each time


def write_raster(path, values, *, transform=GRID.transform, crs=UTM, nodata=None, **options):
    height, width = values.shape
    with rasterio.open(
        path, "w", driver="GTiff", height=height, width=width, count=1, dtype=values.dtype,
        crs=crs, transform=transform, nodata=nodata, **options,
    ) as dst:  # fmt: skip
        dst.write(values, 1)
    return path


def write_polygons(path, shapes, *, crs=UTM, layer=None, **columns):
    frame = gpd.GeoDataFrame(columns, geometry=list(shapes), crs=crs)
    frame.to_file(path, **({"layer": layer} if layer else {}))
    return path


def centres(geobox, crs=None):
    rows, cols = np.indices(geobox.shape) + 0.5
    x, y = geobox.transform @ (cols, rows)
    if crs is None:
        return x, y
    return Transformer.from_crs(CRS(str(geobox.crs)), crs, always_xy=True).transform(x, y)


def window(row, col, height, width, geobox=GRID):
    return GeoBox((height, width), geobox.transform @ Affine.translation(col, row), geobox.crs)


def blobs(shape, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 2, shape).astype(np.uint8)


# Rasters


@given(
    row=st.integers(-20, 70),
    col=st.integers(-20, 90),
    height=st.integers(1, 50),
    width=st.integers(1, 50),
)
@ONE_FOLDER
def test_a_raster_on_the_same_grid_is_read_exactly_in_any_window(
    tmp_path, row, col, height, width
) -> None:
    values = blobs(GRID.shape)
    path = write_raster(tmp_path / "label.tif", values)
    far = 200
    expected = np.pad(values, far, constant_values=255)[
        far + row : far + row + height, far + col : far + col + width
    ]
    read = open_labels(path).read(window(row, col, height, width))
    np.testing.assert_array_equal(read, expected)


@pytest.mark.parametrize("crs", [UTM, "EPSG:32633", "EPSG:4326", "EPSG:3857"])
@pytest.mark.parametrize("res", [3.0, 10.0, 35.0])
def test_a_raster_on_another_grid_gives_the_pixel_that_a_centre_lies_in(tmp_path, crs, res) -> None:
    # Over more than the grid, turned a little.
    x, y = (float(a.mean()) for a in centres(GRID, crs))
    unit = res if crs != "EPSG:4326" else res / 80_000
    transform = (
        Affine.translation(x, y) @ Affine.rotation(7) @ Affine.scale(unit, -unit)
        @ Affine.translation(-1800 / res, -1800 / res)
    )  # fmt: skip
    values = blobs((int(3600 / res), int(3600 / res)))
    path = write_raster(tmp_path / "label.tif", values, transform=transform, crs=crs)
    labels = open_labels(path)
    labels.prepare(GRID, scene="scene")
    col, row = ~transform @ centres(GRID, crs)
    away = np.maximum(np.abs(col % 1 - 0.5), np.abs(row % 1 - 0.5)) < 0.499
    read = labels.read(GRID)
    expected = values[row.astype(int), col.astype(int)]
    np.testing.assert_array_equal(read[away], expected[away])
    assert away.mean() > 0.98
    # Window by window as in one.
    part = labels.read(window(11, 17, 30, 40))
    np.testing.assert_array_equal(part, read[11:41, 17:57])


def test_beyond_a_raster_everything_is_unknown_in_any_crs(tmp_path) -> None:
    values = np.zeros((30, 80), np.uint8)  # the upper half
    for name, crs in (("same", UTM), ("other", "EPSG:32633")):
        transform = GRID.transform
        if crs != UTM:
            x, y = Transformer.from_crs(UTM, crs, always_xy=True).transform(500_000, 5_000_000)
            transform = Affine(10, 0, x, 0, -10, y)
        path = write_raster(tmp_path / f"{name}.tif", values, transform=transform, crs=crs)
        read = open_labels(path).read(GRID)
        assert (read[:20] != 255).mean() > 0.75
        assert (read[50:] == 255).all()


@pytest.mark.parametrize(
    ("dtype", "nodata"), [("uint8", 9), ("int16", -32768), ("float32", np.nan), ("int8", None)]
)
@pytest.mark.parametrize("crs", [UTM, "EPSG:32633"])
def test_nodata_and_255_are_unknown(tmp_path, dtype, nodata, crs) -> None:
    values = blobs(GRID.shape).astype(dtype)
    if nodata is not None:
        values[:10] = nodata
    if dtype != "int8":
        values[10:20] = 255
    transform = GRID.transform
    if crs != UTM:
        x, y = Transformer.from_crs(UTM, crs, always_xy=True).transform(500_000, 5_000_000)
        transform = Affine(10, 0, x, 0, -10, y)
    path = write_raster(tmp_path / "l.tif", values, nodata=nodata, crs=crs, transform=transform)
    labels = open_labels(path)
    read = labels.read(GeoBox(GRID.shape, transform, crs))
    expected = np.where(np.isin(values, [0, 1]), values, 255)
    np.testing.assert_array_equal(read, expected.astype(np.uint8))
    labels.prepare(GRID, scene="scene")  # and nothing is strange about them
    assert set(np.unique(labels.read(GRID))) <= {0, 1, 255}


def test_values_get_the_numbers_of_their_names(tmp_path) -> None:
    values = np.array([[10, 20, 30, 40, 50, 255]], np.uint8)
    path = write_raster(tmp_path / "l.tif", values)
    labels = open_labels(path, values="40=ice,20=water,10=land,30=surf:water, 50=unknown")
    assert [(c.value, c.name, c.water) for c in labels.classes] == [
        (0, "land", False), (1, "water", True), (2, "ice", False), (3, "surf", True),
    ]  # fmt: skip
    read = labels.read(window(0, 0, 1, 6))
    assert read.tolist() == [[0, 1, 3, 2, 255, 255]]


def test_a_mask_of_0_and_255_is_read_where_255_is_named(tmp_path) -> None:
    path = write_raster(tmp_path / "l.tif", np.array([[0, 255]], np.uint8))
    labels = open_labels(path, values="0=land,255=water")
    assert labels.read(window(0, 0, 1, 4)).tolist() == [[0, 1, 255, 255]]


def test_values_that_nobody_named_are_listed_with_their_places(tmp_path) -> None:
    values = blobs(GRID.shape)
    values[12, 34] = 7
    values[40:, 5] = 3
    labels = open_labels(write_raster(tmp_path / "l.tif", values))
    with pytest.raises(LabelError) as caught:
        labels.prepare(GRID, scene="scene")
    said = str(caught.value)
    assert "3 (row 40, column 5, at 500055, 4999595)" in said
    assert "7 (row 12, column 34, at 500345, 4999875)" in said
    assert "--label-values 0=land,1=water,3=unknown" in said
    with pytest.raises(LabelError):  # asked for or not
        labels.read(GRID)
    labels.read(window(0, 0, 10, 5))  # not under this grid


def test_values_far_from_the_scene_do_not_matter(tmp_path) -> None:
    values = blobs((600, 80))
    values[500:] = 9
    labels = open_labels(write_raster(tmp_path / "l.tif", values))
    labels.prepare(GRID, scene="scene")
    np.testing.assert_array_equal(labels.read(GRID), values[:60])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0=land", "which value is water"),
        ("0=land,1=sea", "which value is water"),
        ("0=land,1=water,1=ice", "names 1 twice"),
        ("0:land,1:water", "is not value=name"),
        ("land=0,water=1", "is not value=name"),
        ("0=land,nan=water", "is not value=name"),
        ("0=land,1=water,2=surf:wet", "is not value=name"),
    ],
)
def test_wrong_label_values_say_how_to_write_them(text, why) -> None:
    with pytest.raises(LabelError, match=why):
        parse_values(text)


def test_wrong_rasters_say_what_is_wrong(tmp_path) -> None:
    values = blobs(GRID.shape)
    with pytest.warns(rasterio.errors.NotGeoreferencedWarning):
        write_raster(tmp_path / "no_crs.tif", values, crs=None, transform=Affine.identity())
    write_raster(tmp_path / "nodata.tif", values, nodata=0)
    with rasterio.open(tmp_path / "l.tif", "w", driver="GTiff", height=2, width=2, count=3,
                       dtype="uint8", crs=UTM, transform=GRID.transform):  # fmt: skip
        pass
    for name, options, why in (
        ("no_crs.tif", {}, "has no CRS"),
        ("nodata.tif", {}, "0 is nodata"),
        ("l.tif", {}, "has 3 bands"),
        ("none.tif", {}, "is not there"),
        ("l.tif", {"water": True, "where": "a = 1"}, "--labels-are, --labels-where is for poly"),
    ):
        with pytest.raises(LabelError, match=why):
            open_labels(tmp_path / name, **options)


# Polygons


@st.composite
def shapes(draw):
    """Stars with holes around the grid."""
    n = draw(st.integers(3, 40))
    seed = draw(st.integers(0, 10_000))
    rng = np.random.default_rng(seed)
    angle = np.sort(rng.uniform(0, 2 * np.pi, n))
    radius = rng.uniform(20, 500, n)
    middle = np.array([500_400, 4_999_700]) + rng.uniform(-300, 300, 2)
    ring = middle + np.column_stack([np.cos(angle), np.sin(angle)]) * radius[:, None]
    star = shapely.make_valid(shapely.Polygon(ring))
    holed = star.difference(shapely.Point(middle + 40).buffer(35))
    # And a square that the grid holds for sure.
    return holed.union(shapely.box(500_390, 4_999_690, 500_411, 4_999_712))


@given(
    shape=shapes(),
    crs=st.sampled_from([UTM, "EPSG:32633", "EPSG:4326", "EPSG:3035"]),
    turn=st.sampled_from([0, 33]),
    water=st.booleans(),
)
@ONE_FOLDER
def test_a_pixel_is_inside_when_its_centre_is(tmp_path, shape, crs, turn, water) -> None:
    geobox = GeoBox(GRID.shape, GRID.transform @ Affine.rotation(turn, (40, 30)), UTM)
    frame = gpd.GeoSeries([shape], crs=UTM)
    path = tmp_path / "polygons.gpkg"
    # Edges are straight in the file's CRS, so the oracle looks there.
    there = shapely.get_parts(np.asarray(frame.to_crs(crs)))
    there = [one for one in there if one.geom_type.endswith("Polygon")] or [shapely.Point(0, 0)]
    if there[0].geom_type == "Point":
        return
    path.unlink(missing_ok=True)
    write_polygons(path, there, crs=crs)
    x, y = centres(geobox, crs)
    inside = np.any([shapely.contains_xy(one, x, y) for one in there], axis=0)
    edge = shapely.union_all(shapely.boundary(np.array(there)))
    pixel = 10 if crs != "EPSG:4326" else 10 / 111_000
    unsure = shapely.distance(shapely.points(x, y), edge) < 0.1 * pixel
    labels = open_labels(path, water=water)
    expected = np.where(inside == water, WATER.value, LAND.value)
    read = labels.read(geobox)
    np.testing.assert_array_equal(read[~unsure], expected[~unsure])
    labels.prepare(geobox, scene="scene")
    part = labels.read(window(13, 19, 20, 30, geobox))
    np.testing.assert_array_equal(part, read[13:33, 19:49])


def test_a_long_edge_stays_where_its_crs_has_it(tmp_path) -> None:
    # 60° of longitude along a parallel: straight in degrees, in UTM an arc that a chord would
    # miss by hundreds of kilometres.
    path = write_polygons(tmp_path / "p.geojson", [shapely.box(-20, 20, 40, 45.151)], crs=4326)
    _, lat = centres(GRID, "EPSG:4326")
    assert 0.2 < (lat < 45.151).mean() < 0.8
    sure = np.abs(lat - 45.151) > 0.05 * 10 / 111_000
    np.testing.assert_array_equal(open_labels(path).read(GRID)[sure], (lat < 45.151)[sure])


def test_polygons_with_many_vertices_are_cut_without_a_trace(tmp_path) -> None:
    rng = np.random.default_rng(2)
    angle = np.linspace(0, 2 * np.pi, 60_000, endpoint=False)
    wave = sum(rng.normal() / k**1.2 * np.cos(k * angle + rng.uniform(0, 6)) for k in range(1, 400))
    radius = 250 + 30 * wave
    ring = np.column_stack([np.cos(angle), np.sin(angle)]) * radius[:, None]
    coast = shapely.make_valid(shapely.Polygon(ring + np.array([500_400, 4_999_700])))
    path = write_polygons(tmp_path / "p.gpkg", [coast])
    expected = shapely.contains_xy(coast, *centres(GRID))
    np.testing.assert_array_equal(open_labels(path).read(GRID), expected)


def test_shared_edges_leave_no_gap(tmp_path) -> None:
    # Through pixel centres, where a doubtful rule would leave holes.
    cut = 500_000 + 405
    halves = [shapely.box(499_000, 4_990_000, cut, 5_001_000),
              shapely.box(cut, 4_990_000, 502_000, 5_001_000)]  # fmt: skip
    path = write_polygons(tmp_path / "p.gpkg", halves)
    assert (open_labels(path).read(GRID) == WATER.value).all()


@pytest.mark.parametrize("zone", ["EPSG:32701", "EPSG:32760"])
@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3832"])
def test_polygons_on_both_sides_of_180_degrees_are_found(tmp_path, zone, crs) -> None:
    x, y = Transformer.from_crs(4326, zone, always_xy=True).transform(180, -17)
    geobox = GeoBox((60, 80), Affine(60, 0, x - 2400, 0, -60, y + 1800), zone)
    lon, lat = centres(geobox, "EPSG:4326")
    assert (lon < 0).any()
    assert (lon > 0).any()
    sides = gpd.GeoSeries(
        [shapely.box(179.5, -17.01, 180, -16.9), shapely.box(-180, -17.01, -179.5, -16.9)], crs=4326
    )
    path = write_polygons(tmp_path / "p.gpkg", sides.to_crs(crs), crs=crs)
    read = open_labels(path).read(geobox)
    sure = np.abs(lat + 17.01) > 1e-5
    np.testing.assert_array_equal(read[sure], (lat > -17.01)[sure])


@pytest.mark.parametrize("zone", ["EPSG:32701", "EPSG:32760", "EPSG:4326"])
@pytest.mark.parametrize("turn", [0, 360])
def test_polygons_may_run_on_past_180_degrees(tmp_path, zone, turn) -> None:
    """As in files of the Pacific that count from 0° to 360°, and their like to the west."""
    ground = shapely.box(179.995, -17.01, 180.008, -16.9)
    path = write_polygons(
        tmp_path / "p.gpkg", [shapely.affinity.translate(ground, -turn)], crs=4326
    )
    x, y = Transformer.from_crs(4326, zone, always_xy=True).transform(180, -17)
    step = 2.5e-4 if zone == "EPSG:4326" else 30
    for left in (x, -180) if zone == "EPSG:4326" else (x,):
        transform = Affine(step, 0, left - 40 * step, 0, -step, y + 30 * step)
        geobox = GeoBox((60, 80), transform, zone)
        lon, lat = centres(geobox, "EPSG:4326")
        lon %= 360
        labels = open_labels(path)
        labels.prepare(geobox, scene="scene")
        inside = (lon > 179.995) & (lon < 180.008) & (lat > -17.01)
        rim = np.minimum(abs(lon - 179.995), abs(lon - 180.008)) < 1e-5
        sure = ~rim & (abs(lat + 17.01) > 1e-5)
        np.testing.assert_array_equal((labels.read(geobox) == 1)[sure], inside[sure])
        share = labels.read_shares(geobox)
        assert share.sum() == pytest.approx(inside.sum(), rel=0.02)


def test_a_grid_of_degrees_may_run_on_past_180(tmp_path) -> None:
    sides = [shapely.box(179.995, -17.01, 180, -16.9), shapely.box(-180, -17.01, -179.998, -16.9)]
    path = write_polygons(tmp_path / "p.gpkg", sides, crs=4326)
    for left in (179.99, -180.01):
        geobox = GeoBox((60, 80), Affine(2.5e-4, 0, left, 0, -2.5e-4, -17), 4326)
        x, y = centres(geobox)
        x = x % 360
        read = open_labels(path).read(geobox)
        np.testing.assert_array_equal(read == 1, (x > 179.995) & (x < 180.002) & (y > -17.01))


def test_layer_and_filter_are_chosen_by_name(tmp_path) -> None:
    left, right = (
        shapely.box(500_000, 4_999_000, 500_400, 5_000_000),
        shapely.box(500_400, 4_999_000, 500_800, 5_000_000),
    )
    path = tmp_path / "out.gpkg"
    write_polygons(path, [left], layer="lakes")
    write_polygons(path, [left, right], layer="water", kind=["lake", "sea"], n=[1, 2])
    half = np.arange(80) < 40
    sea = open_labels(f"{path}|water", where="kind = 'sea'").read(GRID)
    assert (sea == np.where(half, 0, 1)).all()
    assert (open_labels(path, layer="lakes").read(GRID) == half).all()
    assert (open_labels(f"{path}|layername=lakes").read(GRID) == half).all()
    assert (open_labels(f"{path}|water", water=False, where="n > 0").read(GRID) == 0).all()
    for text, options, why in (
        (path, {}, "several layers; there are lakes, water"),
        (f"{path}|sea", {}, "no layer sea; there are lakes, water"),
        (f"{path}|water", {"layer": "lakes"}, "names layer water"),
        (f"{path}|water", {"where": "depth > 3"}, "fields are kind, n"),
        (f"{path}|water", {"where": "n > 9"}, "has no shapes where n > 9"),
        (f"{path}|water", {"values": "0=land,1=water"}, "--label-values is for rasters"),
    ):
        with pytest.raises(LabelError, match=why):
            open_labels(text, **options)


def test_a_bar_in_a_file_name_is_no_layer(tmp_path) -> None:
    path = tmp_path / "a|b, c.gpkg"
    write_polygons(path, [shapely.box(500_000, 4_999_000, 500_800, 5_000_000)])
    assert (open_labels(path).read(GRID) == 1).all()


def test_polygons_that_cross_themselves_are_mended_and_it_is_said(tmp_path, caplog) -> None:
    bow = shapely.Polygon(
        [(500_000, 5_000_000), (500_800, 4_999_400), (500_800, 5_000_000), (500_000, 4_999_400)]
    )
    path = write_polygons(tmp_path / "p.gpkg", [bow])
    with caplog.at_level(logging.WARNING, logger="geounet"):
        read = open_labels(path).read(GRID)
    assert "1 of 1 polygons cross themselves; mended" in caplog.text
    x, y = centres(GRID)
    u, v = (x - 500_400) / 400, (y - 4_999_700) / 300
    sure = np.abs(np.abs(u) - np.abs(v)) > 0.02
    np.testing.assert_array_equal(read[sure], (np.abs(v) < np.abs(u))[sure])


def test_lines_are_no_labels(tmp_path, caplog) -> None:
    line = shapely.LineString([(500_000, 5_000_000), (500_800, 4_999_400)])
    only = write_polygons(tmp_path / "lines.gpkg", [line])
    with pytest.raises(LabelError, match=r"1 of 1 shapes of .* are lines or points"):
        open_labels(only).read(GRID)
    both = write_polygons(tmp_path / "both.gpkg", [line, line.buffer(100)])
    with caplog.at_level(logging.WARNING, logger="geounet"):
        assert open_labels(both).read(GRID).mean() > 0.05
    assert "1 of 2 shapes" in caplog.text


def test_polygons_without_a_crs_are_an_error(tmp_path) -> None:
    with pytest.warns(UserWarning, match="'crs' was not provided"):
        gpd.GeoSeries([shapely.box(0, 0, 1, 1)]).to_file(tmp_path / "p.shp")
    with pytest.raises(LabelError, match="has no CRS"):
        open_labels(tmp_path / "p.shp")


@pytest.mark.parametrize("kind", ["raster", "polygons"])
def test_labels_elsewhere_are_an_error_that_names_both_extents(tmp_path, kind) -> None:
    here = GeoBox((60, 80), GRID.transform, "EPSG:32701")
    if kind == "raster":
        path = write_raster(tmp_path / "l.tif", blobs(GRID.shape))
    else:
        path = write_polygons(tmp_path / "l.gpkg", [shapely.box(500_000, 4_999_400, 500_800, 5e6)])
    with pytest.raises(LabelError) as caught:
        open_labels(path).prepare(here, scene="T01KCV")
    said = str(caught.value)
    assert "longitude 9.000 to 9.010, latitude 45.148 to 45.153" in said
    assert "T01KCV longitude -177.000 to -176.9" in said


def test_where_no_polygon_is_there_is_the_other_class(tmp_path) -> None:
    far = [shapely.box(499_000, 5_000_500, 499_100, 5_001_000),
           shapely.box(502_000, 4_998_000, 502_100, 4_998_100)]  # fmt: skip
    labels = open_labels(write_polygons(tmp_path / "p.gpkg", far), water=False)
    labels.prepare(GRID, scene="scene")
    assert (labels.read(GRID) == WATER.value).all()


def test_a_polygon_that_is_turned_and_widened_is_the_same_in_a_shapefile(tmp_path) -> None:
    shape = rotate(scale(shapely.box(500_200, 4_999_500, 500_500, 4_999_800), 1.3, 0.7), 21)
    a = open_labels(write_polygons(tmp_path / "p.shp", [shape])).read(GRID)
    b = open_labels(write_polygons(tmp_path / "p.fgb", [shape])).read(GRID)
    np.testing.assert_array_equal(a, b)
    np.testing.assert_array_equal(a, shapely.contains_xy(shape, *centres(GRID)))


# Shares of water


@pytest.mark.parametrize("are_water", [True, False])
def test_shares_are_the_areas_of_polygons_in_any_window(tmp_path, are_water) -> None:
    # West of a line that leans: x = 500 313.7 + 0.4 (y − 5 000 000), in metres.
    south, north = 4_999_000, 5_000_500
    line = [(500_313.7 + 0.4 * (y - 5_000_000), y) for y in (south, north)]
    shape = shapely.Polygon([(490_000, south), *line, (490_000, north)])
    path = write_polygons(tmp_path / "west.gpkg", [shape])
    labels = open_labels(path, water=are_water)
    labels.prepare(GRID, scene="scene")
    rows, cols = np.indices(GRID.shape)
    within = (np.arange(1000) + 0.5) / 1000  # in rows of a pixel
    edge = 31.37 - 0.4 * (rows[..., None] + within)  # columns from the left
    west = (edge - cols[..., None]).clip(0, 1).mean(axis=-1)
    expected = west if are_water else 1 - west
    np.testing.assert_allclose(labels.read_shares(GRID), expected, atol=1e-5)
    part = labels.read_shares(window(7, 9, 20, 30))
    np.testing.assert_allclose(part, expected[7:27, 9:39], atol=1e-5)
    np.testing.assert_array_equal(labels.read(GRID) == 1, expected >= 0.5)


def test_shares_of_a_finer_raster_are_counts_of_its_pixels(tmp_path) -> None:
    fine = blobs((200, 320), seed=3)  # of 2.5 m; ends before the grid does
    fine[17, 30] = 255
    transform = GRID.transform @ Affine.scale(0.25)
    labels = open_labels(write_raster(tmp_path / "fine.tif", fine, transform=transform))
    labels.prepare(GRID, scene="scene")
    found = labels.read_shares(GRID)
    assert np.isnan(found[50:]).all()
    for row, col in np.ndindex(50, 80):
        part = fine[4 * row : 4 * row + 4, 4 * col : 4 * col + 4]
        if (row, col) == (4, 7):
            assert np.isnan(found[row, col])
        else:
            assert found[row, col] == np.sum(part == 1) / 16
    np.testing.assert_array_equal(labels.read_shares(window(3, 4, 20, 20)), found[3:23, 4:24])


@pytest.mark.parametrize(
    ("transform", "crs"),
    [
        (GRID.transform, UTM),
        (GRID.transform @ Affine.scale(0.3), UTM),
        (GRID.transform @ Affine.translation(0.05, 0) @ Affine.scale(0.5), UTM),
        (GRID.transform @ Affine.rotation(3) @ Affine.scale(0.5), UTM),
        (GRID.transform @ Affine.scale(2), UTM),
        (GRID.transform @ Affine.scale(0.5), "EPSG:32633"),
    ],
)
def test_rasters_that_do_not_part_pixels_evenly_tell_no_shares(tmp_path, transform, crs) -> None:
    path = write_raster(tmp_path / "l.tif", blobs((300, 300)), transform=transform, crs=crs)
    with pytest.raises(LabelError, match="--water-shares needs polygons, or a raster whose pixels"):
        open_labels(path).read_shares(GRID)

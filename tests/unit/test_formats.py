"""One set of lines and areas in many formats: the same features, in their place."""

import json
from pathlib import Path

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely
from affine import Affine
from contouring import make_products, rough_field
from pyarrow import parquet
from pyproj import CRS, Geod

from geounet import formats
from geounet.errors import OutputError
from geounet.formats import VectorOptions

ALL = VectorOptions.from_text(["geoparquet,fgb", "geojson"])
LAYERS = ("coastline", "water")
SUFFIXES = (".parquet", ".fgb", ".geojson")
FIJI = {"crs": "EPSG:32760", "transform": Affine(1000, 0, 790_000, 0, -1000, 8_180_000)}
"""Pixels of a kilometre, across 180°."""


@pytest.fixture(scope="module")
def values():
    field = rough_field(np.random.default_rng(7), (40, 60), smooth=2, nodata=0.01)
    return np.clip(field, 0, 1).astype(np.float32)


@pytest.fixture(scope="module")
def out(tmp_path_factory, values) -> Path:
    return make_products(tmp_path_factory.mktemp("formats"), values, vectors=ALL)


def read(out: Path, layer: str, suffix: str = ".gpkg") -> geopandas.GeoDataFrame:
    if suffix == ".gpkg":
        return geopandas.read_file(out / "coast.gpkg", layer=layer, use_arrow=True)
    if suffix == ".parquet":
        return geopandas.read_parquet(out / f"coast_{layer}.parquet")
    return geopandas.read_file(out / f"coast_{layer}{suffix}", use_arrow=True)


def in_order(features: geopandas.GeoDataFrame) -> geopandas.GeoDataFrame:
    """Sort features by how large they are on the ground: FlatGeobuf has an order of its own."""
    measure = "length_m" if "length_m" in features else "area_m2"
    assert features[measure].is_unique
    return features.sort_values(measure, ignore_index=True)


@pytest.mark.parametrize("layer", LAYERS)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_every_format_has_the_same_features(out, layer, suffix) -> None:
    ours, theirs = read(out, layer), read(out, layer, suffix)
    if suffix == ".geojson":
        assert theirs.crs.to_epsg() == 4326
        ours = ours.to_crs(4326)
    assert theirs.crs == ours.crs
    assert len(theirs) == len(ours) > 10
    assert list(theirs.columns) == list(ours.columns)
    ours, theirs = in_order(ours), in_order(theirs)
    if suffix == ".geojson":
        apart = shapely.hausdorff_distance(ours.geometry.array, theirs.geometry.array)
        assert apart.max() <= 0.5e-7 * np.sqrt(2) * 1.001
    else:
        assert shapely.equals_identical(ours.geometry.array, theirs.geometry.array).all()
    for name in ours.columns.drop("geometry"):
        mine, other = ours[name], theirs[name]
        assert (mine.isna() == other.isna()).all()
        if pd.api.types.is_float_dtype(mine):
            # A reader of GeoJSON takes a column of nulls for text.
            np.testing.assert_array_equal(mine, other.astype(float))
        else:
            assert (mine.dropna() == other.dropna()).all()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_types_are_the_same_in_every_format(out, suffix) -> None:
    if suffix == ".parquet":
        schema = parquet.read_schema(out / "coast_coastline.parquet")
        assert str(schema.field("time").type) == "timestamp[ms, tz=UTC]"
        assert str(schema.field("cloud_suspect").type) == "bool"
        assert str(schema.field("length_m").type) == "double"
        assert str(schema.field("kind").type) == "string"
        return
    about = pyogrio.read_info(out / f"coast_coastline{suffix}")
    kinds = dict(zip(about["fields"], about["ogr_types"], strict=True))
    assert kinds["time"] == "OFTDateTime"
    assert kinds["length_m"] == kinds["level"] == "OFTReal"
    assert kinds["kind"] == kinds["model"] == "OFTString"
    times = read(out, "coastline", suffix)["time"]
    assert set(times) == {pd.Timestamp("2021-06-01T10:11:12Z")}


def test_each_file_is_listed_and_has_its_style(out) -> None:
    listed = json.loads((out / "coast.json").read_text())["files"]
    for layer in LAYERS:
        assert {f"coast_{layer}{end}" for end in (*SUFFIXES, ".qml")} <= set(listed)
        assert "<renderer-v2" in (out / f"coast_{layer}.qml").read_text()
    assert not list(out.glob("*temp*"))


def test_the_same_field_gives_the_same_bytes(tmp_path, values, out) -> None:
    again = make_products(tmp_path, values, vectors=ALL)
    for suffix in SUFFIXES:
        for layer in LAYERS:
            name = f"coast_{layer}{suffix}"
            assert (again / name).read_bytes() == (out / name).read_bytes(), name
    moved = VectorOptions.from_text([], "EPSG:3035")
    one, other = (make_products(tmp_path / name, values, vectors=moved) for name in ("a", "b"))
    assert (one / "coast.gpkg").read_bytes() == (other / "coast.gpkg").read_bytes()


def test_chunks_are_small_and_make_the_same_files(tmp_path, values, out, monkeypatch) -> None:
    monkeypatch.setattr(formats, "FEATURES_IN_CHUNK", 7)
    sizes = []
    real = formats._shapes
    monkeypatch.setattr(formats, "_shapes", lambda chunk: sizes.append(len(chunk)) or real(chunk))
    again = make_products(tmp_path, values, vectors=ALL)
    assert max(sizes) == 7
    assert sum(sizes) == 2 * sum(len(read(out, layer)) for layer in LAYERS)
    for layer in LAYERS:
        for suffix in (".fgb", ".geojson"):
            name = f"coast_{layer}{suffix}"
            assert (again / name).read_bytes() == (out / name).read_bytes()
        ours, theirs = read(again, layer, ".parquet"), read(out, layer, ".parquet")
        assert shapely.equals_identical(ours.geometry.array, theirs.geometry.array).all()


def test_geoparquet_says_where_each_shape_is(out) -> None:
    path = out / "coast_water.parquet"
    about = json.loads(parquet.read_metadata(path).metadata[b"geo"])
    assert about["version"] == "1.1.0"
    column = about["columns"][about["primary_column"]]
    assert column["geometry_types"] == ["Polygon"]
    assert CRS.from_json_dict(column["crs"]).to_epsg() == 32630
    water = read(out, "water")
    assert column["bbox"] == water.total_bounds.tolist()
    left, bottom, right, top = water.total_bounds
    part = (left, bottom, left + (right - left) / 3, bottom + (top - bottom) / 3)
    found = geopandas.read_parquet(path, bbox=part)
    expected = shapely.intersects(shapely.box(*part), shapely.box(*water.bounds.to_numpy().T))
    assert 0 < len(found) == expected.sum() < len(water)
    assert parquet.read_metadata(path).row_group(0).column(0).compression == "ZSTD"


def test_flatgeobuf_has_a_spatial_index(out) -> None:
    assert pyogrio.read_info(out / "coast_water.fgb")["capabilities"]["fast_spatial_filter"]


def test_geojson_is_right_handed_with_seven_places(out) -> None:
    found = json.loads((out / "coast_water.geojson").read_text())
    assert "crs" not in found
    for feature in found["features"]:
        assert feature["geometry"]["type"] == "Polygon"
        outer, *holes = (shapely.LinearRing(ring) for ring in feature["geometry"]["coordinates"])
        assert outer.is_ccw
        assert not any(hole.is_ccw for hole in holes)
    numbers = shapely.get_coordinates(read(out, "water", ".geojson").geometry.array)
    np.testing.assert_allclose(numbers, numbers.round(7), atol=1e-13, rtol=0)
    assert read(out, "water", ".geojson").is_valid.all()


def test_geojson_is_cut_where_a_scene_crosses_180(tmp_path, values) -> None:
    out = make_products(tmp_path, values, vectors=ALL, **FIJI)
    for layer in LAYERS:
        ours, theirs = read(out, layer), read(out, layer, ".geojson")
        assert len(theirs) == len(ours)
        left, _, right, _ = theirs.geometry.explode().bounds.to_numpy().T
        assert (right - left).max() < 1.0
        assert left.min() < -179
        assert right.max() == 180.0
        assert theirs.geom_type.str.startswith("Multi").any()
        assert theirs.is_valid.all()
    geod = Geod(ellps="WGS84")
    lines = read(out, "coastline", ".geojson")
    lengths = [geod.geometry_length(line) for line in lines.geometry]
    np.testing.assert_allclose(lengths, lines["length_m"], rtol=0, atol=0.1)
    water = read(out, "water", ".geojson")
    areas = np.array([abs(geod.geometry_area_perimeter(area)[0]) for area in water.geometry])
    np.testing.assert_allclose(areas, water["area_m2"], rtol=2e-4)


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3035", "EPSG:32631"])
def test_another_crs_moves_shapes_and_leaves_metres(tmp_path, values, out, crs) -> None:
    options = VectorOptions.from_text(["geoparquet", "fgb"], crs)
    moved = make_products(tmp_path, values, vectors=options)
    for layer in LAYERS:
        ours = in_order(read(out, layer).to_crs(crs))
        for suffix in (".gpkg", ".parquet", ".fgb"):
            theirs = in_order(read(moved, layer, suffix))
            assert theirs.crs == CRS.from_user_input(crs)
            assert theirs.is_valid.all()
            # Long edges have got more vertices; those that were there are where they were.
            apart = shapely.hausdorff_distance(ours.geometry.array, theirs.geometry.array)
            assert apart.max() < (1e-5 if crs == "EPSG:4326" else 1.0)
        measure = "length_m" if layer == "coastline" else "area_m2"
        np.testing.assert_array_equal(np.sort(ours[measure]), np.sort(theirs[measure]))
    styled = pyogrio.list_layers(moved / "coast.gpkg")[:, 0]
    assert "layer_styles" in styled


def test_a_crs_without_a_place_for_the_scene_is_said_in_one_line(tmp_path, values) -> None:
    away = VectorOptions.from_text([], "+proj=gnom +lat_0=-60 +lon_0=180 +type=crs")
    with pytest.raises(OutputError, match="has no place for a part of the scene"):
        make_products(tmp_path, values, vectors=away)
    assert not (tmp_path / "out").exists()


def test_in_another_crs_water_still_ends_at_the_line(tmp_path, values) -> None:
    made = make_products(tmp_path, values, vectors=VectorOptions.from_text([], "EPSG:3035"))
    edges = shapely.get_coordinates(shapely.boundary(read(made, "water").geometry.array))
    on_edges = {tuple(point) for point in edges.tolist()}
    on_lines = shapely.get_coordinates(read(made, "coastline").geometry.array).tolist()
    assert all(tuple(point) in on_edges for point in on_lines)


@pytest.mark.parametrize("water", [0.0, 1.0])
def test_an_empty_layer_keeps_its_type_columns_and_crs(tmp_path, water, out) -> None:
    options = VectorOptions.from_text(["geoparquet,fgb,geojson"], "EPSG:3035")
    empty = make_products(tmp_path, np.full((20, 20), water, np.float32), vectors=options)
    for suffix in (".gpkg", ".parquet", ".fgb"):
        found = read(empty, "coastline", suffix)
        assert len(found) == 0
        assert found.crs == CRS.from_epsg(3035)
        assert list(found.columns) == list(read(out, "coastline").columns)
    assert pyogrio.read_info(empty / "coast_coastline.fgb")["geometry_type"] == "LineString"
    assert len(read(empty, "water", ".parquet")) == water
    # GeoJSON says the types of features, so an empty file has none.
    assert json.loads((empty / "coast_coastline.geojson").read_text())["features"] == []


@pytest.mark.parametrize(
    ("texts", "crs", "complaint"),
    [
        (["shp"], None, "--format shp is not known; there are gpkg, geoparquet, fgb, geojson"),
        (["fgb", ""], None, "--format  is not known"),
        ([], "EPSG:999999", "--crs EPSG:999999 is no coordinate reference system"),
        ([], "EPSG:5773", "has no map to draw lines on"),
        ([], "EPSG:4978", "has no map to draw lines on"),
    ],
)
def test_formats_and_crs_that_are_none_are_refused(texts, crs, complaint) -> None:
    with pytest.raises(OutputError, match=complaint):
        VectorOptions.from_text(texts, crs)


def test_the_geopackage_comes_with_every_other_format() -> None:
    assert VectorOptions() == VectorOptions.from_text() == VectorOptions(("gpkg",), None)
    assert VectorOptions.from_text(["FGB", "fgb"]).formats == ("gpkg", "fgb")
    assert VectorOptions.from_text([], "4326").crs == "EPSG:4326"


@pytest.mark.parametrize(("crs", "flat"), [("EPSG:7415", "EPSG:28992"), ("EPSG:4979", "EPSG:4326")])
def test_heights_of_a_crs_are_left_out_as_lines_have_none(crs, flat) -> None:
    assert VectorOptions.from_text([], crs).crs == flat

"""GeoPackages: typed when empty, styled, and the same bytes twice."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone

import geopandas
import numpy as np
import pandas as pd
import pyogrio
import pytest
import shapely

from geounet.errors import GeounetError
from geounet.layers import WAITING_IN_MEMORY, LayerWriter, embed_styles, output_time

SEEN = datetime(2021, 6, 1, 10, 11, 12, tzinfo=UTC)


def features(count, vertices=3):
    lines = shapely.linestrings(np.random.default_rng(0).random((count, vertices, 2)))
    columns = {"number": np.arange(count), "kind": pd.array(["unknown"] * count, dtype="string")}
    return geopandas.GeoDataFrame(columns, geometry=lines, crs="EPSG:32630")


def write(path, *batches, time=SEEN):
    writer = LayerWriter(path, "coastline", "LineString", time)
    for batch in batches:
        writer.write(batch)
    writer.flush()
    return path


def test_batches_come_back_as_one_layer_in_order(tmp_path):
    many = features(400, vertices=WAITING_IN_MEMORY // 3200)
    parts = [many[:0], many[:1], many[1:250], many[250:250], many[250:]]
    back = geopandas.read_file(write(tmp_path / "a.gpkg", *parts), layer="coastline")
    assert back["number"].tolist() == list(range(400))
    assert shapely.equals_identical(back.geometry.array, many.geometry.array).all()
    assert back.crs.to_epsg() == 32630


def test_an_empty_layer_keeps_its_geometry_type_its_columns_and_its_crs(tmp_path):
    info = pyogrio.read_info(write(tmp_path / "a.gpkg", features(0), features(0)))
    assert info["geometry_type"] == "LineString"
    assert info["fields"].tolist() == ["number", "kind"]
    assert info["ogr_types"] == ["OFTInteger64", "OFTString"]
    assert info["crs"] == "EPSG:32630"
    assert info["features"] == 0


def test_the_version_is_one_that_old_qgis_takes(tmp_path):
    with closing(sqlite3.connect(write(tmp_path / "a.gpkg", features(1)))) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (10300,)


def test_the_same_features_give_the_same_bytes_whenever_they_are_written(tmp_path):
    paths = [tmp_path / "1.gpkg", tmp_path / "2.gpkg"]
    for path in paths:
        write(path, features(5), features(7))
        embed_styles(path, {"coastline": "<qgis/>"}, SEEN)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    with closing(sqlite3.connect(paths[0])) as db:
        dates = db.execute("SELECT last_change FROM gpkg_contents").fetchall()
        dates += db.execute("SELECT update_time FROM layer_styles").fetchall()
    assert dates == [("2021-06-01T10:11:12.000Z",)] * 3


def test_the_present_of_others_is_left_alone(tmp_path):
    option = "OGR_CURRENT_DATE"
    assert pyogrio.get_gdal_config_option(option) is None
    write(tmp_path / "a.gpkg", features(1))
    assert pyogrio.get_gdal_config_option(option) is None
    with pytest.raises(pyogrio.errors.DataSourceError):
        write(tmp_path / "absent" / "a.gpkg", features(1))
    assert pyogrio.get_gdal_config_option(option) is None


def test_qgis_finds_the_style_as_it_asks_for_it(tmp_path):
    path = write(tmp_path / "a.gpkg", features(2))
    embed_styles(path, {"coastline": "<qgis>é</qgis>"}, SEEN)
    with closing(sqlite3.connect(path)) as db:
        column = db.execute(
            "SELECT column_name FROM gpkg_geometry_columns WHERE table_name = 'coastline'"
        ).fetchone()
        # QGIS's own query.
        found = db.execute(
            "SELECT styleQML FROM layer_styles WHERE f_table_schema='' AND f_table_name='coastline'"
            " AND f_geometry_column=? ORDER BY CASE WHEN useAsDefault THEN 1 ELSE 2 END,"
            " update_time DESC",
            column,
        ).fetchall()
    assert found == [("<qgis>é</qgis>",)]
    assert len(geopandas.read_file(path, layer="coastline")) == 2


def test_outputs_have_the_date_of_the_scene_then_of_the_environment(monkeypatch):
    monkeypatch.delenv("SOURCE_DATE_EPOCH", raising=False)
    assert output_time(None) == datetime(1980, 1, 1, tzinfo=UTC)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "1000000000")
    assert output_time(None) == datetime(2001, 9, 9, 1, 46, 40, tzinfo=UTC)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "yesterday")
    with pytest.raises(GeounetError, match="SOURCE_DATE_EPOCH is 'yesterday'"):
        output_time(None)
    east = SEEN.astimezone(timezone(timedelta(hours=9)))
    assert output_time(east).isoformat() == "2021-06-01T10:11:12+00:00"

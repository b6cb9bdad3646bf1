"""The area of interest, against distances and places found pixel by pixel."""

import geopandas as gpd
import numpy as np
import pytest
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox
from pyproj import CRS, Transformer

from geounet.aoi import aoi_mask, read_aoi
from geounet.errors import AreaError

UTM = CRS(32632)
TURNED = Affine.translation(500_000, 5_000_000) @ Affine.rotation(40) @ Affine.scale(10, -7)
SCENES = {
    "utm": GeoBox((150, 200), Affine(10, 0, 500_000, 0, -10, 5_000_000), UTM),
    "degrees": GeoBox((150, 200), Affine(1.3e-4, 0, 9.0, 0, -9e-5, 45.153), 4326),
    "turned": GeoBox((150, 200), TURNED, UTM),
    "across 180": GeoBox((150, 200), Affine(60, 0, 175_000, 0, -60, 8_000_000), 32701),
}  # fmt: skip


def centres(geobox, crs):
    rows, cols = np.indices(geobox.shape) + 0.5
    x, y = geobox.transform @ (cols, rows)
    return Transformer.from_crs(CRS(str(geobox.crs)), crs, always_xy=True).transform(x, y)


def local_crs(geobox):
    """Metres on the ground around the middle of a scene."""
    height, width = geobox.shape
    x, y = geobox.transform @ (width / 2, height / 2)
    lon, lat = Transformer.from_crs(CRS(str(geobox.crs)), 4326, always_xy=True).transform(x, y)
    return CRS.from_dict({"proj": "tmerc", "lon_0": lon, "lat_0": lat, "ellps": "WGS84"})


def lonlat_of(shape, geobox):
    return gpd.GeoSeries([shape], crs=local_crs(geobox)).to_crs(4326)


@pytest.mark.parametrize("name", SCENES)
@pytest.mark.parametrize("kind", ["line", "point", "polygon"])
def test_a_buffer_reaches_as_many_metres_on_the_ground(tmp_path, name, kind) -> None:
    geobox = SCENES[name]
    reach = 300.0 if name != "across 180" else 1_500.0
    shape = {
        "line": shapely.LineString([(-400, -300), (100, 50), (500, 300)]),
        "point": shapely.Point(20, 50),
        "polygon": shapely.box(-100, -150, 60, 200),
    }[kind]
    if name == "across 180" and kind != "point":
        # Shapes in degrees do not cross 180° in one piece.
        shape = shapely.intersection(shape, shapely.box(-1e4, -1e4, -60, 1e4))
    path = tmp_path / "aoi.geojson"
    lonlat_of(shape, geobox).to_file(path)
    mask = aoi_mask(read_aoi(path, geobox, buffer_m=reach), geobox)
    distance = shapely.distance(shapely.points(*centres(geobox, local_crs(geobox))), shape)
    # A circle is drawn with 128 corners, and the scene is not flat.
    sure = np.abs(distance - reach) > 0.002 * reach
    np.testing.assert_array_equal(mask[sure], (distance < reach)[sure])
    assert mask.any()


@given(row=st.integers(0, 100), col=st.integers(0, 150), seed=st.integers(0, 50))
@settings(max_examples=20)
def test_a_window_of_the_mask_is_the_mask_of_the_window(row, col, seed) -> None:
    geobox = SCENES["turned"]
    rng = np.random.default_rng(seed)
    corners = np.stack(geobox.transform @ (rng.uniform(0, 200, 5), rng.uniform(0, 150, 5)), axis=-1)
    aoi = shapely.make_valid(shapely.Polygon(corners))
    part = GeoBox((40, 50), geobox.transform @ Affine.translation(col, row), geobox.crs)
    whole = aoi_mask(aoi, geobox)
    np.testing.assert_array_equal(
        aoi_mask(aoi, part)[: 150 - row, : 200 - col], whole[row : row + 40, col : col + 50]
    )
    x, y = centres(geobox, UTM)
    sure = shapely.distance(shapely.points(x, y), shapely.boundary(aoi)) > 1e-6
    np.testing.assert_array_equal(whole[sure], shapely.contains_xy(aoi, x, y)[sure])


def test_polygons_and_holes_are_taken_as_they_are(tmp_path) -> None:
    geobox = SCENES["utm"]
    ring = shapely.Point(501_000, 4_999_200).buffer(500)
    ring = ring.difference(shapely.Point(501_000, 4_999_200).buffer(200))
    gpd.GeoSeries([ring, shapely.box(500_000, 4_999_900, 500_100, 5e6)], crs=UTM).to_file(
        tmp_path / "a.gpkg", layer="one"
    )
    mask = aoi_mask(read_aoi(f"{tmp_path / 'a.gpkg'}|one", geobox, buffer_m=None), geobox)
    assert mask.sum() == pytest.approx(np.pi * (50**2 - 20**2) + 100, rel=0.005)


def test_a_line_beside_the_scene_reaches_into_it(tmp_path) -> None:
    geobox = SCENES["utm"]
    line = shapely.LineString([(507_000, 4_990_000), (507_000, 5_010_000)])
    gpd.GeoSeries([line], crs=UTM).to_crs(4326).to_file(tmp_path / "line.gpkg")
    mask = aoi_mask(read_aoi(tmp_path / "line.gpkg", geobox, buffer_m=5_500.0), geobox)
    x, _ = centres(geobox, UTM)
    sure = np.abs(x - 501_500) > 20
    np.testing.assert_array_equal(mask[sure], (x > 501_500)[sure])


def test_wrong_areas_say_what_is_wrong(tmp_path) -> None:
    geobox = SCENES["utm"]
    line = gpd.GeoSeries([shapely.LineString([(9, 45.1), (9.02, 45.2)])], crs=4326)
    line.to_file(tmp_path / "line.gpkg")
    far = gpd.GeoSeries([shapely.box(20, 45, 21, 46)], crs=4326)
    far.to_file(tmp_path / "far.gpkg")
    # In the surroundings that are read, yet beside the scene.
    near = gpd.GeoSeries([shapely.box(502_001, 4_998_500, 502_100, 5e6)], crs=UTM)
    near.to_file(tmp_path / "near.gpkg")
    (tmp_path / "text.txt").write_text("no shapes here")
    for name, buffer_m, why in (
        ("line.gpkg", None, "Widen them with --aoi-buffer"),
        ("far.gpkg", None, "longitude 20.000 to 21.000, .* the scene longitude 9.000 to 9.025"),
        ("far.gpkg", 100.0, "does not touch the scene"),
        ("near.gpkg", None, "does not touch the scene"),
        ("none.gpkg", None, "cannot be read"),
        ("text.txt", None, "cannot be read"),
    ):
        with pytest.raises(AreaError, match=why):
            read_aoi(tmp_path / name, geobox, buffer_m=buffer_m)
    assert aoi_mask(read_aoi(tmp_path / "near.gpkg", geobox, buffer_m=100.0), geobox).any()

"""Two dates of a river by an index, and shorelines that others drew of an atoll."""

import json
from pathlib import Path

import geopandas
import numpy as np
import pytest
import rasterio
import shapely

from geounet.baseline import BaselineSettings, baseline_scene
from geounet.compare import CompareSettings, compare_states
from geounet.scene import SceneOptions

DATES = ("20231217", "20240101")


@pytest.fixture
def river(shared_data: Path, tmp_path) -> list[Path]:
    """The Paraná, divided at one level on both dates."""
    options = SceneOptions(scale=0.0001, offset=-1000)
    settings = BaselineSettings(threshold=0.0)
    scenes = [shared_data / "parana_s2_l2a" / f"{date}.tif" for date in DATES]
    return [baseline_scene(scene, tmp_path, settings, options) for scene in scenes]


def test_areas_on_the_parana_are_those_of_pixels(river, tmp_path) -> None:
    settings = CompareSettings(min_area_m2=0.0)
    path = compare_states(*map(str, river), tmp_path / "out", settings)
    record = json.loads(path.read_text())
    masks = []
    for one in river:
        with rasterio.open(one.with_name(f"{one.stem}_mask.tif")) as src:
            masks.append(src.read(1))
    known = (masks[0] != 255) & (masks[1] != 255)
    assert record["ground"]["known_by_both_m2"] == pytest.approx(100 * known.sum(), rel=1e-3)
    net = 100 * (int((masks[0] == 1)[known].sum()) - int((masks[1] == 1)[known].sum()))
    # Each pixel of the coast is off by half at most, and by nothing on the whole.
    assert record["area"]["net_m2"] == pytest.approx(net, abs=0.05 * 10 * 9000)
    assert abs(record["area"]["net_m2"]) > 10_000
    # The same by an overlay of the whole, on the plane of UTM.
    whole = [
        geopandas.read_file(one.with_suffix(".gpkg"), layer="water").union_all() for one in river
    ]
    for kind, apart in (("gained", whole[0] - whole[1]), ("lost", whole[1] - whole[0])):
        assert record["area"][f"{kind}_m2"] == pytest.approx(apart.area, rel=1e-3)
    stretches = geopandas.read_file(path.with_suffix(".gpkg"), layer="movement")
    middle = shapely.centroid(stretches.geometry.to_numpy())
    line = geopandas.read_file(river[1].with_suffix(".gpkg"), layer="coastline").union_all()
    known_m = stretches["distance_m"].notna().to_numpy()
    far = shapely.distance(middle[known_m], line)
    assert np.abs(far - stretches["distance_m"][known_m]).max() < 0.01 + 1e-3 * far.max()
    assert not any("different levels" in note for note in record["notes"])


def test_shorelines_of_isdhoo_are_as_far_apart_as_shapely_has_it(shared_data, tmp_path) -> None:
    folder = shared_data / "maldives_shorelines" / "Isdhoo"
    drawn = [
        folder / "Manual shoreline/Isdhoo_manual_shoreline.geojson",
        folder / "Sentinel shoreline/Sentinel_shoreline_20220101_0331.geojson",
    ]
    path = compare_states(*map(str, drawn), tmp_path / "out", CompareSettings(step_m=5.0))
    movement = json.loads(path.read_text())["movement"]
    stretches = geopandas.read_file(path.with_suffix(".gpkg"), layer="movement").to_crs(32643)
    manual, sentinel = (geopandas.read_file(one).to_crs(32643).union_all() for one in drawn)
    middle = shapely.centroid(stretches.geometry.to_numpy())
    assert shapely.distance(middle, manual).max() < 0.01, "points are on the first line"
    far = shapely.distance(middle, sentinel)
    found = stretches["distance_m"].notna().to_numpy()
    assert found.mean() > 0.9
    assert stretches["distance_m"][found].to_numpy() == pytest.approx(far[found], abs=0.05)
    assert movement["median_m"] is None, "nobody says where the water is"
    assert 1 < movement["median_distance_m"] < 10

"""Chips from scenes that users have."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import rasterio
import shapely

from geounet.chips import open_chips

LOOKOUT = Path(__file__).with_name("cape_lookout")


def test_the_fiji_product_has_land_in_every_split(geounet, shared_data, tmp_path) -> None:
    folder = shared_data / "fiji_s2_l2a_safe"
    (scene,) = folder.glob("*.SAFE/GRANULE/*/IMG_DATA/R60m")
    labels = folder / "T01KCV_20190809_water_from_SCL_60m.tif"
    # As in docs/guides/tile.md.
    run = geounet("tile", scene, "--labels", labels, "--size", 128, "--scale", 0.0001,
                  "--seed", 44, "--out", tmp_path / "chips")  # fmt: skip
    assert (run.status, run.err) == (0, "")
    chips = open_chips(tmp_path / "chips")
    assert [band.name for band in chips.info.band_list] == [
        "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B8A", "B09", "B11", "B12",
    ]  # fmt: skip
    summary = chips.summary()
    land_km2 = (1 - summary["water"]) * summary["area_km2"]
    assert land_km2["train"] > 50
    assert land_km2[["val", "test"]].min() > 4
    assert summary["coast_km"].min() > 10
    # Chips are what scene and labels have there.
    with rasterio.open(labels) as src:
        truth = src.read(1)
    with rasterio.open(next(scene.glob("*_B03_60m.jp2"))) as src:
        green = src.read(1)
    for row in chips.index[chips.index["split"] == "test"].itertuples():
        part = np.s_[row.row : row.row + 128, row.col : row.col + 128]
        chip = chips.read(row.chip, ["green"])
        np.testing.assert_array_equal(chip.label, truth[part])
        np.testing.assert_allclose(chip.values[0], green[part] * 1e-4, rtol=1e-6)
    # 7.7 km and more between splits, on the ground; the scene lies in one zone, so in its CRS.
    rows, cols = chips.index["row"].to_numpy(), chips.index["col"].to_numpy()
    boxes = shapely.box(cols * 60, rows * 60, (cols + 128) * 60, (rows + 128) * 60)
    split = chips.index["split"].to_numpy()
    for one, two in (("train", "val"), ("train", "test"), ("val", "test")):
        apart = shapely.union_all(boxes[split == one]).distance(
            shapely.union_all(boxes[split == two])
        )
        assert apart >= 129 * 60


def test_cape_lookout_is_tiled_with_polygons_drawn_over_it(geounet, shared_data, tmp_path) -> None:
    scene = shared_data / "cape_lookout_s2_l1c_uint8"
    run = geounet("tile", scene, "--labels", LOOKOUT / "land.geojson", "--labels-are", "land",
                  "--nodata", 255, "--scale", 0.00392156862, "--size", 128,
                  "--out", tmp_path / "chips, and more")  # fmt: skip
    assert (run.status, run.err) == (0, "")
    chips = open_chips(tmp_path / "chips, and more")
    info = chips.info
    assert [band.id for band in info.band_list] == [f"s2:B0{i}" for i in range(1, 9)]
    assert (info.sensor, info.level, info.crs) == ("s2", "L1C", ("EPSG:4326",))
    summary = chips.summary()
    assert summary.index.tolist() == ["train", "val", "test"]
    assert summary["water"].between(0.5, 0.99).all()
    assert info.split["dropped"]["too little valid"] > 100  # outside of the cut
    # Polygons and image agree: land is bright in near infrared, and water is not.
    land, water = [], []
    for name in chips.index["chip"]:
        chip = chips.read(name, ["nir"])
        land.append(chip.values[0][chip.label == 0])
        water.append(chip.values[0][chip.label == 1])
    assert np.median(np.concatenate(land)) > 0.25
    assert np.percentile(np.concatenate(water), 98) < 0.15
    assert not np.isnan(np.concatenate(land + water)).any()


def test_the_polygons_of_cape_lookout_are_made_again_the_same(shared_data, tmp_path) -> None:
    script = tmp_path / "make_polygons.py"
    script.write_text((LOOKOUT / "make_polygons.py").read_text())
    scene = shared_data / "cape_lookout_s2_l1c_uint8"
    subprocess.run([sys.executable, script, scene], check=True)
    made = (tmp_path / "land.geojson").read_text()
    assert made == (LOOKOUT / "land.geojson").read_text()

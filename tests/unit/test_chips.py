"""The chip folder: what is written comes back, and is described truly."""

import json
import logging
from datetime import UTC, datetime

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from odc.geo.geobox import GeoBox

from geounet.bands import SENSORS
from geounet.chips import ChipRecord, ChipWriter, open_chips
from geounet.chipset import BandStatistics
from geounet.classes import LAND_WATER, LabelClass
from geounet.errors import BandError, ChipsError
from geounet.scene import open_scene
from geounet.split import BlockGrid

BANDS = SENSORS["s2"][1:4]
SIZE, CONTEXT = 6, 2
SIDE = SIZE + 2 * CONTEXT
GRID = BlockGrid.nearest(1000)
WHEN = datetime(2020, 5, 17, 10, 6, 21, tzinfo=UTC)


def make_chip(rng, *, nodata=True):
    values = rng.uniform(0, 1, (3, SIDE, SIDE)).astype(np.float32)
    if nodata:
        values[:, :3, :4] = np.nan
    label = np.full((SIDE, SIDE), 255, np.uint8)
    core = np.s_[CONTEXT:-CONTEXT, CONTEXT:-CONTEXT]
    label[core] = rng.integers(0, 2, (SIZE, SIZE))
    label[~np.isfinite(values).all(axis=0)] = 255
    return values, label


def grid_at(row, col):
    transform = Affine(10, 0, 500_000 + 10 * col, 0, -10, 5_000_000 - 10 * row)
    return GeoBox((SIDE, SIDE), transform, "EPSG:32632")


def record_of(name, split, row, *, time=WHEN):
    return ChipRecord(
        chip=name,
        split=split,
        block=GRID.name(int(GRID.code(np.int64(700 + row), np.int64(5)))),
        scene="scene",
        time=time,
        row=row,
        col=0,
        crs="EPSG:32632",
        water=0.25,
        valid=0.5,
        coast_m=1500.0,
        geometry=shapely.box(9, 45, 9.1, 45.1),
    )


def write_folder(folder, chips, *, classes=LAND_WATER, order=1, **settings):
    """Write chips given as {name: (split, values, label)}."""
    folder.mkdir()
    writer = ChipWriter(
        folder, bands=BANDS, classes=classes, sensor="s2", level="L2A", context=CONTEXT
    )
    for i, (name, (split, values, label)) in list(enumerate(chips.items()))[::order]:
        writer.write(record_of(name, split, i), values, label, grid_at(i, 0))
    writer.finish(
        size=SIZE,
        stride=SIZE,
        res_m=(10.0, 10.0),
        split={"by": "block", "block_m": GRID.side} | settings,
        sources=[{"scene": "scene"}],
    )
    return open_chips(folder)


@pytest.fixture
def chips():
    rng = np.random.default_rng(1)
    splits = ["train", "train", "val", "test", "train"]
    return {f"chip {i}, s": (split, *make_chip(rng)) for i, split in enumerate(splits)}


def test_chips_come_back_as_they_were(tmp_path, chips) -> None:
    folder = write_folder(tmp_path / "chips", chips)
    assert folder.names("train") == ["chip 0, s", "chip 1, s", "chip 4, s"]
    assert folder.names("val") == ["chip 2, s"]
    for name, (_, values, label) in chips.items():
        chip = folder.read(name)
        np.testing.assert_array_equal(chip.values, values)
        np.testing.assert_array_equal(chip.label, label)
        np.testing.assert_array_equal(chip.valid, np.isfinite(values).all(axis=0))
    with pytest.raises(ValueError, match="no split 'training'"):
        folder.names("training")


def test_bands_are_read_by_name_in_the_order_asked_for(tmp_path, chips) -> None:
    folder = write_folder(tmp_path / "chips", chips)
    values = chips["chip 0, s"][1]
    read = folder.read("chip 0, s", ["red", "s2:B2", BANDS[1]])
    np.testing.assert_array_equal(read.values, values[[2, 0, 1]])
    with pytest.raises(BandError, match="no band B08; there are s2:B02"):
        folder.read("chip 0, s", ["B08"])


def test_a_chip_is_a_scene(tmp_path, chips) -> None:
    folder = write_folder(tmp_path / "chips", chips)
    with open_scene(folder.path / "images" / "chip 3, s.tif") as scene:
        assert (scene.bands, scene.sensor, scene.level) == (BANDS, "s2", "L2A")
        assert scene.time == WHEN
        assert scene.geobox == grid_at(3, 0)
        window = rasterio.windows.Window(col_off=0, row_off=0, width=SIDE, height=SIDE)
        pixels = scene.read(scene.bands, window)
    np.testing.assert_array_equal(pixels.values, chips["chip 3, s"][1])


def test_labels_are_shown_in_the_colours_of_their_classes(tmp_path, chips) -> None:
    ice = LabelClass(value=2, name="ice", color="#010203", water=False)
    folder = write_folder(tmp_path / "chips", chips, classes=(*LAND_WATER, ice))
    with rasterio.open(folder.path / "labels" / "chip 0, s.tif") as src:
        colors = src.colormap(1)
        assert src.nodata == 255
        assert src.transform == grid_at(0, 0).transform
        assert src.colorinterp[0] == rasterio.enums.ColorInterp.palette
    assert colors[1] == (0x1F, 0x77, 0xB4, 255)
    assert colors[2] == (1, 2, 3, 255)
    assert folder.info.class_list == (*LAND_WATER, ice)


def test_statistics_are_of_the_cores_of_the_training_split(tmp_path, chips) -> None:
    folder = write_folder(tmp_path / "chips", chips)
    cores = [v[:, 2:-2, 2:-2].reshape(3, -1) for s, v, _ in chips.values() if s == "train"]
    pixels = np.concatenate(cores, axis=1).astype(np.float64)
    assert np.isnan(pixels).any()
    assert folder.info.mean == pytest.approx(np.nanmean(pixels, axis=1), rel=1e-12)
    assert folder.info.std == pytest.approx(np.nanstd(pixels, axis=1), rel=1e-12)


@given(
    sizes=st.lists(st.integers(0, 50), min_size=1, max_size=8),
    far=st.sampled_from([0.0, 1.0, 1e4]),
)
@settings(max_examples=30)
def test_statistics_in_parts_are_those_of_the_whole(sizes, far) -> None:
    rng = np.random.default_rng(len(sizes))
    parts = [(far + rng.normal(size=(2, n, 3))).astype(np.float32) for n in sizes]
    statistics = BandStatistics(2)
    for part in parts:
        statistics.add(part, np.ones(part.shape[1:], bool))
    whole = np.concatenate(parts, axis=1).reshape(2, -1).astype(np.float64)
    assert statistics.count == whole.shape[1]
    if whole.size:
        np.testing.assert_allclose(statistics.mean, whole.mean(axis=1), rtol=1e-12)
        np.testing.assert_allclose(statistics.std, whole.std(axis=1), rtol=1e-9)


def test_a_band_that_is_the_same_everywhere_is_told_of(tmp_path, chips, caplog) -> None:
    for _, values, _ in chips.values():
        values[1] = np.where(np.isnan(values[1]), np.nan, 0.3)
    with caplog.at_level(logging.WARNING, logger="geounet"):
        folder = write_folder(tmp_path / "chips", chips)
    assert "s2:B03 is 0.3 in every pixel" in caplog.text
    assert folder.info.std[1] == 1.0
    assert all(std != 1.0 for std in folder.info.std[::2])


def test_without_a_training_split_there_are_no_statistics(tmp_path, chips) -> None:
    held_out = {name: ("test", values, label) for name, (_, values, label) in chips.items()}
    info = write_folder(tmp_path / "chips", held_out).info
    assert (info.mean, info.std) == ((), ())


def test_the_same_chips_give_the_same_bytes_in_any_order(tmp_path, chips) -> None:
    a = write_folder(tmp_path / "a", chips)
    b = write_folder(tmp_path / "b", chips, order=-1)
    files = sorted(p.relative_to(a.path) for p in a.path.rglob("*") if p.is_file())
    assert len(files) == 2 + 2 * len(chips)
    for file in files:
        if file.name != "dataset.json":  # its means are sums in another order
            assert (a.path / file).read_bytes() == (b.path / file).read_bytes(), file
    assert a.info.fingerprint == b.info.fingerprint
    chips["chip 1, s"][2][4, 4] ^= 1
    assert write_folder(tmp_path / "c", chips).info.fingerprint != a.info.fingerprint


def test_the_index_is_read_by_others(tmp_path, chips) -> None:
    folder = write_folder(tmp_path / "chips", chips)
    index = gpd.read_parquet(folder.path / "index.parquet")
    assert list(index.columns) == [
        "chip", "image", "label", "split", "block", "scene", "time", "row", "col", "crs",
        "water", "valid", "coast_m", "geometry",
    ]  # fmt: skip
    assert index.crs == "EPSG:4326"
    assert (index["time"] == WHEN).all()
    for path in [*index["image"], *index["label"]]:
        assert (folder.path / path).is_file()


def test_an_unknown_time_stays_unknown(tmp_path, chips) -> None:
    folder = tmp_path / "chips"
    folder.mkdir()
    writer = ChipWriter(
        folder, bands=BANDS, classes=LAND_WATER, sensor="s2", level=None, context=CONTEXT
    )
    _, values, label = chips["chip 0, s"]
    writer.write(record_of("a", "train", 0, time=None), values, label, grid_at(0, 0))
    writer.finish(size=SIZE, stride=SIZE, res_m=(10, 10), split={"by": "scene"}, sources=[])
    opened = open_chips(folder)
    assert opened.index["time"].isna().all()
    assert opened.index["time"].dtype.kind == "M"
    # Whole scenes were divided: the ground of a split is that of its chips.
    assert opened.blocks("train").geometry.iloc[0].equals(shapely.box(9, 45, 9.1, 45.1))


def test_blocks_are_the_squares_that_chips_are_named_after(tmp_path, chips) -> None:
    folder = write_folder(tmp_path / "chips", chips)
    train, test = folder.blocks("train"), folder.blocks("test")
    assert train.crs == "EPSG:6933"
    assert len(train) == 3
    assert train.area.tolist() == pytest.approx([GRID.side**2] * 3)
    assert train.union_all().intersection(test.union_all()).area == pytest.approx(0, abs=1e-3)


def test_the_summary_counts_ground(tmp_path, chips) -> None:
    summary = write_folder(tmp_path / "chips", chips).summary()
    assert summary.index.tolist() == ["train", "val", "test"]
    assert summary["chips"].tolist() == [3, 1, 1]
    # A tenth of a degree by a tenth, 45.05° north, half of it known.
    one = 0.1 * 111.14 * 0.1 * 111.32 * np.cos(np.radians(45.05)) / 2
    assert summary["area_km2"].tolist() == pytest.approx([3 * one, one, one], rel=3e-3)
    assert summary["water"].tolist() == pytest.approx([0.25] * 3)
    assert summary["coast_km"].tolist() == pytest.approx([4.5, 1.5, 1.5])


def test_what_is_no_chip_folder_says_so(tmp_path, chips) -> None:
    with pytest.raises(ChipsError, match="nowhere is not there"):
        open_chips(tmp_path / "nowhere")
    with pytest.raises(ChipsError, match="no chip folder"):
        open_chips(tmp_path)
    folder = write_folder(tmp_path / "chips", chips)
    mark = folder.path / "dataset.json"
    fields = json.loads(mark.read_text())
    for broken, why in (
        ({**fields, "format": 2}, "format 2; this geounet reads 1"),
        ({**fields, "size": "wide"}, "is damaged"),
        ({"bands": []}, "is damaged"),
        (None, "is damaged"),
    ):
        mark.write_text(json.dumps(broken) if broken else "{")
        with pytest.raises(ChipsError, match=why):
            open_chips(folder.path)
    mark.write_text(json.dumps(fields))
    image = folder.path / "images" / "chip 0, s.tif"
    image.write_bytes(image.read_bytes()[:300])
    with pytest.raises(ChipsError, match=r"Chip chip 0, s .* is missing or damaged"):
        folder.read("chip 0, s")
    (folder.path / "index.parquet").write_bytes(b"PAR1")
    with pytest.raises(ChipsError, match="is damaged"):
        open_chips(folder.path)

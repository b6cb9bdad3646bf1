"""From scenes to chips: what is written, for which split, and what stops it."""

import json
import logging
from pathlib import Path

import geopandas as gpd
import numpy as np
import pytest
import rasterio
import shapely
from affine import Affine
from pyproj import CRS, Transformer
from rasterio.warp import Resampling, calculate_default_transform, reproject
from rasterio.windows import Window
from serving import serving

from geounet.chips import ChipFolder, open_chips
from geounet.errors import AreaError, ChipsError, GeounetError, LabelError, OutputError, SceneError
from geounet.scene import SceneOptions, open_scene
from geounet.tile import LabelSettings, TileSettings, tile_scenes
from geounet.vectors import VectorFile

NAMES = ("B02", "B03", "B04", "B08")
H, W = 300, 280
TRANSFORM = Affine(10, 0, 600_000, 0, -10, 5_100_000)
SCALE = 1e-4
SETTINGS = {
    "size": 32, "stride": 32, "context": 0, "min_valid": 0.5, "val": 0.2, "test": 0.2,
    "seed": 0, "split_by": "block", "block": 1200.0,
}  # fmt: skip
NO_OPTIONS = SceneOptions()


def coast(height: int, width: int) -> np.ndarray:
    """True is water: a sinuous shore with an island."""
    rows, cols = np.mgrid[:height, :width]
    shore = width * (0.5 + 0.2 * np.sin(rows / 37) + 0.05 * np.sin(rows / 9))
    island = np.hypot(rows - height * 0.7, cols - width * 0.8) < height / 12
    return (cols > shore) & ~island


def write_scene(path: Path, water, *, seed=0, names=NAMES, crs="EPSG:32630", transform=TRANSFORM,
                nodata_rows=0, level="L2A", sensor="s2", **tags) -> Path:  # fmt: skip
    height, width = water.shape
    rng = np.random.default_rng(seed)
    dn = rng.integers(500, 900, (len(names), height, width)).astype(np.uint16)
    dn += np.where(water, 0, 1500).astype(np.uint16)
    dn[:, :nodata_rows] = 0
    with rasterio.open(
        path, "w", driver="GTiff", count=len(names), height=height, width=width, dtype="uint16",
        crs=crs, transform=transform, nodata=0, tiled=True, blockxsize=128, blockysize=128,
    ) as dst:  # fmt: skip
        dst.write(dn)
        dst.descriptions = names
        dst.scales = [SCALE] * len(names)
        dst.update_tags(
            **{k: v for k, v in {"sensor": sensor, "level": level, **tags}.items() if v}
        )
        dst.update_tags(ns="IMAGERY", ACQUISITIONDATETIME="2021-06-05T10:56:21+00:00")
    return path


def write_label(path: Path, water, *, crs="EPSG:32630", transform=TRANSFORM, dtype="uint8") -> Path:
    height, width = water.shape
    with rasterio.open(
        path, "w", driver="GTiff", count=1, height=height, width=width, dtype=dtype, crs=crs,
        transform=transform,
    ) as dst:  # fmt: skip
        dst.write(water.astype(dtype), 1)
    return path


def run(
    sources, labels, out, *, options=NO_OPTIONS, overwrite=False, label_settings=None, **changes
):
    sources = sources if isinstance(sources, list) else [sources]
    labels = labels if isinstance(labels, list) else [labels]
    return tile_scenes(
        sources,
        LabelSettings(tuple(str(path) for path in labels), **(label_settings or {})),
        out,
        TileSettings(**{**SETTINGS, **changes}),
        options=options,
        overwrite=overwrite,
    )


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A scene of H × W pixels, the first 20 rows of it nodata, and its labels."""
    folder = tmp_path_factory.mktemp("place")
    water = coast(H, W)
    write_scene(folder / "scene.tif", water, nodata_rows=20)
    write_label(folder / "label.tif", water)
    return folder


def whole(path: Path):
    """The scene read another way: reflectance, validity."""
    with rasterio.open(path) as src:
        dn = src.read()
    return np.where(dn == 0, np.nan, dn * np.float32(SCALE)), (dn > 0).all(axis=0)


def footprints(chips: ChipFolder, split: str, *, context: int):
    """The ground of chips with their context, in metres around the scene, found from the files."""
    there = CRS.from_dict({"proj": "aeqd", "lon_0": -1.7, "lat_0": 46.0, "ellps": "WGS84"})
    shapes = []
    for name in chips.names(split):
        with rasterio.open(chips.path / "images" / f"{name}.tif") as src:
            height, width, transform, crs = src.height, src.width, src.transform, src.crs
        edge = np.linspace(0, height, 9)
        zero, full = np.zeros(9), np.full(9, height)
        cols = np.concatenate([edge, full, height - edge, zero])
        rows = np.concatenate([zero, edge, full, height - edge])
        assert height == width == chips.info.size + 2 * context
        x, y = transform @ (cols, rows)
        xy = Transformer.from_crs(CRS(crs.to_wkt()), there, always_xy=True).transform(x, y)
        shapes.append(shapely.Polygon(np.column_stack(xy)))
    return shapely.union_all(shapes)


@pytest.mark.parametrize("context", [0, 7])
@pytest.mark.parametrize("stride", [32, 20])
def test_chips_hold_what_scene_and_labels_have_there(place, tmp_path, context, stride) -> None:
    chips = run(place / "scene.tif", place / "label.tif", tmp_path / "c", context=context,
                stride=stride, val=0.0, test=0.0)  # fmt: skip
    values, valid = whole(place / "scene.tif")
    label = np.where(valid, coast(H, W), 255)
    far = 50
    values = np.pad(values, ((0, 0), (far, far), (far, far)), mode="reflect")
    for row in chips.index.itertuples():
        chip = chips.read(row.chip)
        side = 32 + 2 * context
        top, left = far + row.row - context, far + row.col - context
        expected = values[:, top : top + side, left : left + side]
        np.testing.assert_allclose(chip.values, expected, rtol=1e-6)
        ring = np.full((side, side), 255)
        core = np.s_[context : context + 32, context : context + 32]
        ring[core] = label[row.row : row.row + 32, row.col : row.col + 32]
        np.testing.assert_array_equal(chip.label, ring)
        known = ring[core] != 255
        assert row.valid == pytest.approx(known.mean())
        assert row.water == pytest.approx((ring[core] == 1).sum() / known.sum())
        with rasterio.open(chips.path / row.image) as src:
            shift = Affine.translation(row.col - context, row.row - context)
            assert src.transform == TRANSFORM @ shift
    assert (chips.index["crs"] == "EPSG:32630").all()
    # The whole scene is covered, but for what is nodata by more than half.
    rows = chips.index["row"].unique()
    assert rows.max() == H - 32
    assert rows.min() == stride


def test_statistics_are_those_of_the_training_chips(place, tmp_path) -> None:
    chips = run(place / "scene.tif", place / "label.tif", tmp_path / "c", context=5)
    pixels = np.concatenate(
        [chips.read(name).values[:, 5:-5, 5:-5].reshape(4, -1) for name in chips.names("train")],
        axis=1,
    ).astype(np.float64)
    assert chips.info.mean == pytest.approx(np.nanmean(pixels, axis=1), rel=1e-12)
    assert chips.info.std == pytest.approx(np.nanstd(pixels, axis=1), rel=1e-12)


def test_a_chip_folder_says_where_it_is_from(place, tmp_path) -> None:
    chips = run(place / "scene.tif", place / "label.tif", tmp_path / "c")
    info = chips.info
    assert [band.id for band in info.band_list] == [f"s2:{name}" for name in NAMES]
    assert (info.sensor, info.level, info.res_m) == ("s2", "L2A", (10.0, 10.0))
    assert (info.size, info.stride, info.context) == (32, 32, 0)
    (source,) = info.sources
    assert (source["scene"], source["file"], source["labels"]) == (
        "scene", "scene.tif", "label.tif",
    )  # fmt: skip
    assert source["scaling"]["scale"] == [SCALE] * 4
    assert str(tmp_path) not in (chips.path / "dataset.json").read_text()
    assert info.split["gap_m"] == 330
    dropped = sum(info.split["dropped"].values())
    assert dropped + len(chips.index) == 10 * 9


def test_a_chip_folder_says_what_its_scenes_are(tmp_path) -> None:
    water = coast(H, W)
    for name in ("B03", "B08"):
        write_scene(tmp_path / f"{name}.tif", water, names=(name,))
    write_label(tmp_path / "SCL.tif", np.full((H, W), 6))
    item = {
        "type": "Feature", "stac_version": "1.0.0", "id": "S2A_30TXR_20210605_0_L2A",
        "geometry": None, "links": [],
        "properties": {
            "datetime": "2021-06-05T10:56:21Z", "platform": "sentinel-2a",
            "grid:code": "MGRS-30TXR",
            "sat:relative_orbit": 94, "s2:processing_baseline": "02.14",
        },
        "assets": {
            name: {"href": f"./{name}.tif", "roles": ["data"], "eo:bands": [{"name": name}]}
            for name in ("B03", "B08", "SCL")
        },
    }  # fmt: skip
    (tmp_path / "item.json").write_text(json.dumps(item))
    labels = write_label(tmp_path / "label.tif", water)
    (source,) = run(tmp_path / "item.json", labels, tmp_path / "c").info.sources
    told = [source[name] for name in ("sensor", "level", "tile", "orbit", "baseline", "quality")]
    assert told == ["s2", "L2A", "30TXR", 94, "02.14", "SCL (SCL.tif)"]


def test_what_a_layer_holds_is_looked_at_while_its_scene_is_open(tmp_path) -> None:
    water = coast(H, W)
    stack = write_scene(tmp_path / "stack.tif", water, names=(*NAMES, "QA60"))  # of noise
    chips = run(stack, write_label(tmp_path / "label.tif", water), tmp_path / "c")
    assert chips.info.sources[0]["quality"] is None


def test_a_signature_gets_into_no_record(place, tmp_path) -> None:
    with serving(place) as server:
        chips = run([f"{server.url}/scene.tif?sig=SECRET/key"], place / "label.tif", tmp_path / "c")
    (source,) = chips.info.sources
    assert source["file"] == "scene.tif"
    assert "SECRET" not in (chips.path / "dataset.json").read_text()


def test_dropped_chips_are_counted(place, tmp_path) -> None:
    strict = run(place / "scene.tif", place / "label.tif", tmp_path / "c", min_valid=1.0,
                 val=0.0, test=0.0)  # fmt: skip
    assert strict.info.split["dropped"]["too little valid"] == 9
    assert strict.index["valid"].min() == 1.0


# Splits


@pytest.mark.parametrize("second", ["another date", "next zone", "degrees"])
@pytest.mark.parametrize("context", [0, 6])
def test_splits_are_the_gap_apart_on_the_ground(place, tmp_path, second, context) -> None:
    water = coast(H, W)
    if second == "another date":
        other = write_scene(tmp_path / "other.tif", water, seed=3)
        write_label(tmp_path / "l.tif", water)
    else:
        crs = "EPSG:32631" if second == "next zone" else "EPSG:4326"
        bounds = rasterio.transform.array_bounds(H, W, TRANSFORM)
        transform, width, height = calculate_default_transform(
                "EPSG:32630", crs, W, H, *bounds,
                resolution=10 if second == "next zone" else (1.295e-4, 8.997e-5),
            )  # fmt: skip
        warped = np.zeros((height, width), np.uint8)
        reproject(
            water.astype(np.uint8), warped, src_transform=TRANSFORM, src_crs="EPSG:32630",
            dst_transform=transform, dst_crs=crs, resampling=Resampling.nearest,
        )  # fmt: skip
        other = write_scene(tmp_path / "other.tif", warped.astype(bool), crs=crs,
                            transform=transform)  # fmt: skip
        write_label(tmp_path / "l.tif", warped, crs=crs, transform=transform)
    chips = run([place / "scene.tif", other], [place / "label.tif", tmp_path / "l.tif"],
                tmp_path / "c", context=context)  # fmt: skip
    assert set(chips.index["scene"]) == {"scene", "other"}
    gap = chips.info.split["gap_m"]
    assert gap >= (33 + 2 * context) * 10
    ground = {s: footprints(chips, s, context=context) for s in ("train", "val", "test")}
    for one, two in (("train", "val"), ("train", "test"), ("val", "test")):
        assert ground[one].distance(ground[two]) >= gap
    # A block has one split, whichever scene sees it.
    assert (chips.index.groupby("block")["split"].nunique() == 1).all()


def test_the_split_does_not_depend_on_the_order_of_the_scenes(place, tmp_path) -> None:
    other = write_scene(tmp_path / "other.tif", coast(H, W)[:, ::-1], seed=3,
                        transform=TRANSFORM @ Affine.translation(150, 130))  # fmt: skip
    labels = [place / "label.tif", write_label(tmp_path / "l.tif", coast(H, W)[:, ::-1],
              transform=TRANSFORM @ Affine.translation(150, 130))]  # fmt: skip
    scenes = [place / "scene.tif", other]
    a = run(scenes, labels, tmp_path / "a")
    b = run(scenes[::-1], labels[::-1], tmp_path / "b")
    assert a.index.equals(b.index)
    assert a.info.fingerprint == b.info.fingerprint


def test_the_same_run_gives_the_same_bytes_and_another_seed_other_splits(place, tmp_path) -> None:
    runs = [run(place / "scene.tif", place / "label.tif", tmp_path / f"c{seed}{i}", seed=seed)
            for i, seed in enumerate([0, 0, 1, 2, 3])]  # fmt: skip
    for file in runs[0].path.rglob("*.*"):
        if file.is_file():
            same = runs[1].path / file.relative_to(runs[0].path)
            assert file.read_bytes() == same.read_bytes()
    assert len({chips.info.fingerprint for chips in runs}) >= 3


def test_every_split_has_land_and_water(place, tmp_path) -> None:
    summary = run(place / "scene.tif", place / "label.tif", tmp_path / "c").summary()
    assert summary.index.tolist() == ["train", "val", "test"]
    assert summary["water"].between(0.05, 0.95).all()
    assert (summary["coast_km"] > 0).all()


def test_a_split_of_one_class_is_told_of(place, tmp_path, caplog) -> None:
    all_water = write_label(tmp_path / "l.tif", np.ones((H, W)))
    with caplog.at_level(logging.WARNING, logger="geounet"):
        run(place / "scene.tif", all_water, tmp_path / "c")
    assert caplog.text.count("has no land") == 3


def test_whole_scenes_are_divided_and_those_that_share_ground_stay_together(tmp_path) -> None:
    water = coast(100, 100)
    sources, labels = [], []
    for i, (col, row) in enumerate([(0, 0), (5000, 0), (0, 5000), (5000, 5000), (5050, 5050)]):
        transform = TRANSFORM @ Affine.translation(col, row)
        sources.append(write_scene(tmp_path / f"s{i}.tif", water, transform=transform))
        labels.append(write_label(tmp_path / f"l{i}.tif", water, transform=transform))
    chips = run(sources, labels, tmp_path / "c", split_by="scene", block=None)
    by_scene = chips.index.groupby("scene")["split"].agg(set)
    assert all(len(splits) == 1 for splits in by_scene)
    assert by_scene["s3"] == by_scene["s4"]
    assert set(chips.index["split"]) == {"train", "val", "test"}
    assert set(chips.index.loc[chips.index["scene"] == "s4", "block"]) == {"s3"}
    assert chips.info.split["block_m"] is None
    assert chips.info.split["dropped"]["in the gap between splits"] == 0
    with pytest.raises(ChipsError, match=r"1 scenes, or groups .* --split-by block"):
        run(sources[3:], labels[3:], tmp_path / "d", split_by="scene")


# Areas of interest, label forms


def test_labels_outside_of_the_area_of_interest_are_unknown(place, tmp_path) -> None:
    line = shapely.LineString([(600_100, 5_099_000), (602_600, 5_097_500)])
    gpd.GeoSeries([line], crs="EPSG:32630").to_crs(4326).to_file(tmp_path / "line.geojson")
    chips = run(place / "scene.tif", place / "label.tif", tmp_path / "c", val=0.0, test=0.0,
                aoi=tmp_path / "line.geojson", aoi_buffer=150.0)  # fmt: skip
    label = np.full((H, W), 255)
    for row in chips.index.itertuples():
        label[row.row : row.row + 32, row.col : row.col + 32] = chips.read(row.chip).label
    rows, cols = np.mgrid[:H, :W] + 0.5
    distance = shapely.distance(shapely.points(*(TRANSFORM @ (cols, rows))), line)
    sure = np.abs(distance - 150) > 1
    expected = np.where(distance < 150, coast(H, W), 255)
    np.testing.assert_array_equal(label[sure], expected[sure])
    dropped = chips.info.split["dropped"]
    assert dropped["outside of the area of interest"] == 10 * 9 - len(chips.index)
    assert dropped["too little valid"] == 0
    assert (chips.info.split["aoi"], chips.info.split["aoi_buffer_m"]) == ("line.geojson", 150)


def test_polygons_of_land_give_the_same_chips_as_the_raster(place, tmp_path) -> None:
    land = (~coast(H, W)).astype(np.uint8)
    shapes = [
        shapely.geometry.shape(geometry)
        for geometry, value in rasterio.features.shapes(land, transform=TRANSFORM)
        if value == 1
    ]
    path = tmp_path / "corrected by hand.gpkg"
    gpd.GeoSeries(shapes, crs="EPSG:32630").to_file(path, layer="land")
    a = run(place / "scene.tif", place / "label.tif", tmp_path / "a")
    b = run(place / "scene.tif", f"{path}|land", tmp_path / "b", label_settings={"water": False})
    assert a.info.fingerprint == b.info.fingerprint


def test_one_file_of_polygons_is_read_once_a_pass_for_each_scene_and_mended_aloud_once(
    tmp_path, monkeypatch, caplog
) -> None:
    water = coast(1100, 300)
    scenes = [
        write_scene(tmp_path / f"s{i}.tif", water, transform=TRANSFORM @ Affine.translation(i, 0))
        for i in (0, 4000)
    ]
    bow = [(590_000, 5e6), (650_000, 5.2e6), (650_000, 5e6), (590_000, 5.2e6)]
    gpd.GeoSeries([shapely.Polygon(bow)], crs="EPSG:32630").to_file(tmp_path / "p.gpkg")
    reads = []
    original = VectorFile.read
    monkeypatch.setattr(VectorFile, "read", lambda *a: reads.append(1) or original(*a))
    with caplog.at_level(logging.WARNING, logger="geounet"):
        run(scenes, tmp_path / "p.gpkg", tmp_path / "c", val=0.0, test=0.0, size=100, stride=100)
    assert len(reads) <= 2 * 3
    assert caplog.text.count("1 of 1 polygons cross themselves") == 2


def test_several_scenes_of_one_name_stay_apart(place, tmp_path) -> None:
    (tmp_path / "later").mkdir()
    water = coast(H, W)
    other = write_scene(tmp_path / "later" / "scene.tif", water, seed=1)
    chips = run([place / "scene.tif", other], place / "label.tif", tmp_path / "c", seed=1)
    assert set(chips.index["scene"]) == {"scene", "scene-2"}
    assert chips.index["chip"].is_unique


def test_bands_in_another_order_are_put_in_order_by_name(place, tmp_path) -> None:
    with rasterio.open(place / "scene.tif") as src:
        dn, profile = src.read(), src.profile
    turned = tmp_path / "turned.tif"
    with rasterio.open(turned, "w", **profile) as dst:
        dst.write(dn[::-1])
        dst.descriptions = NAMES[::-1]
        dst.scales = [SCALE] * 4
        dst.update_tags(sensor="s2", level="L2A")
    chips = run([place / "scene.tif", turned], place / "label.tif", tmp_path / "c", seed=1)
    first = chips.index.loc[chips.index["scene"] == "scene", "chip"].iloc[0]
    second = first.replace("scene_", "turned_")
    np.testing.assert_array_equal(chips.read(first).values, chips.read(second).values)


def test_a_scene_never_has_to_fit_in_memory(tmp_path, monkeypatch) -> None:
    water = coast(1300, 1700)
    scene = write_scene(tmp_path / "s.tif", water)
    label = write_label(tmp_path / "l.tif", water)
    largest = []
    for method in ("read", "read_dn"):
        original = getattr(type(open_scene(scene)), method)

        def spy(self, bands, window: Window, original=original):
            largest.append(window.width * window.height)
            return original(self, bands, window)

        monkeypatch.setattr(type(open_scene(scene)), method, spy)
    run(scene, label, tmp_path / "c", size=200, stride=200, block=None)
    assert max(largest) <= 1400**2


# What stops it


def failing(tmp_path, kind: type[GeounetError], why: str, *arguments, **changes) -> None:
    with pytest.raises(kind, match=why) as caught:
        run(*arguments, tmp_path / "out" / "c", **changes)
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").glob("*")) if (tmp_path / "out").exists() else True


def test_scenes_that_are_not_alike_are_refused_and_it_is_said_how(place, tmp_path) -> None:
    water = coast(H, W)
    first = place / "scene.tif"
    more = write_scene(tmp_path / "more.tif", water, names=(*NAMES[:3], "B8A"))
    level = write_scene(tmp_path / "level.tif", water, level="L1C")
    sensor = write_scene(tmp_path / "sensor.tif", water, sensor="l8", level=None,
                         names=("B2", "B3", "B4", "B5"))  # fmt: skip
    res = write_scene(tmp_path / "res.tif", water, transform=TRANSFORM @ Affine.scale(2))
    for other, why in (
        (more, "bands s2:B8A more; bands s2:B08 less"),
        (level, "level L1C against L2A"),
        (sensor, "sensor l8 against s2.*bands l8:B2"),
        (res, "pixels of 20 × 20 m against 10 × 10 m"),
    ):
        failing(tmp_path, SceneError, why, [first, other], place / "label.tif")


def test_bad_scenes_and_labels_stop_the_run_and_leave_nothing(place, tmp_path) -> None:
    water = coast(H, W)
    scene, label = place / "scene.tif", place / "label.tif"
    empty = write_scene(tmp_path / "empty.tif", water, nodata_rows=H)
    small = write_scene(tmp_path / "small.tif", water[:20])
    strange = write_label(tmp_path / "strange.tif", np.where(water, 4, 0))
    far = write_label(tmp_path / "far.tif", water, transform=TRANSFORM @ Affine.translation(9e3, 0))
    nowhere = gpd.GeoSeries([shapely.box(0, 0, 1, 1)], crs=4326)
    nowhere.to_file(tmp_path / "nowhere.gpkg")
    for kind, why, sources, labels, changes in (
        (SceneError, "empty.tif has no data", empty, label, {}),
        (SceneError, r"20 × 280 pixels.*--size 20", small, label, {}),
        (LabelError, "values that nobody named", scene, strange, {}),
        (LabelError, "do not touch the scene", scene, far, {}),
        (LabelError, "1 scenes and 2 label files", scene, [label, label], {}),
        (AreaError, "does not touch", scene, label, {"aoi": tmp_path / "nowhere.gpkg"}),
        (ChipsError, "no chips for .*--block.*--seed", scene, label, {"block": 100_000.0}),
        (ChipsError, "no chips for .*larger --block", scene, label, {"block": 330.0}),
    ):
        failing(tmp_path, kind, why, sources, labels, **changes)


def test_nothing_valid_enough_is_an_error(place, tmp_path) -> None:
    scene = write_scene(tmp_path / "s.tif", coast(H, W), nodata_rows=H - 30)
    failing(tmp_path, ChipsError, r"None of \d+ chips .* --min-valid", scene, place / "label.tif",
            min_valid=1.0)  # fmt: skip


def test_shares_are_shares() -> None:
    with pytest.raises(ChipsError, match=r"--val 0.7 and --test 0.6"):
        TileSettings(**{**SETTINGS, "val": 0.7, "test": 0.6})
    assert TileSettings(**{**SETTINGS, "val": 0.8, "test": 0.2}).shares == (0, 0.8, 0.2)


def test_what_exists_is_replaced_only_when_asked(place, tmp_path) -> None:
    arguments = (place / "scene.tif", place / "label.tif", tmp_path / "c")
    first = run(*arguments)
    with pytest.raises(OutputError, match="exists already"):
        run(*arguments, seed=1)
    assert run(*arguments, seed=1, overwrite=True).info.fingerprint != first.info.fingerprint


def test_a_scene_of_nine_pixels_can_be_tiled(tmp_path) -> None:
    water = np.eye(3, dtype=bool)
    scene, label = write_scene(tmp_path / "s.tif", water), write_label(tmp_path / "l.tif", water)
    chips = run(scene, label, tmp_path / "c", size=3, stride=3, val=0.0, test=0.0, block=None)
    assert chips.read("s_00000_00000").label.tolist() == water.astype(int).tolist()


def test_scenes_without_labels_give_chips_with_data_whose_labels_are_unknown(
    place, tmp_path, caplog
) -> None:
    """Every place with data enough, whatever the labelled run found there."""
    chips = run(place / "scene.tif", [], tmp_path / "c", min_valid=0.9, val=0.0, test=0.0)
    _, valid = whole(place / "scene.tif")
    starts = [(row, col) for row in [*range(0, 268, 32), 268] for col in [*range(0, 248, 32), 248]]
    shares = {(row, col): valid[row : row + 32, col : col + 32].mean() for row, col in starts}
    wanted = {place: share for place, share in shares.items() if share >= 0.9}
    found = chips.index.set_index(["row", "col"])
    assert 0 < len(wanted) < len(shares)  # the first rows have no data
    assert dict(found["valid"]) == pytest.approx(wanted)
    assert found["water"].isna().all()
    assert (found["coast_m"] == 0).all()
    for name in chips.names("train"):
        assert (chips.read(name).label == 255).all()
    assert not chips.info.labelled
    assert [one["name"] for one in chips.info.classes] == ["land", "water"]
    assert chips.info.sources[0]["labels"] is None
    assert chips.summary()["water"].isna().all()
    assert not caplog.records  # nobody expects both land and water of them
    labelled = run(place / "scene.tif", place / "label.tif", tmp_path / "l")
    assert labelled.info.labelled


def test_chips_without_labels_hold_the_same_bands_and_are_divided_likewise(place, tmp_path) -> None:
    bare = run(place / "scene.tif", [], tmp_path / "bare")
    labelled = run(place / "scene.tif", place / "label.tif", tmp_path / "labelled")
    both = set(bare.index["chip"]) & set(labelled.index["chip"])
    assert len(both) > 10
    for name in both:
        np.testing.assert_array_equal(bare.read(name).values, labelled.read(name).values)
    assert all(bare.names(split) for split in ("train", "val", "test"))
    for split in ("val", "test"):
        ours, theirs = (footprints(bare, one, context=0) for one in (split, "train"))
        assert ours.distance(theirs) > 320  # metres: a chip


def test_what_labels_mean_is_not_said_of_none(place, tmp_path) -> None:
    with pytest.raises(LabelError, match=r"--labels-where.*--labels\."):
        run(place / "scene.tif", [], tmp_path / "c", label_settings={"where": "a = 1"})
    assert not (tmp_path / "c").exists()


def test_a_scene_without_labels_that_lacks_data_is_not_said_to_lack_labels(tmp_path) -> None:
    scene = write_scene(tmp_path / "scene.tif", coast(64, 64), nodata_rows=20)
    with pytest.raises(ChipsError, match=r"None of 1 chips has data in 100% of"):
        run(scene, [], tmp_path / "c", min_valid=1.0, size=64, stride=64)


# Shares of water


def disc_of_water(tmp_path):
    """A disc of water in EPSG:32630 and its file; off-centre, so that nothing falls on a tie."""
    left, top = TRANSFORM @ (0, 0)
    disc = shapely.Point(left + 10 * W * 0.503, top - 10 * H * 0.481).buffer(871.3, quad_segs=200)
    path = tmp_path / "disc.gpkg"
    gpd.GeoDataFrame(geometry=[disc], crs="EPSG:32630").to_file(path)
    return disc, path


def test_shares_are_areas_and_unknown_where_the_label_is(place, tmp_path) -> None:
    disc, path = disc_of_water(tmp_path)
    chips = run(place / "scene.tif", path, tmp_path / "c", context=6, val=0.0, test=0.0,
                label_settings={"shares": True})  # fmt: skip
    assert chips.info.shares
    assert json.loads((chips.path / "dataset.json").read_text())["shares"] is True
    mixed = 0
    for row in chips.index.itertuples():
        label, shares = chips.read(row.chip).label, chips.read_shares(row.chip)
        np.testing.assert_array_equal(np.isnan(shares), label == 255)
        with rasterio.open(chips.path / "shares" / f"{row.chip}.tif") as src:
            assert (src.dtypes, src.nodata, src.scales) == (("uint8",), 255, (1 / 253,))
            transform = src.transform
            coded = src.read(1)
        for at in np.argwhere((coded > 0) & (coded < 253)):
            x, y = transform @ (at[1], at[0])
            area = shapely.box(x, y - 10, x + 10, y).intersection(disc).area / 100
            assert abs(shares[tuple(at)] - area) <= 0.5 / 253 + 1e-5
            # The disc is nearly straight in a pixel: its centre tells, but for near ties.
            if abs(area - 0.5) > 0.01:
                assert label[tuple(at)] == (area > 0.5)
            mixed += 1
        whole = (coded == 0) | (coded == 253)
        np.testing.assert_array_equal(shares[whole] == 1, label[whole] == 1)
    assert mixed > 300


def test_shares_change_nothing_else(place, tmp_path) -> None:
    _, path = disc_of_water(tmp_path)
    without = run(place / "scene.tif", path, tmp_path / "without")
    with_shares = run(place / "scene.tif", path, tmp_path / "with", label_settings={"shares": True})
    assert not (without.path / "shares").exists()
    for file in sorted((without.path / "labels").iterdir()):
        assert file.read_bytes() == (with_shares.path / "labels" / file.name).read_bytes()
    assert without.index.equals(with_shares.index)
    assert without.info.fingerprint != with_shares.info.fingerprint
    name = without.names("train")[0]
    with pytest.raises(ChipsError, match=r"no shares of water. Run tile with --water-shares"):
        without.read_shares(name)
    (with_shares.path / "shares" / f"{name}.tif").unlink()
    with pytest.raises(ChipsError, match=f"The shares of chip {name} .* missing or damaged"):
        with_shares.read_shares(name)


def test_a_folder_from_before_shares_is_read(place, tmp_path) -> None:
    chips = run(place / "scene.tif", place / "label.tif", tmp_path / "c")
    mark = chips.path / "dataset.json"
    fields = json.loads(mark.read_text())
    del fields["shares"]
    mark.write_text(json.dumps(fields))
    assert not open_chips(chips.path).info.shares


def test_shares_need_labels_that_can_tell(place, tmp_path, monkeypatch) -> None:
    with pytest.raises(LabelError, match="needs polygons, or a raster whose pixels"):
        run(
            place / "scene.tif",
            place / "label.tif",
            tmp_path / "a",
            label_settings={"shares": True},
        )
    # Five parts a pixel in the first corner, and at the last one no longer: told before reading.
    fine = write_label(
        tmp_path / "fine.tif",
        coast(5 * H, 5 * W),
        transform=TRANSFORM @ Affine.scale(1.0003 / 5),
    )
    with monkeypatch.context() as patched:
        patched.setattr("geounet.tile.survey_chips", lambda *_, **__: pytest.fail("too late"))
        with pytest.raises(LabelError, match="needs polygons, or a raster whose pixels"):
            run(place / "scene.tif", fine, tmp_path / "c", label_settings={"shares": True})
    fine.unlink()
    with pytest.raises(LabelError, match=r"for land and water alone, and .* has land, water, surf"):
        run(place / "scene.tif", place / "label.tif", tmp_path / "b",
            label_settings={"shares": True, "values": "0=land,1=water,2=surf:water"})  # fmt: skip
    with pytest.raises(LabelError, match="--water-shares says what labels mean"):
        LabelSettings((), shares=True)
    assert list(tmp_path.iterdir()) == []

"""Files are recognised by what is in them, and described as they are."""

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
import rasterio
import torch
from affine import Affine
from matplotlib.image import imread
from odc.geo.geobox import GeoBox

from geounet.baseline import BaselineSettings, baseline_scene
from geounet.config import load_network
from geounet.errors import GeounetError, ModelFileError, OutputError, ResultError, SceneError
from geounet.info import describe_file, footprint
from geounet.model_file import ModelHeader, NetworkRecord, save_model
from geounet.networks import build_network
from geounet.quicklook import draw, write_quicklook
from geounet.scene import SceneOptions
from geounet.tile import LabelSettings, TileSettings, tile_scenes

BANDS = ("B02", "B03", "B04", "B08")


def write_scene(path: Path, *, nodata_rows: int = 0, scaled: bool = True, size: int = 128) -> Path:
    """Land, and water in the right half; DN = 1000 + 10 000 × reflectance."""
    reflectance = np.tile(np.array([0.05, 0.08, 0.1, 0.3])[:, None, None], (1, size, size))
    reflectance[3, :, size // 2 :] = 0.02
    dn = (1000 + 10_000 * reflectance).round().astype(np.uint16)
    dn[:, :nodata_rows] = 0
    with rasterio.open(
        path, "w", driver="GTiff", height=size, width=size, count=4, dtype="uint16",
        crs="EPSG:32630", transform=Affine(10, 0, 5e5, 0, -10, 54e5), nodata=0,
    ) as dst:  # fmt: skip
        dst.write(dn)
        dst.descriptions = BANDS
        dst.update_tags(sensor="s2", level="L2A")
        dst.update_tags(ns="IMAGERY", ACQUISITIONDATETIME="2024-05-06T10:11:12Z")
        if scaled:
            dst.scales, dst.offsets = (0.0001,) * 4, (-0.1,) * 4
    return path


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    settings = load_network("unet-same", {"depth": 1, "base_width": 2})
    torch.manual_seed(0)
    network = build_network(settings, bands=["green", "nir"], classes=2)
    bands = [
        {"name": name, "sensor": "s2", "wavelength_nm": nm, "common_name": common}
        for name, nm, common in (("B03", 559.8, "green"), ("B08", 832.8, "nir"))
    ]
    classes = [
        {"value": 0, "name": "land", "color": "#decba4", "water": False},
        {"value": 1, "name": "water", "color": "#1f77b4", "water": True},
    ]
    header = ModelHeader(
        network=NetworkRecord(name="unet-same", settings=settings), bands=bands, sensor="s2",
        level="L2A", mean=[0.1, 0.2], std=[0.05, 0.1], classes=classes, stride=network.stride,
        halo_exact=96, halo_default=32, halo_error=0.001, res_m=(10, 10),
        training={"epochs": 3}, position_u95_m=12.5, licence="CC-BY-4.0",
    )  # fmt: skip
    path = tmp_path_factory.mktemp("run") / "model.safetensors"
    save_model(path, network, header)
    return path


@pytest.fixture(scope="module")
def chips(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("chips")
    scene = write_scene(folder / "s.tif", size=256, nodata_rows=20)
    label = np.zeros((256, 256), np.uint8)
    label[:, 128:] = 1
    label[:8, 128:160] = 255
    label[:25, 200:220] = 255
    with rasterio.open(
        folder / "label.tif", "w", driver="GTiff", height=256, width=256, count=1,
        dtype="uint8", crs="EPSG:32630", transform=Affine(10, 0, 5e5, 0, -10, 54e5),
    ) as dst:  # fmt: skip
        dst.write(label, 1)
    settings = TileSettings(
        size=32, stride=32, context=0, min_valid=0.1, val=0, test=0, seed=0, split_by="block"
    )
    labels = LabelSettings((str(folder / "label.tif"),), None, None, None, None)
    tile_scenes(
        [scene], labels, folder / "chips", settings, options=SceneOptions(), overwrite=False
    )
    return folder / "chips"


class TestScene:
    def test_facts_come_with_where_they_are_from(self, tmp_path) -> None:
        facts = describe_file(write_scene(tmp_path / "s.tif", nodata_rows=32))
        assert facts["kind"] == "scene"
        assert [band["id"] for band in facts["bands"]] == [f"s2:{name}" for name in BANDS]
        assert [band["wavelength_nm"] for band in facts["bands"]] == [492.4, 559.8, 664.6, 832.8]
        assert facts["level"] == "L2A"
        assert facts["time"] == "2024-05-06T10:11:12+00:00"
        assert facts["shape"] == [128, 128]
        assert facts["res_m"] == [10, 10]
        assert {"sensor", "level", "time", "bands", "scale", "nodata"} <= facts["sources"].keys()
        json.dumps(facts, allow_nan=False)

    def test_shares_and_reflectance_are_sampled(self, tmp_path) -> None:
        facts = describe_file(write_scene(tmp_path / "s.tif", size=512, nodata_rows=256))
        assert facts["valid_share"] == pytest.approx(0.5, abs=0.1)
        nir = facts["reflectance"]["s2:B08"]
        assert nir["p2"] == pytest.approx(0.02, abs=1e-4)
        assert nir["p98"] == pytest.approx(0.3, abs=1e-4)
        assert facts["reflectance"]["s2:B03"]["median"] == pytest.approx(0.08, abs=1e-4)

    def test_a_scale_that_nobody_knows_is_a_problem_and_not_the_end(self, tmp_path) -> None:
        scene = write_scene(tmp_path / "s.tif", scaled=False)
        facts = describe_file(scene)
        assert facts["kind"] == "scene"
        assert facts["reflectance"] is None
        assert "--scale" in facts["problem"]
        assert facts["dn"]["s2:B03"]["median"] == 1800
        helped = describe_file(scene, SceneOptions(scale=0.0001, offset=-1000))
        assert "problem" not in helped
        assert helped["reflectance"]["s2:B03"]["median"] == pytest.approx(0.08, abs=1e-4)

    def test_what_a_look_at_it_finds_is_told_and_not_warned_of(self, tmp_path, caplog) -> None:
        scene = write_scene(tmp_path / "s.tif", scaled=False)
        facts = describe_file(scene, SceneOptions(scale=0.0001))
        (advice,) = facts["advice"]
        assert advice.endswith("--scale 0.0001 --offset -1000")
        assert describe_file(scene, SceneOptions(scale=0.0001, offset=-1000))["advice"] == []
        assert not caplog.records

    def test_clouds_are_told_with_their_source(self, tmp_path) -> None:
        assert describe_file(write_scene(tmp_path / "s.tif"))["clouds"] is None
        folder = tmp_path / "bands"
        folder.mkdir()
        grid = {"crs": "EPSG:32630", "transform": Affine(10, 0, 5e5, 0, -10, 54e5)}
        classes = np.full((90, 120), 4, np.uint8)
        classes[:30, :60], classes[60:] = 9, 0  # cloud, and nothing known
        for name, values in (("B03", np.full((90, 120), 700, np.uint16)), ("SCL", classes)):
            with rasterio.open(
                folder / f"x_{name}.tif", "w", driver="GTiff", height=90, width=120, count=1,
                dtype=values.dtype, **grid,
            ) as dst:  # fmt: skip
                dst.write(values, 1)
        facts = describe_file(folder, SceneOptions(sensor="s2", scale=0.0001))
        assert facts["clouds"]["share"] == pytest.approx(0.25)
        assert facts["clouds"]["known"] == pytest.approx(2 / 3)
        assert "x_SCL.tif" in facts["clouds"]["source"]

    def test_a_scene_without_data_is_described(self, tmp_path) -> None:
        facts = describe_file(write_scene(tmp_path / "s.tif", nodata_rows=128))
        assert facts["valid_share"] == 0
        assert facts["reflectance"] is None

    def test_a_raster_that_is_no_scene_is_told_with_the_reason(self, tmp_path) -> None:
        path = tmp_path / "dem.tif"
        with rasterio.open(
            path, "w", driver="GTiff", height=5, width=7, count=1, dtype="float32",
            crs="EPSG:32630", transform=Affine(10, 0, 5e5, 0, -10, 54e5),
        ) as dst:  # fmt: skip
            dst.write(np.zeros((1, 5, 7), np.float32))
        facts = describe_file(path)
        assert facts["kind"] == "raster"
        assert facts["shape"] == [5, 7]
        assert "--bands" in facts["problem"]


def grid(crs, left, top, *, size=100, res=100.0) -> GeoBox:
    return GeoBox((size, size), Affine(res, 0, left, 0, -res, top), crs)


class TestFootprint:
    def test_corners_go_clockwise_from_the_first_pixel(self) -> None:
        corners, bounds = footprint(grid("EPSG:4326", 10, 50, res=0.01))
        np.testing.assert_allclose(corners, [[10, 50], [11, 50], [11, 49], [10, 49]], atol=1e-6)
        np.testing.assert_allclose(bounds, [10, 49, 11, 50], atol=1e-6)

    def test_it_is_where_proj_puts_it(self) -> None:
        corners, bounds = footprint(grid("EPSG:32630", 500_000, 5_400_000))
        # On the central meridian, 3° west; 10 km east and south of it by another library.
        west_edge = rasterio.warp.transform("EPSG:32630", "EPSG:4326", [510_000], [5_390_000])
        assert corners[0][0] == pytest.approx(-3, abs=1e-6)
        np.testing.assert_allclose(corners[2], np.ravel(west_edge), atol=1e-6)
        assert bounds[0] <= -3 < corners[2][0] <= bounds[2]

    @pytest.mark.parametrize(("crs", "lat"), [("EPSG:32701", -18), ("EPSG:32660", 45)])
    def test_across_the_antimeridian_west_is_the_larger(self, crs, lat) -> None:
        (x,), (y,) = rasterio.warp.transform("EPSG:4326", crs, [180], [lat])
        _, (west, south, east, north) = footprint(grid(crs, x - 50_000, y, res=1000))
        assert 175 < west <= 180
        assert -180 <= east < -175
        assert south < north

    def test_around_a_pole_are_all_longitudes(self) -> None:
        _, (west, south, east, north) = footprint(grid("EPSG:3413", -50_000, 50_000, res=1000))
        assert (west, east, north) == (-180, 180, 90)
        assert 89 < south < 90
        _, bounds = footprint(grid("EPSG:3031", -50_000, 50_000, res=1000))
        assert bounds[1] == -90
        assert bounds[3] < -89

    def test_the_whole_world_is_all_longitudes(self) -> None:
        world = GeoBox((18, 36), Affine(10, 0, -180, 0, -10, 90), "EPSG:4326")
        assert footprint(world)[1] == [-180, -90, 180, 90]


class TestQuicklook:
    def test_it_shows_land_where_nearly_all_is_dark_water(self) -> None:
        rng = np.random.default_rng(1)
        values = rng.integers(1, 5, (3, 200, 200)).astype(np.uint16)
        values[:, 90:110, 90:110] = rng.integers(800, 1300, (3, 20, 20))
        picture = draw(values, np.ones((200, 200), bool))
        land, water = picture[95:105, 95:105, :3].mean(), picture[:50, :50, :3].mean()
        assert land > 150
        assert water < 50

    def test_what_has_no_data_is_transparent_and_stretches_nothing(self) -> None:
        values = np.random.default_rng(2).integers(500, 900, (3, 50, 60)).astype(np.float32)
        valid = np.ones((50, 60), bool)
        valid[:, :20] = False
        expected = draw(values, valid)
        values[:, :, :20] = 1e9
        picture = draw(values, valid)
        assert (picture == expected).all()
        assert (picture[..., 3] == np.where(valid, 255, 0)).all()
        assert draw(values, np.zeros_like(valid)).max() == 0

    @pytest.mark.parametrize("value", [0, 7])
    def test_a_scene_all_of_one_value_is_drawn(self, value) -> None:
        picture = draw(np.full((3, 4, 5), value, np.uint16), np.ones((4, 5), bool))
        assert len(np.unique(picture[..., :3])) == 1

    def test_the_file_is_the_scenes_shape_and_the_same_each_time(self, tmp_path) -> None:
        scene = write_scene(tmp_path / "s.tif", nodata_rows=32)
        for name in ("a.png", "b.png"):
            write_quicklook(scene, tmp_path / name)
        assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()
        picture = imread(tmp_path / "a.png")
        assert picture.shape == (128, 128, 4)
        assert (picture[:32, :, 3] == 0).all()
        assert (picture[32:, :, 3] == 1).all()
        land, water = picture[40:, :60, :3], picture[40:, 70:, :3]
        assert land.mean() >= water.mean()

    def test_nothing_is_replaced_unasked(self, tmp_path) -> None:
        scene, out = write_scene(tmp_path / "s.tif"), tmp_path / "a.png"
        out.write_text("mine")
        with pytest.raises(OutputError, match="--overwrite"):
            write_quicklook(scene, out)
        assert out.read_text() == "mine"
        write_quicklook(scene, out, overwrite=True)
        assert imread(out).shape == (128, 128, 4)
        with pytest.raises(OutputError, match=r"does not end in \.png"):
            write_quicklook(scene, scene, overwrite=True)

    def test_bands_of_several_grids_are_drawn_on_the_finest(self, tmp_path) -> None:
        folder = tmp_path / "bands"
        folder.mkdir()
        for name, size, res, left in (("B02", 60, 10, 0), ("B03", 20, 30, 0), ("B04", 20, 30, 90)):
            with rasterio.open(
                folder / f"x_{name}.tif", "w", driver="GTiff", height=size, width=size, count=1,
                dtype="uint16", crs="EPSG:32630", transform=Affine(res, 0, left, 0, -res, 54e5),
            ) as dst:  # fmt: skip
                dst.write(np.arange(size * size, dtype=np.uint16).reshape(1, size, size) + 1)
        write_quicklook(folder, tmp_path / "a.png", SceneOptions(sensor="s2"))
        picture = imread(tmp_path / "a.png")
        assert picture.shape == (60, 60, 4)
        # The last band begins nine pixels further to the right.
        assert (picture[30, :8, 3] == 0).all()
        assert (picture[30, 10:, 3] == 1).all()


class TestChips:
    def test_splits_bands_and_statistics_are_told(self, chips) -> None:
        facts = describe_file(chips)
        info = json.loads((chips / "dataset.json").read_text())
        images = list((chips / "images").iterdir())
        assert facts["kind"] == "chips"
        assert sum(row["chips"] for row in facts["splits"].values()) == len(images)
        assert facts["mean"] == info["mean"]
        assert [band["name"] for band in facts["bands"]] == list(BANDS)
        json.dumps(facts, allow_nan=False)

    def test_chips_that_lack_data_are_listed_worst_first(self, chips) -> None:
        facts = describe_file(chips)
        expected = {}
        for image in (chips / "images").iterdir():
            with rasterio.open(image) as src:
                valid = np.isfinite(src.read(1))
            with rasterio.open(chips / "labels" / image.name) as src:
                share = float((valid & (src.read(1) != 255)).mean())
            if share < 0.9:
                expected[image.stem] = share
        assert len(set(expected.values())) > 1
        assert facts["lacking_data"] == pytest.approx(expected)
        assert list(facts["lacking_data"].values()) == sorted(facts["lacking_data"].values())

    def test_chips_of_one_class_are_counted(self, chips) -> None:
        facts, labels = describe_file(chips), []
        for path in (chips / "labels").iterdir():
            with rasterio.open(path) as src:
                labels.append(set(np.unique(src.read(1)).tolist()) - {255})
        assert facts["all_land"] == labels.count({0})
        assert facts["all_water"] == labels.count({1})


class TestModel:
    def test_the_header_is_told(self, model) -> None:
        facts = describe_file(model)
        assert facts["kind"] == "model"
        assert facts["network"]["name"] == "unet-same"
        assert facts["halo_default"] == 32
        assert facts["position_u95_m"] == 12.5
        assert facts["bytes"] == model.stat().st_size

    def test_it_is_known_by_its_content_whatever_its_name(self, tmp_path, model) -> None:
        shutil.copy(model, tmp_path / "weights.tif")
        assert describe_file(tmp_path / "weights.tif")["kind"] == "model"

    def test_the_folder_of_a_run_is_its_model(self, model) -> None:
        assert describe_file(model.parent)["kind"] == "model"

    @pytest.mark.parametrize("zipped", [True, False])
    def test_a_pickle_is_refused_unopened(self, tmp_path, zipped) -> None:
        path = tmp_path / "weights.pth"
        if zipped:
            torch.save({"a": torch.zeros(1)}, path)
        else:
            path.write_bytes(pickle.dumps({"a": 1}))
        with pytest.raises(ModelFileError, match="pickle"):
            describe_file(path)

    def test_a_truncated_model_is_one_line(self, tmp_path, model) -> None:
        path = tmp_path / "model.safetensors"
        path.write_bytes(model.read_bytes()[:200])
        with pytest.raises(ModelFileError) as caught:
            describe_file(path)
        assert "\n" not in str(caught.value)

    def test_a_run_that_is_not_finished_says_how_to_go_on(self, tmp_path) -> None:
        (tmp_path / "checkpoints").mkdir()
        (tmp_path / "checkpoints" / "last.ckpt").touch()
        with pytest.raises(GeounetError, match="--resume"):
            describe_file(tmp_path)


class TestItems:
    def test_a_collection_of_items_lists_what_to_give(self, tmp_path) -> None:
        item = {"type": "Feature", "stac_version": "1.0.0", "properties": {}, "assets": {}}
        found = {"type": "FeatureCollection", "features": [{**item, "id": i} for i in ("a", "b")]}
        path = tmp_path / "found.json"
        path.write_text(json.dumps(found))
        assert describe_file(path) == {
            "kind": "items",
            "path": str(path),
            "items": [f"{path}#a", f"{path}#b"],
        }


class TestResult:
    @pytest.fixture
    def record(self, tmp_path) -> Path:
        scene = write_scene(tmp_path / "s.tif", size=32)
        return baseline_scene(scene, tmp_path / "out", BaselineSettings(threshold=0.0))

    def test_the_record_is_told_and_held_against_its_files(self, record) -> None:
        for path in (record, record.parent):
            facts = describe_file(path)
            assert facts["kind"] == "result"
            assert facts["complete"]
            assert facts["disagreeing"] == {}
            assert facts["baseline"]["index"] == "ndwi"

    def test_missing_and_changed_files_are_named(self, record) -> None:
        (record.parent / "s.qgz").unlink()
        (record.parent / "s_mask.qml").write_text("<edited/>")
        facts = describe_file(record)
        assert not facts["complete"]
        assert facts["disagreeing"] == {"s.qgz": "missing", "s_mask.qml": "changed since"}

    def test_several_results_in_a_folder_are_listed(self, record, tmp_path) -> None:
        scene = write_scene(tmp_path / "t.tif", size=32)
        baseline_scene(scene, record.parent, BaselineSettings(threshold=0.0))
        facts = describe_file(record.parent)
        assert facts["kind"] == "results"
        assert [Path(one["path"]).stem for one in facts["results"]] == ["s", "t"]

    @pytest.mark.parametrize("part", ["s_mask.tif", "s.gpkg", "s.qgz", "s_index.tif"])
    def test_a_part_is_told_with_its_record(self, record, part) -> None:
        facts = describe_file(record.parent / part)
        assert facts == {
            "kind": "part",
            "path": str(record.parent / part),
            "record": str(record),
            "command": "baseline",
        }

    def test_a_part_without_its_record_is_told_what_is_missing(self, record) -> None:
        record.unlink()
        facts = describe_file(record.parent / "s_mask.tif")
        assert f"{record} is not there" in facts["problem"]
        with pytest.raises(SceneError, match=r"s\.json is not there") as caught:
            describe_file(record.parent / "s.gpkg")
        assert "\n" not in str(caught.value)

    def test_a_run_that_was_stopped_is_told(self, record) -> None:
        (record.parent / ".t.partial").mkdir()
        facts = describe_file(record.parent)
        assert facts["kind"] == "results"
        assert facts["unfinished"] == ["t"]
        assert [Path(one["path"]).stem for one in facts["results"]] == ["s"]
        (record.parent / ".chips.partial").mkdir()
        with pytest.raises(SceneError, match=r"is not there.*still at work, or was stopped"):
            describe_file(record.parent / "chips")

    @pytest.mark.parametrize(
        "damage",
        [
            {"files": []}, {"files": {"s.qgz": 3}}, {"scene": None}, {"scene": {"name": "s"}},
            {"plan": 1}, {"classes": None}, {"level": "high"},
        ],
    )  # fmt: skip
    def test_a_damaged_record_is_one_line(self, record, damage) -> None:
        record.write_text(json.dumps(json.loads(record.read_text()) | damage))
        with pytest.raises(ResultError, match=f"is damaged: {next(iter(damage))} is not") as caught:
            describe_file(record)
        assert "\n" not in str(caught.value)

    def test_a_record_of_a_newer_format_is_refused(self, record) -> None:
        fields = json.loads(record.read_text()) | {"format": 9}
        record.write_text(json.dumps(fields))
        with pytest.raises(ResultError, match="has format 9"):
            describe_file(record)


class TestNothingOfOurs:
    @pytest.mark.parametrize("content", [b"", b"{}", b"[1, 2]", b"once upon a time", b"\x00" * 100])
    def test_it_is_said_what_could_be_read(self, tmp_path, content) -> None:
        path = tmp_path / "thing"
        path.write_bytes(content)
        with pytest.raises(SceneError, match="is nothing that geounet reads: a scene") as caught:
            describe_file(path)
        assert "\n" not in str(caught.value)

    def test_a_scene_that_is_known_for_one_is_told_by_its_own_error_alone(self, tmp_path) -> None:
        damaged = tmp_path / "thing.zip"
        damaged.write_bytes(b"PK\x03\x04zip")
        manifest = tmp_path / "scene.yaml"
        manifest.write_text("B03: none.tif\nsensor: s2\n")
        (tmp_path / "bands").mkdir()
        (tmp_path / "bands" / "T30TXR_B03.tif").write_bytes(b"no raster")
        for path in (damaged, manifest, tmp_path / "bands"):
            with pytest.raises(GeounetError) as caught:
                describe_file(path)
            assert "nothing that geounet reads" not in str(caught.value)
            assert "As a scene" not in str(caught.value)

    def test_what_is_no_file_is_said_to_be_none(self) -> None:
        with pytest.raises(SceneError, match="/dev/null is neither a file nor a folder"):
            describe_file("/dev/null")
        with pytest.raises(SceneError, match="path is empty"):
            describe_file("")

    def test_a_missing_file_and_an_empty_folder(self, tmp_path) -> None:
        with pytest.raises(SceneError, match="is not there"):
            describe_file(tmp_path / "none")
        with pytest.raises(GeounetError, match="nothing that geounet reads"):
            describe_file(tmp_path)

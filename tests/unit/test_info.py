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

from geounet.baseline import BaselineSettings, baseline_scene
from geounet.config import load_network
from geounet.errors import GeounetError, ModelFileError, ResultError, SceneError
from geounet.info import describe_file
from geounet.model_file import ModelHeader, NetworkRecord, save_model
from geounet.networks import build_network
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
        helped = describe_file(scene, SceneOptions(scale=0.0001, offset=-1000))
        assert "problem" not in helped
        assert helped["reflectance"]["s2:B03"]["median"] == pytest.approx(0.08, abs=1e-4)

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

    def test_a_record_of_a_newer_format_is_refused(self, record) -> None:
        fields = json.loads(record.read_text()) | {"format": 9}
        record.write_text(json.dumps(fields))
        with pytest.raises(ResultError, match="has format 9"):
            describe_file(record)


class TestNothingOfOurs:
    @pytest.mark.parametrize(
        "content", [b"", b"{}", b"[1, 2]", b"once upon a time", b"\x00" * 100, b"PK\x03\x04zip"]
    )
    def test_it_is_said_what_could_be_read(self, tmp_path, content) -> None:
        path = tmp_path / "thing"
        path.write_bytes(content)
        with pytest.raises(SceneError, match="is nothing that geounet reads: a scene") as caught:
            describe_file(path)
        assert "\n" not in str(caught.value)

    def test_a_missing_file_and_an_empty_folder(self, tmp_path) -> None:
        with pytest.raises(SceneError, match="is not there"):
            describe_file(tmp_path / "none")
        with pytest.raises(GeounetError, match="nothing that geounet reads"):
            describe_file(tmp_path)

"""Predicting scenes: against a network whose answer is known at every pixel."""

import json
import resource
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import geopandas
import numpy as np
import pytest
import rasterio
import shapely
import torch
from numpy.typing import NDArray
from predicting import (
    DARK,
    L2A,
    TRANSFORM,
    dark_probability,
    normalise_like_trained,
    water_is_dark,
    wavy_dn,
    write_model,
    write_scene,
)

from geounet.bands import SENSORS
from geounet.classes import LAND, WATER, LabelClass
from geounet.engine import Engine
from geounet.errors import (
    BandError,
    ConfigError,
    GeounetError,
    OutputError,
    SceneError,
)
from geounet.outputs import sha256_of
from geounet.predict import PredictSettings, predict_scene, predict_scenes
from geounet.predict.running import BEGUN
from geounet.scene import Scene, SceneOptions

NIR = L2A.index("B08")
FULL = {"precision": "fp32", "probability": "float32"}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that says sigmoid(−4 z) of the near infrared."""
    path = tmp_path_factory.mktemp("model") / "dark.safetensors"
    return write_model(path, overrides=DARK, prepare=water_is_dark(NIR))


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """170 × 230 pixels; a corner, and one band of another place, have no data."""
    dn = wavy_dn(170, 230)
    dn[:, :60, :70] = 0
    dn[3, 100:110, 150:170] = 0
    return write_scene(tmp_path / "scene.tif", dn)


def read(path: Path) -> NDArray[Any]:
    with rasterio.open(path) as src:
        return src.read(1)


def expected_probability(scene: Path, band: int = NIR) -> NDArray[np.float32]:
    with rasterio.open(scene) as src:
        dn = src.read()
    return np.where((dn != 0).all(axis=0), dark_probability(dn, band), np.nan)


def nothing_is_left_in(folder: Path) -> bool:
    threads = [t.name for t in threading.enumerate() if t.name.startswith(("read", "write"))]
    return not threads and not (folder.exists() and any(folder.iterdir()))


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"window": 64},
        {"window": 64, "batch": 3},
        {"window": 34, "halo": 20},
        {"window": 2048, "halo": "exact"},
    ],
)
def test_every_pixel_has_its_own_probability_and_nodata_is_where_it_was(
    scene, model, tmp_path, how
):
    predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL, **how))
    expected = expected_probability(scene)
    probability = read(tmp_path / "out/scene_probability.tif")
    np.testing.assert_allclose(probability, expected, atol=1e-6)
    mask = read(tmp_path / "out/scene_mask.tif")
    np.testing.assert_array_equal(
        mask, np.where(np.isnan(expected), 255, expected >= 0.5).astype(np.uint8)
    )


def test_probability_is_written_in_steps_of_a_253rd(scene, model, tmp_path):
    predict_scene(scene, model, tmp_path / "out", PredictSettings(precision="fp32"))
    expected = expected_probability(scene)
    steps = read(tmp_path / "out/scene_probability.tif")
    assert steps.dtype == np.uint8
    np.testing.assert_array_equal(steps == 255, np.isnan(expected))
    known = steps != 255
    assert np.abs(steps[known] / 253 - expected[known]).max() <= 0.5 / 253 + 1e-6


def test_the_threshold_moves_mask_and_line(scene, model, tmp_path):
    settings = PredictSettings(**FULL, threshold=0.8)
    record = json.loads(predict_scene(scene, model, tmp_path / "out", settings).read_text())
    expected = expected_probability(scene)
    mask = read(tmp_path / "out/scene_mask.tif")
    np.testing.assert_array_equal(mask == 1, expected >= 0.8)
    assert record["level"] == 0.8
    line = geopandas.read_file(tmp_path / "out/scene.gpkg", layer="coastline")
    assert (line["level"] == 0.8).all()
    assert (line["model"] == f"dark.safetensors {sha256_of(model)[:12]}").all()


def test_bands_go_by_name_not_by_place(model, tmp_path):
    dn = wavy_dn(40, 50)
    order = np.random.default_rng(1).permutation(12)
    shuffled = write_scene(tmp_path / "a.tif", dn[order], names=[L2A[i] for i in order])
    predict_scene(shuffled, model, tmp_path / "out", PredictSettings(**FULL))
    np.testing.assert_allclose(
        read(tmp_path / "out/a_probability.tif"), dark_probability(dn, NIR), atol=1e-6
    )


def test_a_missing_band_is_named_with_those_that_are_there(model, tmp_path):
    scene = write_scene(tmp_path / "a.tif", wavy_dn(40, 50)[:4], names=L2A[:4])
    with pytest.raises(BandError, match=r"(?s)B08.*it has.*B02"):
        predict_scene(scene, model, tmp_path / "out")
    assert nothing_is_left_in(tmp_path / "out")


def test_float_reflectance_needs_no_scale(model, tmp_path):
    dn = wavy_dn(40, 50)
    reflectance = ((dn - 1000.0) * 1e-4).astype(np.float32)
    reflectance[5, :7, :9] = np.nan
    scene = write_scene(tmp_path / "a.tif", reflectance, nodata=np.nan)
    predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL))
    expected = dark_probability(dn, NIR)
    expected[:7, :9] = np.nan
    np.testing.assert_allclose(read(tmp_path / "out/a_probability.tif"), expected, atol=1e-5)


@pytest.mark.parametrize("shape", [(3, 3), (1, 1), (1, 40), (33, 2)])
def test_a_scene_smaller_than_its_halo_is_predicted(tmp_path, shape):
    model = write_model(tmp_path / "m.safetensors", overrides={"depth": 2, "base_width": 2})
    scene = write_scene(tmp_path / "small.tif", wavy_dn(*shape))
    predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL))
    probability = read(tmp_path / "out/small_probability.tif")
    assert probability.shape == shape
    assert np.isfinite(probability).all()


THREE = (
    LAND,
    WATER,
    LabelClass(value=2, name="surf", color="#ffffff", water=True),
)


def test_of_three_classes_the_mask_has_the_most_probable_and_p_is_all_water(tmp_path, monkeypatch):
    probs = np.random.default_rng(5).dirichlet([1, 1, 1], (40, 50)).astype(np.float32)
    model = write_model(
        tmp_path / "m.safetensors", overrides={"depth": 1, "base_width": 2}, classes=THREE
    )

    def known(_: Engine, dn: NDArray[Any], *__: Any) -> NDArray[np.float32]:
        rows, cols = (dn[0, 0] - 1000) // 100, (dn[0, 0] - 1000) % 100  # where a pixel is from
        return probs[rows, cols].transpose(2, 0, 1)[None]

    monkeypatch.setattr(Engine, "bytes_per_pixel", lambda *_: 100)
    monkeypatch.setattr(Engine, "probabilities", known)
    rows, cols = np.mgrid[:40, :50]
    dn = np.broadcast_to(1000 + rows * 100 + cols, (12, 40, 50)).astype(np.uint16)
    scene = write_scene(tmp_path / "a.tif", dn)
    predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL, window=16))
    np.testing.assert_array_equal(read(tmp_path / "out/a_mask.tif"), probs.argmax(axis=-1))
    np.testing.assert_allclose(
        read(tmp_path / "out/a_probability.tif"), probs[..., 1:].sum(axis=-1), atol=1e-6
    )


def test_values_beyond_all_measure_are_an_error_and_not_nodata(model, tmp_path):
    reflectance = ((wavy_dn(40, 50) - 1000.0) * 1e-4).astype(np.float32)
    reflectance[:, 3, 4] = -3.4e38  # nodata that nobody declared
    scene = write_scene(tmp_path / "a.tif", reflectance, nodata=None)
    with pytest.raises(SceneError, match=r"rows 0–40, columns 0–50.*--nodata"):
        predict_scene(scene, model, tmp_path / "out")
    assert nothing_is_left_in(tmp_path / "out")


@contextmanager
def windows_read(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The windows that `Scene.read_dn` was asked for."""
    asked: list[Any] = []
    plain = Scene.read_dn

    def listed(self: Scene, bands: Any, window: Any) -> Any:
        if len(bands) == 12:  # not the quicklook's three
            asked.append(window)
        return plain(self, bands, window)

    with monkeypatch.context() as patch:
        patch.setattr(Scene, "read_dn", listed)
        yield asked


def test_every_pixel_is_read_once_and_windows_without_data_are_not_run(
    scene, model, tmp_path, monkeypatch
):
    # The corner without data is 60 × 70: with cores of 20, 3 × 3 of 9 × 12 hold nothing.
    with windows_read(monkeypatch) as asked:
        record = json.loads(
            predict_scene(
                scene, model, tmp_path / "out", PredictSettings(**FULL, window=20)
            ).read_text()
        )
    assert record["windows"] == {"planned": 108, "run": 99}
    times_read = np.zeros((170, 230), int)
    for window in asked:
        times_read[window.toslices()] += 1
    assert (times_read == 1).all()


def test_a_window_is_cut_down_to_its_data(model, tmp_path, monkeypatch):
    predicted = []
    plain = Engine.probabilities

    def noted(self: Engine, dn: NDArray[Any], *rest: Any) -> NDArray[np.float32]:
        predicted.append(dn.shape)
        return plain(self, dn, *rest)

    monkeypatch.setattr(Engine, "probabilities", noted)
    dn = wavy_dn(170, 230)
    dn[:, :100], dn[:, :, 31:] = 0, 0
    little = write_scene(tmp_path / "little.tif", dn)
    predict_scene(little, model, tmp_path / "out", PredictSettings(**FULL, window=1024))
    halo = 8  # of a network of depth 1
    assert predicted == [(1, 12, 70 + 2 * halo, 32 + 2 * halo)]
    np.testing.assert_allclose(
        read(tmp_path / "out/little_probability.tif"), expected_probability(little), atol=1e-6
    )


def run_out_of_memory(monkeypatch: pytest.MonkeyPatch, error: Exception, above: int) -> list[int]:
    """Let the engine find no memory for windows of more than so many pixels; return what it did."""
    predicted = []
    plain = Engine.probabilities

    def limited(self: Engine, dn: NDArray[Any], *rest: Any) -> NDArray[np.float32]:
        pixels = dn[:, 0].size
        if pixels > above:
            raise error
        predicted.append(pixels)
        return plain(self, dn, *rest)

    monkeypatch.setattr(Engine, "probabilities", limited)
    return predicted


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 3 GiB"),
        torch.OutOfMemoryError("CUDA out of memory."),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_too_little_memory_makes_windows_smaller_which_is_told_once(
    model, tmp_path, monkeypatch, caplog, error
):
    scenes = [
        write_scene(tmp_path / f"{name}.tif", wavy_dn(256, 256, seed=seed))
        for seed, name in enumerate("ab")
    ]
    run_out_of_memory(monkeypatch, error, above=2 * 80**2)
    settings = PredictSettings(**FULL, batch=4, window=64)
    records = list(predict_scenes(scenes, model, tmp_path / "out", settings))
    plans = [json.loads(record.read_text())["plan"] for record in records]
    assert [(plan["batch"], plan["window"]) for plan in plans] == [(2, 64)] * 2
    assert caplog.text.count("found too little memory") == 1
    assert any("--batch 2" in note for note in json.loads(records[0].read_text())["notes"])
    for path in scenes:
        np.testing.assert_allclose(
            read(tmp_path / f"out/{path.stem}_probability.tif"),
            expected_probability(path),
            atol=1e-6,
        )


def test_a_result_of_smaller_windows_than_asked_for_is_left_when_asked_for_again(
    scene, model, tmp_path, monkeypatch
):
    settings = PredictSettings(**FULL, batch=4, window=64)
    with monkeypatch.context() as patch:
        run_out_of_memory(patch, MemoryError(), above=2 * 80**2)
        (record,) = predict_scenes([scene], model, tmp_path / "out", settings)
    made = record.read_bytes()
    assert json.loads(made)["instead_of"] == {"batch": 4}
    (again,) = predict_scenes([scene], model, tmp_path / "out", settings, skip_existing=True)
    assert again.read_bytes() == made
    other = replace(settings, batch=1)
    with pytest.raises(OutputError, match="batch 4 there, 1 here"):
        list(predict_scenes([scene], model, tmp_path / "out", other, skip_existing=True))


def test_answers_that_come_later_come_to_their_windows(scene, model, tmp_path, monkeypatch):
    # As on a GPU, where the next windows are begun before the answer of the last is waited for.
    begun, waited = [], []
    plain = Engine.submit

    def later(self: Engine, dn: NDArray[Any], *rest: Any) -> Any:
        number, answer = len(begun), plain(self, dn, *rest)
        begun.append(number)

        def wait() -> NDArray[np.float32]:
            waited.append((number, len(begun)))
            return answer()

        return wait

    monkeypatch.setattr(Engine, "submit", later)
    monkeypatch.setitem(BEGUN, "cpu", 1)
    predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL, window=64))
    np.testing.assert_allclose(
        read(tmp_path / "out/scene_probability.tif"), expected_probability(scene), atol=1e-6
    )
    assert [number for number, _ in waited] == list(range(len(begun)))
    assert all(there == min(number + 2, len(begun)) for number, there in waited)


def test_windows_become_smaller_until_they_fit(scene, model, tmp_path, monkeypatch):
    sizes = run_out_of_memory(monkeypatch, MemoryError(), above=100**2)
    record = predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL, window=230))
    assert json.loads(record.read_text())["plan"]["window"] == 64
    assert max(sizes) <= 100**2
    again = PredictSettings(**FULL, window=64)
    predict_scene(scene, model, tmp_path / "again", again)
    for name in ("scene_probability.tif", "scene.gpkg", "scene_mask.tif"):
        assert sha256_of(tmp_path / "out" / name) == sha256_of(tmp_path / "again" / name)


def test_where_not_even_small_windows_fit_one_line_says_what_to_lower(
    scene, model, tmp_path, monkeypatch
):
    run_out_of_memory(monkeypatch, MemoryError(), above=10)
    with pytest.raises(ConfigError, match=r"take more memory than there is for cpu.*--window"):
        predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL, window=64))
    assert nothing_is_left_in(tmp_path / "out")


def test_another_runtime_error_is_not_taken_for_too_little_memory(
    scene, model, tmp_path, monkeypatch
):
    run_out_of_memory(monkeypatch, RuntimeError("a bug"), above=10)
    with pytest.raises(RuntimeError, match="a bug"):
        predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL, window=64))
    assert nothing_is_left_in(tmp_path / "out")


def test_where_the_time_went_is_in_the_record(scene, model, tmp_path):
    record = json.loads(
        predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL)).read_text()
    )
    times = record["timings"]
    for phase in ("reading", "network", "writing", "vectors"):
        assert 0 < times[phase] < times["total"]
    assert times["idle"] >= 0
    assert times["windows"] + times["products"] <= times["total"]
    assert 0 < times["network_share"] <= 1


def test_outside_the_area_of_interest_is_nodata_and_not_even_read(
    scene, model, tmp_path, monkeypatch
):
    left, top = TRANSFORM @ (100, 20)
    right, bottom = TRANSFORM @ (148, 71)
    area = geopandas.GeoSeries([shapely.box(left, bottom, right, top)], crs="EPSG:32630")
    area.to_file(tmp_path / "aoi.gpkg")
    settings = PredictSettings(**FULL, window=20, aoi=tmp_path / "aoi.gpkg")
    with windows_read(monkeypatch) as asked:
        record = json.loads(predict_scene(scene, model, tmp_path / "out", settings).read_text())
    inside = np.zeros((170, 230), np.bool_)
    inside[20:71, 100:148] = True
    expected = np.where(inside, expected_probability(scene), np.nan)
    np.testing.assert_allclose(read(tmp_path / "out/scene_probability.tif"), expected, atol=1e-6)
    assert len(asked) == record["windows"]["run"] == 9
    assert record["settings"]["aoi"] == str(tmp_path / "aoi.gpkg")


def test_a_line_with_a_buffer_is_an_area_of_interest(scene, model, tmp_path):
    along = shapely.LineString([TRANSFORM @ (0.5, 90.5), TRANSFORM @ (229.5, 90.5)])
    geopandas.GeoSeries([along], crs="EPSG:32630").to_file(tmp_path / "line.gpkg")
    settings = PredictSettings(**FULL, aoi=tmp_path / "line.gpkg", aoi_buffer=100.0)
    predict_scene(scene, model, tmp_path / "out", settings)
    rows = np.flatnonzero((read(tmp_path / "out/scene_mask.tif") != 255).any(axis=1))
    assert (rows.min(), rows.max()) in {(80, 100), (81, 99)}  # the outermost lie on the edge


def test_a_scene_without_data_is_an_error_and_leaves_nothing(model, tmp_path):
    scene = write_scene(tmp_path / "a.tif", np.zeros((12, 40, 50), np.uint16))
    with pytest.raises(SceneError, match=r"a\.tif has no valid pixel"):
        predict_scene(scene, model, tmp_path / "out")
    assert nothing_is_left_in(tmp_path / "out")


def test_an_area_of_interest_without_data_says_so(scene, model, tmp_path):
    corner = shapely.box(*(TRANSFORM @ (2, 40)), *(TRANSFORM @ (50, 3)))
    geopandas.GeoSeries([corner], crs="EPSG:32630").to_file(tmp_path / "aoi.gpkg")
    with pytest.raises(SceneError, match=r"no valid pixel inside .*aoi\.gpkg"):
        predict_scene(scene, model, tmp_path / "out", PredictSettings(aoi=tmp_path / "aoi.gpkg"))


def notes_of(scene: Path, model: Path, out: Path, **settings: Any) -> list[str]:
    path = predict_scene(scene, model, out, PredictSettings(precision="fp32", **settings))
    notes = json.loads(path.read_text())["notes"]
    return [note for note in notes if "where clouds are" not in note]  # true of all scenes here


def test_another_level_stops_the_run_unless_it_is_accepted(model, tmp_path):
    scene = write_scene(tmp_path / "a.tif", wavy_dn(40, 50), level="L1C")
    with pytest.raises(SceneError, match=r"L1C \(top of atmosphere\).*--accept-level"):
        predict_scene(scene, model, tmp_path / "out")
    assert nothing_is_left_in(tmp_path / "out")
    (note,) = notes_of(scene, model, tmp_path / "out", accept_level=True)
    assert "L1C (top of atmosphere) is accepted for L2A (surface)" in note


def test_a_level_that_nobody_knows_is_noted(model, tmp_path):
    scene = write_scene(tmp_path / "a.tif", wavy_dn(40, 50), level=None)
    (note,) = notes_of(scene, model, tmp_path / "out")
    assert "level is not known" in note
    assert "--level L2A" in note


def test_another_sensor_stops_the_run_unless_it_is_accepted(tmp_path):
    oli = {band.common_name: band for band in SENSORS["l8"]}
    common = ("green", "red", "nir")
    model = write_model(
        tmp_path / "m.safetensors",
        names=("B03", "B04", "B08"),
        overrides=DARK,
        prepare=water_is_dark(2),
    )
    dn = wavy_dn(40, 50)[:3]
    names = [oli[name].name for name in common]
    scene = write_scene(tmp_path / "a.tif", dn, names=names, sensor="l8", level="L2")
    with pytest.raises(BandError, match="--accept-sensor"):
        predict_scene(scene, model, tmp_path / "out")
    settings = PredictSettings(**FULL, accept_sensor=True)
    record = json.loads(predict_scene(scene, model, tmp_path / "out", settings).read_text())
    assert any("l8:B5 for s2:B08 (nir)" in note for note in record["notes"])
    assert record["bands"] == ["l8:B3", "l8:B4", "l8:B5"]
    assert record["model"]["bands"] == ["s2:B03", "s2:B04", "s2:B08"]
    np.testing.assert_allclose(
        read(tmp_path / "out/a_probability.tif"), dark_probability(dn, 2), atol=1e-6
    )


@pytest.mark.parametrize(("res", "noted"), [(10.5, False), (20, True), (6, True)])
def test_pixels_of_another_size_are_noted(model, tmp_path, res, noted):
    transform = rasterio.Affine(res, 0, 600_000, 0, -res, 5_100_000)
    scene = write_scene(tmp_path / "a.tif", wavy_dn(40, 50), transform=transform)
    notes = notes_of(scene, model, tmp_path / "out")
    assert [f"pixels are {res:g} m, the model's 10 m" in note for note in notes] == [True] * noted


def test_reflectance_unlike_the_training_data_is_noted(model, tmp_path):
    scene = write_scene(tmp_path / "a.tif", wavy_dn(40, 50))
    path = predict_scene(
        scene, model, tmp_path / "out", options=SceneOptions(scale=0.001, offset=0.0)
    )
    far, *_ = [note for note in json.loads(path.read_text())["notes"] if "far from" in note]
    assert all(f"{name} " in far for name in L2A)
    assert far.endswith("check --scale and --offset")


def test_options_are_not_blamed_where_none_were_given(model, tmp_path):
    dn = np.minimum(wavy_dn(40, 50).astype(np.uint32) * 20, 60_000).astype(np.uint16)
    notes = notes_of(write_scene(tmp_path / "a.tif", dn), model, tmp_path / "out")
    (far,) = [note for note in notes if "far from" in note]
    assert "--scale" not in far
    assert "GDAL metadata" in far


def test_a_scene_without_water_is_said_to_have_no_line(model, tmp_path, caplog):
    bright = np.full((12, 40, 50), 4000, np.uint16)
    notes = notes_of(write_scene(tmp_path / "a.tif", bright), model, tmp_path / "out")
    assert "no water found, so no coastline is drawn" in notes
    assert "no water found" in caplog.text
    dark = np.full((12, 40, 50), 1100, np.uint16)
    notes = notes_of(write_scene(tmp_path / "b.tif", dark), model, tmp_path / "out")
    assert "no land found beside water, so no coastline is drawn" in notes


def test_what_is_warned_of_when_a_scene_is_opened_is_in_the_record(model, tmp_path):
    dn = wavy_dn(60, 80)
    dn[:, :, :20] = 0
    scene = write_scene(tmp_path / "a.tif", dn, nodata=None)
    path = predict_scene(scene, model, tmp_path / "out", options=SceneOptions(level="L1C"),
                         settings=PredictSettings(accept_level=True))  # fmt: skip
    notes = json.loads(path.read_text())["notes"]
    assert any("Give --nodata 0" in note for note in notes)
    assert any("level L1C is taken, although" in note for note in notes)
    assert len(notes) == len(set(notes))
    assert not any(str(scene) in note for note in notes)


def test_a_damaged_band_that_only_the_picture_needs_does_not_stop_the_run(tmp_path):
    model = write_model(
        tmp_path / "m.safetensors", names=("B08",), overrides=DARK, prepare=water_is_dark()
    )
    scene = tmp_path / "scene"
    scene.mkdir()
    for i, name in enumerate(("B03", "B04", "B08")):
        dn = wavy_dn(300, 300)[i : i + 1]
        write_scene(scene / f"{name}.tif", dn, names=[name], compress="deflate")
    damaged = scene / "B04.tif"
    with damaged.open("r+b") as file:
        file.seek(damaged.stat().st_size // 2)
        file.write(b"\xff" * 4000)
    predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL))
    (record,) = (tmp_path / "out").glob("*.json")
    notes = json.loads(record.read_text())["notes"]
    assert any("its picture is of s2:B08: " in note and "B04.tif" in note for note in notes)
    with rasterio.open(record.with_name(f"{record.stem}_rgb.tif")) as src:
        assert src.descriptions == ("B08", "B08", "B08")
        assert (src.read(1) > 0).all()


def test_the_plan_says_what_runs_the_network(scene, model, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", lambda forward: forward)
    for backend, ran in (("auto", "eager"), ("eager", "eager"), ("compile", "compile")):
        settings = PredictSettings(backend=backend, overwrite=True)
        record = json.loads(predict_scene(scene, model, tmp_path / "out", settings).read_text())
        assert record["plan"]["backend"] == ran
        assert record["settings"]["backend"] == backend


def test_what_exists_is_kept_unless_overwriting_is_asked_for(scene, model, tmp_path):
    record = predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL))
    before = record.read_bytes()
    with pytest.raises(OutputError, match="--overwrite"):
        predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL, threshold=0.3))
    assert record.read_bytes() == before
    predict_scene(
        scene, model, tmp_path / "out", PredictSettings(**FULL, threshold=0.3, overwrite=True)
    )
    assert json.loads(record.read_text())["level"] == 0.3


def test_the_same_twice_gives_the_same_bytes(scene, tmp_path):
    model = write_model(
        tmp_path / "m.safetensors",
        overrides={"depth": 2, "base_width": 4},
        prepare=normalise_like_trained,
    )
    for precision in ("fp32", "bf16"):
        files = []
        for out in ("one", "two"):
            folder = tmp_path / precision / out
            predict_scene(scene, model, folder, PredictSettings(window=64, precision=precision))
            files.append({p.name: p.read_bytes() for p in folder.iterdir() if p.suffix != ".json"})
        assert files[0].keys() == files[1].keys()
        assert [name for name in files[0] if files[0][name] != files[1][name]] == []


def test_what_bf16_costs_is_in_the_record(scene, tmp_path):
    model = write_model(
        tmp_path / "m.safetensors",
        overrides={"depth": 2, "base_width": 4},
        prepare=normalise_like_trained,
    )
    both = {}
    for precision in ("fp32", "bf16"):
        settings = PredictSettings(probability="float32", precision=precision)
        path = predict_scene(scene, model, tmp_path / precision, settings)
        both[precision] = (
            json.loads(path.read_text()),
            read(tmp_path / precision / "scene_probability.tif"),
        )
    assert "precision_error" not in both["fp32"][0]
    stated = both["bf16"][0]["precision_error"]["largest_difference"]
    # Stated for the middle of a window, which here is nearly the scene.
    assert stated == pytest.approx(np.nanmax(np.abs(both["bf16"][1] - both["fp32"][1])), rel=0.5)
    assert both["bf16"][0]["plan"]["precision"] == "bf16"


def test_a_bad_scene_does_not_keep_the_others_from_being_done(scene, model, tmp_path):
    empty = write_scene(tmp_path / "empty.tif", np.zeros((12, 40, 50), np.uint16))
    last = write_scene(tmp_path / "last.tif", wavy_dn(30, 30))
    missing = tmp_path / "missing.tif"
    done: list[Path] = []
    with pytest.raises(GeounetError, match="2 of 4 scenes failed") as failed:
        done.extend(predict_scenes([scene, empty, missing, last], model, tmp_path / "out"))
    assert done == [tmp_path / "out/scene.json", tmp_path / "out/last.json"]
    assert "empty.tif has no valid pixel" in str(failed.value)
    assert "missing.tif" in str(failed.value)
    assert sorted(p.stem for p in (tmp_path / "out").glob("*.json")) == ["last", "scene", "summary"]


def test_scenes_of_one_name_are_refused_before_anything_is_done(scene, model, tmp_path):
    (tmp_path / "other").mkdir()
    twin = write_scene(tmp_path / "other/scene.tif", wavy_dn(30, 30))
    with pytest.raises(OutputError, match=r"2 scenes are called scene.*--out"):
        list(predict_scenes([scene, twin], model, tmp_path / "out"))
    assert nothing_is_left_in(tmp_path / "out")


def test_a_truncated_scene_is_an_error_and_leaves_nothing(model, tmp_path):
    scene = write_scene(
        tmp_path / "a.tif", wavy_dn(300, 300), tiled=True, blockxsize=64, blockysize=64,
        compress="deflate",
    )  # fmt: skip
    with scene.open("r+b") as file:
        file.truncate(scene.stat().st_size * 2 // 3)
    with pytest.raises(SceneError, match=r"a\.tif"):
        predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL, window=64))
    assert nothing_is_left_in(tmp_path / "out")


def test_an_error_while_reading_ends_the_run(scene, model, tmp_path, monkeypatch):
    plain = Scene.read_dn

    def failing(self: Scene, bands: Any, window: Any) -> Any:
        if window.row_off > 60:
            raise SceneError("the cable was pulled")
        return plain(self, bands, window)

    monkeypatch.setattr(Scene, "read_dn", failing)
    with pytest.raises(SceneError, match="the cable was pulled"):
        predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL, window=20))
    assert nothing_is_left_in(tmp_path / "out")


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_error_of_the_network_leaves_nothing(scene, model, tmp_path, monkeypatch, error):
    runs = []

    def interrupted(_: Engine, dn: NDArray[Any], *__: Any) -> NDArray[np.float32]:
        runs.append(dn.shape)
        if len(runs) == 3:
            raise error
        return np.zeros((1, 2, *dn.shape[2:]), np.float32)

    monkeypatch.setattr(Engine, "probabilities", interrupted)
    with pytest.raises(error):
        predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL, window=20))
    assert len(runs) == 3
    assert nothing_is_left_in(tmp_path / "out")


def test_an_error_while_writing_ends_the_run(scene, model, tmp_path, monkeypatch):
    from rasterio.io import DatasetWriter

    def failing(*_: Any, **__: Any) -> None:
        raise OSError("the disk is gone")

    class Broken(DatasetWriter):
        write = failing

    plain = rasterio.open

    def opened(path: Any, mode: str = "r", **how: Any) -> Any:
        return Broken(path, mode) if mode == "r+" else plain(path, mode, **how)

    monkeypatch.setattr(rasterio, "open", opened)
    with pytest.raises(OSError, match="the disk is gone"):
        predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL, window=20))
    assert nothing_is_left_in(tmp_path / "out")


def test_a_full_disk_is_said_and_leaves_nothing(model, tmp_path, capfd):
    scene = write_scene(tmp_path / "a.tif", wavy_dn(1100, 1100, bands=12))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4 << 20, hard))  # as GDAL sees a full disk
    try:
        with pytest.raises(OutputError, match="larger than is allowed"):
            predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert nothing_is_left_in(tmp_path / "out")
    capfd.readouterr()  # GDAL says it on stderr too


@pytest.mark.parametrize("how", [{"window": 33}, {"halo": 7}])
def test_sides_off_the_pooling_grid_are_refused_with_those_that_work(scene, model, tmp_path, how):
    ((option, number),) = how.items()
    with pytest.raises(
        ConfigError, match=f"--{option} {number} .* 2.*{number - 1} or {number + 1}"
    ):
        predict_scene(scene, model, tmp_path / "out", PredictSettings(**how))


def test_the_halo_is_the_model_files_unless_said(scene, tmp_path):
    model = write_model(
        tmp_path / "m.safetensors", overrides=DARK, halo_exact=24, halo_default=10, halo_error=0.001
    )
    for halo, expected in [("default", 10), ("exact", 24), (4, 4)]:
        settings = PredictSettings(**FULL, halo=halo, overwrite=True)
        record = json.loads(predict_scene(scene, model, tmp_path / "out", settings).read_text())
        assert record["plan"]["halo"] == expected
    assert record["model"]["halo_error"] == 0.001
    with pytest.raises(ConfigError, match=r"--halo 100000 .* from 24 pixels on nothing changes"):
        predict_scene(scene, model, tmp_path / "out", PredictSettings(halo=100_000))

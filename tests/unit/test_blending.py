"""Windows that are blended: against sums over the whole scene at once."""

import json
import math
from itertools import groupby

import numpy as np
import pytest
import rasterio
import torch
from hypothesis import given
from hypothesis import strategies as st
from predicting import (
    DARK,
    L2A,
    dark_probability,
    normalise_like_trained,
    water_is_dark,
    wavy_dn,
    write_model,
    write_scene,
)

from geounet.classes import LAND, WATER, LabelClass
from geounet.engine import Engine
from geounet.errors import ConfigError, ModelFileError, SceneError
from geounet.predict import PredictSettings, predict_scene
from geounet.predict.blending import Answer, Seams, Strip, window_weights
from geounet.windows import blend_overlap, plan_overlapping

NIR = L2A.index("B08")
FULL = {"precision": "fp32", "probability": "float32", "device": "cpu"}
BLENDED = {"halo_exact": None, "halo_default": 0}
WATERS = np.array([False, True])


def weight_at(row, col, window, overlap):
    """As the guide says it, of one pixel."""

    def along(at):
        depth = min(at + 0.5, window - at - 0.5) / overlap
        return 1.0 if depth >= 1 else 0.001 + 0.999 * (1 - math.cos(math.pi * depth)) / 2

    return along(row) * along(col)


def all_weights(window, overlap):
    at = range(window)
    return np.array([[weight_at(row, col, window, overlap) for col in at] for row in at])


def all_at_once(shape, answers, weights):
    """Weighted means and differences (classes, height, width), by arrays as large as the scene."""
    classes = len(answers[0].probs)
    total, weight = np.zeros((classes, *shape)), np.zeros(shape)
    said = [[[] for _ in range(shape[1])] for _ in range(shape[0])]
    for window, probs, wanted in answers:
        top, left = window.core.row_off, window.core.col_off
        for r, c in np.argwhere(wanted):
            w = weights[top - window.read.row_off + r, left - window.read.col_off + c]
            total[:, top + r, left + c] += w * probs[:, r, c].astype(float)
            weight[top + r, left + c] += w
            said[top + r][left + c].append(float(probs[1, r, c]))
    with np.errstate(invalid="ignore"):
        mean = total / weight
    apart = [max(p) - min(p) for row in said for p in row if len(p) > 1]
    return mean, np.array(apart)


def put_together(shape, found):
    """What a strip gave, on the scene's grid, NaN where nothing is; each pixel once at most."""
    probs, times = None, np.zeros(shape, dtype=int)
    for window, values, wanted in found:
        if probs is None:
            probs = np.full((len(values), *shape), np.nan)
        rows, cols = window.toslices()
        probs[:, rows, cols] = np.where(wanted, values, np.nan)
        times[rows, cols] += 1
        assert times[rows, cols].shape == wanted.shape
    assert times.max(initial=0) <= 1
    return probs


sides = st.integers(1, 70)


@st.composite
def scenes(draw):
    """A scene with holes, how it is covered, and what a network says that is never of one mind."""
    height, width = draw(sides), draw(sides)
    stride = draw(st.sampled_from([1, 2, 4]))
    window = stride * draw(st.integers(2, 7))
    overlap = blend_overlap(window, stride)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    valid = np.ones((height, width), dtype=bool)
    for _ in range(draw(st.integers(0, 3))):
        row, col = rng.integers(height), rng.integers(width)
        valid[row : row + rng.integers(1, 40), col : col + rng.integers(1, 70)] = False
    truth = rng.uniform(0, 0.5, (height, width))
    ramp = np.linspace(0, 0.5, window)[:, None] * np.linspace(0, 1, window) ** 2
    answers = []
    for place in plan_overlapping(height, width, window=window, overlap=overlap, stride=stride):
        part = place.core.toslices()
        if valid[part].any():
            water = truth[part] + ramp[place.keep]
            probs = np.stack([1 - water, water]).astype(np.float32)
            answers.append(Answer(place, probs, valid[part]))
    return (height, width), window, overlap, answers


def strip_of(shape, window, overlap, rows=None):
    rows = rows or (0, shape[0])
    return Strip(shape[1], window=window, overlap=overlap, is_water=WATERS, rows=rows)


@given(scenes())
def test_a_strip_gives_what_sums_over_the_whole_scene_give(case):
    shape, window, overlap, answers = case
    strip = strip_of(shape, window, overlap)
    size = strip.nbytes
    found = []
    for finished in strip.blend(answers):
        assert len(finished.wanted) <= window
        assert strip.nbytes == size
        found.append(finished)
    if not answers:
        assert not found
        return
    expected, apart = all_at_once(shape, answers, all_weights(window, overlap))
    np.testing.assert_allclose(put_together(shape, found), expected, atol=1e-6)
    record = strip.seams.record()
    assert record["pixels"] == len(apart)
    if len(apart):
        assert record["largest_difference"] == pytest.approx(apart.max(), abs=1e-6)
        assert record["difference_mean"] == pytest.approx(apart.mean(), abs=1e-6)
        exact = np.quantile(apart, 0.95, method="inverted_cdf")
        assert -1e-6 <= record["difference_p95"] - exact <= 0.001 + 1e-6


@given(scenes(), st.floats(0, 1, width=32))
def test_where_all_windows_agree_their_answer_stays_to_the_last_bit(case, water):
    shape, window, overlap, answers = case
    constant = np.array([1 - water, water], np.float32)[:, None, None]
    answers = [a._replace(probs=np.broadcast_to(constant, a.probs.shape)) for a in answers]
    strip = strip_of(shape, window, overlap)
    for _, probs, wanted in strip.blend(answers):
        assert (probs[:, wanted] == constant[:, 0]).all()
    assert strip.seams.record().get("largest_difference", 0) == 0


@given(scenes())
def test_rows_come_as_soon_as_no_window_touches_them_any_more(case):
    shape, window, overlap, answers = case
    strip = strip_of(shape, window, overlap)
    taken = []

    def watched():
        for answer in answers:
            taken.append(answer.window.core.row_off)
            yield answer

    rows_of_windows = [row for row, _ in groupby(a.window.core.row_off for a in answers)]
    for finished in strip.blend(watched()):
        bottom = finished.window.row_off + finished.window.height
        assert bottom <= taken[-1] or taken[-1] == rows_of_windows[-1]


def test_a_strip_is_as_large_for_a_scene_of_any_height():
    """Bytes of the arrays, not of the process: five planes of the scene's width by a window."""
    width, window, overlap = 40, 16, 4
    for height in (16, 900):
        strip = Strip(width, window=window, overlap=overlap, is_water=WATERS, rows=(0, height))
        plan = list(plan_overlapping(height, width, window=window, overlap=overlap))
        answers = (
            Answer(
                place,
                np.full((2, place.core.height, place.core.width), 0.5, np.float32),
                np.ones((place.core.height, place.core.width), bool),
            )
            for place in plan
        )
        rows = sum(len(finished.wanted) for finished in strip.blend(answers))
        assert rows == height
        assert strip.nbytes == (4 * 5 + 1) * window * width


@pytest.mark.parametrize(("window", "overlap"), [(64, 16), (64, 32), (9, 3), (2, 1), (256, 64)])
def test_weights_are_nowhere_zero_and_alike_on_all_sides(window, overlap):
    weights = window_weights(window, overlap)
    np.testing.assert_allclose(weights, all_weights(window, overlap), rtol=1e-6)
    assert weights.dtype == np.float32
    assert weights.min() > 0
    for same in (weights.T, weights[::-1], weights[:, ::-1]):
        np.testing.assert_allclose(weights, same, rtol=1e-6)
    along = weights[window // 2]
    assert (np.diff(along[: (window + 1) // 2]) >= 0).all()


def test_seams_of_nothing_are_said_to_be_none():
    assert Seams().record() == {"pixels": 0}
    assert "no pixel" in str(Seams())


# --- through predict ---


def read(path):
    with rasterio.open(path) as src:
        return src.read(1)


@pytest.fixture
def dn():
    """170 × 230 pixels, a corner and a hole of which have no data."""
    values = wavy_dn(170, 230)
    values[:, :100, :110] = 0
    values[:, 130:140, 150:170] = 0
    return values


@pytest.fixture
def scene(tmp_path, dn):
    return write_scene(tmp_path / "scene.tif", dn)


def predicted(scene, model, out, **how):
    record = predict_scene(scene, model, out, PredictSettings(**FULL, overwrite=True, **how))
    return json.loads(record.read_text()), read(out / "scene_probability.tif")


def blended(window, overlap):
    return BLENDED | {"blend": {"window": window, "overlap": overlap, "why": "attention"}}


@pytest.mark.parametrize("how", [{}, {"batch": 3}, {"window": 48}, {"window": 512}])
def test_every_pixel_has_its_own_probability_and_nodata_is_where_it_was(scene, dn, tmp_path, how):
    model = write_model(
        tmp_path / "m.safetensors", overrides=DARK, prepare=water_is_dark(NIR), **blended(64, 16)
    )
    record, probability = predicted(scene, model, tmp_path / "out", **how)
    expected = np.where((dn != 0).all(axis=0), dark_probability(dn, NIR), np.nan)
    np.testing.assert_allclose(probability, expected, atol=1e-6)
    mask = read(tmp_path / "out/scene_mask.tif")
    np.testing.assert_array_equal(mask, np.where(np.isnan(expected), 255, expected >= 0.5))
    window = how.get("window", 64)
    assert record["blended"] is True
    assert record["plan"]["window"] == record["blending"]["window"] == window
    assert record["plan"]["overlap"] == record["blending"]["overlap"] == window // 4
    assert record["plan"]["halo"] == 0
    assert "cosine" in record["blending"]["weights"]
    assert record["blending"]["seams"].get("largest_difference", 0) < 1e-6
    if window < 100:  # some lie in the corner
        assert record["windows"]["run"] < record["windows"]["planned"]


def of_two_minds(_self, dn, valid, slope, intercept):
    """Stand in for a network that goes by where in the window a pixel lies, and by its value."""
    reflectance = dn[:, NIR] * slope[NIR] + intercept[NIR]
    rows, cols = np.mgrid[: dn.shape[2], : dn.shape[3]] / dn.shape[2]
    water = np.clip(reflectance + 0.3 * rows + 0.2 * cols**2, 0, 1)
    water = np.where(valid, water, np.nan).astype(np.float32)  # there it may say anything
    return np.stack([1 - water, water * (1 - rows), water * rows], axis=1).astype(np.float32)


def of_whole_scene(dn, window, overlap, stride):
    """What `of_two_minds` says, summed up over a scene at once, and the seams."""
    shape, valid = dn.shape[1:], (dn != 0).all(axis=0)
    far = [(0, 0), (200, 200), (200, 200)]
    mirrored = np.pad(dn, far, mode="symmetric" if 1 in shape else "reflect")
    slope, intercept = np.full(12, 1e-4), np.full(12, -0.1)
    answers = []
    for place in plan_overlapping(*shape, window=window, overlap=overlap, stride=stride):
        top, left = place.read.row_off + 200, place.read.col_off + 200
        seen = mirrored[None, :, top : top + window, left : left + window]
        probs = of_two_minds(None, seen, np.array([True]), slope, intercept)[0]
        answers.append(Answer(place, probs[:, *place.keep], valid[place.core.toslices()]))
    mean, _ = all_at_once(shape, answers, all_weights(window, overlap))
    waters = [a._replace(probs=np.stack([a.probs[0], a.probs[1:].sum(axis=0)])) for a in answers]
    return mean, all_at_once(shape, waters, all_weights(window, overlap))[1]


@pytest.mark.parametrize("shape", [(170, 230), (100, 75), (70, 90), (20, 30), (64, 1)])
def test_mirrored_edges_holes_and_seams_are_as_in_one_sum_over_the_scene(
    tmp_path, monkeypatch, shape, caplog
):
    dn = wavy_dn(*shape)
    dn[:, 5:8, : shape[1] // 2] = 0
    scene = write_scene(tmp_path / "scene.tif", dn)
    kinds = [LAND, WATER, LabelClass(7, "surf", water=True, color="#aaaaff")]
    model = write_model(
        tmp_path / "m.safetensors", overrides=DARK, classes=kinds, **blended(64, 16)
    )
    monkeypatch.setattr(Engine, "probabilities", of_two_minds)
    record, probability = predicted(scene, model, tmp_path / "out", batch=2)
    mean, apart = of_whole_scene(dn, 64, 16, 2)
    water = mean[1:].sum(axis=0)
    np.testing.assert_allclose(probability, water, atol=1e-6)
    best = np.where(np.isnan(water), 255, np.array([0, 1, 7])[mean.argmax(axis=0)])
    clear = np.isnan(water) | (np.sort(mean, axis=0)[-1] - np.sort(mean, axis=0)[-2] > 1e-5)
    np.testing.assert_array_equal(read(tmp_path / "out/scene_mask.tif")[clear], best[clear])
    seams = record["blending"]["seams"]
    assert seams["pixels"] == len(apart)
    (note,) = (note for note in record["notes"] if "blended" in note)
    assert "attention" in note
    assert note in caplog.text
    if len(apart):
        assert seams["largest_difference"] == pytest.approx(apart.max(), abs=1e-6)
        assert seams["difference_mean"] == pytest.approx(apart.mean(), abs=1e-6)
        assert f"{apart.max():.2g} at most" in note


def test_the_batch_changes_nothing_and_the_window_does(scene, tmp_path):
    model = write_model(
        tmp_path / "m.safetensors",
        "unet-bilinear",
        {"depth": 3, "base_width": 4, "align_corners": True},
        prepare=normalise_like_trained,
        **blended(64, 32),
    )
    _, one = predicted(scene, model, tmp_path / "one")
    _, three = predicted(scene, model, tmp_path / "three", batch=3)
    _, again = predicted(scene, model, tmp_path / "again")
    record, other = predicted(scene, model, tmp_path / "other", window=128)
    np.testing.assert_array_equal(one, again)
    np.testing.assert_allclose(one, three, atol=1e-6)
    assert np.nanmax(np.abs(one - other)) > 1e-4
    assert record["plan"]["overlap"] == 32


def test_one_window_over_all_has_no_seams(tmp_path):
    scene = write_scene(tmp_path / "scene.tif", wavy_dn(30, 40))
    model = write_model(tmp_path / "m.safetensors", overrides=DARK, **blended(64, 16))
    record, _ = predicted(scene, model, tmp_path / "out")
    assert record["windows"] == {"planned": 1, "run": 1}
    assert record["blending"]["seams"] == {"pixels": 0}


def test_a_model_file_that_says_nothing_of_windows_gets_some(scene, tmp_path):
    model = write_model(tmp_path / "m.safetensors", overrides=DARK, **BLENDED)
    record, _ = predicted(scene, model, tmp_path / "out")
    assert (record["plan"]["window"], record["plan"]["overlap"]) == (256, 64)


@pytest.mark.parametrize("rows", [0, 2])
def test_what_fails_between_windows_leaves_nothing(tmp_path, monkeypatch, scene, rows):
    """Before any rows are finished, and after some are."""
    model = write_model(tmp_path / "m.safetensors", overrides=DARK, **blended(64, 16))
    honest, times = Engine.probabilities, []

    def fail(engine, *given):
        times.append(1)
        if len(times) > 1 + 5 * rows:
            raise MemoryError("no room")
        return honest(engine, *given)

    monkeypatch.setattr(Engine, "probabilities", fail)
    with pytest.raises(ConfigError, match=r"windows of 64 × 64 pixels.*smaller --window"):
        predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL))
    assert not any(path for path in (tmp_path / "out").glob("*"))


def test_values_that_are_no_reflectance_are_told_with_their_place(tmp_path):
    reflectance = (wavy_dn(100, 120) * 1e-4 - 0.1).astype(np.float32)
    reflectance[:, 90, 110] = 3e38  # a nodata value that nobody declared
    scene = write_scene(tmp_path / "scene.tif", reflectance, nodata=None)
    model = write_model(tmp_path / "m.safetensors", overrides=DARK, **blended(64, 16))
    with pytest.raises(SceneError, match=r"rows \d+–100, columns \d+–120.*--nodata"):
        predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL))
    assert not any((tmp_path / "out").glob("*"))


@pytest.mark.parametrize("halo", ["exact", 32, 0])
def test_a_halo_is_refused_with_the_reason(scene, tmp_path, halo):
    model = write_model(tmp_path / "m.safetensors", overrides=DARK, **blended(64, 16))
    with pytest.raises(ConfigError, match=f"--halo {halo} .*attention.*--window"):
        predict_scene(scene, model, tmp_path / "out", PredictSettings(halo=halo))


@pytest.mark.parametrize(("window", "nearest"), [(33, "32 or 34"), (2, "4"), (1, "4")])
def test_windows_that_do_not_go_with_the_network_are_refused(scene, tmp_path, window, nearest):
    model = write_model(tmp_path / "m.safetensors", overrides=DARK, **blended(64, 16))
    with pytest.raises(ConfigError, match=f"Windows of {window} .* from 4 on. Use.* {nearest}"):
        predict_scene(scene, model, tmp_path / "out", PredictSettings(window=window))


@pytest.mark.parametrize("window", [8194, 10**15])
def test_windows_that_no_memory_holds_are_refused(scene, tmp_path, window):
    model = write_model(tmp_path / "m.safetensors", overrides=DARK, **blended(64, 16))
    with pytest.raises(ConfigError, match=f"Windows of {window} .* --window 8192 or less"):
        predict_scene(scene, model, tmp_path / "out", PredictSettings(window=window))


@pytest.mark.parametrize("how", [{}, {"batch": 7}])
@pytest.mark.parametrize("library", [np, torch])
@pytest.mark.parametrize(
    "where", ["geounet.scene.Scene.read_dn", "geounet.engine.Engine.probabilities"]
)
def test_windows_for_which_there_is_no_memory_are_told_in_a_line(
    tmp_path, monkeypatch, scene, how, library, where
):
    """As the two libraries say it, while a window is read and while it is predicted."""
    model = write_model(tmp_path / "m.safetensors", overrides=DARK, **blended(64, 16))
    monkeypatch.setattr(where, lambda *_: library.empty(2**57))
    # Fewer at once have been tried by then.
    said = r"scene.tif: windows of 64 × 64 pixels, 1 at .* more memory .* --window \(it is 64\)\.$"
    with pytest.raises(ConfigError, match=said):
        predict_scene(scene, model, tmp_path / "out", PredictSettings(**FULL, **how))


def test_a_network_without_padding_has_an_exact_halo(scene, tmp_path):
    model = write_model(
        tmp_path / "m.safetensors", "unet-2015", {"depth": 1, "base_width": 2}, **BLENDED
    )
    with pytest.raises(ModelFileError, match="its margin"):
        predict_scene(scene, model, tmp_path / "out")


def test_a_model_that_has_an_exact_halo_is_not_blended(scene, tmp_path):
    model = write_model(tmp_path / "m.safetensors", overrides=DARK, prepare=water_is_dark(NIR))
    record, _ = predicted(scene, model, tmp_path / "out")
    assert record["blended"] is False
    assert "blending" not in record
    assert not any("blend" in note for note in record["notes"])

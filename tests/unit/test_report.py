from dataclasses import replace

import numpy as np
import pytest
from matplotlib.image import imread
from training_chips import s2_bands

from geounet.bands import SENSORS, Band
from geounet.classes import LAND_WATER
from geounet.report import (
    ChipPicture,
    ScoreFigures,
    VariedChip,
    _colored,
    _short,
    _stretched,
    draw_augmented_sheet,
    draw_contact_sheet,
    draw_curves,
    draw_scores,
    picture_bands,
)


def rows(count, *, validated=True):
    made = []
    for epoch in range(1, count + 1):
        row = {"epoch": epoch, "learning_rate": 0.1, "loss": 1 / epoch}
        if validated:
            row |= {"val_loss": 1.1 / epoch, "iou/land": 0.9, "iou/water": 1 - 0.1 / epoch}
        made.append(row)
    return made


@pytest.mark.parametrize("count", [1, 3, 40])
@pytest.mark.parametrize("validated", [True, False])
def test_curves_are_drawn_for_any_number_of_epochs(tmp_path, count, validated):
    draw_curves(rows(count, validated=validated), LAND_WATER, tmp_path / "curves.png")
    image = imread(tmp_path / "curves.png")
    assert image.shape[1] > image.shape[0] > 300
    assert image[..., :3].std() > 0.01  # not a blank page


def test_curves_of_other_numbers_look_different(tmp_path):
    draw_curves(rows(5), LAND_WATER, tmp_path / "a.png")
    draw_curves(rows(6), LAND_WATER, tmp_path / "b.png")
    assert not np.array_equal(imread(tmp_path / "a.png"), imread(tmp_path / "b.png"))


def picture(side=12):
    rng = np.random.default_rng(0)
    values = rng.uniform(0, 0.3, size=(3, side, side)).astype(np.float32)
    values[:, :3, :3] = np.nan
    label = np.zeros((side, side), dtype=np.uint8)
    label[:, side // 2 :] = 1
    label[:3, :3] = 255
    water = np.linspace(0, 1, side, dtype=np.float32)
    probs = np.stack([1 - water, water])[:, None, :].repeat(side, axis=1)
    return ChipPicture("chip_001", values, label, probs)


@pytest.mark.parametrize("count", [1, 3])
def test_the_contact_sheet_has_a_row_per_chip(tmp_path, count):
    for name in ("a.png", "b.png"):
        draw_contact_sheet([picture()] * count, LAND_WATER, tmp_path / name, kind="true colour")
    image = imread(tmp_path / "a.png")
    assert image.shape[0] > 250 * count
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_name_of_a_long_chip_is_cut_in_its_middle_and_not_at_the_sheets_edge(tmp_path):
    name = "S2B_MSIL1C_20240413T110619_N0510_R137_T30TXR_20240413T131434_r00123_c00456"
    long = replace(picture(), name=name)
    draw_contact_sheet([long], LAND_WATER, tmp_path / "a.png", kind="true colour")
    image = imread(tmp_path / "a.png")[..., :3]
    assert (image[:, :2] == 1).all()
    short = _short(name, 32)
    assert len(short) == 32
    assert short.startswith("S2B_MSIL1C_2024")
    assert short.endswith(name[-16:])
    assert _short("chip_001", 32) == "chip_001"


def varied(views=3, side=12):
    shown = picture(side)
    values = np.stack([shown.values] + [shown.values * 0.25] * (views - 1))
    return VariedChip("chip_001", values, np.stack([shown.label] * views))


@pytest.mark.parametrize("count", [1, 3])
def test_the_augmented_sheet_has_two_rows_per_chip_and_a_column_per_view(tmp_path, count):
    for name in ("a.png", "b.png"):
        draw_augmented_sheet([varied()] * count, LAND_WATER, tmp_path / name, kind="true colour")
    image = imread(tmp_path / "a.png")
    assert image.shape[0] > 300 * count
    assert image.shape[1] > 450
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_the_augmented_sheet_shows_less_light_as_darker(tmp_path):
    chip = varied()
    draw_augmented_sheet([chip], LAND_WATER, tmp_path / "dark.png", kind="true colour")
    chip.values[1:] *= 4
    draw_augmented_sheet([chip], LAND_WATER, tmp_path / "light.png", kind="true colour")
    dark, light = (imread(tmp_path / name)[..., :3] for name in ("dark.png", "light.png"))
    half = len(dark) // 2
    first = dark.shape[1] // 3
    assert dark[:half, first:].mean() < light[:half, first:].mean() - 0.1
    np.testing.assert_array_equal(dark[:half, : first // 2], light[:half, : first // 2])


def test_pictures_stretch_each_band_and_grey_what_is_not_there():
    values = picture().values
    values[1] *= 100  # one bright band must not leave the others black
    image = _stretched(values)
    assert image.shape == (12, 12, 3)
    assert ((image >= 0) & (image <= 1)).all()
    seen = image[np.isfinite(values).all(axis=0)]
    assert (seen.max(axis=0) == 1).all()
    assert (seen.min(axis=0) == 0).all()
    assert len(np.unique(image[:3, :3])) == 1
    assert np.isfinite(_stretched(np.full((3, 4, 4), np.nan, dtype=np.float32))).all()
    assert np.isfinite(_stretched(np.full((1, 4, 4), 0.2, dtype=np.float32))).all()


def test_labels_have_the_colours_of_their_classes():
    image = _colored(np.array([[0, 1, 255]], dtype=np.uint8), LAND_WATER)
    expected = [bytes.fromhex(c.color[1:]) for c in LAND_WATER]
    np.testing.assert_allclose(image[0, :2] * 255, [list(e) for e in expected], atol=0.5)
    assert len(np.unique(image[0, 2])) == 1  # grey


@pytest.mark.parametrize(
    ("bands", "names"),
    [
        (SENSORS["s2"], ["B04", "B03", "B02"]),
        (SENSORS["l8"], ["B4", "B3", "B2"]),
        (s2_bands(["B03", "B04", "B08"]), ["B08", "B04", "B03"]),
        (s2_bands(["B04", "B08", "B11"]), ["B11", "B08", "B04"]),
        (s2_bands(["B03", "B08"]), ["B03"]),
        ((Band("VV", None, None, None), Band("VH", None, None, None)), ["VV"]),
    ],
)
def test_pictures_take_red_green_and_blue_by_name(bands, names):
    chosen, kind = picture_bands(bands)
    assert [band.name for band in chosen] == names
    assert kind


def figures(*, right=0.9, scenes=2, interval=True):
    pixels = np.linspace(1, 0, 100)[:, None] * [right, 1 - right]
    spread = {"iou": {"land": [0.8, 0.95], "water": None}} if interval else None
    scores = {"iou": {"land": 0.9, "water": None}, "interval": spread}
    return ScoreFigures(
        by_probability=pixels + pixels[::-1, ::-1],
        thresholds=np.arange(1, 100, dtype=np.float32) / 100,
        by_threshold=np.linspace(0, 1, 99),
        suggested=0.99 if interval else None,
        by_scene={f"scene {number}": scores for number in range(scenes)},
        colors={"land": "#decba4", "water": "#1f77b4"},
    )


@pytest.mark.parametrize("scenes", [1, 50])
@pytest.mark.parametrize("interval", [True, False])
def test_scores_are_drawn_for_any_number_of_scenes(tmp_path, scenes, interval):
    draw_scores(figures(scenes=scenes, interval=interval), tmp_path / "scores.png")
    image = imread(tmp_path / "scores.png")
    assert image.shape[1] > image.shape[0] > 300
    assert image[..., :3].std() > 0.01


def test_other_scores_look_different(tmp_path):
    for name, right in (("a.png", 0.9), ("b.png", 0.8), ("c.png", 0.9)):
        draw_scores(figures(right=right), tmp_path / name)
    a, b, c = (imread(tmp_path / name) for name in ("a.png", "b.png", "c.png"))
    assert not np.array_equal(a, b)
    assert np.array_equal(a, c)

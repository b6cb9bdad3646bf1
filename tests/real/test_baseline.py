"""The classical way on a real scene of nearly all water, where Otsu has nothing to find."""

import json
from pathlib import Path

import pytest

from geounet.baseline import BaselineSettings, baseline_scene
from geounet.evaluate import EvaluateSettings, evaluate_prediction
from geounet.scene import SceneOptions


@pytest.fixture
def fiji(shared_data: Path) -> Path:
    (folder,) = (shared_data / "fiji_s2_l2a_safe").glob("*.SAFE/GRANULE/*/IMG_DATA/R60m")
    return folder


def test_a_fixed_threshold_finds_the_islands(fiji, shared_data, tmp_path) -> None:
    settings = BaselineSettings(threshold=0.0)
    record = baseline_scene(fiji, tmp_path, settings, SceneOptions(scale=0.0001))
    truth = shared_data / "fiji_s2_l2a_safe" / "T01KCV_20190809_water_from_SCL_60m.tif"
    scores = evaluate_prediction(record, [str(truth)], EvaluateSettings())
    assert scores["pixels"]["compared"] + scores["pixels"]["left_out"]["reference_unknown"] == (
        1830**2
    )
    assert scores["pixels"]["per_class"]["land"]["pixels"] == 24_069, "as the data's README has it"
    assert scores["pixels"]["per_class"]["land"]["recall"] > 0.999
    assert scores["lines"]["missed"]["matched_share"] > 0.95


def test_otsu_is_warned_of_and_b8a_stands_in_for_b08(fiji, tmp_path, caplog) -> None:
    record = json.loads(
        baseline_scene(fiji, tmp_path, options=SceneOptions(scale=0.0001)).read_text()
    )
    assert record["bands"] == ["s2:B03", "s2:B8A"]
    assert any("no two clear peaks" in note for note in record["notes"])
    assert "s2:B8A (nir08) is taken" in caplog.text

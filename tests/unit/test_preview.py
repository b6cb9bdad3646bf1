from training_chips import write_chips

from geounet.chips import open_chips
from geounet.config import load_config
from geounet.preview import draw_preview
from geounet.training_plan import plan_training


def preview(chips, path, *changes):
    config = load_config("demo", ["network_settings.base_width=2", "device=cpu", *changes])
    draw_preview(plan_training(open_chips(chips), config), path)
    return path.read_bytes()


def test_the_sheet_shows_what_the_settings_say_and_is_the_same_each_time(tmp_path):
    chips = write_chips(tmp_path / "chips", counts={"train": 4, "val": 1})
    first = preview(chips, tmp_path / "a.png")
    assert preview(chips, tmp_path / "b.png") == first
    assert preview(chips, tmp_path / "c.png", "augment.turn=30") != first
    assert preview(chips, tmp_path / "d.png", "seed=1") != first


def test_the_sheet_of_a_run_that_is_gone_on_with_is_left(tmp_path):
    chips = write_chips(tmp_path / "chips", counts={"train": 1, "val": 1})
    path = tmp_path / "augmented.png"
    path.write_bytes(b"as it was")
    assert preview(chips, path) == b"as it was"


def test_one_chip_of_one_band_is_shown(tmp_path):
    chips = write_chips(tmp_path / "chips", counts={"train": 1}, names=("B08",))
    assert preview(chips, tmp_path / "a.png", "augment.noise=0.5").startswith(b"\x89PNG")


def test_light_that_changes_nothing_is_told_before_training(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("geounet.augment.light._SUNLIGHT_NM", 0)  # all bands as radar
    chips = write_chips(tmp_path / "chips", counts={"train": 1})
    changes = ["network_settings.base_width=2", "device=cpu", "augment.gain=0.1"]
    plan_training(open_chips(chips), load_config("demo", changes))
    assert "augment.gain changes nothing" in caplog.text

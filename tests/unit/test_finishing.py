import numpy as np
import pytest
from training_chips import write_chips

from geounet import finishing
from geounet.chips import open_chips
from geounet.config import Config
from geounet.training_plan import plan_training


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    path = tmp_path_factory.mktemp("finishing") / "chips"
    return write_chips(path, counts={"train": 7, "val": 3, "test": 2})


def tiny(**settings):
    """A recipe that takes a second; in float32, as everywhere without bf16 in the processor."""
    network = {"base_width": 4, "depth": 2}
    fields = {"network_settings": network, "epochs": 4, "batch": 4, "learning_rate": 0.01}
    return Config(**(fields | {"device": "cpu", "precision": "fp32"} | settings))


def test_the_halo_is_measured_on_the_coast_amid_other_chips(chips):
    plan = plan_training(open_chips(chips), tiny())
    names = finishing._most_coast(plan)
    coast = plan.reader.folder.index.set_index("chip")["coast_m"]
    assert sorted(names) == plan.splits["val"]
    assert list(coast[names]) == sorted(coast[names], reverse=True)
    side, halo = plan.reader.side, plan.view.halo
    known = {name: plan.reader.read(name).image.numpy() for name in names}
    for name, sample in zip(names, finishing._surrounded(plan, names, halo), strict=True):
        assert sample.shape == (4, side + 2 * halo, side + 2 * halo)
        np.testing.assert_array_equal(
            sample[:, halo : halo + side, halo : halo + side], known[name]
        )
        # What is above it and below are the near parts of other chips.
        reach = min(halo, side)
        above, below = (
            {other for other, image in known.items() if np.array_equal(strip, image[:, cut])}
            for strip, cut in (
                (sample[:, halo - reach : halo, halo : halo + side], slice(side - reach, side)),
                (sample[:, halo + side :][:, :reach, halo : halo + side], slice(0, reach)),
            )
        )
        assert above
        assert below
        assert name not in above | below


def test_the_contact_sheet_shows_coast_and_errors(chips, tmp_path, monkeypatch):
    plan = plan_training(open_chips(chips), tiny())
    shown = []
    monkeypatch.setattr(finishing, "draw_contact_sheet", lambda p, *_, **__: shown.extend(p))
    monkeypatch.setattr(finishing, "SHEET_CHIPS", 2)
    coast = finishing._most_coast(plan)
    wrong = {coast[0]: 9, coast[1]: 2, coast[2]: 5}
    finishing._draw_sheet(plan, coast, wrong, tmp_path / "validation.png")
    assert [picture.name for picture in shown] == [coast[0], coast[2]]
    assert shown[0].values.shape == (3, 32, 32)
    assert shown[0].probs.shape == (2, 32, 32)

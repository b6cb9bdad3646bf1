"""Judgements of a network that puts the line where it was told to."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from training_chips import write_chips

from geounet.chips import open_chips
from geounet.dataset import open_reader
from geounet.judging import judge_chips
from geounet.line_errors import LineErrors
from geounet.networks import Network

SIDE, SHORE = 32, 16


class Ruler(Network):
    """Draws a vertical line some pixels seaward of the shore; its chips hold the column."""

    stride = 1

    def __init__(self, reader, seaward):
        super().__init__()
        self.mean, self.std, self.place = reader.mean[0], reader.std[0], SHORE + seaward

    def forward(self, image):
        column = (image[:, 0] * self.std + self.mean) * 100
        away = column + 0.5 - self.place
        return torch.stack([-away / 2, away / 2], dim=1)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    def rule(split, values, label):  # noqa: ARG001
        unknown = label == 255
        values[...] = np.arange(SIDE) / 100
        label[...] = np.arange(SIDE) >= SHORE
        label[unknown] = 255

    path = tmp_path_factory.mktemp("judging") / "chips"
    write_chips(path, counts={"train": 1, "val": 4, "test": 1}, size=SIDE, change=rule)
    folder = open_chips(path)
    scenes = ["north", "north", "south"] * 2
    folder = replace(folder, index=folder.index.assign(scene=scenes))
    return open_reader(folder, None)


def judge(reader, *, seaward=2.0, split="val", batch=3):
    names = reader.folder.names(split)
    network = Ruler(reader, seaward)
    return judge_chips(network, reader, names, device="cpu", batch=batch)


def test_the_line_is_as_far_as_it_was_drawn(reader):
    judged = judge(reader, seaward=1.75)
    assert judged.position_u95_m == pytest.approx(17.5, abs=0.05)
    lines = judged.record()["lines"]
    assert lines["mean_seaward_m"] == pytest.approx(17.5, abs=0.05)
    assert judge(reader, seaward=0).position_u95_m < 0.05


def test_pixels_that_were_taken_for_others_are_counted_by_chip(reader):
    judged = judge(reader, seaward=2)
    assert judged.names == tuple(reader.folder.names("val"))
    assert set(judged.wrong.values()) == {2 * SIDE}  # two columns, none where it is not known
    assert judged.pixels == 4 * (SIDE**2 - 16)
    record = judged.record()
    water = SHORE * SIDE
    assert record["iou"]["water"] == pytest.approx((water - 2 * SIDE) / water, abs=1e-6)
    assert record["precision"]["water"] == 1
    assert len(record["worst"]) == 4
    assert record["worst"][0]["wrong_share"] == pytest.approx(64 / (SIDE**2 - 16), abs=1e-6)


def test_a_line_too_far_out_suggests_a_lower_threshold(reader):
    # The columns beside the shore have p = 1 / (1 + e^1.5) and 1 / (1 + e^2.5).
    assert judge(reader, seaward=2).suggested_threshold == 0.18
    assert judge(reader, seaward=-2).suggested_threshold == 0.82
    assert judge(reader, seaward=0).suggested_threshold == 0.5


def test_a_scene_is_judged_by_its_own_chips(reader):
    judged = judge(reader)
    index = reader.folder.index.set_index("chip")
    record = judged.record()["by_scene"]
    assert set(record) == {"north", "south"}
    for scene, found in record.items():
        names = [name for name in judged.names if index.loc[name, "scene"] == scene]
        alone = judge_chips(Ruler(reader, 2.0), reader, names, device="cpu", batch=8).record()
        assert found == {key: alone[key] for key in found}
        assert found["chips"] == len(names)


def test_what_is_judged_does_not_depend_on_the_batch(reader):
    assert judge(reader, batch=1).record() == judge(reader, batch=4).record()


def test_blocks_give_an_interval_and_one_block_none(reader):
    record = judge(reader).record()
    assert record["blocks"] == 4
    low, high = record["interval"]["iou"]["water"]
    assert low == high == pytest.approx(record["iou"]["water"], abs=1e-4)  # all chips are alike
    assert judge(reader, split="test").record()["interval"] is None


def test_progress_is_told_of_every_batch(reader):
    told = []

    def watched(items, *, label, total):
        told.append((label, total, 0))
        for done, item in enumerate(items, start=1):
            yield item
            told[-1] = (label, total, done)

    names = reader.folder.names("val")
    asked = {"device": "cpu", "batch": 3, "progress": watched, "split": "val"}
    judged = judge_chips(Ruler(reader, 2.0), reader, names, **asked)
    assert told == [("judging val", 2, 2)]
    assert judged.record() == judge(reader).record()


def test_no_chips_are_judged_as_nothing(reader):
    judged = judge_chips(Ruler(reader, 0.0), reader, [], device="cpu", batch=4)
    assert judged.pixels == 0
    assert judged.wrong == {}
    assert judged.position_u95_m is judged.suggested_threshold is None
    assert judged.record()["by_scene"] == {}
    assert LineErrors.joined(judged.lines).record(10.0)["drawn_m"] == 0

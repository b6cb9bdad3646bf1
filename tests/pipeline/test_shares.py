"""Learning how much of a pixel is water: from chips with shares to a model that says so."""

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy
from training_chips import write_chips

from geounet.augment import Augmenter
from geounet.chips import open_chips
from geounet.classes import LAND_WATER, LabelClass
from geounet.config import Config
from geounet.errors import ConfigError
from geounet.model_file import read_header
from geounet.task import SegmentationTask, supervised
from geounet.train import train_model
from geounet.training_plan import plan_training

COUNTS = {"train": 4, "val": 2, "test": 1}
MIXED = {"cross_entropy": 1, "dice": 1, "border": {"sigma": 2}, "boundary": 0.01}


def recipe(network: str, **overrides) -> Config:
    small = {"base_width": 2, "depth": 1}
    plain = {
        "network_settings": small,
        "epochs": 2,
        "batch": 2,
        "workers": 0,
        "device": "cpu",
        "precision": "fp32",
    }
    return Config(network=network, **plain | overrides)


@pytest.fixture(scope="module")
def chips(tmp_path_factory):
    path = tmp_path_factory.mktemp("shares") / "chips"
    return write_chips(path, counts=COUNTS, size=32, shares=True)


@pytest.mark.parametrize("network", ["unet-same", "unet-2015"])
def test_networks_with_and_without_padding_learn_from_shares(network, chips, tmp_path) -> None:
    augment = {"turn": 30, "scale": 1.2, "holes": 0.3}
    config = recipe(network, labels="shares", loss=MIXED, augment=augment)
    header = read_header(train_model(chips, config, tmp_path / "out"))
    assert header.training["config"]["labels"] == "shares"
    assert np.isfinite([header.training["loss"][split] for split in ("train", "val")]).all()
    # Scores are by classes, whole pixels as they lie in labels/.
    folder = open_chips(chips)
    known = sum(int((folder.read(name).label != 255).sum()) for name in folder.names("val"))
    assert header.training["scores"]["val"]["pixels"] == known
    assert "labels: shares" in (tmp_path / "out" / "MODEL.md").read_text()


def test_the_loss_of_shares_falls_towards_their_entropy_and_not_below(tmp_path) -> None:
    made = write_chips(tmp_path / "chips", counts={"train": 2}, size=16, shares=True)
    still = {"flips": False, "rotations": False}
    config = recipe(
        "unet-same", labels="shares", loss={"dice": 0}, augment=still, epochs=150,
        learning_rate=0.03, network_settings={"base_width": 8, "depth": 2},
    )  # fmt: skip
    header = read_header(train_model(made, config, tmp_path / "out"))
    lines = (tmp_path / "out" / "logs" / "epochs.csv").read_text().splitlines()
    column = lines[0].split(",").index("loss")
    losses = [float(line.split(",")[column]) for line in lines[1:]]
    folder = open_chips(made)
    share = np.concatenate([folder.read_shares(n).ravel() for n in folder.names("train")])
    share = np.clip(share[~np.isnan(share)].astype(float), 1e-12, 1 - 1e-12)
    floor = -(share * np.log(share) + (1 - share) * np.log(1 - share)).mean()
    assert floor > 0.02
    assert min(losses) > floor - 1e-6
    assert losses[-1] - floor < 0.25 * (losses[0] - floor)
    assert header.training["loss"]["train"] == pytest.approx(losses[-1])


def test_the_loss_of_a_batch_is_that_of_its_shares(chips) -> None:
    plan = plan_training(open_chips(chips), recipe("unet-2015", labels="shares", loss={"dice": 0}))
    still = Augmenter(
        recipe("unet-2015", augment={"flips": False, "rotations": False}).augment,
        plan.reader.bands, plan.reader.mean, plan.reader.std, spread=plan.reader.std,
    )  # fmt: skip
    task = SegmentationTask(
        plan.network, plan.config, LAND_WATER, augmenter=still, steps=1, run="{}"
    )
    sample = plan.teacher.read(plan.splits["train"][0])
    image, share = sample.image[None], supervised(sample.label[None], plan.network)
    logits = plan.network(image)
    known = ~share.isnan()
    target = torch.stack([1 - share, share], dim=1).nan_to_num()
    costs = cross_entropy(logits, target, reduction="none")
    found = task.own_loss(logits, type(sample)(image, sample.label[None]))
    assert found.item() == pytest.approx(costs[known].mean().item(), rel=1e-5)


def test_a_training_on_shares_goes_on_where_it_was(chips, tmp_path, monkeypatch) -> None:
    config = recipe("unet-same", labels="shares", augment={"turn": 20}, epochs=3)
    whole = train_model(chips, config, tmp_path / "whole").read_bytes()
    monkeypatch.setattr(SegmentationTask, "on_validation_epoch_end", _stop_in_epoch(2))
    with pytest.raises(KeyboardInterrupt):
        train_model(chips, config, tmp_path / "parts")
    monkeypatch.undo()
    assert train_model(chips, config, tmp_path / "parts", resume=True).read_bytes() == whole
    changed = config.model_copy(update={"labels": "classes"})
    with pytest.raises(ConfigError, match="labels shares"):
        train_model(chips, changed, tmp_path / "parts", resume=True)


def _stop_in_epoch(epoch: int):
    as_ever = SegmentationTask.on_validation_epoch_end

    def stop(task) -> None:
        if task.current_epoch == epoch:
            raise KeyboardInterrupt
        as_ever(task)

    return stop


def test_shares_in_the_folder_change_nothing_of_a_training_on_classes(chips, tmp_path) -> None:
    without = write_chips(tmp_path / "without", counts=COUNTS, size=32)
    weights = []
    for name, folder in (("a", chips), ("b", without)):
        train_model(folder, recipe("unet-same"), tmp_path / name)
        weights.append((tmp_path / name / "logs" / "epochs.csv").read_bytes())
    assert weights[0] == weights[1]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"loss": {"cross_entropy": 0, "dice": 0, "lovasz": 1}}, r"lovasz of `loss` goes by class"),
        ({"network": "autoencoder"}, r"autoencoder looks at no label"),
    ],
)
def test_recipes_that_learn_nothing_from_shares_are_refused(chips, overrides, message) -> None:
    overrides = {"network": "unet-same", "labels": "shares"} | overrides
    with pytest.raises(ConfigError, match=message):
        plan_training(open_chips(chips), recipe(**overrides))


def test_chips_that_have_no_shares_or_more_classes_are_refused(tmp_path) -> None:
    config = recipe("unet-same", labels="shares")
    plain = open_chips(write_chips(tmp_path / "plain", counts=COUNTS, size=32))
    with pytest.raises(ConfigError, match=r"have none. Run tile with --water-shares"):
        plan_training(plain, config)
    surf = LabelClass(value=2, name="surf", color="#ffffff", water=True)
    three = write_chips(
        tmp_path / "three", counts=COUNTS, size=32, shares=True, classes=(*LAND_WATER, surf)
    )
    with pytest.raises(ConfigError, match="have the classes land, water, surf"):
        plan_training(open_chips(three), config)


def test_scores_are_by_classes_whatever_is_learnt(chips) -> None:
    plan = plan_training(
        open_chips(chips), recipe("unet-same", labels="shares", loss={"lovasz": 1})
    )
    assert plan.teacher.shares
    assert not plan.reader.shares
